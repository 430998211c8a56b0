//! Records from outside: appended to the user's topics in one transaction.
//!
//! Invariant: what the log would refuse, or the program would stop at, is refused before anything
//! is written.

use super::{Inspector, unavailable};
use millstream_core::{
    record::{Headers, RawRecord},
    topology::{TopicFormat, TopicName},
};
use millstream_http::{Appended, NewRecord, QueryError};
use millstream_log::{Cleanup, Commit, Error as LogError, TopicSpec};
use millstream_runtime::clock::{Clock, SystemClock};
use serde_json::Value;
use std::sync::{PoisonError, atomic::Ordering};

impl Inspector {
    /// Appends records to one of the user's topics, all or none.
    pub(super) fn append_all(
        &self,
        topic: &str,
        records: &[NewRecord],
    ) -> Result<Vec<Appended>, QueryError> {
        let TopicSpec {
            partitions,
            cleanup,
            ..
        } = self.spec(topic)?;
        let compacted = !matches!(cleanup, Cleanup::Delete { .. });
        let user = TopicName::User(topic.to_owned());
        let formats = self.topology().formats().iter();
        let known: Vec<_> = formats.filter(|known| known.topic == user).collect();
        let Some(format) = known.first().map(|known| &known.format) else {
            return Err(QueryError::Refused(format!(
                "{topic} is not a topic of the program's user"
            )));
        };
        let bad = |error: millstream_core::Error| QueryError::BadRecord(error.to_string());
        let now = SystemClock::new().now();
        let mut encoded = Vec::new();
        for record in records {
            check(record, compacted)?;
            let key = match &record.key {
                Value::Null => None,
                key => format.read_key(key).map_err(bad)?,
            };
            let value = match &record.value {
                Value::Null => None,
                value => format.read_value(value).map_err(bad)?,
            };
            // Bytes that were read from JSON, and nulls above all: what a null is to a topic is for
            // whoever reads it to say.
            let read = |known: &&TopicFormat| known.check(key.as_deref(), value.as_deref());
            known.iter().try_for_each(read).map_err(bad)?;
            // Chosen here rather than by the log, so that the answer can say where it went.
            let partition = record.partition.unwrap_or_else(|| match key.as_deref() {
                Some(key) => millstream_log::murmur2::partition(key, partitions),
                None => self.keyless.fetch_add(1, Ordering::Relaxed) % partitions.max(1),
            });
            if partition >= partitions {
                return Err(QueryError::UnknownPartition {
                    topic: topic.to_owned(),
                    partition,
                });
            }
            encoded.push(Encoded {
                partition,
                key,
                value,
                timestamp: record.timestamp.unwrap_or(now),
            });
        }
        let commit = self.write(topic, &encoded).map_err(unavailable)?;
        let places: Vec<_> = encoded.iter().map(|record| record.partition).collect();
        Ok(appended(topic, &places, &commit))
    }

    /// Writes records in one transaction.
    fn write(&self, topic: &str, records: &[Encoded]) -> millstream_log::Result<Commit> {
        let client = self.client.lock();
        let mut client = client.unwrap_or_else(PoisonError::into_inner);
        client.commits += 1;
        let number = client.commits;
        client.kept.with(|log| {
            let written = records
                .iter()
                .try_for_each(|record| log.send(topic, Some(record.partition), record.raw()))
                .and_then(|()| log.commit(number, &[]));
            match written {
                // It may have been made, and the client goes by itself.
                Err(error @ LogError::UnknownOutcome(_)) => Err(error),
                // The next request must not find these records in its transaction. Where they
                // cannot be dropped, the client is.
                Err(error) if log.abort().is_err() => Err(LogError::Fatal(error.to_string())),
                written => written,
            }
        })
    }
}

/// A record from outside, as the topic's serdes have it.
struct Encoded {
    partition: u32,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp: i64,
}

impl Encoded {
    fn raw(&self) -> RawRecord<'_> {
        RawRecord {
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            timestamp: self.timestamp,
            headers: &Headers::NONE,
        }
    }
}

/// What a log would refuse of a record, or a program would stop at.
fn check(record: &NewRecord, compacted: bool) -> Result<(), QueryError> {
    let bad = |why: String| Err(QueryError::BadRecord(why));
    match record.timestamp {
        Some(time) if time < 0 => bad(format!("a record's time is never negative, as {time} is")),
        _ if compacted && record.key.is_null() => {
            bad("the topic is compacted: each of its records needs a key".to_owned())
        }
        _ => Ok(()),
    }
}

/// The places of records appended in one transaction: per partition they end where it ended.
fn appended(topic: &str, partitions: &[u32], commit: &Commit) -> Vec<Appended> {
    let end = |partition: u32| {
        let mut ends = commit.ends.iter();
        let of = ends.find(|(at, _)| &*at.topic == topic && at.partition == partition);
        of.map_or(0, |(_, end)| *end)
    };
    let places = partitions.iter().enumerate().map(|(place, &partition)| {
        let after = partitions[place..]
            .iter()
            .filter(|other| **other == partition)
            .count();
        Appended {
            partition,
            offset: end(partition) - i64::try_from(after).unwrap_or(0),
        }
    });
    places.collect()
}
