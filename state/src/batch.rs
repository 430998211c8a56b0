//! A list of puts and deletes over one task's columns, in one reusable piece of memory.

use crate::{Column, Horizon, Position};
use std::ops::Range;

/// One change to a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// Sets a key.
    Put {
        /// The column.
        column: Column,
        /// The key.
        key: &'a [u8],
        /// The new value.
        value: &'a [u8],
        /// What is known of the key until then.
        before: Before,
    },
    /// Removes a key.
    Delete {
        /// The column.
        column: Column,
        /// The key.
        key: &'a [u8],
    },
}

/// What is known of a key before it is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing is known: it may be there or not.
    Unknown,
    /// It is not there; see [`WriteBatch::insert_parts`].
    Absent,
    /// It is not there, as is believed on somebody's word; see [`WriteBatch::suppose_parts`].
    Supposed,
}

impl<'a> Op<'a> {
    /// The column that it changes.
    pub const fn column(&self) -> Column {
        let (Self::Put { column, .. } | Self::Delete { column, .. }) = self;
        *column
    }

    /// The key that it changes.
    pub const fn key(&self) -> &'a [u8] {
        let (Self::Put { key, .. } | Self::Delete { key, .. }) = self;
        key
    }
}

struct Entry {
    column: Column,
    key: Range<usize>,
    value: Option<Range<usize>>,
    before: Before,
}

/// Changes that a [`Backend`](crate::Backend) applies together or not at all.
///
/// Later entries win over earlier ones for the same key. The memory is kept by
/// [`WriteBatch::clear`], so that filling it allocates nothing once a commit loop is warm.
#[derive(Default)]
pub struct WriteBatch {
    data: Vec<u8>,
    entries: Vec<Entry>,
    positions: Vec<(Column, Position)>,
    horizons: Vec<(Column, Horizon)>,
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, column: Column, key: &[u8], value: &[u8]) {
        self.put_parts(column, key, &[value]);
    }

    /// Sets a key to the parts written one after the other, so that callers need not join them.
    pub fn put_parts(&mut self, column: Column, key: &[u8], parts: &[&[u8]]) {
        self.push(column, key, parts, Before::Unknown);
    }

    /// Sets a key to what `write` appends, so that a value need not lie elsewhere first. The key
    /// may be finished later: [`WriteBatch::key_mut`].
    pub fn put_with(&mut self, column: Column, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let key = self.append(key);
        let start = self.data.len();
        write(&mut self.data);
        self.entries.push(Entry {
            column,
            key,
            value: Some(start..self.data.len()),
            before: Before::Unknown,
        });
    }

    /// The key of a change, by its place among them, for one that is not known to the end when the
    /// value is.
    ///
    /// ```
    /// use millstream_state::{Column, WriteBatch};
    ///
    /// let mut batch = WriteBatch::new();
    /// batch.put_with(Column(0), b"key-?", |value| value.extend_from_slice(b"long"));
    /// batch.key_mut(0).unwrap()[4] = b'1';
    /// assert_eq!(batch.ops().next().unwrap().key(), b"key-1");
    /// ```
    pub fn key_mut(&mut self, change: usize) -> Option<&mut [u8]> {
        let entry = self.entries.get(change)?;
        Some(&mut self.data[entry.key.clone()])
    }

    /// As [`WriteBatch::put_parts`] of a key that the column does not have, as the caller knows. A
    /// backend that holds it back may then forget row and deletion, where that comes in time.
    pub fn insert_parts(&mut self, column: Column, key: &[u8], parts: &[&[u8]]) {
        self.push(column, key, parts, Before::Absent);
    }

    /// As [`WriteBatch::insert_parts`] where the caller is nearly sure. If the column has the key,
    /// and it is removed again while a backend holds it back, the row of before may be there again.
    pub fn suppose_parts(&mut self, column: Column, key: &[u8], parts: &[&[u8]]) {
        self.push(column, key, parts, Before::Supposed);
    }

    fn push(&mut self, column: Column, key: &[u8], parts: &[&[u8]], before: Before) {
        let key = self.append(key);
        let start = self.data.len();
        for part in parts {
            self.data.extend_from_slice(part);
        }
        self.entries.push(Entry {
            column,
            key,
            value: Some(start..self.data.len()),
            before,
        });
    }

    /// Removes a key; a key that is not there is no error.
    pub fn delete(&mut self, column: Column, key: &[u8]) {
        let key = self.append(key);
        self.entries.push(Entry {
            column,
            key,
            value: None,
            before: Before::Unknown,
        });
    }

    /// Says how far the column is after this batch. Where that is said more than once, it is as if
    /// batches had said it one after the other.
    pub fn set_position(&mut self, column: Column, position: Position) {
        self.positions.push((column, position));
    }

    /// Says which rows of the column have expired: readers take no notice of them from now on, and
    /// the backend may forget them, those of this batch too.
    pub fn set_horizon(&mut self, column: Column, horizon: Horizon) {
        self.horizons.push((column, horizon));
    }

    /// The changes in the order they were made.
    pub fn ops(&self) -> impl Iterator<Item = Op<'_>> {
        self.entries.iter().map(|entry| self.op(entry))
    }

    /// The changes by column and key, those of one key in the order they were made.
    ///
    /// The same end as [`WriteBatch::ops`] on a shorter way: a sorted map finds each place next to
    /// the one before, in memory that is still in the processor's cache. For a commit of many keys
    /// that is worth several times what the sorting costs.
    pub fn ops_by_key(&self) -> impl Iterator<Item = Op<'_>> {
        let key = |entry: &Entry| &self.data[entry.key.clone()];
        // The first bytes in which keys differ decide most comparisons, as a number, without a look
        // at the keys themselves.
        let first = self.entries.first().map_or(&[][..], key);
        let common = (self.entries.iter()).fold(first.len(), |common, entry| {
            let pairs = first[..common].iter().zip(key(entry));
            pairs.take_while(|(a, b)| a == b).count()
        });
        let mut order: Vec<_> = (self.entries.iter())
            .map(|entry| (entry.column, head(&key(entry)[common..]), entry))
            .collect();
        order.sort_by(|(a_column, a_head, a), (b_column, b_head, b)| {
            let heads = (a_column, a_head).cmp(&(b_column, b_head));
            heads.then_with(|| key(a).cmp(key(b)))
        });
        order.into_iter().map(|(_, _, entry)| self.op(entry))
    }

    /// The positions set, in order; the last one of a column holds, after those before it
    /// ([`Position::after`]).
    pub fn positions(&self) -> &[(Column, Position)] {
        &self.positions
    }

    /// The horizons set, in order; the last one of a column holds.
    pub fn horizons(&self) -> &[(Column, Horizon)] {
        &self.horizons
    }

    /// The number of changes.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing to apply, not even a position. That something has expired changes
    /// nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.positions.is_empty()
    }

    /// Bytes of keys and values held.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Bytes of keys and values for which there is memory.
    pub fn capacity(&self) -> usize {
        self.data.capacity()
    }

    /// Forgets the changes and keeps the memory.
    pub fn clear(&mut self) {
        self.data.clear();
        self.entries.clear();
        self.positions.clear();
        self.horizons.clear();
    }

    fn op<'a>(&'a self, entry: &'a Entry) -> Op<'a> {
        let (column, key) = (entry.column, &self.data[entry.key.clone()]);
        match &entry.value {
            Some(value) => Op::Put {
                column,
                key,
                value: &self.data[value.clone()],
                before: entry.before,
            },
            None => Op::Delete { column, key },
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.data.len();
        self.data.extend_from_slice(bytes);
        start..self.data.len()
    }
}

/// The first eight bytes of a key as a number that sorts like them; a shorter key ends in zeros,
/// which puts it no later than any that goes on.
fn head(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let length = key.len().min(bytes.len());
    bytes[..length].copy_from_slice(&key[..length]);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn by_key_is_a_stable_sort(
            keys in prop::collection::vec((0..2_u16, prop::collection::vec(0..2_u8, 0..11)), 0..40),
        ) {
            let mut batch = WriteBatch::new();
            for (number, (column, key)) in (0_u8..).zip(&keys) {
                match number % 4 {
                    0 => batch.delete(Column(*column), key),
                    _ => batch.put(Column(*column), key, &[number]),
                }
            }
            let mut expected: Vec<_> = batch.ops().collect();
            expected.sort_by_key(|op| match *op {
                Op::Put { column, key, .. } | Op::Delete { column, key } => (column, key.to_vec()),
            });
            prop_assert!(batch.ops_by_key().eq(expected));
        }
    }
}
