//! Who of an instance's threads holds a task's state: one at a time, active or standby.
//!
//! Two threads that replayed into one backend would take each other's positions back. A task moves
//! between threads of an instance in steps, so the new holder waits until the old one lets go.

use millstream_core::record::TaskId;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

/// The tasks whose state is held, shared by all threads of an instance.
#[derive(Debug, Default)]
pub struct Leases(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    now: BTreeSet<TaskId>,
    /// How often each task was taken so far.
    taken: BTreeMap<TaskId, u64>,
}

impl Leases {
    /// How often a task's state was taken: who finds the same number twice knows that nobody had it
    /// in between.
    pub(crate) fn taken(&self, task: TaskId) -> u64 {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.taken.get(&task).copied().unwrap_or_default()
    }
}

/// The right to one task's state; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    task: TaskId,
    leases: Arc<Leases>,
}

impl Lease {
    /// Takes the task's state; `None` while another thread holds it.
    pub(crate) fn take(leases: &Arc<Leases>, task: TaskId) -> Option<Self> {
        let lease = Self::borrow(leases, task)?;
        let mut held = leases.0.lock().unwrap_or_else(PoisonError::into_inner);
        *held.taken.entry(task).or_default() += 1;
        Some(lease)
    }

    /// Keeps it from others without having it for oneself: it does not count as taken.
    pub(crate) fn borrow(leases: &Arc<Leases>, task: TaskId) -> Option<Self> {
        let mut held = leases.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.now.insert(task).then(|| Self {
            task,
            leases: leases.clone(),
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.leases.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.now.remove(&self.task);
    }
}
