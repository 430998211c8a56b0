//! What the buffer holds of one column: rows found by hash, and in order once somebody asks.
//!
//! Invariants: a key has one living row; a row that the column below never had leaves no trace when
//! it is deleted, since there is nothing that a deletion could take away.

use crate::{Op, SmallBytes};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::{
    cmp::Ordering,
    hash::BuildHasher,
    ops::{Bound, RangeBounds},
};

/// What a row costs beside its bytes, roughly: itself, its place in the table and in the order.
const ROW_BYTES: usize = 96;

/// A key and what was last done to it: `None` is a deletion that the backend below must hear of.
struct Row {
    key: SmallBytes,
    value: Option<SmallBytes>,
    hash: u64,
    /// The backend below has no such key.
    new: bool,
    place: Place,
}

/// Where a row's number is listed.
#[derive(Clone, Copy)]
enum Place {
    /// Among those that came since the last sorting, here.
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
    /// Rows by key.
    sorted: Vec<u32>,
    /// Rows that are not in the order yet.
    late: Vec<u32>,
}

/// A row as scans take it along.
pub(super) type Fresh = (SmallBytes, Option<SmallBytes>);

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let same = |number: &u32| *self.rows[*number as usize].key == *key;
        self.index.find(hash, same).copied()
    }

    /// What was last done to a key; `None` where nothing was.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let number = self.find(self.hasher.hash_one(key), key)?;
        Some(self.rows[number as usize].value.as_deref())
    }

    /// Takes a change, and returns by how much the column grew; a shorter value may shrink it.
    pub(super) fn set(&mut self, op: Op<'_>) -> isize {
        let (key, value, new) = match op {
            Op::Put {
                key, value, new, ..
            } => (key, Some(value), new),
            Op::Delete { key, .. } => (key, None, false),
        };
        let hash = self.hasher.hash_one(key);
        let Some(number) = self.find(hash, key) else {
            return self.add(hash, key, value, new);
        };
        let row = &mut self.rows[number as usize];
        if value.is_none() && row.new {
            return self.forget(number);
        }
        let length = |value: Option<&[u8]>| value.map_or(0, <[u8]>::len).cast_signed();
        let before = length(row.value.as_deref());
        match (&mut row.value, value) {
            (Some(old), Some(value)) => old.set(value),
            (old, value) => *old = value.map(SmallBytes::from),
        }
        length(value) - before
    }

    fn add(&mut self, hash: u64, key: &[u8], value: Option<&[u8]>, new: bool) -> isize {
        let place = Place::Late(u32::try_from(self.late.len()).unwrap_or(u32::MAX));
        let row = Row {
            key: key.into(),
            value: value.map(SmallBytes::from),
            hash,
            new,
            place,
        };
        let bytes = row.bytes();
        let number = match self.free.pop() {
            Some(number) => {
                self.rows[number as usize] = row;
                number
            }
            None => {
                self.rows.push(row);
                u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.late.push(number);
        let rows = &self.rows;
        self.index
            .insert_unique(hash, number, |number| rows[*number as usize].hash);
        bytes.cast_signed()
    }

    /// A row that nobody below knows is deleted.
    fn forget(&mut self, number: u32) -> isize {
        let row = &self.rows[number as usize];
        let (hash, place, bytes) = (row.hash, row.place, row.bytes());
        if let Ok(entry) = self.index.find_entry(hash, |at| *at == number) {
            entry.remove();
        }
        let Place::Late(place) = place else {
            // Its key says where it is in the order, and its bytes are counted until it is not.
            self.rows[number as usize].place = Place::Gone;
            return 0;
        };
        self.late.swap_remove(place as usize);
        if let Some(moved) = self.late.get(place as usize) {
            self.rows[*moved as usize].place = Place::Late(place);
        }
        self.release(number);
        -bytes.cast_signed()
    }

    fn release(&mut self, number: u32) {
        let row = &mut self.rows[number as usize];
        (row.key, row.value) = (SmallBytes::default(), None);
        row.place = Place::Free;
        self.free.push(number);
    }

    /// Whether [`Rows::range`] can be asked.
    pub(super) fn is_sorted(&self) -> bool {
        self.late.is_empty()
    }

    /// Puts the rows that came since the last time into the order, and returns by how much the
    /// column grew: not at all, or less than that where it forgets the dead.
    pub(super) fn sort(&mut self) -> isize {
        let rows = &self.rows;
        let key = |number: &u32| &*rows[*number as usize].key;
        let mut new = std::mem::take(&mut self.late);
        new.sort_unstable_by(|a, b| key(a).cmp(key(b)));
        let old = std::mem::take(&mut self.sorted);
        let is_gone = |number: &u32| matches!(rows[*number as usize].place, Place::Gone);
        let (gone, old): (Vec<u32>, Vec<u32>) = old.into_iter().partition(is_gone);
        self.sorted.reserve(old.len() + new.len());
        let (mut old, mut late) = (old.into_iter().peekable(), new.iter().copied().peekable());
        while let (Some(a), Some(b)) = (old.peek(), late.peek()) {
            let first = match key(a).cmp(key(b)) {
                Ordering::Less => old.next(),
                _ => late.next(),
            };
            self.sorted.extend(first);
        }
        self.sorted.extend(old);
        self.sorted.extend(late);
        for number in &new {
            self.rows[*number as usize].place = Place::Sorted;
        }
        new.clear();
        self.late = new;
        let mut freed = 0;
        for number in gone {
            freed += self.rows[number as usize].bytes().cast_signed();
            self.release(number);
        }
        -freed
    }

    /// Copies of the rows within bounds, in order.
    pub(super) fn range(&self, bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> Vec<Fresh> {
        let row = |number: &u32| &self.rows[*number as usize];
        let start = match bounds.0 {
            Bound::Unbounded => 0,
            Bound::Included(from) => self.sorted.partition_point(|at| &*row(at).key < from),
            Bound::Excluded(from) => self.sorted.partition_point(|at| &*row(at).key <= from),
        };
        let inside = |row: &&Row| {
            let upper = (Bound::Unbounded, bounds.1);
            RangeBounds::<[u8]>::contains(&upper, &*row.key)
        };
        let rows = self.sorted[start..].iter().map(row).take_while(inside);
        rows.filter(|row| row.is_alive())
            .map(|row| (row.key.clone(), row.value.clone()))
            .collect()
    }

    /// All rows, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let rows = self.rows.iter().filter(|row| row.is_alive());
        rows.map(|row| (&*row.key, row.value.as_deref()))
    }

    /// From now on the backend below may have every row.
    pub(super) fn no_longer_new(&mut self) {
        self.rows.iter_mut().for_each(|row| row.new = false);
    }

    /// Forgets all rows, and gives back memory of more than so many bytes: nobody counts it.
    pub(super) fn clear_keeping(&mut self, bytes: usize) {
        if self.rows.capacity() * ROW_BYTES > bytes {
            *self = Self::default();
        }
        self.clear();
    }

    pub(super) fn clear(&mut self) {
        self.index.clear();
        self.rows.clear();
        self.free.clear();
        self.sorted.clear();
        self.late.clear();
    }
}

impl Row {
    fn is_alive(&self) -> bool {
        matches!(self.place, Place::Late(_) | Place::Sorted)
    }

    fn bytes(&self) -> usize {
        self.key.len() + ROW_BYTES + self.value.as_deref().map_or(0, <[u8]>::len)
    }
}
