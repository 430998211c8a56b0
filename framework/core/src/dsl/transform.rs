//! `transform_values`: rows that a processor with stores makes of rows.
//!
//! Invariant: what there is for a key, and what a change replaces, is what was sent last and lies
//! in the table's store. A processor that remembers is never asked again to find it out.

use super::{
    Change, FixedKeyProcessor, Fun, KStream, KTable,
    process::resident,
    table::{stored, upsert},
    versioned::{put_versions, versioned},
};
use crate::{
    link::{Data, Fanout, Linker, Push},
    record::Record,
    store::{Materialized, StoreSet},
    task::TaskContext,
    topology::StoreId,
};
use std::sync::Arc;

impl<'b, K: Data, V: Data> KTable<'b, K, V> {
    /// The rows that a fixed-key processor makes of this table's, one processor for each task, with
    /// stores of its own (Kafka's `transformValues`). It is given each change in turn, the new row
    /// or `None` where that was deleted, and what it sends is the key's row from then on; `None`
    /// deletes it, and where it sends nothing the row stays.
    ///
    /// Unlike [`map_values`](KTable::map_values) it may remember, so what it made before could not
    /// be found out by asking it again. So the result always has a store, which it is named after,
    /// and what is behind it is told exactly which row each change replaces. (In Kafka Streams a
    /// transformer whose result has none is asked again, for old rows and by whoever looks one up.)
    /// A row has the time of the record that made it. In a punctuation no row can be changed, as
    /// there.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static PRICES: Topic<String, u64> = Topic::new("prices", utf8(), u64_be());
    /// static HIGHEST: Topic<String, u64> = Topic::new("highest-prices", utf8(), u64_be());
    ///
    /// /// Remembers the highest price of what has one, and forgets it with the row.
    /// struct Highest(StoreRef<KeyValueStore<String, u64>>);
    ///
    /// impl FixedKeyProcessor<String, Option<u64>> for Highest {
    ///     type Value = Option<u64>;
    ///
    ///     fn process(
    ///         &mut self,
    ///         what: &String,
    ///         price: Option<u64>,
    ///         ctx: &mut FixedKeyContext<'_, String, Option<u64>>,
    ///     ) -> ProcessResult {
    ///         let store = ctx.store(self.0);
    ///         let highest = price.max(store.get(what)?.copied().filter(|_| price.is_some()));
    ///         match highest {
    ///             Some(highest) => store.put(what, highest)?,
    ///             None => drop(store.delete(what)?),
    ///         }
    ///         Ok(ctx.forward(highest)?)
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// let seen = builder.store("seen");
    /// let prices = builder.table(&PRICES, "prices");
    /// prices.transform_values(seen, Highest, "highest").to(&HIGHEST);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// for price in [3, 5, 4] {
    ///     driver.pipe(&PRICES, "tea".to_owned(), price, 0)?;
    /// }
    /// let told: Vec<_> = driver.read(&HIGHEST)?.iter().map(|price| price.value).collect();
    /// assert_eq!(told, [3, 5, 5]);
    /// driver.pipe_tombstone(&PRICES, &"tea".to_owned(), 1)?;
    /// assert_eq!(driver.read_key_values(&HIGHEST)?, [("tea".to_owned(), None)]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    #[must_use = "a transformed table goes nowhere by itself"]
    pub fn transform_values<S: StoreSet, W: Data, P>(
        self,
        stores: S,
        new: impl Fn(S::Refs) -> P + Fun,
        materialized: impl Into<Materialized<K, W>>,
    ) -> KTable<'b, K, W>
    where
        P: FixedKeyProcessor<K, Option<V>, Value = Option<W>>,
    {
        let (builder, materialized) = (self.changes.builder, materialized.into());
        if let Some(history) = materialized.history {
            let store = builder.versioned_store(materialized, history);
            let keep = move |link: &mut Linker<'_>| Fanout::of(put_versions(link, store));
            return versioned(
                self.transformed((stores, new), store.id, keep),
                store,
                history,
            );
        }
        let serde = materialized.key;
        let store = builder.store(materialized);
        let keep = move |link: &mut Linker<'_>| Fanout::of(upsert(link, store, serde, true));
        stored(self.transformed((stores, new), store.id, keep), store)
    }

    /// One node: a processor, and the store that keeps what it sends.
    #[track_caller]
    fn transformed<S: StoreSet, W: Data, P>(
        self,
        (stores, new): (S, impl Fn(S::Refs) -> P + Fun),
        store: StoreId,
        keep: impl Fn(&mut Linker<'_>) -> Fanout<K, Option<W>> + Fun,
    ) -> KStream<'b, K, Change<W>>
    where
        P: FixedKeyProcessor<K, Option<V>, Value = Option<W>>,
    {
        let new = Arc::new(new);
        // The first store is the one that names the node.
        let ids = [vec![store], stores.ids()].concat();
        self.changes.operator("transform_values", ids, move |link| {
            let (new, down) = (new.clone(), keep(link));
            let mut processor = resident(link, move || new(stores.refs()), down);
            move |ctx: &mut TaskContext, record: Record<K, Change<V>>| {
                let Record {
                    key,
                    value,
                    timestamp,
                    headers,
                } = record;
                processor.push(
                    ctx,
                    Record {
                        key,
                        value: value.new,
                        timestamp,
                        headers,
                    },
                )
            }
        })
    }
}
