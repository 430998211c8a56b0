//! What a timed store holds in memory: the rows of a key, from some time on.
//!
//! Invariants: the rows of a group are sorted by place, and are all that the backend and the open
//! commits hold of that key later than what the group says is missing; a group with a row that is
//! not clean is never evicted.

use super::{At, away::Away};
use crate::record::Timestamp;
use hashbrown::HashTable;
use millstream_state::SmallBytes;
use std::collections::VecDeque;

/// What a group costs beside its rows, roughly: slot, index, allocations.
const GROUP_BYTES: usize = 128;
/// How far the eviction hand moves for a new group at most.
pub(super) const STEPS_PER_GROUP: usize = 8;

/// Where a row is on its way to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    Clean,
    Dirty,
    /// Handed over to a commit whose outcome is not known yet.
    Pending,
}

/// One row; `None` is a deleted one whose deletion is not committed yet.
pub(super) struct Row<V> {
    pub(super) at: At,
    pub(super) value: Option<V>,
    pub(super) timestamp: Timestamp,
    pub(super) freshness: Freshness,
    /// Whether the backend has it or will have it by a commit under way: its deletion must be told.
    pub(super) stored: bool,
    /// Whether it was deleted because its time was over, and not by somebody.
    pub(super) expired: bool,
    /// What it counts as, in bytes.
    pub(super) bytes: u32,
}

/// All rows of one key.
pub(super) struct Group<V> {
    /// The ordered encoding of the key's bytes: the beginning of its rows' keys.
    pub(super) prefix: SmallBytes,
    hash: u64,
    pub(super) rows: VecDeque<Row<V>>,
    /// Rows that are not clean.
    pub(super) unclean: usize,
    /// How many rows at the front are known to have expired.
    pub(super) expired: usize,
    /// Up to this time there may be stored rows that are not here; `Timestamp::MIN` where all are.
    pub(super) missing: Timestamp,
    /// Looked at since the eviction hand last came by.
    used: bool,
}

impl<V> Group<V> {
    /// The place of a row in the group, or the one where it would be. New rows come mostly last.
    #[inline]
    pub(super) fn find(&self, at: At) -> Result<usize, usize> {
        match self.rows.back() {
            None => Err(0),
            Some(last) if last.at == at => Ok(self.rows.len() - 1),
            Some(last) if last.at < at => Err(self.rows.len()),
            Some(_) => self.rows.binary_search_by(|row| row.at.cmp(&at)),
        }
    }

    /// The first row at or behind a place.
    #[inline]
    pub(super) fn first_from(&self, at: At) -> usize {
        self.find(at).unwrap_or_else(|place| place)
    }
}

/// The groups in memory, found by the bytes of their keys, and what is known of the others.
pub(super) struct Groups<V> {
    away: Away,
    index: HashTable<u32>,
    slots: Vec<Group<V>>,
    free: Vec<u32>,
    pub(super) bytes: usize,
    hand: usize,
}

impl<V> Groups<V> {
    /// No groups; what is stored is somewhere up to `since`.
    pub(super) fn new(since: Timestamp, cache_bytes: usize) -> Self {
        Self {
            away: Away::new(since, cache_bytes),
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            bytes: 0,
            hand: 0,
        }
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> &Group<V> {
        &self.slots[number as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> &mut Group<V> {
        &mut self.slots[number as usize]
    }

    /// All groups in memory, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Group<V>> {
        self.index
            .iter()
            .map(|number| &self.slots[*number as usize])
    }

    #[inline]
    pub(super) fn find(&mut self, hash: u64, prefix: &[u8]) -> Option<u32> {
        let slots = &self.slots;
        let same = |number: &u32| *slots[*number as usize].prefix == *prefix;
        let found = *self.index.find(hash, same)?;
        self.slots[found as usize].used = true;
        Some(found)
    }

    /// A group without rows, for a key that is not in memory.
    pub(super) fn insert(&mut self, hash: u64, prefix: &[u8]) -> u32 {
        let group = Group {
            prefix: SmallBytes::from(prefix),
            hash,
            rows: VecDeque::new(),
            unclean: 0,
            expired: 0,
            missing: self.away.latest(hash),
            used: true,
        };
        self.bytes += prefix.len() + GROUP_BYTES;
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = group;
                number
            }
            None => {
                self.slots.push(group);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let slots = &self.slots;
        self.index
            .insert_unique(hash, number, |number| slots[*number as usize].hash);
        number
    }

    /// Adds a row that was read, unless there is a newer one in its place.
    pub(super) fn add(&mut self, number: u32, row: Row<V>) {
        let group = &mut self.slots[number as usize];
        if let Err(place) = group.find(row.at) {
            self.bytes += row.bytes as usize;
            // What is known to have expired lies in front of what has not been looked at.
            group.expired = group.expired.min(place);
            group.rows.insert(place, row);
        }
    }

    /// Moves the hand over at most `steps` groups and drops clean, unused ones while there are more
    /// bytes than allowed. Of rows at or before `horizon` nothing need be remembered.
    pub(super) fn evict(&mut self, steps: usize, allowed: usize, horizon: Timestamp) {
        for _ in 0..steps {
            if self.bytes <= allowed || self.slots.is_empty() {
                return;
            }
            self.hand = (self.hand + 1) % self.slots.len();
            let group = &mut self.slots[self.hand];
            if group.unclean > 0 || std::mem::take(&mut group.used) {
                continue;
            }
            self.remove(u32::try_from(self.hand).unwrap_or(u32::MAX), horizon);
        }
    }

    /// Drops a group whose rows are all stored, or gone.
    pub(super) fn remove(&mut self, number: u32, horizon: Timestamp) {
        let group = &mut self.slots[number as usize];
        let last = group.rows.back().map_or(Timestamp::MIN, |row| row.at.time);
        self.away.note(group.hash, last.max(group.missing), horizon);
        let Ok(entry) = self.index.find_entry(group.hash, |at| *at == number) else {
            return;
        };
        entry.remove();
        let rows: usize = group.rows.iter().map(|row| row.bytes as usize).sum();
        self.bytes -= rows + group.prefix.len() + GROUP_BYTES;
        group.prefix = SmallBytes::default();
        group.rows = VecDeque::new();
        // The hand passes free slots by as it does used ones.
        group.used = true;
        self.free.push(number);
    }

    /// How many slots there are, free ones too: the length of a round of the hand.
    pub(super) fn round(&self) -> usize {
        self.slots.len()
    }
}
