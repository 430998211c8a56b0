//! From a changelog's records to a backend's bytes.
//!
//! Invariant: active tasks, standbys and restore all come through here, so their bytes are equal.

use crate::record::RawRecord;
use millstream_state::{Column, WriteBatch};

/// Writes one changelog record into a column: the key, and the value behind its timestamp.
pub fn restore_record(batch: &mut WriteBatch, column: Column, record: RawRecord<'_>) {
    let Some(key) = record.key else { return };
    match record.value {
        Some(value) => batch.put_parts(column, key, &[&record.timestamp.to_be_bytes(), value]),
        None => batch.delete(column, key),
    }
}
