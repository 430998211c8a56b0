//! What a task has done, in numbers for people.
//!
//! Invariant: what an abort takes back is counted when it is done again, and not before as well.

use super::{Dropped, Task};
use crate::record::Offset;

/// What a task has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records it has processed.
    pub processed: u64,
    /// Milliseconds by which they were older than the newest one before them, summed up: over the
    /// records processed it is Kafka's `record-lateness-avg`.
    pub lateness_ms: u64,
    /// What it has dropped.
    pub dropped: Dropped,
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            processed: self.processed + other.processed,
            lateness_ms: self.lateness_ms.saturating_add(other.lateness_ms),
            dropped: self.dropped + other.dropped,
        }
    }
}

/// Counts as of two moments, next to those of now.
#[derive(Default)]
pub(super) struct Marks {
    /// The last commit that was handed over.
    handed_over: Counts,
    /// The last one that was accepted.
    committed: Counts,
}

impl Task {
    /// What it has done until now, whether committed or not.
    pub fn counts(&self) -> Counts {
        Counts {
            processed: self.processed,
            lateness_ms: self.ctx.lateness,
            dropped: self.ctx.dropped,
        }
    }

    /// What it has dropped until now.
    pub fn dropped(&self) -> Dropped {
        self.ctx.dropped
    }

    /// What it had done when it was last committed: all that remains of a task that is abandoned.
    pub fn committed_counts(&self) -> Counts {
        self.marks.committed
    }

    /// Says that an input goes on at `offset`, and that what lies between that and what it has is
    /// lost; returns how much that is. After an abort it goes on there again, or what has come
    /// since then might be passed over, and is not counted again.
    pub fn lose(&mut self, input: usize, offset: Offset) -> u64 {
        let input = &mut self.inputs[input];
        let lost = u64::try_from(offset - input.reach()).unwrap_or(0);
        self.ctx.dropped.lost += lost;
        input.begun = Some(offset);
        input.pass(offset);
        lost
    }

    pub(super) fn mark_handed_over(&mut self) {
        self.marks.handed_over = self.counts();
    }

    pub(super) fn mark_committed(&mut self) {
        self.marks.committed = self.marks.handed_over;
    }

    pub(super) fn take_back_counts(&mut self) {
        let Counts {
            processed,
            lateness_ms,
            dropped,
        } = self.marks.committed;
        self.marks.handed_over = self.marks.committed;
        self.processed = processed;
        self.ctx.lateness = lateness_ms;
        let lost = self.ctx.dropped.lost;
        self.ctx.dropped = Dropped { lost, ..dropped };
    }
}
