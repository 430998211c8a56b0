//! A program of one windowed table, fed record by record.

use super::harness::{Bench, LEFT, OUT, Row, records};
use millstream_core::{
    prelude::*,
    task::{Dropped, Place},
    window::Windows,
};
use std::time::Duration;

pub(crate) type Group<'b> = KGroupedStream<'b, String, String>;
pub(crate) type Table<'b> = KTable<'b, Windowed<String>, String>;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// All letters of a window in the order in which they came.
pub(crate) fn letters<'b, W: millstream_core::dsl::FixedWindows>(
    group: Group<'b>,
    windows: W,
) -> Table<'b> {
    let windowed = group.windowed_by(windows);
    windowed.aggregate("windows", String::new, |_, letter, all| *all += &letter)
}

/// The same, told on close.
pub(crate) fn finals<'b, W: millstream_core::dsl::FixedWindows>(
    group: Group<'b>,
    windows: W,
) -> Table<'b> {
    let windowed = group.windowed_by(windows);
    let windowed = windowed.emit_strategy(EmitStrategy::OnWindowClose);
    windowed.aggregate("windows", String::new, |_, letter, all| *all += &letter)
}

/// All letters of a session; where sessions become one there is a bar between them.
pub(crate) fn session_letters(
    windowed: WindowedKStream<'_, String, String, SessionWindows>,
) -> Table<'_> {
    windowed.aggregate(
        "windows",
        String::new,
        |_, letter, all| *all += &letter,
        |_, all, other| {
            if !all.is_empty() {
                *all += "|";
            }
            *all += &other;
        },
    )
}

pub(crate) struct Run {
    pub(crate) bench: Bench,
    offset: i64,
    place: Place,
}

impl Run {
    pub(crate) fn new<F>(declare: F) -> Self
    where
        F: for<'b> FnOnce(Group<'b>) -> Table<'b>,
    {
        Self::of(|stream| declare(stream.group_by_key()))
    }

    /// A program of a table made of the stream itself.
    pub(crate) fn of<F>(declare: F) -> Self
    where
        F: for<'b> FnOnce(KStream<'b, String, String>) -> Table<'b>,
    {
        let builder = StreamsBuilder::new();
        let table = declare(builder.stream(&LEFT));
        let named = |key: Windowed<String>, value| {
            let Window { start, end } = key.window;
            (format!("{} {start}..{end}", key.key), value)
        };
        let shown = |(key, value): (String, Option<String>)| (key, value.unwrap_or("-".to_owned()));
        let rows = table
            .to_stream()
            .map(named)
            .map(move |key, value| shown((key, value)));
        rows.to(&OUT);
        Self {
            bench: Bench::new(builder.build().unwrap()),
            offset: 0,
            place: Place::start(0),
        }
    }

    /// What a record makes it tell.
    pub(crate) fn step(&mut self, key: &str, letter: &str, time: Timestamp) -> String {
        let batch = records(self.offset, &[(key, letter, time)]);
        self.offset += 1;
        self.bench.task.add(0, batch);
        assert_eq!(self.bench.task.process(1).unwrap(), 1);
        self.told()
    }

    /// What the wall clock makes it tell.
    pub(crate) fn clock(&mut self, now: Timestamp) -> String {
        self.bench.task.advance_wall_clock(now).unwrap();
        self.told()
    }

    /// What it has told since it was asked before.
    pub(crate) fn told(&mut self) -> String {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let line = |(key, value, time): Row| {
            format!("{} {} @{time}", text(key), text(value.unwrap_or_default()))
        };
        let lines: Vec<_> = self.bench.outputs("out").into_iter().map(line).collect();
        lines.join("; ")
    }

    pub(crate) fn commit(&mut self) {
        let (places, _) = self.bench.commit();
        self.place = places.first().map_or(self.place, |(_, place)| *place);
    }

    /// Commits, and comes back over what the backend holds.
    pub(crate) fn restart(&mut self) {
        self.commit();
        self.bench.reopen();
        self.bench.task.resume(0, self.place);
    }

    /// Goes back to the last commit, as after one that failed; returns how many records are to come
    /// again.
    pub(crate) fn abort(&mut self) -> usize {
        self.bench.task.abort().unwrap();
        self.bench.task.resume(0, self.place);
        let again = self.offset - self.place.offset;
        self.offset = self.place.offset;
        usize::try_from(again).unwrap()
    }

    pub(crate) fn dropped(&self) -> Dropped {
        self.bench.task.dropped()
    }
}

/// Records without keys of their own: all of key `a`, and what each makes the program tell.
pub(crate) fn play<F>(declare: F, script: &[(&str, Timestamp, &str)]) -> Run
where
    F: for<'b> FnOnce(Group<'b>) -> Table<'b>,
{
    let mut run = Run::new(declare);
    for (letter, time, expected) in script {
        assert_eq!(
            run.step("a", letter, *time),
            *expected,
            "{letter} at {time}"
        );
    }
    run
}

/// Final results of windows of 10 ms with a grace of 5 ms: each is told once, when that is over.
pub(crate) fn tells_each_window_once<F>(declare: F)
where
    F: for<'b> FnOnce(Group<'b>) -> Table<'b>,
{
    let script = [
        ("a", 3, ""),
        ("b", 14, ""),
        ("c", 7, ""),
        // A result's time is the greatest in its window.
        ("d", 15, "a 0..10 ac @7"),
        ("e", 5, ""),
        // Several at once, in the order of time.
        ("f", 21, ""),
        ("g", 50, "a 10..20 bd @15; a 20..30 f @21"),
    ];
    let run = play(declare, &script);
    assert_eq!(run.dropped().late_record, 1);
}

/// The same windows, of several keys that close together: by time, and then by key.
pub(crate) fn tells_by_time_then_key<F>(declare: F)
where
    F: for<'b> FnOnce(Group<'b>) -> Table<'b>,
{
    let mut run = Run::new(declare);
    for (key, time) in [("c", 10), ("b", 1), ("a", 12), ("d", 1), ("ab", 2)] {
        assert_eq!(run.step(key, "x", time), "");
    }
    assert_eq!(
        run.step("z", "x", 99),
        "ab 0..10 x @2; b 0..10 x @1; d 0..10 x @1; a 10..20 x @12; c 10..20 x @10"
    );
}

/// What a program with such windows is told at `build()`.
pub(crate) fn mistake<W: Windows>(windows: W) -> String {
    let builder = StreamsBuilder::new();
    let grouped = builder.stream(&LEFT).group_by_key();
    let _ = grouped.windowed_by(windows);
    builder
        .build()
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}
