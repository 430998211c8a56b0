//! How a timed store commits, and how it forgets rows whose keys never come again.
//!
//! Invariant: what a commit deletes without telling the changelog has expired by the clock that the
//! changelog holds with that commit or had before.

use super::{
    At, Sweep, TimedStore,
    keys::{self, CLOCK},
    rows::row_bytes,
};
use crate::{
    batch::RecordBatch,
    error::{Error, Result},
    record::{Headers, Offset, Timestamp},
    serde::{Apart, Encoded},
    store::{AHEAD, StateStore},
};
use millstream_state::{Horizon, Position};
use std::{any::Any, hash::BuildHasher};

impl<K: 'static, V: 'static> TimedStore<K, V> {
    fn encode_row(
        changes: &mut RecordBatch,
        (prefix, at, wide): (&[u8], At, bool),
        (timestamp, headers): (Timestamp, &Headers),
        value: impl FnOnce(&mut Vec<u8>) -> Result<Encoded>,
    ) -> Result<()> {
        changes.encode(
            timestamp.max(0),
            headers,
            |out| {
                out.extend_from_slice(prefix);
                keys::put_at(out, at, wide);
                Ok(Encoded::Bytes)
            },
            value,
        )
    }

    /// As [`TimedStore::encode_row`] of a value that must not be null on the log.
    pub(super) fn encode_value(
        changes: &mut RecordBatch,
        row: (&[u8], At, bool),
        timestamp: Timestamp,
        format: Apart<V>,
        value: &V,
    ) -> Result<()> {
        let said = (timestamp, format.headers(value));
        Self::encode_row(changes, row, said, |out| {
            match format.encode(value, out)? {
                Encoded::Bytes => Ok(Encoded::Bytes),
                Encoded::Null => Err(Error::serialization(
                    "a store cannot hold a value that its serde writes as null: delete the row",
                )),
            }
        })
    }

    fn drain_rows(&mut self, changes: &mut RecordBatch) -> Result<usize> {
        changes.take_in(&mut self.written_rows)?;
        let (before, wide) = (changes.held_bytes(), self.shape.wide);
        let (mut written, dirty) = (0, self.groups.now);
        let handed = self.groups.hand_over();
        let mut rows = std::mem::take(&mut self.dirty);
        for (place, &(number, at)) in rows.iter().enumerate() {
            if place % AHEAD == 0 {
                let next = rows[place..].iter().take(AHEAD);
                self.groups.touch(next.map(|(number, _)| *number));
            }
            let group = self.groups.get_mut(number);
            let Ok(place) = group.find(at) else { continue };
            let row = group.row(place);
            if row.changed != dirty {
                continue;
            }
            row.changed = handed;
            group.changed = group.changed.max(handed);
            let row = &group.rows()[place];
            let (start, place_of) = (changes.held_bytes(), (&group.prefix[..], at, wide));
            match &row.value {
                Some(value) => {
                    Self::encode_value(changes, place_of, row.timestamp, self.value, value)?;
                }
                None => {
                    let deleted = (row.timestamp, &Headers::NONE);
                    Self::encode_row(changes, place_of, deleted, |_| Ok(Encoded::Null))?;
                }
            }
            if !row.stored {
                changes.mark_first();
            }
            let key = group.prefix.len() + keys::tail_length(wide);
            let bytes = row_bytes::<V>(changes.held_bytes() - start - key);
            self.groups.bytes += bytes as usize;
            let row = self.groups.get_mut(number).row(place);
            let old = std::mem::replace(&mut row.bytes, bytes);
            row.stored = true;
            if row.value.is_none() {
                self.deleted.push((number, at));
            }
            self.groups.bytes -= old as usize;
            written += 1;
        }
        rows.clear();
        self.dirty = rows;
        let mean = (changes.held_bytes() - before).checked_div(written);
        self.value_bytes.committed(mean);
        self.dirty_key_bytes = 0;
        Ok(written)
    }

    fn drain_clock(&mut self, changes: &mut RecordBatch) -> Result<()> {
        if self.observed == self.logged {
            return Ok(());
        }
        let (observed, retention) = (self.observed, self.shape.retention);
        let trail = self.env.trimmed.then_some(&self.trail);
        changes.encode(
            observed.max(0),
            &Headers::NONE,
            |out| {
                out.extend_from_slice(CLOCK);
                Ok(Encoded::Bytes)
            },
            |out| {
                out.extend_from_slice(&observed.to_be_bytes());
                if let Some(trail) = trail {
                    trail.put(retention, out);
                }
                Ok(Encoded::Bytes)
            },
        )?;
        self.logged = observed;
        Ok(())
    }

    /// Passes over the next stretch of stored rows and deletes what has expired there.
    fn sweep(&mut self, changes: &mut RecordBatch, written: usize) -> Result<()> {
        let column = (&*self.env.backend, self.env.column);
        let now = (self.shape, self.observed);
        for key in self.sweep.pass(column, now, written)? {
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
        let (done, handed) = (self.groups.done, self.groups.handed());
        let mut timestamp = at.time;
        // What is no row's key belongs to no group, and is deleted all the same.
        let read = keys::read_prefix(prefix, &mut self.key_bytes);
        let group = read.ok().and_then(|()| {
            let hash = self.hasher.hash_one(&self.key_bytes[..]);
            self.groups.find(hash, &self.key_bytes)
        });
        if let Some(number) = group {
            let group = self.groups.get_mut(number);
            if let Ok(place) = group.find(at) {
                let row = group.row(place);
                if row.changed > done {
                    return Ok(());
                }
                timestamp = row.timestamp;
                (row.value, row.changed) = (None, handed);
                group.changed = group.changed.max(handed);
                self.deleted.push((number, at));
            }
        }
        let row = (prefix, at, self.shape.wide);
        let deleted = (timestamp, &Headers::NONE);
        Self::encode_row(changes, row, deleted, |_| Ok(Encoded::Null))?;
        if self.env.trimmed {
            changes.mark_local();
        }
        Ok(())
    }
}

impl<K: 'static, V: 'static> StateStore for TimedStore<K, V> {
    #[inline]
    fn set_time(&mut self, now: Timestamp) {
        self.now = now;
    }

    fn expect(&mut self, keys: &[&[u8]]) -> usize {
        (self.groups).expect(keys, |key| self.hasher.hash_one(key))
    }

    fn dirty_bytes(&self) -> usize {
        self.dirty_key_bytes + self.dirty.len() * self.value_bytes.mean() + self.written_bytes()
    }

    fn written_bytes(&self) -> usize {
        self.written_rows.held_bytes() + self.written_rows.len() * size_of::<Timestamp>()
    }

    fn drain(&mut self, changes: &mut RecordBatch) -> Result<()> {
        let written = self.written_rows.len() + self.drain_rows(changes)?;
        self.drain_clock(changes)?;
        self.sweep(changes, written)
    }

    fn log_start(&mut self, at: &Position) -> Option<Offset> {
        let knows = self.env.trimmed && self.logged > Timestamp::MIN;
        knows.then(|| self.trail.reach(self.logged, at, self.shape.retention))?
    }

    fn expired(&self) -> Option<Horizon> {
        let knows = self.env.trimmed && self.logged > Timestamp::MIN;
        knows.then(|| self.shape.expired_by(self.logged))
    }

    fn applied(&mut self) -> Result<()> {
        let horizon = self.horizon();
        self.groups.done = self.groups.handed();
        for (number, at) in self.deleted.drain(..) {
            let done = self.groups.done;
            let group = self.groups.get_mut(number);
            let Ok(place) = group.find(at) else { continue };
            let row = group.row(place);
            if row.changed > done || row.value.is_some() {
                continue;
            }
            let bytes = group.remove(place).map_or(0, |row| row.bytes);
            let empty = group.rows().is_empty();
            self.groups.bytes -= bytes as usize;
            if empty {
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
        self.written_rows.clear();
        self.deleted.clear();
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
