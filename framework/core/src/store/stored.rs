//! What lies under a key in a store's column: eight bytes of timestamp and the value.
//!
//! Invariant: bytes that are not so are corrupt state, never a fault of the record in hand.

use super::StoreEnv;
use crate::{
    error::{Error, Result},
    record::Timestamp,
};
use millstream_state::{self as state, Backend, Column, Direction};
use std::ops::{Bound, ControlFlow};

/// Bytes of a stored value before the value itself: its timestamp.
pub(super) const STAMP: usize = 8;

/// The timestamp in front of a stored value, and the value.
pub(crate) fn split_stamp(stored: &[u8]) -> Result<(Timestamp, &[u8])> {
    match stored.split_first_chunk::<STAMP>() {
        Some((stamp, value)) => Ok((Timestamp::from_be_bytes(*stamp), value)),
        None => Err(Error::deserialization(format!(
            "a stored value of {} bytes is too short for its timestamp",
            stored.len()
        ))),
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
