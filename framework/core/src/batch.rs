//! Many records in one piece of memory: how logs hand them over, how tasks hand them back.
//!
//! Invariant: offsets inside a batch grow; only records that came as one of the log have the same
//! ([`pack`](crate::pack)). Entries are plain numbers into one byte arena, so that reading a record
//! borrows and writing one copies its bytes once.

use crate::{
    error::{Error, Result},
    record::{Headers, Offset, RawRecord, Timestamp},
    serde::Encoded,
};
use millstream_state::Before;
use std::{ops::Range, sync::Arc};

const NULL: u32 = u32::MAX;
/// A batch takes no further record beyond this many bytes of keys and values.
pub const BATCH_BYTES_MAX: usize = 1 << 30;

#[derive(Clone, Debug)]
struct Entry {
    offset: Offset,
    timestamp: Timestamp,
    start: u32,
    key: u32,
    value: u32,
    mark: Mark,
    headers: Headers,
}

/// What is said of a record to those who get the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    None,
    /// A store says: it is the first one of its key, or the first since the key was deleted.
    First,
    /// A store says: it is believed to be that.
    Supposed,
    /// A store says: it is for the backend alone, since whoever reads the changelog knows it by
    /// itself.
    Local,
    /// It is a pack that could not be read.
    Broken,
}

/// Records of one partition, with their offsets, in one arena.
#[derive(Clone, Debug, Default)]
pub struct RecordBatch {
    data: Vec<u8>,
    entries: Vec<Entry>,
    /// Bytes of all entries' headers.
    headers: usize,
}

impl RecordBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch with room for so many records and bytes of keys and values: for writers that
    /// know from the batch before what to expect, since growing copies everything again.
    pub fn with_capacity(records: usize, bytes: usize) -> Self {
        Self {
            data: Vec::with_capacity(bytes.min(BATCH_BYTES_MAX)),
            entries: Vec::with_capacity(records),
            headers: 0,
        }
    }

    /// Makes room for so many more records and bytes of keys and values.
    pub fn reserve(&mut self, records: usize, bytes: usize) {
        self.data.reserve(bytes);
        self.entries.reserve(records);
    }

    /// Appends a record; `false` says that the batch is full and the record was not taken.
    #[must_use = "a full batch does not take the record"]
    pub fn push(&mut self, offset: Offset, record: RawRecord<'_>) -> bool {
        let (key, value) = (
            record.key.unwrap_or_default(),
            record.value.unwrap_or_default(),
        );
        let start = self.data.len();
        if start + key.len() + value.len() > BATCH_BYTES_MAX {
            return false;
        }
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
        let length = |bytes: Option<&[u8]>| bytes.map_or(NULL, |b| u32_length(b.len()));
        self.headers += record.headers.bytes();
        self.entries.push(Entry {
            offset,
            timestamp: record.timestamp,
            start: u32_length(start),
            key: length(record.key),
            value: length(record.value),
            mark: Mark::None,
            headers: record.headers.clone(),
        });
        true
    }

    /// Appends a record whose key and value are encoded straight into the arena.
    ///
    /// # Errors
    /// Where an encoder fails or the batch is full; the batch is then as it was before.
    #[inline]
    pub fn encode(
        &mut self,
        timestamp: Timestamp,
        headers: &Headers,
        key: impl FnOnce(&mut Vec<u8>) -> Result<Encoded>,
        value: impl FnOnce(&mut Vec<u8>) -> Result<Encoded>,
    ) -> Result<()> {
        let start = self.data.len();
        let lengths = encoded_length(&mut self.data, key)
            .and_then(|key| Ok((key, encoded_length(&mut self.data, value)?)));
        let full = self.data.len() > BATCH_BYTES_MAX;
        let (key, value) = match lengths {
            Ok(lengths) if !full => lengths,
            failed => {
                self.data.truncate(start);
                failed?;
                return Err(too_many());
            }
        };
        let offset = self.entries.len() as Offset;
        let (start, headers) = (u32_length(start), headers.clone());
        self.headers += headers.bytes();
        self.entries.push(Entry {
            offset,
            timestamp,
            start,
            key,
            value,
            mark: Mark::None,
            headers,
        });
        Ok(())
    }

    /// Says of the last record that it is the first one of its key, or the first since the key was
    /// deleted. Only a store's changes say so, to those who write them to a backend.
    pub(crate) fn mark_first(&mut self) {
        self.mark(Mark::First);
    }

    /// As [`RecordBatch::mark_first`], where that is only believed.
    pub(crate) fn mark_supposed(&mut self) {
        self.mark(Mark::Supposed);
    }

    /// What is known of the key of the record at a place, before it.
    pub(crate) fn before(&self, index: usize) -> Before {
        match self.entries[index].mark {
            Mark::First => Before::Absent,
            Mark::Supposed => Before::Supposed,
            Mark::None | Mark::Local | Mark::Broken => Before::Unknown,
        }
    }

    /// Says of the last record that a store's changelog can do without it.
    pub(crate) fn mark_local(&mut self) {
        self.mark(Mark::Local);
    }

    /// Says of the last record that it is a pack which cannot be read.
    pub(crate) fn mark_broken(&mut self) {
        self.mark(Mark::Broken);
    }

    /// Whether the record at a place is a pack that cannot be read.
    #[inline]
    pub(crate) fn is_broken(&self, index: usize) -> bool {
        self.entries[index].mark == Mark::Broken
    }

    /// Of a store's changes those that its changelog must get: all but the deletions of rows that
    /// have expired, where it loses such rows by being cut off in front.
    pub fn logged(&self) -> impl Iterator<Item = RawRecord<'_>> {
        let entries = self.entries.iter().enumerate();
        let logged = entries.filter(|(_, entry)| entry.mark != Mark::Local);
        logged.map(|(index, _)| self.get(index))
    }

    fn mark(&mut self, mark: Mark) {
        if let Some(last) = self.entries.last_mut() {
            last.mark = mark;
        }
    }

    /// Bytes of the last record's value.
    pub(crate) fn last_value_bytes(&self) -> usize {
        let last = self.entries.last().filter(|entry| entry.value != NULL);
        last.map_or(0, |entry| entry.value as usize)
    }

    /// Appends all records of another batch, which is empty afterwards.
    ///
    /// # Errors
    /// Where they are too many; nothing has changed then.
    pub(crate) fn take_in(&mut self, other: &mut Self) -> Result<()> {
        if self.is_empty() {
            std::mem::swap(self, other);
            return Ok(());
        }
        let bytes = self.data.len();
        if bytes + other.data.len() > BATCH_BYTES_MAX {
            return Err(too_many());
        }
        self.data.append(&mut other.data);
        self.headers += std::mem::take(&mut other.headers);
        let first = self.entries.len() as Offset;
        let entries = (first..).zip(other.entries.drain(..));
        self.entries.extend(entries.map(|(offset, entry)| Entry {
            offset,
            start: entry.start + u32_length(bytes),
            ..entry
        }));
        Ok(())
    }

    /// Takes the last record out again.
    pub(crate) fn remove_last(&mut self) {
        if let Some(last) = self.entries.pop() {
            self.data.truncate(last.start as usize);
            self.headers -= last.headers.bytes();
        }
    }

    /// Takes the last records out again, until there are no more than so many.
    pub(crate) fn truncate(&mut self, length: usize) {
        while self.len() > length {
            self.remove_last();
        }
    }

    /// The record at a place in the batch.
    ///
    /// # Panics
    /// Where `index` is not below [`RecordBatch::len`], as slices do.
    #[inline]
    pub fn get(&self, index: usize) -> RawRecord<'_> {
        let entry = &self.entries[index];
        let start = entry.start as usize;
        let middle = start
            + if entry.key == NULL {
                0
            } else {
                entry.key as usize
            };
        let end = middle
            + if entry.value == NULL {
                0
            } else {
                entry.value as usize
            };
        RawRecord {
            key: (entry.key != NULL).then(|| &self.data[start..middle]),
            value: (entry.value != NULL).then(|| &self.data[middle..end]),
            timestamp: entry.timestamp,
            headers: &entry.headers,
        }
    }

    /// The offset of the record at a place in the batch.
    #[inline]
    pub fn offset(&self, index: usize) -> Offset {
        self.entries[index].offset
    }

    /// The timestamp of the record at a place in the batch.
    #[inline]
    pub fn timestamp(&self, index: usize) -> Timestamp {
        self.entries[index].timestamp
    }

    /// The first place whose offset is at least `offset`.
    pub fn position_of(&self, offset: Offset) -> usize {
        self.entries.partition_point(|entry| entry.offset < offset)
    }

    /// The offset after the last record, if there is one.
    pub fn next_offset(&self) -> Option<Offset> {
        self.entries.last().map(|entry| entry.offset + 1)
    }

    /// All records with their offsets.
    pub fn iter(&self) -> impl Iterator<Item = (Offset, RawRecord<'_>)> {
        (0..self.len()).map(|index| (self.offset(index), self.get(index)))
    }

    /// How many records there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// About how many bytes of memory the records take: keys, values, and headers as
    /// [`Headers::bytes`] reckons.
    pub fn held_bytes(&self) -> usize {
        self.data.len() + self.headers
    }

    /// Gives every record the offsets from `base` on, one apart: what a log does when it accepts
    /// it.
    pub fn rebase(&mut self, base: Offset) {
        for (entry, offset) in self.entries.iter_mut().zip(base..) {
            entry.offset = offset;
        }
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.data.clear();
        self.entries.clear();
        self.headers = 0;
    }
}

#[cold]
fn too_many() -> Error {
    // No record is to blame, so none may be dropped for it.
    Error::serialization("more output than one commit can hold").answered()
}

#[inline]
fn encoded_length(
    data: &mut Vec<u8>,
    encode: impl FnOnce(&mut Vec<u8>) -> Result<Encoded>,
) -> Result<u32> {
    let before = data.len();
    Ok(match encode(data)? {
        Encoded::Bytes => u32_length(data.len() - before),
        Encoded::Null => NULL,
    })
}

/// Lengths are checked against [`BATCH_BYTES_MAX`] before they come here.
#[inline]
fn u32_length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(NULL - 1)
}

/// A shared stretch of a batch, as a log hands it out.
#[derive(Clone, Debug)]
pub struct Records {
    /// The batch it lies in.
    pub batch: Arc<RecordBatch>,
    /// The stretch.
    pub range: Range<usize>,
}

impl Records {
    /// A whole batch.
    pub fn all(batch: Arc<RecordBatch>) -> Self {
        let range = 0..batch.len();
        Self { batch, range }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The records with their offsets.
    pub fn iter(&self) -> impl Iterator<Item = (Offset, RawRecord<'_>)> {
        self.range
            .clone()
            .map(|index| (self.batch.offset(index), self.batch.get(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_counted_wherever_records_come_and_go() -> Result<()> {
        let mut headers = Headers::NONE;
        headers.push("name", Some(vec![0; 100]));
        let one = headers.bytes();
        let encode = |batch: &mut RecordBatch| {
            let bytes = |out: &mut Vec<u8>| {
                out.push(1);
                Ok(Encoded::Bytes)
            };
            batch.encode(0, &headers, bytes, bytes)
        };
        let record = RawRecord {
            key: None,
            value: Some(b"value"),
            timestamp: 0,
            headers: &headers,
        };
        let (mut batch, mut other) = (RecordBatch::new(), RecordBatch::new());
        assert!(batch.push(0, record));
        encode(&mut batch)?;
        encode(&mut other)?;
        let refused = batch.encode(0, &headers, |_| Err(too_many()), |_| Ok(Encoded::Null));
        assert!(refused.is_err());
        assert_eq!((batch.bytes(), batch.held_bytes()), (7, 7 + 2 * one));
        batch.take_in(&mut other)?;
        assert_eq!((batch.held_bytes(), other.held_bytes()), (9 + 3 * one, 0));
        batch.remove_last();
        assert_eq!(batch.held_bytes(), 7 + 2 * one);
        batch.clear();
        assert_eq!(batch.held_bytes(), 0);
        Ok(())
    }
}
