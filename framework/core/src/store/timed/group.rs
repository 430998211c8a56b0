//! What a timed store holds in memory: the rows of a key, from some time on.
//!
//! Invariants: the rows of a group are sorted by place, and are all that the backend and the open
//! commits hold of that key later than what the group says is missing, but for what has expired; a
//! group that changed since the last commit that is done is never evicted.
//!
//! Most of what a record costs here is waiting for memory: there are more groups than fit into the
//! processor's cache. So what a look-up asks lies in one line of it: whose group it is, whether its
//! rows are all here, and from when to when they go.

use super::{
    super::ahead::{Ahead, touch_all},
    At,
    away::Away,
};
use crate::record::Timestamp;
use hashbrown::HashTable;
use millstream_state::{SmallBytes, ordered};
use std::{cmp::Ordering, collections::VecDeque};

/// What a group costs beside its rows, roughly: slot, index, allocations.
const GROUP_BYTES: usize = 160;
/// How far the eviction hand moves for a new group at most.
const STEPS_PER_GROUP: usize = 8;
/// So many new groups make room together: who leaves is looked at together too.
const TOGETHER: usize = 16;

/// A row's way to the backend in numbers that grow with every commit: it is dirty under the number
/// that changes have now, then handed over to a commit whose outcome is not known yet, and clean
/// under the number of a commit that is done, or before.
pub(super) type Epoch = u64;

/// Room for so many rows is kept where there is none any more.
const ROWS_KEPT: usize = 8;
/// Not four at once: many keys have but one or two.
const ROWS_AT_FIRST: usize = 2;
/// The place of the last row where there is none.
const NOWHERE: At = At::first(Timestamp::MIN);

/// One row; `None` is a deleted one whose deletion is not committed yet.
pub(super) struct Row<V> {
    pub(super) at: At,
    pub(super) value: Option<V>,
    pub(super) timestamp: Timestamp,
    /// When it changed last. A row that was written for its commit when it came
    /// ([`TimedStore::hold`](super::TimedStore)) has the number of the commit before, as nothing of
    /// it is left to be handed over.
    pub(super) changed: Epoch,
    /// Whether the backend has it or will have it by a commit under way: its deletion must be told.
    pub(super) stored: bool,
    /// What it counts as, in bytes.
    pub(super) bytes: u32,
}

/// All rows of one key.
#[repr(C, align(128))]
pub(super) struct Group<V> {
    /// The ordered encoding of the key's bytes: the beginning of its rows' keys.
    pub(super) prefix: SmallBytes,
    /// Up to this time there may be stored rows that are not here; `Timestamp::MIN` where all are.
    pub(super) missing: Timestamp,
    /// The time of the first row that is not known to have expired; `Timestamp::MAX` without one.
    first: Timestamp,
    last: At,
    /// How many rows at the front are known to have expired.
    expired: u32,
    /// Looked at since the eviction hand last came by.
    used: bool,
    rows: VecDeque<Row<V>>,
    hash: u64,
    /// When one of its rows changed last.
    pub(super) changed: Epoch,
}

impl<V> Group<V> {
    /// What a key has of which there is nothing.
    fn nobody() -> Self {
        Self {
            prefix: SmallBytes::default(),
            missing: Timestamp::MIN,
            first: Timestamp::MAX,
            last: NOWHERE,
            expired: 0,
            used: true,
            rows: VecDeque::new(),
            hash: 0,
            changed: 0,
        }
    }

    /// The place of a row in the group, or the one where it would be. New rows come mostly last.
    #[inline]
    pub(super) fn find(&self, at: At) -> Result<usize, usize> {
        match at.cmp(&self.last) {
            Ordering::Greater => Err(self.rows.len()),
            Ordering::Equal => self.rows.len().checked_sub(1).ok_or(0),
            Ordering::Less => self.rows.binary_search_by(|row| row.at.cmp(&at)),
        }
    }

    /// The first row at or behind a place.
    #[inline]
    pub(super) fn first_from(&self, at: At) -> usize {
        self.find(at).unwrap_or_else(|place| place)
    }

    /// Behind the last row at or before a place.
    #[inline]
    pub(super) fn end_at(&self, at: At) -> usize {
        if self.last <= at {
            return self.rows.len();
        }
        self.rows.partition_point(|row| row.at <= at)
    }

    /// The rows, to be read.
    #[inline]
    pub(super) fn rows(&self) -> &VecDeque<Row<V>> {
        &self.rows
    }

    /// A row, of which all but the place may be changed.
    #[inline]
    pub(super) fn row(&mut self, place: usize) -> &mut Row<V> {
        &mut self.rows[place]
    }

    /// The place of the row in front of another one; one before all where there is none.
    #[inline]
    pub(super) fn before(&self, place: usize) -> At {
        if place == self.rows.len() {
            return self.last;
        }
        (place.checked_sub(1)).map_or(NOWHERE, |before| self.rows[before].at)
    }

    #[inline]
    pub(super) fn insert(&mut self, place: usize, row: Row<V>) {
        if self.rows.capacity() == 0 {
            self.rows.reserve_exact(ROWS_AT_FIRST);
        }
        // What is known to have expired lies in front of what has not been looked at.
        if place <= self.expired as usize {
            self.expired = u32::try_from(place).unwrap_or(u32::MAX);
            self.first = row.at.time;
        }
        if place == self.rows.len() {
            self.last = row.at;
        }
        self.rows.insert(place, row);
    }

    /// Takes a row out.
    pub(super) fn remove(&mut self, place: usize) -> Option<Row<V>> {
        let row = self.rows.remove(place)?;
        if self.rows.is_empty() && self.rows.capacity() > ROWS_KEPT {
            self.rows = VecDeque::new();
        }
        self.last = self.rows.back().map_or(NOWHERE, |row| row.at);
        let expired = self.expired as usize;
        self.pass_expired(expired - usize::from(place < expired));
        Some(row)
    }

    /// The first row that is not known to have expired, if it has.
    #[inline]
    pub(super) fn next_expired(&self, horizon: Timestamp) -> Option<usize> {
        let place = self.expired as usize;
        // A time may be the greatest that there is.
        (self.first <= horizon && place < self.rows.len()).then_some(place)
    }

    /// So many rows at the front are known to have expired.
    pub(super) fn pass_expired(&mut self, rows: usize) {
        self.expired = u32::try_from(rows).unwrap_or(u32::MAX);
        let first = self.rows.get(rows);
        self.first = first.map_or(Timestamp::MAX, |row| row.at.time);
    }
}

/// The number of a group that is nobody's, and empty: what a key has of which there is nothing.
pub(super) const NOBODY: u32 = 0;

/// The groups in memory, found by the bytes of their keys, and what is known of the others.
pub(super) struct Groups<V> {
    away: Away,
    index: HashTable<u32>,
    slots: Vec<Group<V>>,
    scratch: Vec<u8>,
    free: Vec<u32>,
    pub(super) bytes: usize,
    hand: usize,
    /// New groups that no room was made for yet.
    fresh: usize,
    /// The number under which rows change now.
    pub(super) now: Epoch,
    /// The number of the last commit that is done.
    pub(super) done: Epoch,
}

impl<V> Groups<V> {
    /// No groups; what is stored is somewhere up to `since`.
    pub(super) fn new(since: Timestamp, cache_bytes: usize) -> Self {
        Self {
            away: Away::new(since, cache_bytes),
            index: HashTable::new(),
            slots: vec![Group::nobody()],
            scratch: Vec::new(),
            free: Vec::new(),
            bytes: 0,
            hand: 0,
            fresh: 0,
            now: 1,
            done: 0,
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
    pub(super) fn find(&mut self, hash: u64, key: &[u8]) -> Option<u32> {
        let slots = &self.slots;
        let same = |number: &u32| ordered::is_of_bytes(&slots[*number as usize].prefix, key);
        let found = *self.index.find(hash, same)?;
        self.slots[found as usize].used = true;
        Some(found)
    }

    /// Looks for groups that will be wanted soon, and for their last rows; how many it found.
    pub(super) fn expect(&self, keys: &[&[u8]], hash: impl Fn(&[u8]) -> u64) -> usize {
        let ahead = Ahead::new(keys, &self.index, hash);
        let found = ahead.touch(|number| {
            let group = &self.slots[number as usize];
            (group.hash, group.missing)
        });
        // The first row may expire, and the last one is where a new one goes.
        ahead.touch(|number| {
            let group = &self.slots[number as usize];
            let ends = group.rows.front().zip(group.rows.back());
            let seen = ends.map_or(0, |(first, last)| first.timestamp ^ last.timestamp);
            (group.hash, seen)
        });
        found
    }

    /// Touches groups that will be visited soon.
    pub(super) fn touch(&self, numbers: impl Iterator<Item = u32> + Clone) {
        touch_all(numbers.clone(), |number| self.get(number).missing);
        touch_all(numbers, |number| {
            let last = self.get(number).rows.back();
            last.map_or(0, |row| row.timestamp)
        });
    }

    /// The latest time at which a key that is not in memory can have a row.
    #[inline]
    pub(super) fn latest(&self, hash: u64) -> Timestamp {
        self.away.latest(hash)
    }

    /// A group without rows, for a key that is not in memory.
    pub(super) fn insert(&mut self, hash: u64, key: &[u8]) -> u32 {
        self.scratch.clear();
        ordered::put_bytes(&mut self.scratch, key);
        let mut group = Group {
            prefix: SmallBytes::from(&self.scratch[..]),
            missing: self.away.latest(hash),
            hash,
            ..Group::nobody()
        };
        self.bytes += group.prefix.len() + GROUP_BYTES;
        let number = match self.free.pop() {
            Some(number) => {
                let slot = &mut self.slots[number as usize];
                group.rows = std::mem::take(&mut slot.rows);
                *slot = group;
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

    /// Hands what is dirty over to a commit: the number under which it is then.
    pub(super) fn hand_over(&mut self) -> Epoch {
        self.now += 2;
        self.handed()
    }

    /// The number under which rows were handed over last.
    pub(super) fn handed(&self) -> Epoch {
        self.now - 1
    }

    /// Adds a row that was read, unless there is a newer one in its place.
    pub(super) fn add(&mut self, number: u32, row: Row<V>) {
        let group = &mut self.slots[number as usize];
        if let Err(place) = group.find(row.at) {
            self.bytes += row.bytes as usize;
            group.insert(place, row);
        }
    }

    /// Makes room for one more group, now or with the next ones: see [`Groups::evict`].
    #[inline]
    pub(super) fn make_room(&mut self, allowed: usize, horizon: Timestamp) {
        self.fresh += 1;
        if self.fresh < TOGETHER {
            return;
        }
        self.fresh = 0;
        if self.bytes > allowed {
            self.touch_leaving();
            // No further than around, or what was looked up a moment ago could go.
            let steps = (STEPS_PER_GROUP * TOGETHER).min(self.slots.len());
            self.evict(steps, allowed, horizon);
        }
    }

    /// Touches what is looked at of groups that the hand drops next.
    fn touch_leaving(&self) {
        let may_leave = |number: &u32| {
            let group = self.get(*number);
            group.changed <= self.done && !group.used
        };
        let end = (self.hand + 1 + STEPS_PER_GROUP * TOGETHER).min(self.slots.len());
        let behind = (self.hand + 1..end).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        let leaving = behind.filter(may_leave).take(TOGETHER);
        touch_all(leaving.clone(), |number| {
            self.away.latest(self.get(number).hash)
        });
        touch_all(leaving, |number| {
            let group = self.get(number);
            let row = group.rows.front().map_or(0, |row| row.timestamp);
            row ^ i64::from(*self.index.find(group.hash, |_| true).unwrap_or(&0))
        });
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
            if group.changed > self.done || std::mem::take(&mut group.used) {
                continue;
            }
            self.remove(u32::try_from(self.hand).unwrap_or(u32::MAX), horizon);
        }
    }

    /// Drops a group whose rows are all stored, or gone.
    pub(super) fn remove(&mut self, number: u32, horizon: Timestamp) {
        let group = &mut self.slots[number as usize];
        let last = group.last.time.max(group.missing);
        self.away.note(group.hash, last, horizon);
        let Ok(entry) = self.index.find_entry(group.hash, |at| *at == number) else {
            return;
        };
        entry.remove();
        let rows: usize = group.rows.iter().map(|row| row.bytes as usize).sum();
        self.bytes -= rows + group.prefix.len() + GROUP_BYTES;
        group.prefix = SmallBytes::default();
        if group.rows.capacity() <= ROWS_AT_FIRST {
            // The next one in this slot has use for the room.
            group.rows.clear();
        } else {
            group.rows = VecDeque::new();
        }
        (group.last, group.changed) = (NOWHERE, 0);
        group.pass_expired(0);
        // The hand passes free slots by as it does used ones.
        group.used = true;
        self.free.push(number);
    }

    /// How many slots there are, free ones too: the length of a round of the hand.
    pub(super) fn round(&self) -> usize {
        self.slots.len()
    }
}
