//! What a task must know of the program around it.

use super::{OffsetReset, Policies};
use crate::{calls::Executor, error::Result, record::Partition, topology::changelog_name};
use std::{collections::BTreeSet, sync::Arc};

/// When tables tell their changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emission {
    /// With every record that makes one: `statestore.cache.max.bytes` is 0, which is the default
    /// here. So what a program tells depends on its records alone, and not on when commits happen,
    /// and in production it tells what it told the test driver.
    #[default]
    PerUpdate,
    /// When the task commits, one for each key: the last one, with the row before the first one.
    /// Keys come in the order of their last changes, so that what is told is what would be told
    /// with every record, with some of it left out: how much depends on when commits happen. Tables
    /// that are joined by key with another table tell each change all the same, and so do those
    /// whose suppressed changes are looked up. So it is in Kafka Streams by default, where
    /// `statestore.cache.max.bytes` is 10 MiB; here any size above 0 asks for it. What waits is
    /// bounded by `statestore.uncommitted.max.bytes`, since every change that waits has a row that
    /// is uncommitted.
    PerCommit,
}

/// Which stores have the topic that they are a copy of in place of a changelog of their own: tables
/// and read-only stores that are read straight from a topic with its own times. Kafka's
/// `reuse.ktable.source.topics`.
///
/// They then depend on whoever restores: it must read the topic up to the committed place of the
/// task's input, no further, through [`SourceCopy::restore`](crate::topology::SourceCopy::restore),
/// and give the column that place as its position in
/// [`Task::committed`](super::Task::committed). Where that is not promised they are logged like any
/// other store.
///
/// Such a restore is exact only where the topic keeps every record up to the committed place that
/// was the last of its key there. A compacted topic does not, once a key has a newer record that
/// the program has yet to read: until it does, the row is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceChangelogs {
    /// None.
    #[default]
    Never,
    /// All that can.
    Always,
    /// The copies of these topics.
    Of(BTreeSet<String>),
}

impl SourceChangelogs {
    /// Whether a store that is a copy of this topic has no changelog of its own.
    pub fn cover(&self, topic: &str) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Of(topics) => topics.contains(topic),
        }
    }
}

/// Knows which topics there are, for sinks that let records choose topics or partitions.
pub trait Topics: std::fmt::Debug + Send + Sync {
    /// Whether there is a topic of that name. Who cannot find out says yes, and leaves it to the
    /// log. Asked once for each name that is there, and whenever one is chosen that is not.
    fn exists(&self, name: &str) -> bool;

    /// How many partitions a topic has. Asked once for each topic and task, by sinks whose
    /// partitions the program chooses.
    ///
    /// # Errors
    /// Where there is no such topic, or it cannot be found out. No record is to blame, so what is
    /// [`Topology`](crate::ErrorKind::Topology) or [`State`](crate::ErrorKind::State) stops the
    /// thread, whatever the policies.
    fn partitions(&self, name: &str) -> Result<Partition>;
}

/// What a task must know about the program around it.
#[derive(Clone, Debug)]
pub struct TaskConfig {
    /// `application.id`: the prefix of all internal topics.
    pub application_id: Arc<str>,
    /// What becomes of bad records where the source does not say.
    pub policies: Policies,
    /// Where sources begin that do not say so themselves.
    pub offset_reset: OffsetReset,
    /// `errors.dead.letter.queue.topic.name`.
    pub dead_letter_topic: Option<String>,
    /// `max.request.size`: how large a record may be that the program writes, as
    /// [`wire_size`](crate::record::wire_size) reckons. Larger ones are refused before they reach
    /// the log, and [`Policies::production`] answers. `None` leaves it to the log.
    pub record_bytes_max: Option<usize>,
    /// Whether a commit is whole in the log or not there at all. Where it may be there in part
    /// (`processing.guarantee=at_least_once`), a restored store can hold rows that its task has
    /// never heard of, no row is called new, and stores that need whole commits are refused
    /// ([`StoreSpec::whole_commits`](crate::topology::StoreSpec)).
    pub exactly_once: bool,
    /// How many bytes of clean entries each store may cache that does
    /// ([`StoreSpec::cached`](crate::topology::StoreSpec)).
    pub cache_bytes: usize,
    /// Which stores that are copies of a topic are restored from it.
    pub source_changelogs: SourceChangelogs,
    /// The changelogs, by topic, that nobody cuts off in front: rows that expire get tombstones
    /// there.
    pub untrimmed: BTreeSet<String>,
    /// When tables tell their changes.
    pub emission: Emission,
    /// Who knows which topics there are. Without anybody a record may choose any topic, and the log
    /// stops the thread if there is none of that name.
    pub topics: Option<Arc<dyn Topics>>,
    /// Who runs the calls of asynchronous operators; a program without such operators needs nobody.
    pub executor: Option<Arc<dyn Executor>>,
}

impl TaskConfig {
    /// Fails on bad records, caches 32 MiB a store, and tells every change of a table.
    pub fn new(application_id: impl Into<Arc<str>>) -> Self {
        Self {
            application_id: application_id.into(),
            policies: Policies::default(),
            offset_reset: OffsetReset::default(),
            dead_letter_topic: None,
            record_bytes_max: None,
            exactly_once: true,
            cache_bytes: 32 << 20,
            source_changelogs: SourceChangelogs::Never,
            untrimmed: BTreeSet::new(),
            emission: Emission::default(),
            topics: None,
            executor: None,
        }
    }

    /// Whether a store's changelog is cut off in front.
    pub(super) fn trims(&self, store: &str) -> bool {
        let topic = changelog_name(&self.application_id, store);
        !self.untrimmed.contains(&topic)
    }
}
