//! Where tasks keep their committed bytes: one backend per task, in memory or under `state.dir`.

use crate::error::Result;
use millstream_core::record::TaskId;
use millstream_state::{Backend, MemoryBackend};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Opens tasks' backends. A task's backend is opened by one owner at a time in an instance; what was
/// applied to it is there when it is opened again.
pub trait Backends: Send + Sync {
    /// The backend of a task, with these columns.
    ///
    /// # Errors
    /// Where the storage refuses.
    fn open(&self, task: TaskId, columns: &[String]) -> Result<Arc<dyn Backend>>;
}

/// Backends in memory that live as long as this value: an instance's "disk" in tests.
#[derive(Default)]
pub struct MemoryBackends {
    opened: Mutex<BTreeMap<TaskId, Arc<MemoryBackend>>>,
}

impl Backends for MemoryBackends {
    fn open(&self, task: TaskId, columns: &[String]) -> Result<Arc<dyn Backend>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let backend = opened
            .entry(task)
            .or_insert_with(|| Arc::new(MemoryBackend::new(columns)));
        Ok(backend.clone())
    }
}
