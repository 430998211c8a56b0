//! Records that are between the two ends of an asynchronous operator.
//!
//! Such a record has left its input's queue, and what becomes of it comes later, between two
//! others. Invariants: it then goes on as of its own time and place, and is answered for by its own
//! source; what is refused of it, now or later, is kept in a dead-letter topic once; and there is
//! no commit while there is such a record, so that nothing about it need be stored: a crash takes
//! it back to its queue.

use super::{OutputId, Task, TaskContext, place::Spot, refusal::HeldBack};
use crate::{batch::RecordBatch, error::Result, record::Timestamp};
use std::{cell::RefCell, rc::Rc, sync::Arc};

/// Where a record comes from that will go on later.
pub(crate) struct Origin {
    source: Option<usize>,
    spot: Spot,
    /// What it is instead of a record as the task read it.
    held: Option<HeldBack>,
    record: Option<InHand>,
}

/// A record as the task read it, where some operator may outlive it.
#[derive(Clone)]
pub(super) struct InHand {
    batch: Arc<RecordBatch>,
    index: usize,
    /// The dead-letter topics that have it, as far as it has come. It is one list for all that will
    /// go on later of what was made of the record; one that is read again begins another.
    pub(super) kept: Rc<RefCell<Vec<OutputId>>>,
}

impl InHand {
    pub(super) fn new(batch: Arc<RecordBatch>, index: usize) -> Self {
        Self {
            batch,
            index,
            kept: Rc::default(),
        }
    }
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
        // What was held back is not the record in hand, which only let it out.
        let own = self.source.filter(|_| self.held.is_none());
        Origin {
            source: self.source,
            spot: self.spot,
            held: self.held.clone(),
            record: own.and_then(|_| self.in_hand.clone()),
        }
    }

    /// Takes a record in hand again.
    pub(crate) fn go_on(&mut self, origin: &Origin, timestamp: Timestamp) {
        self.source = origin.source;
        self.spot = origin.spot;
        self.held.clone_from(&origin.held);
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
            while let Some(origin) = self.step_calls(number)? {
                settled = true;
                if !self.ctx.failures.is_empty() {
                    self.settle_failures_of(&origin)?;
                }
                self.punctuate_made()?;
            }
        }
        Ok(settled)
    }

    fn step_calls(&mut self, number: usize) -> Result<Option<Origin>> {
        let stepped = self.calls[number].step(&mut self.ctx);
        // What was refused of it has noted it.
        self.ctx.held = None;
        stepped
    }

    #[cold]
    fn settle_failures_of(&mut self, origin: &Origin) -> Result<()> {
        let bad = match (&origin.record, origin.source) {
            (Some(hand), Some(input)) => Some((input, origin.spot, hand.batch.get(hand.index))),
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
