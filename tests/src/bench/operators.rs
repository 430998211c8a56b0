//! Windows and joins on the embedded log, on disk: what a record costs in each, and how much memory
//! windows take.
//!
//! The programs are those that run beside Kafka Streams on a cluster. `embedded_window_memory`
//! keeps its state in memory, where it can be seen: after each of ten window lengths it looks at
//! what the process has resident, which must not grow any more once windows are forgotten.

use super::{
    Bench, Figures, Meter, RUNS, Scene,
    embedded::{Driven, Input, Keys, fill, on_disk, topic},
    meter::rss_mb,
    workloads::{self, Names, Seen, Workload},
};
use anyhow::{Result, bail};
use millstream_core::prelude::*;
use millstream_log::EmbeddedLog;
use millstream_runtime::backends::{MemoryBackends, RocksBackends};
use millstream_state::{Limits, Shared};
use std::{path::Path, sync::Arc, time::Duration};

/// Counts in tumbling windows.
pub(super) const TUMBLING: Bench = bench("embedded_tumbling", |scene| {
    scene.runs_of(&["fill", "tumbling"])
});

/// Counts in sessions.
pub(super) const SESSION: Bench = bench("embedded_session", |scene| {
    scene.runs_of(&["fill", "session"])
});

/// Two streams within a window.
pub(super) const STREAM_JOIN: Bench = bench("embedded_stream_join", |scene| {
    scene.runs_of(&["fill", "stream_join"])
});

/// Two tables by a foreign key.
pub(super) const FOREIGN_JOIN: Bench = bench("embedded_foreign_join", |scene| {
    scene.runs_of(&["fill", "foreign_join"])
});

/// What windows hold.
pub(super) const WINDOW_MEMORY: Bench = bench("embedded_window_memory", memory_runs);

const fn bench(name: &'static str, runs: fn(&Scene) -> Result<Vec<Figures>>) -> Bench {
    Bench { name, runs, child }
}

const KEYS: u64 = 100_000;
const INPUT: Input = Input {
    topic: "in",
    seed: 1,
    records: 1_000_000,
    keys: Keys::Random(KEYS),
    value_bytes: 100,
    per_ms: 100,
};
/// The second stream: other keys at the same times.
const OTHER: Input = Input {
    topic: "other",
    seed: 2,
    value_bytes: 50,
    ..INPUT
};
/// The table that foreign keys name.
const ROWS: Input = Input {
    topic: "rows",
    records: KEYS,
    keys: Keys::Each(KEYS),
    ..OTHER
};

/// Width of the windows whose memory is looked at, their grace, and how many lengths pass.
const LENGTH: Duration = Duration::from_secs(60);
const LENGTHS: u64 = 10;
const PER_MS: u64 = 2;

fn child(part: &str, directory: &Path) -> Result<Figures> {
    let workload = match part {
        "fill" => return fill_all(directory),
        "memory" => return memory(),
        "tumbling" => Workload::Tumbling,
        "session" => Workload::Session,
        "stream_join" => Workload::StreamJoin,
        "foreign_join" => Workload::ForeignJoin,
        other => bail!("no part {other:?}"),
    };
    let shared = Shared::new(Limits::default());
    let log = on_disk(directory, &shared)?;
    let backends = Arc::new(RocksBackends::open(directory.join("tasks"), shared)?);
    let table = match workload {
        Workload::ForeignJoin => ROWS.topic,
        _ => OTHER.topic,
    };
    let topics = Names {
        input: INPUT.topic.to_owned(),
        table: table.to_owned(),
        output: "out".to_owned(),
    };
    let topology = workloads::topology(workload, &topics, &Seen::default())?;
    let mut driven = Driven::start(&log, topology, backends)?;
    let records = INPUT.records * workload.inputs();
    let meter = Meter::start()?;
    driven.until(records)?;
    if workload == Workload::ForeignJoin {
        driven.until_quiet()?;
    }
    driven.close()?;
    meter.figures(records)
}

fn fill_all(directory: &Path) -> Result<Figures> {
    let meter = Meter::start()?;
    let log = on_disk(directory, &Shared::new(Limits::default()))?;
    for input in [INPUT, OTHER, ROWS] {
        fill(&log, input)?;
    }
    topic(&log, "out")?;
    meter.figures(INPUT.records)
}

fn memory_runs(scene: &Scene) -> Result<Vec<Figures>> {
    (0..RUNS)
        .map(|_| scene.child("memory", scene.directory()))
        .collect()
}

/// Counts in windows, each key once a window, and what is resident after each length.
fn memory() -> Result<Figures> {
    static IN: Topic<String, Vec<u8>> = Topic::new("in", utf8(), bytes());
    let per_length = PER_MS * u64::try_from(LENGTH.as_millis())?;
    let input = Input {
        records: per_length * LENGTHS,
        keys: Keys::Each(per_length),
        value_bytes: 16,
        per_ms: PER_MS,
        ..INPUT
    };
    let log = EmbeddedLog::in_memory();
    fill(&log, input)?;
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_and_grace(LENGTH, LENGTH);
    let counts = Materialized::with("windows", utf8(), u64_be()).with_logging_disabled();
    let _ = (builder.stream(&IN).group_by_key())
        .windowed_by(windows)
        .count(counts);
    let backends = Arc::new(MemoryBackends::default());
    let mut driven = Driven::start(&log, builder.build()?, backends)?;
    let (meter, before) = (Meter::start()?, rss_mb()?);
    let mut curve = Vec::new();
    for length in 1..=LENGTHS {
        driven.until(per_length * length)?;
        curve.push(rss_mb()? - before);
    }
    driven.close()?;
    let mut figures = meter.figures(input.records)?;
    for (length, megabytes) in (1..).zip(&curve) {
        figures.insert(format!("rss_mb_after_{length:02}_lengths"), *megabytes);
    }
    Ok(figures)
}
