//! Calls that are out: waiting for their answers, and holding the commit for them.
//!
//! Invariant: nothing is committed while a call of any task is out, so the places that are
//! committed are those of records whose results are in the same transaction.

use super::{CALL_ROUNDS, CLOSE_WAIT, Worker};
use crate::error::Result;
use millstream_core::{calls::Executor, record::Timestamp};
use std::{sync::Arc, time::Duration};

/// While calls are out, the log is looked at so often at least.
const LOOK_WAIT: Duration = Duration::from_millis(5);

impl Worker {
    /// Lets an executor run the calls of asynchronous operators. A program that has some needs one.
    #[must_use]
    pub fn calling(mut self, executor: Arc<dyn Executor>) -> Self {
        self.task.executor = Some(executor);
        self
    }

    /// Whether some call is out.
    pub(super) fn has_calls_out(&self) -> bool {
        let mut active = self.active.values();
        self.task.executor.is_some() && active.any(|active| active.task.outstanding_calls() > 0)
    }

    /// Waits for an answer, if any is to come; returns how long the log may still be waited for.
    pub(super) fn await_answer(&self, wait: Duration) -> Duration {
        match &self.task.executor {
            Some(executor) if self.has_calls_out() => {
                executor.wait(wait.min(LOOK_WAIT));
                Duration::ZERO
            }
            _ => wait,
        }
    }

    /// Sends on what was answered, in all tasks.
    pub(super) fn settle_calls(&mut self) -> Result<bool> {
        let mut settled = false;
        if !self.has_calls_out() {
            return Ok(settled);
        }
        for active in self.active.values_mut() {
            settled |= active.task.settle_calls()?;
            if self.committing.is_some() {
                // Outputs stay with the task, as in `process`.
                continue;
            }
            if let Err(error) = self.sending.send(active, &mut *self.log, &mut self.stats) {
                return self.give_up(error);
            }
        }
        Ok(settled)
    }

    /// Whether a commit may happen: no call is out, and what waits for the commit makes none.
    pub(super) fn is_quiet(&mut self) -> Result<bool> {
        if self.task.executor.is_none() {
            return Ok(true);
        }
        if self.has_calls_out() {
            return Ok(false);
        }
        for active in self.active.values_mut() {
            active.task.flush()?;
        }
        Ok(!self.has_calls_out())
    }

    /// Makes a commit whose time has come when the last call has been answered. The next record may
    /// begin a call, so a commit behind it would not come as long as there are records.
    pub(super) fn commit_before_calls(&mut self, now: Timestamp) -> Result<bool> {
        if self.task.executor.is_none() || !self.commit_is_due(now) {
            return Ok(false);
        }
        self.commit(now)
    }

    /// At the end: waits for all calls, as long as one of them ends within a minute of the last.
    /// Those that take longer are made again by the next owner.
    pub(super) fn finish_calls(&mut self) -> Result<()> {
        let mut silent = 0;
        while silent < CALL_ROUNDS && !self.rewinding && !self.is_quiet()? {
            let executor = self.task.executor.as_ref();
            let ended = executor.is_some_and(|executor| executor.wait(CLOSE_WAIT));
            silent = if ended { 0 } else { silent + 1 };
            self.settle_calls()?;
        }
        Ok(())
    }
}
