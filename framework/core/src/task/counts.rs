//! What a task has done, in numbers for people.
//!
//! Invariant: what an abort takes back is counted when it is done again, and not before as well.

use super::{Ages, Dropped, ErrorReason, Task};
use crate::record::TopicPartition;
use std::{collections::BTreeMap, sync::Arc};

/// By what dead letters are counted. There are as many as a task has source topics, times the
/// reasons.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Letter {
    /// The topic of the record that was refused, or of which the result was; `None` where the clock
    /// or the commit made what was refused, or where it had been held back and nobody knows any
    /// more.
    pub source: Option<Arc<str>>,
    /// The reason, named as the field of [`Dropped`] that counts it.
    pub reason: &'static str,
}

/// What a task has done since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records it has processed.
    pub processed: u64,
    /// Milliseconds by which they were older than the newest one before them, summed up: over the
    /// records processed it is Kafka's `record-lateness-avg`.
    pub lateness_ms: u64,
    /// Changes that `suppress` had held back and has told: Kafka's `suppression-emit-total`.
    pub suppression_emits: u64,
    /// Results of windows that were told when they closed: Kafka's `emit-final-records-total`.
    pub final_emits: u64,
    /// What it has dropped.
    pub dropped: Dropped,
    /// What it has written to dead-letter topics, in a map that is shared because it hardly ever
    /// changes. All that there may be are told, those too of which there is none yet: a query for
    /// growth does not see a series that begins at one.
    pub letters: Arc<BTreeMap<Letter, u64>>,
}

/// Dead letters of every input for every reason, and of what no input led to: none yet.
pub(super) fn no_letters(inputs: &[TopicPartition]) -> Arc<BTreeMap<Letter, u64>> {
    let topics = inputs.iter().map(|at| Some(at.topic.clone()));
    let of = |source: Option<Arc<str>>| {
        ErrorReason::ALL.map(|reason| {
            let (source, reason) = (source.clone(), reason.label());
            (Letter { source, reason }, 0)
        })
    };
    Arc::new(topics.chain([None]).flat_map(of).collect())
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        let letters = Arc::make_mut(&mut self.letters);
        for (letter, count) in &*other.letters {
            *letters.entry(letter.clone()).or_default() += count;
        }
        Self {
            processed: self.processed + other.processed,
            lateness_ms: self.lateness_ms.saturating_add(other.lateness_ms),
            suppression_emits: self.suppression_emits + other.suppression_emits,
            final_emits: self.final_emits + other.final_emits,
            dropped: self.dropped + other.dropped,
            letters: self.letters,
        }
    }
}

/// What operators and the task itself add to [`Counts`] while records run through.
#[derive(Default)]
pub(crate) struct Tally {
    /// Milliseconds by which records lay behind the stream time, summed up.
    pub(super) lateness: u64,
    pub(super) ages: Ages,
    pub(crate) suppression_emits: u64,
    pub(crate) final_emits: u64,
}

/// Counts as of two moments, next to those of now.
#[derive(Default)]
pub(super) struct Marks {
    /// The last commit that was handed over.
    handed_over: Counts,
    /// The last one that was accepted.
    committed: Counts,
    /// Of the records of the commit that was handed over last.
    ages: Ages,
}

impl Task {
    /// What it has done until now, whether committed or not.
    pub fn counts(&self) -> Counts {
        Counts {
            processed: self.processed,
            lateness_ms: self.ctx.tally.lateness,
            suppression_emits: self.ctx.tally.suppression_emits,
            final_emits: self.ctx.tally.final_emits,
            dropped: self.ctx.dropped,
            letters: self.ctx.letters.clone(),
        }
    }

    /// What it has dropped until now.
    pub fn dropped(&self) -> Dropped {
        self.ctx.dropped
    }

    /// What it had done when it was last committed: all that remains of a task that is abandoned.
    pub fn committed_counts(&self) -> Counts {
        self.marks.committed.clone()
    }

    /// How old the records of the last commit are that it was asked for.
    pub fn handed_over_ages(&self) -> Ages {
        self.marks.ages
    }

    pub(super) fn mark_handed_over(&mut self) {
        self.marks.handed_over = self.counts();
        self.marks.ages = std::mem::take(&mut self.ctx.tally.ages);
    }

    pub(super) fn mark_committed(&mut self) {
        self.marks.committed = self.marks.handed_over.clone();
        self.forget_lost();
    }

    pub(super) fn take_back_counts(&mut self) {
        let Counts {
            processed,
            lateness_ms,
            suppression_emits,
            final_emits,
            dropped,
            ref letters,
        } = self.marks.committed;
        self.marks.handed_over = self.marks.committed.clone();
        self.processed = processed;
        self.ctx.tally = Tally {
            lateness: lateness_ms,
            ages: Ages::default(),
            suppression_emits,
            final_emits,
        };
        let lost = self.ctx.dropped.lost;
        self.ctx.dropped = Dropped { lost, ..dropped };
        for (letter, count) in Arc::make_mut(&mut self.ctx.letters) {
            *count = letters.get(letter).copied().unwrap_or(0);
        }
    }
}
