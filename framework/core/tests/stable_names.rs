//! An operator that comes changes no other one's name: a program with all that can be told apart,
//! and whatever else there is put into each place of it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/pass.rs"]
mod pass;

use millstream_core::{prelude::*, topology::Topology};
use pass::Pass;
use std::{collections::BTreeMap, time::Duration};

type Texts<'b> = KStream<'b, String, String>;
type Seen = StoreHandle<KeyValueStore<String, String>>;
type Text = Topic<String, String>;

static TEXT: Text = Topic::new("text", utf8(), utf8());
static OTHER: Text = Topic::new("other", utf8(), utf8());
static MORE: Text = Topic::new("more", utf8(), utf8());
static OUT: Text = Topic::new("out", utf8(), utf8());
static ROWS: Text = Topic::new("rows", utf8(), utf8());
static FURTHER: Text = Topic::new("further", utf8(), utf8());
static EVERYWHERE: Text = Topic::new("everywhere", utf8(), utf8());

/// What may come into the program: it goes on with what this gives back.
type Extra = for<'b> fn(Texts<'b>, Seen) -> Texts<'b>;

fn hour() -> JoinWindows {
    JoinWindows::of_time_difference_with_no_grace(Duration::from_secs(3600))
}

/// What the program has none of, so that no other name may change. What others are named after is
/// put beside the stream and not into it, where it would name those below.
const OTHERS: &[(&str, Extra)] = &[
    ("peek", |texts, _| texts.peek(|_, _| ())),
    ("flat map", |texts, _| {
        texts.flat_map_values(|text| vec![text])
    }),
    ("named filter", |texts, _| {
        let _ = texts.filter(|_, _| true).named("chosen").peek(|_, _| ());
        texts
    }),
    ("stateless processor", |texts, _| {
        texts.process_values((), |_| Pass)
    }),
    ("fixed-key processor", |texts, seen| {
        let _ = texts.process_values(seen, |_| Pass).peek(|_, _| ());
        texts
    }),
    ("count", |texts, _| {
        texts
            .group_by_key()
            .count("extra")
            .to_stream()
            .for_each(|_, _| ());
        texts
    }),
    ("group by", |texts, _| {
        let words = texts.group_by(|_, text| text.clone()).count("extra");
        let _ = words
            .map_values(|_, count| count + 1)
            .materialize("extra-2");
        texts
    }),
    ("named sink", |texts, _| {
        texts.to(Produced::of(&OUT).named("second"));
        texts
    }),
    ("sink of another topic", |texts, _| {
        texts.to(&MORE);
        texts
    }),
    ("left join", |texts, _| {
        let more = texts.builder().table(&FURTHER, "further");
        texts.left_join(more, |text, _| text)
    }),
    ("global join", |texts, _| {
        let all = texts.builder().global_table(&FURTHER, "further");
        let key = |key: &String, _: &String| key.clone();
        texts.left_join_global(all, key, |text, _| text)
    }),
    ("join of streams", |texts, _| {
        let more = texts.builder().stream(&MORE);
        let _ = texts.join_stream(more, hour(), "extra", |a, b| format!("{a}{b}"));
        texts
    }),
    ("foreign join", |texts, _| {
        let far = texts.builder().table(&FURTHER, "further");
        let near = texts.builder().table(&MORE, "near");
        let key = |_: &String, row: &String| Some(row.clone());
        let both = near.foreign_key_join(far, key, |a, b| format!("{a}{b}"), "extra");
        let _ = both.materialize("extra-2");
        texts
    }),
    ("source", |texts, _| {
        let _ = texts.builder().stream(&MORE).filter(|_, _| true);
        texts
    }),
    ("read-only store", |texts, _| {
        let rows = texts.builder().read_only_store(&FURTHER, "further");
        texts.process_values(rows, |_| Pass)
    }),
];

/// Equals of what the program has: at the same place they are numbered.
const EQUALS: &[(&str, Extra)] = &[
    ("filter", |texts, _| texts.filter(|_, _| true)),
    ("map values", |texts, _| texts.map_values(|text| text)),
    ("merge", |texts, _| texts.merge(texts)),
    ("sink", |texts, _| {
        texts.to(&OUT);
        texts
    }),
    ("source", |texts, _| {
        let _ = texts.builder().stream(&TEXT).filter(|_, _| true);
        texts
    }),
    ("processor", |texts, seen| {
        let _ = texts.process(seen, |_| Pass);
        texts
    }),
    ("split", |texts, _| {
        let split = texts.split();
        let _ = split.branch(|_, _| true);
        split.default_branch()
    }),
];

/// How many places the program has.
const PLACES: usize = 10;

/// The program, in which `extra` comes into one of its places.
fn program(at: usize, extra: Extra) -> Topology {
    let builder = StreamsBuilder::new();
    let seen = builder.store(Materialized::with("seen", utf8(), utf8()));
    let other = builder.stream(&OTHER);
    let put = |place: usize, texts| match place == at {
        true => extra(texts, seen),
        false => texts,
    };
    let _ = put(0, other);
    let rows = builder.table(&ROWS, "rows");
    let everywhere = builder.global_table(&EVERYWHERE, "everywhere");
    let text = put(1, builder.stream(&TEXT));
    let kept = put(2, text.filter(|_, _| true));
    let kept = put(3, kept.filter(|_, _| true));
    let with_rows = put(4, kept.join(rows, |left, right| left + right));
    let key = |key: &String, _: &String| key.clone();
    let looked = with_rows.join_global(everywhere, key, |left, right| left + right);
    let split = put(5, looked).split();
    let _ = put(6, split.branch(|_, _| true)).map_values(|text| text);
    let rest = put(7, split.default_branch());
    let rest = put(8, rest.merge(text));
    let processed = rest.process(seen, |_| Pass);
    processed.process(seen, |_| Pass).to(&OUT);
    let pairs = rows.foreign_key_join(rows, |_, row| Some(row.clone()), |a, _| a.clone(), "pairs");
    pairs
        .materialize("pairs-now")
        .to_stream()
        .for_each(|_, _| ());
    let windowed = processed.left_join_stream(text, hour(), "both", |a, _| a.clone());
    let _ = windowed
        .select_key(|_, text| text.clone())
        .repartition("again")
        .filter(|_, _| true);
    let _ = put(9, other);
    builder.build().unwrap()
}

/// The names, by what stays the same of an operator: where the program declares it, its kind, and
/// which one of these it is.
fn names(topology: &Topology) -> BTreeMap<(String, &'static str, usize), String> {
    let mut names = BTreeMap::new();
    for node in topology.nodes() {
        let at = node.at.to_string();
        let mut numbers = (0..).map(|number| (at.clone(), node.label, number));
        let place = numbers.find(|place| !names.contains_key(place)).unwrap();
        names.insert(place, node.name.clone());
    }
    names
}

/// A name without its number.
fn bare(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((bare, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => bare,
        _ => name,
    }
}

#[test]
fn what_comes_changes_no_name_of_another_kind() {
    let before = names(&program(PLACES, |texts, _| texts));
    for (what, extra) in OTHERS {
        for place in 0..PLACES {
            let after = names(&program(place, *extra));
            assert!(after.len() > before.len(), "{what} came nowhere at {place}");
            for (operator, name) in &before {
                assert_eq!(after.get(operator), Some(name), "{what} at {place}");
            }
        }
    }
}

#[test]
fn what_comes_renumbers_only_its_equals_and_what_is_named_after_them() {
    let before = names(&program(PLACES, |texts, _| texts));
    for (what, extra) in EQUALS {
        for place in 0..PLACES {
            let after = names(&program(place, *extra));
            let came = after
                .iter()
                .filter(|(operator, _)| !before.contains_key(operator));
            let came: Vec<_> = came.map(|(_, name)| bare(name)).collect();
            let changed: Vec<_> = (before.iter())
                .map(|(operator, name)| (name, &after[operator]))
                .filter(|(old, new)| old != new)
                .collect();
            for (old, new) in &changed {
                let equal = bare(old) == bare(new) && came.contains(&bare(new));
                let after_one = changed.iter().any(|(above, now)| {
                    let kind = old
                        .split_once(&format!("-after-{above}"))
                        .map(|(kind, _)| kind);
                    kind.is_some_and(|kind| new.starts_with(&format!("{kind}-after-{now}")))
                });
                assert!(equal || after_one, "{what} at {place}: {old} is {new} now");
            }
        }
    }
}
