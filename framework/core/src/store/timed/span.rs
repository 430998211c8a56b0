//! Stretches of the rows of one key: what joins and histories are made of.

use super::{At, KeyRows, TimedStore};
use crate::record::Timestamp;
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

    /// Adds a row behind all others of its time. `false`, and nothing happens, where it would have
    /// expired already.
    #[inline]
    pub(crate) fn append(&mut self, of: KeyRows, time: Timestamp, value: V) -> bool {
        if time <= self.horizon() {
            return false;
        }
        let group = self.groups.get(of.0);
        let place = group.first_from(At::last(time));
        let before = group.before(place);
        let second = if before.time == time {
            before.second.saturating_add(1)
        } else {
            0
        };
        self.set(of, At::new(time, second), Some(value), time);
        true
    }
}
