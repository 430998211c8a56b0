//! Versioned stores.

use super::{Rows, Source, StoredRow, bad_key, window::ends};
use crate::{
    error::Result,
    streams::{KeyQueryMetadata, Streams},
};
use millstream_core::{
    record::Timestamp,
    store::{Materialized, Version, VersionRows},
};
use std::ops::RangeBounds;

impl Streams {
    /// A versioned store to be read with its types: a name is enough where they are `Storable`. As
    /// [`Streams::key_value_store`].
    ///
    /// ```
    /// use millstream_core::prelude::*;
    /// use std::time::Duration;
    /// # mod example {
    /// #     include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/running.inc"));
    /// # }
    /// # use example::{running, until};
    ///
    /// static CITIES: Topic<String, String> = Topic::new("cities", utf8(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// let day = Duration::from_secs(86_400);
    /// builder.table(&CITIES, Materialized::from("cities").versioned(day));
    /// # let ann = || "ann".to_owned();
    /// # let cities = [(ann(), "rome", 1_000), (ann(), "oslo", 2_000)];
    /// # let streams = running(builder.build()?, &CITIES, cities);
    /// // `streams` runs it, and has read that "ann" is in "rome" from 1000 on, and in "oslo" from
    /// // 2000 on.
    /// let cities = streams.versioned_store::<String, String>("cities")?;
    /// # until(&streams, || {
    /// #     cities.get(&ann()).is_ok_and(|found| found.is_some_and(|found| found.since == 2_000))
    /// # });
    /// let ann = "ann".to_owned();
    /// assert_eq!(cities.get(&ann)?.unwrap().value, "oslo");
    /// let rome = cities.get_as_of(&ann, 1_999)?.unwrap();
    /// assert_eq!((&*rome.value, rome.since, rome.until), ("rome", 1_000, Some(2_000)));
    /// let since = cities.versions(&ann, ..)?.map(|version| Ok(version?.since));
    /// assert_eq!(since.collect::<millstream_runtime::Result<Vec<_>>>()?, [1_000, 2_000]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Streams::key_value_store`].
    pub fn versioned_store<K: 'static, V: 'static>(
        &self,
        store: impl Into<Materialized<K, V>>,
    ) -> Result<ReadOnlyVersionedStore<K, V>> {
        let (source, rows) = Source::of(self, &store.into(), VersionRows::of)?;
        Ok(ReadOnlyVersionedStore { source, rows })
    }
}

/// A versioned store as those see it who are none of its tasks: committed versions, as of the last
/// commit, and nothing else. Of times that its history does not reach back to it says what holds
/// now if it did then already, and nothing else. See [`Streams::versioned_store`].
///
/// What it sees of partitions is as of
/// [`ReadOnlyKeyValueStore`](super::ReadOnlyKeyValueStore).
pub struct ReadOnlyVersionedStore<K: 'static, V: 'static> {
    source: Source,
    rows: VersionRows<K, V>,
}

impl<K, V> Clone for ReadOnlyVersionedStore<K, V> {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            rows: self.rows,
        }
    }
}

impl<K: 'static, V: 'static> ReadOnlyVersionedStore<K, V> {
    /// Which instances have the rows of a key, as [`Streams::query_metadata_for_key`] says it.
    ///
    /// # Errors
    /// For a key that is null or cannot be encoded, and where the client is gone.
    pub fn query_metadata_for_key(&self, key: &K) -> Result<KeyQueryMetadata> {
        self.source.hosts(&self.rows.now(key).map_err(bad_key)?)
    }

    /// The version of a key that holds now. Kafka's `VersionedKeyQuery`.
    ///
    /// # Errors
    /// As [`ReadOnlyKeyValueStore::get`](super::ReadOnlyKeyValueStore::get).
    pub fn get(&self, key: &K) -> Result<Option<Version<V>>> {
        let (now, rows) = (self.rows.now(key).map_err(bad_key)?, self.rows);
        let found = self
            .source
            .get(&now, |row| rows.version(&row.key, &row.stored));
        found.map(Option::flatten)
    }

    /// The version of a key that held at a time. Kafka's `VersionedKeyQuery` with `asOf`.
    ///
    /// # Errors
    /// As [`ReadOnlyKeyValueStore::get`](super::ReadOnlyKeyValueStore::get).
    pub fn get_as_of(&self, key: &K, time: Timestamp) -> Result<Option<Version<V>>> {
        let (bounds, rows) = (self.rows.since(key, time).map_err(bad_key)?, self.rows);
        let which = |key: &[u8], horizon| rows.is_told(key, time, horizon);
        self.source.first(&bounds, &which, |row| {
            let version = rows.version(&row.key, &row.stored)?;
            Ok(version.filter(|version| version.since <= time))
        })
    }

    /// The versions of a key that held at some of these times, in their order; `rev()` has the last
    /// one first. Kafka's `MultiVersionedKeyQuery`, of which that is the usual order.
    ///
    /// # Errors
    /// As [`ReadOnlyWindowStore::fetch_range`](super::ReadOnlyWindowStore::fetch_range).
    pub fn versions(
        &self,
        key: &K,
        times: impl RangeBounds<Timestamp>,
    ) -> Result<Rows<Version<V>>> {
        let Some((from, to)) = ends(&times) else {
            return Rows::none(&self.source);
        };
        let (bounds, rows) = (self.rows.since(key, from).map_err(bad_key)?, self.rows);
        let which = move |key: &[u8], horizon| rows.is_told(key, to, horizon);
        let show = move |row: &StoredRow| {
            let version = rows.version(&row.key, &row.stored)?;
            Ok(version.filter(|version| version.since <= to))
        };
        Rows::of_key(&self.source, &bounds, Box::new(which), Box::new(show))
    }
}
