//! What all aggregates by key do with a record: change the key's row in place, and tell the change.
//!
//! Invariant: the row is written before the change is told, and its time is the latest of all that
//! went into it.

use super::{Change, outlet::Outlet};
use crate::{
    error::Result,
    link::{Data, Linker},
    record::Record,
    serde::Serde,
    store::{KeyValueStore, StoreHandle, StoreRef},
    task::TaskContext,
};

/// An aggregate's end of its node, in a task.
pub(super) struct Aggregate<K: 'static, A: 'static> {
    name: String,
    rows: StoreRef<KeyValueStore<K, A>>,
    down: Outlet<K, A>,
}

impl<K: Data, A: Data> Aggregate<K, A> {
    /// `serde` is that of the store's keys.
    pub(super) fn new(
        link: &mut Linker<'_>,
        store: StoreHandle<KeyValueStore<K, A>>,
        serde: Serde<K>,
    ) -> Self {
        Self {
            name: link.name().to_owned(),
            rows: store.reference(),
            down: Outlet::new(link, move |key, out| serde.encode(key, out)),
        }
    }

    /// Changes the row of the record's key; what `change` refuses must be left as it was.
    #[inline]
    pub(super) fn update<V>(
        &mut self,
        ctx: &mut TaskContext,
        record: Record<K, V>,
        change: impl FnOnce(&K, V, &mut Option<A>) -> Result<()>,
    ) -> Result<()> {
        let Record {
            key,
            value,
            timestamp,
            headers,
        } = record;
        let wants_old = self.down.wants_old();
        let updated = ctx.store(self.rows).update(&key, timestamp, |row| {
            let existed = row.is_some();
            let old = if wants_old { row.clone() } else { None };
            change(&key, value, row)?;
            Ok((old, existed))
        });
        match updated {
            Ok(Some(((old, existed), new, timestamp))) if !self.down.is_empty() => {
                let value = Change {
                    old,
                    new: new.clone(),
                };
                self.down.push(
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
            Ok(Some(_)) => Ok(()),
            Ok(None) => ctx.drop_null_key(),
            Err(error) => ctx.refuse(&self.name, error),
        }
    }
}
