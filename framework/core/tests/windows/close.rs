//! Final results: `EmitStrategy::OnWindowClose`, and what the wall clock closes.

use super::{
    harness::LEFT,
    run::{
        Group, Run, Table, finals, mistake, ms, play, session_letters, tells_by_time_then_key,
        tells_each_window_once,
    },
};
use millstream_core::prelude::*;

const TUMBLING: TimeWindows = TimeWindows::of_size_and_grace(ms(10), ms(5));

fn tumbling(group: Group<'_>) -> Table<'_> {
    finals(group, TUMBLING)
}

fn sessions(group: Group<'_>) -> Table<'_> {
    let windows = SessionWindows::of_inactivity_gap_and_grace(ms(10), ms(5));
    let windowed = group.windowed_by(windows);
    session_letters(windowed.emit_strategy(EmitStrategy::OnWindowClose))
}

fn idle(group: Group<'_>) -> Table<'_> {
    let windowed = group.windowed_by(TUMBLING);
    let windowed = windowed.emit_strategy(EmitStrategy::OnWindowClose);
    let windowed = windowed.close_when_idle(ms(1000));
    windowed.aggregate("windows", String::new, |_, letter, all| *all += &letter)
}

#[test]
fn a_window_is_told_once_when_its_grace_is_over() {
    tells_each_window_once(tumbling);
}

#[test]
fn windows_that_close_together_are_told_by_start_and_then_by_key() {
    tells_by_time_then_key(tumbling);
}

#[test]
fn hopping_windows_close_one_by_one() {
    let hopping = TimeWindows::of_size_with_no_grace(ms(10)).advance_by(ms(5));
    let script = [
        ("a", 3, ""),
        ("b", 7, ""),
        ("c", 10, "a 0..10 ab @7"),
        ("d", 14, ""),
        ("e", 15, "a 5..15 bcd @14"),
        ("f", 60, "a 10..20 cde @15; a 15..25 e @15"),
    ];
    play(|group| finals(group, hopping), &script);
}

#[test]
fn sliding_windows_close_one_millisecond_behind_their_grace() {
    let sliding = SlidingWindows::of_time_difference_and_grace(ms(10), ms(5));
    let script = [
        ("a", 20, ""),
        ("b", 24, ""),
        ("c", 25, ""),
        ("d", 26, "a 10..20 a @20"),
        // An early one, still in time for the window that ends at it.
        ("e", 21, ""),
        ("f", 29, "a 11..21 ae @21"),
        // What has closed first is told first.
        (
            "g",
            60,
            "a 14..24 abe @24; a 15..25 abce @25; a 16..26 abcde @26; a 19..29 abcdef @29; \
             a 21..31 bcdef @29; a 22..32 bcdf @29; a 25..35 cdf @29; a 26..36 df @29; \
             a 27..37 f @29",
        ),
    ];
    play(|group| finals(group, sliding), &script);
}

#[test]
fn sessions_close_one_millisecond_behind_gap_and_grace() {
    let script = [
        ("a", 0, ""),
        ("b", 8, ""),
        // Nothing is told of a session that became part of another.
        ("c", 23, ""),
        ("d", 24, "a 0..8 ab @8"),
        ("e", 38, ""),
        ("f", 54, "a 23..24 cd @24; a 38..38 e @38"),
    ];
    play(sessions, &script);
}

#[test]
fn a_restart_tells_nothing_twice_and_forgets_nothing() {
    let script = [
        ("a", 3),
        ("b", 14),
        ("c", 15),
        ("d", 22),
        ("e", 31),
        ("f", 60),
    ];
    let all = |restart: &dyn Fn(&mut Run)| {
        let mut run = Run::new(tumbling);
        let mut told = Vec::new();
        for (letter, time) in script {
            told.push(run.step("a", letter, time));
            restart(&mut run);
        }
        told
    };
    let expected = all(&|_| {});
    assert_eq!(expected[2], "a 0..10 a @3");
    assert_eq!(expected[5], "a 20..30 d @22; a 30..40 e @31");
    assert_eq!(all(&Run::restart), expected);
    assert_eq!(all(&Run::commit), expected);
}

#[test]
fn a_commit_that_failed_is_told_again() {
    let mut run = Run::new(tumbling);
    run.step("a", "a", 3);
    run.commit();
    assert_eq!(run.step("a", "b", 15), "a 0..10 a @3");
    assert_eq!(run.step("a", "c", 25), "a 10..20 b @15");
    assert_eq!(run.abort(), 2);
    assert_eq!(run.step("a", "b", 15), "a 0..10 a @3");
    assert_eq!(run.step("a", "c", 25), "a 10..20 b @15");
}

#[test]
fn windows_kept_for_longer_are_told_once_all_the_same() {
    fn kept(group: Group<'_>) -> Table<'_> {
        let windowed = group.windowed_by(TUMBLING);
        let windowed = windowed.emit_strategy(EmitStrategy::OnWindowClose);
        let store = Materialized::with("windows", utf8(), utf8()).with_retention(ms(1_000_000));
        windowed.aggregate(store, String::new, |_, letter, all| *all += &letter)
    }
    let mut run = Run::new(kept);
    assert_eq!(run.step("a", "a", 3), "");
    assert_eq!(run.step("a", "b", 15), "a 0..10 a @3");
    run.restart();
    assert_eq!(run.step("a", "c", 16), "");
    assert_eq!(run.step("a", "d", 40), "a 10..20 bc @16");
    run.abort();
    assert_eq!(run.step("a", "c", 16), "");
}

#[test]
fn a_quiet_partition_is_closed_by_the_wall_clock() {
    let mut run = Run::new(idle);
    assert_eq!(run.clock(500), "");
    assert_eq!(run.step("a", "a", 3), "");
    assert_eq!(run.step("b", "b", 14), "");
    // A record that came late kept the partition busy.
    assert_eq!(run.clock(1000), "");
    assert_eq!(run.step("b", "c", 0), "");
    assert_eq!(run.clock(1999), "");
    assert_eq!(
        run.clock(2000),
        "a 0..10 a @3; b 0..10 c @0; b 10..20 b @14"
    );
    assert_eq!(run.clock(9000), "");
    // What was closed so stays closed, over a restart too.
    assert_eq!(run.step("b", "d", 19), "");
    assert_eq!(run.dropped().late_record, 1);
    run.restart();
    assert_eq!(run.step("b", "d", 19), "");
    assert_eq!(run.dropped().late_record, 1);
    assert_eq!(run.step("b", "e", 20), "");
    // A task that has just begun knows of no quiet.
    assert_eq!(run.clock(20_000), "");
    assert_eq!(run.clock(20_001), "");
    assert_eq!(run.clock(21_000), "");
    assert_eq!(run.clock(21_001), "b 20..30 e @20");
}

#[test]
fn a_task_with_records_to_process_is_not_idle() {
    let mut run = Run::new(idle);
    assert_eq!(run.clock(0), "");
    assert_eq!(run.step("a", "a", 3), "");
    // As after a pause: the log has more, which may belong to what is open.
    run.bench.task.set_more(0, true);
    assert_eq!(run.clock(5000), "");
    assert_eq!(run.step("a", "b", 4), "");
    run.bench.task.set_more(0, false);
    assert_eq!(run.clock(5999), "");
    assert_eq!(run.clock(6000), "a 0..10 ab @4");
}

#[test]
fn a_clock_that_does_nothing_commits_nothing() {
    let mut run = Run::new(idle);
    run.clock(0);
    run.step("a", "a", 3);
    run.commit();
    run.clock(900);
    let (places, _) = run.bench.commit();
    assert!(places.is_empty());
    assert_eq!(run.clock(1900), "a 0..10 a @3");
    let (places, changes) = run.bench.commit();
    assert_eq!((places.len(), changes.len()), (1, 1));
}

#[test]
fn each_kind_of_window_has_a_least_retention_of_its_own() {
    let least = |declare: &dyn Fn(Group<'_>, Materialized<String, u64>)| {
        (1..100).find(|&retention| {
            let builder = StreamsBuilder::new();
            let store = Materialized::with("kept", utf8(), u64_be()).with_retention(ms(retention));
            declare(builder.stream(&LEFT).group_by_key(), store);
            builder.build().is_ok()
        })
    };
    let tumbling = least(&|group, store| {
        let _ = group.windowed_by(TUMBLING).count(store);
    });
    let sliding = least(&|group, store| {
        let windows = SlidingWindows::of_time_difference_and_grace(ms(10), ms(5));
        let _ = group.windowed_by(windows).count(store);
    });
    let sessions = least(&|group, store| {
        let windows = SessionWindows::of_inactivity_gap_and_grace(ms(10), ms(5));
        let _ = group.windowed_by(windows).count(store);
    });
    // A window and its grace; two windows and the grace; the gap and the grace.
    assert_eq!(
        [tumbling, sliding, sessions],
        [Some(15), Some(25), Some(15)]
    );
}

#[test]
fn what_cannot_close_is_told() {
    let builder = StreamsBuilder::new();
    let grouped = || builder.stream(&LEFT).group_by_key();
    let unlimited = grouped().windowed_by(UnlimitedWindows::of());
    let _ = unlimited
        .emit_strategy(EmitStrategy::OnWindowClose)
        .count("a");
    let _ = grouped()
        .windowed_by(TUMBLING)
        .close_when_idle(ms(1))
        .count("b");
    let store = Materialized::with("c", utf8(), u64_be()).with_retention(ms(14));
    let _ = grouped().windowed_by(TUMBLING).count(store);
    let store = Materialized::with("d", utf8(), u64_be()).with_retention(ms(15));
    let _ = grouped().count(store);
    let _ = grouped()
        .windowed_by(TUMBLING)
        .emit_strategy(EmitStrategy::OnWindowClose)
        .close_when_idle(ms(1))
        .emit_strategy(EmitStrategy::OnWindowUpdate)
        .count("e");
    let error = builder.build().err().unwrap().to_string();
    let told: Vec<_> = error.lines().collect();
    assert_eq!(told.len(), 5, "{error}");
    let texts = [
        "an unlimited window never closes",
        "windows that are told with every update tell nothing when they close",
        "the store \"c\" must keep its windows for at least 15 ms",
        "the store \"d\" is not one of windows",
        "windows that are told with every update tell nothing when they close",
    ];
    for (line, text) in told.iter().zip(texts) {
        assert!(line.starts_with(file!()) && line.contains(text), "{line}");
    }
    assert_eq!(mistake(TUMBLING), "");
}
