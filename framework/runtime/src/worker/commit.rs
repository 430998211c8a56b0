//! The commit, the abort, and the question what became of a commit.
//!
//! Order: outputs and changelog records into the open transaction, then the log's commit with the
//! input places, then, and only then, the backends.

use super::{Active, CommitOrder, Meter, Worker, assignment::resume};
use crate::error::{Error, Result};
use millstream_core::{
    record::{Offset, Timestamp, TopicPartition},
    task::Task,
};
use millstream_log::{Commit, Committed, Error as LogError, Outcome};
use millstream_state::Position;
use std::time::Duration;

/// What tasks may hold in memory while a commit is under way. It is sent in one go afterwards, so
/// that more would only make the process larger for a moment, and the next commit later.
const HELD_BYTES_MAX: usize = 8 << 20;
/// How often a call that the log asks to repeat is repeated before the transaction is aborted.
const RETRIES_MAX: usize = 8;
/// A change of a row may take so many times what is reckoned for it: a log counts what a record
/// costs beside key and value, and where tables tell their changes per commit, each makes outputs.
const CHANGE_COSTS: usize = 4;

/// A commit of which it is not known yet, or not known any more, whether it happened.
pub(super) struct Unresolved {
    transaction: u64,
    places: Vec<(TopicPartition, Committed)>,
    /// When it was asked for, by the meter's clock.
    asked: Option<Duration>,
}

type Places = Vec<(TopicPartition, Committed)>;

impl Worker {
    pub(super) fn commit_is_due(&self, now: Timestamp) -> bool {
        if self.committing.is_some() {
            return false;
        }
        let tasks = || self.active.values().map(|active| &active.task);
        let dirty: usize = tasks().map(Task::dirty_bytes).sum();
        let written: usize = tasks().map(Task::written_bytes).sum();
        now.saturating_sub(self.last_commit) >= self.settings.commit_interval_ms
            || dirty > self.settings.uncommitted_share()
            || written > self.log.commit_bytes()
            || dirty >= self.log.room() / CHANGE_COSTS
            || tasks().any(Task::commit_requested)
    }

    /// Commits the work of all tasks in one transaction; says whether there was any, and does
    /// nothing while calls are out. Where the log takes its time the tasks go on, and
    /// [`Worker::finish_commit`] brings the end.
    pub(super) fn commit(&mut self, now: Timestamp) -> Result<bool> {
        if self.committing.is_some() || !self.is_quiet()? {
            return Ok(false);
        }
        self.last_commit = now;
        let number = self.transaction + 1;
        let places = match self.collect(number) {
            Ok(places) if places.is_empty() => return Ok(false),
            Ok(places) => places,
            Err(error) => return self.give_up(error),
        };
        self.transaction = number;
        let question = Unresolved {
            transaction: number,
            places,
            asked: self.meter.as_ref().map(Meter::moment),
        };
        if self.settings.commit_order == CommitOrder::DiskThenLog {
            self.apply_before_the_log(&question, now)?;
        }
        let answer = retry(|| self.log.begin_commit(number, &question.places));
        self.answered(question, answer, now)?;
        Ok(true)
    }

    /// Takes note of the end of a commit that is under way, if it comes within the wait.
    pub(super) fn finish_commit(&mut self, wait: Duration, now: Timestamp) -> Result<()> {
        let Some(question) = self.committing.take() else {
            return Ok(());
        };
        let answer = self.log.poll_commit(wait);
        self.answered(question, answer, now)
    }

    fn answered(
        &mut self,
        question: Unresolved,
        answer: millstream_log::Result<Option<Commit>>,
        now: Timestamp,
    ) -> Result<()> {
        if let (Some(meter), Some(asked), Ok(Some(_)) | Err(_)) =
            (&self.meter, question.asked, &answer)
        {
            meter.answered(asked);
        }
        match answer {
            Ok(Some(commit)) => self.apply(&commit, &question, now)?,
            Ok(None) => self.committing = Some(question),
            Err(LogError::UnknownOutcome(why)) => {
                let member = &self.settings.member;
                tracing::warn!(member, why, "asking what became of a commit");
                self.stats.unknown += 1;
                self.unresolved = Some(question);
            }
            Err(error) => {
                self.give_up(error.into())?;
            }
        }
        Ok(())
    }

    /// Whether the tasks must wait for the commit under way: what they do meanwhile is kept in
    /// memory, outputs included.
    pub(super) fn holds_enough(&mut self) -> bool {
        let held = |active: &mut Active| {
            let outputs = active.task.outputs().iter();
            let bytes: usize = outputs.map(|output| output.records.held_bytes()).sum();
            bytes + active.task.dirty_bytes()
        };
        let held: usize = self.active.values_mut().map(held).sum();
        let most = HELD_BYTES_MAX.min(self.settings.uncommitted_share());
        self.committing.is_some() && held > most
    }

    /// Puts outputs and changelog records into the transaction and collects the places.
    fn collect(&mut self, number: u64) -> Result<Places> {
        let mut places = Vec::new();
        for active in self.active.values_mut() {
            // What waits for the commit makes outputs that belong to it.
            active.task.flush()?;
            self.sending.send(active, &mut *self.log, &mut self.stats)?;
            let commit = active.task.prepare_commit()?;
            for changes in &commit.changes {
                let Some(changelog) = &changes.changelog else {
                    continue;
                };
                for record in changes.records.logged() {
                    let partition = Some(changelog.partition);
                    retry(|| self.log.send(&changelog.topic, partition, record))?;
                }
            }
            for (partition, place) in &commit.places {
                let metadata = place.metadata(number);
                places.push((
                    partition.clone(),
                    Committed {
                        offset: place.offset,
                        metadata,
                    },
                ));
            }
        }
        Ok(places)
    }

    /// The log has it: now the backends may. A changelog is at its end now; a topic that stands in
    /// for one is at the place that was committed.
    fn apply(&mut self, commit: &Commit, of: &Unresolved, now: Timestamp) -> Result<()> {
        let program = &self.program;
        let ends = |changelog: &TopicPartition| {
            if program.task.source_changelogs.cover(&changelog.topic) {
                let mut places = of.places.iter();
                let place = places.find(|(partition, _)| partition == changelog);
                return place.map(|(_, place)| place.offset);
            }
            let mut ends = commit.ends.iter();
            let end = ends.find(|(partition, _)| partition == changelog);
            end.map(|(_, end)| *end)
        };
        for active in self.active.values_mut() {
            // Nothing is sent while a commit is under way.
            active.sent_committed = active.sent;
            active.task.committed(|changelog| {
                let topic_id = program.changelog_ids.get(&*changelog.topic).copied()?;
                let offset = ends(changelog)?;
                Some(Position {
                    offset,
                    reach: offset,
                    topic_id,
                    applied_at: now,
                    transaction: of.transaction,
                })
            })?;
            if let Some(meter) = &mut self.meter {
                meter.committed(active.task.id(), active.task.handed_over_ages());
            }
        }
        self.stats.commits += 1;
        Ok(())
    }

    /// The wrong order, for the simulation: the backends get what the log has not accepted, under
    /// positions that it would give.
    fn apply_before_the_log(&mut self, question: &Unresolved, now: Timestamp) -> Result<()> {
        let mut ends: Vec<(TopicPartition, Offset)> = Vec::new();
        for active in self.active.values() {
            for changes in &active.task.handed_over().changes {
                let Some(changelog) = &changes.changelog else {
                    continue;
                };
                let made = changes.records.logged().count() as Offset;
                ends.push((changelog.clone(), self.log.end(changelog)? + made));
            }
        }
        self.apply(&Commit { ends }, question, now)
    }

    /// Asks what became of the last commit, and acts on the answer.
    pub(super) fn resolve(&mut self, now: Timestamp) -> Result<super::Step> {
        let Some(question) = self.unresolved.take() else {
            return Ok(super::Step::Idle);
        };
        match self.log.resolve(question.transaction, &question.places) {
            Ok(Outcome::Committed(commit)) => {
                self.apply(&commit, &question, now)?;
            }
            Ok(Outcome::Aborted) => {
                self.stats.aborted += 1;
                self.rewind()?;
            }
            Err(error @ LogError::Retry(_)) => {
                self.unresolved = Some(question);
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(super::Step::Busy)
    }

    /// A commit that the log would not take even when asked again is aborted and done anew; all
    /// other errors go up.
    pub(super) fn give_up(&mut self, error: Error) -> Result<bool> {
        let Error::Log(LogError::Retry(why)) = error else {
            return Err(error);
        };
        tracing::warn!(member = %self.settings.member, why, "aborting a commit");
        self.stats.aborted += 1;
        self.rewind()?;
        Ok(true)
    }

    /// Back to the last commit: the transaction, the stores, the queues and the fetching. Doing it
    /// twice does no harm, so where the log interrupts it the next step begins it again.
    pub(super) fn rewind(&mut self) -> Result<()> {
        self.rewinding = true;
        self.committing = None;
        retry(|| self.log.abort())?;
        for active in self.active.values_mut() {
            active.task.abort()?;
            active.sent = active.sent_committed;
            let inputs = active.task.inputs().to_vec();
            let places = retry(|| self.log.committed(&inputs))?;
            let number = resume(&mut active.task, &places, &mut *self.log, self.last_commit)?;
            self.transaction = self.transaction.max(number);
        }
        self.rewinding = false;
        Ok(())
    }
}

/// Repeats a call that the log asks to repeat, a bounded number of times.
pub(super) fn retry<T>(
    mut call: impl FnMut() -> millstream_log::Result<T>,
) -> millstream_log::Result<T> {
    let mut result = call();
    for _ in 1..RETRIES_MAX {
        match result {
            Err(LogError::Retry(_)) => result = call(),
            settled => return settled,
        }
    }
    result
}
