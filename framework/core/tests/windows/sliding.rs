//! Sliding windows.

use super::run::{letters, mistake, ms, play};
use millstream_core::prelude::*;

const WINDOWS: SlidingWindows = SlidingWindows::of_time_difference_and_grace(ms(10), ms(20));

#[test]
fn in_order_there_is_a_window_that_ends_at_each_record_and_one_behind_the_one_before() {
    let script = [
        ("a", 20, "a 10..20 a @20"),
        ("b", 25, "a 21..31 b @25; a 15..25 ab @25"),
        // The window behind b; then the one that began behind a; then the one that ends here.
        ("c", 30, "a 21..31 bc @30; a 26..36 c @30; a 20..30 abc @30"),
        // a is out of reach; what is left of the others is already in a window.
        ("d", 31, "a 26..36 cd @31; a 21..31 bcd @31; a 31..41 d @31"),
        ("e", 60, "a 50..60 e @60"),
    ];
    play(|group| letters(group, WINDOWS), &script);
}

#[test]
fn equal_times_share_their_windows() {
    let script = [
        ("a", 20, "a 10..20 a @20"),
        ("b", 20, "a 10..20 ab @20"),
        ("c", 25, "a 21..31 c @25; a 15..25 abc @25"),
        ("d", 25, "a 21..31 cd @25; a 15..25 abcd @25"),
        ("e", 20, "a 15..25 abcde @25; a 10..20 abe @20"),
    ];
    play(|group| letters(group, WINDOWS), &script);
}

#[test]
fn out_of_order_there_are_also_windows_of_what_came_before_its_time() {
    let script = [
        ("a", 20, "a 10..20 a @20"),
        ("c", 30, "a 21..31 c @30; a 20..30 ac @30"),
        // Its own right window begins as the one that holds just c.
        (
            "b",
            24,
            "a 21..31 cb @30; a 20..30 acb @30; a 14..24 ab @24; a 25..35 c @30",
        ),
        // Nothing was ever so early: no window is behind anything before it.
        ("x", 11, "a 10..20 ax @20; a 1..11 x @11; a 12..22 a @20"),
        // Behind everything, out of reach.
        ("y", 42, "a 32..42 y @42"),
    ];
    play(|group| letters(group, WINDOWS), &script);
}

#[test]
fn a_record_just_out_of_reach_of_two_makes_its_window_twice() {
    // As in Kafka Streams: once behind the record before, once as the window that ends here.
    let script = [
        ("a", 18, "a 8..18 a @18"),
        ("b", 20, "a 19..29 b @20; a 10..20 ab @20"),
        ("c", 31, "a 21..31 c @31; a 21..31 c @31"),
        // Of one alone no window is near enough to be seen.
        ("d", 42, "a 32..42 d @42"),
    ];
    play(|group| letters(group, WINDOWS), &script);
}

#[test]
fn what_would_begin_before_1970_begins_then() {
    let script = [
        ("a", 3, "a 0..10 a @3"),
        ("b", 7, "a 4..14 b @7; a 0..10 ab @7"),
        ("c", 5, "a 4..14 bc @7; a 6..16 b @7; a 0..10 abc @7"),
        ("d", 0, "a 1..11 abc @7; a 0..10 abcd @7"),
        (
            "e",
            10,
            "a 6..16 be @10; a 4..14 bce @10; a 1..11 abce @10; \
                   a 0..10 abcde @10; a 8..18 e @10",
        ),
    ];
    play(|group| letters(group, WINDOWS), &script);
}

#[test]
fn late_records_are_dropped_by_window() {
    let windows = SlidingWindows::of_time_difference_and_grace(ms(10), ms(5));
    let script = [
        ("a", 20, "a 10..20 a @20"),
        ("b", 40, "a 30..40 b @40"),
        // Windows that end before 35 have closed; the one that ends at its time too, and the one
        // behind it would be open, but nothing is in it.
        ("c", 24, ""),
        // The window that ends here has closed, the one behind it begins as what is in reach.
        ("d", 34, "a 30..40 bd @40; a 35..45 b @40"),
        // At the boundary both are open. As in Kafka Streams, d is missing where only the window
        // that has closed would have said that it came.
        (
            "e",
            35,
            "a 35..45 be @40; a 30..40 bde @40; a 25..35 e @35; a 36..46 b @40",
        ),
    ];
    let run = play(|group| letters(group, windows), &script);
    assert_eq!(run.dropped().late_record, 2);
}

#[test]
fn a_reach_of_nothing_is_told() {
    let told = mistake(SlidingWindows::of_time_difference_with_no_grace(ms(0)));
    assert!(
        told.contains("reach over at least one millisecond"),
        "{told}"
    );
}
