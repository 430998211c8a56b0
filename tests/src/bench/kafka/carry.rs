//! Records on their way from the cluster into an embedded log, and back.
//!
//! Invariant: partitions, order, times and headers stay as they are, so that the embedded side has
//! the input of all others, and its output can be compared with theirs.

use super::{
    super::embedded::on_disk,
    job::{Job, PARTITIONS, SECONDS_MAX},
};
use anyhow::{Context, Result};
use millstream_core::record::TopicPartition;
use millstream_log::{Broker, Cleanup, EmbeddedLog, TopicSpec};
use millstream_runtime::{clock::SystemClock, patience::patiently};
use millstream_state::Shared;
use std::time::Duration;

/// Bytes of records that are read, and then committed, at once.
const PAGE_BYTES: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(SECONDS_MAX);

/// A job's embedded log, with state that shares its memory.
pub(super) fn embedded(job: &Job, shared: &Shared) -> Result<EmbeddedLog> {
    on_disk(&job.log(), shared)
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
