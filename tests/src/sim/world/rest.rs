//! How a healed world comes to rest, and what keeps it from it.
//!
//! Invariant: a world at rest runs all tasks, and has committed every input up to its end, and what
//! the wall clock let out since nothing comes any more.

use super::{APPLICATION, Sleep, World};
use anyhow::{Result, bail};
use millstream_core::record::{Offset, TopicPartition};
use millstream_log::{Error as LogError, FaultRates};
use millstream_runtime::worker::{Phase, Step, TaskRole, WorkerStats};
use std::collections::BTreeSet;

/// Rounds over all workers within which a healed world must come to rest.
const SETTLE_ROUNDS: u64 = 5_000;
/// Rounds without any change that count as rest; longer than a commit interval of simulated time.
const QUIET_ROUNDS: u64 = 12;

/// What kept a round over all workers from being a quiet one.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    busy: bool,
    asleep: bool,
    /// Something was counted, if only that a log said "not now".
    counted: bool,
    /// A commit is under way, and may still fail.
    committing: bool,
    /// Who does not run its tasks yet may have them do something when the clock strikes.
    moving: bool,
}

impl Round {
    fn is_quiet(self) -> bool {
        !(self.busy || self.asleep || self.counted || self.committing || self.moving)
    }
}

impl World {
    /// The weather clears: no more faults, and everybody works until there is nothing left to do.
    pub(in crate::sim) fn settle(&mut self) -> Result<()> {
        self.heal()?;
        self.feed_all()?;
        let (mut quiet, mut last, mut before_it_struck) = (0, Round::default(), None);
        // Once for what waits, once more for what a misfortune kept, and once in vain. On a cluster
        // more may happen than is meant to.
        let mut strikes = if self.ground.habits().dense {
            2
        } else {
            u64::MAX
        };
        strikes = strikes.saturating_add(u64::from(self.is_rough));
        for _ in 0..SETTLE_ROUNDS {
            self.now += 10;
            last = self.round()?;
            quiet = if last.is_quiet() { quiet + 1 } else { 0 };
            if quiet <= QUIET_ROUNDS || self.behind()?.is_some() {
                continue;
            }
            // Whoever takes a task over begins to wait anew, so that what happened since the clock
            // struck may be what kept it from letting out everything.
            let stats = self.stats();
            if self.idle == 0 || before_it_struck.as_ref() == Some(&stats) {
                return Ok(());
            }
            if strikes == 0 {
                bail!("the wall clock strikes, and there is always something left");
            }
            strikes -= 1;
            self.now += self.idle;
            (quiet, before_it_struck) = (0, Some(stats));
            if std::mem::take(&mut self.is_rough) {
                let number = self.rng.index(self.instances.len());
                self.freeze(number)?;
            }
        }
        let unsettled = self.unsettled();
        bail!(
            "{SETTLE_ROUNDS} rounds after the last fault there is still work: {last:?}, quiet for \
             {quiet} rounds, behind {:?}, unsettled {unsettled}",
            self.behind()?
        )
    }

    /// Ends all faults.
    fn heal(&mut self) -> Result<()> {
        // A disk may have died under a destructor, of which nobody has heard yet.
        for number in 0..self.instances.len() {
            if self.instances[number].disk.is_dead() {
                self.kill(number)?;
            }
        }
        for instance in &mut self.instances {
            instance.faults.set_rates(FaultRates::default());
            instance.disk.heal();
            for (_, sleep) in &mut instance.workers {
                if matches!(sleep, Sleep::Steps(_)) {
                    *sleep = Sleep::NONE;
                }
            }
        }
        Ok(())
    }

    /// One step of each worker that is awake.
    fn round(&mut self) -> Result<Round> {
        let wait = self.ground.habits().wait;
        let before = self.stats();
        let (mut round, mut steps) = (Round::default(), 0);
        for (worker, sleep) in self.instances.iter_mut().flat_map(|i| &mut i.workers) {
            if self.ground.wakes(sleep) {
                round.busy |= worker.step(self.now, wait)? == Step::Busy;
                round.committing |= worker.is_committing();
                steps += 1;
            } else {
                round.asleep = true;
            }
        }
        if steps == 0 {
            self.client.poll(wait)?;
        }
        round.counted = self.stats() != before;
        round.moving = !self.all_tasks_run();
        Ok(round)
    }

    /// What every worker has counted.
    fn stats(&self) -> Vec<WorkerStats> {
        let workers = self.instances.iter().flat_map(|i| &i.workers);
        workers.map(|(worker, _)| *worker.stats()).collect()
    }

    /// An input that is not committed up to its end, with the place and the end.
    pub(super) fn behind(&mut self) -> Result<Option<(TopicPartition, Offset, Offset)>> {
        let tasks = self.program.layout.tasks.iter();
        let inputs: Vec<_> = tasks.flat_map(|task| task.inputs.iter().cloned()).collect();
        let places = match self.client.committed_as(APPLICATION, &inputs) {
            Err(LogError::Retry(_)) => vec![None; inputs.len()],
            places => places?,
        };
        for (input, place) in inputs.into_iter().zip(places) {
            let (place, end) = (
                place.map_or(0, |place| place.offset),
                self.client.end(&input)?,
            );
            if place < end {
                return Ok(Some((input, place, end)));
            }
        }
        Ok(None)
    }

    /// Whether every task runs somewhere, and no worker is about to take or give any.
    pub(super) fn all_tasks_run(&self) -> bool {
        let mut workers = self.instances.iter().flat_map(|i| &i.workers);
        let mut running = BTreeSet::new();
        let settled = workers.all(|(worker, _)| {
            let tasks = worker.tasks().into_iter();
            let active = tasks.filter(|task| task.role == TaskRole::Active);
            running.extend(active.map(|task| task.id));
            worker.phase() == Phase::Running
        });
        settled && running.len() == self.program.layout.tasks.len()
    }

    /// The workers that do not run all of their tasks, with what they have counted and how far
    /// their tasks' stores are.
    pub(super) fn unsettled(&self) -> String {
        let workers = self.instances.iter().flat_map(|i| &i.workers);
        let unsettled = workers.filter(|(worker, _)| worker.phase() != Phase::Running);
        let unsettled: Vec<_> = unsettled
            .map(|(worker, _)| {
                let tasks = worker.tasks().into_iter().map(|task| {
                    let places = task.restore.iter();
                    let places: Vec<_> = places.map(|store| (store.position, store.end)).collect();
                    (task.id, task.role, places)
                });
                (worker.member(), worker.stats(), tasks.collect::<Vec<_>>())
            })
            .collect();
        format!("{unsettled:?}")
    }
}
