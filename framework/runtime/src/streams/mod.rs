//! `Streams`: a running program. Kafka's `KafkaStreams`, by a name that does not promise Kafka.

mod builder;
mod query;
mod rows;
mod shared;
mod state;
mod thread;

pub use builder::StreamsConfig;
pub use query::{Cursor, RowPage};
pub use rows::{StoreHome, StoreRow, StoreRows, StoredRow, UnreadableRow};
pub use shared::{LogSource, StateListener, UncaughtHandler};
pub use state::State;

use crate::{
    cleaner::Cleaner,
    error::{Error, Result},
    global::GlobalProgress,
    program::Program,
    worker::{Phase, TaskView, Totals, WorkerStats},
};
use millstream_core::record::TaskId;
use shared::Shared;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

/// What to do when a thread fails: its code panicked, a record was bad under the policy to fail, or
/// the log or a store refused for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UncaughtPolicy {
    /// Start another thread in its place, which begins at the last commit.
    ReplaceThread,
    /// Stop all threads; the client ends in `ERROR`. Kafka's default.
    #[default]
    ShutdownClient,
}

/// What a thread was doing when it was last looked at.
#[derive(Clone)]
pub struct ThreadView {
    /// How it stands.
    pub phase: Phase,
    /// Its counts.
    pub stats: WorkerStats,
    /// Its tasks.
    pub tasks: Vec<TaskView>,
    /// What it has done for each task since it began, also for those that are elsewhere by now.
    pub totals: BTreeMap<TaskId, Totals>,
}

/// A program with its threads, from start to end.
///
/// Dropping it stops the threads and waits for them.
pub struct Streams {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    cleaner: Mutex<Cleaner>,
}

impl Streams {
    /// Starts the threads.
    ///
    /// # Errors
    /// Where it was started or closed before, or the system gives no thread: then it fails.
    pub fn start(&self) -> Result<()> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.state();
        if state != State::Created || !self.shared.become_state(State::Rebalancing) {
            return Err(Error::IllegalState(format!(
                "cannot start a client that is {state}"
            )));
        }
        // All are counted before any runs, so that the first to end is not taken for the last.
        (0..self.shared.thread_count).for_each(|_| self.shared.begun());
        for index in 0..self.shared.thread_count {
            let shared = self.shared.clone();
            let name = format!("StreamThread-{}", index + 1);
            let spawned = std::thread::Builder::new().name(name).spawn(move || {
                thread::run(&shared, index);
                shared.ended();
            });
            match spawned {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    let error = Error::IllegalState(format!("no thread: {error}"));
                    self.shared.fail(&error);
                    (index..self.shared.thread_count).for_each(|_| self.shared.ended());
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// How it stands.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// What stopped it, if something did.
    pub fn failure(&self) -> Option<String> {
        self.shared.failure()
    }

    /// Waits until the state satisfies `done` or the time is over; returns the state then.
    pub fn wait_for(&self, done: impl Fn(State) -> bool, limit: Duration) -> State {
        self.shared.wait_for(done, limit)
    }

    /// Stops processing and punctuation; membership, restores and standbys go on.
    pub fn pause(&self) {
        self.shared.settings.pause.store(true, Ordering::Relaxed);
    }

    /// Goes on processing.
    pub fn resume(&self) {
        self.shared.settings.pause.store(false, Ordering::Relaxed);
    }

    /// Whether processing is paused.
    pub fn is_paused(&self) -> bool {
        self.shared.settings.pause.load(Ordering::Relaxed)
    }

    /// Asks the threads to commit, leave and end, without waiting for them. The last one to end
    /// makes the state final.
    pub fn request_close(&self) {
        self.shared.become_state(State::PendingShutdown);
        self.shared.ask_to_stop();
    }

    /// Stops: every thread commits what is done and leaves its group. Waits until all have ended.
    pub fn close(&self) -> State {
        self.request_close();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A thread catches its own panics; one that could not is as ended as any.
            drop(thread.join());
        }
        // The last thread does this too; a client that was not started has none.
        self.shared.end();
        self.state()
    }

    /// All threads as last looked at.
    pub fn threads(&self) -> Vec<ThreadView> {
        self.shared.views().values().cloned().collect()
    }

    /// All tasks of this instance as last looked at.
    pub fn tasks(&self) -> Vec<TaskView> {
        self.shared
            .views()
            .values()
            .flat_map(|thread| thread.tasks.clone())
            .collect()
    }

    /// How far the instance's global tables are read, partition by partition.
    pub fn globals(&self) -> Vec<GlobalProgress> {
        self.shared.settings.globals.progress()
    }

    /// Deletes the state of tasks that this instance has not had, active or standby, for
    /// `state.cleanup.delay.ms`, and says of which. To be called now and then: it looks at the
    /// disk no more often than that, and only while the instance is running, since tasks that it
    /// was just thrown out of come back.
    ///
    /// # Errors
    /// Where the storage refuses.
    pub fn tidy_state(&self) -> Result<Vec<TaskId>> {
        let mut cleaner = self.cleaner.lock().unwrap_or_else(PoisonError::into_inner);
        if self.state() != State::Running {
            cleaner.wait();
            return Ok(Vec::new());
        }
        let Shared {
            backends,
            settings,
            clock,
            ..
        } = &*self.shared;
        cleaner.step(&**backends, &settings.leases, clock.now())
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.shared.program
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.close();
    }
}
