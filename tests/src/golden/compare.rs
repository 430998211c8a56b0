//! Compares what both engines made of a program, as far as `tests/golden/differences.toml` lets it.
//!
//! Invariant: what is left out of the comparison is named there, with its reason.

use super::{
    Answer, Op, Output, Program, Step,
    differences::{self, Dropped, Rule, Times},
    peer::{Objection, Said},
    policy::Letter,
};
use anyhow::Result;
use std::{collections::BTreeSet, fmt::Write};

/// What differs, in words; nothing if all is the same.
pub fn difference(program: &Program, ours: &Answer, theirs: &Answer) -> Option<String> {
    let rule = differences::rule(program);
    // How much of the step at which a program stops was committed by then is not compared where
    // there is more than one task to commit; what it had made before is.
    let before = program.before(ours);
    let partial = before.is_some();
    let mut told = before.map_or_else(String::new, |before| differs_before(&before, ours, theirs));
    let mut topics: Vec<_> = ours.outputs.keys().chain(theirs.outputs.keys()).collect();
    topics.sort();
    topics.dedup();
    for topic in topics {
        let (ours, theirs) = (ours.outputs.get(topic), theirs.outputs.get(topic));
        let pair = ours.zip(theirs);
        let same = pair.is_some_and(|(ours, theirs)| same(&rule, ours, theirs, partial));
        if !same {
            let list =
                |side: Option<&Vec<Output>>| serde_json::to_string(&side).unwrap_or_default();
            let _ = writeln!(told, "{topic} holds       {}", list(ours));
            let _ = writeln!(told, "{topic} should hold {}", list(theirs));
        }
    }
    for letter in ours.outputs.values().flatten() {
        if !is_true(&program.script, letter) {
            let _ = writeln!(
                told,
                "no such record: {}",
                serde_json::to_string(letter).unwrap_or_default()
            );
        }
    }
    if ours.failed != theirs.failed {
        let step =
            |failed: Option<usize>| failed.map_or("never".to_owned(), |at| format!("at step {at}"));
        let (ours, theirs) = (step(ours.failed), step(theirs.failed));
        let _ = writeln!(told, "stopped {ours} and not {theirs}");
    }
    let equal = match rule.dropped {
        Dropped::Any => true,
        _ if partial => true,
        // What else was refused of the record that stops the program counts when it goes on.
        _ if ours.failed.is_some() && program.nodes.iter().any(Op::refuses) => {
            ours.dropped <= theirs.dropped
        }
        Dropped::Equal => ours.dropped == theirs.dropped,
        Dropped::AtLeast => ours.dropped >= theirs.dropped,
    };
    if !equal {
        let _ = writeln!(told, "dropped {} and not {}", ours.dropped, theirs.dropped);
    }
    (!told.is_empty()).then_some(told)
}

/// What differs in what was made before the step at which a program stopped, `before` being the
/// program without it; and in what should begin with that.
fn differs_before(before: &Program, ours: &Answer, theirs: &Answer) -> String {
    let Some((our_start, their_start)) = ours.before.as_ref().zip(theirs.before.as_ref()) else {
        return "what was made before it stopped is not known\n".to_owned();
    };
    let mut told = difference(before, our_start, their_start)
        .map(|told| format!("before it stopped:\n{told}"))
        .unwrap_or_default();
    let rule = differences::rule(before);
    for (topic, start) in &our_start.outputs {
        let whole = ours.outputs.get(topic);
        let whole = whole.and_then(|whole| whole.get(..start.len()));
        if !whole.is_some_and(|whole| same(&rule, start, whole, false)) {
            let _ = writeln!(
                told,
                "{topic} does not begin with what was made before it stopped"
            );
        }
    }
    told
}

/// What is not as it was when it was captured.
pub fn change(program: &Program, captured: &Answer, now: &Answer) -> Option<String> {
    let equal = differences::rule(program).dropped == Dropped::Equal;
    let counted = |answer: &Answer| equal.then_some(answer.dropped);
    let told = |answer: &Answer| {
        let before = answer.before.as_deref();
        let before = before.map(|before| (before.outputs.clone(), counted(before)));
        (answer.outputs.clone(), answer.failed, before)
    };
    let dropped = counted(captured) == counted(now);
    let same = told(captured) == told(now);
    (!same || !dropped).then(|| format!("it was {captured:?}, and is {now:?}"))
}

/// How often it is tried to take a letter of theirs for one of two things.
const TRIES_MAX: usize = 10_000;

/// Whether the records of a topic are the same. Of a record that they refuse twice they have a
/// second dead letter, which we do not. `partial` says that ours may end before theirs do.
///
/// Each topic of the program's own has tasks of its own, so that dead letters of records from two
/// of them have no order.
fn same(rule: &Rule, ours: &[Output], theirs: &[Output], partial: bool) -> bool {
    let (ours, theirs): (Vec<_>, Vec<_>) = (ours.iter().collect(), theirs.iter().collect());
    let letters = ours.iter().filter_map(|output| output.letter.as_ref());
    let internal = letters.filter(|letter| letter.is_internal());
    let topics: BTreeSet<_> = internal.map(|letter| &letter.topic).collect();
    let same = |ours: &[&Output], theirs: &[&Output]| {
        same_from(rule, (ours, theirs), partial, (Vec::new(), &mut 0))
    };
    same(&ours, &theirs)
        || (topics.len() > 1 && same(&in_order_of_messages(ours), &in_order_of_messages(theirs)))
}

/// With one dead letter of each record from an internal topic, in the order of what they say.
fn in_order_of_messages(mut outputs: Vec<&Output>) -> Vec<&Output> {
    let internal = |output: &Output| output.letter.as_ref().is_some_and(Letter::is_internal);
    let mut seen: Vec<&Letter> = Vec::new();
    outputs.retain(|output| {
        let once = !internal(output) || !is_again(output, &seen);
        seen.extend(&output.letter);
        once
    });
    let places: Vec<_> = (0..outputs.len())
        .filter(|at| internal(outputs[*at]))
        .collect();
    let mut letters: Vec<_> = places.iter().map(|at| outputs[*at]).collect();
    letters.sort_by_key(|output| output.letter.as_ref().map(|letter| &letter.message));
    for (at, letter) in places.into_iter().zip(letters) {
        outputs[at] = letter;
    }
    outputs
}

/// As [`same`], of what is left when letters of theirs were seen already. A letter of theirs that
/// says again what one said may be what a letter of ours says, or one too many: which it is shows
/// only at the end.
fn same_from<'o>(
    rule: &Rule,
    (mut ours, mut theirs): (&[&Output], &[&'o Output]),
    partial: bool,
    (mut seen, tries): (Vec<&'o Letter>, &mut usize),
) -> bool {
    'ours: while let Some((one, rest)) = ours.split_first() {
        // Of what was held back there is one for each refusal on both sides.
        let letter = one.letter.as_ref();
        let each = letter.is_some_and(|letter| letter.topic.is_none());
        let saying = |other: &'o Output| other.letter.as_ref().filter(|_| !each);
        for (at, &other) in theirs.iter().enumerate() {
            let behind = &theirs[at + 1..];
            if is_again(other, &seen) {
                if each && *tries < TRIES_MAX && matches(rule, one, other) {
                    *tries += 1;
                    let seen = seen.iter().copied().chain(saying(other)).collect();
                    if same_from(rule, (rest, behind), partial, (seen, &mut *tries)) {
                        return true;
                    }
                }
                continue;
            }
            if !matches(rule, one, other) {
                return false;
            }
            seen.extend(saying(other));
            (ours, theirs) = (rest, behind);
            continue 'ours;
        }
        return partial;
    }
    partial || theirs.iter().all(|other| is_again(other, &seen))
}

fn is_again(output: &Output, seen: &[&Letter]) -> bool {
    let letter = output.letter.as_ref();
    letter.is_some_and(|letter| seen.iter().any(|before| letter.of_the_same(before)))
}

/// Whether two dead letters say the same of the same record. Which time and headers they have, both
/// sides see otherwise: ours have those of the record ([`is_true`]).
fn letters_match(ours: &Output, theirs: &Output) -> bool {
    let Some((one, other)) = ours.letter.as_ref().zip(theirs.letter.as_ref()) else {
        return false;
    };
    let record =
        |output: &Output, letter: &Letter| (output.key.clone(), output.value, letter.bytes.clone());
    let theirs = record(theirs, other);
    if one.topic.is_none() {
        // To us what was held back is no record any more.
        return one.says_why(other);
    }
    // They forget a record's bytes once something has been sent.
    (theirs == (None, None, None) || record(ours, one) == theirs) && one.says(other)
}

/// Whether a dead letter of ours is the record of the script that it says it is. Of what comes from
/// internal topics or from no record there is nothing to compare with.
fn is_true(script: &[Step], ours: &Output) -> bool {
    let Some(letter) = &ours.letter else {
        return true;
    };
    let topic = letter.topic.as_deref().filter(|_| !letter.is_internal());
    let (Some(topic), Some(offset)) = (topic, &letter.offset) else {
        return true;
    };
    let records = script.iter().filter_map(|step| Some((step, sent(step)?)));
    let mut records = records.filter(|(_, (to, _))| *to == topic);
    let there = offset.parse().ok().and_then(|at| records.nth(at));
    let same = |record: &Output| {
        let bytes = record
            .letter
            .as_ref()
            .and_then(|letter| letter.bytes.clone());
        (&record.key, record.value, record.time, &record.header)
            == (&ours.key, ours.value, ours.time, &ours.header)
            && bytes == letter.bytes
    };
    there.is_some_and(|(_, (_, record))| same(&record))
}

/// What a step sends to which topic; bytes that are no number are where dead letters have them.
fn sent(step: &Step) -> Option<(&str, Output)> {
    let (topic, key, value, time, header, bytes) = match step {
        Step::Clock(_) => return None,
        Step::Record((topic, key, value, time)) => (topic, key, *value, time, None, None),
        Step::Headed((topic, key, value, time, header)) => {
            (topic, key, *value, time, Some(header.clone()), None)
        }
        Step::Bad((topic, key, bytes, time)) => (topic, key, None, time, None, Some(bytes)),
    };
    let letter = bytes.map(|bytes| Letter {
        bytes: Some(bytes.clone()),
        ..Letter::default()
    });
    let key = key.clone();
    // A log takes no negative time.
    let time = (*time).max(0);
    let record = Output {
        key,
        value,
        time,
        header,
        letter,
    };
    Some((topic, record))
}

fn matches(rule: &Rule, ours: &Output, theirs: &Output) -> bool {
    if ours.letter.is_some() || theirs.letter.is_some() {
        return letters_match(ours, theirs);
    }
    let tombstone = ours.value.is_none() && rule.tombstones == Times::Earlier;
    if !tombstone || ours.time > theirs.time {
        return ours == theirs;
    }
    let time = theirs.time;
    *theirs
        == Output {
            time,
            ..ours.clone()
        }
}

/// What differs between what our side made of a program, if it did, and what Kafka Streams said.
pub fn outcome(program: &Program, ours: Result<Answer>, theirs: &Said) -> Option<String> {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => difference(program, &ours, theirs),
        // What it does not build, it has no say about.
        (_, Err(Objection::Refused(_))) => None,
        (Ok(_), Err(Objection::Failed(text)))
            if (differences::rule(program).fails.iter()).any(|known| text.contains(known)) =>
        {
            None
        }
        (Err(error), _) => Some(format!("our side failed: {error:#}\n")),
        (Ok(_), Err(failed)) => Some(format!("{failed}\n")),
    }
}
