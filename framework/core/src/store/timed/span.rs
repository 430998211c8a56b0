//! The rows of one key, found once and used several times: what joins and histories are made of.

use super::{At, TimedStore};
use crate::{error::Result, record::Timestamp};
use std::ops::RangeInclusive;

/// Where a store has the rows of a key. It holds until another key is looked for in that store.
#[derive(Clone, Copy)]
pub(crate) struct KeyRows(u32);

impl<K: 'static, V: 'static> TimedStore<K, V> {
    /// Looks a key's rows up; `None` for a null key.
    ///
    /// # Errors
    /// As [`TimedStore::get`].
    #[inline]
    pub(crate) fn rows(&mut self, key: &K) -> Result<Option<KeyRows>> {
        Ok(self.group(key)?.map(KeyRows))
    }

    /// The key's bytes in the encoding that keeps their order.
    pub(crate) fn key_bytes(&self, of: KeyRows) -> &[u8] {
        &self.groups.get(of.0).prefix
    }

    /// The rows between two places, in order, without those that have expired by now.
    #[inline]
    pub(crate) fn between(
        &self,
        of: KeyRows,
        places: RangeInclusive<At>,
    ) -> impl DoubleEndedIterator<Item = (At, &V, Timestamp)> {
        let (from, to) = places.into_inner();
        let group = self.groups.get(of.0);
        let start = group.first_from(from.max(At::first(self.horizon().saturating_add(1))));
        let end = match group.rows.back() {
            Some(last) if last.at > to => group.rows.partition_point(|row| row.at <= to),
            _ => group.rows.len(),
        };
        let rows = group.rows.range(start.min(end)..end);
        rows.filter_map(|row| Some((row.at, row.value.as_ref()?, row.timestamp)))
    }

    /// Adds a row behind all others of its time. `false`, and nothing happens, where it would have
    /// expired already.
    #[inline]
    pub(crate) fn append(&mut self, of: KeyRows, time: Timestamp, value: V) -> bool {
        if time <= self.horizon() {
            return false;
        }
        let group = self.groups.get(of.0);
        let place = group.first_from(At::last(time));
        let before = place.checked_sub(1).map(|before| group.rows[before].at);
        let second = match before {
            Some(at) if at.time == time => at.second.saturating_add(1),
            _ => 0,
        };
        self.set(of, At::new(time, second), Some(value), time);
        true
    }

    /// The value at a place, and the timestamp of its last change.
    #[inline]
    pub(crate) fn value(&self, of: KeyRows, at: At) -> Option<(&V, Timestamp)> {
        let group = self.groups.get(of.0);
        let row = &group.rows[group.find(at).ok()?];
        row.value.as_ref().map(|value| (value, row.timestamp))
    }

    /// Deletes the row at a place, and returns what it held.
    pub(crate) fn remove(&mut self, of: KeyRows, at: At) -> Option<V> {
        let place = self.groups.get(of.0).find(at).ok()?;
        let row = &mut self.groups.get_mut(of.0).rows[place];
        let (value, timestamp, stored) = (row.value.take()?, row.timestamp, row.stored);
        if stored {
            self.touch(of.0, place, timestamp);
        } else {
            self.delete(of.0, place);
        }
        Some(value)
    }

    /// Sets a row, or deletes it, whether or not it has expired.
    #[inline]
    pub(crate) fn set(&mut self, of: KeyRows, at: At, value: Option<V>, timestamp: Timestamp) {
        match (self.groups.get(of.0).find(at), value) {
            (Err(_), None) => {}
            (Ok(place), None) => self.delete(of.0, place),
            (found, value) => {
                let place = self.row(of.0, at, found);
                self.groups.get_mut(of.0).rows[place].value = value;
                self.touch(of.0, place, timestamp);
            }
        }
    }
}
