//! What becomes of a record that cannot be decoded, that the program's own code refuses, or that no
//! log would take.
//!
//! Who says so, from the nearest on: the node that refused it, the source it came from, the
//! program. Invariant: a record that is refused and does not stop the thread is counted, and kept
//! in every dead-letter topic that a refusal of it names, once.

use super::{Letter, OutputId, Task, TaskConfig, TaskContext, counts::no_letters};
use crate::{
    error::{Error, Result},
    record::{Headers, Offset, RawRecord, Timestamp},
    topology::{NodeKind, TopicName, Topology},
};
use std::{collections::BTreeMap, rc::Rc, sync::Arc};

/// Kafka's exception handlers as a value.
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
    pub(crate) fn of(self, reason: Reason) -> ErrorPolicy {
        match reason {
            Reason::Processing => self.processing,
            Reason::Production => self.production,
            Reason::Deserialization | Reason::InvalidTimestamp => self.deserialization,
        }
    }

    fn all(self) -> [ErrorPolicy; 3] {
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

/// Why a record was refused, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Deserialization,
    Processing,
    Production,
    InvalidTimestamp,
}

impl Reason {
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
    pub(crate) fn count(&mut self, reason: Reason) {
        *match reason {
            Reason::Deserialization => &mut self.deserialization,
            Reason::Processing => &mut self.processing,
            Reason::Production => &mut self.production,
            Reason::InvalidTimestamp => &mut self.invalid_timestamp,
        } += 1;
    }
}

/// The policies that sources have of their own; `build()` saw to it that those of a topic agree.
pub(super) fn of_sources(topology: &Topology) -> BTreeMap<TopicName, ErrorPolicy> {
    let mut policies = BTreeMap::new();
    for node in &topology.nodes {
        if let NodeKind::Source {
            topic,
            policy: Some(policy),
            ..
        } = &node.kind
        {
            let topics = topology.read_for(topic).into_iter();
            policies.extend(topics.map(|topic| (topic, *policy)));
        }
    }
    policies
}

/// Says no where records are to be kept and nobody says in which topic.
pub(super) fn check(config: &TaskConfig, policies: Policies, whose: &str) -> Result<()> {
    let keeps = policies.all().contains(&ErrorPolicy::DeadLetter);
    if !keeps || config.dead_letter_topic.is_some() {
        return Ok(());
    }
    Err(Error::topology(format!(
        "the bad records of {whose} are to be kept as dead letters, but \
         errors.dead.letter.queue.topic.name names no topic"
    )))
}

/// What a task knows of who refuses what.
#[derive(Default)]
pub(super) struct Answers {
    /// Of nodes that say so themselves, by their names.
    nodes: BTreeMap<String, ErrorPolicy>,
    /// The program's.
    program: Policies,
    /// Where dead letters go of which nobody says otherwise.
    dead_letters: Option<OutputId>,
}

impl TaskContext {
    /// Learns what becomes of bad records.
    ///
    /// # Errors
    /// Where some are to be kept and there is no topic for them.
    pub(super) fn answer_by(&mut self, topology: &Topology, config: &TaskConfig) -> Result<()> {
        for node in &topology.nodes {
            if let Some(policy) = node.policy {
                check(config, policy.into(), &node.name)?;
                self.answers.nodes.insert(node.name.clone(), policy);
            }
        }
        self.letters = no_letters(&self.inputs);
        self.answers.program = config.policies;
        let topic = config.dead_letter_topic.as_deref();
        self.answers.dead_letters = topic.map(|name| self.output_named(name));
        Ok(())
    }

    /// A node refused the record in hand, or could not write what it made of it.
    ///
    /// # Errors
    /// The error itself where the policy is to fail, and always where it is final.
    #[cold]
    pub(super) fn refuse_for(&mut self, reason: Reason, node: &str, error: Error) -> Result<()> {
        // A processor hands on what happened downstream of it: that is no refusal of its own.
        if error.is_final() {
            return Err(error);
        }
        // What the commit or the clock brought forth is no source's.
        let policies = match self.source {
            Some(_) => self.policies,
            None => self.answers.program,
        };
        let own = self.answers.nodes.get(node).copied();
        let keep = match own.unwrap_or_else(|| policies.of(reason)) {
            ErrorPolicy::Fail => return Err(self.at_record(node, error).answered()),
            ErrorPolicy::Skip => None,
            ErrorPolicy::DeadLetter => self.answers.dead_letters,
            ErrorPolicy::DeadLetterTo(topic) => Some(self.output_named(topic)),
        };
        self.failures.push(Failure {
            node: node.to_owned(),
            reason,
            error,
            keep,
            held: self.held.clone(),
        });
        Ok(())
    }

    /// Calls `tell`, which sends a result downstream that was held back: what is refused of it is
    /// not the record in hand, which only let it out. Its source's policy answers all the same.
    pub(crate) fn telling<T>(
        &mut self,
        (timestamp, headers): (Timestamp, Headers),
        tell: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let before = self.held.replace(HeldBack { timestamp, headers });
        let told = tell(self);
        self.held = before;
        told
    }
}

/// A result that is told later than the record came that made it. Nobody knows any more which one
/// that was, so a dead letter says only this.
#[derive(Clone, Debug)]
pub(crate) struct HeldBack {
    pub(super) timestamp: Timestamp,
    headers: Headers,
}

/// A refusal met while one record ran through the operators.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(super) node: String,
    reason: Reason,
    pub(super) error: Error,
    /// Where the record is kept, if it is.
    keep: Option<OutputId>,
    /// What was refused in place of the record in hand.
    held: Option<HeldBack>,
}

impl Task {
    /// What no source of its topic could read closes no window, whatever its time says.
    #[cold]
    pub(super) fn turn_back_time(&mut self, number: usize, before: (Timestamp, Timestamp)) {
        let input = &mut self.inputs[number];
        let unread = std::mem::take(&mut self.ctx.unread);
        if unread > 0 && unread == input.pushes.len() {
            (self.ctx.stream_time, input.time) = before;
        }
    }

    /// Counts what nodes refused, and writes the dead letters that were asked for. `bad` is the
    /// record in hand; there is none where a punctuation or the commit made what was refused, and
    /// it is another one where that was held back. A dead letter then says only why, and each
    /// refusal has its own, while a record is kept only once: it can be put back into its topic.
    /// Of a record that is taken in hand again it is known where it has been kept before.
    #[cold]
    pub(super) fn settle_failures(
        &mut self,
        bad: Option<(usize, Offset, RawRecord<'_>)>,
    ) -> Result<()> {
        let in_hand = self.ctx.in_hand.as_ref().filter(|_| bad.is_some());
        let kept = in_hand.map_or_else(Rc::default, |hand| hand.kept.clone());
        for failure in std::mem::take(&mut self.ctx.failures) {
            self.ctx.dropped.count(failure.reason);
            let held = failure.held.as_ref();
            let bad = bad.filter(|_| held.is_none());
            let again = |to: &OutputId| bad.is_some() && kept.borrow().contains(to);
            let Some(to) = failure.keep.filter(|to| !again(to)) else {
                continue;
            };
            if bad.is_some() {
                kept.borrow_mut().push(to);
            }
            let nothing = RawRecord {
                key: None,
                value: None,
                timestamp: held.map_or(self.ctx.timestamp, |held| held.timestamp),
                headers: held.map_or(&Headers::NONE, |held| &held.headers),
            };
            let raw = bad.map_or(nothing, |(_, _, raw)| raw);
            let from = bad.map(|(input, offset, _)| (self.ctx.inputs[input].clone(), offset));
            self.ctx.dropped.dead_lettered += 1;
            let letter = Letter {
                source: from.as_ref().map(|(from, _)| from.topic.clone()),
                reason: failure.reason.label(),
            };
            let letters = Arc::make_mut(&mut self.ctx.letters);
            *letters.entry(letter).or_default() += 1;
            self.ctx.keep(to, raw, from.as_ref(), &failure)?;
        }
        Ok(())
    }
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
