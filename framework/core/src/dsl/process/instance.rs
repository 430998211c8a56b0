//! A processor from its making to its end, whichever kind it is of.

use super::{ProcessResult, StateContext};
use crate::{
    error::{Error, Result},
    task::TaskContext,
};
use millstream_state as state;

/// A processor of a task. Invariant: only one that was initialized is there to act, and each of
/// these is closed.
pub(super) struct Instance<P> {
    make: Box<dyn Fn() -> P>,
    processor: Option<P>,
    /// The node's name.
    name: String,
    /// For whom its schedules are.
    resident: usize,
}

impl<P> Instance<P> {
    pub(super) fn new(name: &str, make: impl Fn() -> P + 'static) -> Self {
        Self {
            make: Box::new(make),
            processor: None,
            name: name.to_owned(),
            resident: usize::MAX,
        }
    }

    /// Makes one. No record is to blame for what `init` returns, so no policy is asked.
    pub(super) fn start(
        &mut self,
        task: &mut TaskContext,
        me: usize,
        init: impl FnOnce(&mut P, &mut StateContext<'_>) -> ProcessResult,
    ) -> Result<()> {
        self.resident = me;
        let mut processor = (self.make)();
        let mut state = StateContext {
            task,
            resident: me,
            stopped: &mut false,
        };
        init(&mut processor, &mut state)
            .map_err(|error| unboxed(error).at(format!("init of {}", self.name)))?;
        self.processor = Some(processor);
        Ok(())
    }

    /// Lets it act; what it returns as an error is a refusal. After something downstream of it has
    /// stopped the thread it tells of that, in whatever words, and nobody is asked again.
    #[inline]
    pub(super) fn act(
        &mut self,
        task: &mut TaskContext,
        act: impl FnOnce(&mut P, StateContext<'_>) -> ProcessResult,
    ) -> Result<()> {
        let Some(processor) = &mut self.processor else {
            return Err(self.not_started());
        };
        let mut stopped = false;
        let state = StateContext {
            task: &mut *task,
            resident: self.resident,
            stopped: &mut stopped,
        };
        let done = act(processor, state);
        done.or_else(|error| match unboxed(error) {
            error if stopped => Err(error.answered()),
            error => task.refuse(&self.name, error),
        })
    }

    pub(super) fn stop(&mut self, close: impl FnOnce(&mut P)) {
        if let Some(mut processor) = self.processor.take() {
            close(&mut processor);
        }
    }

    #[cold]
    fn not_started(&self) -> Error {
        Error::topology(format!("{} got a record before its task began", self.name))
    }
}

/// An error that a user's `?` boxed is itself again. Where words were put around one that stops
/// the thread, it still does: the storage's failure is no bad record, whoever tells of it. Wrappers
/// that pass themselves off as what is in them, as those of `anyhow`, are no link of the chain of
/// causes, and neither is the error in them, so the storage's own is looked for too.
pub(in crate::dsl) fn unboxed(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    let foreign = match error.downcast::<Error>() {
        Ok(own) => return *own,
        Err(foreign) => foreign,
    };
    let mut causes = std::iter::successors(foreign.source(), |cause| cause.source());
    let is_final = causes.any(|cause| {
        cause.is::<state::Error>() || cause.downcast_ref().is_some_and(Error::is_final)
    });
    let error = Error::processing(foreign);
    if is_final { error.answered() } else { error }
}
