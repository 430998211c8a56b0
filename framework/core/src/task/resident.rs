//! What lives in a task from its first step until it goes: processors, and who looks at the clock.
//!
//! Invariants: a resident is started before anything else reaches it, when the task's stores are
//! restored and its places known; what is started is stopped, once, also where the task goes back
//! to its last commit, since what a resident remembers of dropped work would be wrong.

use super::{Cancellable, Task, TaskContext, timer::Timers};
use crate::{error::Result, record::Timestamp};

/// Somebody who lives in a task.
pub(crate) trait Resident {
    /// Begins, and makes the schedules it wants; `me` is its number, for whom these are.
    fn start(&mut self, ctx: &mut TaskContext, me: usize) -> Result<()>;
    /// A schedule of its own is due; says whether the call did anything.
    fn call(&mut self, ctx: &mut TaskContext, of: &Cancellable, now: Timestamp) -> Result<bool>;
    /// Ends, if it was started.
    fn stop(&mut self);
}

impl Task {
    /// Starts what lives in the task, unless that was done.
    ///
    /// # Errors
    /// What a processor's `init` returns.
    #[inline]
    pub(super) fn ensure_started(&mut self) -> Result<()> {
        if self.started {
            return Ok(());
        }
        self.start()
    }

    #[cold]
    fn start(&mut self) -> Result<()> {
        self.stop();
        self.ctx.source = None;
        self.ctx.timestamp = self.ctx.stream_time.max(0);
        self.ctx.timers.resume(self.ctx.stream_time);
        for (me, resident) in self.residents.iter_mut().enumerate() {
            resident.start(&mut self.ctx, me)?;
        }
        self.ctx.timers.resumed();
        self.started = true;
        Ok(())
    }

    /// Ends what lives in the task, in the order in which it began, and forgets all schedules.
    pub(super) fn stop(&mut self) {
        for resident in &mut self.residents {
            resident.stop();
        }
        self.ctx.timers = Timers::default();
        self.started = false;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // Another panic while one unwinds would end the process.
        if !std::thread::panicking() {
            self.stop();
        }
    }
}
