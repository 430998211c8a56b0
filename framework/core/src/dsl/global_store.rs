//! Global stores: rows that a processor makes of a topic's records, on every instance.
//!
//! Invariant: the rows are a function of the topic's records alone, so that an instance may make
//! them anew whenever it has lost its own.

use super::{Consumed, Fun, GlobalKTable, ProcessResult, StreamsBuilder, process::unboxed};
use crate::{
    batch::RecordBatch,
    error::Result,
    link::Data,
    record::{Headers, Offset, RawRecord, Record, TopicPartition},
    serde::{Apart, Serde},
    store::{KeyValueStore, Materialized, StateStore},
    task::{RecordMetadata, restore_record},
    topology::global::{Making, ProcessRows},
};
use millstream_state::{Column, WriteBatch};
use std::{panic::Location, sync::Arc};

/// Makes the rows of a global store of the records of a topic. Each instance has its own; it must
/// not look at anything but records and rows, or instances will differ.
pub trait GlobalProcessor<K, V>: Send + 'static {
    /// The rows' key.
    type Key: Data + Send;
    /// The rows' value.
    type Value: Data + Send;

    /// Takes one record; a null value is `None`, as where a topic is read as a table.
    ///
    /// # Errors
    /// Any; see [`ProcessResult`]. What was written before stays, and no dead letter is kept. A row
    /// that its serde refuses, or writes as null, stops the instance later, when rows are stored.
    fn process(
        &mut self,
        record: Record<K, Option<V>>,
        ctx: &mut GlobalContext<'_, Self::Key, Self::Value>,
    ) -> ProcessResult;
}

/// What a global processor may do. It cannot send: there is nobody below it.
pub struct GlobalContext<'a, K: 'static, V: 'static> {
    store: &'a mut KeyValueStore<K, V>,
    from: (&'a TopicPartition, Offset),
}

impl<K, V> GlobalContext<'_, K, V> {
    /// The rows, to read and to change.
    pub fn store(&mut self) -> &mut KeyValueStore<K, V> {
        self.store
    }

    /// Where the record in hand comes from.
    pub fn record_metadata(&self) -> RecordMetadata {
        let (partition, offset) = self.from;
        RecordMetadata {
            partition: partition.clone(),
            offset,
            index: 0,
        }
    }
}

/// A processor and the rows it makes.
struct Rows<K: 'static, V: 'static, P: GlobalProcessor<K, V>> {
    key: Serde<K>,
    value: Apart<V>,
    processor: P,
    store: KeyValueStore<P::Key, P::Value>,
    changes: RecordBatch,
}

impl<K: Data, V: Data, P: GlobalProcessor<K, V>> ProcessRows for Rows<K, V, P> {
    fn process(&mut self, from: (&TopicPartition, Offset), raw: RawRecord<'_>) -> Result<()> {
        let record = Record {
            key: self.key.decode(raw.key)?,
            value: self.value.decode_row(raw)?,
            timestamp: raw.timestamp,
            headers: Headers::clone(raw.headers),
        };
        self.store.set_time(raw.timestamp);
        let store = &mut self.store;
        let mut ctx = GlobalContext { store, from };
        self.processor.process(record, &mut ctx).map_err(unboxed)
    }

    fn drain(&mut self, column: Column, batch: &mut WriteBatch) -> Result<()> {
        self.changes.clear();
        self.store.drain(&mut self.changes)?;
        for (_, record) in self.changes.iter() {
            restore_record(batch, column, record);
        }
        Ok(())
    }

    fn applied(&mut self) -> Result<()> {
        self.store.applied()
    }
}

impl StreamsBuilder {
    /// As [`StreamsBuilder::global_table`], of rows that a processor makes of the topic's records:
    /// it may change keys and values, count, and delete. Kafka Streams' `addGlobalStore`.
    ///
    /// `new` makes a processor where an instance begins to read, or goes back to what is stored.
    /// Rows that are lost, or that were made of another topic or in another format, are made anew
    /// by the processor from the first record on that the topic still has; so the topic must not be
    /// compacted where the processor needs more than the last record of a key. A program that
    /// changes what its processor does gives the store another name, or keeps the rows made so far.
    ///
    /// Every instance reads all partitions, each in its order, and between them in any: rows that
    /// are made of several records should be made of records of one partition.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static PEOPLE: Topic<String, String> = Topic::new("people", utf8(), utf8());
    /// static VISITS: Topic<(), String> = Topic::new("visits", unit(), utf8());
    /// static NAMES: Topic<(), String> = Topic::new("names", unit(), utf8());
    ///
    /// /// From mail addresses to names: the topic has them by name.
    /// struct ByMail;
    ///
    /// impl GlobalProcessor<String, String> for ByMail {
    ///     type Key = String;
    ///     type Value = String;
    ///
    ///     fn process(
    ///         &mut self,
    ///         person: Record<String, Option<String>>,
    ///         ctx: &mut GlobalContext<'_, String, String>,
    ///     ) -> ProcessResult {
    ///         if let Some(mail) = person.value {
    ///             ctx.store().put(&mail.to_lowercase(), person.key)?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// let people = builder.global_store(&PEOPLE, "people-by-mail", || ByMail);
    /// let visits = builder.stream(&VISITS);
    /// visits.join_global(people, |(), mail| mail.clone(), |_, name| name.clone()).to(&NAMES);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&PEOPLE, "Ann".to_owned(), "Ann@example.org".to_owned(), 0)?;
    /// driver.pipe(&VISITS, (), "ann@example.org".to_owned(), 1)?;
    /// assert_eq!(driver.read_key_values(&NAMES)?, [((), Some("Ann".to_owned()))]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    pub fn global_store<K: Data, V: Data, P: GlobalProcessor<K, V>>(
        &self,
        topic: impl Into<Consumed<K, V>>,
        materialized: impl Into<Materialized<P::Key, P::Value>>,
        new: impl Fn() -> P + Fun,
    ) -> GlobalKTable<'_, P::Key, P::Value> {
        let (consumed, materialized) = (topic.into(), materialized.into());
        let source = (consumed.topic.key, consumed.topic.value);
        let stored = (materialized.key, materialized.value);
        let making = Making::Processed(Arc::new(move |env| {
            Box::new(Rows {
                key: source.0,
                value: source.1.apart(),
                processor: new(),
                store: KeyValueStore::new(stored.0, stored.1, env),
                changes: RecordBatch::new(),
            })
        }));
        self.declare_global(consumed, materialized, making, Location::caller())
    }
}
