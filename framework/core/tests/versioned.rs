//! Tables that know what their rows were, and streams that wait for them.
//!
//! The exact sequences here are those of Kafka Streams 4.3.1 under its own test driver.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "versioned/grace.rs"]
mod grace;
#[path = "common/pair.rs"]
mod pair;

use millstream_core::prelude::*;
use pair::{Key, LEFT, OUT, RIGHT, Step, l, r, run, run_through};
use proptest::{collection::vec, prelude::*};
use std::time::Duration;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The right input as a table with versions.
fn table(builder: &StreamsBuilder, history: u64) -> KTable<'_, Key, i64> {
    let rows = Materialized::with("rows", RIGHT.key, RIGHT.value);
    builder.table(&RIGHT, rows.versioned(millis(history)))
}

/// A tombstone of the right input.
fn gone(key: &str, time: Timestamp) -> Step {
    let mut step = r(key, 0, time);
    step.record.value = None;
    step
}

/// What comes out of a program, and how many records came too late for it.
fn outcome(
    build: impl Fn(KStream<'_, Key, i64>, KTable<'_, Key, i64>),
    history: u64,
    script: &[Step],
) -> (Vec<String>, u64) {
    let builder = StreamsBuilder::new();
    build(builder.stream(&LEFT), table(&builder, history));
    let outcome = run(builder.build().unwrap(), script);
    (outcome.texts(), outcome.dropped.late_record)
}

fn show(row: Option<i64>) -> String {
    row.map_or("-".to_owned(), |row| row.to_string())
}

/// Rows 1 at 10, 3 at 30, and what becomes known later: 2 at 20, a deletion at 25, 0 at 5.
fn history() -> Vec<Step> {
    vec![
        r("a", 1, 10),
        r("a", 3, 30),
        r("a", 2, 20),
        gone("a", 25),
        r("a", 0, 5),
    ]
}

#[test]
fn a_stream_meets_the_row_that_there_was_at_its_time() {
    let mut script = history();
    let times = [4, 5, 10, 19, 20, 24, 25, 29, 30, 99];
    script.extend(times.iter().map(|time| l("a", *time, *time)));
    let inner = |stream: KStream<'_, Key, i64>, table: KTable<'_, Key, i64>| {
        stream
            .join(table, |time, row| format!("{time} {row}"))
            .to(&OUT);
    };
    let (results, _) = outcome(inner, 100, &script);
    let met = [
        "a: 5 0 @5",
        "a: 10 1 @10",
        "a: 19 1 @19",
        "a: 20 2 @20",
        "a: 24 2 @24",
        "a: 30 3 @30",
        "a: 99 3 @99",
    ];
    assert_eq!(results, met);
    let left = |stream: KStream<'_, Key, i64>, table: KTable<'_, Key, i64>| {
        let rows = table
            .map_values(|_, row| row * 10)
            .filter(|_, row| *row != 20);
        stream
            .left_join(rows, |time, row| format!("{time} {}", show(row.copied())))
            .to(&OUT);
    };
    let (results, _) = outcome(left, 100, &script);
    let met = [
        "a: 4 - @4",
        "a: 5 0 @5",
        "a: 10 10 @10",
        "a: 19 10 @19",
        "a: 20 - @20",
        "a: 24 - @24",
        "a: 25 - @25",
        "a: 29 - @29",
        "a: 30 30 @30",
        "a: 99 30 @99",
    ];
    assert_eq!(results, met);
}

#[test]
fn a_record_without_a_key_meets_no_row() {
    let script = [r("a", 1, 10), l("a", 2, 20).without_key()];
    let builder = StreamsBuilder::new();
    let (stream, rows) = (builder.stream(&LEFT), table(&builder, 100));
    let inner = stream.join(rows, |value, row| format!("{value} {row}"));
    let left = stream.left_join(rows, |value, row| format!("{value} {row:?}"));
    inner.merge(left).to(&OUT);
    let outcome = run(builder.build().unwrap(), &script);
    assert_eq!(outcome.texts(), ["null: 2 None @20"]);
    assert_eq!(outcome.dropped.null_key, 1);
}

#[test]
fn every_version_is_told_and_what_is_older_than_history_is_dropped() {
    let told = |stream: KStream<'_, Key, i64>, table: KTable<'_, Key, i64>| {
        table.to_stream().map_values(show).to(&OUT);
        stream.for_each(|_, _| {});
    };
    // 5 is 25 before 30: the last that is kept.
    let (results, late) = outcome(told, 25, &history());
    let all = ["a: 1 @10", "a: 3 @30", "a: 2 @20", "a: - @25", "a: 0 @5"];
    assert_eq!((results, late), (all.map(str::to_owned).to_vec(), 0));
    let (results, late) = outcome(told, 24, &history());
    assert_eq!(
        (results, late),
        (all[..4].iter().map(|s| (*s).to_owned()).collect(), 1)
    );
}

#[test]
fn joins_of_tables_are_spared_what_comes_out_of_order_and_count_it() {
    let script = [history(), vec![l("a", 7, 1), r("a", 4, 31)]].concat();
    let joined = |stream: KStream<'_, Key, i64>, table: KTable<'_, Key, i64>| {
        let other = stream.to_table(Materialized::with("other", LEFT.key, LEFT.value));
        let joined = table.outer_join(other, |row, other| {
            format!("{} {}", show(row.copied()), show(other.copied()))
        });
        joined.to(&OUT);
    };
    let (results, late) = outcome(joined, 100, &script);
    let latest = ["a: 1 - @10", "a: 3 - @30", "a: 3 7 @30", "a: 4 7 @31"];
    assert_eq!(results, latest);
    assert_eq!(late, 3);
    let itself = |stream: KStream<'_, Key, i64>, table: KTable<'_, Key, i64>| {
        table.join(table, |a, b| format!("{a} {b}")).to(&OUT);
        stream.for_each(|_, _| {});
    };
    let (results, late) = outcome(itself, 100, &script);
    assert_eq!(results, ["a: 1 1 @10", "a: 3 3 @30", "a: 4 4 @31"]);
    assert_eq!(late, 3);
}

#[test]
fn groups_of_rows_are_spared_it_too() {
    let script = [history(), vec![r("b", 3, 31), gone("b", 12), gone("a", 40)]].concat();
    let grouped = |stream: KStream<'_, Key, i64>, table: KTable<'_, Key, i64>| {
        let by_row = table.group_by(|key, row| (row.to_string(), key.clone().unwrap_or_default()));
        let counts = by_row.count("counts").to_stream();
        let named = counts.map(|row, count| (Some(row), count.unwrap_or_default().to_string()));
        named.to(&OUT);
        stream.for_each(|_, _| {});
    };
    let (results, late) = outcome(grouped, 100, &script);
    assert_eq!(
        results,
        ["1: 1 @10", "1: 0 @30", "3: 1 @30", "3: 2 @31", "3: 1 @40"]
    );
    assert_eq!(late, 0);
}

#[test]
fn a_derived_table_with_versions_of_its_own_is_read_as_of_a_time() {
    let builder = StreamsBuilder::new();
    let doubled = table(&builder, 100).map_values(|_, row| row * 2);
    let kept = Materialized::with("kept", RIGHT.key, RIGHT.value).versioned(millis(100));
    let kept = doubled.materialize(kept);
    assert!(kept.store().is_none());
    let store = kept.versioned_store().unwrap();
    let stream = builder.stream(&LEFT);
    stream
        .join(kept, |time, row| format!("{time} {row}"))
        .to(&OUT);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    for (row, time) in [(1, 10), (3, 30), (2, 20)] {
        driver
            .pipe(&RIGHT, Some("a".to_owned()), row, time)
            .unwrap();
    }
    driver.pipe(&LEFT, Some("a".to_owned()), 25, 25).unwrap();
    assert_eq!(driver.read(&OUT).unwrap()[0].value, "25 4");
    let key = Some("a".to_owned());
    let store = driver.store(store).unwrap();
    assert_eq!(store.get(&key).unwrap(), Some((&6, 30)));
    let was = store.get_as_of(&key, 19).unwrap().unwrap();
    assert_eq!((*was.value, was.since, was.until), (2, 10, Some(20)));
}

#[test]
fn what_cannot_have_versions_is_told() {
    let builder = StreamsBuilder::new();
    let grouped = builder.stream(&LEFT).group_by_key();
    let sums = Materialized::with("sums", LEFT.key, LEFT.value).versioned(millis(1));
    let line = line!() + 1;
    grouped.reduce(sums, |a, b| a + b);
    let told = builder.build().err().unwrap().to_string();
    assert!(told.starts_with(&format!("{}:{line}:", file!())), "{told}");
    assert!(
        told.contains("the store \"sums\" cannot have versions"),
        "{told}"
    );
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0u8..5, 0usize..3, 0i64..80).prop_map(|(what, key, time)| {
        let key = ["a", "ab", "b"][key];
        match what {
            0 => gone(key, time),
            1 | 2 => r(key, time, time),
            _ => l(key, time, time),
        }
    });
    vec(step, 0..60).prop_map(|mut steps| {
        for (number, step) in (1..).zip(&mut steps) {
            step.record.value = step.record.value.map(|_| number);
        }
        steps
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Each stream record meets what a list of all updates so far says.
    #[test]
    fn a_stream_meets_what_a_list_of_all_updates_says(script in steps()) {
        let mut updates: Vec<(Key, Timestamp, Option<i64>)> = Vec::new();
        let mut expected = Vec::new();
        for step in &script {
            let Record { key, value, timestamp, .. } = step.record.clone();
            if step.left {
                // The last of those that begin last: later ones replace earlier ones.
                let held = updates.iter().filter(|(k, since, _)| *k == key && *since <= timestamp);
                let held = held.max_by_key(|(_, since, _)| *since).and_then(|(.., row)| *row);
                expected.push((key, format!("{} {}", show(value), show(held)), timestamp));
            } else if !takes_back(&updates, &step.record) {
                updates.push((key, timestamp, value));
            }
        }
        let script: Vec<Step> = without_taking_back(&script);
        let builder = StreamsBuilder::new();
        let stream = builder.stream(&LEFT);
        let join = |value, row: Option<&i64>| format!("{value} {}", show(row.copied()));
        stream.left_join(table(&builder, 1_000), join).to(&OUT);
        let outcome = run(builder.build().unwrap(), &script);
        prop_assert_eq!(outcome.results, expected);
    }

    #[test]
    fn a_restart_changes_nothing(script in steps(), fates in grace::fates()) {
        let builder = StreamsBuilder::new();
        let (stream, table) = (builder.stream(&LEFT), table(&builder, 20));
        let join = |value, row: Option<&i64>| format!("{value} {}", show(row.copied()));
        let told = table.to_stream().map_values(show);
        stream.left_join(table, join).merge(told).to(&OUT);
        let topology = builder.build().unwrap();
        let through = run_through(&topology, &script, &fates);
        prop_assert_eq!(run(topology, &script).results, through);
    }
}

/// Whether a tombstone deletes the latest row at the very time at which that began: it then leaves
/// no trace, which another test holds the store to.
fn takes_back(
    updates: &[(Key, Timestamp, Option<i64>)],
    record: &Record<Key, Option<i64>>,
) -> bool {
    let of_key = updates.iter().filter(|(key, ..)| *key == record.key);
    let last = of_key.max_by_key(|(_, since, _)| *since);
    let same = last.is_some_and(|(_, since, row)| *since == record.timestamp && row.is_some());
    same && record.value.is_none()
}

fn without_taking_back(script: &[Step]) -> Vec<Step> {
    let (mut updates, mut kept) = (Vec::new(), Vec::new());
    for step in script {
        let record = &step.record;
        if !step.left {
            if takes_back(&updates, record) {
                continue;
            }
            updates.push((record.key.clone(), record.timestamp, record.value));
        }
        kept.push(step.clone());
    }
    kept
}
