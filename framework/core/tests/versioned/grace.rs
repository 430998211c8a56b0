//! Joins that wait for their table: against the replay in the order of time.

use super::{
    gone, millis,
    pair::{Fate, Key, LEFT, OUT, Step, l, r, run, run_through},
    show, table,
};
use millstream_core::prelude::*;
use proptest::{collection::vec, prelude::*};

/// A left join whose records wait so long.
fn waiting(grace: u64, history: u64) -> Topology {
    let builder = StreamsBuilder::new();
    let joined = Joined::with("j", LEFT.key, LEFT.value).with_grace_period(millis(grace));
    let join = |value, row: Option<&i64>| format!("{value} {}", show(row.copied()));
    let stream = builder.stream(&LEFT);
    stream
        .left_join_with(table(&builder, history), joined, join)
        .to(&OUT);
    builder.build().unwrap()
}

#[test]
fn a_record_waits_until_the_grace_period_is_over() {
    let script = [
        l("a", 1, 10),
        l("b", 2, 10),
        l("a", 3, 9),
        l("a", 4, 14),
        // Nobody has come in time for these.
        r("a", 1, 5),
        r("a", 2, 10),
        r("b", 9, 8),
        // 19 is 10 behind 9, and 20 is it behind 10.
        l("z", 5, 19),
        l("z", 6, 20),
        // It is too late to wait, and is joined before the others that still do.
        l("a", 7, 9),
        l("z", 8, 24),
    ];
    let outcome = run(waiting(10, 100), &script);
    let met = [
        "a: 3 1 @9",
        "a: 1 2 @10",
        "b: 2 9 @10",
        "a: 7 1 @9",
        "a: 4 2 @14",
    ];
    assert_eq!(outcome.texts(), met);
    // Without a grace period nothing waits.
    let results = run(waiting(0, 100), &script[..2]);
    assert_eq!(results.texts(), ["a: 1 - @10", "b: 2 - @10"]);
}

#[test]
fn equal_times_come_out_by_key_and_then_as_they_came() {
    let script = [
        l("b", 1, 10),
        l("ab", 2, 10),
        l("a", 3, 10),
        l("b", 4, 10),
        l("a", 5, 10),
        l("z", 6, 20),
    ];
    let met = [
        "a: 3 - @10",
        "a: 5 - @10",
        "ab: 2 - @10",
        "b: 1 - @10",
        "b: 4 - @10",
    ];
    assert_eq!(run(waiting(10, 100), &script).texts(), met);
}

#[test]
fn a_record_that_waited_has_its_headers_and_none_waits_without_a_key() {
    let mut driver = TopologyTestDriver::new(waiting(10, 100)).unwrap();
    let mut record = Record::new(Some("a".to_owned()), 1, 10);
    record.headers.push("from", Some(b"here".to_vec()));
    record.headers.push("null", None);
    driver.pipe_record(&LEFT, &record).unwrap();
    driver.pipe(&LEFT, None, 2, 11).unwrap();
    driver.pipe(&LEFT, Some("a".to_owned()), 3, 20).unwrap();
    let results = driver.read(&OUT).unwrap();
    let values: Vec<_> = results.iter().map(|record| record.value.as_str()).collect();
    assert_eq!(values, ["2 -", "1 -"]);
    assert_eq!(results[1].headers, record.headers);
    assert_eq!(results[0].headers, Headers::NONE);
}

#[test]
fn a_grace_period_needs_a_history_at_least_as_long() {
    let told = |history: Option<u64>| {
        let builder = StreamsBuilder::new();
        let rows = Materialized::with("rows", LEFT.key, LEFT.value);
        let rows = match history {
            Some(history) => rows.versioned(millis(history)),
            None => rows,
        };
        let rows = builder.table(&super::RIGHT, rows);
        let joined = Joined::with("j", LEFT.key, LEFT.value).with_grace_period(millis(10));
        let stream = builder.stream(&LEFT);
        let line = line!() + 1;
        let results = stream.join_with(rows, joined, |value, row| format!("{value} {row}"));
        results.to(&OUT);
        let place = format!("{}:{line}:", file!());
        builder.build().err().map(|error| {
            let text = error.to_string();
            assert!(text.starts_with(&place), "{text}");
            text
        })
    };
    let text = told(None).unwrap();
    assert!(
        text.contains("only with a table that has versions"),
        "{text}"
    );
    let text = told(Some(9)).unwrap();
    assert!(
        text.contains("of 10 ms is longer than the table's history of 9 ms"),
        "{text}"
    );
    assert_eq!(told(Some(10)), None);
}

#[test]
fn a_key_that_was_changed_goes_through_a_topic_named_after_the_join() {
    let builder = StreamsBuilder::new();
    let stream = builder
        .stream(&LEFT)
        .select_key(|_, value| Some(format!("k{value}")));
    let joined = Joined::with("j", LEFT.key, LEFT.value);
    let results = stream.join_with(table(&builder, 10), joined, |value, row| {
        format!("{value} {row}")
    });
    results.to(&OUT);
    let layout = builder.build().unwrap().layout("app", |_| Some(2)).unwrap();
    let names: Vec<_> = layout
        .internal
        .iter()
        .map(|topic| topic.name.as_str())
        .collect();
    assert_eq!(names, ["app-j-repartition", "app-rows-changelog"]);
}

#[test]
fn what_waits_is_in_a_changelog_unless_that_is_turned_off() {
    let changelogs = |joined: Joined<Key, i64>| {
        let builder = StreamsBuilder::new();
        let joined = joined.with_grace_period(millis(10));
        let stream = builder.stream(&LEFT);
        let results = stream.join_with(table(&builder, 10), joined, |value, row| {
            format!("{value} {row}")
        });
        results.to(&OUT);
        let layout = builder.build().unwrap().layout("app", |_| Some(1)).unwrap();
        let topics = layout.internal.into_iter().map(|topic| topic.name);
        topics.collect::<Vec<_>>()
    };
    let joined = || Joined::with("j", LEFT.key, LEFT.value);
    let (waiting, rows) = ("app-j-buffer-changelog", "app-rows-changelog");
    let mut logged = changelogs(joined());
    logged.sort();
    assert_eq!(logged, [waiting, rows]);
    assert_eq!(changelogs(joined().with_logging_disabled()), [rows]);
}

pub(super) fn fates() -> impl Strategy<Value = Vec<(usize, Fate)>> {
    let fate = prop_oneof![
        Just(Fate::Committed),
        Just(Fate::Refused),
        Just(Fate::Crashed),
        Just(Fate::Reopened)
    ];
    vec((1usize..12, fate), 0..12)
}

const GRACE: Timestamp = 20;

/// Records that are never as late as the grace period: how much time passes before each, how late
/// it is, and what it is.
fn punctual() -> impl Strategy<Value = Vec<Step>> {
    let step = (0i64..8, 0..GRACE, 0u8..6, 0usize..3);
    vec(step, 0..60).prop_map(|steps| {
        let (mut now, mut script) = (100, Vec::new());
        for (number, (passed, late, what, key)) in (1..).zip(steps) {
            now += passed;
            let (key, time) = (["a", "ab", "b"][key], now - late);
            script.push(match what {
                0 => gone(key, time),
                1 | 2 => r(key, number, time),
                _ => l(key, number, time),
            });
        }
        script
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// If nothing is later than the grace period, it is as if all had come in the order of time,
    /// the table's updates before the stream's records.
    #[test]
    fn waiting_is_replaying_in_the_order_of_time(script in punctual()) {
        let script = super::without_taking_back(&script);
        let mut sorted: Vec<&Step> = script.iter().filter(|step| step.left).collect();
        sorted.sort_by_key(|step| (step.record.timestamp, step.record.key.clone()));
        let row = |of: &Record<Key, Option<i64>>| {
            let updates = script.iter().filter(|step| !step.left).map(|step| &step.record);
            let known = updates.filter(|u| u.key == of.key && u.timestamp <= of.timestamp);
            known.max_by_key(|update| update.timestamp).and_then(|update| update.value)
        };
        let result = |step: &&Step| {
            let Record { key, value, timestamp, .. } = &step.record;
            let joined = format!("{} {}", show(*value), show(row(&step.record)));
            (key.clone(), joined, *timestamp)
        };
        let expected: Vec<_> = sorted.iter().map(result).collect();
        let grace = u64::try_from(GRACE).unwrap();
        let all = [script.clone(), vec![l("z", 0, 10_000)]].concat();
        prop_assert_eq!(run(waiting(grace, 10_000), &all).results, expected);
    }

    #[test]
    fn a_restart_changes_nothing_for_those_who_wait(script in super::steps(), fates in fates()) {
        let topology = waiting(10, 20);
        let through = run_through(&topology, &script, &fates);
        prop_assert_eq!(run(topology, &script).results, through);
    }
}
