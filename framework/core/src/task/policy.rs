//! What may become of a record that cannot be decoded, that the program's own code refuses, or that
//! no log would take, and how it is counted.
//!
//! Invariant: every drop is counted in one place, by its reason.

use super::{ErrorHandler, TaskConfig};
use crate::{
    error::{Error, Result},
    topology::{NodeKind, TopicName, Topology},
};
use std::collections::BTreeMap;

/// The answers of Kafka's exception handlers as a value; [`ErrorHandler`] is for programs that
/// answer by what was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorPolicy {
    /// The thread stops at the record; after a restart it meets it again. Kafka's `LogAndFail`.
    #[default]
    Fail,
    /// The record is dropped and counted. Kafka's `LogAndContinue`.
    Skip,
    /// The record's bytes go to the dead-letter topic with headers that say why (KIP-1034), in the
    /// same commit; and it is counted. The bytes are those of the record as the task read it,
    /// whatever had become of it when it was refused. A result that was held back, as by
    /// `suppress` or until the commit, is no such record any more: its dead letter has its time
    /// and headers, and why.
    DeadLetter,
    /// The same, in this topic in place of `errors.dead.letter.queue.topic.name`. It must be there,
    /// as any topic that the program writes.
    DeadLetterTo(&'static str),
}

impl ErrorPolicy {
    /// The topic for what is refused, where the policy names one.
    pub fn own_topic(self) -> Option<&'static str> {
        match self {
            Self::DeadLetterTo(topic) => Some(topic),
            Self::Fail | Self::Skip | Self::DeadLetter => None,
        }
    }
}

/// What becomes of bad records, by what is bad about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// Of bytes that the source's serdes refuse: `deserialization.exception.handler`.
    pub deserialization: ErrorPolicy,
    /// Of records that the program's own code refuses: `processing.exception.handler` (KIP-1033).
    pub processing: ErrorPolicy,
    /// Of records that cannot be written: because a serde refuses them, because they are larger
    /// than `max.request.size`, or because the topic chosen for them cannot be or is not there:
    /// `production.exception.handler`. All of this is found before anything is sent, since a log
    /// that refuses a record drops the whole transaction.
    pub production: ErrorPolicy,
}

impl From<ErrorPolicy> for Policies {
    /// One policy for all.
    fn from(policy: ErrorPolicy) -> Self {
        Self {
            deserialization: policy,
            processing: policy,
            production: policy,
        }
    }
}

impl Policies {
    pub(crate) fn of(self, reason: ErrorReason) -> ErrorPolicy {
        match reason {
            ErrorReason::Processing => self.processing,
            ErrorReason::Production => self.production,
            ErrorReason::Deserialization | ErrorReason::InvalidTimestamp => self.deserialization,
        }
    }

    pub(super) fn all(self) -> [ErrorPolicy; 3] {
        [self.deserialization, self.processing, self.production]
    }
}

/// Records dropped, by reason. Every drop is counted in exactly one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Bytes that the source's serdes refused.
    pub deserialization: u64,
    /// Records that the program's own code refused.
    pub processing: u64,
    /// Records that the program made and that could not be written.
    pub production: u64,
    /// Null keys where a key is needed: table sources, groups, repartitions, joins; and null values
    /// where streams are joined.
    pub null_key: u64,
    /// Negative timestamps.
    pub invalid_timestamp: u64,
    /// Records that came too late: for a window that had closed, once for each such window; to be
    /// joined with those of another stream; for a history that does not reach back so far; or, out
    /// of order, for a join of tables.
    pub late_record: u64,
    /// Records that the log had deleted before they were processed, by their offsets; and those
    /// that were passed over then, where the source's `auto.offset.reset` says so.
    pub lost: u64,
    /// How many records were written to dead-letter topics.
    pub dead_lettered: u64,
}

/// Why a record was refused, as it is counted in [`Dropped`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorReason {
    /// A source's serdes refused its bytes.
    Deserialization,
    /// The program's own code refused it.
    Processing,
    /// What was made of it cannot be written.
    Production,
    /// Its time is negative.
    InvalidTimestamp,
}

impl ErrorReason {
    pub(super) const ALL: [Self; 4] = [
        Self::Deserialization,
        Self::Processing,
        Self::Production,
        Self::InvalidTimestamp,
    ];

    /// As metrics say it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Deserialization => "deserialization",
            Self::Processing => "processing",
            Self::Production => "production",
            Self::InvalidTimestamp => "invalid_timestamp",
        }
    }
}

impl Dropped {
    pub(crate) fn count(&mut self, reason: ErrorReason) {
        *match reason {
            ErrorReason::Deserialization => &mut self.deserialization,
            ErrorReason::Processing => &mut self.processing,
            ErrorReason::Production => &mut self.production,
            ErrorReason::InvalidTimestamp => &mut self.invalid_timestamp,
        } += 1;
    }
}

/// What sources say of their own; `build()` saw to it that those of a topic agree.
pub(super) fn of_sources(topology: &Topology) -> BTreeMap<TopicName, ErrorHandler> {
    let mut handlers = BTreeMap::new();
    for node in &topology.nodes {
        if let NodeKind::Source {
            topic,
            handler: Some(handler),
            ..
        } = &node.kind
        {
            let topics = topology.read_for(topic).into_iter();
            handlers.extend(topics.map(|topic| (topic, handler.clone())));
        }
    }
    handlers
}

/// Says no where records are to be kept and nobody says in which topic.
pub(super) fn check(config: &TaskConfig, policies: Policies, whose: &str) -> Result<()> {
    let keeps = policies.all().contains(&ErrorPolicy::DeadLetter);
    if !keeps || config.dead_letter_topic.is_some() {
        return Ok(());
    }
    Err(no_topic(whose))
}

/// There is no topic for dead letters.
#[cold]
pub(super) fn no_topic(whose: &str) -> Error {
    Error::topology(format!(
        "the bad records of {whose} are to be kept as dead letters, but \
         errors.dead.letter.queue.topic.name names no topic"
    ))
}

impl std::ops::Add for Dropped {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            deserialization: self.deserialization + other.deserialization,
            processing: self.processing + other.processing,
            production: self.production + other.production,
            null_key: self.null_key + other.null_key,
            invalid_timestamp: self.invalid_timestamp + other.invalid_timestamp,
            late_record: self.late_record + other.late_record,
            lost: self.lost + other.lost,
            dead_lettered: self.dead_lettered + other.dead_lettered,
        }
    }
}
