//! Compares what both engines made of a program, as far as `tests/golden/differences.toml` lets it.
//!
//! Invariant: what is left out of the comparison is named there, with its reason.

use super::{
    Answer, Output, Program,
    differences::{self, Dropped, Rule, Times},
    parts::parts,
    peer::{Objection, Said},
};
use anyhow::Result;
use std::fmt::Write;

/// What differs, in words; nothing if all is the same.
pub fn difference(program: &Program, ours: &Answer, theirs: &Answer) -> Option<String> {
    let rule = differences::rule(program);
    // How much of the step at which a program stops was committed by then is not compared where
    // there is more than one task to commit.
    let internal = || parts(&program.nodes).is_ok_and(|parts| parts.internal);
    let partial = ours.failed.is_some() && internal();
    let mut told = String::new();
    let mut topics: Vec<_> = ours.outputs.keys().chain(theirs.outputs.keys()).collect();
    topics.sort();
    topics.dedup();
    for topic in topics {
        let (ours, theirs) = (ours.outputs.get(topic), theirs.outputs.get(topic));
        let same = ours.zip(theirs).is_some_and(|(ours, theirs)| {
            let mut pairs = ours.iter().zip(theirs);
            (partial || ours.len() == theirs.len())
                && pairs.all(|(ours, theirs)| matches(&rule, ours, theirs))
        });
        if !same {
            let list =
                |side: Option<&Vec<Output>>| serde_json::to_string(&side).unwrap_or_default();
            let _ = writeln!(told, "{topic} holds       {}", list(ours));
            let _ = writeln!(told, "{topic} should hold {}", list(theirs));
        }
    }
    if ours.failed != theirs.failed {
        let step =
            |failed: Option<usize>| failed.map_or("never".to_owned(), |at| format!("at step {at}"));
        let (ours, theirs) = (step(ours.failed), step(theirs.failed));
        let _ = writeln!(told, "stopped {ours} and not {theirs}");
    }
    let equal = match rule.dropped {
        _ if partial => true,
        Dropped::Equal => ours.dropped == theirs.dropped,
        Dropped::AtLeast => ours.dropped >= theirs.dropped,
        Dropped::Any => true,
    };
    if !equal {
        let _ = writeln!(told, "dropped {} and not {}", ours.dropped, theirs.dropped);
    }
    (!told.is_empty()).then_some(told)
}

fn matches(rule: &Rule, ours: &Output, theirs: &Output) -> bool {
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
            if (differences::rule(program).fails).is_some_and(|known| text.contains(&known)) =>
        {
            None
        }
        (Err(error), _) => Some(format!("our side failed: {error:#}\n")),
        (Ok(_), Err(failed)) => Some(format!("{failed}\n")),
    }
}
