//! Key-value stores and global tables.

use super::{Rows, Source, bad_key};
use crate::{
    error::Result,
    streams::{KeyQueryMetadata, Streams},
};
use millstream_core::store::{KeyValueRows, Materialized, ValueAndTimestamp};
use std::ops::RangeBounds;

impl Streams {
    /// A key-value store, a global table, or an LRU store, to be read with its types: a name is
    /// enough where these are `Storable`, and otherwise [`Materialized::with`] says the serdes. Its
    /// other settings mean nothing here. Kafka's `store(..)`.
    ///
    /// It may be asked for before the client runs, and stays good whatever becomes of tasks: where
    /// rows are is looked up with every call. It keeps nothing of the client alive.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    /// # mod example {
    /// #     include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/running.inc"));
    /// # }
    /// # use example::{running, until};
    ///
    /// static WORDS: Topic<(), String> = Topic::new("words", unit(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.stream(&WORDS).group_by(|_, word| word.clone()).count("counts");
    /// # let streams = running(builder.build()?, &WORDS, [((), "rose", 1), ((), "rose", 2)]);
    /// // `streams` runs it, and has read "rose" at 1 and "rose" at 2.
    /// let counts = streams.key_value_store::<String, u64>("counts")?;
    /// # until(&streams, || counts.get(&"rose".to_owned()).is_ok_and(|row| row.is_some()));
    /// let rose = counts.get(&"rose".to_owned())?.unwrap();
    /// assert_eq!((rose.value, rose.timestamp), (2, 2));
    /// for row in counts.range("a".to_owned().."s".to_owned())? {
    ///     let (word, count) = row?;
    ///     assert_eq!((&*word, count.value), ("rose", 2));
    /// }
    /// // Its counts are no texts.
    /// assert!(streams.key_value_store::<String, String>("counts").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Where the program has no such store, or one whose rows cannot be asked for by key; and where
    /// it is of another kind or has other serdes, as far as their names tell.
    pub fn key_value_store<K: 'static, V: 'static>(
        &self,
        store: impl Into<Materialized<K, V>>,
    ) -> Result<ReadOnlyKeyValueStore<K, V>> {
        let (source, rows) = Source::of(self, &store.into(), KeyValueRows::of)?;
        Ok(ReadOnlyKeyValueStore { source, rows })
    }
}

/// A key-value store or a global table as those see it who are none of its tasks: committed rows,
/// as of the last commit, and nothing else (Kafka's isolation level `READ_COMMITTED`). Kafka's
/// `ReadOnlyKeyValueStore`; see [`Streams::key_value_store`].
///
/// It sees the partitions that this instance has, active or standby. While a task's state is
/// brought back, its rows may be older ones, or missing.
pub struct ReadOnlyKeyValueStore<K: 'static, V: 'static> {
    source: Source,
    rows: KeyValueRows<K, V>,
}

impl<K, V> Clone for ReadOnlyKeyValueStore<K, V> {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            rows: self.rows,
        }
    }
}

impl<K: 'static, V: 'static> ReadOnlyKeyValueStore<K, V> {
    /// Which instances have the rows of a key, as [`Streams::query_metadata_for_key`] says it.
    ///
    /// # Errors
    /// For a key that is null or cannot be encoded, and where the client is gone.
    pub fn query_metadata_for_key(&self, key: &K) -> Result<KeyQueryMetadata> {
        self.source.hosts(&self.rows.key(key).map_err(bad_key)?)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// For a key that is null or cannot be encoded, a row that cannot be read, and failing storage.
    /// [`IllegalState`](crate::Error::IllegalState) for a client that does not run, and where no
    /// row is found and there may be one all the same: another instance has some of the store's
    /// partitions, or one of them is being restored.
    pub fn get(&self, key: &K) -> Result<Option<ValueAndTimestamp<V>>> {
        let (key, rows) = (self.rows.key(key).map_err(bad_key)?, self.rows);
        self.source.get(&key, |row| rows.value(&row.stored))
    }

    /// The rows between two keys that are here, in the order of the keys' bytes within each
    /// partition; `rev()` is Kafka's `reverseRange`.
    ///
    /// # Errors
    /// For a key that is null or cannot be encoded.
    /// [`IllegalState`](crate::Error::IllegalState) for a client that does not run, and where no
    /// partition is here; where some are, the rows are of those. Those of [`Rows`] come later.
    #[doc(alias = "reverse_range")]
    pub fn range(&self, keys: impl RangeBounds<K>) -> Result<Rows<(K, ValueAndTimestamp<V>)>> {
        let bounds = self.rows.range(&keys).map_err(bad_key)?;
        self.read(&bounds)
    }

    /// All rows that are here; `rev()` is Kafka's `reverseAll`.
    ///
    /// # Errors
    /// As [`ReadOnlyKeyValueStore::range`].
    #[doc(alias = "reverse_all")]
    pub fn all(&self) -> Result<Rows<(K, ValueAndTimestamp<V>)>> {
        self.range(..)
    }

    /// The rows that are here of keys whose bytes begin with these, which for keys of `utf8` are
    /// those of the text. Kafka's `prefixScan`.
    ///
    /// # Errors
    /// As [`ReadOnlyKeyValueStore::range`].
    pub fn prefix_scan(&self, prefix: impl AsRef<[u8]>) -> Result<Rows<(K, ValueAndTimestamp<V>)>> {
        self.read(&self.rows.beginning_with(prefix.as_ref()))
    }

    fn read(
        &self,
        bounds: &millstream_core::store::KeyBounds,
    ) -> Result<Rows<(K, ValueAndTimestamp<V>)>> {
        let rows = self.rows;
        let show = move |row: &super::StoredRow| rows.row(&row.key, &row.stored).map(Some);
        Rows::of_keys(&self.source, bounds, Box::new(|_, _| true), Box::new(show))
    }
}
