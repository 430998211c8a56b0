//! What the buffer holds of one column: rows found by hash, and in order once somebody asks.
//!
//! Invariants: a key has one living row; a row that the column below never had, by what was
//! said of it, leaves no trace when it is deleted, since there is nothing that a deletion could
//! take away; nor does a value that has expired. A deletion that somebody asked for never
//! expires: it is what clears the column below.

mod guide;
mod order;

use super::{
    ahead::AHEAD,
    arena::{Arena, Spot},
};
use crate::{Before, Horizon, Op, SmallBytes};
use guide::Guide;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::{collections::VecDeque, hash::BuildHasher, hint::black_box, mem};

/// What a row costs beside its bytes, roughly: itself, and its places in table, order and chunk.
const ROW_BYTES: usize = 64;
/// Places of so many rows are kept where there are none any more.
const ROWS_KEPT: usize = 1 << 10;
/// The length of a value that there is not.
const NONE: u32 = u32::MAX;
/// The longest row that is taken in.
pub(super) const LENGTH_MAX: usize = 1 << 30;

/// A key and what was last done to it.
struct Row {
    hash: u64,
    spot: Spot,
    key: u32,
    /// [`NONE`] is a deletion that the backend below must hear of.
    value: u32,
    /// How long a value may be where this one lies.
    room: u32,
    /// The backend below has no such key, as far as its owner knows.
    new: bool,
    /// It has changed since the last [`Rows::turn`].
    young: bool,
    place: Place,
}

/// Which rows go below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// Those that have not changed since the last [`Rows::turn`].
    Old,
}

impl Which {
    fn means(self, row: &Row) -> bool {
        self == Self::All || !row.young
    }
}

/// Where a row's number is listed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Among those that came since the last sorting; the how many-th of all that ever did.
    Late(u32),
    Sorted,
    /// It stays in the order, dead, until the next sorting.
    Gone,
    /// Nowhere: another row may have its memory.
    Free,
}

/// The rows of one column.
#[derive(Default)]
pub(super) struct Rows {
    hasher: DefaultHashBuilder,
    index: HashTable<u32>,
    rows: Vec<Row>,
    free: Vec<u32>,
    arena: Arena,
    /// Rows by key.
    sorted: Vec<u32>,
    guide: Guide,
    /// Those of them that are dead.
    gone: Vec<u32>,
    /// Rows that are not in the order yet, as they came, with [`NONE`] for those that went again,
    /// and how many came before. What expires came first, and leaves from the front.
    late: VecDeque<u32>,
    passed: u32,
    /// Where rows of the column expire: up to where they have.
    horizon: Option<Horizon>,
}

/// A row as scans take it along.
pub(super) type Fresh = (SmallBytes, Option<SmallBytes>);

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// How many bytes the rows take, roughly, and what is left of those that are gone.
    pub(super) fn bytes(&self) -> usize {
        let gone = self.late.len().saturating_sub(self.rows.len());
        self.rows.len() * ROW_BYTES + gone * size_of::<u32>() + self.arena.bytes()
    }

    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The row that a key with this hash probably has.
    pub(super) fn likely(&self, hash: u64) -> Option<u32> {
        self.index.find(hash, |_| true).copied()
    }

    pub(super) fn spot(&self, number: u32) -> Spot {
        self.rows[number as usize].spot
    }

    /// A byte of the row there, if it has any.
    pub(super) fn glance(&self, spot: Spot) -> u8 {
        self.arena.glance(spot)
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let same = |number: &u32| self.key(&self.rows[*number as usize]) == key;
        self.index.find(hash, same).copied()
    }

    fn key(&self, row: &Row) -> &[u8] {
        self.arena.get(row.spot, 0, row.key as usize)
    }

    fn value(&self, row: &Row) -> Option<&[u8]> {
        let there = row.value != NONE;
        there.then(|| {
            self.arena
                .get(row.spot, row.key as usize, row.value as usize)
        })
    }

    /// What was last done to a key; `None` where nothing was.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let number = self.find(self.hash(key), key)?;
        Some(self.value(&self.rows[number as usize]))
    }

    /// Takes a change of a key with this hash.
    pub(super) fn set(&mut self, hash: u64, op: Op<'_>) {
        let (key, value, new) = match op {
            Op::Put {
                key, value, before, ..
            } => (key, Some(value), before != Before::Unknown),
            Op::Delete { key, .. } => (key, None, false),
        };
        let Some(number) = self.find(hash, key) else {
            return self.add(hash, key, value, new);
        };
        let row = &mut self.rows[number as usize];
        row.young = true;
        match value {
            None if row.new => self.forget(number),
            None => row.value = NONE,
            Some(value) if value.len() <= row.room as usize => {
                row.value = length(value.len());
                self.arena.set(row.spot, row.key as usize, value);
            }
            Some(value) => {
                // As a vector grows: what becomes longer again and again moves less and less.
                let room = value.len() + value.len() / 2;
                self.renew(number, key, (Some(value), room));
            }
        }
    }

    fn add(&mut self, hash: u64, key: &[u8], value: Option<&[u8]>, new: bool) {
        if self.late.len() > 2 * self.index.len() + ROWS_KEPT {
            self.close_up();
        }
        let number = self.free.pop();
        let number = number.unwrap_or_else(|| length(self.rows.len()));
        let place = Place::Late(self.passed.wrapping_add(length(self.late.len())));
        let bytes = value.unwrap_or_default();
        let expires = self.expires(key, value);
        let row = Row {
            hash,
            spot: (self.arena).push(number, (key, bytes), bytes.len(), expires),
            key: length(key.len()),
            value: value.map_or(NONE, |value| length(value.len())),
            room: length(bytes.len()),
            new,
            young: true,
            place,
        };
        match self.rows.get_mut(number as usize) {
            Some(free) => *free = row,
            None => self.rows.push(row),
        }
        self.late.push_back(number);
        let rows = &self.rows;
        self.index
            .insert_unique(hash, number, |number| rows[*number as usize].hash);
    }

    /// When a row expires, if it does; not in sight, where the column does not say how rows do.
    fn expires(&self, key: &[u8], value: Option<&[u8]>) -> Option<[u8; 8]> {
        value?;
        self.horizon
            .map_or(Some([u8::MAX; 8]), |horizon| horizon.time_of(key))
    }

    /// Writes a row anew elsewhere.
    fn renew(&mut self, number: u32, key: &[u8], (value, room): (Option<&[u8]>, usize)) {
        let (expires, bytes) = (self.expires(key, value), value.unwrap_or_default());
        let spot = self.arena.push(number, (key, bytes), room, expires);
        let row = &mut self.rows[number as usize];
        let (old, size) = (row.spot, row.size());
        row.value = value.map_or(NONE, |value| length(value.len()));
        (row.spot, row.room) = (spot, length(room));
        self.leave(old, size);
    }

    /// A row is no longer there. A chunk of which little is left is not worth its memory.
    fn leave(&mut self, spot: Spot, size: usize) {
        if self.arena.leave(spot, size) {
            self.empty(spot.chunk, |_| false);
        }
    }

    /// Takes all rows out of a chunk: to another one, or away, where `goes` says so of the keys of
    /// those that have values.
    fn empty(&mut self, chunk: u32, goes: impl Fn(&[u8]) -> bool) {
        let numbers = self.arena.empty(chunk);
        for (place, &number) in numbers.iter().enumerate() {
            if place % AHEAD == 0 {
                self.touch(&numbers[place..numbers.len().min(place + AHEAD)]);
            }
            let row = &self.rows[number as usize];
            if row.place == Place::Free || row.spot.chunk != chunk {
                continue;
            }
            let key = self.key(row);
            if row.value == NONE || !goes(key) {
                let (key, value) = (key.to_vec(), self.value(row).map(<[u8]>::to_vec));
                let room = value.as_ref().map_or(0, Vec::len);
                self.renew(number, &key, (value.as_deref(), room));
            } else if row.is_alive() {
                self.forget(number);
            }
        }
    }

    /// Looks at rows that are to be forgotten, and at their places in the table, all at once: most
    /// of what it costs to forget one is waiting for that memory.
    fn touch(&self, numbers: &[u32]) {
        let seen = numbers.iter().fold(0, |seen, number| {
            let hash = self.rows[*number as usize].hash;
            seen ^ self.likely(hash).unwrap_or(NONE)
        });
        black_box(seen);
    }

    /// Rows have expired up to there: those that came together go together.
    pub(super) fn expire(&mut self, horizon: Horizon) {
        self.horizon = Some(horizon);
        let chunks = self.arena.expired(horizon.until);
        for chunk in &chunks {
            self.empty(*chunk, |key| horizon.covers(key));
        }
        if !chunks.is_empty() {
            self.bury();
        }
    }

    /// Forgets a row, of which nobody below need hear.
    fn forget(&mut self, number: u32) {
        let row = &self.rows[number as usize];
        let (hash, place) = (row.hash, row.place);
        if let Ok(entry) = self.index.find_entry(hash, |at| *at == number) {
            entry.remove();
        }
        let Place::Late(place) = place else {
            // Its key says where it is in the order, and its bytes stay until it is not.
            self.rows[number as usize].place = Place::Gone;
            self.gone.push(number);
            return;
        };
        let place = place.wrapping_sub(self.passed);
        if let Some(listed) = self.late.get_mut(place as usize) {
            debug_assert_eq!(*listed, number, "a row's place in the list");
            *listed = NONE;
        }
        while self.late.front() == Some(&NONE) {
            self.late.pop_front();
            self.passed = self.passed.wrapping_add(1);
        }
        self.release(number);
    }

    fn release(&mut self, number: u32) {
        let row = &mut self.rows[number as usize];
        row.place = Place::Free;
        let (spot, size) = (row.spot, row.size());
        self.free.push(number);
        self.leave(spot, size);
    }

    /// The rows that are meant, but no values that have expired, in no order. From the call on the
    /// backend below may have each of them, also where the write fails: nobody knows then how much
    /// of it was done.
    pub(super) fn hand_over(
        &mut self,
        which: Which,
    ) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let meant = move |row: &Row| row.is_alive() && which.means(row);
        let rows = self.rows.iter_mut().filter(|row| meant(row));
        rows.for_each(|row| row.new = false);
        let rows = self.rows.iter().filter(move |row| meant(row));
        let rows = rows.map(|row| (self.key(row), self.value(row)));
        let has_expired = |key: &[u8]| self.horizon.is_some_and(|horizon| horizon.covers(key));
        rows.filter(move |(key, value)| value.is_none() || !has_expired(key))
    }

    /// Rows are old from now on, until they change.
    pub(super) fn turn(&mut self) {
        self.rows.iter_mut().for_each(|row| row.young = false);
    }

    /// Forgets the old rows: the backend below has them.
    pub(super) fn forget_old(&mut self) {
        let young = |row: &&Row| row.is_alive() && row.young;
        // To copy what is left gives back the memory of all else.
        if self.rows.iter().filter(young).count() < self.rows.len() / 4 * 3 {
            let empty = self.empty_as_new();
            let before = mem::replace(self, empty);
            for row in before.rows.iter().filter(young) {
                let key = before.key(row);
                self.add(self.hash(key), key, before.value(row), row.new);
            }
            return;
        }
        for number in 0..self.rows.len() {
            let row = &self.rows[number];
            if row.is_alive() && !row.young {
                self.forget(length(number));
            }
        }
        self.bury();
    }

    /// No rows; what has expired is known still.
    fn empty_as_new(&self) -> Self {
        Self {
            horizon: self.horizon,
            ..Self::default()
        }
    }

    /// Forgets all rows, and gives back their memory, unless it is little.
    pub(super) fn clear(&mut self) {
        if self.rows.capacity() > ROWS_KEPT {
            *self = self.empty_as_new();
            return;
        }
        self.index.clear();
        self.rows.clear();
        self.free.clear();
        self.arena = Arena::default();
        self.sorted.clear();
        self.guide = Guide::default();
        self.gone.clear();
        self.late.clear();
    }
}

impl Row {
    fn is_alive(&self) -> bool {
        matches!(self.place, Place::Late(_) | Place::Sorted)
    }

    fn size(&self) -> usize {
        (self.key + self.room) as usize
    }
}

/// A number of rows, or of bytes up to [`LENGTH_MAX`].
fn length(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(NONE)
}
