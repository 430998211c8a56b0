//! What a task does around a store of weights, done by hand.

use millstream_core::{batch::RecordBatch, store::StoreEnv};
use millstream_state::{Column, MemoryBackend, WriteBatch};
use std::sync::Arc;

pub(crate) const COLUMN: Column = Column(0);

pub(crate) fn environment() -> StoreEnv {
    StoreEnv {
        backend: Arc::new(MemoryBackend::new(&["model"])),
        column: COLUMN,
        cache_bytes: 0,
        trimmed: false,
    }
}

/// What a task does with a commit that the log took.
pub(crate) fn apply(env: &StoreEnv, changes: &RecordBatch) {
    let mut batch = WriteBatch::new();
    for (_, record) in changes.iter() {
        let key = record.key.unwrap();
        match record.value {
            Some(value) => {
                batch.put_parts(COLUMN, key, &[&record.timestamp.to_be_bytes(), value]);
            }
            None => batch.delete(COLUMN, key),
        }
    }
    env.backend.apply(&batch).unwrap();
}
