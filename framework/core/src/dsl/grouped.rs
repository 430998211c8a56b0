//! `KGroupedStream`: aggregates over the records of each key.

use super::{Fun, Grouped, KStream, KTable, aggregate::Aggregate, table::stored};
use crate::{
    error::{Error, Result},
    link::Data,
    record::Record,
    store::Materialized,
    task::TaskContext,
};
use std::sync::Arc;

/// A stream grouped by key, waiting to be aggregated: a handle to copy around.
pub struct KGroupedStream<'b, K: 'static, V: 'static> {
    pub(crate) stream: KStream<'b, K, V>,
    pub(crate) serdes: Grouped<K, V>,
}

impl<K, V> Clone for KGroupedStream<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for KGroupedStream<'_, K, V> {}

impl<'b, K: Data, V: Data> KGroupedStream<'b, K, V> {
    /// How many records each key had. Records with a null key are dropped and counted. Whether a
    /// value may be null is said by its type: `None` counts as any other.
    #[track_caller]
    pub fn count(self, store: impl Into<Materialized<K, u64>>) -> KTable<'b, K, u64> {
        self.aggregate(store, || 0, |_, _, count| *count += 1)
    }

    /// Folds the values of each key; the first one is the beginning. Time and null keys are as in
    /// [`KGroupedStream::aggregate`].
    #[track_caller]
    pub fn reduce(
        self,
        store: impl Into<Materialized<K, V>>,
        fold: impl Fn(V, V) -> V + Fun,
    ) -> KTable<'b, K, V> {
        self.change(store, move |_, value, row| {
            *row = Some(match row.take() {
                Some(so_far) => fold(so_far, value),
                None => value,
            });
            Ok(())
        })
    }

    /// Changes an aggregate in place with each record of its key; `init` makes the first one.
    ///
    /// The result's timestamp is the later of the aggregate's and the record's. Records with a null
    /// key are dropped and counted.
    #[track_caller]
    pub fn aggregate<A: Data>(
        self,
        store: impl Into<Materialized<K, A>>,
        init: impl Fn() -> A + Fun,
        add: impl Fn(&K, V, &mut A) + Fun,
    ) -> KTable<'b, K, A> {
        self.change(store, move |key, value, row| {
            add(key, value, row.get_or_insert_with(&init));
            Ok(())
        })
    }

    /// As [`KGroupedStream::aggregate`], with an `add` that may refuse a record: the source's error
    /// policy decides what happens then. An `add` that refuses must leave the aggregate as it was.
    #[track_caller]
    pub fn try_aggregate<A: Data, E>(
        self,
        store: impl Into<Materialized<K, A>>,
        init: impl Fn() -> A + Fun,
        add: impl Fn(&K, V, &mut A) -> std::result::Result<(), E> + Fun,
    ) -> KTable<'b, K, A>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.change(store, move |key, value, row| {
            let existed = row.is_some();
            let added = add(key, value, row.get_or_insert_with(&init)).map_err(Error::processing);
            if added.is_err() && !existed {
                *row = None;
            }
            added
        })
    }

    /// The one way in which groups change their store.
    #[track_caller]
    fn change<A: Data>(
        self,
        store: impl Into<Materialized<K, A>>,
        change: impl Fn(&K, V, &mut Option<A>) -> Result<()> + Fun,
    ) -> KTable<'b, K, A> {
        let materialized = store.into();
        let serde = materialized.key;
        let input = self.stream.by_key(&materialized.name, self.serdes);
        let store = input.builder.store(materialized);
        let change = Arc::new(change);
        let changes = input.operator("aggregate", vec![store.id], move |link| {
            let (change, mut aggregate) = (change.clone(), Aggregate::new(link, store, serde));
            move |ctx: &mut TaskContext, record: Record<K, V>| {
                aggregate.update(ctx, record, &*change)
            }
        });
        stored(changes, store)
    }
}
