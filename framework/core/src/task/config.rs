//! What a task must know of the program around it.

use super::Policies;
use crate::calls::Executor;
use std::sync::Arc;

/// When tables tell their changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emission {
    /// With every record that makes one. Kafka Streams does so where `statestore.cache.max.bytes`
    /// is 0.
    #[default]
    PerUpdate,
    /// When the task commits, one for each key: the last one, with the row before the first one.
    /// Fewer changes reach what is downstream, and how many depends on when commits happen; so it
    /// is in Kafka Streams where there is a cache.
    PerCommit,
}

/// What a task must know about the program around it.
#[derive(Clone, Debug)]
pub struct TaskConfig {
    /// `application.id`: the prefix of all internal topics.
    pub application_id: Arc<str>,
    /// What becomes of bad records where the source does not say.
    pub policies: Policies,
    /// `errors.dead.letter.queue.topic.name`.
    pub dead_letter_topic: Option<String>,
    /// `max.request.size`: how large a record may be that the program writes, as
    /// [`wire_size`](crate::record::wire_size) reckons. Larger ones are refused before they reach
    /// the log, and [`Policies::production`] answers. `None` leaves it to the log.
    pub record_bytes_max: Option<usize>,
    /// How many bytes of clean entries each store may cache.
    pub cache_bytes: usize,
    /// Whether stores that are copies of a topic are restored from it. Without a changelog of their
    /// own they then depend on whoever restores: it must read the topic up to the committed place
    /// of the task's input, no further, and give the column that place as its position in
    /// [`Task::committed`](super::Task::committed). Where that is not promised they are logged like
    /// any other store.
    pub source_changelogs: bool,
    /// When tables tell their changes.
    pub emission: Emission,
    /// Who runs the calls of asynchronous operators; a program without such operators needs nobody.
    pub executor: Option<Arc<dyn Executor>>,
}

impl TaskConfig {
    /// Fails on bad records, caches 10 MiB a store, and tells every change of a table.
    pub fn new(application_id: impl Into<Arc<str>>) -> Self {
        Self {
            application_id: application_id.into(),
            policies: Policies::default(),
            dead_letter_topic: None,
            record_bytes_max: None,
            cache_bytes: 10 << 20,
            source_changelogs: false,
            emission: Emission::default(),
            executor: None,
        }
    }
}
