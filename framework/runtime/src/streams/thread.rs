//! The OS thread around a [`Worker`]: it gives the worker time, shows what it does, and decides
//! with the uncaught-error policy what happens after a failure.

use super::{State, ThreadView, UncaughtPolicy, roster::Seat, shared::Shared};
use crate::{
    error::{Error, Result},
    worker::{Step, Worker, WorkerStats},
};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

/// The first wait before a failed thread is replaced; it doubles with each failure in a row.
const REPLACE_WAIT_MIN: Duration = Duration::from_millis(100);
/// The longest wait before a failed thread is replaced.
const REPLACE_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a thread rests that has records which it does not process for now.
const HELD_UP_WAIT: Duration = Duration::from_millis(2);
/// How often what a thread does is shown to readers and metrics.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(200);

/// Runs a thread until it is asked to stop or to leave, or fails for good.
pub(super) fn run(shared: &Arc<Shared>, seat: &Seat) {
    let (index, mut wait) = (seat.index, REPLACE_WAIT_MIN);
    while !shared.stopping() && !seat.is_leaving() {
        let began = shared.clock.elapsed();
        let outcome = catch_unwind(AssertUnwindSafe(|| live(shared, seat)));
        shared.forget(index);
        let error = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(panic) => Error::Panicked(panic_message(&*panic)),
        };
        shared.publisher.thread_failed();
        if shared.clock.elapsed().saturating_sub(began) > REPLACE_WAIT_MAX {
            // It had recovered from what failed before.
            wait = REPLACE_WAIT_MIN;
        }
        // A handler that panics itself has not said what to do: the client stops.
        let answer = catch_unwind(AssertUnwindSafe(|| (shared.uncaught)(&error)));
        match answer.unwrap_or_default() {
            UncaughtPolicy::ReplaceThread => {
                tracing::error!(thread = index, %error, "thread failed; another takes its place");
                shared.become_state(State::Rebalancing);
                shared.pause(seat, wait);
                wait = (wait * 2).min(REPLACE_WAIT_MAX);
            }
            UncaughtPolicy::ShutdownClient => {
                tracing::error!(thread = index, %error, "thread failed; the client stops");
                shared.fail(&error);
            }
        }
    }
}

/// One worker's life. Dropping it without `close` aborts what it had open.
fn live(shared: &Arc<Shared>, seat: &Seat) -> Result<()> {
    let (index, mut settings) = (seat.index, shared.settings.clone());
    settings.member = format!("{}-{}", settings.member, index + 1);
    let (program, backends) = (shared.program.clone(), shared.backends.clone());
    let meter = shared.publisher.meter(index, shared.clock.clone());
    let worker = Worker::new(program, backends, (shared.logs)()?, settings);
    let mut worker = worker.measured(meter);
    if let Some(calls) = &shared.calls {
        worker = worker.calling(calls.executor());
    }
    let mut wait = Duration::ZERO;
    let mut published: Option<Duration> = None;
    let mut summary = Summary {
        last: shared.clock.elapsed(),
        stats: *worker.stats(),
    };
    while !shared.stopping() && !seat.is_leaving() {
        wait = match worker.step(shared.clock.now(), wait)? {
            Step::Busy => Duration::ZERO,
            // The records that are not to be processed would end a poll at once.
            Step::Idle if shared.settings.paused() => {
                shared.pause(seat, shared.poll);
                Duration::ZERO
            }
            // So would those that wait for another input's, for `max.task.idle.ms`.
            Step::Idle if worker.is_held_up() => {
                shared.pause(seat, HELD_UP_WAIT);
                shared.poll
            }
            Step::Idle => shared.poll,
        };
        let now = shared.clock.elapsed();
        let due = published.is_none_or(|last| now - last >= PUBLISH_INTERVAL);
        let phase_is_old = shared
            .views()
            .get(&index)
            .is_none_or(|v| v.phase != worker.phase());
        if due || phase_is_old {
            publish(shared, index, &mut worker);
            published = Some(now);
        }
        if shared
            .summary_interval
            .is_some_and(|interval| now - summary.last >= interval)
        {
            summary.log(now, &worker);
        }
    }
    publish(shared, index, &mut worker);
    let closed = worker.close(shared.clock.now());
    // The last commit counts too.
    publish(shared, index, &mut worker);
    closed
}

/// What a thread had done when it last said so in the log.
struct Summary {
    last: Duration,
    stats: WorkerStats,
}

impl Summary {
    fn log(&mut self, now: Duration, worker: &Worker) {
        let (before, after) = (self.stats, *worker.stats());
        let (processed, commits) = (
            after.processed - before.processed,
            after.commits - before.commits,
        );
        let (member, tasks) = (worker.member(), worker.tasks().len());
        tracing::info!(member, tasks, processed, commits, "since the last summary");
        (self.last, self.stats) = (now, after);
    }
}

/// Shows a thread's work, and derives the client's state from all threads' phases.
fn publish(shared: &Shared, index: usize, worker: &mut Worker) {
    let view = ThreadView {
        phase: worker.phase(),
        stats: *worker.stats(),
        tasks: worker.tasks(),
        totals: worker.totals(),
    };
    shared.publisher.thread(index, &view);
    shared.heard_of(index, worker.instances());
    if !shared.program.topology.globals().is_empty() {
        shared.publisher.globals(shared.settings.globals.dropped());
    }
    let all_run = {
        let mut views = shared.views();
        views.insert(index, view);
        shared.roster().all_run(&views)
    };
    if !shared.stopping() {
        shared.become_state(if all_run {
            State::Running
        } else {
            State::Rebalancing
        });
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
