//! What lies under a key in a store's column: eight bytes of timestamp and the value. A row with
//! headers has a mark, the timestamp, the headers behind their length, and the value.
//!
//! Each row says by itself whether it has headers. So a store whose values come to have some keeps
//! its rows, which have none until they are written anew, and so does one whose values have them no
//! more. Invariant: bytes that are not so are corrupt state, never a fault of the record in hand.

use super::StoreEnv;
use crate::{
    error::{Error, Result},
    record::{Headers, Timestamp},
    serde::Apart,
    wire::{Reader, put_headers, put_varint},
};
use millstream_state::{self as state, Backend, Column, Direction};
use std::ops::{Bound, ControlFlow};

/// Bytes of a stored value before the value itself: its timestamp.
pub(super) const STAMP: usize = 8;

/// What a row with headers begins with. As a timestamp it would be 292 million years ago; a row of
/// that time has the mark too, and no headers.
const HEADED: [u8; STAMP] = *b"\x80headers";

/// The bytes of a row in front of its value.
pub(crate) enum RowStart {
    Stamp([u8; STAMP]),
    Headed(Vec<u8>),
}

impl RowStart {
    /// Of a row with this timestamp and these headers.
    #[inline]
    pub(crate) fn new(timestamp: Timestamp, headers: &Headers) -> Self {
        let stamp = timestamp.to_be_bytes();
        if headers.is_empty() && stamp != HEADED {
            return Self::Stamp(stamp);
        }
        let mut encoded = Vec::new();
        put_headers(&mut encoded, headers);
        let mut start = [HEADED, stamp].concat();
        put_varint(&mut start, encoded.len() as u64);
        start.append(&mut encoded);
        Self::Headed(start)
    }
}

impl AsRef<[u8]> for RowStart {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Stamp(bytes) => bytes,
            Self::Headed(bytes) => bytes,
        }
    }
}

/// What lies under a key: a row's parts, of which nothing is decoded that nobody asks for.
///
/// ```
/// use millstream_core::store::RowBytes;
///
/// let stored = [&[0, 0, 0, 0, 0, 0, 0, 5][..], b"value"].concat();
/// let row = RowBytes::split(&stored)?;
/// assert_eq!((row.timestamp, row.value), (5, &b"value"[..]));
/// assert!(row.headers()?.is_empty());
/// # Ok::<(), millstream_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RowBytes<'a> {
    /// When it last changed.
    pub timestamp: Timestamp,
    /// The bytes of its value.
    pub value: &'a [u8],
    /// Its headers as bytes; nothing for none.
    headers: &'a [u8],
}

impl<'a> RowBytes<'a> {
    /// Takes apart what is stored.
    ///
    /// # Errors
    /// Where these are not the bytes of a row.
    #[inline]
    pub fn split(stored: &'a [u8]) -> Result<Self> {
        match stored.split_first_chunk::<STAMP>() {
            Some((&HEADED, rest)) => Self::split_headed(rest),
            Some((stamp, value)) => Ok(Self {
                timestamp: Timestamp::from_be_bytes(*stamp),
                value,
                headers: &[],
            }),
            None => Err(Error::deserialization(format!(
                "a stored value of {} bytes is too short for its timestamp",
                stored.len()
            ))),
        }
    }

    #[inline(never)]
    fn split_headed(rest: &'a [u8]) -> Result<Self> {
        let mut reader = Reader(rest);
        let parts = reader.i64().zip(reader.length());
        let parts = parts.and_then(|(timestamp, length)| Some((timestamp, reader.take(length)?)));
        let (timestamp, headers) =
            parts.ok_or_else(|| Error::deserialization("a stored value without its headers"))?;
        Ok(Self {
            timestamp,
            value: reader.0,
            headers,
        })
    }

    /// Its headers.
    ///
    /// # Errors
    /// Where their bytes are none.
    pub fn headers(&self) -> Result<Headers> {
        if self.headers.is_empty() {
            return Ok(Headers::NONE);
        }
        let mut reader = Reader(self.headers);
        match (reader.headers(), reader.0) {
            (Some(headers), []) => Ok(headers),
            _ => Err(Error::deserialization("a stored value with broken headers")),
        }
    }

    /// Its value, with its headers if it has a place for them.
    #[inline]
    pub(crate) fn decode<V>(&self, format: Apart<V>) -> Result<V> {
        if self.headers.is_empty() || !format.has_headers() {
            return format.bytes.decode(Some(self.value));
        }
        format.decode(Some(self.value), &self.headers()?)
    }
}

#[cold]
pub(super) fn null_key() -> Error {
    Error::processing("a store cannot hold a null key")
}

/// Null is how a deletion is written, so a value that is written as null would be gone as soon as
/// it left the cache.
#[cold]
pub(super) fn null_value() -> Error {
    Error::serialization(
        "a store cannot hold a value that its serde writes as null: delete the key instead",
    )
}

/// What lies in the backend cannot be read. This is no fault of the record in hand, and must not be
/// answered by dropping it.
#[cold]
pub(crate) fn corrupt(env: &StoreEnv, cause: &Error) -> Error {
    corrupt_column(&*env.backend, env.column, cause)
}

/// As [`corrupt`], where nobody has opened the store.
#[cold]
pub(super) fn corrupt_column(backend: &dyn Backend, column: Column, cause: &Error) -> Error {
    let columns = backend.columns();
    let store = columns
        .get(usize::from(column.0))
        .map_or("", String::as_str);
    state::Error::Corrupt(format!("store {store:?}: {cause}")).into()
}

/// Reads the stored rows between two bounds, in order. What `take` cannot read is corrupt, and ends
/// it.
pub(super) fn read_rows(
    env: &StoreEnv,
    bounds: (Bound<&[u8]>, Bound<&[u8]>),
    mut take: impl FnMut(&[u8], &[u8]) -> Result<()>,
) -> Result<()> {
    let mut failed = None;
    let mut visit = |key: &[u8], stored: &[u8]| match take(key, stored) {
        Ok(()) => ControlFlow::Continue(()),
        Err(cause) => {
            failed = Some(corrupt(env, &cause));
            ControlFlow::Break(())
        }
    };
    (env.backend).scan(env.column, bounds, Direction::Ascending, &mut visit)?;
    failed.map_or(Ok(()), Err)
}
