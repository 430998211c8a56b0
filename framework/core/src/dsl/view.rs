//! How tables are read by key while records pass, and what is known of their changes.
//!
//! Invariant: a view shows a table as of now. A store is written before its table's change is told,
//! so whoever is told can look up everything that the change means.

use super::{KTable, StreamsBuilder};
use crate::{
    error::{Error, Result},
    link::Data,
    record::Timestamp,
    serde::Serde,
    store::{KeyValueStore, StoreHandle, VersionedStore},
    task::TaskContext,
    topology::{NodeId, StoreId},
};
use std::{
    any::Any,
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A function from a key to a table's row and the time of it, in a task.
pub(crate) type Lookup<K, V> =
    dyn Fn(&mut TaskContext, &K) -> Result<Option<(V, Timestamp)>> + Send + Sync;

/// The same of a table that has versions, as of a time or as of now.
pub(crate) type LookupAsOf<K, V> =
    dyn Fn(&mut TaskContext, &K, Option<Timestamp>) -> Result<Option<(V, Timestamp)>> + Send + Sync;

/// How a table is read by key.
pub(crate) enum View<K: 'static, V: 'static> {
    /// From its own store.
    Store(StoreHandle<KeyValueStore<K, V>>),
    /// From its own store, which also knows what was.
    Versioned(StoreHandle<VersionedStore<K, V>>),
    /// Through the tables it derives from.
    Derived(Box<Lookup<K, V>>),
    /// Through a table that knows what was.
    DerivedVersions(Box<LookupAsOf<K, V>>),
    /// Not at all: its rows cannot be computed where they are needed.
    Missing,
}

impl<K: Data, V: Data> View<K, V> {
    /// Calls `then` with the row of a key and its time, without cloning it where a store holds it.
    #[inline]
    pub(crate) fn with<R>(
        &self,
        ctx: &mut TaskContext,
        key: &K,
        then: impl FnOnce(Option<(&V, Timestamp)>) -> R,
    ) -> Result<R> {
        match self {
            Self::Store(handle) => {
                let store = ctx.store(handle.reference());
                Ok(then(store.get_with_timestamp(key)?))
            }
            Self::Versioned(handle) => Ok(then(ctx.store(handle.reference()).get(key)?)),
            Self::Derived(_) | Self::DerivedVersions(_) | Self::Missing => {
                let found = self.get(ctx, key)?;
                Ok(then(found.as_ref().map(|(row, time)| (row, *time))))
            }
        }
    }

    /// Calls `then` with the row that a key had at a time; of a table without versions with the one
    /// that it has.
    #[inline]
    pub(crate) fn with_as_of<R>(
        &self,
        ctx: &mut TaskContext,
        (key, time): (&K, Timestamp),
        then: impl FnOnce(Option<(&V, Timestamp)>) -> R,
    ) -> Result<R> {
        match self {
            Self::Versioned(handle) => {
                let found = ctx.store(handle.reference()).get_as_of(key, time)?;
                Ok(then(found.map(|version| (version.value, version.since))))
            }
            Self::DerivedVersions(lookup) => {
                let found = lookup(ctx, key, Some(time))?;
                Ok(then(found.as_ref().map(|(row, since)| (row, *since))))
            }
            Self::Store(_) | Self::Derived(_) | Self::Missing => self.with(ctx, key, then),
        }
    }

    /// The row of a key and its time, to keep.
    #[inline]
    pub(crate) fn get(&self, ctx: &mut TaskContext, key: &K) -> Result<Option<(V, Timestamp)>> {
        match self {
            Self::Store(_) | Self::Versioned(_) => self.with(ctx, key, |found| {
                found.map(|(row, time)| (row.clone(), time))
            }),
            Self::Derived(lookup) => lookup(ctx, key),
            Self::DerivedVersions(lookup) => lookup(ctx, key, None),
            Self::Missing => Err(missing()),
        }
    }
}

/// No topology is built in which this could happen: see [`KTable::rows`].
#[cold]
fn missing() -> Error {
    Error::topology("a table without rows was looked up")
}

/// What is known of a table, whatever its types.
#[derive(Clone, Default)]
pub(crate) struct Facts {
    /// The stores that its view reads, each with the node that changes it; none where there is no
    /// view.
    pub(crate) bases: Vec<(StoreId, NodeId)>,
    /// Whether the old value of each change is the new value of the change before. Where it may not
    /// be, a deletion must be told even if no row was seen, and nothing may be taken back.
    pub(crate) exact: bool,
    /// How far back the table knows what its rows were, if it does; what it tells may then be out
    /// of order.
    pub(crate) history: Option<Timestamp>,
    /// The stores among them that forget a window as soon as it has closed.
    pub(crate) forgetful: Vec<StoreId>,
    /// Whether a window is told of when it has closed, and not before.
    pub(crate) last: bool,
}

impl Facts {
    /// The stores for a node that looks the table up.
    pub(crate) fn stores(&self) -> Vec<StoreId> {
        self.bases.iter().map(|(store, _)| *store).collect()
    }

    /// The nodes that write them.
    pub(crate) fn writers(&self) -> Vec<NodeId> {
        self.bases.iter().map(|(_, node)| *node).collect()
    }

    /// What is known of a table that also reads a store of its own, if it can be read at all.
    pub(crate) fn with(mut self, store: StoreId, changed_by: NodeId) -> Self {
        if !self.bases.is_empty() {
            self.bases.push((store, changed_by));
        }
        self
    }

    /// What is known of a table computed from two, apart from how it is told.
    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut bases = [&self.bases[..], &other.bases].concat();
        bases.sort();
        bases.dedup();
        let exact = self.exact && other.exact;
        // Nobody knows what a join would have been, as in Kafka Streams.
        let history = None;
        Self {
            bases,
            exact,
            history,
            forgetful: [&self.forgetful[..], &other.forgetful].concat(),
            last: self.last || other.last,
        }
    }
}

/// A table with its types forgotten.
pub(crate) struct Table {
    view: Arc<dyn Any + Send + Sync>,
    facts: Facts,
    /// Where it is noted that somebody uses the view, if that matters.
    viewed: Option<Arc<AtomicBool>>,
}

impl StreamsBuilder {
    pub(crate) fn add_view<K: 'static, V: 'static>(&self, view: View<K, V>, facts: Facts) -> usize {
        self.add_shared_view(Arc::new(view), facts)
    }

    /// A view that another table has too.
    pub(crate) fn add_shared_view<K: 'static, V: 'static>(
        &self,
        view: Arc<View<K, V>>,
        facts: Facts,
    ) -> usize {
        let mut tables = self.tables.borrow_mut();
        let viewed = None;
        tables.push(Table {
            view,
            facts,
            viewed,
        });
        tables.len() - 1
    }

    /// Has it noted whether anybody uses a table's view, until the program is built.
    pub(crate) fn watch_view(&self, number: usize, viewed: Arc<AtomicBool>) {
        if let Some(table) = self.tables.borrow_mut().get_mut(number) {
            table.viewed = Some(viewed);
        }
    }

    /// A table's view. Its types are those of the `KTable` that holds its number.
    #[expect(
        clippy::expect_used,
        reason = "the number comes from a KTable of these very types"
    )]
    fn view<K: 'static, V: 'static>(&self, number: usize) -> (Arc<View<K, V>>, Facts) {
        let table = &self.tables.borrow()[number];
        if let Some(viewed) = &table.viewed {
            viewed.store(true, Ordering::Relaxed);
        }
        let view = table.view.clone();
        let view = view.downcast().expect("a KTable has the types of its view");
        (view, table.facts.clone())
    }
}

impl<K: Data, V: Data> KTable<'_, K, V> {
    /// The view as it is, which may be none, and what is known of the table.
    pub(crate) fn view(self) -> (Arc<View<K, V>>, Facts) {
        // The table's own builder knows its view, also where that is the wrong one.
        self.changes.builder.view(self.view)
    }

    /// The view of a table that is about to be looked up by key: there must be one.
    #[track_caller]
    pub(crate) fn rows(self) -> (Arc<View<K, V>>, Facts) {
        let (view, facts) = self.view();
        if facts.bases.is_empty() {
            self.mistake(
                "the rows of a foreign-key join are nowhere to be looked up: put \
                 .materialize(\"a-name\") behind it",
            );
        }
        (view, facts)
    }

    /// Refuses a table whose rows are gone when others meet them: it tells of windows that have
    /// closed, and looks them up where they are forgotten just then.
    pub(crate) fn must_remember(self, facts: &Facts, at: &'static Location<'static>) {
        let builder = self.changes.builder;
        if let Some(store) = facts.forgetful.first().filter(|_| facts.last) {
            let text = format!(
                "final results are looked up here, and the store {:?} forgets a window when it \
                 closes, so that most would not be found: keep them for longer with \
                 .with_retention(..) there, or put .materialize(\"a-name\") behind them",
                builder.store_name(*store)
            );
            builder.mistake(at, text);
        }
    }

    /// What is known of a table whose old rows are about to be taken back: they must be those that
    /// were told.
    #[track_caller]
    pub(crate) fn must_be_exact(self) {
        if !self.view().1.exact {
            self.mistake(
                "the changes of this join do not always carry the row that was told before, so it \
                 cannot be taken back: put .materialize(\"a-name\") behind the join",
            );
        }
    }

    /// How the table's keys are written where their partitions are decided.
    pub(crate) fn key_serde(self) -> Option<Serde<K>> {
        self.changes.builder.key_serde(self.changes.node)
    }

    #[track_caller]
    fn mistake(self, text: &str) {
        let builder = self.changes.builder;
        builder.mistake(Location::caller(), text.to_owned());
    }
}
