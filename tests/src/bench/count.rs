//! Counting by key on the embedded log, in memory and on disk: the whole path of a record.
//!
//! A record is fetched, decoded, counted, its new count is written to a topic, and every 100 ms all
//! of it is committed exactly once: what `StreamThread` does, on one thread. The input is there
//! before, and processor time counts to the end of the last commit. `embedded_count_keys` does it
//! for ever more keys, each of which has a count on disk when the meter starts.

use super::{
    Bench, Figures, Meter, RUNS, Scene,
    embedded::{Driven, Input, Keys, Random, fill, on_disk, topic},
};
use anyhow::{Context, Result, bail};
use millstream_core::{prelude::*, record::TopicPartition};
use millstream_log::{EmbeddedLog, Log};
use millstream_runtime::backends::{Backends, MemoryBackends, RocksBackends};
use millstream_state::{Backend, Column, Limits, Presence, RocksBackend, Shared, WriteBatch};
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

/// A thousand to ten million keys, on disk.
pub(super) const KEY_NUMBERS: Bench = Bench {
    name: "embedded_count_keys",
    runs: runs_by_keys,
    child: child_by_keys,
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
/// Exponents of ten.
const KEYS: [u32; 5] = [3, 4, 5, 6, 7];
/// Records that are measured at each number of keys.
const MEASURED: u64 = 1_000_000;
/// Rows that the bare disk is given together.
const WRITTEN_AT_ONCE: u64 = 100_000;

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

/// For each number of keys: nanoseconds of processor time a record, those that its disk alone takes
/// (a look-up and a write of the store's row), and megabytes resident.
fn runs_by_keys(scene: &Scene) -> Result<Vec<Figures>> {
    let run = |_| -> Result<Figures> {
        let mut all = Figures::new();
        for exponent in KEYS {
            let directory = tempfile::tempdir_in(scene.directory())?;
            let (fill, part) = (format!("fill-{exponent}"), format!("count-{exponent}"));
            scene.child(&fill, directory.path())?;
            let figures = scene.child(&part, directory.path())?;
            let disk = scene.child(&format!("disk-{exponent}"), directory.path())?;
            for (name, figures) in [("cpu", &figures), ("disk_cpu", &disk)] {
                let nanos = 1e9 / figures["records_per_cpu_second"];
                all.insert(format!("{name}_ns_per_record_1e{exponent}"), nanos);
            }
            all.insert(format!("max_rss_mb_1e{exponent}"), figures["max_rss_mb"]);
        }
        let (few, many) = (all["cpu_ns_per_record_1e3"], all["cpu_ns_per_record_1e7"]);
        all.insert("cpu_ratio_1e7_to_1e3".to_owned(), many / few);
        Ok(all)
    };
    (0..RUNS).map(run).collect()
}

fn child_by_keys(part: &str, directory: &Path) -> Result<Figures> {
    let shared = Shared::new(Limits::default());
    let (what, exponent) = part.split_once('-').context("no such part")?;
    let keys = 10_u64.pow(exponent.parse()?);
    if what == "disk" {
        return bare_disk(keys, &directory.join("tasks/0_0"), &shared);
    }
    let log = on_disk(directory, &shared)?;
    let backends = Arc::new(RocksBackends::open(directory.join("tasks"), shared)?);
    if what == "fill" {
        let each = Input {
            records: keys,
            keys: Keys::Each(keys),
            ..INPUT
        };
        topic(&log, OUT.name)?;
        fill(&log, each)?;
        let meter = Meter::start()?;
        let mut driven = Driven::start(&log, counts()?, backends)?;
        driven.until(keys)?;
        driven.close()?;
        let more = Input {
            records: MEASURED,
            keys: Keys::Random(keys),
            ..INPUT
        };
        fill(&log, more)?;
        return meter.figures(keys);
    }
    let meter = Meter::start()?;
    let mut driven = Driven::start(&log, counts()?, backends)?;
    driven.until(MEASURED)?;
    driven.close()?;
    meter.figures(MEASURED)
}

/// What the engine asks of its disk where no key comes twice between two writes to it.
fn bare_disk(keys: u64, task: &Path, shared: &Shared) -> Result<Figures> {
    let backend = RocksBackend::open(task, &["counts".to_owned()], shared)?;
    let (mut random, mut batch, mut row) = (Random(2), WriteBatch::new(), Vec::new());
    let meter = Meter::start()?;
    for number in 1..=MEASURED {
        let key = format!("key-{:06}", random.next() % keys);
        if backend.get(Column(0), key.as_bytes(), &mut row)? == Presence::Missing {
            bail!("{key} has no count");
        }
        row.reverse(); // Another row of the same size.
        batch.put(Column(0), key.as_bytes(), &row);
        if number % WRITTEN_AT_ONCE == 0 {
            backend.apply(&batch)?;
            batch.clear();
        }
    }
    drop(backend);
    meter.figures(MEASURED)
}
