//! Threads for the calls of asynchronous operators: one pool for all stream threads of a program.
//!
//! Invariant: whoever waits for answers hears of a call that has ended after its answer is there.

use crate::error::{Error, Result};
use millstream_core::calls::{Call, Executor};
use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};
use tokio::runtime::{Builder, Handle, Runtime};

/// The threads, as many as the machine has cores. Calls that are out when it is dropped are dropped
/// too.
pub struct CallPool {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl CallPool {
    /// Starts them.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start() -> Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.thread_name("calls").enable_all().build();
        let runtime = runtime.map_err(|error| {
            Error::IllegalState(format!("no threads for asynchronous operators: {error}"))
        })?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// What one stream thread hands its calls to, and waits at.
    pub fn executor(&self) -> Arc<dyn Executor> {
        Arc::new(Pooled {
            handle: self.handle.clone(),
            ended: Arc::default(),
        })
    }
}

impl Drop for CallPool {
    fn drop(&mut self) {
        // Not to wait: a call may block its thread for as long as it likes.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Debug)]
struct Pooled {
    handle: Handle,
    ended: Arc<Ended>,
}

/// Whether some call has ended that nobody has heard of.
#[derive(Debug, Default)]
struct Ended {
    some: Mutex<bool>,
    told: Condvar,
}

/// Tells it when it is dropped, so also where the call panics.
struct Tell(Arc<Ended>);

impl Drop for Tell {
    fn drop(&mut self) {
        *self.0.some.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.told.notify_all();
    }
}

impl Executor for Pooled {
    fn spawn(&self, call: Call) {
        let tell = Tell(self.ended.clone());
        self.handle.spawn(async move {
            // Dropped after the call, in which the answer is.
            let _tell = tell;
            call.await;
        });
    }

    fn sleep(&self, time: Duration) -> Call {
        // Made where it is polled, which is where the timers are.
        Box::pin(async move { tokio::time::sleep(time).await })
    }

    fn wait(&self, limit: Duration) -> bool {
        let some = self.ended.some.lock();
        let some = some.unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .ended
            .told
            .wait_timeout_while(some, limit, |some| !*some);
        std::mem::take(&mut *waited.unwrap_or_else(PoisonError::into_inner).0)
    }
}
