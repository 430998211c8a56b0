//! What the benches on the embedded log have in common: logs, inputs, and a worker that is driven.
//!
//! Invariant: the same seed gives the same input in every process and every run.

use anyhow::Result;
use millstream_core::{
    record::{Headers, RawRecord, Timestamp},
    task::TaskConfig,
    topology::Topology,
};
use millstream_log::{Cleanup, EmbeddedLog, Limits as LogLimits, Log, TopicSpec};
use millstream_runtime::{
    backends::Backends,
    clock::{Clock, SystemClock},
    program::Program,
    worker::{Settings, Step, Worker},
};
use millstream_state::{RocksBackend, Shared};
use std::{path::Path, sync::Arc, time::Duration};

/// Records of an input that lie in one block of the log.
const RECORDS_PER_BLOCK: u64 = 10_000;
/// Bytes of newest records that a log on disk keeps in memory: what the facade gives it.
const LOG_CACHE_BYTES: u64 = 8 << 20;
/// Bytes for caches of records in all stores of a program: what every app gets.
pub(super) const CACHE_BYTES: usize = 32 << 20;
/// A worker that had nothing to do for so long, three commit intervals, has no more to come.
const QUIET: Duration = Duration::from_millis(300);
const IDLE_WAIT: Duration = Duration::from_millis(10);

/// A log on disk as the facade opens it.
pub(super) fn on_disk(directory: &Path, shared: &Shared) -> Result<EmbeddedLog> {
    let columns = EmbeddedLog::COLUMNS.map(str::to_owned);
    let backend = RocksBackend::open(directory.join("log"), &columns, &shared.for_a_log())?;
    let limits = LogLimits {
        cache_bytes_max: LOG_CACHE_BYTES,
        ..LogLimits::default()
    };
    Ok(EmbeddedLog::open_with(Arc::new(backend), limits)?)
}

/// An input to be written.
#[derive(Clone, Copy)]
pub(super) struct Input {
    pub(super) topic: &'static str,
    pub(super) seed: u64,
    pub(super) records: u64,
    /// Keys come in an order that has nothing to do with theirs.
    pub(super) keys: Keys,
    pub(super) value_bytes: usize,
    /// How many records share a millisecond.
    pub(super) per_ms: u64,
    /// The first one's time.
    pub(super) after_ms: u64,
}

/// Which keys come, of so many.
#[derive(Clone, Copy)]
pub(super) enum Keys {
    Random(u64),
    /// Each as often as any, one after the other.
    Each(u64),
}

/// Makes a topic of one partition.
pub(super) fn topic(log: &EmbeddedLog, name: &str) -> Result<()> {
    log.create_topic(&TopicSpec {
        name: name.to_owned(),
        partitions: 1,
        cleanup: Cleanup::Delete { retention_ms: None },
    })?;
    Ok(())
}

/// Makes an input's topic and writes it: random bytes, of which the first eight are the record's
/// own, so that no two records are alike.
pub(super) fn fill(log: &EmbeddedLog, input: Input) -> Result<()> {
    topic(log, input.topic)?;
    let mut client = log.client();
    let (mut random, mut value) = (Random(input.seed), vec![0; input.value_bytes]);
    for number in 0..input.records {
        let key = match input.keys {
            Keys::Random(keys) => random.next() % keys,
            Keys::Each(keys) => number % keys,
        };
        let key = format!("key-{key:06}");
        value[..8].copy_from_slice(&random.next().to_be_bytes());
        let record = RawRecord {
            key: Some(key.as_bytes()),
            value: Some(&value),
            timestamp: (input.after_ms + number / input.per_ms).try_into()?,
            headers: &Headers::NONE,
        };
        client.send(input.topic, Some(0), record)?;
        if (number + 1) % RECORDS_PER_BLOCK == 0 {
            client.commit(number, &[])?;
        }
    }
    client.commit(input.records, &[])?;
    Ok(())
}

/// What each store with a cache has of them in each task, as [`Node`](millstream::Node) shares them
/// out.
pub(super) fn cache_bytes_per_store(topology: &Topology, partitions: u32) -> usize {
    CACHE_BYTES / (topology.cached_stores() * partitions as usize).max(1)
}

/// A worker of its own group, at work on a log: what `StreamThread` does, on the caller's thread.
pub(super) struct Driven {
    worker: Worker,
    clock: SystemClock,
}

impl Driven {
    pub(super) fn start(
        log: &EmbeddedLog,
        topology: Topology,
        backends: Arc<dyn Backends>,
    ) -> Result<Self> {
        let mut client = log.client();
        let mut config = TaskConfig::new("bench");
        config.cache_bytes = cache_bytes_per_store(&topology, 1);
        let program = Program::prepare(Arc::new(topology), config, &mut client)?;
        let settings = Settings::new("bench-1", "bench");
        let worker = Worker::new(
            Arc::new(program),
            backends,
            Box::new(log.client()),
            settings,
        );
        let clock = SystemClock::new();
        Ok(Self { worker, clock })
    }

    /// Works until so many records were processed since the start.
    pub(super) fn until(&mut self, records: u64) -> Result<()> {
        while self.worker.stats().processed < records {
            self.step(Duration::ZERO)?;
        }
        Ok(())
    }

    /// Works until nothing more comes, over topics of the program's own either.
    pub(super) fn until_quiet(&mut self) -> Result<()> {
        let mut last = self.clock.elapsed();
        while self.clock.elapsed() < last + QUIET {
            let before = self.worker.stats().processed;
            let step = self.step(IDLE_WAIT)?;
            if step == Step::Busy && self.worker.stats().processed > before {
                last = self.clock.elapsed();
            }
        }
        Ok(())
    }

    fn step(&mut self, wait: Duration) -> Result<Step> {
        let now: Timestamp = self.clock.now();
        Ok(self.worker.step(now, wait)?)
    }

    /// Commits and ends.
    pub(super) fn close(mut self) -> Result<()> {
        let now = self.clock.now();
        Ok(self.worker.close(now)?)
    }
}

/// Xorshift: the same numbers in every run, at a cost that does not matter.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
