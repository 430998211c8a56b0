//! A feed: outside records into a topic, each exactly once.
//!
//! The feed's own place (how many records of the source it has written) is committed in the same
//! transaction as the records. Invariant: after any crash the place is the number of records that
//! are in the topic, so a source that can skip goes on without loss or double.

use anyhow::{Context, Result, bail};
use millstream_core::{
    batch::RecordBatch,
    record::TopicPartition,
    serde::{Apart, Serde},
    topic::Topic,
};
use millstream_log::{Broker, Committed, Error as LogError, Log};
use millstream_runtime::{Error, clock::SystemClock, patience::patiently};
use std::time::Duration;

/// How long the log may keep a feed waiting before that is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes a source into a topic, and remembers how far it is.
pub struct Feed<K: 'static, V: 'static> {
    client: Box<dyn Log>,
    clock: SystemClock,
    topic: &'static str,
    key: Serde<K>,
    value: Apart<V>,
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
    /// Where the topic does not exist, or the log refuses.
    pub fn open(log: &dyn Broker, name: &str, topic: &Topic<K, V>) -> Result<Self> {
        let (group, at) = (format!("feed-{name}"), TopicPartition::new(topic.name, 0));
        // Under the group's name, so that a log that can tell lets only the newest feed commit.
        let (mut client, clock) = (log.writer(&group)?, SystemClock::new());
        let place = place(&mut *client, &clock, &group, &at)?;
        let position = place.as_ref().map_or(0, |place| place.offset);
        Ok(Self {
            client,
            clock,
            topic: topic.name,
            key: topic.key,
            value: topic.value.apart(),
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
            self.value.headers(value),
            |out| self.key.encode(key, out),
            |out| self.value.encode(value, out),
        )?;
        let (topic, record) = (self.topic, self.batch.get(0));
        patiently(&mut *self.client, &self.clock, PATIENCE, |log| {
            Ok(log.send(topic, None, record)?)
        })
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
        let found = self.found()?.map_or(0, |place| place.offset);
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
        let (group, number) = (&self.group, self.transaction);
        let committed = patiently(&mut *self.client, &self.clock, PATIENCE, |log| {
            Ok(log.commit_as(group, number, &places)?)
        });
        if let Err(error) = committed {
            let lost = matches!(error, Error::Log(LogError::UnknownOutcome(_)));
            // Without an answer, the place says what became of the commit: nobody else moves it.
            let made = lost && self.found()?.is_some_and(|place| place == places[0].1);
            if !made {
                return Err(error).context("committing a feed; it must be opened again");
            }
        }
        self.committed = self.position;
        Ok(())
    }

    fn found(&mut self) -> Result<Option<Committed>> {
        place(&mut *self.client, &self.clock, &self.group, &self.at)
    }
}

/// The place of a feed's group.
fn place(
    client: &mut dyn Log,
    clock: &SystemClock,
    group: &str,
    at: &TopicPartition,
) -> Result<Option<Committed>> {
    let places = patiently(client, clock, PATIENCE, |log| {
        Ok(log.committed_as(group, std::slice::from_ref(at))?)
    })?;
    Ok(places.into_iter().next().flatten())
}
