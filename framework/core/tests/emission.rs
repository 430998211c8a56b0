//! Changes of tables told once per key and commit: which, in which order, and with which old value.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "task/harness.rs"]
#[allow(dead_code, reason = "it serves other tests too")]
mod harness;

#[path = "emission/order.rs"]
mod order;
#[path = "emission/suppressed.rs"]
mod suppressed;

use harness::{Bench, COUNTS, LEFT, OUT, RIGHT, Row, ends, records};
use millstream_core::{
    prelude::*,
    task::{Emission, TaskConfig},
};
use std::time::Duration;

/// A task that tells changes when it commits.
fn bench(declare: impl FnOnce(&StreamsBuilder)) -> Bench {
    let builder = StreamsBuilder::new();
    declare(&builder);
    let mut bench = Bench::new(builder.build().unwrap());
    bench.emission = Emission::PerCommit;
    bench.reopen();
    bench
}

fn feed(bench: &mut Bench, offset: i64, script: &[(&str, &str, Timestamp)]) {
    bench.task.add(0, records(offset, script));
    bench.task.process(100).unwrap();
}

fn session_texts(builder: &StreamsBuilder) {
    let windows = SessionWindows::of_inactivity_gap_and_grace(
        Duration::from_millis(10),
        Duration::from_millis(100),
    );
    let windowed = builder.stream(&LEFT).group_by_key().windowed_by(windows);
    let table = windowed.reduce("sessions", |all, letter| all + &letter);
    let shown = |key: Windowed<String>, all: Option<String>| {
        let Window { start, end } = key.window;
        (format!("{start}..{end} "), all.unwrap_or("-".to_owned()))
    };
    table.to_stream().map(shown).to(&OUT);
}

#[test]
fn a_key_is_told_once_per_commit_in_the_order_of_last_changes() {
    let mut bench = bench(|builder| {
        let counts = builder.stream(&LEFT).group_by_key().count("counts");
        counts.to(&COUNTS);
    });
    let script = [
        ("b", "", 5),
        ("a", "", 3),
        ("b", "", 4),
        ("c", "", 1),
        ("a", "", 9),
    ];
    feed(&mut bench, 0, &script);
    assert!(bench.outputs("counts").is_empty());
    let (places, changes) = bench.commit();
    assert_eq!(places[0].1.offset, 5);
    // The changelog says what there is, in the order of first changes.
    assert_eq!(changes, ends(&[("b", 2, 5), ("a", 2, 9), ("c", 1, 1)]));
    let expected = ends(&[("b", 2, 5), ("c", 1, 1), ("a", 2, 9)]);
    assert_eq!(bench.outputs("counts"), expected);
    // Nothing changed, nothing is told.
    bench.commit();
    assert!(bench.outputs("counts").is_empty());
    feed(&mut bench, 5, &[("a", "", 10)]);
    bench.task.flush().unwrap();
    // Whoever hands outputs over early flushes early, and the commit has nothing to add.
    assert_eq!(bench.outputs("counts"), ends(&[("a", 3, 10)]));
    bench.commit();
    assert!(bench.outputs("counts").is_empty());
}

#[test]
fn what_one_table_tells_another_is_in_the_same_commit() {
    let mut bench = bench(|builder| {
        let counts = builder.stream(&LEFT).group_by_key().count("counts");
        let odd = counts
            .to_stream()
            .map_values(|count| count.filter(|count| count % 2 == 1));
        odd.to_table_of_rows("odd").to(&COUNTS);
    });
    feed(
        &mut bench,
        0,
        &[
            ("a", "", 1),
            ("a", "", 2),
            ("a", "", 3),
            ("b", "", 4),
            ("b", "", 5),
        ],
    );
    let (_, changes) = bench.commit();
    let expected = ends(&[("a", 3, 3), ("b", 2, 5), ("a", 3, 3)]);
    assert_eq!(changes[..3], expected);
    assert_eq!(changes[3], (b"b".to_vec(), None, 5));
    // b's row had never been there as far as anybody knows; a table that was not asked tells so.
    let told = bench.outputs("counts");
    assert_eq!(
        told,
        [ends(&[("a", 3, 3)]), vec![(b"b".to_vec(), None, 5)]].concat()
    );
}

#[test]
fn sessions_that_came_and_went_are_not_told() {
    let mut bench = bench(session_texts);
    feed(
        &mut bench,
        0,
        &[("a", "x", 0), ("a", "y", 8), ("a", "z", 8)],
    );
    bench.commit();
    assert_eq!(bench.texts("out"), ["0..8 xyz"]);
    feed(
        &mut bench,
        3,
        &[("a", "u", 16), ("a", "v", 30), ("a", "w", 23)],
    );
    bench.commit();
    // What was told is taken back, and what was not told is not.
    assert_eq!(bench.texts("out"), ["0..8 -", "0..30 xyzuvw"]);
}

#[test]
fn what_waits_is_forgotten_with_the_commit_that_failed() {
    let mut bench = bench(|builder| {
        builder
            .stream(&LEFT)
            .group_by_key()
            .count("counts")
            .to(&COUNTS);
    });
    feed(&mut bench, 0, &[("a", "", 1)]);
    bench.task.abort().unwrap();
    bench.commit();
    assert!(bench.outputs("counts").is_empty());
}

#[test]
fn whoever_looks_a_row_up_sees_the_latest() {
    let mut bench = bench(|builder| {
        let counts = builder.stream(&LEFT).group_by_key().count("counts");
        let joined = builder
            .stream(&LEFT)
            .join(counts, |text, count| format!("{text}{count}"));
        joined.to(&RIGHT);
    });
    feed(&mut bench, 0, &[("a", "x", 1), ("a", "y", 2)]);
    assert_eq!(bench.texts("right"), ["ax1", "ay2"]);
}

#[test]
fn final_results_of_windows_are_told_at_once() {
    let mut bench = bench(|builder| {
        let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
        let windowed = builder.stream(&LEFT).group_by_key().windowed_by(windows);
        let windowed = windowed.emit_strategy(EmitStrategy::OnWindowClose);
        let table = windowed.reduce("windows", |all, letter| all + &letter);
        let shown = |key: Windowed<String>, all: Option<String>| (key.key, all.unwrap_or_default());
        table.to_stream().map(shown).to(&OUT);
    });
    feed(
        &mut bench,
        0,
        &[("a", "x", 1), ("a", "y", 2), ("a", "z", 10)],
    );
    assert_eq!(bench.texts("out"), ["axy"]);
}

/// What an aggregate of a table's rows is told is what comes between two commits: it is to take
/// back what it was told at the first, whatever the row has been since.
#[test]
fn aggregates_take_back_what_they_were_told() {
    let mut bench = bench(|builder| {
        let rows = builder.table(&LEFT, "rows");
        let grouped = rows.group_by(|_, row| (row.len().to_string(), row.clone()));
        let _ = grouped.reduce("sums", |a, b| a + &b, |a, _| a);
    });
    // New rows, the old ones of which only those of the same group go with them.
    let new = |row: &str| [&[2], row.as_bytes()].concat();
    let old = |row: &str| [&[1], row.as_bytes()].concat();
    let both = |old: &str, new: &str| {
        let length = u32::try_from(old.len()).unwrap().to_be_bytes();
        [&[3], &length[..], old.as_bytes(), new.as_bytes()].concat()
    };
    let told = |bench: &mut Bench| {
        bench.commit();
        let told = bench.outputs("test-sums-repartition").into_iter();
        let row = |(group, change, time): Row| (String::from_utf8(group).unwrap(), change, time);
        told.map(row).collect::<Vec<_>>()
    };
    let group = |length: usize, change, time| (length.to_string(), Some(change), time);
    feed(&mut bench, 0, &[("0", "2", 1), ("1", "7", 2)]);
    let expected = [group(1, new("2"), 1), group(1, new("7"), 2)];
    assert_eq!(told(&mut bench), expected);
    feed(&mut bench, 2, &[("0", "5", 3), ("0", "4", 4)]);
    assert_eq!(told(&mut bench), [group(1, both("2", "4"), 4)]);
    // Where it was meanwhile does not matter, and where it goes does.
    feed(&mut bench, 4, &[("1", "88", 5), ("1", "9", 6)]);
    assert_eq!(told(&mut bench), [group(1, both("7", "9"), 6)]);
    feed(&mut bench, 6, &[("1", "3", 7), ("1", "66", 8)]);
    let expected = [group(1, old("9"), 8), group(2, new("66"), 8)];
    assert_eq!(told(&mut bench), expected);
}

/// A busy window is not a quiet one because its changes wait for the commit.
#[test]
fn only_windows_without_records_are_closed_by_the_wall_clock() {
    let mut bench = bench(|builder| {
        let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(100));
        let windowed = builder.stream(&LEFT).group_by_key().windowed_by(windows);
        let table = windowed.reduce("windows", |all, letter| all + &letter);
        let closing = Suppressed::until_window_closes(BufferConfig::unbounded());
        let closing = closing.close_when_idle(Duration::from_millis(10));
        let shown = |key: Windowed<String>, all: Option<String>| (key.key, all.unwrap_or_default());
        let table = table.suppress("closed", closing);
        table.to_stream().map(shown).to(&OUT);
    });
    bench.task.advance_wall_clock(0).unwrap();
    for (offset, letter) in ["x", "y", "z", "u"].into_iter().enumerate() {
        feed(&mut bench, offset as i64, &[("a", letter, 1)]);
        if offset % 2 == 0 {
            bench.commit();
        }
        bench
            .task
            .advance_wall_clock(6 * (1 + offset as i64))
            .unwrap();
    }
    bench.commit();
    assert!(bench.outputs("out").is_empty());
    // Where the clock is put back, the wait begins again, and does not stand still.
    for now in [5, 6, 15] {
        bench.task.advance_wall_clock(now).unwrap();
        assert!(bench.outputs("out").is_empty());
    }
    bench.task.advance_wall_clock(16).unwrap();
    assert_eq!(bench.texts("out"), ["axyzu"]);
    assert_eq!(bench.task.dropped().late_record, 0);
}

/// What the commit tells is held back like what a buffer lets out: its letter says whose it is.
#[test]
fn the_letter_of_what_the_commit_brings_forth_has_its_time_and_headers() {
    let builder = StreamsBuilder::new();
    let last = builder.stream(&LEFT).group_by_key();
    let last = last.reduce("last", |_, new| new).to_stream();
    let parsed = last.try_map_values(|text| text.unwrap_or_default().parse::<u64>());
    parsed
        .on_error(ErrorPolicy::DeadLetterTo("dead"))
        .to(&COUNTS);
    let config = TaskConfig {
        emission: Emission::PerCommit,
        ..TaskConfig::new("app")
    };
    let mut driver = TopologyTestDriver::with_config(builder.build().unwrap(), &config).unwrap();
    let mut record = Record::new("k".to_owned(), "x".to_owned(), 7);
    record.headers.push("made", Some(b"here".to_vec()));
    driver.pipe_record(&LEFT, &record).unwrap();
    let letters = driver.read_raw("dead");
    assert_eq!(letters.len(), 1);
    let (_, _, time, headers) = &letters[0];
    let made = headers
        .last("made")
        .and_then(|header| header.value.as_deref());
    assert_eq!((*time, made), (7, Some(&b"here"[..])));
}
