//! Windows and joins on the embedded log, on disk: what a record costs in each.
//!
//! The programs are those that run beside Kafka Streams on a cluster.

use super::{
    Bench, Figures, Meter, Scene,
    embedded::{Driven, Input, Keys, fill, on_disk, topic},
    workloads::{self, Names, Seen, Workload},
};
use anyhow::{Result, bail};
use millstream_runtime::backends::RocksBackends;
use millstream_state::{Limits, Shared};
use std::{path::Path, sync::Arc};

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
    after_ms: 0,
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

fn child(part: &str, directory: &Path) -> Result<Figures> {
    let workload = match part {
        "fill" => return fill_all(directory),
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
