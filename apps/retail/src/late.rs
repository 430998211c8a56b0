//! For how many windows of this run lines came too late, as the program's threads tell it.
//!
//! Threads tell what they have done a few times a second, and nothing when they have ended. So
//! [`Late::settled`] is to be asked before the run is closed. Invariant: what it says is of
//! everything that had been committed when it was asked.

use crate::model::LINES;
use anyhow::Result;
use millstream::{
    Program,
    log::{Error as LogError, Log},
    runtime::{
        streams::{State, Streams, ThreadView},
        worker::TaskRole,
    },
};
use std::time::Duration;

/// So many times so long a thread is waited for: it tells its work five times a second, but a step
/// of its work on a busy machine may take longer.
const ROUNDS: u32 = 100;
const ROUND: Duration = Duration::from_millis(50);

/// Asks how far the threads are.
pub(crate) struct Late {
    log: Box<dyn Log>,
    group: String,
}

impl Late {
    pub(crate) fn of(program: &Program) -> Result<Self> {
        Ok(Self {
            log: program.log().client()?,
            group: program.config().application_id().to_owned(),
        })
    }

    /// As the threads have told it last.
    pub(crate) fn so_far(streams: &Streams) -> u64 {
        count(&streams.threads())
    }

    /// When the threads have told of all that is committed by now. Where they do not answer it is
    /// what they have told last, and 0 where they had ended before they were asked.
    pub(crate) fn settled(&mut self, streams: &Streams) -> Result<u64> {
        let mut last = 0;
        for _ in 0..ROUNDS {
            let threads = streams.threads();
            if streams.state().is_final() {
                break;
            }
            last = count(&threads);
            if self.is_told(&threads)? {
                break;
            }
            streams.wait_for(State::is_final, ROUND);
        }
        Ok(last)
    }

    /// Whether the threads have told of what is committed of the lines.
    fn is_told(&mut self, threads: &[ThreadView]) -> Result<bool> {
        let tasks = threads.iter().flat_map(|thread| &thread.tasks);
        let active = tasks.filter(|task| task.role == TaskRole::Active);
        let told = active.flat_map(|task| &task.inputs);
        let told = told.filter(|(at, _)| &*at.topic == LINES.name);
        let (inputs, next): (Vec<_>, Vec<_>) = told.cloned().unzip();
        let places = match self.log.committed_as(&self.group, &inputs) {
            Err(LogError::Retry(_)) => return Ok(false),
            places => places?,
        };
        let mut both = places.iter().zip(next);
        Ok(both.all(|(place, next)| place.as_ref().is_none_or(|place| place.offset <= next)))
    }
}

fn count(threads: &[ThreadView]) -> u64 {
    let totals = threads.iter().flat_map(|thread| thread.totals.values());
    totals.map(|total| total.counts.dropped.late_record).sum()
}
