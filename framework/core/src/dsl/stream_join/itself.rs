//! The join of a stream with itself: one store does what two equal ones would.
//!
//! Invariant: the results are those of a join of two streams that happen to be equal, in the same
//! order: first the record as the left one with all before it, then as the right one with all
//! before it and itself.

use super::{JoinWindows, side::send};
use crate::{
    error::Result,
    link::{Data, Fanout},
    record::{Record, Timestamp},
    serde::Serde,
    store::{At, StoreRef, TimedStore},
    task::TaskContext,
};
use std::{any::Any, sync::Arc};

/// Both sides at once.
pub(super) struct Both<K: 'static, L: 'static, R: 'static, W, J> {
    pub(super) name: String,
    /// One store under the two names of its type: a stream that is joined with itself has one.
    pub(super) left: StoreRef<TimedStore<K, L>>,
    pub(super) right: StoreRef<TimedStore<K, R>>,
    pub(super) windows: JoinWindows,
    pub(super) value: Serde<L>,
    pub(super) join: Arc<J>,
    pub(super) results: Vec<(W, Timestamp)>,
    pub(super) down: Fanout<K, W>,
}

impl<K, L, R, W, J> Both<K, L, R, W, J>
where
    K: Data,
    L: Data,
    R: Data,
    W: Data,
    J: Fn(&K, &L, &R) -> W,
{
    pub(super) fn take(&mut self, ctx: &mut TaskContext, record: Record<K, L>) -> Result<()> {
        if self.value.is_null(&record.value) {
            return ctx.drop_null_key();
        }
        let Record {
            key,
            value,
            timestamp,
            headers,
        } = record;
        match self.meet(ctx, (&key, value, timestamp)) {
            Ok(Some(true)) => {}
            Ok(Some(false)) => ctx.drop_late_record(),
            Ok(None) => return ctx.drop_null_key(),
            Err(error) => {
                self.results.clear();
                return ctx.refuse(&self.name, error);
            }
        }
        send(&mut self.down, ctx, &mut self.results, (key, headers))
    }

    /// Fills in the results; says whether the record was kept, and `None` of a null key.
    fn meet(
        &mut self,
        ctx: &mut TaskContext,
        (key, value, time): (&K, L, Timestamp),
    ) -> Result<Option<bool>> {
        // One stream has one type, under whatever names.
        let Some(as_right) = raw_any(&value).downcast_ref::<R>() else {
            return Ok(None);
        };
        let JoinWindows { before, after, .. } = self.windows;
        let around = |earlier: Timestamp, later: Timestamp| {
            let from = time.saturating_sub(earlier).max(0);
            At::first(from)..=At::last(time.saturating_add(later).max(0))
        };
        let store = ctx.store(self.right);
        let least = time.saturating_sub(before.max(after)).max(0).min(time);
        let Some(rows) = store.rows_from(key, least)? else {
            return Ok(None);
        };
        let (join, results) = (&self.join, &mut self.results);
        let met = store.between(rows, around(before, after));
        results.extend(met.map(|(at, met, _)| (join(key, &value, met), time.max(at.time))));
        let store = ctx.store(self.left);
        store.observe(time);
        let kept = time > store.horizon();
        let places = around(after, before);
        let mut itself = kept && places.contains(&At::time(time));
        for (at, met, _) in store.between(rows, places) {
            if at.time > time && std::mem::take(&mut itself) {
                results.push((join(key, &value, as_right), time));
            }
            results.push((join(key, met, as_right), time.max(at.time)));
        }
        if itself {
            results.push((join(key, &value, as_right), time));
        }
        if let Some(at) = store.log(rows, time, &value)? {
            store.hold(rows, at, value);
        }
        Ok(Some(kept))
    }
}

fn raw_any<T: Any>(value: &T) -> &dyn Any {
    value
}
