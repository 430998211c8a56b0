//! The search for rows that have expired.
//!
//! Nobody deletes a row because its time is over, where the log need not hear of it; those that
//! have reached the backend are found by passing over the whole store, a stretch at a time. Every
//! row is passed a few times in its life, so the cost of forgetting is a constant per row, and
//! needs no second index by time. Invariant: what it finds has expired by the time that the store
//! had committed.

use super::{
    TimedShape,
    keys::{self, CLOCK},
    trail::retention,
};
use crate::{
    error::{Error, Result},
    record::Timestamp,
    store::stored::{RowBytes, corrupt_column},
};
use millstream_state::{Backend, Column, Horizon, Presence, WriteBatch, ordered};
use std::ops::{Bound, ControlFlow};

/// Between two sweeps at least this much of event time passes, as between Kafka's segments.
const SWEEP_MS_MIN: Timestamp = 60_000;
/// How many stored rows are looked at, at least, in a stretch, those that will change included: of
/// these there may be as many as a buffer holds, and a commit waits for the end of the stretch.
const SWEEP_ROWS_MIN: usize = 256;
/// And how many for each row that was written. Rows come in one by one and a sweep is due again
/// after half the retention, so it must go faster than they come to get round in time.
const SWEEP_ROWS_PER_CHANGE: usize = 4;

/// Where the search in one store is.
#[derive(Default)]
pub struct Sweep {
    /// The last key looked at, while a sweep is under way.
    cursor: Option<Vec<u8>>,
    /// The observed time at which the next one begins.
    due: Option<Timestamp>,
}

impl Sweep {
    /// The keys that have expired of the next stretch of a column, which is the longer the more
    /// rows were written since the last one.
    pub(super) fn pass(
        &mut self,
        (backend, column): (&dyn Backend, Column),
        (shape, observed): (TimedShape, Timestamp),
        written: usize,
    ) -> Result<Vec<Vec<u8>>> {
        let (mut seen, mut last, mut found) = (0, None, Vec::new());
        let horizon = shape.horizon(observed);
        if horizon == Timestamp::MIN {
            return Ok(found);
        }
        if self.cursor.is_none() {
            if self.due.is_some_and(|due| observed < due) {
                return Ok(found);
            }
            self.cursor = Some(CLOCK.to_vec());
        }
        let budget = SWEEP_ROWS_MIN + SWEEP_ROWS_PER_CHANGE * written;
        let cursor = self.cursor.take().unwrap_or_default();
        backend.scan_settled(
            column,
            (Bound::Excluded(cursor.as_slice()), Bound::Unbounded),
            &mut |key, settled| {
                seen += 1;
                if settled && shape.has_expired(key, horizon) {
                    found.push(key.to_vec());
                }
                if seen < budget {
                    return ControlFlow::Continue(());
                }
                last = Some(key.to_vec());
                ControlFlow::Break(())
            },
        )?;
        self.cursor = last;
        if self.cursor.is_none() {
            let pause = (shape.retention / 2).max(SWEEP_MS_MIN);
            self.due = Some(observed.saturating_add(pause));
        }
        Ok(found)
    }

    /// As the store itself does, for one that is kept up from its changelog without being opened:
    /// deletes what has expired of the next stretch, by the time that the column says. Rows are
    /// kept longer where it says that another version of the program does so.
    ///
    /// # Errors
    /// Where storage fails, or the column does not hold such a store.
    pub fn delete_expired(
        &mut self,
        (backend, column): (&dyn Backend, Column),
        mut shape: TimedShape,
        written: usize,
        batch: &mut WriteBatch,
    ) -> Result<()> {
        let (observed, retention) = observed(backend, column)?;
        shape.retention = shape.retention.max(retention.unwrap_or_default());
        batch.set_horizon(column, shape.expired_by(observed));
        for key in self.pass((backend, column), (shape, observed), written)? {
            batch.delete(column, &key);
        }
        Ok(())
    }
}

impl TimedShape {
    /// Rows at or before this time have expired, once a store has observed `observed`.
    #[inline]
    pub fn horizon(&self, observed: Timestamp) -> Timestamp {
        observed.saturating_sub(self.retention)
    }

    /// The same for a backend, which knows nothing of times.
    pub(super) fn expired_by(&self, observed: Timestamp) -> Horizon {
        Horizon {
            from_end: keys::tail_length(self.wide),
            until: ordered::i64_bytes(self.horizon(observed)),
        }
    }

    /// Rows at or before this time have expired by the clock in the store's column.
    ///
    /// # Errors
    /// Where storage fails, or the column does not hold such a store.
    pub fn committed_horizon(&self, backend: &dyn Backend, column: Column) -> Result<Timestamp> {
        Ok(self.horizon(observed(backend, column)?.0))
    }

    /// Whether the bytes of a key in the store's column are those of a row at or before `horizon`.
    pub fn has_expired(&self, key: &[u8], horizon: Timestamp) -> bool {
        keys::split(key, self.wide).is_some_and(|(_, at)| at.time <= horizon)
    }
}

/// The greatest time that a store had observed when it committed last, `Timestamp::MIN` before; and
/// how long it keeps rows, where it says so.
fn observed(backend: &dyn Backend, column: Column) -> Result<(Timestamp, Option<Timestamp>)> {
    let mut stored = Vec::new();
    if backend.get(column, CLOCK, &mut stored)? == Presence::Missing {
        return Ok((Timestamp::MIN, None));
    }
    let clock = clock(&stored).map_err(|cause| corrupt_column(backend, column, &cause));
    clock.map(|(time, rest)| (time, retention(rest)))
}

/// The greatest time that a store had observed when it committed last, from the row of its clock,
/// and what else is written there.
pub(super) fn clock(stored: &[u8]) -> Result<(Timestamp, &[u8])> {
    let parts = RowBytes::split(stored)?.value.split_first_chunk::<8>();
    let (time, rest) = parts.ok_or_else(|| Error::deserialization("not a time of eight bytes"))?;
    Ok((Timestamp::from_be_bytes(*time), rest))
}
