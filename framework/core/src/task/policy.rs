//! What becomes of a record that cannot be decoded, or that the program's own code refuses.

use super::Task;
use crate::{
    error::{Error, ErrorKind, Result},
    record::{Headers, Offset, RawRecord, TopicPartition},
    topology::{NodeKind, TopicName, Topology},
};
use std::collections::BTreeMap;

/// Kafka's exception handlers as a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorPolicy {
    /// The thread stops at the record; after a restart it meets it again. Kafka's `LogAndFail`.
    #[default]
    Fail,
    /// The record is dropped and counted. Kafka's `LogAndContinue`.
    Skip,
    /// The record's bytes go to the dead-letter topic with headers that say why (KIP-1034), in the
    /// same commit; and it is counted.
    DeadLetter,
}

/// What becomes of bad records, by what is bad about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// Of bytes that the source's serdes refuse: `deserialization.exception.handler`.
    pub deserialization: ErrorPolicy,
    /// Of records that the program's own code refuses: `processing.exception.handler` (KIP-1033).
    pub processing: ErrorPolicy,
}

impl From<ErrorPolicy> for Policies {
    /// One policy for both.
    fn from(policy: ErrorPolicy) -> Self {
        Self {
            deserialization: policy,
            processing: policy,
        }
    }
}

impl Policies {
    pub(crate) fn of(self, reason: Reason) -> ErrorPolicy {
        match reason {
            Reason::Processing => self.processing,
            Reason::Deserialization | Reason::InvalidTimestamp => self.deserialization,
        }
    }

    pub(crate) fn writes_dead_letters(self) -> bool {
        [self.deserialization, self.processing].contains(&ErrorPolicy::DeadLetter)
    }
}

/// Records dropped, by reason. Every drop is counted in exactly one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Bytes that the source's serdes refused.
    pub deserialization: u64,
    /// Records that the program's own code refused.
    pub processing: u64,
    /// Null keys where a key is needed: table sources, groups, repartitions, joins; and null values
    /// where streams are joined.
    pub null_key: u64,
    /// Negative timestamps.
    pub invalid_timestamp: u64,
    /// Records that came too late: for a window that had closed, once for each such window; to be
    /// joined with those of another stream; for a history that does not reach back so far; or, out
    /// of order, for a join of tables.
    pub late_record: u64,
    /// Of all the above, how many went to the dead-letter topic.
    pub dead_lettered: u64,
}

/// Why a record was refused, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Deserialization,
    Processing,
    InvalidTimestamp,
}

impl Dropped {
    pub(crate) fn count(&mut self, reason: Reason) {
        *match reason {
            Reason::Deserialization => &mut self.deserialization,
            Reason::Processing => &mut self.processing,
            Reason::InvalidTimestamp => &mut self.invalid_timestamp,
        } += 1;
    }
}

/// The policies that sources have of their own; `build()` saw to it that those of a topic agree.
pub(super) fn of_sources(topology: &Topology) -> BTreeMap<TopicName, ErrorPolicy> {
    let sources = topology.nodes.iter().filter_map(|node| match &node.kind {
        NodeKind::Source {
            topic,
            policy: Some(policy),
        } => Some((topic.clone(), *policy)),
        _ => None,
    });
    sources.collect()
}

/// A refusal met while one record ran through the operators.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) node: String,
    pub(crate) reason: Reason,
    pub(crate) error: Error,
}

impl Task {
    /// Counts what nodes refused of the record in hand, and writes its dead letter if asked to.
    #[cold]
    pub(super) fn settle_failures(
        &mut self,
        input: usize,
        offset: Offset,
        raw: RawRecord<'_>,
    ) -> Result<()> {
        let failures = std::mem::take(&mut self.ctx.failures);
        for failure in &failures {
            self.ctx.dropped.count(failure.reason);
        }
        let policies = self.ctx.policies;
        let kept = |failure: &&Failure| policies.of(failure.reason) == ErrorPolicy::DeadLetter;
        let (Some(first), Some(to)) = (failures.iter().find(kept), self.dead_letters) else {
            return Ok(());
        };
        let from = &self.ctx.inputs[input];
        let headers = dead_letter_headers(raw, from, offset, first);
        self.ctx.dropped.dead_lettered += 1;
        // A log takes no negative timestamp, though one may be what is wrong with the record.
        let timestamp = raw.timestamp.max(0);
        self.ctx
            .emit_raw(to, timestamp, &headers, raw.key, raw.value)
    }
}

/// KIP-1034's headers for a record that could not be processed.
pub(crate) fn dead_letter_headers(
    raw: RawRecord<'_>,
    from: &TopicPartition,
    offset: Offset,
    failure: &Failure,
) -> Headers {
    let mut headers = raw.headers.clone();
    let kind = match failure.error.kind() {
        ErrorKind::Deserialization(_) => "DeserializationException",
        ErrorKind::Serialization(_) => "SerializationException",
        ErrorKind::Processing(_) => "ProcessingException",
        ErrorKind::Topology(_) | ErrorKind::State(_) => "StreamsException",
    };
    let mut add = |name: &str, value: String| {
        headers.push(format!("__streams.errors.{name}"), Some(value.into_bytes()));
    };
    add("exception", kind.to_owned());
    add("stacktrace", format!("in {}", failure.node));
    add("message", failure.error.to_string());
    add("topic", from.topic.to_string());
    add("partition", from.partition.to_string());
    add("offset", offset.to_string());
    headers
}

impl std::ops::Add for Dropped {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            deserialization: self.deserialization + other.deserialization,
            processing: self.processing + other.processing,
            null_key: self.null_key + other.null_key,
            invalid_timestamp: self.invalid_timestamp + other.invalid_timestamp,
            late_record: self.late_record + other.late_record,
            dead_lettered: self.dead_lettered + other.dead_lettered,
        }
    }
}
