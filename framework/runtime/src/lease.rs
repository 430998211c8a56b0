//! Who of an instance's threads holds a task's state: one at a time, active or standby.
//!
//! Two threads that replayed into one backend would take each other's positions back. A task moves
//! between threads of an instance in steps, so the new holder waits until the old one lets go.

use millstream_core::record::TaskId;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// The tasks whose state is held, shared by all threads of an instance.
#[derive(Debug, Default)]
pub struct Leases(Mutex<BTreeSet<TaskId>>);

/// The right to one task's state; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    task: TaskId,
    leases: Arc<Leases>,
}

impl Lease {
    /// Takes the task's state; `None` while another thread holds it.
    pub(crate) fn take(leases: &Arc<Leases>, task: TaskId) -> Option<Self> {
        let mut held = leases.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(task).then(|| Self {
            task,
            leases: leases.clone(),
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.leases.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(&self.task);
    }
}
