//! What a timed store holds in memory: all rows of a key together, or none of them.
//!
//! Invariants: the rows of a group are sorted by place, and are all that the backend and the open
//! commits hold of that key; a group with a row that is not clean is never evicted.

use super::At;
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

/// The groups in memory, found by the bytes of their keys.
pub(super) struct Groups<V> {
    index: HashTable<u32>,
    slots: Vec<Group<V>>,
    free: Vec<u32>,
    pub(super) bytes: usize,
    hand: usize,
}

impl<V> Groups<V> {
    pub(super) fn new() -> Self {
        Self {
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

    pub(super) fn insert(&mut self, hash: u64, prefix: &[u8], rows: VecDeque<Row<V>>) -> u32 {
        let group = Group {
            prefix: SmallBytes::from(prefix),
            hash,
            rows,
            unclean: 0,
            expired: 0,
            used: true,
        };
        let rows: usize = group.rows.iter().map(|row| row.bytes as usize).sum();
        self.bytes += rows + prefix.len() + GROUP_BYTES;
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

    /// Moves the hand over at most `steps` groups and drops clean, unused ones while there are more
    /// bytes than allowed.
    pub(super) fn evict(&mut self, steps: usize, allowed: usize) {
        for _ in 0..steps {
            if self.bytes <= allowed || self.slots.is_empty() {
                return;
            }
            self.hand = (self.hand + 1) % self.slots.len();
            let group = &mut self.slots[self.hand];
            if group.unclean > 0 || std::mem::take(&mut group.used) {
                continue;
            }
            self.remove(u32::try_from(self.hand).unwrap_or(u32::MAX));
        }
    }

    /// Drops the groups that have become empty; what is gone need not be looked for.
    pub(super) fn remove(&mut self, number: u32) {
        let group = &mut self.slots[number as usize];
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

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}
