//! Stretches of the rows of one key: what joins and histories are made of.

use super::{At, KeyRows, Row, TimedStore, rows::row_bytes};
use crate::{error::Result, record::Timestamp};
use std::ops::RangeInclusive;

impl<K: 'static, V: 'static> TimedStore<K, V> {
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
        let end = group.end_at(to);
        let rows = group.rows().range(start.min(end)..end);
        rows.filter_map(|row| Some((row.at, row.value.as_ref()?, row.timestamp)))
    }

    /// Where a row goes that is added behind all others of its time, once that is observed; `None`
    /// where it would have expired by then. It is written for the next commit at once, while its
    /// value is at hand, and must be held from then on ([`TimedStore::hold`]) or taken back
    /// ([`TimedStore::unlog`]).
    ///
    /// # Errors
    /// Where the value cannot be encoded; nothing has happened then.
    #[inline]
    pub(crate) fn log(&mut self, of: KeyRows, time: Timestamp, value: &V) -> Result<Option<At>> {
        if time <= self.shape.horizon(self.observed.max(time)) {
            return Ok(None);
        }
        let group = self.groups.get(of.0);
        let place = group.first_from(At::last(time));
        let before = group.before(place);
        let second = if before.time == time {
            before.second.saturating_add(1)
        } else {
            0
        };
        let at = At::new(time, second);
        let row = (&group.prefix[..], at, self.shape.wide);
        Self::encode_value(&mut self.written_rows, row, time, self.value, value)?;
        self.written_rows.mark_first();
        Ok(Some(at))
    }

    /// Takes the row that was logged last out of what will be committed.
    pub(crate) fn unlog(&mut self) {
        self.written_rows.remove_last();
    }

    /// Holds the row that was logged last. Its time has been observed.
    #[inline]
    pub(crate) fn hold(&mut self, KeyRows(number): KeyRows, at: At, value: V) {
        debug_assert!(at.time <= self.observed, "it is of a time to come");
        let bytes = self.written_rows.last_value_bytes();
        let bytes = row_bytes::<V>(self.value.held_bytes(&value, bytes));
        // It is on its way to the backend, so its deletion must be told; but there are no changes
        // of it beyond that, as a row that is dirty has. What keeps it in memory until it is there
        // is the group's change.
        let row = Row {
            at,
            value: Some(value),
            timestamp: at.time,
            changed: self.groups.handed(),
            stored: true,
            bytes,
        };
        self.groups.bytes += bytes as usize;
        let now = self.groups.now;
        let group = self.groups.get_mut(number);
        group.changed = now;
        let place = group.first_from(at);
        group.insert(place, row);
        self.wait(number, at);
    }
}
