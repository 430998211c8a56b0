//! Tumbling, hopping and unlimited windows.

use super::run::{Run, letters, mistake, ms, play};
use millstream_core::prelude::*;

const TUMBLING: TimeWindows = TimeWindows::of_size_and_grace(ms(10), ms(5));

#[test]
fn each_record_is_in_the_window_that_holds_its_time() {
    let windows = TimeWindows::of_size_with_no_grace(ms(10));
    let script = [
        ("a", 0, "a 0..10 a @0"),
        ("b", 9, "a 0..10 ab @9"),
        // The end is the next window's.
        ("c", 10, "a 10..20 c @10"),
        ("d", 10, "a 10..20 cd @10"),
        ("e", 35, "a 30..40 e @35"),
    ];
    let run = play(|group| letters(group, windows), &script);
    assert_eq!(run.dropped().late_record, 0);
}

#[test]
fn a_late_record_is_counted_and_dropped_once_the_grace_is_over() {
    let script = [
        ("a", 3, "a 0..10 a @3"),
        ("b", 14, "a 10..20 b @14"),
        // Time has passed the end by less than the grace; a result's time is the greatest.
        ("c", 7, "a 0..10 ac @7"),
        ("d", 1, "a 0..10 acd @7"),
        ("e", 15, "a 10..20 be @15"),
        // And now by just as much.
        ("f", 9, ""),
        ("g", 10, "a 10..20 beg @15"),
    ];
    let run = play(|group| letters(group, TUMBLING), &script);
    assert_eq!(run.dropped().late_record, 1);
}

#[test]
fn time_is_one_for_all_keys() {
    let mut run = Run::new(|group| letters(group, TUMBLING));
    assert_eq!(run.step("a", "x", 4), "a 0..10 x @4");
    assert_eq!(run.step("b", "y", 15), "b 10..20 y @15");
    assert_eq!(run.step("a", "z", 5), "");
    assert_eq!(run.dropped().late_record, 1);
    // A restarted task judges as before.
    run.restart();
    assert_eq!(run.step("a", "z", 6), "");
    assert_eq!(run.dropped().late_record, 1);
    assert_eq!(run.step("b", "w", 11), "b 10..20 yw @15");
}

#[test]
fn hopping_windows_are_told_from_the_earliest_on() {
    let windows = TimeWindows::of_size_and_grace(ms(10), ms(5)).advance_by(ms(4));
    let script = [
        // None begins before time does.
        ("a", 3, "a 0..10 a @3"),
        ("b", 8, "a 0..10 ab @8; a 4..14 b @8; a 8..18 b @8"),
        ("c", 13, "a 4..14 bc @13; a 8..18 bc @13; a 12..22 c @13"),
        // One of three has closed for it: 0..10 at 15.
        ("d", 15, "a 8..18 bcd @15; a 12..22 cd @15"),
        ("e", 8, "a 4..14 bce @13; a 8..18 bcde @15"),
    ];
    let run = play(|group| letters(group, windows), &script);
    assert_eq!(run.dropped().late_record, 1);
}

#[test]
fn an_unlimited_window_begins_and_never_ends() {
    let windows = UnlimitedWindows::of().start_on(10);
    let script = [
        // Before it there is no window, and nothing is dropped from one.
        ("a", 9, ""),
        ("b", 10, "a 10..9223372036854775807 b @10"),
        (
            "c",
            1 << 50,
            "a 10..9223372036854775807 bc @1125899906842624",
        ),
        ("d", 11, "a 10..9223372036854775807 bcd @1125899906842624"),
    ];
    let mut run = play(|group| letters(group, windows), &script);
    run.restart();
    let told = run.step("a", "e", 12);
    assert_eq!(told, "a 10..9223372036854775807 bcde @1125899906842624");
    assert_eq!(run.dropped().late_record, 0);
}

#[test]
fn values_are_counted_and_folded() {
    let script = [
        ("x", 1, "a 0..10 x @1"),
        ("y", 2, "a 0..10 xy @2"),
        ("z", 10, "a 10..20 z @10"),
    ];
    play(
        |group| {
            let windowed = group.windowed_by(TUMBLING);
            windowed.reduce("windows", |so_far, letter| so_far + &letter)
        },
        &script,
    );
    let script = [
        ("x", 1, "a 0..10 1 @1"),
        ("y", 2, "a 0..10 2 @2"),
        ("z", 10, "a 10..20 1 @10"),
    ];
    play(
        |group| {
            let counts = group.windowed_by(TUMBLING).count("windows");
            counts.map_values(|_, count| count.to_string())
        },
        &script,
    );
}

#[test]
fn closed_windows_leave_the_backend() {
    let mut run = Run::new(|group| letters(group, TUMBLING));
    let mut most = 0;
    for step in 0..2000 {
        run.step(&format!("k{step}"), "x", step * 100);
        run.commit();
        most = most.max(run.bench.backend.stats().keys_estimate);
    }
    // It is searched for them once in a minute of the records' time, which has 600 windows.
    assert!((600..900).contains(&most), "{most} rows at once");
}

#[test]
fn windows_are_forgotten_when_they_have_closed_and_not_before() {
    let mut run = Run::new(|group| letters(group, TUMBLING));
    for step in 0..2000 {
        run.step(&format!("k{step}"), "x", step * 10);
        run.commit();
        assert!(run.bench.task.dirty_bytes() == 0);
    }
    // The one before the last is open for 5 ms more.
    assert_eq!(
        run.step("k1998", "y", 19_989),
        "k1998 19980..19990 xy @19989"
    );
    assert_eq!(run.step("k1997", "y", 19_979), "");
}

#[test]
fn sizes_that_cannot_be_are_told() {
    let told = mistake(TimeWindows::of_size_with_no_grace(ms(0)));
    assert!(
        told.contains("must last at least one millisecond"),
        "{told}"
    );
    for advance in [0, 11] {
        let windows = TimeWindows::of_size_with_no_grace(ms(10)).advance_by(ms(advance));
        let told = mistake(windows);
        let text = format!("windows of 10 ms cannot begin every {advance} ms");
        assert!(told.contains(&text), "{told}");
    }
    let told = mistake(UnlimitedWindows::of().start_on(-1));
    assert!(told.contains("cannot begin before 1970"), "{told}");
    // What is too long is just very long.
    let forever =
        TimeWindows::of_size_and_grace(std::time::Duration::MAX, std::time::Duration::MAX);
    play(
        |group| letters(group, forever),
        &[("a", 7, "a 0..9223372036854775807 a @7")],
    );
}
