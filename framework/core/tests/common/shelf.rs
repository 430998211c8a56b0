//! A store by itself: a backend in memory below it, and commits as a task makes them.
//!
//! Invariant: what a commit changes comes to the backend as a restore brings it from the changelog.

#![allow(dead_code, reason = "no test needs all of it")]

use millstream_core::{
    batch::RecordBatch,
    store::{StateStore, StoreEnv},
    task::restore_record,
};
use millstream_state::{Backend, Column, MemoryBackend, WriteBatch};
use std::sync::Arc;

/// Where the store's rows are.
pub(crate) const COLUMN: Column = Column(0);

/// A backend for one store, empty.
pub(crate) fn backend() -> Arc<MemoryBackend> {
    Arc::new(MemoryBackend::new(&["rows"]))
}

/// What a store is opened with that has no room for what is not dirty, and whose changelog keeps
/// everything.
pub(crate) fn env(backend: &Arc<MemoryBackend>) -> StoreEnv {
    StoreEnv {
        backend: backend.clone(),
        column: COLUMN,
        cache_bytes: 0,
        trimmed: false,
    }
}

/// Brings changes to a backend.
pub(crate) fn replay(changes: &RecordBatch, backend: &MemoryBackend) {
    let mut batch = WriteBatch::new();
    for (_, record) in changes.iter() {
        restore_record(&mut batch, COLUMN, record);
    }
    backend.apply(&batch).unwrap();
}

/// Commits what a store has changed, and returns it.
pub(crate) fn commit(store: &mut dyn StateStore, backend: &MemoryBackend) -> RecordBatch {
    let mut changes = RecordBatch::new();
    store.drain(&mut changes).unwrap();
    replay(&changes, backend);
    store.applied().unwrap();
    changes
}
