//! What the handle, its threads and its readers share. Invariant: the state changes only along
//! [`State::may_become`], under one lock, and listeners hear of every change in order.

use super::{
    State, ThreadView, UncaughtPolicy,
    roster::{Roster, Seat},
};
use crate::{
    backends::Backends, calls::CallPool, clock::Clock, error::Error, program::Program,
    publish::Publisher, worker::Settings,
};
use millstream_log::{Instance, Log};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Hears of every change of state: old, then new.
pub type StateListener = Box<dyn Fn(State, State) + Send + Sync>;

/// Makes log clients, one per thread.
pub type LogSource = Arc<dyn Fn() -> millstream_log::Result<Box<dyn Log>> + Send + Sync>;

/// Answers what a failed thread should do.
pub type UncaughtHandler = Box<dyn Fn(&Error) -> UncaughtPolicy + Send + Sync>;

pub(crate) struct Shared {
    pub(crate) program: Arc<Program>,
    pub(crate) backends: Arc<dyn Backends>,
    pub(crate) logs: LogSource,
    /// Where the program has asynchronous operators.
    pub(crate) calls: Option<CallPool>,
    pub(crate) settings: Settings,
    pub(crate) poll: Duration,
    pub(crate) summary_interval: Option<Duration>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) uncaught: UncaughtHandler,
    pub(crate) publisher: Publisher,
    pub(crate) stopping: AtomicBool,
    /// `num.stream.threads`: with how many it starts.
    pub(crate) thread_count: usize,
    roster: Mutex<Roster>,
    listeners: Vec<StateListener>,
    state: Mutex<State>,
    changed: Condvar,
    views: Mutex<BTreeMap<usize, ThreadView>>,
    /// The group's instances, as each thread heard of them last that is in the group.
    instances: Mutex<BTreeMap<usize, Vec<Instance>>>,
    failure: Mutex<Option<String>>,
}

/// What a [`Shared`] is made of, besides what it keeps itself.
pub(crate) struct Parts {
    pub(crate) program: Arc<Program>,
    pub(crate) backends: Arc<dyn Backends>,
    pub(crate) logs: LogSource,
    pub(crate) calls: Option<CallPool>,
    pub(crate) settings: Settings,
    pub(crate) thread_count: usize,
    pub(crate) poll: Duration,
    pub(crate) summary_interval: Option<Duration>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) uncaught: UncaughtHandler,
    pub(crate) publisher: Publisher,
    pub(crate) listeners: Vec<StateListener>,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            program: parts.program,
            backends: parts.backends,
            logs: parts.logs,
            calls: parts.calls,
            roster: Mutex::new(Roster::new(Arc::clone(&parts.settings.workers))),
            settings: parts.settings,
            poll: parts.poll,
            summary_interval: parts.summary_interval,
            clock: parts.clock,
            uncaught: parts.uncaught,
            publisher: parts.publisher,
            stopping: AtomicBool::new(false),
            thread_count: parts.thread_count,
            listeners: parts.listeners,
            state: Mutex::new(State::Created),
            changed: Condvar::new(),
            views: Mutex::default(),
            instances: Mutex::default(),
            failure: Mutex::default(),
        }
    }

    pub(crate) fn state(&self) -> State {
        *self.locked()
    }

    /// Changes the state where that is allowed; says whether it is the wanted one now.
    pub(crate) fn become_state(&self, next: State) -> bool {
        let mut state = self.locked();
        let old = *state;
        if old == next {
            return true;
        }
        if !old.may_become(next) {
            return false;
        }
        *state = next;
        tracing::info!(%old, new = %next, "state changed");
        self.publisher.state(next);
        // Listeners run under the lock: they must not call back, and hear the changes in order.
        for listener in &self.listeners {
            listener(old, next);
        }
        self.changed.notify_all();
        true
    }

    /// Waits until the state satisfies `done`, or the time is over; returns the state then.
    pub(crate) fn wait_for(&self, done: impl Fn(State) -> bool, limit: Duration) -> State {
        let state = self.locked();
        let waited = self
            .changed
            .wait_timeout_while(state, limit, |state| !done(*state));
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// A thread waits a while, or until somebody asks it, or all of them, to end.
    pub(super) fn pause(&self, seat: &Seat, time: Duration) {
        let state = self.locked();
        let goes_on = |_: &mut State| !self.stopping() && !seat.is_leaving();
        let _unused = self.changed.wait_timeout_while(state, time, goes_on);
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn ask_to_stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn fail(&self, error: &Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| error.to_string());
        drop(failure);
        self.become_state(State::PendingError);
        self.ask_to_stop();
    }

    /// Which threads there are.
    pub(super) fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread has ended. The last one ends the client, so that whoever waits for that need not be
    /// the one who closes it.
    pub(super) fn ended(&self, seat: &Seat) {
        // Its number may be another one's once it has left.
        self.forget(seat.index);
        self.publisher.thread_gone(seat.index);
        let last = self.roster().leave(seat);
        if last {
            self.end();
        }
        self.wake();
    }

    /// A thread does nothing any more, and knows of nothing.
    pub(super) fn forget(&self, thread: usize) {
        self.views().remove(&thread);
        self.heard_of(thread, Vec::new());
    }

    /// Lets those look again who wait.
    pub(super) fn wake(&self) {
        // Taking the lock orders this after a waiter's look.
        drop(self.locked());
        self.changed.notify_all();
    }

    /// Waits until a thread that leaves has ended, or the time is over; says whether it has.
    pub(super) fn wait_for_leaving(&self, seat: &Seat, limit: Duration) -> bool {
        let (state, here) = (self.locked(), |_: &mut State| self.roster().has(seat));
        let waited = self.changed.wait_timeout_while(state, limit, here);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// From a pending state to the final one.
    pub(crate) fn end(&self) {
        self.views().clear();
        // Whoever has left its group hears no more of it.
        self.heard().clear();
        match self.state() {
            State::PendingError => self.become_state(State::Error),
            _ => self.become_state(State::NotRunning),
        };
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn views(&self) -> MutexGuard<'_, BTreeMap<usize, ThreadView>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread says what instances there are; one that is outside the group, or whose tasks are
    /// just moving, knows of none.
    pub(super) fn heard_of(&self, thread: usize, instances: Vec<Instance>) {
        let mut all = self.heard();
        if instances.is_empty() {
            all.remove(&thread);
        } else {
            all.insert(thread, instances);
        }
    }

    /// The group's instances, by one thread for all, so that two that hear of a change one after
    /// the other do not contradict each other.
    pub(super) fn instances(&self) -> Vec<Instance> {
        self.heard().values().next().cloned().unwrap_or_default()
    }

    fn heard(&self) -> MutexGuard<'_, BTreeMap<usize, Vec<Instance>>> {
        (self.instances.lock()).unwrap_or_else(PoisonError::into_inner)
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
