//! A stream as a table: the last value of each key.
//!
//! Invariant: what goes through a repartition topic on the way is written by the store's serdes, so
//! equal keys of equally stored tables lie in equal partitions.

use super::{Grouped, KStream, KTable};
use crate::{link::Data, serde::Encoded, store::Materialized, topology::formats::Role};
use std::panic::Location;

impl<'b, K: Data, V: Data> KStream<'b, K, V> {
    /// The last value of each key as a table; a value that its serde writes as null deletes the
    /// row. Records with a null key are dropped and counted.
    ///
    /// Of `Option`s only [`option`](crate::serde::option()) writes `None` as null; the default
    /// serde makes it a row, and [`KStream::to_table_of_rows`] knows what it means.
    ///
    /// If the key was changed before, records go through a repartition topic, which the store's
    /// serdes write.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static MOVES: Topic<u64, (String, String)> = Topic::new("moves", u64_be(), bincode());
    /// static HOMES: Topic<String, String> = Topic::new("homes", utf8(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// // Who moved where, by a number; the table has a row for each person.
    /// builder.stream(&MOVES).map(|_, (who, city)| (who, city)).to_table("homes").to(&HOMES);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&MOVES, 1, ("ann".to_owned(), "rome".to_owned()), 0)?;
    /// let homes = driver.read_key_values(&HOMES)?;
    /// assert_eq!(homes, [("ann".to_owned(), Some("rome".to_owned()))]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    pub fn to_table(self, materialized: impl Into<Materialized<K, V>>) -> KTable<'b, K, V> {
        let materialized = materialized.into();
        let (key, value) = (materialized.key, materialized.value);
        let input = self.by_key(&materialized.name, Grouped::with(key, value));
        let row = move |of: V| (!value.is_null(&of)).then_some(of);
        input.map_values(row).kept_in(materialized)
    }
}

impl<'b, K: Data, V: Data> KStream<'b, K, Option<V>> {
    /// The last value of each key as a table, `None` deleting the row. Records with a null key are
    /// dropped and counted; where the key was changed before they go through a repartition topic,
    /// as those of [`KStream::to_table`].
    #[track_caller]
    pub fn to_table_of_rows(self, materialized: impl Into<Materialized<K, V>>) -> KTable<'b, K, V> {
        let materialized = materialized.into();
        self.rows_by_key(&materialized).kept_in(materialized)
    }

    /// As [`KStream::by_key`], in the serdes of a store, which know nothing of `None`.
    #[track_caller]
    fn rows_by_key(self, materialized: &Materialized<K, V>) -> Self {
        if self.rekeyed.is_none() {
            return self;
        }
        let (builder, at) = (self.builder, Location::caller());
        let (key, value) = (materialized.key, materialized.value);
        let format = format!("{}/option<{}>", key.codec().name(), value.codec().name());
        let topic = builder.add_repartition(&materialized.name, (None, false), format, at);
        builder.add_format(&topic, (key, value), Role::Table);
        let write = move |row: &Option<V>, out: &mut Vec<u8>| match row {
            Some(row) => value.encode(row, out),
            None => Ok(Encoded::Null),
        };
        self.sink(topic.clone(), key, write, None);
        let read = move |bytes: Option<&[u8]>| {
            let row = bytes.map(|bytes| value.decode(Some(bytes)));
            row.transpose()
        };
        builder.read_back(topic, key, read)
    }
}
