//! An instance's calls in the simulation: how long each takes, a seed decides.
//!
//! Whoever waits for calls lets a few of them go on, whichever chance picks, so that answers come
//! in any order and misfortune finds calls that are out. Invariant: equal seeds give equal runs;
//! there is no thread here and no clock.

use millstream_core::calls::{Call, Executor};
use millstream_log::Rng;
use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

/// How many times calls go on, at most, while somebody waits once.
const TURNS: u64 = 6;
/// How often somebody looks at a timer before it strikes, at least and at most.
const TIMER: (u64, u64) = (3, 12);

/// The calls of an instance's process. Clones are the same.
#[derive(Clone)]
pub(super) struct Whims(Arc<Mutex<State>>);

struct State {
    rng: Rng,
    /// Those that have not ended, in no order.
    calls: Vec<Call>,
    begun: u64,
}

impl Whims {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: Rng::new(seed),
            calls: Vec::new(),
            begun: 0,
        })))
    }

    /// How many calls were ever begun.
    pub(super) fn begun(&self) -> u64 {
        self.locked().begun
    }

    /// Whether some call has not ended.
    pub(super) fn are_out(&self) -> bool {
        !self.locked().calls.is_empty()
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Whims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let calls = self.locked().calls.len();
        f.debug_struct("Whims").field("calls", &calls).finish()
    }
}

impl Executor for Whims {
    fn spawn(&self, call: Call) {
        let mut state = self.locked();
        state.calls.push(call);
        state.begun += 1;
    }

    /// Whoever sleeps does not know how long either.
    fn sleep(&self, _: Duration) -> Call {
        let (least, most) = TIMER;
        let mut turns = least + self.locked().rng.below(most - least);
        Box::pin(poll_fn(move |_| {
            turns = turns.saturating_sub(1);
            if turns == 0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }))
    }

    fn wait(&self, _: Duration) -> bool {
        let (turns, mut ended) = (self.locked().rng.below(TURNS), false);
        for _ in 0..=turns {
            let mut state = self.locked();
            if state.calls.is_empty() {
                break;
            }
            let State { rng, calls, .. } = &mut *state;
            let mut call = calls.swap_remove(rng.index(calls.len()));
            // It may begin a timer.
            drop(state);
            match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => self.locked().calls.push(call),
                Poll::Ready(()) => ended = true,
            }
        }
        ended
    }
}
