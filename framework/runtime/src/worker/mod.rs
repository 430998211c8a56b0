//! One StreamThread's work as a value: everything it does, a step at a time, with time as argument.
//!
//! A step polls the log for what happened, moves restores on by a page, fetches, processes a
//! bounded number of records, punctuates, and commits when it is due. The OS thread around it
//! (in `streams`) and the simulation call the same [`Worker::step`]. Invariants: the tasks of
//! a worker share one transaction; a store's backend is written only after the log has accepted the
//! commit that holds its changes.

mod assignment;
mod calls;
mod commit;
mod fetch;
mod meter;
mod packs;
mod restores;
mod settings;
mod stats;

pub use meter::Meter;
pub use restores::{RestoreListener, StateRestoreListener};
pub use settings::{CommitOrder, Settings};
pub use stats::{TaskRole, TaskView, Totals, WorkerStats};

use crate::{
    backends::Backends,
    error::{Error, Result},
    global::Globals,
    lease::Lease,
    program::Program,
    replica::Replica,
};
use commit::Unresolved;
use fetch::{FetchLimits, IdleInputs};
use millstream_core::{
    record::{TaskId, Timestamp},
    task::{Task, TaskConfig},
};
use millstream_log::{
    Assignment, Committed, Error as LogError, Event, Instance, Log, Subscription,
};
use packs::Sending;
use restores::Told;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// An ending worker waits for the commit under way so many times so long. The log itself gives up
/// before that: on a cluster after a minute and three quarters by default, later only where it was
/// told to try delivery for longer.
const COMMIT_ROUNDS: usize = 300;
/// And so many times for the next of the calls that are out.
const CALL_ROUNDS: usize = 60;
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// How often backends are told the time.
const SETTLE_INTERVAL_MS: i64 = 1_000;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something was done: there may be more at once.
    Busy,
    /// There was nothing to do; the next step may wait in the log's poll.
    Idle,
}

/// How a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for its first assignment, or for restores to end.
    Rebalancing,
    /// All its tasks run.
    Running,
}

/// A task that runs, with what its inputs' places must be seen against.
struct Active {
    task: Task,
    /// Records it has sent since it was opened, those of the open transaction included.
    sent: u64,
    /// How many it had when it was last committed: what an abort goes back to.
    sent_committed: u64,
    idle: IdleInputs,
    backend: Arc<dyn millstream_state::Backend>,
    /// Held for as long as the task runs here, and given up last: a backend that closes still
    /// writes.
    _lease: Lease,
}

/// An active task whose stores are being replayed.
struct Restoring {
    /// What was said of it, where somebody listens. It says the last word before another thread may
    /// take the replica's state and say the first one.
    told: Option<Told>,
    replica: Replica,
    /// Where its inputs go on, once the log has said so; see `restore`.
    places: Option<Vec<Option<Committed>>>,
}

/// The work of one StreamThread.
pub struct Worker {
    program: Arc<Program>,
    /// What the program says of its tasks, and who runs their calls.
    task: TaskConfig,
    backends: Arc<dyn Backends>,
    log: Box<dyn Log>,
    settings: Settings,
    subscription: Subscription,
    subscribed: bool,
    assigned: bool,
    active: BTreeMap<TaskId, Active>,
    /// What was done for tasks that were active here.
    given_up: BTreeMap<TaskId, Totals>,
    /// Active tasks whose stores are being replayed; the newest information wins over order.
    restoring: BTreeMap<TaskId, Restoring>,
    standby: BTreeMap<TaskId, Replica>,
    /// The number of the last transaction: above any number in the places of the tasks held here.
    transaction: u64,
    unresolved: Option<Unresolved>,
    /// A commit that the log has begun: meanwhile the tasks go on, and what they send waits here.
    committing: Option<Unresolved>,
    /// A rewind that the log interrupted: it is begun again before anything else.
    rewinding: bool,
    /// An assignment that the log interrupted while it was taken over: it is not told twice.
    assigning: Option<Assignment>,
    /// Tasks asked back that are not given back yet.
    revoking: Vec<TaskId>,
    sending: Sending,
    last_commit: Timestamp,
    /// When the backends were last told what time it is.
    settled_at: Option<Timestamp>,
    stats: WorkerStats,
    meter: Option<Meter>,
}

impl Worker {
    /// A worker that joins the group at its first step.
    pub fn new(
        program: Arc<Program>,
        backends: Arc<dyn Backends>,
        log: Box<dyn Log>,
        settings: Settings,
    ) -> Self {
        let subscription = Subscription {
            group: program.task.application_id.to_string(),
            member: settings.member.clone(),
            instance: settings.instance.clone(),
            server: settings.server.clone(),
            tasks: program.task_inputs(),
            patterns: program.has_patterns(),
            standbys: settings.standby_replicas,
        };
        Self {
            task: program.task.clone(),
            program,
            backends,
            log,
            settings,
            subscription,
            subscribed: false,
            assigned: false,
            active: BTreeMap::new(),
            given_up: BTreeMap::new(),
            restoring: BTreeMap::new(),
            standby: BTreeMap::new(),
            transaction: 0,
            unresolved: None,
            committing: None,
            rewinding: false,
            assigning: None,
            revoking: Vec::new(),
            sending: Sending::default(),
            last_commit: Timestamp::MIN,
            settled_at: None,
            stats: WorkerStats::default(),
            meter: None,
        }
    }

    /// Lets a meter measure how long things take.
    #[must_use]
    pub fn measured(mut self, meter: Meter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Does the next bit of everything. `wait` is how long the poll may wait for something to
    /// happen.
    ///
    /// # Errors
    /// What must stop the thread: the log's `Fatal`, bad input under the policy to fail, storage.
    /// The worker must then be dropped: the log's client aborts what was open.
    pub fn step(&mut self, now: Timestamp, wait: Duration) -> Result<Step> {
        if self.last_commit == Timestamp::MIN {
            self.last_commit = now;
        }
        // Where the clock was put back, no time has passed that could be waited for.
        self.last_commit = self.last_commit.min(now);
        // Also while the log says nothing: what is held back has been committed.
        self.settle_backends(now)?;
        match self.try_step(now, wait) {
            Err(Error::Log(LogError::Fenced(why))) => {
                tracing::warn!(member = %self.settings.member, why, "fenced: abandoning all tasks");
                self.stats.fenced += 1;
                self.abandon();
                Ok(Step::Busy)
            }
            Err(Error::Log(LogError::Retry(why))) => {
                tracing::debug!(member = %self.settings.member, why, "the log says: not now");
                self.stats.retries += 1;
                Ok(Step::Idle)
            }
            other => other,
        }
    }

    fn try_step(&mut self, now: Timestamp, wait: Duration) -> Result<Step> {
        if self.unresolved.is_some() {
            // Nothing else may happen before it is known what became of the last commit.
            return self.resolve(now);
        }
        self.finish_commit(Duration::ZERO, now)?;
        if self.unresolved.is_some() {
            return Ok(Step::Busy);
        }
        if self.rewinding {
            self.rewind()?;
        }
        self.finish_revocation(now)?;
        self.finish_assignment(now)?;
        if !self.subscribed {
            // While no topic matches its patterns a program may have no tasks, and nothing to join
            // a group for.
            match self.subscription.tasks[..] {
                [] => self.assigned = true,
                _ => {
                    self.log.subscribe(self.subscription.clone())?;
                    self.meter.iter_mut().for_each(Meter::rebalances);
                }
            }
            self.subscribed = true;
        }
        let wait = self.await_answer(wait);
        let event = self.log.poll(wait)?;
        let mut busy = self.handle(event, now)?;
        if self.unresolved.is_some() {
            return Ok(Step::Busy);
        }
        let (globals, backends) = (self.settings.globals.clone(), &*self.backends);
        busy |= globals.step(&self.program, backends, &mut *self.log, now)?;
        busy |= self.restore(now)?;
        busy |= self.update_standbys(now)?;
        busy |= self.settle_calls()?;
        busy |= self.commit_before_calls(now)?;
        if self.unresolved.is_some() || self.rewinding {
            return Ok(Step::Busy);
        }
        // What is asked back is not worked on any more, or it could never be given back; and a
        // commit whose time has come waits for calls that are out, but not for new ones.
        let waits = self.has_calls_out() && self.commit_is_due(now);
        let ready = globals.ready(&self.program) && self.revoking.is_empty() && !waits;
        if ready && !self.settings.paused() && !self.holds_enough() {
            busy |= self.process(now)?;
        }
        if self.commit_is_due(now) {
            busy |= self.commit(now)?;
        }
        Ok(if busy { Step::Busy } else { Step::Idle })
    }

    fn handle(&mut self, event: Event, now: Timestamp) -> Result<bool> {
        match event {
            Event::Assigned(assignment) => {
                self.assigning = Some(assignment);
                self.finish_assignment(now)?;
            }
            Event::Revoked(tasks) => {
                self.meter.iter_mut().for_each(Meter::rebalances);
                self.revoking.extend(tasks);
                self.finish_revocation(now)?;
            }
            Event::Lost => self.abandon(),
            Event::Ready | Event::Idle => return Ok(false),
        }
        Ok(true)
    }

    /// Fetches for and runs every active task, a bounded number of records each, so that no task
    /// keeps the others, restores or the commit waiting.
    fn process(&mut self, now: Timestamp) -> Result<bool> {
        let mut busy = false;
        let limits = FetchLimits {
            buffered_records: self.settings.buffered_records,
            max_task_idle_ms: self.settings.max_task_idle_ms,
        };
        for (&id, active) in &mut self.active {
            let began = self.meter.as_ref().map(Meter::moment);
            let task = &mut active.task;
            active.idle.fetch(task, &mut *self.log, limits, now)?;
            task.advance_wall_clock(now)?;
            let done = task.process(self.settings.records_per_step)?;
            self.stats.processed += done as u64;
            busy |= done > 0;
            if let (Some(meter), Some(began), true) = (&mut self.meter, began, done > 0) {
                meter.processed(id, began);
            }
            if self.committing.is_some() {
                // The next transaction begins when this one has ended: outputs stay with the task.
                continue;
            }
            if let Err(error) = self.sending.send(active, &mut *self.log, &mut self.stats) {
                // Some may be in the transaction and some not: only from the last commit on is it
                // known again what is where.
                return self.give_up(error);
            }
        }
        Ok(busy)
    }

    /// Tells backends the time, so that what they hold back is written though no commit comes: that
    /// of a task may have nothing to do for days while others are busy, and so may a standby.
    fn settle_backends(&mut self, now: Timestamp) -> Result<()> {
        let waits = |told: Timestamp| told <= now && now - told < SETTLE_INTERVAL_MS;
        if self.settled_at.is_some_and(waits) {
            return Ok(());
        }
        self.settled_at = Some(now);
        let active = self.active.values().map(|active| &active.backend);
        let restoring = self.restoring.values().map(|restoring| &restoring.replica);
        let replicas = self.standby.values().chain(restoring);
        for backend in active.chain(replicas.map(Replica::backend)) {
            backend.settle(now)?;
        }
        Ok(())
    }

    /// Whether tasks have records that they do not process for now, be it that others may come
    /// before them.
    pub(crate) fn is_held_up(&self) -> bool {
        let waits = |task: &Task| (0..task.inputs().len()).any(|input| task.queued(input) > 0);
        !self.has_calls_out() && self.active.values().any(|active| waits(&active.task))
    }

    /// How the worker stands.
    pub fn phase(&self) -> Phase {
        let ready = self.settings.globals.ready(&self.program);
        if ready && self.assigned && self.assigning.is_none() && self.restoring.is_empty() {
            Phase::Running
        } else {
            Phase::Rebalancing
        }
    }

    /// Whether a commit is under way of which it is not known yet whether it happened.
    pub fn is_committing(&self) -> bool {
        self.committing.is_some() || self.unresolved.is_some()
    }

    /// The member's name in its group.
    pub fn member(&self) -> &str {
        &self.settings.member
    }

    /// The instance's global tables.
    pub fn globals(&self) -> &Globals {
        &self.settings.globals
    }

    /// Counts since the worker was made.
    pub fn stats(&self) -> &WorkerStats {
        &self.stats
    }

    /// What it has done for each task since it began, also for those that are elsewhere by now.
    pub fn totals(&self) -> BTreeMap<TaskId, Totals> {
        let mut totals = self.given_up.clone();
        for (&id, active) in &self.active {
            let total = totals.entry(id).or_default();
            total.add(active.task.counts(), active.sent);
        }
        totals
    }

    /// Gives active tasks up. Of what they have done, only what was committed counts.
    fn give_up_tasks(&mut self, of: impl Fn(&TaskId) -> bool) {
        for (id, active) in self.active.extract_if(.., |id, _| of(id)) {
            let total = self.given_up.entry(id).or_default();
            total.add(active.task.committed_counts(), active.sent_committed);
        }
    }

    /// The worker's tasks, for people.
    pub fn tasks(&self) -> Vec<TaskView> {
        stats::views(&self.active, &self.restoring, &self.standby)
    }

    /// The instances of the group, and what each has, as far as the log knows: nothing of it where
    /// the log cannot say, since it is asked again soon.
    pub(crate) fn instances(&mut self) -> Vec<Instance> {
        self.log.instances().unwrap_or_default()
    }

    /// Commits what is done and leaves the group: a graceful end.
    ///
    /// # Errors
    /// As [`Worker::step`]. What could not be committed is done again by the next owner.
    pub fn close(&mut self, now: Timestamp) -> Result<()> {
        self.await_commit(now)?;
        // Half a rewind is no state to commit: some of what was sent may already be gone.
        if self.unresolved.is_none() && self.committing.is_none() && !self.rewinding {
            match self.finish_calls().and_then(|()| self.commit(now)) {
                Ok(_) | Err(Error::Log(LogError::Fenced(_) | LogError::Retry(_))) => {}
                Err(error) => return Err(error),
            }
            self.await_commit(now)?;
        }
        for active in self.active.values() {
            active.backend.flush()?;
        }
        self.give_up_tasks(|_| true);
        self.restoring.clear();
        self.standby.clear();
        self.log.leave()?;
        Ok(())
    }

    /// Waits for the end of the commit under way. One that does not come is found out by the next
    /// owner.
    fn await_commit(&mut self, now: Timestamp) -> Result<()> {
        for _ in 0..COMMIT_ROUNDS {
            match self.finish_commit(CLOSE_WAIT, now) {
                Ok(()) if self.committing.is_some() => {}
                Ok(()) | Err(Error::Log(LogError::Fenced(_) | LogError::Retry(_))) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
