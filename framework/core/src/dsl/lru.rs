//! Stores for processors that forget what was used least recently: Kafka Streams' `lruMap`.

use super::StreamsBuilder;
use crate::{
    link::Data,
    store::{LruFormats, LruStore, Materialized, StoreHandle},
    topology::StoreSpec,
};
use std::{panic::Location, sync::Arc};

impl StreamsBuilder {
    /// Declares a store of at most `max_entries` keys in each task, all in memory, for
    /// `process(..)`: where there is one more, the key that was not looked at or set for the
    /// longest is forgotten. Kafka Streams' `Stores.lruMap`.
    ///
    /// What is forgotten is deleted in the changelog too. A key that was used, if only looked at,
    /// is written there once with the next commit, which keeps the order of uses: after a crash a
    /// task forgets what it would have forgotten without. (Kafka Streams loses the looks.) With
    /// another limit than before the store goes on with the rows there are, and first forgets what
    /// is too much.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static SEEN: Topic<String, u64> = Topic::new("seen", utf8(), u64_be());
    /// static FRESH: Topic<String, u64> = Topic::new("fresh", utf8(), u64_be());
    ///
    /// /// Lets pass what is not among the last keys.
    /// struct Fresh(StoreRef<LruStore<String, u64>>);
    /// impl Processor<String, u64> for Fresh {
    ///     type Key = String;
    ///     type Value = u64;
    ///     fn process(
    ///         &mut self,
    ///         record: Record<String, u64>,
    ///         ctx: &mut ProcessorContext<'_, String, u64>,
    ///     ) -> ProcessResult {
    ///         let seen = ctx.store(self.0);
    ///         if seen.put_if_absent(&record.key, record.value)?.is_none() {
    ///             ctx.forward(record)?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// let last = builder.lru_map::<String, u64>("last", 2);
    /// builder.stream(&SEEN).process(last, Fresh).to(&FRESH);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// for (time, key) in (0..).zip(["a", "b", "a", "c", "a", "b"]) {
    ///     driver.pipe(&SEEN, key.to_owned(), 1, time)?;
    /// }
    /// let keys: Vec<_> = driver.read(&FRESH)?.into_iter().map(|record| record.key).collect();
    /// assert_eq!(keys, ["a", "b", "c", "b"]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    pub fn lru_map<K: Data, V: Data>(
        &self,
        materialized: impl Into<Materialized<K, V>>,
        max_entries: usize,
    ) -> StoreHandle<LruStore<K, V>> {
        let Materialized {
            name,
            key,
            value,
            logging,
            history,
            retention,
        } = materialized.into();
        let at = Location::caller();
        if max_entries == 0 {
            let text = format!("the store {name:?} is to have at most 0 entries: it holds nothing");
            self.mistake(at, text);
        }
        self.no_versions(&name, history, at);
        self.no_retention(&name, retention, at);
        let apart = value.apart();
        let formats = (key.codec().name(), apart.name());
        self.add_store(StoreSpec {
            name,
            logging,
            // The limit is none of the format: rows fit any.
            format: format!("lru/{}/{}", formats.0, formats.1),
            expires: None,
            retention: None,
            at,
            source: None,
            query: Some(Arc::new(LruFormats {
                key,
                value: apart.bytes,
            })),
            whole_commits: false,
            headers: apart.has_headers(),
            cached: false,
            open: Arc::new(move |env| Ok(Box::new(LruStore::open(key, value, max_entries, env)?))),
        })
    }
}
