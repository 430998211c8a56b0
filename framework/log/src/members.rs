//! What members tell their group, and what it tells them of who has which task.
//!
//! Invariant: a task has one member that has it active, and its replicas are with other instances.

use millstream_core::record::{TaskId, TopicPartition};

/// What a member asks to take part in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The group: the program's `application.id`.
    pub group: String,
    /// This member's stable name, unique in the group: instance and thread.
    pub member: String,
    /// The instance (process) the member belongs to: standbys go to another one.
    pub instance: String,
    /// Where the instance answers whoever asks for its rows, as it is to be told to the others
    /// (`application.server.advertised`).
    pub server: Option<String>,
    /// All tasks of the program and what they read. Equal in every member of a group: a log never
    /// gives tasks of one program to some members while it gives those of another to others.
    pub tasks: Vec<TaskInputs>,
    /// Whether some inputs are topics that match a pattern: members that began at different times
    /// may read more of them, or fewer, in the same tasks.
    pub patterns: bool,
    /// How many standby replicas each task with state should have.
    pub standbys: usize,
}

/// A task and the partitions it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskInputs {
    /// The task.
    pub task: TaskId,
    /// Its input partitions.
    pub inputs: Vec<TopicPartition>,
    /// Whether it has changelogged stores, and so can have standbys.
    pub stateful: bool,
}

/// All tasks a member has after a rebalance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Tasks to run, in order.
    pub active: Vec<TaskId>,
    /// Tasks to keep a replica of, in order.
    pub standby: Vec<TaskId>,
}

/// An instance of a group, and what its members have together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// What it says of itself in [`Subscription::server`].
    pub server: Option<String>,
    /// Whether it is the one of the member that asks.
    pub ours: bool,
    /// Its tasks, in order.
    pub active: Vec<TaskId>,
    /// The tasks that it keeps a replica of, in order.
    pub standby: Vec<TaskId>,
}

impl Instance {
    /// Adds what one of its members has.
    pub fn add(
        &mut self,
        active: impl IntoIterator<Item = TaskId>,
        standby: impl IntoIterator<Item = TaskId>,
    ) {
        self.active.extend(active);
        self.active.sort_unstable();
        self.standby.extend(standby);
        self.standby.sort_unstable();
    }
}
