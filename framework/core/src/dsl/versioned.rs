//! Tables that know what their rows were (KIP-889, KIP-914).
//!
//! An update that comes out of order is put where it belongs in time. It is told like any other,
//! for those who want every version; what joins or groups the table's rows wants only the latest,
//! and is spared. Invariant: while such an update goes downstream the task's context says so, and
//! only then.

use super::{
    Change, Fun, KStream, KTable,
    view::{Facts, View},
};
use crate::{
    error::Result,
    link::{Data, Linker, Push},
    record::{Record, Timestamp},
    store::{Put, StoreHandle, VersionedStore},
    task::TaskContext,
};
use std::{sync::Arc, time::Duration};

/// What a table with versions does with a row that arrives, in the node in hand.
pub(super) fn put_versions<K: Data, V: Data>(
    link: &mut Linker<'_>,
    store: StoreHandle<VersionedStore<K, V>>,
) -> impl Push<K, Option<V>> + use<K, V> {
    let mut down = link.downstream::<K, Change<V>>();
    let (at, name) = (store.reference(), link.name().to_owned());
    let (wants_old, idle) = (down.wants_old(), down.is_empty());
    move |ctx: &mut TaskContext, record: Record<K, Option<V>>| {
        let Record {
            key,
            value: row,
            timestamp,
            headers,
        } = record;
        let new = if idle { None } else { row.clone() };
        let (put, old) = match ctx.store(at).upsert(&key, row, timestamp, wants_old) {
            Ok(Some(put)) => put,
            Ok(None) => return ctx.drop_null_key(),
            Err(error) => return ctx.refuse(&name, error),
        };
        if put == Put::TooOld {
            ctx.drop_late_record();
            return Ok(());
        }
        let before = ctx.set_out_of_order(put != Put::Latest);
        let value = Change { old, new };
        let told = down.push(
            ctx,
            Record {
                key,
                value,
                timestamp,
                headers,
            },
        );
        ctx.set_out_of_order(before);
        told
    }
}

/// A table with a versioned store, of the changes that are told of that.
pub(super) fn versioned<'b, K: Data, V: Data>(
    changes: KStream<'b, K, Change<V>>,
    store: StoreHandle<VersionedStore<K, V>>,
    history: Duration,
) -> KTable<'b, K, V> {
    let facts = Facts {
        bases: vec![(store.id, changes.node)],
        exact: true,
        history: Some(Timestamp::try_from(history.as_millis()).unwrap_or(Timestamp::MAX)),
        ..Facts::default()
    };
    let view = changes.builder.add_view(View::Versioned(store), facts);
    KTable {
        changes,
        view,
        store: None,
        windows: None,
    }
}

/// A table computed row by row from one that has versions: it has them too.
pub(super) fn derived_versions<'b, K: Data, V: Data, V2: Data>(
    changes: KStream<'b, K, Change<V2>>,
    (view, facts): (Arc<View<K, V>>, Facts),
    row: impl Fn(&K, V) -> Option<V2> + Fun,
) -> KTable<'b, K, V2> {
    let lookup = move |ctx: &mut TaskContext,
                       key: &K,
                       time: Option<Timestamp>|
          -> Result<Option<(V2, Timestamp)>> {
        let found = match time {
            None => view.get(ctx, key)?,
            Some(time) => view.with_as_of(ctx, (key, time), |found| {
                found.map(|(row, since)| (row.clone(), since))
            })?,
        };
        Ok(found.and_then(|(found, since)| Some((row(key, found)?, since))))
    };
    let view = changes
        .builder
        .add_view(View::DerivedVersions(Box::new(lookup)), facts);
    KTable {
        changes,
        view,
        store: None,
        windows: None,
    }
}

impl<'b, K: Data, V: Data> KTable<'b, K, V> {
    /// The table's own versioned store, for queries and processors; other tables have none.
    pub fn versioned_store(self) -> Option<StoreHandle<VersionedStore<K, V>>> {
        match *self.view().0 {
            View::Versioned(store) => Some(store),
            _ => None,
        }
    }

    /// The table without the updates that came out of order: what takes a row for the latest must
    /// not see them. Joins count them as late, groups do not, as in Kafka Streams.
    #[track_caller]
    pub(super) fn in_order(self, counted: bool) -> Self {
        let (view, facts) = self.view();
        if facts.history.is_none() {
            return self;
        }
        let changes = self.changes.operator("in_order", vec![], move |link| {
            let mut down = link.downstream::<K, Change<V>>();
            if down.wants_old() {
                link.want_old();
            }
            move |ctx: &mut TaskContext, record: Record<K, Change<V>>| {
                match (ctx.is_out_of_order(), counted) {
                    (false, _) => return down.push(ctx, record),
                    (true, true) => ctx.drop_late_record(),
                    (true, false) => {}
                }
                Ok(())
            }
        });
        let history = None;
        let view = changes
            .builder
            .add_shared_view(view, Facts { history, ..facts });
        Self {
            changes,
            view,
            ..self
        }
    }
}
