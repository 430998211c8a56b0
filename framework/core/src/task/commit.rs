//! What a task hands over at a commit. Invariant: it is the task's own until the log has answered.

use super::{Place, Task, TaskConfig};
use crate::{
    batch::RecordBatch,
    error::Result,
    record::{Offset, Partition, TopicPartition},
    store::SuppressionBuffer,
    topology::{Logging, StoreId, StoreSpec, changelog_name},
};
use millstream_state::Column;

/// The changed entries of one store since the last commit.
pub struct StoreChanges {
    /// The changelog partition they belong to; `None` where the store is not logged.
    pub changelog: Option<TopicPartition>,
    /// The input partition of which the store is a copy, and from which it is restored in place of
    /// a changelog.
    pub source: Option<TopicPartition>,
    /// One record per dirty key. Not all of them are for the changelog: see
    /// [`RecordBatch::logged`].
    pub records: RecordBatch,
    /// Where the changelog may begin: what lies before has expired. `None` where all of it is
    /// needed.
    pub(super) log_start: Option<Offset>,
    pub(super) store: StoreId,
    pub(super) column: Column,
    /// Whether what the store calls new is.
    pub(super) exact: bool,
}

impl StoreChanges {
    /// Those of a store that has just been opened: none yet, and where they will go.
    pub(super) fn of(
        spec: &StoreSpec,
        config: &TaskConfig,
        partition: Partition,
        (store, column): (StoreId, Column),
    ) -> Self {
        let copied = spec.source.as_ref();
        let source = copied
            .filter(|copy| config.source_changelogs.cover(&copy.topic))
            .map(|copy| TopicPartition::new(&*copy.topic, partition));
        let logged = spec.logging == Logging::Changelog && source.is_none();
        let name = || changelog_name(&config.application_id, &spec.name);
        Self {
            changelog: logged.then(|| TopicPartition::new(name(), partition)),
            source,
            records: RecordBatch::new(),
            log_start: None,
            store,
            column,
            exact: config.exactly_once,
        }
    }
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

impl Task {
    /// Tells what waits for the commit ([`Emission::PerCommit`](super::Emission::PerCommit)), which
    /// makes outputs and changes: call it before the outputs are taken for the last time.
    ///
    /// # Errors
    /// What happens downstream. The task must then be aborted.
    pub fn flush(&mut self) -> Result<()> {
        self.ctx.source = None;
        for flush in &mut self.flushes {
            flush.flush(&mut self.ctx)?;
        }
        self.settle_unowned()?;
        // A schedule that was made meanwhile may be due. What its processor tells has another key,
        // so there is no table of this task below it that would have to be flushed again.
        self.punctuate_made()
    }

    /// Settles refusals that no record in hand led to.
    pub(super) fn settle_unowned(&mut self) -> Result<()> {
        if self.ctx.failures.is_empty() {
            return Ok(());
        }
        self.settle_failures(None)
    }

    /// How many bytes a commit would have to write now.
    pub fn dirty_bytes(&self) -> usize {
        self.ctx.dirty_bytes()
    }

    /// What its stores hold back to be told later, those of `suppress`.
    pub fn suppression_buffers(&self) -> impl Iterator<Item = SuppressionBuffer> + '_ {
        self.ctx.suppression_buffers()
    }

    /// How many of them no later record will change.
    pub fn written_bytes(&self) -> usize {
        self.ctx.written_bytes()
    }
}

impl Commit {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Where changelogs may begin once the commit has been applied: what was committed there before
    /// has expired. Whoever runs the task sees to it that the log deletes it, now or later, or the
    /// changelog grows: there are no tombstones for such rows. Nobody who restores a store misses
    /// them.
    pub fn log_starts(&self) -> impl Iterator<Item = (&TopicPartition, Offset)> {
        let changes = self.changes.iter();
        changes.filter_map(|changes| Some((changes.changelog.as_ref()?, changes.log_start?)))
    }
}
