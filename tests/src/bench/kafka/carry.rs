//! The embedded log beside a cluster: records on their way there and back, and who tidies it up.
//!
//! Invariant: partitions, order, times and headers stay as they are, so that the embedded side has
//! the input of all others, and its output can be compared with theirs.

use super::{
    super::embedded::on_disk,
    job::{Job, PARTITIONS, SECONDS_MAX},
};
use anyhow::{Context, Result, anyhow};
use millstream_core::record::TopicPartition;
use millstream_log::{Broker, Cleanup, EmbeddedLog, TopicSpec};
use millstream_runtime::{
    clock::{Clock, SystemClock},
    patience::patiently,
};
use millstream_state::Shared;
use std::{
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

/// Bytes of records that are read, and then committed, at once.
const PAGE_BYTES: usize = 4 << 20;
/// How often a log is tidied up.
const CLEANING_INTERVAL: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(SECONDS_MAX);

/// A job's embedded log, with state that shares its memory.
pub(super) fn embedded(job: &Job, shared: &Shared) -> Result<EmbeddedLog> {
    on_disk(&job.log(), shared)
}

/// Tidies up a log, as an app does that has one: merges blocks, compacts changelogs.
pub(super) struct Cleaner {
    stop: Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Cleaner {
    pub(super) fn start(log: &EmbeddedLog) -> Self {
        let (log, clock) = (log.clone(), SystemClock::new());
        let (stop, stopped) = channel();
        let run = move || {
            while stopped.recv_timeout(CLEANING_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                while log.maintain(clock.now())?.more {}
            }
            Ok(())
        };
        let thread = std::thread::spawn(run);
        Self { stop, thread }
    }

    /// Ends it; how it went.
    pub(super) fn stop(self) -> Result<()> {
        drop(self.stop);
        let ended = self.thread.join();
        ended.map_err(|_| anyhow!("the log's cleaner panicked"))?
    }
}

/// Copies the inputs into the embedded log, and makes the output's topic there.
pub(super) fn carry_in(cluster: &dyn Broker, log: &EmbeddedLog, job: &Job) -> Result<()> {
    let topics = &job.topics;
    for name in [&topics.input, &topics.table, &topics.output] {
        log.create_topic(&TopicSpec {
            name: name.clone(),
            partitions: PARTITIONS,
            cleanup: Cleanup::Delete { retention_ms: None },
        })?;
    }
    carry(cluster, log, &topics.input)?;
    if job.workload.reads_table() {
        carry(cluster, log, &topics.table)?;
    }
    Ok(())
}

/// Copies a topic's records, which must be there in both places.
pub(super) fn carry(from: &dyn Broker, to: &dyn Broker, topic: &str) -> Result<()> {
    let clock = SystemClock::new();
    let (mut reader, mut writer) = (from.client()?, to.writer("carry")?);
    let mut commits = 0;
    for partition in 0..PARTITIONS {
        let at = TopicPartition::new(topic, partition);
        let end = patiently(&mut *reader, &clock, PATIENCE, |log| Ok(log.end(&at)?))?;
        let mut next = 0;
        while next < end {
            let page = patiently(&mut *reader, &clock, PATIENCE, |log| {
                Ok(log.read(&at, next, PAGE_BYTES)?)
            })?;
            for (_, record) in page.records.iter() {
                writer.send(topic, Some(partition), record)?;
            }
            commits += 1;
            writer
                .commit(commits, &[])
                .with_context(|| format!("records of {topic}-{partition} at {next}"))?;
            next = page.next;
        }
    }
    Ok(())
}
