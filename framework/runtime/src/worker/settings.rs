//! What a worker must know besides its program, in numbers.

use super::RestoreListener;
use crate::{global::Globals, lease::Leases};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// In which order a commit's two steps are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitOrder {
    /// The log first, then the disk: the only right one.
    #[default]
    LogThenDisk,
    /// The wrong one, there so that the simulation can show that it notices.
    #[doc(hidden)]
    DiskThenLog,
}

/// A worker's settings; the names are those of the config keys they come from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The member's stable name in its group.
    pub member: String,
    /// The instance it belongs to.
    pub instance: String,
    /// Where the instance can be asked for its rows, as `host:port`; the others are told.
    pub server: Option<String>,
    /// `commit.interval.ms`.
    pub commit_interval_ms: i64,
    /// `statestore.uncommitted.max.bytes`: a worker with more dirty bytes than its share of this
    /// commits early.
    pub uncommitted_bytes_max: usize,
    /// How many workers share that: the same value in all workers of an instance.
    pub workers: Arc<AtomicUsize>,
    /// `buffered.records.per.partition`.
    pub buffered_records: usize,
    /// How many records of a task one step processes at most.
    pub records_per_step: usize,
    /// `max.task.idle.ms`: how long a task with several inputs waits for one that has nothing; 0
    /// waits only for what is known to be there, -1 not at all.
    pub max_task_idle_ms: i64,
    /// `num.standby.replicas`.
    pub standby_replicas: usize,
    /// The order of a commit's steps.
    pub commit_order: CommitOrder,
    /// Which tasks' state is held by which thread: the same value in all workers of an instance.
    pub leases: Arc<Leases>,
    /// The global tables: the same value in all workers of an instance.
    pub globals: Arc<Globals>,
    /// Who hears of restores: the same value in all workers of an instance.
    pub restore_listener: RestoreListener,
    /// Set while processing is paused: membership, restores and standbys go on.
    pub pause: Arc<AtomicBool>,
}

impl Settings {
    /// Kafka's defaults under exactly-once.
    pub fn new(member: impl Into<String>, instance: impl Into<String>) -> Self {
        Self {
            member: member.into(),
            instance: instance.into(),
            server: None,
            commit_interval_ms: 100,
            uncommitted_bytes_max: 64 << 20,
            workers: Arc::new(AtomicUsize::new(1)),
            buffered_records: 1000,
            records_per_step: 1000,
            max_task_idle_ms: 0,
            standby_replicas: 0,
            commit_order: CommitOrder::LogThenDisk,
            leases: Arc::default(),
            globals: Arc::default(),
            restore_listener: RestoreListener::default(),
            pause: Arc::default(),
        }
    }

    /// A worker's share of the dirty bytes that all of them may have.
    pub(super) fn uncommitted_share(&self) -> usize {
        self.uncommitted_bytes_max / self.workers.load(Ordering::Relaxed).max(1)
    }

    pub(crate) fn paused(&self) -> bool {
        self.pause.load(Ordering::Relaxed)
    }
}
