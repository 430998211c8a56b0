//! Counting by key on the embedded log, in memory and on disk: the whole path of a record.
//!
//! A record is fetched, decoded, counted, its new count is written to a topic, and every 100 ms all
//! of it is committed exactly once: what `StreamThread` does, on one thread. The input is there
//! before, and processor time counts to the end of the last commit.

use super::{Bench, Figures, Meter};
use anyhow::{Context, Result, bail};
use millstream_core::{
    prelude::*,
    record::{RawRecord, TopicPartition},
    task::TaskConfig,
};
use millstream_log::{Cleanup, EmbeddedLog, Limits as LogLimits, Log, TopicSpec};
use millstream_runtime::{
    backends::{Backends, MemoryBackends, RocksBackends},
    clock::{Clock, SystemClock},
    program::Program,
    worker::{Settings, Worker},
};
use millstream_state::{Limits, RocksBackend, Shared};
use std::{path::Path, sync::Arc, time::Duration};

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

const RECORDS: u64 = 2_000_000;
const KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 100;
/// Records of the input that lie in one block of the log.
const RECORDS_PER_BLOCK: u64 = 10_000;
/// Bytes of newest records that a log on disk keeps in memory: what the facade gives it.
const LOG_CACHE_BYTES: u64 = 16 << 20;

fn child(part: &str, directory: &Path) -> Result<Figures> {
    let shared = Shared::new(Limits::default());
    match part {
        "memory" => {
            let log = EmbeddedLog::in_memory();
            fill(&log)?;
            count(&log, Arc::new(MemoryBackends::default()))
        }
        "fill" => {
            let meter = Meter::start()?;
            fill(&on_disk(directory, &shared)?)?;
            meter.figures(RECORDS)
        }
        "disk" => {
            let backends = RocksBackends::open(directory.join("tasks"), shared.clone())?;
            count(&on_disk(directory, &shared)?, Arc::new(backends))
        }
        other => bail!("no part {other:?}"),
    }
}

fn on_disk(directory: &Path, shared: &Shared) -> Result<EmbeddedLog> {
    let columns = EmbeddedLog::COLUMNS.map(str::to_owned);
    let backend = RocksBackend::open(directory.join("log"), &columns, shared)?;
    let limits = LogLimits {
        cache_bytes_max: LOG_CACHE_BYTES,
        ..LogLimits::default()
    };
    Ok(EmbeddedLog::open_with(Arc::new(backend), limits)?)
}

/// Makes the topics and writes the input: keys in an order that has nothing to do with theirs.
fn fill(log: &EmbeddedLog) -> Result<()> {
    for name in [IN.name, OUT.name] {
        let cleanup = Cleanup::Delete { retention_ms: None };
        log.create_topic(&TopicSpec {
            name: name.to_owned(),
            partitions: 1,
            cleanup,
        })?;
    }
    let mut client = log.client();
    let (mut random, mut value) = (Random(1), vec![0; VALUE_BYTES]);
    for number in 0..RECORDS {
        let key = format!("key-{:06}", random.next() % KEYS);
        value[..8].copy_from_slice(&random.next().to_be_bytes());
        let record = RawRecord {
            key: Some(key.as_bytes()),
            value: Some(&value),
            timestamp: (number / 1_000).try_into()?,
            headers: &Headers::NONE,
        };
        client.send(IN.name, Some(0), record)?;
        if (number + 1) % RECORDS_PER_BLOCK == 0 {
            client.commit(number, &[])?;
        }
    }
    client.commit(RECORDS, &[])?;
    Ok(())
}

fn count(log: &EmbeddedLog, backends: Arc<dyn Backends>) -> Result<Figures> {
    let builder = StreamsBuilder::new();
    builder.stream(&IN).group_by_key().count("counts").to(&OUT);
    let topology = Arc::new(builder.build()?);
    let mut client = log.client();
    let program = Program::prepare(topology, TaskConfig::new("bench"), &mut client)?;
    let settings = Settings::new("bench-1", "bench");
    let own = Box::new(log.client());
    let mut worker = Worker::new(Arc::new(program), backends, own, settings);
    let clock = SystemClock::new();
    let meter = Meter::start()?;
    while worker.stats().processed < RECORDS {
        worker.step(clock.now(), Duration::ZERO)?;
    }
    worker.close(clock.now())?;
    let figures = meter.figures(RECORDS)?;
    let written = client.end(&TopicPartition::new(OUT.name, 0))?;
    if u64::try_from(written).context("an offset")? != RECORDS {
        bail!("{written} updates came out for {RECORDS} records");
    }
    Ok(figures)
}

/// Xorshift: the same numbers in every run, at a cost that does not matter.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
