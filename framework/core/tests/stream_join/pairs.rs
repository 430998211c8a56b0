//! Joins against the nested loop: every pair within the window, and every record without one.

use super::{
    bench::{Kind, join, self_join, window},
    pair::{Fate, Outcome, Step, l, r, run, run_through},
};
use millstream_core::prelude::*;
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeMap;

/// Far enough from the beginning of time that no window is cut off there.
const START: Timestamp = 100;

/// How many results there are of each kind.
type Bag = BTreeMap<(String, String, Timestamp), usize>;

fn windows() -> impl Strategy<Value = (i64, i64, u64)> {
    let sides = prop_oneof![
        Just((5, 5)),
        Just((0, 0)),
        Just((9, 0)),
        Just((0, 7)),
        Just((12, -5)),
        Just((-3, 11)),
        Just((4, -4))
    ];
    (sides, 0u64..20).prop_map(|((before, after), grace)| (before, after, grace))
}

fn steps(times: impl Strategy<Value = Timestamp>) -> impl Strategy<Value = Vec<Step>> {
    let step = (any::<bool>(), 0usize..3, times).prop_map(|(left, key, time)| {
        let step = if left { l } else { r };
        step(["a", "ab", "b"][key], 0, time)
    });
    vec(step, 0..60).prop_map(|mut steps| {
        for (number, step) in (1..).zip(&mut steps) {
            step.record.value = Some(number);
        }
        steps
    })
}

/// The same on one side.
fn left_steps(times: impl Strategy<Value = Timestamp>) -> impl Strategy<Value = Vec<Step>> {
    steps(times).prop_map(|mut steps| {
        steps.iter_mut().for_each(|step| step.left = true);
        steps
    })
}

/// Records whose times never go back.
fn in_order() -> impl Strategy<Value = Vec<Step>> {
    steps(0i64..6).prop_map(|mut steps| {
        let mut now = START;
        for step in &mut steps {
            now += step.record.timestamp;
            step.record.timestamp = now;
        }
        steps
    })
}

fn bag(results: impl IntoIterator<Item = (String, String, Timestamp)>) -> Bag {
    let mut bag = Bag::new();
    for result in results {
        *bag.entry(result).or_default() += 1;
    }
    bag
}

fn found(outcome: &Outcome) -> Bag {
    let results = outcome.results.iter().cloned();
    bag(results.map(|(key, joined, time)| (key.unwrap_or_default(), joined, time)))
}

fn meets(left: &Step, right: &Step, (before, after, _): (i64, i64, u64)) -> bool {
    let apart = right.record.timestamp - left.record.timestamp;
    left.record.key == right.record.key && (-before..=after).contains(&apart)
}

fn key(step: &Step) -> String {
    step.record.key.clone().unwrap_or_default()
}

fn value(step: &Step) -> i64 {
    step.record.value.unwrap_or_default()
}

/// The result of a record that met nobody.
fn alone(step: &Step) -> (String, String, Timestamp) {
    let shown = match step.left {
        true => format!("{} -", value(step)),
        false => format!("- {}", value(step)),
    };
    (key(step), shown, step.record.timestamp)
}

/// All pairs, and for the sides asked for those that are in none.
fn expected(script: &[Step], windows: (i64, i64, u64), kind: Kind) -> Bag {
    let (left, right): (Vec<&Step>, Vec<&Step>) = script.iter().partition(|step| step.left);
    let mut results = Vec::new();
    for l in &left {
        let partners: Vec<_> = right.iter().filter(|r| meets(l, r, windows)).collect();
        for r in &partners {
            let time = l.record.timestamp.max(r.record.timestamp);
            results.push((key(l), format!("{} {}", value(l), value(r)), time));
        }
        if partners.is_empty() && kind != Kind::Inner {
            results.push(alone(l));
        }
    }
    for r in right.iter().filter(|_| kind == Kind::Outer) {
        if !left.iter().any(|l| meets(l, r, windows)) {
            results.push(alone(r));
        }
    }
    bag(results)
}

/// The same where times go back, with grace for all of them: who comes when its window has closed
/// and has met nobody by then is told at once, whoever comes after it.
fn expected_out_of_order(script: &[Step], windows: (i64, i64, u64), kind: Kind) -> Bag {
    let mut all = expected(script, windows, kind);
    let (mut stream_time, asked) = (0, |left| kind == Kind::Outer || kind == Kind::Left && left);
    for (position, step) in script.iter().enumerate() {
        let time = step.record.timestamp;
        let reach = if step.left { windows.1 } else { windows.0 };
        let partner = |other: &Step| match (step.left, other.left) {
            (true, false) => meets(step, other, windows),
            (false, true) => meets(other, step, windows),
            _ => false,
        };
        stream_time = time.max(stream_time);
        let later = script[position + 1..].iter().any(partner);
        let earlier = script[..position].iter().any(partner);
        // Without a partner it is among the expected already.
        if asked(step.left) && later && !earlier && time + reach < stream_time {
            *all.entry(alone(step)).or_default() += 1;
        }
    }
    all
}

/// Two records of another key that close all windows, whichever side looks.
fn closed(mut script: Vec<Step>) -> Vec<Step> {
    script.extend([l("z", -1, 100_000), r("z", -1, 100_000)]);
    script.extend([l("y", -1, 200_000), r("y", -1, 200_000)]);
    script
}

/// Without the results of those that only close windows.
fn without_closers(mut bag: Bag) -> Bag {
    bag.retain(|(key, ..), _| key != "z" && key != "y");
    bag
}

fn fates() -> impl Strategy<Value = Vec<(usize, Fate)>> {
    let fate = prop_oneof![
        Just(Fate::Committed),
        Just(Fate::Refused),
        Just(Fate::Crashed),
        Just(Fate::Reopened)
    ];
    vec((1usize..12, fate), 0..12)
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Inner), Just(Kind::Left), Just(Kind::Outer)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn an_inner_join_has_all_pairs_within_the_window(
        windows in windows(), script in steps(START..START + 40)
    ) {
        // Nothing is late: the grace period is longer than all that happens.
        let windows = (windows.0, windows.1, 1_000);
        let outcome = run(join(Kind::Inner, window(windows)), &script);
        prop_assert_eq!(found(&outcome), expected(&script, windows, Kind::Inner));
        prop_assert_eq!(outcome.dropped.late_record, 0);
    }

    #[test]
    fn who_meets_nobody_is_told_once_when_the_window_is_closed(
        kind in kinds(), windows in windows(), script in in_order()
    ) {
        // With less grace Kafka forgets records a millisecond early, and those of a window that
        // lies apart from its record as much earlier as it lies apart.
        let apart = u64::try_from(0.max(-windows.0).max(-windows.1)).unwrap();
        let windows = (windows.0, windows.1, windows.2 + 1 + apart);
        let outcome = run(join(kind, window(windows)), &closed(script.clone()));
        let all = expected(&script, windows, kind);
        prop_assert_eq!(without_closers(found(&outcome)), all);
    }

    #[test]
    fn who_meets_nobody_is_told_once_out_of_order_too(
        kind in kinds(), windows in windows(), script in steps(START..START + 40)
    ) {
        let windows = (windows.0, windows.1, 1_000);
        let outcome = run(join(kind, window(windows)), &closed(script.clone()));
        let all = expected_out_of_order(&script, windows, kind);
        prop_assert_eq!(without_closers(found(&outcome)), all);
    }

    #[test]
    fn a_stream_joined_with_itself_is_two_equal_streams(
        windows in windows(), script in left_steps(0i64..60)
    ) {
        let one = run(self_join(window(windows), true), &script);
        let two = run(self_join(window(windows), false), &script);
        prop_assert_eq!(one.texts(), two.texts());
        prop_assert_eq!(2 * one.dropped.late_record, two.dropped.late_record);
    }

    #[test]
    fn a_restart_changes_nothing(
        kind in kinds(), windows in windows(), script in steps(0i64..60), fates in fates()
    ) {
        let topology = join(kind, window(windows));
        let through = run_through(&topology, &script, &fates);
        prop_assert_eq!(run(topology, &script).results, through);
    }

    #[test]
    fn a_restart_changes_nothing_for_a_stream_joined_with_itself(
        windows in windows(), script in left_steps(0i64..60), fates in fates()
    ) {
        let topology = self_join(window(windows), true);
        let through = run_through(&topology, &script, &fates);
        prop_assert_eq!(run(topology, &script).results, through);
    }
}
