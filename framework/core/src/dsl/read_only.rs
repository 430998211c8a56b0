//! Read-only stores: a topic by key, for processors.

use super::{Consumed, StreamsBuilder, source::Reading};
use crate::{
    link::Data,
    record::Record,
    store::{KeyValueStore, Materialized, StoreHandle},
    task::{OffsetReset, TaskContext},
    topology::{NodeKind, SourceCopy, TopicName, formats::Role, global::writer},
};
use std::panic::Location;

impl StreamsBuilder {
    /// A store that holds the last value of each key of a topic, for processors to read. Kafka's
    /// `addReadOnlyStateStore` (KIP-813).
    ///
    /// It is a copy of the topic, byte for byte and with its times, so it needs no changelog where
    /// the log knows how to restore it from the topic. A null value deletes a key, records with a
    /// null key are dropped and counted. Whoever is connected to it runs in the task of the same
    /// partition. That nobody else writes to it is for the program to see to.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static LIMITS: Topic<String, u64> = Topic::new("limits", utf8(), u64_be());
    /// static AMOUNTS: Topic<String, u64> = Topic::new("amounts", utf8(), u64_be());
    /// static ALLOWED: Topic<String, u64> = Topic::new("allowed", utf8(), u64_be());
    ///
    /// struct Capped(StoreRef<KeyValueStore<String, u64>>);
    ///
    /// impl FixedKeyProcessor<String, u64> for Capped {
    ///     type Value = u64;
    ///
    ///     fn process(
    ///         &mut self,
    ///         key: &String,
    ///         amount: u64,
    ///         ctx: &mut FixedKeyContext<'_, String, u64>,
    ///     ) -> ProcessResult {
    ///         let limit = ctx.store(self.0).get(key)?.copied();
    ///         Ok(ctx.forward(amount.min(limit.unwrap_or(u64::MAX)))?)
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// let limits = builder.read_only_store(&LIMITS, "limits");
    /// builder.stream(&AMOUNTS).process_values(limits, Capped).to(&ALLOWED);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&LIMITS, "a".to_owned(), 10, 0)?;
    /// driver.pipe(&AMOUNTS, "a".to_owned(), 30, 1)?;
    /// driver.pipe(&AMOUNTS, "b".to_owned(), 30, 2)?;
    /// let allowed = driver.read_key_values(&ALLOWED)?;
    /// assert_eq!(allowed, [("a".to_owned(), Some(10)), ("b".to_owned(), Some(30))]);
    /// assert!(driver.changelog("limits").is_empty());
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    pub fn read_only_store<K: Data, V: Data>(
        &self,
        topic: impl Into<Consumed<K, V>>,
        name: impl Into<String>,
    ) -> StoreHandle<KeyValueStore<K, V>> {
        let Consumed {
            topic,
            handler,
            times,
            reset,
        } = topic.into();
        if times.is_some() {
            let text = "a read-only store is a copy of its topic and has the topic's times: leave \
                        out with_timestamp(..)";
            self.mistake(Location::caller(), text.to_owned());
        }
        if reset.is_some_and(|reset| reset != OffsetReset::Earliest) {
            let text = "a read-only store is a copy of its whole topic: leave out \
                        with_offset_reset(..)";
            self.mistake(Location::caller(), text.to_owned());
        }
        let store = self.store(Materialized::with(name, topic.key, topic.value));
        let source = TopicName::User(topic.name.to_owned());
        let serdes = (topic.key, topic.value);
        self.add_format(&source, serdes, Role::Table);
        let copy = SourceCopy {
            topic: topic.name.to_owned(),
            read_only: true,
            write: writer(serdes, serdes),
        };
        self.is_copy_of(store.id, copy);
        let reading = Reading {
            kind: NodeKind::Source {
                topic: source,
                handler,
                reset: Some(OffsetReset::Earliest),
            },
            key: topic.key,
            null_keys: false,
            times: None,
        };
        let value = topic.value.apart();
        let rows = self.read(reading, move |raw| value.decode_row(raw));
        rows.operator::<K, V, _>("read_only_store", vec![store.id], move |link| {
            let (at, name) = (store.reference(), link.name().to_owned());
            move |ctx: &mut TaskContext, record: Record<K, Option<V>>| {
                let Record {
                    key,
                    value,
                    timestamp,
                    ..
                } = record;
                match ctx.store(at).upsert(&key, value, timestamp, false) {
                    Ok(Some(_)) => Ok(()),
                    Ok(None) => ctx.drop_null_key(),
                    Err(error) => ctx.refuse(&name, error),
                }
            }
        });
        store
    }
}
