//! An executor without threads and without a clock: the test driver's, and that of simulations.
//!
//! Calls are polled while somebody waits for them, in the order in which they were begun or woken.
//! Time stands still while any can go on, and then leaps to the next end of a sleep. Invariant:
//! calls that wait for nothing but each other and sleeps run alike every time.

use super::{Call, Executor};
use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

/// Runs calls on the thread that waits for them. Clones share their calls and their time, which
/// begins at 0 and has nothing to do with the wall clock that a test driver is told.
///
/// A call may wait for another thread; nothing else is then to be done, and
/// [`Executor::wait`] blocks. But a timeout strikes before that: time that nobody uses passes at
/// once.
#[derive(Clone, Default)]
pub struct InlineExecutor(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Default)]
struct State {
    now: Duration,
    /// Calls that have not ended, by the number in which they were begun; one that is being polled
    /// is not here.
    calls: BTreeMap<u64, Call>,
    begun: u64,
    ended: u64,
    /// How many had ended when somebody looked last.
    seen: u64,
    /// Who can go on.
    ready: VecDeque<u64>,
    /// Whom to wake when.
    sleeps: BTreeMap<(Duration, u64), Waker>,
    slept: u64,
}

impl std::fmt::Debug for InlineExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.0.locked();
        f.debug_struct("InlineExecutor")
            .field("now", &state.now)
            .field("calls", &state.calls.len())
            .finish_non_exhaustive()
    }
}

impl InlineExecutor {
    /// One without calls.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long all sleeps so far have taken.
    pub fn now(&self) -> Duration {
        self.0.locked().now
    }

    /// Polls a call that can go on, if there is one.
    fn poll_one(&self) -> bool {
        let mut state = self.0.locked();
        let Some(number) = state.ready.pop_front() else {
            return false;
        };
        // One that was woken twice may have ended meanwhile.
        let Some(mut call) = state.calls.remove(&number) else {
            return true;
        };
        drop(state);
        let shared = Arc::downgrade(&self.0);
        let waker = Waker::from(Arc::new(Wakes { number, shared }));
        let polled = call.as_mut().poll(&mut Context::from_waker(&waker));
        let mut state = self.0.locked();
        match polled {
            Poll::Pending => {
                state.calls.insert(number, call);
            }
            Poll::Ready(()) => state.ended += 1,
        }
        true
    }

    /// Lets time pass until the next sleep ends; says whether there was one.
    fn leap(&self) -> bool {
        let mut state = self.0.locked();
        let Some(((time, _), waker)) = state.sleeps.pop_first() else {
            return false;
        };
        state.now = state.now.max(time);
        drop(state);
        waker.wake();
        true
    }
}

impl Executor for InlineExecutor {
    fn spawn(&self, call: Call) {
        let mut state = self.0.locked();
        let number = state.begun;
        state.begun += 1;
        state.calls.insert(number, call);
        state.ready.push_back(number);
    }

    fn sleep(&self, time: Duration) -> Call {
        let mut state = self.0.locked();
        let at = (state.now.saturating_add(time), state.slept);
        state.slept += 1;
        let shared = Arc::downgrade(&self.0);
        Box::pin(Sleep { at, shared })
    }

    fn wait(&self, limit: Duration) -> bool {
        loop {
            while self.poll_one() {}
            let mut state = self.0.locked();
            if state.ended > state.seen || state.calls.is_empty() {
                let some = state.ended > state.seen;
                state.seen = state.ended;
                return some;
            }
            drop(state);
            if self.leap() {
                continue;
            }
            let state = self.0.locked();
            let idle = |state: &mut State| state.ready.is_empty();
            let woken = self.0.woken.wait_timeout_while(state, limit, idle);
            let (state, timed) = woken.unwrap_or_else(PoisonError::into_inner);
            drop(state);
            if timed.timed_out() {
                return false;
            }
        }
    }
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says of a call that it can go on.
struct Wakes {
    number: u64,
    shared: Weak<Shared>,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let mut state = shared.locked();
        if !state.ready.contains(&self.number) {
            state.ready.push_back(self.number);
        }
        drop(state);
        shared.woken.notify_all();
    }
}

/// Waits for a time. Dropped with the future that it is part of, it holds nobody up. The executor
/// holds its calls, so they must not hold it.
struct Sleep {
    at: (Duration, u64),
    shared: Weak<Shared>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(shared) = self.shared.upgrade() else {
            return Poll::Ready(());
        };
        let mut state = shared.locked();
        if state.now >= self.at.0 {
            return Poll::Ready(());
        }
        state.sleeps.insert(self.at, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.locked().sleeps.remove(&self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn calls_end_in_the_order_of_their_sleeps_and_time_adds_up() {
        let executor = InlineExecutor::new();
        let (tell, told) = mpsc::channel();
        for time in [30, 10, 20, 10] {
            let (own, tell) = (executor.clone(), tell.clone());
            executor.spawn(Box::pin(async move {
                own.sleep(Duration::from_millis(time)).await;
                own.sleep(Duration::from_millis(5)).await;
                tell.send((time, own.now().as_millis())).ok();
            }));
        }
        for _ in 0..4 {
            executor.wait(Duration::ZERO);
        }
        let ended: Vec<_> = told.try_iter().collect();
        assert_eq!(ended, [(10, 15), (10, 15), (20, 25), (30, 35)]);
    }

    #[test]
    fn a_call_may_wait_for_another_thread() {
        let executor = InlineExecutor::new();
        let gate = Arc::new(Mutex::new((false, None::<Waker>)));
        let of_call = gate.clone();
        executor.spawn(Box::pin(std::future::poll_fn(move |cx| {
            let mut gate = of_call.lock().unwrap_or_else(PoisonError::into_inner);
            gate.1 = Some(cx.waker().clone());
            if gate.0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })));
        executor.wait(Duration::ZERO);
        assert_eq!(executor.0.locked().calls.len(), 1, "it has not ended");
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let mut gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
                gate.0 = true;
                gate.1.take().map(Waker::wake)
            });
            executor.wait(Duration::MAX);
        });
        assert!(executor.0.locked().calls.is_empty());
    }
}
