//! Exact sequences. All of them are those of Kafka Streams 4.3.1 under its own test driver.

use super::{
    bench::{Kind, join, window},
    pair::{Step, l, r, run},
};

/// Runs a script through the three kinds of join.
fn check(windows: (i64, i64, u64), script: &[Step], expected: [&[&str]; 3]) {
    for (kind, expected) in [Kind::Inner, Kind::Left, Kind::Outer]
        .into_iter()
        .zip(expected)
    {
        let outcome = run(join(kind, window(windows)), script);
        assert_eq!(outcome.texts(), expected, "{kind:?} {windows:?}");
    }
}

#[test]
fn a_record_meets_those_of_the_window_in_the_order_of_their_times() {
    let script = [
        l("a", 1, 10),
        r("a", 2, 12),
        r("a", 3, 15),
        r("a", 4, 16),
        l("a", 5, 13),
        l("b", 6, 40),
    ];
    let around = [
        "a: 1 2 @12",
        "a: 1 3 @15",
        "a: 5 2 @13",
        "a: 5 3 @15",
        "a: 5 4 @16",
    ];
    check((5, 5, 0), &script, [&around, &around, &around]);
    check((5, 5, 10), &script, [&around, &around, &around]);
    let after = [
        "a: 1 2 @12",
        "a: 1 3 @15",
        "a: 1 4 @16",
        "a: 5 3 @15",
        "a: 5 4 @16",
    ];
    check((0, 10, 0), &script, [&after, &after, &after]);
    check((-2, 10, 5), &script, [&after, &after, &after]);
}

#[test]
fn duplicates_and_equal_times_meet_as_often_as_they_come() {
    let script = [
        l("a", 1, 10),
        l("a", 2, 10),
        r("a", 3, 10),
        r("a", 3, 10),
        l("a", 1, 10),
        l("b", 6, 40),
    ];
    let met = [
        "a: 1 3 @10",
        "a: 2 3 @10",
        "a: 1 3 @10",
        "a: 2 3 @10",
        "a: 1 3 @10",
        "a: 1 3 @10",
    ];
    check((5, 5, 0), &script, [&met, &met, &met]);
    check((0, 0, 1), &script, [&met, &met, &met]);
    // Nothing is kept for a window that takes no time at all.
    let left = ["a: 1 - @10", "a: 2 - @10", "a: 1 - @10"];
    let outer = [
        "a: - 3 @10",
        "a: - 3 @10",
        "a: 1 - @10",
        "a: 2 - @10",
        "a: 1 - @10",
    ];
    check((0, 0, 0), &script, [&[], &left, &outer]);
}

#[test]
fn a_window_that_lies_apart_from_its_record() {
    let script = [
        l("a", 1, 10),
        r("a", 2, 10),
        r("a", 3, 6),
        l("a", 4, 12),
        r("a", 5, 15),
        l("b", 6, 40),
        r("b", 7, 60),
    ];
    // Who comes when the window of its kind has closed waits for nobody, and may meet somebody
    // still.
    let left = ["a: 1 - @10", "a: 1 3 @10", "a: 4 3 @12", "b: 6 - @40"];
    let outer = [
        "a: 1 - @10",
        "a: 1 3 @10",
        "a: 4 3 @12",
        "a: - 2 @10",
        "a: - 5 @15",
        "b: 6 - @40",
    ];
    check(
        (10, -4, 0),
        &script,
        [&["a: 1 3 @10", "a: 4 3 @12"], &left, &outer],
    );
    let met = ["a: 1 5 @15", "a: 4 5 @15"];
    let left = ["a: 1 5 @15", "a: 4 5 @15", "b: 6 - @40"];
    let outer = [
        "a: - 2 @10",
        "a: - 3 @6",
        "a: 1 5 @15",
        "a: 4 5 @15",
        "b: 6 - @40",
        "b: - 7 @60",
    ];
    check((-2, 10, 5), &script, [&met, &left, &outer]);
}

#[test]
fn who_is_late_is_told_at_once_and_meets_what_is_still_kept() {
    let script = [
        l("a", 1, 10),
        r("b", 2, 40),
        r("a", 3, 10),
        l("a", 4, 29),
        l("b", 5, 38),
        r("c", 6, 50),
        r("c", 7, 61),
    ];
    let inner = ["a: 1 3 @10", "b: 5 2 @40"];
    let left = ["a: 1 - @10", "a: 1 3 @10", "a: 4 - @29", "b: 5 2 @40"];
    let outer = [
        "a: 1 - @10",
        "a: 1 3 @10",
        "a: 4 - @29",
        "b: 5 2 @40",
        "c: - 6 @50",
    ];
    check((5, 5, 0), &script, [&inner, &left, &outer]);
    // With more grace the last one is still waited for.
    check((5, 5, 10), &script, [&inner, &left, &outer[..4]]);
}

#[test]
fn results_without_a_partner_come_by_time_then_right_before_left_then_by_key() {
    let script = [
        l("b", 1, 10),
        r("c", 2, 10),
        l("a", 3, 10),
        l("b", 4, 10),
        l("d", 5, 15),
        r("e", 6, 16),
        l("f", 7, 20),
        r("f", 8, 26),
    ];
    let left = [
        "a: 3 - @10",
        "b: 1 - @10",
        "b: 4 - @10",
        "d: 5 - @15",
        "f: 7 - @20",
    ];
    let outer = [
        "c: - 2 @10",
        "a: 3 - @10",
        "b: 1 - @10",
        "b: 4 - @10",
        "d: 5 - @15",
        "e: - 6 @16",
        "f: 7 - @20",
    ];
    check((5, 5, 0), &script, [&[], &left, &outer]);
    let met = "f: 7 8 @26";
    let left = ["a: 3 - @10", "b: 1 - @10", "b: 4 - @10", "d: 5 - @15", met];
    let outer = [
        "c: - 2 @10",
        "a: 3 - @10",
        "b: 1 - @10",
        "b: 4 - @10",
        "d: 5 - @15",
        "e: - 6 @16",
        met,
    ];
    check((0, 10, 0), &script, [&[met], &left, &outer]);
}

#[test]
fn who_has_met_somebody_is_not_told() {
    let script = [
        l("a", 1, 10),
        l("a", 2, 10),
        l("a", 3, 11),
        r("a", 4, 6),
        r("b", 5, 40),
    ];
    let met = ["a: 1 4 @10", "a: 2 4 @10", "a: 3 4 @11"];
    // The right one comes late enough to have been told already, had it met nobody.
    check((5, 5, 0), &script, [&met, &met, &met]);
    check((5, 5, 10), &script, [&met, &met, &met]);
}

#[test]
fn null_keys_meet_nobody() {
    let script = [
        l("a", 1, 10).without_key(),
        r("a", 2, 10).without_key(),
        l("a", 3, 30),
        r("x", 4, 50),
    ];
    let left = ["null: 1 - @10", "a: 3 - @30"];
    let outer = ["null: 1 - @10", "null: - 2 @10", "a: 3 - @30"];
    check((5, 5, 0), &script, [&[], &left, &outer]);
    for (kind, dropped) in [(Kind::Inner, 2), (Kind::Left, 1), (Kind::Outer, 0)] {
        let outcome = run(join(kind, window((5, 5, 0))), &script);
        assert_eq!(outcome.dropped.null_key, dropped, "{kind:?}");
    }
}

#[test]
fn who_comes_when_all_it_could_meet_is_forgotten_is_counted() {
    let at = |time| l("a", 1, time);
    // Kept are 10 + 5 ms behind the greatest time of the side, that time excluded.
    for (time, late) in [(86, 0), (85, 1), (10, 1)] {
        let script = [at(100), at(time), r("a", 2, time)];
        for kind in [Kind::Inner, Kind::Left, Kind::Outer] {
            let outcome = run(join(kind, window((5, 5, 5))), &script);
            assert_eq!(outcome.dropped.late_record, late, "{kind:?} {time}");
        }
    }
}
