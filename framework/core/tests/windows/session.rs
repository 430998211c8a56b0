//! Sessions.

use super::run::{Run, mistake, ms, play, session_letters};
use millstream_core::prelude::*;

const GAP: SessionWindows = SessionWindows::of_inactivity_gap_and_grace(ms(10), ms(5));

fn sessions(
    windows: SessionWindows,
) -> impl for<'b> FnOnce(super::run::Group<'b>) -> super::run::Table<'b> {
    move |group| session_letters(group.windowed_by(windows))
}

#[test]
fn a_session_lasts_while_records_come_within_the_gap() {
    let script = [
        ("a", 0, "a 0..0 a @0"),
        // The gap itself belongs to it. A longer session is another one: the old one is deleted.
        ("b", 10, "a 0..0 - @0; a 0..10 ab @10"),
        // Within it nothing changes but the aggregate.
        ("c", 4, "a 0..10 - @10; a 0..10 abc @10"),
        ("d", 21, "a 21..21 d @21"),
        // At the same time it is the same session.
        ("e", 21, "a 21..21 de @21"),
    ];
    play(sessions(GAP), &script);
}

#[test]
fn a_record_between_sessions_makes_them_one() {
    let patient = SessionWindows::of_inactivity_gap_and_grace(ms(10), ms(50));
    let script = [
        ("a", 0, "a 0..0 a @0"),
        ("c", 20, "a 20..20 c @20"),
        ("d", 25, "a 20..20 - @20; a 20..25 cd @25"),
        ("b", 10, "a 0..0 - @0; a 20..25 - @25; a 0..25 a|cdb @25"),
        // Before all there is, within the gap.
        ("e", 40, "a 40..40 e @40"),
        (
            "f",
            30,
            "a 0..25 - @25; a 40..40 - @40; a 0..40 a|cdb|ef @40",
        ),
    ];
    play(sessions(patient), &script);
}

#[test]
fn a_late_record_is_dropped_unless_it_joins_an_open_session() {
    let mut run = Run::new(sessions(GAP));
    assert_eq!(run.step("a", "a", 100), "a 100..100 a @100");
    assert_eq!(run.step("b", "x", 130), "b 130..130 x @130");
    // Sessions that end before 115 have closed. This one would be alone.
    assert_eq!(run.step("a", "b", 114), "");
    assert_eq!(run.dropped().late_record, 1);
    // At 115 it is open, though 100 is no more.
    assert_eq!(run.step("a", "c", 115), "a 115..115 c @115");
    // So this one joins an open one.
    assert_eq!(
        run.step("a", "d", 106),
        "a 115..115 - @115; a 106..115 cd @115"
    );
    assert_eq!(run.step("a", "e", 95), "");
    assert_eq!(run.dropped().late_record, 2);
}

#[test]
fn a_session_on_the_boundary_is_open_after_a_restart_too() {
    let mut run = Run::new(sessions(SessionWindows::of_inactivity_gap_with_no_grace(
        ms(10),
    )));
    assert_eq!(run.step("a", "a", 0), "a 0..0 a @0");
    assert_eq!(run.step("b", "x", 10), "b 10..10 x @10");
    run.restart();
    assert_eq!(run.step("a", "b", 5), "a 0..0 - @0; a 0..5 ab @5");
    assert_eq!(run.step("b", "y", 21), "b 21..21 y @21");
    run.restart();
    // It ended at 5, more than the gap ago.
    assert_eq!(run.step("a", "c", 11), "a 11..11 c @11");
}

#[test]
fn sessions_are_counted_and_folded() {
    let script = [
        ("x", 0, "a 0..0 x @0"),
        ("z", 15, "a 15..15 z @15"),
        ("y", 8, "a 0..0 - @0; a 15..15 - @15; a 0..15 xzy @15"),
    ];
    play(
        |group| {
            group
                .windowed_by(GAP)
                .reduce("windows", |all, letter| all + &letter)
        },
        &script,
    );
    let script = [
        ("x", 0, "a 0..0 1 @0"),
        ("z", 15, "a 15..15 1 @15"),
        ("y", 8, "a 0..0 - @0; a 15..15 - @15; a 0..15 3 @15"),
    ];
    play(
        |group| {
            let counts = group.windowed_by(GAP).count("windows");
            counts.map_values(|_, count| count.to_string())
        },
        &script,
    );
}

#[test]
fn what_refuses_a_record_leaves_the_sessions_as_they_were() {
    let builder = StreamsBuilder::new();
    let source = Consumed::of(&super::harness::LEFT).on_error(ErrorPolicy::Skip);
    let grouped = builder.stream(source).group_by_key();
    let refusing = |_: &String, letter: String, all: &mut String| {
        if letter == "no" {
            return Err("no");
        }
        *all += &letter;
        Ok(())
    };
    let merge = |_: &String, all: &mut String, other: String| *all += &other;
    let table = grouped
        .windowed_by(GAP)
        .try_aggregate("windows", String::new, refusing, merge);
    static OUT: Topic<Windowed<String>, String> =
        Topic::new("out", session_windowed::<Utf8>(), utf8());
    table.to(&OUT);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    for (letter, time) in [("a", 0), ("b", 15), ("no", 8), ("c", 9)] {
        let left = &super::harness::LEFT;
        driver
            .pipe(left, "a".to_owned(), letter.to_owned(), time)
            .unwrap();
    }
    let told = driver.read_key_values(&OUT).unwrap();
    let (_, last) = told.last().unwrap();
    assert_eq!((told.len(), last.as_deref()), (5, Some("abc")));
    assert_eq!(driver.dropped().processing, 1);
}

#[test]
fn a_gap_of_nothing_is_told() {
    let told = mistake(SessionWindows::of_inactivity_gap_with_no_grace(ms(0)));
    assert!(told.contains("must be at least one millisecond"), "{told}");
}
