//! What windows and joins of streams hold as time goes by: the memory of the process after each of
//! ten lengths of a window, where the rows are in memory and where RocksDB has them. It must not
//! grow any more once rows are forgotten, and the caches of log and RocksDB are full.
//!
//! Every key comes once in each length, so that as many rows are forgotten as come. Log and
//! changelogs are on disk, where they take no memory that grows.

use super::{
    Bench, Figures, Meter, RUNS, Scene,
    embedded::{Driven, Input, Keys, fill, on_disk},
    meter::rss_mb,
};
use anyhow::{Result, bail};
use millstream_core::prelude::*;
use millstream_runtime::backends::{Backends, MemoryBackends, RocksBackends};
use millstream_state::{Limits, Shared};
use std::{path::Path, sync::Arc, time::Duration};

/// Counts in tumbling windows.
pub(super) const TUMBLING: Bench = Bench {
    name: "embedded_tumbling_retention",
    runs,
    child: |part, directory| child(part, directory, tumbling, 1),
};

/// Counts in sessions.
pub(super) const SESSION: Bench = Bench {
    name: "embedded_session_retention",
    runs,
    child: |part, directory| child(part, directory, sessions, 1),
};

/// Two streams within a window.
pub(super) const STREAM_JOIN: Bench = Bench {
    name: "embedded_stream_join_retention",
    runs,
    child: |part, directory| child(part, directory, stream_join, 2),
};

/// Width of the windows and their grace, and how many lengths pass.
const LENGTH: Duration = Duration::from_secs(60);
const LENGTHS: u64 = 10;
const PER_MS: u64 = 2;

static IN: Topic<String, Vec<u8>> = Topic::new("in", utf8(), bytes());
static OTHER: Topic<String, Vec<u8>> = Topic::new("other", utf8(), bytes());

fn tumbling(builder: &StreamsBuilder) {
    let windows = TimeWindows::of_size_and_grace(LENGTH, LENGTH);
    let grouped = builder.stream(&IN).group_by_key();
    let counts = grouped.windowed_by(windows).count(rows());
    counts.to_stream().for_each(|_, _| ());
}

/// A key that comes once in each length is alone in its session.
fn sessions(builder: &StreamsBuilder) {
    let windows = SessionWindows::of_inactivity_gap_and_grace(LENGTH / 2, LENGTH);
    let grouped = builder.stream(&IN).group_by_key();
    let counts = grouped.windowed_by(windows).count(rows());
    counts.to_stream().for_each(|_, _| ());
}

fn stream_join(builder: &StreamsBuilder) {
    let windows = JoinWindows::of_time_difference_and_grace(LENGTH, LENGTH);
    let serdes = StreamJoined::with("pairs", utf8(), bytes(), bytes());
    let (left, right) = (builder.stream(&IN), builder.stream(&OTHER));
    let joined = left.join_stream(right, windows, serdes, |left, right| {
        left.len() + right.len()
    });
    joined.for_each(|_, _| ());
}

fn rows() -> Materialized<String, u64> {
    Materialized::with("counts", utf8(), u64_be())
}

/// Each run in memory and on disk, as one.
fn runs(scene: &Scene) -> Result<Vec<Figures>> {
    let run = |_| {
        let mut figures = Figures::new();
        for part in ["memory", "disk"] {
            let directory = tempfile::tempdir_in(scene.directory())?;
            for (name, figure) in scene.child(part, directory.path())? {
                figures.insert(format!("{part}_{name}"), figure);
            }
        }
        Ok(figures)
    };
    (0..RUNS).map(run).collect()
}

fn child(
    part: &str,
    directory: &Path,
    declare: fn(&StreamsBuilder),
    inputs: usize,
) -> Result<Figures> {
    let shared = Shared::new(Limits::default());
    let log = on_disk(directory, &shared)?;
    let per_length = PER_MS * u64::try_from(LENGTH.as_millis())?;
    let per_step = per_length * u64::try_from(inputs)?;
    for (topic, seed) in [(IN.name, 1), (OTHER.name, 2)].into_iter().take(inputs) {
        let input = Input {
            topic,
            seed,
            records: per_length * LENGTHS,
            keys: Keys::Each(per_length),
            value_bytes: 16,
            per_ms: PER_MS,
            after_ms: 0,
        };
        fill(&log, input)?;
    }
    let backends: Arc<dyn Backends> = match part {
        "memory" => Arc::new(MemoryBackends::default()),
        "disk" => Arc::new(RocksBackends::open(directory.join("tasks"), shared)?),
        other => bail!("no part {other:?}"),
    };
    let builder = StreamsBuilder::new();
    declare(&builder);
    let mut driven = Driven::start(&log, builder.build()?, backends)?;
    let (meter, before) = (Meter::start()?, rss_mb()?);
    let mut curve = Figures::new();
    for length in 1..=LENGTHS {
        driven.until(per_step * length)?;
        curve.insert(format!("rss_mb_{length:02}"), rss_mb()? - before);
    }
    driven.close()?;
    let mut figures = meter.figures(per_step * LENGTHS)?;
    figures.append(&mut curve);
    Ok(figures)
}
