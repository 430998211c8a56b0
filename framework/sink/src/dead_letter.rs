//! Records that cannot become rows go to a topic of their own, with KIP-1034's headers.
//!
//! The log and the database cannot commit together, so the order is chosen that never loses: the
//! dead letter first, then the SQL transaction that moves past the record. A crash between the two
//! writes the dead letter again. Its headers `topic`, `partition` and `offset` are the same then,
//! which is how a reader knows the repetition.

use crate::{
    batch::{Batch, Refusal},
    error::Trouble,
};
use millstream_core::record::{Headers, Offset, Partition, RawRecord, TopicPartition};
use millstream_log::{self as log, Cleanup, Log, Outcome, TopicSpec};
use std::collections::BTreeSet;

/// What the names of all headers begin with.
pub(crate) const HEADER_PREFIX: &str = "__streams.errors.";

pub(crate) struct DeadLetters {
    topic: String,
    /// How many partitions the topic has, once it is known to be there.
    partitions: Option<u32>,
    transaction: u64,
    /// Sent but not yet passed in the database: not to be sent again by this process.
    sent: BTreeSet<(Partition, Offset)>,
}

impl DeadLetters {
    pub(crate) fn new(topic: String) -> Self {
        Self {
            topic,
            partitions: None,
            transaction: 0,
            sent: BTreeSet::new(),
        }
    }

    /// Commits a dead letter for every refused record of the batch that has none yet.
    pub(crate) fn send(
        &mut self,
        log: &mut dyn Log,
        batch: &Batch,
        partitions: u32,
    ) -> Result<(), Trouble> {
        let known = self.partitions(log, partitions)?;
        let mut fresh = Vec::new();
        for (origin, refusal) in &batch.refused {
            let (partition, offset, record) = batch.record(*origin);
            if self.sent.contains(&(partition.partition, offset)) {
                continue;
            }
            let headers = headers(record.headers, partition, offset, refusal);
            let record = RawRecord {
                headers: &headers,
                ..record
            };
            let to = Some(partition.partition % known);
            if let Err(error) = log.send(&self.topic, to, record) {
                // What matters is the first error; the next send begins anew in either case.
                let _ = log.abort();
                return Err(error.into());
            }
            fresh.push((partition.partition, offset));
        }
        if !fresh.is_empty() {
            self.commit(log)?;
            self.sent.extend(fresh);
        }
        Ok(())
    }

    /// The database has moved past all that was sent.
    pub(crate) fn settled(&mut self) {
        self.sent.clear();
    }

    fn commit(&mut self, log: &mut dyn Log) -> Result<(), Trouble> {
        self.transaction += 1;
        match log.commit(self.transaction, &[]) {
            Ok(_) => Ok(()),
            Err(log::Error::UnknownOutcome(reason)) => match log.resolve(self.transaction, &[])? {
                Outcome::Committed(_) => Ok(()),
                Outcome::Aborted => Err(Trouble::wait(reason)),
            },
            Err(error) => {
                let _ = log.abort();
                Err(error.into())
            }
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

/// The record's own headers, then where it came from and why it is here.
fn headers(
    own: &Headers,
    partition: &TopicPartition,
    offset: Offset,
    refusal: &Refusal,
) -> Headers {
    let mut headers = own.clone();
    let said = [
        ("exception", refusal.exception.to_owned()),
        ("message", refusal.message.clone()),
        ("topic", partition.topic.to_string()),
        ("partition", partition.partition.to_string()),
        ("offset", offset.to_string()),
    ];
    for (name, value) in said {
        headers.push(format!("{HEADER_PREFIX}{name}"), Some(value.into_bytes()));
    }
    headers
}
