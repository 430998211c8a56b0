//! `KTable`: the latest row of each key, as a stream of changes and a view by key.

use super::{
    Consumed, Fun, Grouped, KGroupedTable, KStream, StreamsBuilder, TimestampExtractor,
    outlet::Outlet,
    source::Reading,
    versioned::{derived_versions, put_versions, versioned},
    view::{Facts, View},
};
use crate::{
    error::Result,
    link::{Data, Linker, Push},
    record::{Record, Timestamp},
    serde::Serde,
    store::{KeyValueStore, Materialized, Storable, StoreHandle, TimedKind, TimedStore},
    task::{OffsetReset, TaskContext},
    topology::{Logging, NodeKind, SourceCopy, StoreId, TopicName, formats::Role, global::writer},
    window::Windowed,
};
use std::{marker::PhantomData, sync::Arc};

/// A change of one row. `old` is filled only where somebody downstream reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<V> {
    /// The row before.
    pub old: Option<V>,
    /// The row now; `None` where it was deleted.
    pub new: Option<V>,
}

/// A table: a handle to copy around while the program is built.
pub struct KTable<'b, K: 'static, V: 'static> {
    pub(crate) changes: KStream<'b, K, Change<V>>,
    /// The table's place among the builder's.
    pub(super) view: usize,
    pub(super) store: Option<StoreHandle<KeyValueStore<K, V>>>,
    /// The window store of a windowed aggregate; its types are those of the table.
    pub(super) windows: Option<StoreId>,
}

impl<K, V> Clone for KTable<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for KTable<'_, K, V> {}

/// What a derived table does with a change from no row to no row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// It says nothing.
    Kept,
    /// It tells the deletion of a row that is not there, if the table it derives from does.
    Broken,
}

/// A table that has a store of its own.
pub(crate) fn stored<'b, K: Data, V: Data>(
    changes: KStream<'b, K, Change<V>>,
    store: StoreHandle<KeyValueStore<K, V>>,
) -> KTable<'b, K, V> {
    let facts = Facts {
        bases: vec![(store.id, changes.node)],
        exact: true,
        ..Facts::default()
    };
    let view = changes.builder.add_view(View::Store(store), facts);
    KTable {
        changes,
        view,
        store: Some(store),
        windows: None,
    }
}

/// A table of windows, in a store of theirs, which may be `forgetful` when a window closes; `last`
/// says that they are told of only then.
pub(crate) fn windowed<'b, K: Data, A: Data>(
    changes: KStream<'b, Windowed<K>, Change<A>>,
    store: StoreHandle<TimedStore<K, A>>,
    kind: TimedKind,
    (forgetful, last): (bool, bool),
) -> KTable<'b, Windowed<K>, A> {
    let at = store.reference();
    let lookup = move |ctx: &mut TaskContext, key: &Windowed<K>| {
        let row = ctx.store(at).get(&key.key, kind.at(key.window))?;
        Ok(row.map(|(value, time)| (value.clone(), time)))
    };
    let facts = Facts {
        bases: vec![(store.id, changes.node)],
        exact: true,
        forgetful: forgetful.then_some(store.id).into_iter().collect(),
        last,
        ..Facts::default()
    };
    KTable {
        windows: Some(store.id),
        ..derived(changes, lookup, facts)
    }
}

/// A table that is computed from others whenever it is looked up.
pub(super) fn derived<'b, K: Data, V: Data>(
    changes: KStream<'b, K, Change<V>>,
    lookup: impl Fn(&mut TaskContext, &K) -> Result<Option<(V, Timestamp)>> + Fun,
    facts: Facts,
) -> KTable<'b, K, V> {
    let view = if facts.bases.is_empty() {
        View::Missing
    } else {
        View::Derived(Box::new(lookup))
    };
    let view = changes.builder.add_view(view, facts);
    KTable {
        changes,
        view,
        store: None,
        windows: None,
    }
}

/// What a table's store does with a row that arrives, in the node in hand: `None` deletes. Where
/// changes are not `exact` (as a table's [`Facts`] say), a deletion may be of no row, and is found
/// out to be.
pub(super) fn upsert<K: Data, V: Data>(
    link: &mut Linker<'_>,
    store: StoreHandle<KeyValueStore<K, V>>,
    serde: Serde<K>,
    exact: bool,
) -> impl Push<K, Option<V>> + use<K, V> {
    let mut down = Outlet::new(link, move |key, out| serde.encode(key, out));
    let (at, name) = (store.reference(), link.name().to_owned());
    let (read_old, idle) = (down.wants_old() || !exact, down.is_empty());
    move |ctx: &mut TaskContext, record: Record<K, Option<V>>| {
        let Record {
            key,
            value: row,
            timestamp,
            headers,
        } = record;
        let new = if idle { None } else { row.clone() };
        match ctx.store(at).upsert(&key, row, timestamp, read_old) {
            Ok(Some(None)) if new.is_none() && !exact => Ok(()),
            Ok(Some(old)) => {
                let existed = old.is_some() || !read_old;
                let value = Change { old, new };
                down.push(
                    ctx,
                    Record {
                        key,
                        value,
                        timestamp,
                        headers,
                    },
                    existed,
                )
            }
            Ok(None) => ctx.drop_null_key(),
            Err(error) => ctx.refuse(&name, error),
        }
    }
}

impl<'b, K: Data, V: Data> KStream<'b, K, Option<V>> {
    /// The table of the rows that arrive.
    #[track_caller]
    pub(super) fn kept_in(self, materialized: Materialized<K, V>) -> KTable<'b, K, V> {
        let builder = self.builder;
        match materialized.history {
            Some(history) => {
                let store = builder.versioned_store(materialized, history);
                let put = move |link: &mut Linker<'_>| put_versions(link, store);
                versioned(self.operator("table", vec![store.id], put), store, history)
            }
            None => {
                let serde = materialized.key;
                let store = builder.store(materialized);
                let put = move |link: &mut Linker<'_>| upsert(link, store, serde, true);
                stored(self.operator("table", vec![store.id], put), store)
            }
        }
    }
}

impl StreamsBuilder {
    /// Reads a topic as a table: each record is the new row of its key, a null value deletes it.
    /// Records with a null key are dropped and counted. Out-of-order records are applied in offset
    /// order, unless the store is [versioned](Materialized::versioned).
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static PRICES: Topic<String, u64> = Topic::new("prices", utf8(), u64_be());
    /// static CHEAP: Topic<String, u64> = Topic::new("cheap", utf8(), u64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.table(&PRICES, "prices").filter(|_, price| *price < 10).to(&CHEAP);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&PRICES, "tea".to_owned(), 3, 0)?;
    /// driver.pipe(&PRICES, "tea".to_owned(), 12, 1)?;
    /// let cheap = driver.read_key_values(&CHEAP)?;
    /// assert_eq!(cheap, [("tea".to_owned(), Some(3)), ("tea".to_owned(), None)]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    pub fn table<K: Data, V: Data>(
        &self,
        topic: impl Into<Consumed<K, V>>,
        materialized: impl Into<Materialized<K, V>>,
    ) -> KTable<'_, K, V> {
        let Consumed {
            topic,
            handler,
            times,
            reset,
        } = topic.into();
        let name = TopicName::User(topic.name.to_owned());
        self.add_format(&name, (topic.key, topic.value), Role::Table);
        let kind = NodeKind::Source {
            topic: name,
            handler,
            reset,
        };
        let extracted = times.is_some();
        let (value, reading) = (
            topic.value.apart(),
            Reading {
                kind,
                key: topic.key,
                null_keys: false,
                times: times.map(TimestampExtractor::of_rows),
            },
        );
        let rows = self.read(reading, move |raw| value.decode_row(raw));
        let materialized = materialized.into();
        let whole = matches!(reset, None | Some(OffsetReset::Earliest));
        let exact = whole && !extracted && materialized.logging == Logging::Changelog;
        let stored = (materialized.key, materialized.value);
        let table = rows.kept_in(materialized);
        if let (Some(store), true) = (table.store, exact) {
            let copy = SourceCopy {
                topic: topic.name.to_owned(),
                read_only: false,
                write: writer((topic.key, topic.value), stored),
            };
            self.is_copy_of(store.id, copy);
        }
        table
    }
}

impl<K: Data, A: Data> KTable<'_, Windowed<K>, A> {
    /// The window store of a windowed aggregate, for queries and processors; derived tables have
    /// none.
    pub fn window_store(self) -> Option<StoreHandle<TimedStore<K, A>>> {
        self.windows.map(|id| StoreHandle {
            id,
            shape: PhantomData,
        })
    }
}

impl<'b, K: Data, V: Data> KTable<'b, K, V> {
    /// Says what the operator before this is called, as [`KStream::named`] does.
    #[track_caller]
    pub fn named(self, name: &str) -> Self {
        self.changes.named(name);
        self
    }

    /// The table's own store, for queries and processors; derived tables have none.
    pub fn store(self) -> Option<StoreHandle<KeyValueStore<K, V>>> {
        self.store
    }

    /// The table's changes as a stream: new rows, and `None` for deleted ones.
    #[track_caller]
    pub fn to_stream(self) -> KStream<'b, K, Option<V>> {
        self.changes.operator("to_stream", vec![], |link| {
            let mut down = link.downstream();
            move |ctx: &mut TaskContext, record: Record<K, Change<V>>| {
                let Record {
                    key,
                    value,
                    timestamp,
                    headers,
                } = record;
                down.push(
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

    /// The rows for which `keep` holds. A row that stops matching is deleted from the result.
    #[track_caller]
    #[must_use = "a filtered table goes nowhere by itself"]
    pub fn filter(self, keep: impl Fn(&K, &V) -> bool + Fun) -> Self {
        self.derive("filter", Silence::Kept, move |key, row: V| {
            keep(key, &row).then_some(row)
        })
    }

    /// The rows for which `drop` does not hold.
    #[track_caller]
    #[must_use = "a filtered table goes nowhere by itself"]
    pub fn filter_not(self, drop: impl Fn(&K, &V) -> bool + Fun) -> Self {
        self.derive("filter", Silence::Kept, move |key, row: V| {
            (!drop(key, &row)).then_some(row)
        })
    }

    /// Another row for each row.
    #[track_caller]
    #[must_use = "a mapped table goes nowhere by itself"]
    pub fn map_values<V2: Data>(self, map: impl Fn(&K, V) -> V2 + Fun) -> KTable<'b, K, V2> {
        self.derive("map_values", Silence::Broken, move |key, row| {
            Some(map(key, row))
        })
    }

    /// A table computed from this one row by row. It has no store: whoever looks a key up computes
    /// the row again from this table's.
    #[track_caller]
    pub(super) fn derive<V2: Data>(
        self,
        label: &'static str,
        silence: Silence,
        row: impl Fn(&K, V) -> Option<V2> + Fun,
    ) -> KTable<'b, K, V2> {
        let row = Arc::new(row);
        let (view, facts) = self.view();
        let through = row.clone();
        // Of a table with versions every version is told: it may matter to another one.
        let exact = facts.exact && facts.history.is_none();
        let changes = self.changes.operator(label, vec![], move |link| {
            let (row, mut down) = (row.clone(), link.downstream::<K, Change<V2>>());
            if silence == Silence::Kept || down.wants_old() {
                // Without the old row it would be unknown whether a deletion must be told.
                link.want_old();
            }
            move |ctx: &mut TaskContext, record: Record<K, Change<V>>| {
                let Record {
                    key,
                    value,
                    timestamp,
                    headers,
                } = record;
                let old = value.old.and_then(|old| row(&key, old));
                let new = value.new.and_then(|new| row(&key, new));
                if silence == Silence::Kept && exact && old.is_none() && new.is_none() {
                    return Ok(());
                }
                down.push(
                    ctx,
                    Record {
                        key,
                        value: Change { old, new },
                        timestamp,
                        headers,
                    },
                )
            }
        });
        if facts.history.is_some() {
            return derived_versions(changes, (view, facts), move |key, row| through(key, row));
        }
        let lookup = move |ctx: &mut TaskContext, key: &K| -> Result<Option<(V2, Timestamp)>> {
            let found = view.get(ctx, key)?;
            Ok(found.and_then(|(found, time)| Some((through(key, found)?, time))))
        };
        derived(changes, lookup, facts)
    }

    /// The same table with a store of its own, which the given name also names: for queries, for
    /// processors, and where rows are costly to compute. Kafka Streams' `Materialized` argument of
    /// `filter`, `mapValues` and `join`.
    ///
    /// What is behind it is told exactly which row each change replaces, also where the table
    /// before it cannot know.
    #[track_caller]
    #[must_use = "a materialized table goes nowhere by itself"]
    pub fn materialize(self, materialized: impl Into<Materialized<K, V>>) -> Self {
        let materialized = materialized.into();
        if materialized.history.is_some() {
            return self
                .changes
                .map_values(|change| change.new)
                .kept_in(materialized);
        }
        let (serde, exact) = (materialized.key, self.view().1.exact);
        let store = self.changes.builder.store(materialized);
        let changes = self
            .changes
            .operator("materialize", vec![store.id], move |link| {
                let mut put = upsert(link, store, serde, exact);
                move |ctx: &mut TaskContext, record: Record<K, Change<V>>| {
                    let Record {
                        key,
                        value: Change { new: value, .. },
                        timestamp,
                        headers,
                    } = record;
                    let row = Record {
                        key,
                        value,
                        timestamp,
                        headers,
                    };
                    put.push(ctx, row)
                }
            });
        stored(changes, store)
    }

    /// Groups the rows by another key; `select` may change the value too. What an aggregate over
    /// the groups needs: when a row changes, its old value is subtracted and its new one added. See
    /// [`KGroupedTable`] for an example.
    #[track_caller]
    pub fn group_by<K2: Storable, V2: Storable>(
        self,
        select: impl Fn(&K, &V) -> (K2, V2) + Fun,
    ) -> KGroupedTable<'b, K2, V2> {
        self.group_by_with(select, Grouped::by_default())
    }

    /// As [`KTable::group_by`], with the serdes of the repartition topic. Rows of which `select`
    /// makes a key or a value that the serde writes as null are in no group.
    #[track_caller]
    pub fn group_by_with<K2: Data, V2: Data>(
        self,
        select: impl Fn(&K, &V) -> (K2, V2) + Fun,
        grouped: Grouped<K2, V2>,
    ) -> KGroupedTable<'b, K2, V2> {
        self.must_be_exact();
        KGroupedTable::new(self.in_order(false), select, grouped)
    }
}
