//! What the buffer holds of one column: rows found by hash, and in order once somebody asks.

use crate::{Op, SmallBytes};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::{
    cmp::Ordering,
    hash::BuildHasher,
    ops::{Bound, RangeBounds},
};

/// What a row costs beside its bytes, roughly: itself, its place in the table and in the order.
const ROW_BYTES: usize = 80;

/// A key and what was last done to it: `None` is a deletion that the backend below must hear of.
struct Row {
    key: SmallBytes,
    value: Option<SmallBytes>,
    hash: u64,
}

/// The rows of one column.
#[derive(Default)]
pub(super) struct Rows {
    hasher: DefaultHashBuilder,
    index: HashTable<u32>,
    rows: Vec<Row>,
    /// The first so many rows by key; those that came later are not in it yet.
    sorted: Vec<u32>,
}

/// A row as scans take it along.
pub(super) type Fresh = (SmallBytes, Option<SmallBytes>);

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// What was last done to a key; `None` where nothing was.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let hash = self.hasher.hash_one(key);
        let same = |number: &u32| *self.rows[*number as usize].key == *key;
        let number = *self.index.find(hash, same)?;
        Some(self.rows[number as usize].value.as_deref())
    }

    /// Takes a change, and returns by how much the column grew; a shorter value may shrink it.
    pub(super) fn set(&mut self, op: Op<'_>) -> isize {
        let (key, value) = match op {
            Op::Put { key, value, .. } => (key, Some(value)),
            Op::Delete { key, .. } => (key, None),
        };
        let hash = self.hasher.hash_one(key);
        let rows = &mut self.rows;
        let length = |value: Option<&[u8]>| value.map_or(0, <[u8]>::len).cast_signed();
        let same = |number: &u32| *rows[*number as usize].key == *key;
        if let Some(number) = self.index.find(hash, same).copied() {
            let row = &mut rows[number as usize];
            let before = length(row.value.as_deref());
            match (&mut row.value, value) {
                (Some(old), Some(value)) => old.set(value),
                (old, value) => *old = value.map(SmallBytes::from),
            }
            return length(value) - before;
        }
        let number = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        rows.push(Row {
            key: key.into(),
            value: value.map(SmallBytes::from),
            hash,
        });
        self.index
            .insert_unique(hash, number, |number| rows[*number as usize].hash);
        (key.len() + ROW_BYTES).cast_signed() + length(value)
    }

    /// Whether [`Rows::range`] can be asked.
    pub(super) fn is_sorted(&self) -> bool {
        self.sorted.len() == self.rows.len()
    }

    /// Puts the rows that came since the last time into the order.
    pub(super) fn sort(&mut self) {
        let rows = &self.rows;
        let key = |number: &u32| &*rows[*number as usize].key;
        let known = self.sorted.len();
        let mut new: Vec<u32> = (0..rows.len())
            .skip(known)
            .map(|number| u32::try_from(number).unwrap_or(u32::MAX))
            .collect();
        new.sort_unstable_by(|a, b| key(a).cmp(key(b)));
        let old = std::mem::take(&mut self.sorted);
        self.sorted.reserve(rows.len());
        let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
        while let (Some(a), Some(b)) = (old.peek(), new.peek()) {
            let first = match key(a).cmp(key(b)) {
                Ordering::Less => old.next(),
                _ => new.next(),
            };
            self.sorted.extend(first);
        }
        self.sorted.extend(old);
        self.sorted.extend(new);
    }

    /// Copies of the rows within bounds, in order.
    pub(super) fn range(&self, bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> Vec<Fresh> {
        let key = |number: &u32| &*self.rows[*number as usize].key;
        let start = match bounds.0 {
            Bound::Unbounded => 0,
            Bound::Included(from) => self.sorted.partition_point(|at| key(at) < from),
            Bound::Excluded(from) => self.sorted.partition_point(|at| key(at) <= from),
        };
        let inside = |at: &&u32| {
            let upper = (Bound::Unbounded, bounds.1);
            RangeBounds::<[u8]>::contains(&upper, key(at))
        };
        let rows = self.sorted[start..].iter().take_while(inside);
        rows.map(|at| {
            let row = &self.rows[*at as usize];
            (row.key.clone(), row.value.clone())
        })
        .collect()
    }

    /// All rows, in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let rows = self.rows.iter();
        rows.map(|row| (&*row.key, row.value.as_deref()))
    }

    pub(super) fn clear(&mut self) {
        self.index.clear();
        self.rows.clear();
        self.sorted.clear();
    }
}
