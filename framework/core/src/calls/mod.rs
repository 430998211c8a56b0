//! Calls: what an asynchronous operator asks of the world, and who runs that.
//!
//! The core polls no future and knows no clock. An operator hands a [`Call`] to the [`Executor`] of
//! its task and looks, between records, for the answer. Invariant: a call that was cancelled, or
//! whose task is gone, is dropped as soon as its executor looks at it, and its answer is nobody's.

mod attempts;
mod inline;
mod slot;

pub use attempts::AsyncConfig;
pub(crate) use attempts::attempts;
pub use inline::InlineExecutor;
pub(crate) use slot::{Answer, Inbox, Slot};

use std::{fmt::Debug, pin::Pin, time::Duration};

/// Something to be polled to its end. Its result, if it has one, finds its own way.
pub type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs the calls of a task's asynchronous operators: the runtime on threads of its own, the test
/// driver on none ([`InlineExecutor`]).
pub trait Executor: Debug + Send + Sync {
    /// Begins a call. It may make progress at any time from now on, on any thread.
    fn spawn(&self, call: Call);

    /// A future that is ready after so long: for timeouts, and for the waits between attempts.
    fn sleep(&self, time: Duration) -> Call;

    /// Returns when some call has ended since this was asked last, at once if one has; and in any
    /// case after `limit`. Says whether one has ended.
    fn wait(&self, limit: Duration) -> bool;
}
