//! The bytes of a row's key: the record's key, then one or two times, in byte order.

use crate::{
    error::{Error, Result},
    record::Timestamp,
};
use millstream_state::ordered;

const TIME: usize = size_of::<Timestamp>();
/// Where a store keeps how far its time has come. No row has so short a key.
pub(super) const CLOCK: &[u8] = &[0];

/// The place of a row among those of its key: rows are in the order of `time`, then of `second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// A window's start, a session's end, a record's timestamp: what decides when the row expires.
    pub time: Timestamp,
    /// What tells rows of one time apart: a session's start, a number; 0 where nothing must.
    pub second: i64,
}

impl At {
    /// A row that is alone at its time.
    pub const fn time(time: Timestamp) -> Self {
        Self { time, second: 0 }
    }

    /// A row among others of its time.
    pub const fn new(time: Timestamp, second: i64) -> Self {
        Self { time, second }
    }

    /// Before all rows of a time.
    pub const fn first(time: Timestamp) -> Self {
        Self::new(time, i64::MIN)
    }

    /// The place behind this one, where several rows may have one time; `None` behind the last of
    /// all.
    pub(crate) const fn next(self) -> Option<Self> {
        match (self.second.checked_add(1), self.time.checked_add(1)) {
            (Some(second), _) => Some(Self::new(self.time, second)),
            (None, Some(time)) => Some(Self::first(time)),
            (None, None) => None,
        }
    }

    /// Behind all rows of a time.
    pub const fn last(time: Timestamp) -> Self {
        Self::new(time, i64::MAX)
    }
}

/// How many bytes of a row's key are times.
pub(super) const fn tail_length(wide: bool) -> usize {
    if wide { 2 * TIME } else { TIME }
}

/// Appends a place behind a key's bytes.
pub(super) fn put_at(out: &mut Vec<u8>, at: At, wide: bool) {
    ordered::put_i64(out, at.time);
    if wide {
        ordered::put_i64(out, at.second);
    }
}

/// A row's key in two: the bytes of the record's key, and the place. `None` for what is no row.
pub(super) fn split(row: &[u8], wide: bool) -> Option<(&[u8], At)> {
    let cut = row.len().checked_sub(tail_length(wide))?;
    let (prefix, tail) = row.split_at_checked(cut)?;
    let mut reader = ordered::Reader::new(tail);
    let time = reader.i64().ok()?;
    let second = if wide { reader.i64().ok()? } else { 0 };
    Some((prefix, At { time, second }))
}

/// Takes the bytes of the record's key from the beginning of its rows' keys.
pub(super) fn read_prefix(prefix: &[u8], key: &mut Vec<u8>) -> Result<()> {
    let mut reader = ordered::Reader::new(prefix);
    reader.bytes(key)?;
    Ok(reader.finish()?)
}

/// As [`split`], of what must be a row.
pub(super) fn parts(row: &[u8], wide: bool) -> Result<(&[u8], At)> {
    split(row, wide).ok_or_else(|| Error::deserialization("a row's key is too short"))
}

/// The bytes of the record's key, and the place, of what must be a row.
pub(super) fn read(row: &[u8], wide: bool) -> Result<(Vec<u8>, At)> {
    let (prefix, at) = parts(row, wide)?;
    let mut key = Vec::new();
    read_prefix(prefix, &mut key)?;
    Ok((key, at))
}
