//! Records that cannot become rows go to a topic of their own, with KIP-1034's headers.
//!
//! The log and the database cannot commit together, so the order is chosen that never loses: the
//! dead letter first, then the SQL transaction that moves past the record. A crash between the two
//! writes the dead letter again. Its headers `topic`, `partition` and `offset` are the same then,
//! which is how a reader knows the repetition.
//!
//! Invariant: a record that the log has taken never stops the sink for the size of its letter,
//! which is larger than the record by its headers. See [`DeadLetter`].

use crate::{
    batch::{Batch, Origin, Refusal},
    error::Trouble,
};
use millstream_core::{
    dead_letter::{DeadLetter, message},
    record::{Offset, Partition, wire_size},
};
use millstream_log::{self as log, Cleanup, Log, Outcome, TopicSpec};
use std::collections::BTreeSet;

/// A letter that is no larger than this is refused for something else than its size: no producer
/// can be told to take less.
const REFUSED_BYTES_MIN: usize = 1_000;

pub(crate) struct DeadLetters {
    topic: String,
    /// How many partitions the topic has, once it is known to be there.
    partitions: Option<u32>,
    transaction: u64,
    /// Sent but not yet passed in the database: not to be sent again by this process.
    sent: BTreeSet<(Partition, Offset)>,
    /// How large a letter may be, as far as the topic has shown by refusing some.
    bytes_max: usize,
    /// How many letters were committed that lack a part of their record.
    shortened: u64,
}

/// What was given to the log and is not committed.
#[derive(Default)]
struct Open {
    letters: Vec<(Partition, Offset)>,
    shortened: u64,
    /// Bytes of the largest one.
    largest: usize,
}

impl DeadLetters {
    pub(crate) fn new(topic: String) -> Self {
        Self {
            topic,
            partitions: None,
            transaction: 0,
            sent: BTreeSet::new(),
            bytes_max: usize::MAX,
            shortened: 0,
        }
    }

    /// Where they go.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// Commits a dead letter for every refused record of the batch that has none yet.
    pub(crate) fn send(
        &mut self,
        log: &mut dyn Log,
        batch: &Batch,
        partitions: u32,
    ) -> Result<(), Trouble> {
        let known = self.partitions(log, partitions)?;
        loop {
            let mut open = Open::default();
            let Err(error) = self.attempt(log, batch, known, &mut open) else {
                self.sent.extend(open.letters);
                self.shortened += open.shortened;
                return Ok(());
            };
            // What matters is the first error; the next send begins anew in either case.
            let _ = log.abort();
            // Nobody says that a record was too large for its topic, so it is found by trying:
            // letters become smaller until they are taken, or cannot be what is wrong.
            let most = open.largest.min(self.bytes_max);
            if !matches!(error, log::Error::Fatal(_)) || most <= REFUSED_BYTES_MIN {
                return Err(error.into());
            }
            self.bytes_max = most / 2;
            let (topic, less) = (&self.topic, self.bytes_max);
            tracing::warn!(%topic, %error, less, "dead letters are sent again with less in them");
        }
    }

    /// How many letters lack a part of their record.
    pub(crate) fn shortened(&self) -> u64 {
        self.shortened
    }

    /// The database has moved past all that was sent.
    pub(crate) fn settled(&mut self) {
        self.sent.clear();
    }

    fn attempt(
        &mut self,
        log: &mut dyn Log,
        batch: &Batch,
        partitions: u32,
        open: &mut Open,
    ) -> log::Result<()> {
        for (origin, refusal) in &batch.refused {
            self.one(log, batch, partitions, (*origin, refusal), open)?;
        }
        if open.letters.is_empty() {
            return Ok(());
        }
        self.commit(log)
    }

    fn one(
        &self,
        log: &mut dyn Log,
        batch: &Batch,
        partitions: u32,
        (origin, refusal): (Origin, &Refusal),
        open: &mut Open,
    ) -> log::Result<()> {
        let (from, offset, record) = batch.record(origin);
        if self.sent.contains(&(from.partition, offset)) {
            return Ok(());
        }
        let bytes_max = self.bytes_max.min(log.record_bytes_max());
        let said = [
            ("exception", Some(refusal.exception.into())),
            ("message", Some(message(&refusal.message, bytes_max))),
            ("topic", Some(from.topic.as_ref().into())),
            ("partition", Some(from.partition.to_string().into())),
            ("offset", Some(offset.to_string().into())),
        ];
        let letter = DeadLetter::of(record, &said, bytes_max);
        open.largest = open.largest.max(wire_size(letter.raw()));
        log.send(&self.topic, Some(from.partition % partitions), letter.raw())?;
        open.shortened += u64::from(letter.is_shortened());
        open.letters.push((from.partition, offset));
        Ok(())
    }

    fn commit(&mut self, log: &mut dyn Log) -> log::Result<()> {
        self.transaction += 1;
        match log.commit(self.transaction, &[]) {
            Ok(_) => Ok(()),
            Err(log::Error::UnknownOutcome(reason)) => match log.resolve(self.transaction, &[])? {
                Outcome::Committed(_) => Ok(()),
                Outcome::Aborted => Err(log::Error::Retry(reason)),
            },
            Err(error) => Err(error),
        }
    }

    /// How many partitions the topic has; it is made like its source where there is none.
    fn partitions(&mut self, log: &mut dyn Log, like: u32) -> Result<u32, Trouble> {
        if let Some(known) = self.partitions {
            return Ok(known);
        }
        let info = match log.topic(&self.topic)? {
            Some(info) => info,
            None => log.create_topic(&TopicSpec {
                name: self.topic.clone(),
                partitions: like.max(1),
                cleanup: Cleanup::Delete { retention_ms: None },
            })?,
        };
        let known = info.spec.partitions.max(1);
        self.partitions = Some(known);
        Ok(known)
    }
}
