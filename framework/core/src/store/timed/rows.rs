//! The rows of one key: found once, and then read and changed in several steps.
//!
//! One record may concern many rows of its key (hopping windows, sessions that become one), and
//! they lie in one group, so that only the first step pays for a hash. Invariant: every change of a
//! row goes through here, so that what waits for its time ([`Due`](super::due::Due)) is never
//! forgotten.

use super::{At, Group, ROW_BYTES, Row, TimedStore, keys};
use crate::{error::Result, record::Timestamp};

/// The rows of a key, for the record in hand only. Looking up other keys in between may drop them
/// from memory as long as none of them was changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyRows(pub(super) u32);

impl<K: 'static, V: 'static> TimedStore<K, V> {
    /// Takes notice of a record's time, and finds the rows of its key from another time on. `None`,
    /// and its time is not noticed, for a null key.
    #[inline]
    pub(crate) fn enter(
        &mut self,
        key: &K,
        time: Timestamp,
        least: Timestamp,
    ) -> Result<Option<KeyRows>> {
        self.with_bytes(key, |store, bytes| {
            store.observe(time);
            store.enter_bytes(bytes, least)
        })
    }

    /// As [`TimedStore::enter`], with the row at one place and whatever else is in memory.
    #[inline]
    pub(crate) fn enter_at(&mut self, key: &K, time: Timestamp, at: At) -> Result<Option<KeyRows>> {
        self.with_bytes(key, |store, bytes| {
            store.observe(time);
            store.enter_bytes_at(bytes, at)
        })
    }

    /// The row of a key at one place, and whatever else is in memory; `None` for a null key.
    #[inline]
    pub(super) fn rows_at(&mut self, key: &K, at: At) -> Result<Option<KeyRows>> {
        self.with_bytes(key, |store, bytes| store.enter_bytes_at(bytes, at))
    }

    #[inline]
    fn enter_bytes_at(&mut self, key: &[u8], at: At) -> Result<KeyRows> {
        let group = self.resident_at(key, at)?;
        self.trim(group);
        Ok(KeyRows(group))
    }

    /// The rows of a key without those that have expired; `None` for a null key.
    #[inline]
    pub(crate) fn rows(&mut self, key: &K) -> Result<Option<KeyRows>> {
        self.rows_from(key, Timestamp::MIN)
    }

    /// The rows of a key from a time on; of earlier ones some may be there and some not.
    #[inline]
    pub(crate) fn rows_from(&mut self, key: &K, least: Timestamp) -> Result<Option<KeyRows>> {
        self.with_bytes(key, |store, bytes| store.enter_bytes(bytes, least))
    }

    /// As [`TimedStore::rows_from`], for those who only read.
    #[inline]
    pub(crate) fn rows_to_read(&mut self, key: &K, least: Timestamp) -> Result<Option<KeyRows>> {
        self.with_bytes(key, |store, bytes| {
            let group = store.readable(bytes, least)?;
            store.trim(group);
            Ok(KeyRows(group))
        })
    }

    /// Whether a key is null on the log.
    pub(crate) fn is_null(&mut self, key: &K) -> Result<bool> {
        Ok(self.with_bytes(key, |_, _| Ok(()))?.is_none())
    }

    /// The value at a place, and the timestamp of its last change.
    #[inline]
    pub(crate) fn value(&self, KeyRows(group): KeyRows, at: At) -> Option<(&V, Timestamp)> {
        let group = self.groups.get(group);
        let row = &group.rows()[group.find(at).ok()?];
        row.value.as_ref().map(|value| (value, row.timestamp))
    }

    /// The first row at or behind a place.
    pub(crate) fn first_from(&self, KeyRows(group): KeyRows, at: At) -> Option<(At, Timestamp)> {
        let group = self.groups.get(group);
        let mut rows = group.rows().range(group.first_from(at)..);
        let row = rows.find(|row| row.value.is_some())?;
        Some((row.at, row.timestamp))
    }

    /// The last row at or before a place.
    pub(crate) fn last_to(&self, KeyRows(group): KeyRows, at: At) -> Option<(At, Timestamp)> {
        let group = self.groups.get(group);
        let mut rows = group.rows().range(..group.end_at(at));
        let row = rows.rfind(|row| row.value.is_some())?;
        Some((row.at, row.timestamp))
    }

    /// Sets or deletes the row at a place.
    pub(crate) fn set(
        &mut self,
        KeyRows(group): KeyRows,
        at: At,
        value: Option<V>,
        timestamp: Timestamp,
    ) {
        match (self.groups.get(group).find(at), value) {
            (Err(_), None) => {}
            (Ok(place), None) => {
                self.delete(group, place);
            }
            (found, value) => {
                let place = self.row(group, at, found);
                let row = self.groups.get_mut(group).row(place);
                let old = std::mem::replace(&mut row.value, value);
                self.touch(group, place, timestamp);
                if old.is_none() {
                    self.wait(group, at);
                }
            }
        }
    }

    /// Deletes the row at a place, and returns what it held.
    pub(crate) fn remove(&mut self, KeyRows(group): KeyRows, at: At) -> Option<V> {
        let place = self.groups.get(group).find(at).ok()?;
        self.delete(group, place)
    }

    /// Replaces the value at a place by what `change` makes of it; the timestamp becomes the later
    /// of the old one and `time`.
    #[inline]
    pub(crate) fn change<R>(
        &mut self,
        KeyRows(group): KeyRows,
        at: At,
        time: Timestamp,
        change: impl FnOnce(&mut Option<V>) -> Result<R>,
    ) -> Result<(R, &Option<V>, Timestamp)> {
        let found = self.groups.get(group).find(at);
        let mut value = match found {
            Ok(place) => self.groups.get_mut(group).row(place).value.take(),
            Err(_) => None,
        };
        let existed = value.is_some();
        let later = match found {
            Ok(place) if existed => self.groups.get(group).rows()[place].timestamp.max(time),
            _ => time,
        };
        let result = change(&mut value);
        let (place, result) = match (found, result) {
            // A change that failed leaves the row as `change` left it, and is no change.
            (Ok(place), Err(error)) => {
                self.groups.get_mut(group).row(place).value = value;
                return Err(error);
            }
            (Err(_), Err(error)) => return Err(error),
            (found, Ok(result)) => (self.row(group, at, found), result),
        };
        self.groups.get_mut(group).row(place).value = value;
        self.touch(group, place, later);
        if !existed {
            self.wait(group, at);
        }
        let row = &self.groups.get(group).rows()[place];
        Ok((result, &row.value, row.timestamp))
    }

    #[inline]
    fn with_bytes<R>(
        &mut self,
        key: &K,
        act: impl FnOnce(&mut Self, &[u8]) -> Result<R>,
    ) -> Result<Option<R>> {
        let serde = self.key;
        serde.with_bytes(key, (self, |store| &mut store.key_bytes), act)
    }

    #[inline]
    fn enter_bytes(&mut self, key: &[u8], least: Timestamp) -> Result<KeyRows> {
        let group = self.resident(key, least)?;
        self.trim(group);
        Ok(KeyRows(group))
    }

    /// The rows themselves, for those who visit many.
    pub(super) fn group(&self, KeyRows(group): KeyRows) -> &Group<V> {
        self.groups.get(group)
    }

    /// Takes away the rows at a group's front that have expired.
    #[inline]
    pub(super) fn trim(&mut self, group: u32) {
        let horizon = self.horizon();
        while let Some(place) = self.groups.get(group).next_expired(horizon) {
            self.expire(group, place);
        }
    }

    #[cold]
    fn expire(&mut self, group: u32, place: usize) {
        let rows = self.groups.get(group).rows();
        let before = rows.len();
        // That somebody deleted a row is told all the same.
        if self.env.trimmed && rows[place].value.is_some() {
            return self.forget_row(group, place);
        }
        self.delete(group, place);
        let rows = self.groups.get_mut(group);
        if rows.rows().len() == before {
            rows.pass_expired(place + 1);
        }
    }

    /// Takes away a row, of which changelog and backend know by themselves that it has expired.
    fn forget_row(&mut self, group: u32, place: usize) {
        let Some(row) = self.groups.get_mut(group).remove(place) else {
            return;
        };
        self.groups.bytes -= row.bytes as usize;
        self.wait_no_more(group, row.at);
    }

    /// Deletes a row, at once where the backend never heard of it, and returns what it held.
    fn delete(&mut self, group: u32, place: usize) -> Option<V> {
        let rows = self.groups.get_mut(group);
        let row = rows.row(place);
        let at = row.at;
        let value = if row.stored {
            let value = row.value.take();
            if value.is_some() {
                let timestamp = row.timestamp;
                self.touch(group, place, timestamp);
            }
            value
        } else {
            let row = rows.remove(place)?;
            self.groups.bytes -= row.bytes as usize;
            row.value
        };
        if value.is_some() {
            self.wait_no_more(group, at);
        }
        value
    }

    /// The row at a place, made if there is none.
    #[inline]
    fn row(&mut self, group: u32, at: At, found: std::result::Result<usize, usize>) -> usize {
        if !self.ahead {
            // As in Kafka's stores. It makes a difference for a program's own puts only: windows
            // and joins have observed the record that they put.
            self.observe(at.time);
        }
        found.unwrap_or_else(|place| {
            let bytes = row_bytes::<V>(self.value_bytes.mean());
            self.groups.bytes += bytes as usize;
            let row = Row {
                at,
                value: None,
                timestamp: Timestamp::MIN,
                changed: 0,
                stored: false,
                bytes,
            };
            self.groups.get_mut(group).insert(place, row);
            place
        })
    }

    #[inline]
    fn touch(&mut self, group: u32, place: usize, timestamp: Timestamp) {
        let now = self.groups.now;
        let rows: &mut Group<V> = self.groups.get_mut(group);
        rows.changed = now;
        let row = rows.row(place);
        row.timestamp = timestamp;
        if row.changed != now {
            row.changed = now;
            self.dirty.push((group, row.at));
            let tail = keys::tail_length(self.shape.wide);
            self.dirty_key_bytes += rows.prefix.len() + tail + size_of::<Timestamp>();
        }
        if self.value_bytes.wants_one() {
            self.measure();
        }
    }

    /// Learns the size of a value that has changed.
    #[cold]
    fn measure(&mut self) {
        let place = self.value_bytes.place(self.dirty.len());
        let Some(&(group, at)) = self.dirty.get(place) else {
            return;
        };
        let group = self.groups.get(group);
        let Ok(place) = group.find(at) else { return };
        if let Some(value) = &group.rows()[place].value {
            self.scratch.clear();
            // What cannot be encoded is told by the commit.
            if self.value.encode(value, &mut self.scratch).is_ok() {
                let bytes = self.value.held_bytes(value, self.scratch.len());
                self.value_bytes.see(bytes);
            }
        }
    }
}

pub(super) fn row_bytes<V>(encoded: usize) -> u32 {
    let bytes = ROW_BYTES + size_of::<V>().max(encoded);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
