//! What is known of the rows that are not in memory: how late they can lie.
//!
//! Most records concern rows near the newest time, and most keys that are not in memory have none
//! there. To know that saves a search of the backend. Invariant: no row of a key that is stored but
//! not in memory lies later than [`Away::latest`] says; that it may lie earlier costs a search.

use crate::record::Timestamp;
use hashbrown::{HashTable, hash_table::Entry};

/// What a remembered key costs, roughly.
const KEY_BYTES: usize = 32;
const KEYS_MIN: usize = 1_024;
/// The share of a store's cache that may go to what is known of other keys: one part in so many.
const SHARE: usize = 4;

/// The latest times of rows that left the memory, by the hashes of their keys: two keys with one
/// hash share the later time.
pub(super) struct Away {
    /// Of any key there may be rows up to this time.
    since: Timestamp,
    latest: HashTable<(u64, Timestamp)>,
    keys_max: usize,
}

impl Away {
    /// Rows are stored up to `since`, and nothing else is known of them.
    pub(super) fn new(since: Timestamp, cache_bytes: usize) -> Self {
        Self {
            since,
            latest: HashTable::new(),
            keys_max: (cache_bytes / SHARE / KEY_BYTES).max(KEYS_MIN),
        }
    }

    /// The latest time at which a key that is not in memory can have a row.
    #[inline]
    pub(super) fn latest(&self, hash: u64) -> Timestamp {
        let known = self.latest.find(hash, |(of, _)| *of == hash);
        known.map_or(self.since, |(_, latest)| self.since.max(*latest))
    }

    /// Rows of a key left the memory, the latest of which lies there. What has expired by `horizon`
    /// is forgotten when there is no more room, and everything if that is not enough.
    pub(super) fn note(&mut self, hash: u64, latest: Timestamp, horizon: Timestamp) {
        if latest <= horizon.max(self.since) {
            return;
        }
        match self
            .latest
            .entry(hash, |(of, _)| *of == hash, |(of, _)| *of)
        {
            Entry::Occupied(mut known) => known.get_mut().1 = latest.max(known.get().1),
            Entry::Vacant(place) => drop(place.insert((hash, latest))),
        }
        if self.latest.len() < self.keys_max {
            return;
        }
        self.latest.retain(|(_, latest)| *latest > horizon);
        if self.latest.len() > self.keys_max / 2 {
            let all = self.latest.iter().map(|(_, latest)| *latest);
            self.since = all.fold(self.since, Timestamp::max);
            self.latest.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_no_rows_later_than_known() {
        let mut away = Away::new(5, 0);
        assert_eq!(away.latest(1), 5);
        away.note(1, 20, 0);
        away.note(1, 10, 0);
        away.note(2, 4, 0);
        assert_eq!((away.latest(1), away.latest(2)), (20, 5));
    }

    #[test]
    fn what_has_expired_makes_room() {
        let mut away = Away::new(0, 0);
        for hash in 0..1_000 {
            away.note(hash, 10, 0);
        }
        for hash in 1_000..1_024 {
            away.note(hash, 30, 20);
        }
        assert_eq!((away.latest(0), away.latest(1_023)), (0, 30));
    }

    #[test]
    fn without_room_all_keys_may_have_rows() {
        let mut away = Away::new(0, 0);
        for hash in 0..1_024 {
            away.note(hash, 10 + Timestamp::from(hash == 7), 0);
        }
        assert_eq!((away.latest(0), away.latest(9_999)), (11, 11));
    }
}
