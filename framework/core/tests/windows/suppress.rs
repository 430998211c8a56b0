//! `suppress`: what waits, what is let out and in which order, and what a restart leaves.

use super::{
    harness::LEFT,
    run::{
        Group, Run, Table, letters, ms, play, session_letters, tells_by_time_then_key,
        tells_each_window_once,
    },
};
use millstream_core::{ErrorKind, prelude::*};

static ROWS: Topic<String, i64> = Topic::new("rows", utf8(), i64_be());
static OUT: Topic<String, i64> = Topic::new("out", utf8(), i64_be());
static ASKED: Topic<String, i64> = Topic::new("asked", utf8(), i64_be());

const TUMBLING: TimeWindows = TimeWindows::of_size_and_grace(ms(10), ms(5));

fn unbounded() -> BufferConfig<millstream_core::dsl::Strict> {
    BufferConfig::unbounded()
}

fn finals(group: Group<'_>) -> Table<'_> {
    let table = letters(group, TUMBLING);
    table.suppress("finals", Suppressed::until_window_closes(unbounded()))
}

#[test]
fn only_final_results_are_told() {
    tells_each_window_once(finals);
}

#[test]
fn final_results_come_by_end_and_then_by_key() {
    tells_by_time_then_key(finals);
}

#[test]
fn a_dropped_record_moves_no_time() {
    // Suppression sees the changes of windows, and what changes none is not seen.
    let mut run = Run::new(|group| {
        let table = letters(group, TUMBLING).filter(|_, all| !all.contains('x'));
        table.suppress("finals", Suppressed::until_window_closes(unbounded()))
    });
    assert_eq!(run.step("a", "a", 3), "");
    assert_eq!(run.step("a", "x", 50), "");
    assert_eq!(run.step("a", "b", 60), "a 0..10 a @3");
}

#[test]
fn sessions_that_became_part_of_others_are_not_told() {
    let windows = SessionWindows::of_inactivity_gap_and_grace(ms(10), ms(5));
    let mut run = Run::new(|group| {
        let table = session_letters(group.windowed_by(windows));
        table.suppress("finals", Suppressed::until_window_closes(unbounded()))
    });
    assert_eq!(run.step("a", "a", 0), "");
    assert_eq!(run.step("a", "b", 8), "");
    // 0..0 has been waiting as a deletion; its time has come, and it is nothing.
    assert_eq!(run.step("b", "x", 16), "");
    // As in Kafka Streams it is told at its end, gap and grace, where it could still change.
    assert_eq!(run.step("b", "y", 23), "a 0..8 ab @8");
    assert_eq!(run.step("a", "c", 18), "");
    assert_eq!(run.step("b", "z", 33), "a 0..18 abc @18");
}

#[test]
fn a_time_limit_lets_the_latest_change_out() {
    fn limited(group: Group<'_>) -> Table<'_> {
        let table = letters(group, TimeWindows::of_size_with_no_grace(ms(1000)));
        table.suppress("later", Suppressed::until_time_limit(ms(20), unbounded()))
    }
    let script = [
        ("a", 0, ""),
        ("b", 10, ""),
        // The first one that waits decides when.
        ("c", 20, "a 0..1000 abc @20"),
        ("d", 25, ""),
        // A change is told with the timestamp that it has; it began to wait at 25.
        ("e", 24, ""),
        ("f", 44, ""),
        ("g", 45, "a 0..1000 abcdefg @45"),
    ];
    play(limited, &script);
}

#[test]
fn an_eager_buffer_emits_the_oldest_early() {
    let mut run = Run::new(|group| {
        let table = letters(group, TUMBLING);
        let most = BufferConfig::max_records(2);
        table.suppress("later", Suppressed::until_time_limit(ms(1000), most))
    });
    assert_eq!(run.step("b", "a", 3), "");
    assert_eq!(run.step("a", "b", 2), "");
    assert_eq!(run.step("b", "c", 4), "");
    // The oldest is the one that began to wait first, by its time.
    assert_eq!(run.step("c", "d", 5), "a 0..10 b @2");
    assert_eq!(run.step("d", "e", 1), "d 0..10 e @1");
    assert_eq!(run.step("a", "f", 6), "b 0..10 ac @4");
    let mut run = Run::new(|group| {
        let table = letters(group, TUMBLING);
        let most = unbounded().with_max_bytes(1).emit_early_when_full();
        table.suppress("later", Suppressed::until_time_limit(ms(1000), most))
    });
    assert_eq!(run.step("a", "a", 3), "a 0..10 a @3");
}

#[test]
fn a_strict_buffer_that_is_full_stops_the_task_whatever_the_policy() {
    let builder = StreamsBuilder::new();
    let source = Consumed::of(&LEFT).on_error(ErrorPolicy::Skip);
    let windowed = builder.stream(source).group_by_key().windowed_by(TUMBLING);
    let most = BufferConfig::max_records(2)
        .with_max_bytes(1_000_000)
        .shut_down_when_full();
    let suppressed = Suppressed::until_window_closes(most);
    let _ = windowed.count("counts").suppress("finals", suppressed);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    let mut pipe = |key: &str, time| driver.pipe(&LEFT, key.to_owned(), "x".to_owned(), time);
    pipe("a", 1).unwrap();
    pipe("b", 1).unwrap();
    let error = pipe("c", 1).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Processing(_)));
    let text = error.to_string();
    assert!(
        text.contains("the buffer is full (3 of at most 2 records, "),
        "{text}"
    );
    assert!(
        text.contains("may not emit early: give it more room"),
        "{text}"
    );
    // What it did was not committed, so another record may find room.
    pipe("b", 20).unwrap();
}

#[test]
fn a_restart_tells_nothing_twice_and_forgets_nothing() {
    let script = [
        ("a", "1", 3),
        ("b", "2", 14),
        ("a", "3", 7),
        ("a", "4", 15),
        ("b", "5", 13),
        ("a", "6", 31),
        ("b", "7", 29),
        ("a", "8", 60),
    ];
    fn limited(group: Group<'_>) -> Table<'_> {
        let most = BufferConfig::max_records(2);
        letters(group, TUMBLING).suppress("later", Suppressed::until_time_limit(ms(9), most))
    }
    let all = |mut run: Run, end: &dyn Fn(&mut Run)| {
        let mut told = Vec::new();
        for (key, letter, time) in script {
            told.push(run.step(key, letter, time));
            end(&mut run);
        }
        told
    };
    let expected = all(Run::new(finals), &|_| {});
    assert_eq!(expected[3], "a 0..10 13 @7");
    assert_eq!(expected[7], "b 20..30 7 @29; a 30..40 6 @31");
    assert_eq!(all(Run::new(finals), &Run::restart), expected);
    assert_eq!(all(Run::new(finals), &Run::commit), expected);
    let expected = all(Run::new(limited), &|_| {});
    assert!(expected.iter().filter(|told| !told.is_empty()).count() > 3);
    assert_eq!(all(Run::new(limited), &Run::restart), expected);
    assert_eq!(all(Run::new(limited), &Run::commit), expected);
}

#[test]
fn a_commit_that_failed_is_done_again() {
    let mut run = Run::new(finals);
    run.step("a", "a", 3);
    run.commit();
    assert_eq!(run.step("a", "b", 4), "");
    assert_eq!(run.step("a", "c", 15), "a 0..10 ab @4");
    assert_eq!(run.abort(), 2);
    assert_eq!(run.step("a", "b", 4), "");
    assert_eq!(run.step("a", "c", 15), "a 0..10 ab @4");
}

#[test]
fn what_has_been_told_leaves_the_changelog() {
    let mut run = Run::new(finals);
    run.step("a", "a", 3);
    run.commit();
    run.step("a", "b", 15);
    let (_, changes) = run.bench.commit();
    let deleted = changes.iter().filter(|(_, value, _)| value.is_none());
    // The row that waited. The window's own has expired, and nobody need be told.
    assert_eq!(deleted.count(), 1);
}

#[test]
fn a_quiet_partition_lets_everything_out() {
    fn quiet(group: Group<'_>) -> Table<'_> {
        let suppressed = Suppressed::until_window_closes(unbounded()).close_when_idle(ms(1000));
        letters(group, TUMBLING).suppress("finals", suppressed)
    }
    let mut run = Run::new(quiet);
    run.clock(0);
    assert_eq!(run.step("a", "a", 3), "");
    assert_eq!(run.step("b", "b", 12), "");
    assert_eq!(run.clock(999), "");
    assert_eq!(run.clock(1000), "a 0..10 a @3; b 10..20 b @12");
    // The windows themselves are open, but their final results have been told.
    assert_eq!(run.step("b", "c", 13), "");
    assert_eq!(run.dropped().late_record, 1);
    run.restart();
    assert_eq!(run.step("b", "c", 14), "");
    assert_eq!(run.dropped().late_record, 1);
    assert_eq!(run.step("b", "d", 21), "");
    assert_eq!(run.step("b", "e", 40), "b 20..30 d @21");

    let mut run = Run::new(|group| {
        let suppressed = Suppressed::until_time_limit(ms(500), unbounded());
        letters(group, TUMBLING).suppress("later", suppressed.emit_when_idle(ms(1000)))
    });
    run.clock(0);
    assert_eq!(run.step("a", "a", 3), "");
    assert_eq!(run.clock(1000), "a 0..10 a @3");
    assert_eq!(run.step("a", "b", 4), "");
    assert_eq!(run.clock(2000), "a 0..10 ab @4");
}

/// A table of numbers, suppressed for a while.
fn later(builder: &StreamsBuilder) -> KTable<'_, String, i64> {
    let rows = builder.table(&ROWS, "rows");
    rows.suppress("later", Suppressed::until_time_limit(ms(10), unbounded()))
}

fn feed(driver: &mut TopologyTestDriver, rows: &[(&str, Option<i64>, Timestamp)]) {
    for (key, row, time) in rows {
        let key = (*key).to_owned();
        match row {
            Some(row) => driver.pipe(&ROWS, key, *row, *time).unwrap(),
            None => driver.pipe_tombstone(&ROWS, &key, *time).unwrap(),
        }
    }
}

#[test]
fn any_table_can_be_told_later_deletions_too() {
    let builder = StreamsBuilder::new();
    later(&builder).to(&OUT);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    let rows = [
        ("a", Some(1), 0),
        ("b", Some(2), 5),
        ("a", None, 7),
        ("c", Some(3), 10),
        ("c", Some(4), 30),
    ];
    feed(&mut driver, &rows);
    let told = driver.read_key_values(&OUT).unwrap();
    let told: Vec<_> = told.iter().map(|(key, row)| (key.as_str(), *row)).collect();
    // Nobody knew of the row of a; as in Kafka Streams its deletion is told all the same.
    assert_eq!(told, [("a", None), ("b", Some(2)), ("c", Some(4))]);
}

#[test]
fn who_looks_a_row_up_finds_what_was_told_of_it() {
    let builder = StreamsBuilder::new();
    let table = later(&builder);
    let asked = builder.stream(&ASKED);
    asked
        .left_join(table, |_, row| row.copied().unwrap_or(-1))
        .to(&OUT);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    let mut found = Vec::new();
    let rows = [
        ("a", Some(1), 0),
        ("b", Some(9), 12),
        ("a", Some(2), 13),
        ("a", Some(3), 14),
    ];
    for row in rows {
        feed(&mut driver, &[row]);
        driver.pipe(&ASKED, "a".to_owned(), 0, row.2).unwrap();
        found.extend(
            driver
                .read_key_values(&OUT)
                .unwrap()
                .into_iter()
                .map(|(_, row)| row),
        );
    }
    assert_eq!(found, [Some(-1), Some(1), Some(1), Some(1)]);
}

#[test]
fn an_aggregate_takes_back_what_it_was_told() {
    let builder = StreamsBuilder::new();
    let grouped = later(&builder).group_by(|_, row| ("all".to_owned(), *row));
    grouped.reduce("sum", |a, b| a + b, |a, b| a - b).to(&OUT);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    let rows = [
        ("a", Some(1), 0),
        ("b", Some(10), 12),
        ("a", Some(2), 13),
        ("a", Some(3), 14),
        ("b", Some(20), 40),
        ("b", Some(20), 60),
    ];
    feed(&mut driver, &rows);
    let told = driver.read_key_values(&OUT).unwrap();
    // 10 was never told, so it is not taken back when 20 comes; nor was 2.
    let told: Vec<_> = told.into_iter().filter_map(|(_, sum)| sum).collect();
    assert_eq!(told, [1, 21, 23]);
}

#[test]
fn a_result_without_a_window_is_never_final() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream(&LEFT);
    let unlimited = stream
        .group_by_key()
        .windowed_by(UnlimitedWindows::of())
        .count("all");
    let _ = unlimited.suppress("a", Suppressed::until_window_closes(unbounded()));
    let counts = stream.group_by_key().windowed_by(TUMBLING).count("counts");
    let grouped = stream.group_by(|key, _| Windowed::new(key.clone(), Window::new(0, 1)));
    let _ = grouped
        .count("by-hand")
        .suppress("b", Suppressed::until_window_closes(unbounded()));
    let retained = Materialized::with("c", session_windowed::<Utf8>(), u64_be());
    let later = Suppressed::until_time_limit(ms(1), unbounded());
    let _ = counts.suppress(retained.with_retention(ms(1)), later);
    let versioned = builder.table(&ROWS, Materialized::from("rows").versioned(ms(100)));
    let _ = versioned.suppress("d", later);
    let error = builder.build().err().unwrap().to_string();
    let told: Vec<_> = error.lines().collect();
    assert_eq!(told.len(), 4, "{error}");
    assert!(
        told[0].contains("only windows that close have final results"),
        "{error}"
    );
    assert!(
        told[1].contains("only windows that close have final results"),
        "{error}"
    );
    assert!(
        told[2].contains("the store \"c\" is not one of windows"),
        "{error}"
    );
    let text = "changes of a table with versions cannot be held back";
    assert!(told[3].contains(text), "{error}");
    assert!(told.iter().all(|line| line.starts_with(file!())), "{error}");
}
