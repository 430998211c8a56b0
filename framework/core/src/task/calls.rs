//! Records that are between the two ends of an asynchronous operator.
//!
//! Such a record has left its input's queue, and what becomes of it comes later, between two
//! others. Invariants: it then goes on as of its own time and place, and is answered for by its own
//! source; and there is no commit while there is such a record, so that nothing about it need be
//! stored: a crash takes it back to its queue.

use super::{Policies, Task, TaskContext};
use crate::{
    batch::RecordBatch,
    error::Result,
    record::{Offset, Timestamp},
};
use std::sync::Arc;

/// Where a record comes from that will go on later.
pub(crate) struct Origin {
    input: Option<usize>,
    offset: Offset,
    policies: Policies,
    /// The record as the task read it.
    record: Option<(Arc<RecordBatch>, usize)>,
}

/// An asynchronous operator, as its task sees it.
pub(crate) trait Calls {
    /// Sends one answer on that has come, and says whose it was; `None` where there is none whose
    /// turn it is.
    fn step(&mut self, ctx: &mut TaskContext) -> Result<Option<Origin>>;
    /// How many records it has.
    fn outstanding(&self) -> usize;
    /// Whether it wants no more.
    fn is_full(&self) -> bool;
    /// Forgets all of them, and cancels their calls.
    fn clear(&mut self);
}

impl TaskContext {
    /// Where the record in hand comes from.
    pub(crate) fn origin(&self) -> Origin {
        // What was held back is not the record in hand.
        let input = self.source.filter(|_| self.held.is_none());
        Origin {
            input,
            offset: self.offset,
            policies: self.policies,
            record: input.and_then(|_| self.in_hand.clone()),
        }
    }

    /// Takes a record in hand again.
    pub(crate) fn go_on(&mut self, origin: &Origin, timestamp: Timestamp) {
        self.source = origin.input;
        self.offset = origin.offset;
        self.policies = origin.policies;
        self.timestamp = timestamp;
        self.in_hand.clone_from(&origin.record);
    }
}

impl Task {
    /// Sends on what asynchronous operators have been answered, and says whether that was anything.
    /// [`Task::process`] does it before every record; whoever waits for answers alone calls this.
    ///
    /// # Errors
    /// As [`Task::process`].
    pub fn settle_calls(&mut self) -> Result<bool> {
        let mut settled = false;
        for number in 0..self.calls.len() {
            while let Some(origin) = self.calls[number].step(&mut self.ctx)? {
                settled = true;
                if !self.ctx.failures.is_empty() {
                    self.settle_failures_of(&origin)?;
                }
            }
        }
        Ok(settled)
    }

    #[cold]
    fn settle_failures_of(&mut self, origin: &Origin) -> Result<()> {
        let bad = match (&origin.record, origin.input) {
            (Some((batch, index)), Some(input)) => Some((input, origin.offset, batch.get(*index))),
            _ => None,
        };
        self.settle_failures(bad)
    }

    /// How many records wait for answers. While it is not 0 there must be no commit.
    pub fn outstanding_calls(&self) -> usize {
        self.calls.iter().map(|calls| calls.outstanding()).sum()
    }

    /// Whether some asynchronous operator has as many records as it wants.
    pub(super) fn waits_for_calls(&self) -> bool {
        self.calls.iter().any(|calls| calls.is_full())
    }
}
