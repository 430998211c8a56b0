//! What a worker counts and shows; plain numbers that whoever drives it turns into metrics.

use super::{Active, Restoring};
use crate::replica::{Replica, StoreProgress};
use millstream_core::{
    record::{Offset, TaskId, Timestamp, TopicPartition},
    store::SuppressionBuffer,
    task::{Counts, Dropped},
};
use millstream_state::{Backend, BackendStats};
use std::{collections::BTreeMap, sync::Arc};

/// Counts since the worker was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerStats {
    /// Records processed, those of aborted transactions included.
    pub processed: u64,
    /// Records sent to output and repartition topics, those of aborted transactions included.
    pub sent: u64,
    /// Transactions committed.
    pub commits: u64,
    /// Transactions aborted and done again.
    pub aborted: u64,
    /// Times the member was fenced.
    pub fenced: u64,
    /// Commits whose outcome had to be asked for.
    pub unknown: u64,
    /// Calls that the log asked to repeat.
    pub retries: u64,
    /// Assignments received.
    pub rebalances: u64,
    /// Changelog records replayed into active tasks.
    pub restored: u64,
    /// Standbys that were taken over as active tasks.
    pub promoted: u64,
    /// Tasks given back to the group.
    pub revoked: u64,
}

/// What a task is on this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskRole {
    /// It processes.
    Active,
    /// It will process once its stores are replayed.
    Restoring,
    /// It keeps a replica.
    Standby,
}

/// A task as people see it.
#[derive(Clone)]
pub struct TaskView {
    /// Its name.
    pub id: TaskId,
    /// What it is here.
    pub role: TaskRole,
    /// Its inputs and the next record of each; empty unless it is active.
    pub inputs: Vec<(TopicPartition, Offset)>,
    /// Where changelogs may begin, since what lies before has expired; empty unless it is active.
    pub log_starts: Vec<(TopicPartition, Offset)>,
    /// Replay of its stores; empty if it is active.
    pub restore: Vec<StoreProgress>,
    /// Records it processed since it was opened.
    pub processed: u64,
    /// Records it sent to output and repartition topics since it was opened.
    pub sent: u64,
    /// Milliseconds by which these lay behind its stream time, summed up.
    pub lateness_ms: u64,
    /// What it dropped since it was opened.
    pub dropped: Dropped,
    /// Bytes that the next commit would write.
    pub dirty_bytes: usize,
    /// What its stores hold back to be told later; empty unless it is active.
    pub suppression_buffers: Vec<SuppressionBuffer>,
    /// The greatest timestamp seen.
    pub stream_time: Timestamp,
    /// Sizes of its backend.
    pub backend: BackendStats,
    /// The backend itself, which holds what was committed: for queries.
    pub committed: Arc<dyn Backend>,
}

/// What a worker has done for a task, also where it has given the task away since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// What the task has done. Of one that was given away, what was committed.
    pub counts: Counts,
    /// Records sent to output and repartition topics, as far as they are committed or may be.
    pub sent: u64,
}

impl Totals {
    pub(super) fn add(&mut self, counts: Counts, sent: u64) {
        self.counts = std::mem::take(&mut self.counts) + counts;
        self.sent += sent;
    }
}

pub(super) fn views(
    active: &BTreeMap<TaskId, Active>,
    restoring: &BTreeMap<TaskId, Restoring>,
    standby: &BTreeMap<TaskId, Replica>,
) -> Vec<TaskView> {
    let running = active.iter().map(|(&id, active)| TaskView {
        id,
        role: TaskRole::Active,
        inputs: (active.task.inputs().iter().cloned())
            .enumerate()
            .map(|(input, partition)| (partition, active.task.next_offset(input)))
            .collect(),
        log_starts: (active.task.handed_over().log_starts())
            .map(|(changelog, start)| (changelog.clone(), start))
            .collect(),
        restore: Vec::new(),
        processed: active.task.counts().processed,
        sent: active.sent,
        lateness_ms: active.task.counts().lateness_ms,
        dropped: active.task.dropped(),
        dirty_bytes: active.task.dirty_bytes(),
        suppression_buffers: active.task.suppression_buffers().collect(),
        stream_time: active.task.stream_time(),
        backend: active.backend.stats(),
        committed: active.backend.clone(),
    });
    let replica = |role, id, replica: &Replica| TaskView {
        id,
        role,
        inputs: Vec::new(),
        log_starts: Vec::new(),
        restore: replica.progress().cloned().collect(),
        processed: 0,
        sent: 0,
        lateness_ms: 0,
        dropped: Dropped::default(),
        dirty_bytes: 0,
        suppression_buffers: Vec::new(),
        stream_time: Timestamp::MIN,
        backend: replica.backend().stats(),
        committed: replica.backend().clone(),
    };
    let restoring = restoring.iter();
    let restoring = restoring.map(|(&id, of)| replica(TaskRole::Restoring, id, &of.replica));
    let standby = standby.iter();
    let standby = standby.map(|(&id, of)| replica(TaskRole::Standby, id, of));
    running.chain(restoring).chain(standby).collect()
}
