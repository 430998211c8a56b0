//! What a record costs as keys become more, in counts, windows and joins: a thousand to ten
//! million, on disk.
//!
//! Every key has its rows there when the meter starts: its count, one window, one session, the last
//! records of both streams, or both tables. What each of a million records, of keys by chance, then
//! asks for does not grow with the keys: in a join of streams the window is as wide as three
//! quarters of the time in which each key comes once. Beside it stands what the disk alone takes,
//! with as many rows, for a look-up and a write of one of them, or where the operator looks for the
//! rows of a key whatever their times, for that: an operator does it once or several times for a
//! record, and it does grow.

use super::{
    Bench, Figures, Meter, RUNS, Scene,
    embedded::{Driven, Input, Keys, Random, fill, on_disk},
};
use anyhow::{Context, Result, bail};
use millstream_core::prelude::*;
use millstream_runtime::backends::RocksBackends;
use millstream_state::{
    Backend, Column, Direction, Limits, Presence, RocksBackend, Shared, WriteBatch,
};
use std::{
    ops::{Bound, ControlFlow},
    path::Path,
    sync::Arc,
    time::Duration,
};

/// Counts by key.
pub(super) const COUNT: Bench = Bench {
    name: "embedded_count_keys",
    runs,
    child: |part, directory| child(part, directory, program(counting, 1)),
};

/// Counts in tumbling windows.
pub(super) const TUMBLING: Bench = Bench {
    name: "embedded_tumbling_keys",
    runs,
    child: |part, directory| child(part, directory, program(tumbling, 1)),
};

/// Counts in sessions.
pub(super) const SESSION: Bench = Bench {
    name: "embedded_session_keys",
    runs,
    child: |part, directory| child(part, directory, ranging(program(sessions, 1))),
};

/// Two streams within a window.
pub(super) const STREAM_JOIN: Bench = Bench {
    name: "embedded_stream_join_keys",
    runs,
    child: |part, directory| child(part, directory, ranging(program(stream_join, 2))),
};

/// Two tables by a foreign key, of which the one that is named stays as it is.
pub(super) const FOREIGN_JOIN: Bench = Bench {
    name: "embedded_foreign_join_keys",
    runs,
    child: |part, directory| {
        let tables = Program {
            answers: true,
            ..program(foreign_join, 1)
        };
        child(part, directory, tables)
    },
};

/// Exponents of ten.
const KEYS: [u32; 5] = [3, 4, 5, 6, 7];
/// Records of each input that are measured at each number of keys.
const MEASURED: u64 = 1_000_000;
/// Longer than any run by the records' times: one a millisecond.
const ALL: Duration = Duration::from_secs(24 * 60 * 60);
const VALUE_BYTES: usize = 16;
/// Rows that the bare disk is given together.
const WRITTEN_AT_ONCE: u64 = 100_000;

static IN: Topic<String, Vec<u8>> = Topic::new("in", utf8(), bytes());
static OTHER: Topic<String, Vec<u8>> = Topic::new("other", utf8(), bytes());

/// What is measured.
#[derive(Clone, Copy)]
struct Program {
    /// Declares it for so many keys.
    declare: fn(&StreamsBuilder, u64),
    /// How many inputs go on while it is measured.
    inputs: u64,
    /// Whether it reads topics of its own, which must be at rest too.
    answers: bool,
    asked: Asked,
}

/// What an operator asks of the disk for a record, once or several times.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The row of a key, which it writes again.
    Row,
    /// The rows of a key whatever their times, of which it writes one again.
    Range,
}

fn program(declare: fn(&StreamsBuilder, u64), inputs: u64) -> Program {
    Program {
        declare,
        inputs,
        answers: false,
        asked: Asked::Row,
    }
}

/// It asks for ranges of rows.
fn ranging(program: Program) -> Program {
    let asked = Asked::Range;
    Program { asked, ..program }
}

fn counting(builder: &StreamsBuilder, _: u64) {
    let counts = builder.stream(&IN).group_by_key().count(counts());
    counts.to_stream().for_each(|_, _| ());
}

fn tumbling(builder: &StreamsBuilder, _: u64) {
    let windows = TimeWindows::of_size_with_no_grace(ALL);
    let grouped = builder.stream(&IN).group_by_key();
    let counts = grouped.windowed_by(windows).count(counts());
    counts.to_stream().for_each(|_, _| ());
}

fn sessions(builder: &StreamsBuilder, _: u64) {
    let windows = SessionWindows::of_inactivity_gap_with_no_grace(ALL);
    let grouped = builder.stream(&IN).group_by_key();
    let counts = grouped.windowed_by(windows).count(counts());
    counts.to_stream().for_each(|_, _| ());
}

fn stream_join(builder: &StreamsBuilder, keys: u64) {
    let windows =
        JoinWindows::of_time_difference_with_no_grace(Duration::from_millis(keys * 3 / 4));
    let serdes = StreamJoined::with("pairs", utf8(), bytes(), bytes());
    let (left, right) = (builder.stream(&IN), builder.stream(&OTHER));
    let joined = left.join_stream(right, windows, serdes, |left, right| {
        left.len() + right.len()
    });
    joined.for_each(|_, _| ());
}

fn foreign_join(builder: &StreamsBuilder, keys: u64) {
    let table = |topic, name| builder.table(topic, Materialized::with(name, utf8(), bytes()));
    let (orders, profiles) = (table(&IN, "orders"), table(&OTHER, "profiles"));
    let named = move |_: &String, value: &Vec<u8>| {
        let first = value.first_chunk().copied().unwrap_or_default();
        Some(format!("key-{:06}", u64::from_be_bytes(first) % keys))
    };
    let serdes = TableJoined::with("named", bytes(), bytes());
    let joined = orders.foreign_key_join(
        profiles,
        named,
        |left, right| u64::try_from(left.len() + right.len()).unwrap_or_default(),
        serdes,
    );
    joined.to_stream().for_each(|_, _| ());
}

fn counts() -> Materialized<String, u64> {
    Materialized::with("counts", utf8(), u64_be())
}

/// For each number of keys: nanoseconds of processor time a record, those that its disk takes for a
/// row, and megabytes resident.
fn runs(scene: &Scene) -> Result<Vec<Figures>> {
    let run = |_| -> Result<Figures> {
        let mut all = Figures::new();
        for exponent in KEYS {
            let directory = tempfile::tempdir_in(scene.directory())?;
            let part = |what| scene.child(&format!("{what}-{exponent}"), directory.path());
            part("fill")?;
            let figures = part("run")?;
            let disk = part("disk")?;
            for (name, figures) in [
                ("cpu_ns_per_record", &figures),
                ("disk_cpu_ns_per_row", &disk),
            ] {
                let nanos = 1e9 / figures["records_per_cpu_second"];
                all.insert(format!("{name}_1e{exponent}"), nanos);
            }
            all.insert(format!("max_rss_mb_1e{exponent}"), figures["max_rss_mb"]);
        }
        let (few, many) = (all["cpu_ns_per_record_1e3"], all["cpu_ns_per_record_1e7"]);
        all.insert("cpu_ratio_1e7_to_1e3".to_owned(), many / few);
        Ok(all)
    };
    (0..RUNS).map(run).collect()
}

fn child(part: &str, directory: &Path, program: Program) -> Result<Figures> {
    let (what, exponent) = part.split_once('-').context("no such part")?;
    let keys = 10_u64.pow(exponent.parse()?);
    let shared = Shared::new(Limits::default());
    if what == "disk" {
        return bare_disk(keys, program.asked, &directory.join("bare"), &shared);
    }
    let meter = Meter::start()?;
    let log = on_disk(directory, &shared)?;
    let each = Input {
        topic: IN.name,
        seed: 1,
        records: keys,
        keys: Keys::Each(keys),
        value_bytes: VALUE_BYTES,
        per_ms: 1,
        after_ms: 0,
    };
    let other = |input: Input| Input {
        topic: OTHER.name,
        seed: input.seed + 1,
        ..input
    };
    let filled = if what == "fill" {
        fill(&log, each)?;
        fill(&log, other(each))?;
        keys * if program.answers { 2 } else { program.inputs }
    } else {
        MEASURED * program.inputs
    };
    let builder = StreamsBuilder::new();
    (program.declare)(&builder, keys);
    let backends = Arc::new(RocksBackends::open(directory.join("tasks"), shared)?);
    let mut driven = Driven::start(&log, builder.build()?, backends)?;
    driven.until(filled)?;
    if program.answers {
        driven.until_quiet()?;
    }
    driven.close()?;
    if what == "fill" {
        let more = Input {
            seed: 3,
            records: MEASURED,
            keys: Keys::Random(keys),
            after_ms: keys,
            ..each
        };
        fill(&log, more)?;
        if program.inputs > 1 {
            fill(&log, other(more))?;
        }
    }
    meter.figures(filled)
}

/// What a disk takes that has a row of each key: to look for it, and to write it again.
fn bare_disk(keys: u64, asked: Asked, directory: &Path, shared: &Shared) -> Result<Figures> {
    let backend = RocksBackend::open(directory, &["rows".to_owned()], shared)?;
    let (mut batch, mut row) = (WriteBatch::new(), vec![0; VALUE_BYTES]);
    for number in 0..keys.max(WRITTEN_AT_ONCE) {
        batch.put(Column(0), &asked.place(number % keys, 0), &row);
        if (number + 1).is_multiple_of(WRITTEN_AT_ONCE) {
            backend.apply(&batch)?;
            batch.clear();
        }
    }
    let mut random = Random(2);
    let meter = Meter::start()?;
    for count in 1..=MEASURED {
        let number = random.next() % keys;
        let (place, last) = (asked.place(number, 0), asked.place(number, u64::MAX));
        let mut found = false;
        match asked {
            Asked::Row => found = backend.get(Column(0), &place, &mut row)? == Presence::Found,
            Asked::Range => {
                let range = (Bound::Included(&*place), Bound::Included(&*last));
                backend.scan(Column(0), range, Direction::Ascending, &mut |_, _| {
                    found = true;
                    ControlFlow::Continue(())
                })?;
            }
        }
        if !found {
            bail!("key {number} has no row");
        }
        row[..8].copy_from_slice(&count.to_be_bytes());
        batch.put(Column(0), &place, &row);
        if count.is_multiple_of(WRITTEN_AT_ONCE) {
            backend.apply(&batch)?;
            batch.clear();
        }
    }
    drop(backend);
    meter.figures(MEASURED)
}

impl Asked {
    /// Where the row of a key and a time lies.
    fn place(self, number: u64, time: u64) -> Vec<u8> {
        let mut place = format!("key-{number:06}").into_bytes();
        if self == Self::Range {
            place.extend_from_slice(&time.to_be_bytes());
        }
        place
    }
}
