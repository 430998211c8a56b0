//! How tasks come and go: assigned, restored, promoted from standby, revoked, lost.

use super::{
    Active, Meter, Restoring, Told, Worker,
    fetch::{IdleInputs, tell_lost},
    meter::Replayed,
};
use crate::{
    error::{Error, Result},
    replica::{Replay, Replica},
    resets,
};
use millstream_core::{
    record::{Offset, TaskId, Timestamp},
    task::{OffsetReset, Place, Task},
    topology::Topology,
};
use millstream_log::{Assignment, Error as LogError, Log};

impl Worker {
    /// Takes over what the group gave us. The group tells it once, so an assignment that the log
    /// interrupts is kept and begun again, which changes nothing about what was taken over before.
    pub(super) fn finish_assignment(&mut self, now: Timestamp) -> Result<()> {
        let Some(assignment) = self.assigning.take() else {
            return Ok(());
        };
        match self.assign(&assignment, now) {
            // The next step tries again, unless it hears of a newer assignment.
            Err(Error::Log(LogError::Retry(why))) => {
                tracing::debug!(member = %self.settings.member, why, "an assignment waits");
                self.assigning = Some(assignment);
            }
            other => return other,
        }
        Ok(())
    }

    /// Tasks we have stay as they are.
    fn assign(&mut self, assignment: &Assignment, now: Timestamp) -> Result<()> {
        self.program.verify_tasks(&mut *self.log)?;
        // A task that is gone without having been revoked is nobody's transaction: the log says it
        // was not active here. Its uncommitted work, if any, was dropped when it was revoked.
        self.restoring
            .retain(|task, _| assignment.active.contains(task));
        let retired: Vec<_> = (self.standby.keys())
            .filter(|task| !assignment.standby.contains(task) && !assignment.active.contains(task))
            .copied()
            .collect();
        for task in retired {
            self.standby.remove(&task);
        }
        for &task in &assignment.active {
            if self.active.contains_key(&task) || self.restoring.contains_key(&task) {
                continue;
            }
            // A standby is promoted with all it has: only the last commits are left to replay.
            let replica = match self.standby.remove(&task) {
                Some(standby) => {
                    self.stats.promoted += 1;
                    standby
                }
                None => self.open_replica(task, now)?,
            };
            let told = Told::start(&self.settings.restore_listener, &replica);
            let restoring = Restoring {
                replica,
                places: None,
                told,
            };
            self.restoring.insert(task, restoring);
            if let Some(meter) = &mut self.meter {
                meter.replay(task);
            }
        }
        for &task in &assignment.standby {
            if !self.standby.contains_key(&task) {
                let replica = self.open_replica(task, now)?;
                self.standby.insert(task, replica);
            }
        }
        self.assigned = true;
        self.stats.rebalances += 1;
        self.meter.iter_mut().for_each(Meter::assigned);
        Ok(())
    }

    fn open_replica(&mut self, task: TaskId, now: Timestamp) -> Result<Replica> {
        let replica = Replica::open(
            &self.program,
            &*self.backends,
            (&self.settings.leases, task),
            &mut *self.log,
            now,
        )?;
        for store in replica
            .progress()
            .filter(|store| store.position < store.end)
        {
            let (name, from, end) = (&store.store, store.from, store.end);
            match store.full {
                Some(why) => tracing::info!(%task, store = name, from, end, %why, "full restore"),
                None => tracing::info!(%task, store = name, from, end, "restore"),
            }
        }
        Ok(replica)
    }

    /// Replays one page for each task being restored; those that are caught up begin to run.
    pub(super) fn restore(&mut self, now: Timestamp) -> Result<bool> {
        let mut ready = Vec::new();
        for (&task, restoring) in &mut self.restoring {
            let Restoring {
                replica,
                places,
                told,
            } = restoring;
            // The committed places first, then the changelogs' ends: once the places are stable, no
            // earlier owner can add to the changelog any more. What they are is asked once, since
            // it may cost a journey: nobody but the task's owner commits them, and that is us.
            if places.is_none() {
                let inputs = inputs(&self.program, task);
                let found = match self.log.committed(&inputs) {
                    Err(LogError::Retry(_)) => continue,
                    answer => answer?,
                };
                // One that was begun since this instance looked at its start.
                resets::refuse(&found)?;
                match replica.limit(&inputs, &found, &mut *self.log) {
                    Err(Error::Log(LogError::Retry(_))) => continue,
                    limited => limited?,
                }
                *places = Some(found);
            }
            let before = replayed(replica);
            // One changelog without a leader holds up neither other restores nor what runs.
            let replay = match replica.step(&mut *self.log, now) {
                Err(Error::Log(LogError::Retry(_))) => continue,
                replay => replay?,
            };
            let records = |of: &[Replayed]| of.iter().map(|of| of.records).sum::<u64>();
            self.stats.restored += records(&replayed(replica)) - records(&before);
            if let Some(meter) = &self.meter {
                meter.replayed(replica, &before);
            }
            if let Some(told) = told {
                told.batch(replica);
            }
            if replay == Replay::CaughtUp && self.settings.globals.ready(&self.program) {
                ready.push(task);
            }
        }
        let busy = !self.restoring.is_empty();
        for task in ready {
            self.run_restored(task, now)?;
        }
        Ok(busy)
    }

    /// Lets a task run whose stores are whole. Where the log interrupts this, the replica stays,
    /// and the next step tries again.
    fn run_restored(&mut self, id: TaskId, now: Timestamp) -> Result<()> {
        let Some(Restoring {
            replica,
            places: Some(places),
            ..
        }) = self.restoring.get(&id)
        else {
            return Ok(());
        };
        tell_restored(id, replica);
        let backend = replica.backend().clone();
        let config = &self.task;
        let (topology, globals) = (&self.program.topology, self.settings.globals.backend());
        let mut task = Task::open_with(topology, id, config, backend.clone(), globals)?;
        task.retain_inputs(&inputs(&self.program, id));
        tell_repaired(&task, topology);
        let number = match resume(&mut task, places, &mut *self.log, now) {
            Err(Error::Log(LogError::Retry(_))) => return Ok(()),
            number => number?,
        };
        self.transaction = self.transaction.max(number);
        let Some(restored) = self.restoring.remove(&id) else {
            return Ok(());
        };
        if let Some(meter) = &mut self.meter {
            meter.caught_up(id, &restored.replica);
        }
        if let Some(told) = restored.told {
            told.end();
        }
        let active = Active {
            task,
            sent: 0,
            sent_committed: 0,
            idle: IdleInputs::default(),
            _lease: restored.replica.into_lease(),
            backend,
        };
        self.active.insert(id, active);
        Ok(())
    }

    /// Replays one page for each standby.
    pub(super) fn update_standbys(&mut self, now: Timestamp) -> Result<bool> {
        let mut busy = false;
        for replica in self.standby.values_mut() {
            let before = replayed(replica);
            let asked = replica.ask_for_limits(&mut *self.log, now);
            let replay = match asked.and_then(|()| replica.step(&mut *self.log, now)) {
                Err(Error::Log(LogError::Retry(_))) => continue,
                replay => replay?,
            };
            busy |= replay == Replay::Behind;
            if let Some(meter) = &self.meter {
                meter.replayed(replica, &before);
            }
        }
        Ok(busy)
    }

    /// Gives back the tasks that were asked for: their work is committed, or dropped, before the
    /// log hears that we are done.
    pub(super) fn finish_revocation(&mut self, now: Timestamp) -> Result<()> {
        // What is under way comes to its end first: it may be of the tasks that are asked for.
        if self.revoking.is_empty() || self.committing.is_some() {
            return Ok(());
        }
        if self
            .revoking
            .iter()
            .any(|task| self.active.contains_key(task))
        {
            self.commit(now)?;
            let open = self.unresolved.is_some() || self.rewinding || self.committing.is_some();
            if open || self.has_calls_out() {
                return Ok(());
            }
        }
        let revoking = std::mem::take(&mut self.revoking);
        self.give_up_tasks(|task| revoking.contains(task));
        self.revoking = revoking;
        for task in &self.revoking {
            self.restoring.remove(task);
            if let Some(assigning) = &mut self.assigning {
                assigning.active.retain(|assigned| assigned != task);
            }
        }
        self.log.acknowledge(&self.revoking)?;
        self.stats.revoked += self.revoking.len() as u64;
        self.revoking.clear();
        Ok(())
    }

    /// Drops all tasks and everything uncommitted, and joins the group anew at the next step.
    pub(super) fn abandon(&mut self) {
        self.give_up_tasks(|_| true);
        self.restoring.clear();
        self.standby.clear();
        self.unresolved = None;
        self.committing = None;
        self.rewinding = false;
        self.revoking.clear();
        self.assigning = None;
        self.subscribed = false;
        self.assigned = false;
        // Nothing that was sent may reach a later transaction. A client that cannot even abort is
        // fenced, and its transaction with it.
        if let Err(error) = self.log.abort() {
            tracing::warn!(%error, "aborting after being fenced");
        }
    }
}

/// Says what a restore came to, and why it was a whole one, if it was.
fn tell_restored(task: TaskId, replica: &Replica) {
    for store in replica.progress().filter(|store| store.records > 0) {
        let (name, records, bytes) = (&store.store, store.records, store.bytes);
        let took_ms = store.took_ms();
        match store.full {
            Some(why) => {
                tracing::info!(%task, store = name, records, bytes, took_ms, %why, "restored");
            }
            None => tracing::info!(%task, store = name, records, bytes, took_ms, "restored"),
        }
    }
}

/// Says which stores of a task that has been opened held what is of no use to anybody.
fn tell_repaired(task: &Task, topology: &Topology) {
    for (store, repaired) in task.repaired(topology) {
        let what = "made new what was of no use, as weights of a model that are no numbers";
        tracing::warn!(task = %task.id(), store, repaired, what);
    }
}

/// How many records each store of a replica has applied.
fn replayed(replica: &Replica) -> Vec<Replayed> {
    let stores = replica.progress();
    let counts = stores.map(|store| Replayed {
        records: store.records,
        bytes: store.bytes,
    });
    counts.collect()
}

fn inputs(
    program: &crate::program::Program,
    task: TaskId,
) -> Vec<millstream_core::record::TopicPartition> {
    let spec = program.layout.tasks.iter().find(|spec| spec.id == task);
    spec.map(|spec| spec.inputs.clone()).unwrap_or_default()
}

/// Puts a task and the log's fetching at committed places; returns the greatest transaction number
/// found in them. `places` are in the order of the layout's inputs.
pub(super) fn resume(
    task: &mut Task,
    places: &[Option<millstream_log::Committed>],
    log: &mut dyn Log,
    now: Timestamp,
) -> Result<u64> {
    let mut greatest = 0;
    for input in 0..task.inputs().len() {
        let partition = task.inputs()[input].clone();
        let lost = match places.get(input).and_then(Option::as_ref) {
            Some(committed) => {
                let (place, number) = Place::from_metadata(committed.offset, &committed.metadata);
                greatest = greatest.max(number.unwrap_or(0));
                task.resume(input, place)
            }
            None => {
                // Where it was once begun: what was done since then is done again.
                let begun = task
                    .begun(input)
                    .map_or_else(|| start(task, input, log, now), Ok);
                task.begin(input, begun?)
            }
        };
        if lost > 0 {
            tell_lost(&partition, lost, task.next_offset(input));
        }
        log.seek(&partition, task.next_offset(input))?;
    }
    Ok(greatest)
}

/// Where an input begins of which no place was committed.
pub(super) fn start(
    task: &Task,
    input: usize,
    log: &mut dyn Log,
    now: Timestamp,
) -> Result<Offset> {
    let partition = &task.inputs()[input];
    Ok(match task.offset_reset(input) {
        OffsetReset::Earliest => log.start(partition)?,
        OffsetReset::Latest => log.end(partition)?,
        OffsetReset::ByDuration(duration) => {
            let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
            log.offset_for_time(partition, now.saturating_sub(millis))?
        }
        OffsetReset::Fail => {
            let text = format!(
                "no place of {partition} was committed, and the program is not to begin anywhere \
                 (auto.offset.reset=none)"
            );
            return Err(LogError::Fatal(text).into());
        }
    })
}
