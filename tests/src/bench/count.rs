//! Counting by key on the embedded log, in memory and on disk: the whole path of a record.
//!
//! A record is fetched, decoded, counted, its new count is written to a topic, and every 100 ms all
//! of it is committed exactly once: what `StreamThread` does, on one thread. The input is there
//! before, and processor time counts to the end of the last commit.

use super::{
    Bench, Figures, Meter,
    embedded::{Driven, Input, Keys, fill, on_disk, topic},
};
use anyhow::{Context, Result, bail};
use millstream_core::{prelude::*, record::TopicPartition};
use millstream_log::{EmbeddedLog, Log};
use millstream_runtime::backends::{Backends, MemoryBackends, RocksBackends};
use millstream_state::{Limits, Shared};
use std::{path::Path, sync::Arc};

/// Log and state in memory.
pub(super) const MEMORY: Bench = Bench {
    name: "embedded_count_memory",
    runs: |scene| scene.runs_of(&["memory"]),
    child,
};

/// Log and state on disk. The input is written by another process, so that its compactions are not
/// counted.
pub(super) const DISK: Bench = Bench {
    name: "embedded_count_disk",
    runs: |scene| scene.runs_of(&["fill", "disk"]),
    child,
};

static IN: Topic<String, Vec<u8>> = Topic::new("in", utf8(), bytes());
static OUT: Topic<String, u64> = Topic::new("out", utf8(), u64_be());

const INPUT: Input = Input {
    topic: "in",
    seed: 1,
    records: 2_000_000,
    keys: Keys::Random(100_000),
    value_bytes: 100,
    per_ms: 1_000,
    after_ms: 0,
};

fn child(part: &str, directory: &Path) -> Result<Figures> {
    let shared = Shared::new(Limits::default());
    match part {
        "memory" => {
            let log = EmbeddedLog::in_memory();
            fill(&log, INPUT)?;
            count(&log, Arc::new(MemoryBackends::default()))
        }
        "fill" => {
            let meter = Meter::start()?;
            fill(&on_disk(directory, &shared)?, INPUT)?;
            meter.figures(INPUT.records)
        }
        "disk" => {
            let backends = RocksBackends::open(directory.join("tasks"), shared.clone())?;
            count(&on_disk(directory, &shared)?, Arc::new(backends))
        }
        other => bail!("no part {other:?}"),
    }
}

fn count(log: &EmbeddedLog, backends: Arc<dyn Backends>) -> Result<Figures> {
    topic(log, OUT.name)?;
    let mut driven = Driven::start(log, counts()?, backends)?;
    let meter = Meter::start()?;
    driven.until(INPUT.records)?;
    driven.close()?;
    let figures = meter.figures(INPUT.records)?;
    let written = log.client().end(&TopicPartition::new(OUT.name, 0))?;
    if u64::try_from(written).context("an offset")? != INPUT.records {
        bail!("{written} updates came out for {} records", INPUT.records);
    }
    Ok(figures)
}

fn counts() -> Result<Topology> {
    let builder = StreamsBuilder::new();
    builder.stream(&IN).group_by_key().count("counts").to(&OUT);
    Ok(builder.build()?)
}
