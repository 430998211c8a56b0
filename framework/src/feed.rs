//! A feed: outside records into a topic of an embedded log, each exactly once.
//!
//! The feed's own place (how many records of the source it has written) is committed in the same
//! transaction as the records. Invariant: after any crash the place is the number of records that
//! are in the topic, so a source that can skip goes on without loss or double.

use anyhow::{Context, Result, bail};
use millstream_core::{
    batch::RecordBatch,
    record::{Headers, TopicPartition},
    serde::Serde,
    topic::Topic,
};
use millstream_log::{Committed, EmbeddedClient, EmbeddedLog, Log};

/// Writes a source into a topic, and remembers how far it is.
pub struct Feed<K: 'static, V: 'static> {
    client: EmbeddedClient,
    topic: &'static str,
    key: Serde<K>,
    value: Serde<V>,
    group: String,
    /// Places are kept for partitions: the feed's is that of its topic's first one.
    at: TopicPartition,
    batch: RecordBatch,
    position: i64,
    /// The position at the last commit.
    committed: i64,
    transaction: u64,
}

impl<K, V> Feed<K, V> {
    /// Opens the feed of that name into a topic, where it was.
    ///
    /// # Errors
    /// Where the topic does not exist.
    pub fn open(log: &EmbeddedLog, name: &str, topic: &Topic<K, V>) -> Result<Self> {
        let mut client = log.client();
        let (group, at) = (format!("feed-{name}"), TopicPartition::new(topic.name, 0));
        let places = client.committed_as(&group, std::slice::from_ref(&at))?;
        let place = places.into_iter().next().flatten();
        let position = place.as_ref().map_or(0, |place| place.offset);
        Ok(Self {
            client,
            topic: topic.name,
            key: topic.key,
            value: topic.value,
            group,
            at,
            batch: RecordBatch::new(),
            position,
            committed: position,
            transaction: place.and_then(|place| place.transaction()).unwrap_or(0),
        })
    }

    /// How many records of the source were taken: where to read on.
    pub fn position(&self) -> u64 {
        u64::try_from(self.position).unwrap_or(0)
    }

    /// Adds a record to the open transaction.
    ///
    /// # Errors
    /// Where it cannot be encoded or is too large for the log.
    pub fn send(&mut self, key: &K, value: &V, timestamp: i64) -> Result<()> {
        self.batch.clear();
        self.batch.encode(
            timestamp,
            &Headers::NONE,
            |out| self.key.encode(key, out),
            |out| self.value.encode(value, out),
        )?;
        self.client
            .send(self.topic, None, self.batch.get(0))
            .context("feeding a record")?;
        self.position += 1;
        Ok(())
    }

    /// Passes over a record of the source that is not to be written.
    pub fn skip(&mut self) {
        self.position += 1;
    }

    /// Makes what was sent visible, together with the place.
    ///
    /// # Errors
    /// Where the log refuses, or another feed of that name has committed since; the feed must then
    /// be opened again.
    pub fn commit(&mut self) -> Result<()> {
        let places = (self.client).committed_as(&self.group, std::slice::from_ref(&self.at))?;
        let found = places.first().and_then(Option::as_ref);
        let found = found.map_or(0, |place| place.offset);
        if found != self.committed {
            self.client.abort()?;
            bail!(
                "{} has come to {found} without us, who were at {}: it is written to twice",
                self.group,
                self.committed,
            );
        }
        self.transaction += 1;
        let place = Committed::new(self.position, self.transaction, &[]);
        let places = [(self.at.clone(), place)];
        self.client
            .commit_as(&self.group, self.transaction, &places)?;
        self.committed = self.position;
        Ok(())
    }
}
