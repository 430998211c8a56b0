//! The ordered buffer: rows by bytes, all of them in memory, first ones first.
//!
//! What waits for its time (suppressed results, unmatched records of an outer join, windows to be
//! told when they close) lies in such a buffer, under keys that begin with the time waited for.
//! What waits is bounded by what is still open, and the first row is asked for with every record,
//! so it is a sorted map in memory; the backend only brings it back after a restart. Invariant:
//! rows are handed over in byte order, one change per row and commit.

use super::{
    StateStore, StoreEnv,
    stored::{RowBytes, read_rows},
};
use crate::{
    batch::RecordBatch,
    error::{Error, Result},
    record::{Headers, Timestamp},
    serde::{Encoded, Serde},
};
use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

/// What a row costs beside key and value, roughly: the map's node and the allocations.
const ROW_BYTES: usize = 64;

/// How a row's value is written and read.
pub(crate) trait RowFormat<V> {
    /// Appends the value's bytes.
    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<Encoded>;
    /// Reads a value.
    fn decode(&self, bytes: &[u8]) -> Result<V>;
}

impl<V: 'static> RowFormat<V> for Serde<V> {
    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<Encoded> {
        self.codec().encode(value, out)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V> {
        self.codec().decode(Some(bytes))
    }
}

struct Row<V> {
    value: V,
    timestamp: Timestamp,
    /// What the row counts as.
    bytes: usize,
    /// Whether the backend has it or will have it by a commit under way.
    stored: bool,
    /// Whether it changed since the last commit.
    dirty: bool,
}

/// What a row counts as.
fn row_bytes<V>(
    format: &dyn RowFormat<V>,
    key: &[u8],
    value: &V,
    scratch: &mut Vec<u8>,
) -> Result<usize> {
    scratch.clear();
    match format.encode(value, scratch)? {
        Encoded::Bytes => Ok(key.len() + scratch.len() + ROW_BYTES),
        Encoded::Null => Err(Error::serialization(
            "a buffer cannot hold a value that its serde writes as null",
        )),
    }
}

/// A store of rows in the order of their keys' bytes, each with a timestamp.
pub struct BufferStore<V: 'static> {
    value: Box<dyn RowFormat<V>>,
    env: StoreEnv,
    /// Rows lie behind this key; what is there or before is not the buffer's.
    behind: Bound<&'static [u8]>,
    rows: BTreeMap<Vec<u8>, Row<V>>,
    /// Rows that changed since the last commit; what is here and not in `rows` was deleted, and had
    /// this timestamp.
    dirty: BTreeMap<Vec<u8>, Timestamp>,
    /// Rows that a commit under way deletes: put again meanwhile, they need deleting again.
    deleting: BTreeSet<Vec<u8>>,
    bytes: usize,
    scratch: Vec<u8>,
}

impl<V: 'static> BufferStore<V> {
    /// Reads what the backend holds.
    ///
    /// # Errors
    /// Where storage fails or does not hold such rows.
    pub fn open(value: Serde<V>, env: StoreEnv) -> Result<Self> {
        Self::over(Box::new(value), Bound::Unbounded, env)
    }

    /// A buffer below another store, which keeps notes of its own at a key before all rows.
    pub(super) fn open_behind(
        value: Box<dyn RowFormat<V>>,
        notes: &'static [u8],
        env: StoreEnv,
    ) -> Result<Self> {
        Self::over(value, Bound::Excluded(notes), env)
    }

    fn over(
        value: Box<dyn RowFormat<V>>,
        behind: Bound<&'static [u8]>,
        env: StoreEnv,
    ) -> Result<Self> {
        let mut store = Self {
            value,
            env,
            behind,
            rows: BTreeMap::new(),
            dirty: BTreeMap::new(),
            deleting: BTreeSet::new(),
            bytes: 0,
            scratch: Vec::new(),
        };
        store.load()?;
        Ok(store)
    }

    /// Sets a row. The same key has one row; what it was is returned.
    ///
    /// # Errors
    /// Where the value cannot be encoded: its size counts against the buffer's limit.
    pub fn put(&mut self, key: &[u8], value: V, timestamp: Timestamp) -> Result<Option<V>> {
        self.put_over(key, value, timestamp, |_, _| {})
    }

    /// Sets a row; where there is one, `swap` first lets the new value have what it needs of it.
    pub(super) fn put_over(
        &mut self,
        key: &[u8],
        mut value: V,
        timestamp: Timestamp,
        swap: impl Fn(&mut V, &mut V),
    ) -> Result<Option<V>> {
        let Some(row) = self.rows.get_mut(key) else {
            return self.insert(key, value, timestamp).map(|()| None);
        };
        swap(&mut row.value, &mut value);
        let bytes = match row_bytes(&*self.value, key, &value, &mut self.scratch) {
            Ok(bytes) => bytes,
            Err(error) => {
                swap(&mut row.value, &mut value);
                return Err(error);
            }
        };
        self.bytes = self.bytes - row.bytes + bytes;
        (row.timestamp, row.bytes) = (timestamp, bytes);
        if !std::mem::replace(&mut row.dirty, true) {
            self.dirty.insert(key.to_vec(), timestamp);
        }
        Ok(Some(std::mem::replace(&mut row.value, value)))
    }

    fn insert(&mut self, key: &[u8], value: V, timestamp: Timestamp) -> Result<()> {
        let bytes = row_bytes(&*self.value, key, &value, &mut self.scratch)?;
        self.bytes += bytes;
        let before = self.dirty.insert(key.to_vec(), timestamp);
        // If it was deleted, nobody but us may know that yet.
        let stored = before.is_some() || self.deleting.contains(key);
        let row = Row {
            value,
            timestamp,
            bytes,
            stored,
            dirty: true,
        };
        self.rows.insert(key.to_vec(), row);
        Ok(())
    }

    /// The value of a row, and its timestamp.
    pub fn get(&self, key: &[u8]) -> Option<(&V, Timestamp)> {
        self.rows.get(key).map(|row| (&row.value, row.timestamp))
    }

    /// Takes a row out.
    pub fn remove(&mut self, key: &[u8]) -> Option<(V, Timestamp)> {
        let row = self.rows.remove(key)?;
        self.bytes -= row.bytes;
        if row.stored {
            self.dirty.insert(key.to_vec(), row.timestamp);
        } else {
            self.dirty.remove(key);
        }
        Some((row.value, row.timestamp))
    }

    /// The first row: its key, value and timestamp.
    pub fn first(&self) -> Option<(&[u8], &V, Timestamp)> {
        let (key, row) = self.rows.first_key_value()?;
        Some((key, &row.value, row.timestamp))
    }

    /// Takes the first row out if `due` says so of its key.
    pub fn pop_first_if(
        &mut self,
        due: impl FnOnce(&[u8]) -> bool,
    ) -> Option<(Vec<u8>, V, Timestamp)> {
        let key = self.rows.first_key_value().map(|(key, _)| key)?;
        if !due(key) {
            return None;
        }
        let key = key.clone();
        self.remove(&key).map(|(value, time)| (key, value, time))
    }

    /// The rows between two keys, in order.
    pub fn range(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> impl DoubleEndedIterator<Item = (&[u8], &V, Timestamp)> {
        self.rows
            .range::<[u8], _>(bounds)
            .map(|(key, row)| (key.as_slice(), &row.value, row.timestamp))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many bytes they take, roughly; what a limit in bytes is held against.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn load(&mut self) -> Result<()> {
        let Self {
            env,
            value,
            rows,
            behind,
            ..
        } = self;
        rows.clear();
        let mut bytes = 0;
        let all = (*behind, Bound::Unbounded);
        let read = read_rows(env, all, |key, stored| {
            let RowBytes {
                timestamp,
                value: encoded,
                ..
            } = RowBytes::split(stored)?;
            let row = Row {
                value: value.decode(encoded)?,
                timestamp,
                bytes: key.len() + encoded.len() + ROW_BYTES,
                stored: true,
                dirty: false,
            };
            bytes += row.bytes;
            rows.insert(key.to_vec(), row);
            Ok(())
        });
        self.bytes = bytes;
        read
    }
}

impl<V: 'static> StateStore for BufferStore<V> {
    fn set_time(&mut self, _: Timestamp) {}

    fn dirty_bytes(&self) -> usize {
        let mean = self.bytes.checked_div(self.rows.len()).unwrap_or(ROW_BYTES);
        self.dirty.len() * mean
    }

    fn drain(&mut self, changes: &mut RecordBatch) -> Result<()> {
        for (key, timestamp) in std::mem::take(&mut self.dirty) {
            let row = self.rows.get_mut(&key);
            let timestamp = row.as_ref().map_or(timestamp, |row| row.timestamp);
            changes.encode(
                timestamp.max(0),
                &Headers::NONE,
                |out| {
                    out.extend_from_slice(&key);
                    Ok(Encoded::Bytes)
                },
                |out| match &row {
                    Some(row) => self.value.encode(&row.value, out),
                    None => Ok(Encoded::Null),
                },
            )?;
            match row {
                Some(row) => {
                    if !row.stored {
                        changes.mark_first();
                    }
                    (row.stored, row.dirty) = (true, false);
                }
                None => {
                    self.deleting.insert(key);
                }
            }
        }
        Ok(())
    }

    fn applied(&mut self) -> Result<()> {
        self.deleting.clear();
        Ok(())
    }

    fn abort(&mut self) -> Result<()> {
        self.dirty.clear();
        self.deleting.clear();
        self.load()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
