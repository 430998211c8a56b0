//! Window stores.

use super::{Rows, Source, StoredRow, Which, bad_key};
use crate::{
    error::Result,
    streams::{KeyQueryMetadata, Streams},
};
use millstream_core::{
    record::Timestamp,
    store::{Materialized, TimedRows, ValueAndTimestamp},
    window::{Window, Windowed},
};
use std::ops::{Bound, RangeBounds};

impl Streams {
    /// A window store to be read with its types, those of its keys without their windows: a name is
    /// enough where they are `Storable`. As [`Streams::key_value_store`]. The stores of joins of
    /// streams are window stores too, whose windows are moments.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    /// use std::time::Duration;
    /// # mod example {
    /// #     include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/running.inc"));
    /// # }
    /// # use example::{running, until};
    ///
    /// static WORDS: Topic<String, String> = Topic::new("words", utf8(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// let seconds = TimeWindows::of_size_with_no_grace(Duration::from_secs(1));
    /// let counted = Materialized::from("per-second").with_retention(Duration::from_secs(3600));
    /// builder.stream(&WORDS).group_by_key().windowed_by(seconds).count(counted);
    /// # let rose = || "rose".to_owned();
    /// # let words = [(rose(), "a", 1), (rose(), "b", 2_500), (rose(), "c", 2_700)];
    /// # let streams = running(builder.build()?, &WORDS, words);
    /// // `streams` runs it, and has read three values of "rose", at 1, at 2500 and at 2700.
    /// let counts = streams.window_store::<String, u64>("per-second")?;
    /// # until(&streams, || counts.fetch(&rose(), 2_000).is_ok_and(|row| row.is_some()));
    /// let rose = "rose".to_owned();
    /// assert_eq!(counts.fetch(&rose, 2_000)?.unwrap().value, 2);
    /// assert_eq!(counts.fetch(&rose, 1_000)?, None);
    /// // From the last window back.
    /// let back = counts.fetch_range(&rose, 0..)?.rev().map(|row| Ok(row?.0.start));
    /// assert_eq!(back.collect::<millstream_runtime::Result<Vec<_>>>()?, [2_000, 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Streams::key_value_store`].
    pub fn window_store<K: 'static, V: 'static>(
        &self,
        store: impl Into<Materialized<K, V>>,
    ) -> Result<ReadOnlyWindowStore<K, V>> {
        let (source, rows) = Source::of(self, &store.into(), TimedRows::windows)?;
        Ok(ReadOnlyWindowStore { source, rows })
    }
}

/// A window store as those see it who are none of its tasks: committed rows, as of the last commit,
/// and nothing else, without those that have expired by then. Kafka's `ReadOnlyWindowStore`; see
/// [`Streams::window_store`].
///
/// What it sees of partitions is as of
/// [`ReadOnlyKeyValueStore`](super::ReadOnlyKeyValueStore).
pub struct ReadOnlyWindowStore<K: 'static, V: 'static> {
    source: Source,
    rows: TimedRows<K, V>,
}

impl<K, V> Clone for ReadOnlyWindowStore<K, V> {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            rows: self.rows,
        }
    }
}

impl<K: 'static, V: 'static> ReadOnlyWindowStore<K, V> {
    /// Which instances have the rows of a key, as [`Streams::query_metadata_for_key`] says it.
    ///
    /// # Errors
    /// For a key that is null or cannot be encoded, and where the client is gone.
    pub fn query_metadata_for_key(&self, key: &K) -> Result<KeyQueryMetadata> {
        let place = self.rows.place(key, Window::new(0, 0));
        self.source.hosts(&place.map_err(bad_key)?)
    }

    /// The row of a key's window that starts at a time; where a store has several rows of a key at
    /// one time, as those of joins have, the first of them.
    ///
    /// # Errors
    /// As [`ReadOnlyKeyValueStore::get`](super::ReadOnlyKeyValueStore::get).
    pub fn fetch(&self, key: &K, start: Timestamp) -> Result<Option<ValueAndTimestamp<V>>> {
        let rows = self.rows;
        if rows.is_wide() {
            let bounds = rows.of_key(key, &(start..=start)).map_err(bad_key)?;
            let show = |row: &StoredRow| rows.value(&row.stored).map(Some);
            return self.source.first(&bounds, &|_, _| true, show);
        }
        let place = rows.place(key, Window::new(start, start));
        let place = place.map_err(bad_key)?;
        self.source.get(&place, |row| rows.value(&row.stored))
    }

    /// The rows of a key's windows that start in a range of times, in the order of these; `rev()`
    /// is Kafka's `backwardFetch`.
    ///
    /// # Errors
    /// For a key that is null or cannot be encoded, and
    /// [`IllegalState`](crate::Error::IllegalState) for a client that does not run. Those of
    /// [`Rows`] come later, that there may be rows elsewhere among them.
    #[doc(alias = "backward_fetch")]
    pub fn fetch_range(
        &self,
        key: &K,
        starts: impl RangeBounds<Timestamp>,
    ) -> Result<Rows<(Window, ValueAndTimestamp<V>)>> {
        let rows = self.rows;
        let bounds = rows.of_key(key, &starts).map_err(bad_key)?;
        let show = move |row: &StoredRow| rows.window_row(&row.key, &row.stored).map(Some);
        Rows::of_key(&self.source, &bounds, Box::new(|_, _| true), Box::new(show))
    }

    /// The rows that are here of the windows of a range of keys that start in a range of times:
    /// within a partition key after key, in the order of the keys' bytes. `rev()` is Kafka's
    /// `backwardFetch`.
    ///
    /// All rows of these keys are looked at.
    ///
    /// # Errors
    /// As [`ReadOnlyKeyValueStore::range`](super::ReadOnlyKeyValueStore::range).
    pub fn fetch_keys(
        &self,
        keys: impl RangeBounds<K>,
        starts: impl RangeBounds<Timestamp>,
    ) -> Result<Rows<(Windowed<K>, ValueAndTimestamp<V>)>> {
        let (rows, starts) = (self.rows, owned(&starts));
        let bounds = rows.of_keys(&keys).map_err(bad_key)?;
        // What is no row is told of, so it is let through.
        let is_asked = move |window: Window| starts.contains(&window.start);
        let which: Which = Box::new(move |key, _| rows.window_of(key).is_none_or(is_asked));
        let show = move |row: &StoredRow| rows.row(&row.key, &row.stored).map(Some);
        Rows::of_keys(&self.source, &bounds, which, Box::new(show))
    }

    /// The rows that are here of all windows that start in a range of times; `rev()` is Kafka's
    /// `backwardFetchAll`.
    ///
    /// # Errors
    /// As [`ReadOnlyWindowStore::fetch_keys`].
    #[doc(alias = "backward_fetch_all")]
    pub fn fetch_all(
        &self,
        starts: impl RangeBounds<Timestamp>,
    ) -> Result<Rows<(Windowed<K>, ValueAndTimestamp<V>)>> {
        self.fetch_keys(.., starts)
    }

    /// All rows that are here; `rev()` is Kafka's `backwardAll`.
    ///
    /// # Errors
    /// As [`ReadOnlyWindowStore::fetch_keys`].
    #[doc(alias = "backward_all")]
    pub fn all(&self) -> Result<Rows<(Windowed<K>, ValueAndTimestamp<V>)>> {
        self.fetch_all(..)
    }
}

/// The first and the last of a range of times; nothing where none is in it.
pub(super) fn ends(times: &impl RangeBounds<Timestamp>) -> Option<(Timestamp, Timestamp)> {
    let first = match times.start_bound() {
        Bound::Included(&time) => time,
        Bound::Excluded(&time) => time.checked_add(1)?,
        Bound::Unbounded => Timestamp::MIN,
    };
    let last = match times.end_bound() {
        Bound::Included(&time) => time,
        Bound::Excluded(&time) => time.checked_sub(1)?,
        Bound::Unbounded => Timestamp::MAX,
    };
    (first <= last).then_some((first, last))
}

/// A range of times as a value.
fn owned(times: &impl RangeBounds<Timestamp>) -> (Bound<Timestamp>, Bound<Timestamp>) {
    (times.start_bound().cloned(), times.end_bound().cloned())
}
