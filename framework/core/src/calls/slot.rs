//! Where a call leaves its answer, and where the task finds it.
//!
//! Invariant: a call that was begun ends in exactly one of three ways: it is answered, it is
//! abandoned by whoever runs it (which a panic does too), or it is cancelled by its task.

use super::Call;
use crate::error::Result;
use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// How many answers of one operator lie ready, so that looking for them costs a glance.
#[derive(Clone, Default)]
pub(crate) struct Inbox(Arc<AtomicUsize>);

impl Inbox {
    /// Whether there is none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

/// What became of a call.
pub(crate) enum Answer<W> {
    /// It has come to its end.
    Given(Result<W>),
    /// It was dropped before that.
    Abandoned,
}

enum State<W> {
    /// Nobody knows yet; whom to wake when the call is cancelled.
    Open(Option<Waker>),
    Answered(Answer<W>),
    /// Cancelled, or taken.
    Closed,
}

/// The task's end of a call. Dropping it cancels the call.
pub(crate) struct Slot<W> {
    state: Arc<Mutex<State<W>>>,
    inbox: Inbox,
}

impl<W: Send + 'static> Slot<W> {
    /// Wraps work into a call, and gives the slot that its answer will come to.
    pub(crate) fn around(
        work: impl Future<Output = Result<W>> + Send + 'static,
        inbox: &Inbox,
    ) -> (Self, Call) {
        let state = Arc::new(Mutex::new(State::Open(None)));
        let call = Answering {
            work: Some(Box::pin(work)),
            state: state.clone(),
            inbox: inbox.clone(),
        };
        let inbox = inbox.clone();
        (Self { state, inbox }, Box::pin(call))
    }
}

impl<W> Slot<W> {
    /// Takes the answer, if it is there.
    pub(crate) fn take(&self) -> Option<Answer<W>> {
        let mut state = locked(&self.state);
        match std::mem::replace(&mut *state, State::Closed) {
            State::Answered(answer) => {
                self.inbox.0.fetch_sub(1, Ordering::AcqRel);
                Some(answer)
            }
            other => {
                *state = other;
                None
            }
        }
    }
}

impl<W> Drop for Slot<W> {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *locked(&self.state), State::Closed);
        match before {
            State::Open(Some(waker)) => waker.wake(),
            State::Answered(_) => {
                self.inbox.0.fetch_sub(1, Ordering::AcqRel);
            }
            State::Open(None) | State::Closed => {}
        }
    }
}

/// The executor's end: the work, until it has ended or nobody wants it any more.
struct Answering<W> {
    work: Option<Pin<Box<dyn Future<Output = Result<W>> + Send>>>,
    state: Arc<Mutex<State<W>>>,
    inbox: Inbox,
}

impl<W> Answering<W> {
    fn answer(&self, answer: Answer<W>) {
        let mut state = locked(&self.state);
        if matches!(*state, State::Open(_)) {
            *state = State::Answered(answer);
            self.inbox.0.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl<W> Future for Answering<W> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let State::Open(waker) = &mut *locked(&self.state) {
            *waker = Some(cx.waker().clone());
        } else {
            return Poll::Ready(());
        }
        let Some(work) = &mut self.work else {
            return Poll::Ready(());
        };
        let Poll::Ready(result) = work.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        self.work = None;
        self.answer(Answer::Given(result));
        Poll::Ready(())
    }
}

impl<W> Drop for Answering<W> {
    fn drop(&mut self) {
        self.answer(Answer::Abandoned);
    }
}

fn locked<W>(state: &Mutex<State<W>>) -> MutexGuard<'_, State<W>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
