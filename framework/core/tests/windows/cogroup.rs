//! Windows over several grouped streams.

use super::{
    harness::LEFT,
    run::{Run, Table, ms, session_letters},
};
use millstream_core::prelude::*;
use proptest::{collection::vec, prelude::*};

type Stream<'b> = KStream<'b, String, String>;
type Cogrouped<'b> = CogroupedKStream<'b, String, String>;

const TUMBLING: TimeWindows = TimeWindows::of_size_and_grace(ms(10), ms(5));
const HOPPING: TimeWindows = TimeWindows::of_size_and_grace(ms(10), ms(5)).advance_by(ms(4));
const SLIDING: SlidingWindows = SlidingWindows::of_time_difference_and_grace(ms(10), ms(5));
const SESSIONS: SessionWindows = SessionWindows::of_inactivity_gap_and_grace(ms(10), ms(5));

/// Digits go one way, and come back in brackets.
fn two(stream: Stream<'_>) -> Cogrouped<'_> {
    let digit = |_: &String, letter: &String| letter.starts_with(|c: char| c.is_ascii_digit());
    let numbers = stream
        .filter(digit)
        .map_values(|digit| digit.parse::<u8>().unwrap_or(99));
    let letters = stream.filter_not(digit).group_by_key();
    let grouped = numbers.group_by_key();
    grouped
        .cogroup(|_, n, all: &mut String| *all += &format!("[{n}]"))
        .cogroup(letters, |_, letter, all| *all += &letter)
}

/// The same by one stream.
fn one(stream: Stream<'_>) -> KGroupedStream<'_, String, String> {
    let shown = |letter: String| match letter.parse::<u8>() {
        Ok(n) => format!("[{n}]"),
        Err(_) => letter,
    };
    stream.map_values(shown).group_by_key()
}

#[expect(clippy::needless_pass_by_value, reason = "the operator gives it away")]
fn merge(_: &String, all: &mut String, other: String) {
    if !all.is_empty() {
        *all += "|";
    }
    *all += &other;
}

/// Runs a script, and returns how many windows were too late for their records.
fn play(mut run: Run, script: &[(&str, Timestamp, &str)]) -> u64 {
    for (letter, time, expected) in script {
        assert_eq!(
            run.step("a", letter, *time),
            *expected,
            "{letter} at {time}"
        );
    }
    run.dropped().late_record
}

#[test]
fn all_inputs_change_one_window_and_share_its_time() {
    let script = [
        ("x", 3, "a 0..10 x @3"),
        ("1", 2, "a 0..10 x[1] @3"),
        ("2", 14, "a 10..20 [2] @14"),
        ("y", 4, "a 0..10 x[1]y @4"),
        ("3", 15, "a 10..20 [2][3] @15"),
        // The other input has passed the end and the grace of its window.
        ("z", 9, ""),
    ];
    let run = Run::of(|stream| {
        two(stream)
            .windowed_by(TUMBLING)
            .aggregate("w", String::new)
    });
    assert_eq!(play(run, &script), 1);
}

#[test]
fn a_value_goes_into_every_window() {
    let script = [
        ("x", 3, "a 0..10 x @3"),
        ("1", 8, "a 0..10 x[1] @8; a 4..14 [1] @8; a 8..18 [1] @8"),
    ];
    let run = Run::of(|stream| two(stream).windowed_by(HOPPING).aggregate("w", String::new));
    assert_eq!(play(run, &script), 0);
}

#[test]
fn sessions_reach_over_all_inputs() {
    let script = [
        ("x", 0, "a 0..0 x @0"),
        ("1", 14, "a 14..14 [1] @14"),
        ("2", 7, "a 0..0 - @0; a 14..14 - @14; a 0..14 x|[1][2] @14"),
    ];
    let run = Run::of(|stream| {
        let windowed = two(stream).windowed_by(SESSIONS);
        windowed.aggregate("w", String::new, merge)
    });
    assert_eq!(play(run, &script), 0);
}

#[test]
fn final_results_are_told_on_close() {
    fn closing(stream: Stream<'_>) -> Table<'_> {
        let windowed = two(stream).windowed_by(TUMBLING);
        let windowed = windowed.emit_strategy(EmitStrategy::OnWindowClose);
        windowed
            .close_when_idle(ms(1000))
            .aggregate("w", String::new)
    }
    let script = [
        ("x", 3, ""),
        ("1", 4, ""),
        ("2", 15, "a 0..10 x[1] @4"),
        ("y", 5, ""),
    ];
    let mut run = Run::of(closing);
    for (letter, time, expected) in script {
        assert_eq!(run.step("a", letter, time), expected);
    }
    run.restart();
    run.clock(0);
    run.clock(1);
    assert_eq!(run.clock(1001), "a 10..20 [2] @15");
}

#[test]
fn mistakes_of_windows_are_told_here_too() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream(&LEFT);
    let _ = two(stream).windowed_by(TimeWindows::of_size_with_no_grace(ms(0)));
    let _ = two(stream).windowed_by(TUMBLING).close_when_idle(ms(1));
    let unlimited = two(stream).windowed_by(UnlimitedWindows::of());
    let _ = unlimited.emit_strategy(EmitStrategy::OnWindowClose);
    let error = builder.build().err().unwrap().to_string();
    let told: Vec<_> = error.lines().collect();
    assert_eq!(told.len(), 3, "{error}");
    assert!(told.iter().all(|line| line.starts_with(file!())), "{error}");
}

/// A program, and its counterpart of one stream.
fn pair(kind: u8) -> (Run, Run) {
    match kind {
        0 => (
            Run::of(|stream| two(stream).windowed_by(HOPPING).aggregate("w", String::new)),
            Run::of(|stream| {
                let windowed = one(stream).windowed_by(HOPPING);
                windowed.aggregate("w", String::new, |_, letter, all| *all += &letter)
            }),
        ),
        1 => (
            Run::of(|stream| two(stream).windowed_by(SLIDING).aggregate("w", String::new)),
            Run::of(|stream| {
                let windowed = one(stream).windowed_by(SLIDING);
                windowed.aggregate("w", String::new, |_, letter, all| *all += &letter)
            }),
        ),
        _ => (
            Run::of(|stream| {
                let windowed = two(stream).windowed_by(SESSIONS);
                windowed.aggregate("w", String::new, merge)
            }),
            Run::of(|stream| session_letters(one(stream).windowed_by(SESSIONS))),
        ),
    }
}

proptest! {
    /// Several inputs of one topic come to the same as the one stream that they are parts of.
    #[test]
    fn a_cogroup_is_what_its_inputs_are_together(
        kind in 0u8..3, script in vec((0u8..12, 0..7i64, 0..20i64), 0..40)
    ) {
        let (mut two, mut one) = pair(kind);
        let mut now = 20;
        for (letter, forward, back) in script {
            now += forward;
            let time = now - if letter % 3 == 0 { back } else { 0 };
            let letter = char::from(b'0' + letter * 4).to_string();
            prop_assert_eq!(two.step("a", &letter, time), one.step("a", &letter, time));
        }
        prop_assert_eq!(two.dropped(), one.dropped());
    }
}
