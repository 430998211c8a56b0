//! What a task hands over at a commit. Invariant: it is the task's own until the log has answered.

use super::Place;
use crate::{batch::RecordBatch, record::TopicPartition, topology::StoreId};
use millstream_state::Column;

/// The changed entries of one store since the last commit.
pub struct StoreChanges {
    /// The changelog partition they belong to; `None` where the store is not logged.
    pub changelog: Option<TopicPartition>,
    /// The input partition of which the store is a copy, and from which it is restored in place of a
    /// changelog.
    pub source: Option<TopicPartition>,
    /// One record per dirty key.
    pub records: RecordBatch,
    pub(super) store: StoreId,
    pub(super) column: Column,
}

/// All that a commit must make visible at once, besides the outputs.
#[derive(Default)]
pub struct Commit {
    /// Changelog records, by store.
    pub changes: Vec<StoreChanges>,
    /// The next record to process of each input that moved. Never empty when anything else is not:
    /// a transaction without a place would not be fenced.
    pub places: Vec<(TopicPartition, Place)>,
}

impl Commit {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}
