//! How a timed store commits, and how it forgets rows whose keys never come again.

use super::{
    TimedStore,
    group::Freshness,
    keys::{self, CLOCK},
    rows::row_bytes,
};
use crate::{
    batch::RecordBatch,
    error::{Error, Result},
    record::{Headers, Timestamp},
    serde::Encoded,
    store::StateStore,
};
use millstream_state::Direction;
use std::{
    any::Any,
    hash::BuildHasher,
    ops::{Bound, ControlFlow},
};

/// Between two sweeps at least this much of event time passes, as between Kafka's segments.
const SWEEP_MS_MIN: Timestamp = 60_000;
/// How many stored rows a commit looks at, at least, while a sweep is under way.
const SWEEP_ROWS_MIN: usize = 256;
/// And how many for each row that it writes. Rows come in one by one and a sweep is due again after
/// half the retention, so it must go faster than they come to get round in time.
const SWEEP_ROWS_PER_CHANGE: usize = 4;

/// The search for rows that have expired and were not looked at since.
///
/// Rows of keys that come again are deleted then; the others are found by passing over the whole
/// store, a stretch with each commit. Every row is passed a few times in its life, so the cost of
/// forgetting is a constant per row, and needs no second index by time.
#[derive(Default)]
pub(super) struct Sweep {
    /// The last key looked at, while a sweep is under way.
    cursor: Option<Vec<u8>>,
    /// The observed time at which the next one begins.
    due: Option<Timestamp>,
}

impl<K: 'static, V: 'static> TimedStore<K, V> {
    fn encode_row(
        changes: &mut RecordBatch,
        (prefix, at, wide): (&[u8], super::At, bool),
        timestamp: Timestamp,
        value: impl FnOnce(&mut Vec<u8>) -> Result<Encoded>,
    ) -> Result<()> {
        changes.encode(
            timestamp.max(0),
            &Headers::NONE,
            |out| {
                out.extend_from_slice(prefix);
                keys::put_at(out, at, wide);
                Ok(Encoded::Bytes)
            },
            value,
        )
    }

    fn drain_rows(&mut self, changes: &mut RecordBatch) -> Result<usize> {
        let (before, wide) = (changes.bytes(), self.shape.wide);
        let mut written = 0;
        for (number, at) in std::mem::take(&mut self.dirty) {
            let group = self.groups.get_mut(number);
            let Ok(place) = group.find(at) else { continue };
            let row = &mut group.rows[place];
            if row.freshness != Freshness::Dirty {
                continue;
            }
            let (start, mut null) = (changes.bytes(), false);
            let serde = self.value;
            Self::encode_row(
                changes,
                (&group.prefix, at, wide),
                row.timestamp,
                |out| match &row.value {
                    Some(value) => {
                        let encoded = serde.encode(value, out)?;
                        null = encoded == Encoded::Null;
                        Ok(encoded)
                    }
                    None => Ok(Encoded::Null),
                },
            )?;
            if null {
                return Err(Error::serialization(
                    "a store cannot hold a value that its serde writes as null: delete the row",
                ));
            }
            if !row.stored {
                changes.mark_first();
            }
            let key = group.prefix.len() + keys::tail_length(wide);
            let bytes = row_bytes::<V>(changes.bytes() - start - key);
            self.groups.bytes += bytes as usize;
            let row = &mut self.groups.get_mut(number).rows[place];
            let old = std::mem::replace(&mut row.bytes, bytes);
            row.freshness = Freshness::Pending;
            row.stored = true;
            self.groups.bytes -= old as usize;
            self.pending.push((number, at));
            written += 1;
        }
        if let Some(mean) = (changes.bytes() - before).checked_div(written) {
            self.value_bytes = usize::midpoint(self.value_bytes, mean);
        }
        self.dirty_key_bytes = 0;
        Ok(written)
    }

    fn drain_clock(&mut self, changes: &mut RecordBatch) -> Result<()> {
        if self.observed == self.logged {
            return Ok(());
        }
        let observed = self.observed;
        changes.encode(
            observed.max(0),
            &Headers::NONE,
            |out| {
                out.extend_from_slice(CLOCK);
                Ok(Encoded::Bytes)
            },
            |out| {
                out.extend_from_slice(&observed.to_be_bytes());
                Ok(Encoded::Bytes)
            },
        )?;
        self.logged = observed;
        Ok(())
    }

    /// Passes over the next stretch of stored rows and deletes what has expired there.
    fn sweep(&mut self, changes: &mut RecordBatch, written: usize) -> Result<()> {
        if self.sweep.cursor.is_none() {
            if self.sweep.due.is_some_and(|due| self.observed < due) {
                return Ok(());
            }
            self.sweep.cursor = Some(CLOCK.to_vec());
        }
        let budget = SWEEP_ROWS_MIN + SWEEP_ROWS_PER_CHANGE * written;
        let (horizon, wide) = (self.horizon(), self.shape.wide);
        let cursor = self.sweep.cursor.take().unwrap_or_default();
        let (mut seen, mut last, mut victims) = (0, None, Vec::new());
        self.env.backend.scan(
            self.env.column,
            (Bound::Excluded(cursor.as_slice()), Bound::Unbounded),
            Direction::Ascending,
            &mut |key, _| {
                seen += 1;
                if keys::split(key, wide).is_some_and(|(_, at)| at.time <= horizon) {
                    victims.push(key.to_vec());
                }
                if seen < budget {
                    return ControlFlow::Continue(());
                }
                last = Some(key.to_vec());
                ControlFlow::Break(())
            },
        )?;
        self.sweep.cursor = last;
        if self.sweep.cursor.is_none() {
            let pause = (self.shape.retention / 2).max(SWEEP_MS_MIN);
            self.sweep.due = Some(self.observed.saturating_add(pause));
        }
        for key in victims {
            self.forget(changes, &key)?;
        }
        Ok(())
    }

    /// Deletes a stored row that has expired. A row in memory that changed since is left to those
    /// who changed it.
    fn forget(&mut self, changes: &mut RecordBatch, key: &[u8]) -> Result<()> {
        let Some((prefix, at)) = keys::split(key, self.shape.wide) else {
            return Ok(());
        };
        let hash = self.hasher.hash_one(prefix);
        let mut timestamp = at.time;
        if let Some(number) = self.groups.find(hash, prefix) {
            let group = self.groups.get_mut(number);
            if let Ok(place) = group.find(at) {
                let row = &mut group.rows[place];
                if row.freshness != Freshness::Clean {
                    return Ok(());
                }
                timestamp = row.timestamp;
                row.value = None;
                row.freshness = Freshness::Pending;
                group.unclean += 1;
                self.pending.push((number, at));
            }
        }
        let row = (prefix, at, self.shape.wide);
        Self::encode_row(changes, row, timestamp, |_| Ok(Encoded::Null))
    }
}

impl<K: 'static, V: 'static> StateStore for TimedStore<K, V> {
    #[inline]
    fn set_time(&mut self, now: Timestamp) {
        self.now = now;
    }

    fn dirty_bytes(&self) -> usize {
        self.dirty_key_bytes + self.dirty.len() * self.value_bytes
    }

    fn drain(&mut self, changes: &mut RecordBatch) -> Result<()> {
        let written = self.drain_rows(changes)?;
        self.drain_clock(changes)?;
        if self.horizon() > Timestamp::MIN {
            self.sweep(changes, written)?;
        }
        Ok(())
    }

    fn applied(&mut self) -> Result<()> {
        let horizon = self.horizon();
        for (number, at) in self.pending.drain(..) {
            let group = self.groups.get_mut(number);
            let Ok(place) = group.find(at) else { continue };
            let row = &mut group.rows[place];
            if row.freshness != Freshness::Pending {
                continue;
            }
            row.freshness = Freshness::Clean;
            group.unclean -= 1;
            if row.value.is_none() {
                let bytes = row.bytes as usize;
                group.rows.remove(place);
                group.expired = 0;
                self.groups.bytes -= bytes;
            }
            if self.groups.get(number).rows.is_empty() {
                self.groups.remove(number, horizon);
            }
        }
        // The first pass forgets who was looked at, the second one evicts.
        let round = 2 * self.groups.round();
        self.groups.evict(round, self.env.cache_bytes, horizon);
        Ok(())
    }

    fn abort(&mut self) -> Result<()> {
        self.dirty.clear();
        self.pending.clear();
        self.dirty_key_bytes = 0;
        self.sweep = Sweep::default();
        self.load_clock()?;
        self.groups = self.no_groups();
        self.load_due()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
