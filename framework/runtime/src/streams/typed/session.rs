//! Session stores.

use super::{Rows, Source, StoredRow, Which, bad_key, window::ends};
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
    /// A session store to be read with its types, those of its keys without their sessions: a name
    /// is enough where they are `Storable`. As [`Streams::key_value_store`].
    ///
    /// ```
    /// use millstream_core::prelude::*;
    /// use std::time::Duration;
    /// # mod example {
    /// #     include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/running.inc"));
    /// # }
    /// # use example::{running, until};
    ///
    /// static CLICKS: Topic<String, String> = Topic::new("clicks", utf8(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// let visits = SessionWindows::of_inactivity_gap_with_no_grace(Duration::from_secs(60));
    /// let counted = Materialized::from("visits").with_retention(Duration::from_secs(3600));
    /// builder.stream(&CLICKS).group_by_key().windowed_by(visits).count(counted);
    /// # let ann = || "ann".to_owned();
    /// # let clicks = [(ann(), "/", 0), (ann(), "/tea", 30_000), (ann(), "/", 200_000)];
    /// # let streams = running(builder.build()?, &CLICKS, clicks);
    /// // `streams` runs it, and has read clicks of "ann", at 0, at 30000 and at 200000.
    /// let visits = streams.session_store::<String, u64>("visits")?;
    /// # let last = Window::new(200_000, 200_000);
    /// # until(&streams, || visits.fetch_session(&ann(), last).is_ok_and(|row| row.is_some()));
    /// let ann = "ann".to_owned();
    /// // Those that had begun by 40000, and had not ended before 10000.
    /// for visit in visits.find_sessions(&ann, 10_000..=40_000)? {
    ///     let (window, clicks) = visit?;
    ///     assert_eq!((window.start, window.end, clicks.value), (0, 30_000, 2));
    /// }
    /// assert_eq!(visits.fetch(&ann)?.count(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Streams::key_value_store`].
    pub fn session_store<K: 'static, V: 'static>(
        &self,
        store: impl Into<Materialized<K, V>>,
    ) -> Result<ReadOnlySessionStore<K, V>> {
        let (source, rows) = Source::of(self, &store.into(), TimedRows::sessions)?;
        Ok(ReadOnlySessionStore { source, rows })
    }
}

/// A session store as those see it who are none of its tasks: committed rows, as of the last
/// commit, and nothing else, without those that have expired by then. Kafka's
/// `ReadOnlySessionStore`; see [`Streams::session_store`].
///
/// What it sees of partitions is as of
/// [`ReadOnlyKeyValueStore`](super::ReadOnlyKeyValueStore).
pub struct ReadOnlySessionStore<K: 'static, V: 'static> {
    source: Source,
    rows: TimedRows<K, V>,
}

impl<K, V> Clone for ReadOnlySessionStore<K, V> {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            rows: self.rows,
        }
    }
}

impl<K: 'static, V: 'static> ReadOnlySessionStore<K, V> {
    /// Which instances have the rows of a key, as [`Streams::query_metadata_for_key`] says it.
    ///
    /// # Errors
    /// For a key that is null or cannot be encoded, and where the client is gone.
    pub fn query_metadata_for_key(&self, key: &K) -> Result<KeyQueryMetadata> {
        let place = self.rows.place(key, Window::new(0, 0));
        self.source.hosts(&place.map_err(bad_key)?)
    }

    /// The session of a key that starts and ends just then.
    ///
    /// # Errors
    /// As [`ReadOnlyKeyValueStore::get`](super::ReadOnlyKeyValueStore::get).
    pub fn fetch_session(&self, key: &K, session: Window) -> Result<Option<ValueAndTimestamp<V>>> {
        let place = self.rows.place(key, session).map_err(bad_key)?;
        let rows = self.rows;
        self.source.get(&place, |row| rows.value(&row.stored))
    }

    /// All sessions of a key, in the order of their ends; `rev()` is Kafka's `backwardFetch`.
    ///
    /// # Errors
    /// As [`ReadOnlyWindowStore::fetch_range`](super::ReadOnlyWindowStore::fetch_range).
    #[doc(alias = "backward_fetch")]
    pub fn fetch(&self, key: &K) -> Result<Rows<(Window, ValueAndTimestamp<V>)>> {
        self.find_sessions(key, ..)
    }

    /// The sessions of a key that have some of these times in them, in the order of their ends: as
    /// Kafka says it, those that end no earlier than the first time, and start no later than the
    /// last. `rev()` is Kafka's `backwardFindSessions`.
    ///
    /// # Errors
    /// As [`ReadOnlyWindowStore::fetch_range`](super::ReadOnlyWindowStore::fetch_range).
    #[doc(alias = "backward_find_sessions")]
    pub fn find_sessions(
        &self,
        key: &K,
        times: impl RangeBounds<Timestamp>,
    ) -> Result<Rows<(Window, ValueAndTimestamp<V>)>> {
        let rows = self.rows;
        let Some(times) = ends(&times) else {
            return Rows::none(&self.source);
        };
        let bounds = rows.of_key(key, &(Bound::Included(times.0), Bound::Unbounded));
        let show = move |row: &StoredRow| rows.window_row(&row.key, &row.stored).map(Some);
        let bounds = bounds.map_err(bad_key)?;
        Rows::of_key(&self.source, &bounds, touching(rows, times), Box::new(show))
    }

    /// The sessions that are here of a range of keys that have some of these times in them: within
    /// a partition key after key, in the order of the keys' bytes. `rev()` is Kafka's
    /// `backwardFindSessions`, or `backwardFetch` with all times.
    ///
    /// All sessions of these keys are looked at.
    ///
    /// # Errors
    /// As [`ReadOnlyKeyValueStore::range`](super::ReadOnlyKeyValueStore::range).
    pub fn find_sessions_of(
        &self,
        keys: impl RangeBounds<K>,
        times: impl RangeBounds<Timestamp>,
    ) -> Result<Rows<(Windowed<K>, ValueAndTimestamp<V>)>> {
        let rows = self.rows;
        let Some(times) = ends(&times) else {
            return Rows::none(&self.source);
        };
        let bounds = rows.of_keys(&keys).map_err(bad_key)?;
        let show = move |row: &StoredRow| rows.row(&row.key, &row.stored).map(Some);
        Rows::of_keys(&self.source, &bounds, touching(rows, times), Box::new(show))
    }

    /// All sessions that are here.
    ///
    /// # Errors
    /// As [`ReadOnlySessionStore::find_sessions_of`].
    pub fn all(&self) -> Result<Rows<(Windowed<K>, ValueAndTimestamp<V>)>> {
        self.find_sessions_of(.., ..)
    }
}

/// The sessions that have some of these times in them. What is no row is told of, so it is let
/// through.
fn touching<K: 'static, V: 'static>(
    rows: TimedRows<K, V>,
    (from, to): (Timestamp, Timestamp),
) -> Which {
    let is_asked = move |session: Window| session.end >= from && session.start <= to;
    Box::new(move |key, _| rows.window_of(key).is_none_or(is_asked))
}
