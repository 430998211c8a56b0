//! What befalls instances: they die, close, freeze past their session, lose their disk, or hear
//! that it is earlier than it was.
//!
//! Invariant: what a process leaves behind is counted and checked before the next one begins.

use super::{World, check};
use crate::sim::disk::{CRASH, Disk};
use anyhow::{Result, bail};
use millstream_log::Error as LogError;
use std::sync::Arc;

impl World {
    /// The process dies here and now, and starts again on the disk it has.
    pub(super) fn kill(&mut self, number: usize) -> Result<()> {
        self.tally.crashes += 1;
        self.instances[number].disk.die();
        self.end_workers(number);
        let instance = &self.instances[number];
        if self.ground.habits().dense {
            // Elsewhere what the dead one left open hides what was committed behind it.
            let disk = (&*instance.disk, &*instance.name);
            let wrong = check::disk(&self.program, &mut *self.client, true, disk)?;
            self.found.extend(wrong);
        }
        self.boot(number)
    }

    pub(super) fn close(&mut self, number: usize) -> Result<()> {
        for (mut worker, _) in std::mem::take(&mut self.instances[number].workers) {
            let closed = worker.close(self.now);
            self.tally.worker(worker.stats());
            match closed {
                Ok(()) => {}
                Err(error) if error.to_string().contains(CRASH) => {
                    self.tally.crashes += 1;
                    self.died_at(&error);
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => bail!("closing: {error}"),
            }
        }
        self.boot(number)
    }

    /// A worker stops for longer than its session: its tasks go to others, and then it wakes.
    pub(super) fn freeze(&mut self, number: usize) -> Result<()> {
        let instance = &mut self.instances[number];
        let count = instance.workers.len();
        let chosen = self.rng.index(count.max(1));
        let Some((worker, sleep)) = instance.workers.get_mut(chosen) else {
            return Ok(());
        };
        self.tally.ended_asking += u64::from(instance.calls.are_out());
        *sleep = self.ground.expire(worker.member(), &mut self.rng)?;
        self.tally.zombies += 1;
        Ok(())
    }

    /// Somebody finds that it is earlier than was thought.
    pub(super) fn put_the_clock_back(&mut self) {
        self.tally.clocks += 1;
        self.now = (self.now - self.rng.below(2_000) as i64).max(0);
    }

    pub(super) fn lose_disk(&mut self, number: usize) -> Result<()> {
        self.tally.crashes += 1;
        self.end_workers(number);
        let seed = self.rng.next_u64();
        let instance = &mut self.instances[number];
        instance.disk = Arc::new(Disk::new(seed, 10));
        self.boot(number)
    }

    fn end_workers(&mut self, number: usize) {
        for (worker, _) in self.instances[number].workers.drain(..) {
            self.tally.worker(worker.stats());
        }
    }

    /// Notes at which step of its work a process died.
    pub(super) fn died_at(&mut self, error: &millstream_runtime::Error) {
        let told = error.to_string();
        let (_, place) = told.split_once(CRASH).unwrap_or_default();
        *self.tally.deaths.entry(place.to_owned()).or_default() += 1;
    }
}

/// Errors of a closing member that mean only that its work is left to the next owner.
pub(super) fn is_passing(error: &millstream_runtime::Error) -> bool {
    matches!(
        error,
        millstream_runtime::Error::Log(LogError::Retry(_) | LogError::Fenced(_))
    )
}
