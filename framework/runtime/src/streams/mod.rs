//! `Streams`: a running program. Kafka's `KafkaStreams`, by a name that does not promise Kafka.

mod builder;
mod found;
mod hosts;
mod query;
mod roster;
mod rows;
mod shared;
mod state;
mod thread;
mod typed;

pub use builder::StreamsConfig;
pub use hosts::{HostInfo, KeyQueryMetadata, StreamsMetadata};
pub use query::{Cursor, RowPage};
pub use rows::{StoreHome, StoreRow, StoreRows, StoredRow, UnreadableRow};
pub use shared::{LogSource, StateListener, UncaughtHandler};
pub use state::State;
pub use typed::{
    ReadOnlyKeyValueStore, ReadOnlySessionStore, ReadOnlyVersionedStore, ReadOnlyWindowStore, Rows,
};

use crate::{
    cleaner::Cleaner,
    error::{Error, Result},
    global::GlobalProgress,
    program::Program,
    worker::{Phase, TaskView, Totals, WorkerStats},
};
use millstream_core::{record::TaskId, task::Dropped};
use roster::Seat;
use shared::Shared;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
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
    /// By their numbers.
    threads: Mutex<BTreeMap<usize, JoinHandle<()>>>,
    cleaner: Mutex<Cleaner>,
}

impl Streams {
    /// Starts the threads.
    ///
    /// # Errors
    /// Where it was started or closed before, or the system gives no thread: then it fails.
    pub fn start(&self) -> Result<()> {
        let mut threads = self.handles();
        let state = self.state();
        if state != State::Created || !self.shared.become_state(State::Rebalancing) {
            return Err(Error::IllegalState(format!(
                "cannot start a client that is {state}"
            )));
        }
        // All are counted before any runs, so that the first to end is not taken for the last.
        let seats = (0..self.shared.thread_count).map(|_| self.shared.roster().seat());
        let mut seats = seats.collect::<Vec<_>>().into_iter();
        while let Some(seat) = seats.next() {
            match self.spawn(&seat) {
                Ok(thread) => threads.insert(seat.index, thread),
                Err(error) => {
                    self.shared.fail(&error);
                    [seat]
                        .into_iter()
                        .chain(seats)
                        .for_each(|seat| self.shared.ended(&seat));
                    return Err(error);
                }
            };
        }
        Ok(())
    }

    fn spawn(&self, seat: &Seat) -> Result<JoinHandle<()>> {
        let (shared, own) = (self.shared.clone(), seat.clone());
        let builder = std::thread::Builder::new().name(seat.name());
        let spawned = builder.spawn(move || {
            thread::run(&shared, &own);
            shared.ended(&own);
        });
        spawned.map_err(|error| Error::IllegalState(format!("no thread: {error}")))
    }

    fn handles(&self) -> MutexGuard<'_, BTreeMap<usize, JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts another thread, which takes over some of the tasks, and says what it is called: the
    /// lowest number that is free is in its name. Kafka's `addStreamThread` (KIP-663).
    ///
    /// Each thread has an equal share of `statestore.uncommitted.max.bytes` from then on, as after
    /// one has left.
    ///
    /// # Errors
    /// Where the client does not run, or the system gives no thread.
    pub fn add_stream_thread(&self) -> Result<String> {
        let mut threads = self.handles();
        self.must_run("get another thread")?;
        let seat = self.shared.roster().seat();
        match self.spawn(&seat) {
            Ok(thread) => {
                threads.insert(seat.index, thread);
                Ok(seat.name())
            }
            Err(error) => {
                self.shared.ended(&seat);
                Err(error)
            }
        }
    }

    /// Lets the last thread commit what it has done, give its tasks to others and end, and says
    /// what it was called. Kafka's `removeStreamThread` (KIP-663). Not to be called by a stream
    /// thread, as in a listener, which could be the one that is waited for. On a cluster a member
    /// with a name of its own (`group.instance.id`) is expected back, so that others get its tasks
    /// only after `session.timeout.ms`.
    ///
    /// # Errors
    /// Where the client does not run, or has no second thread that stays; and where the thread has
    /// not ended within `limit`: it is on its way all the same.
    pub fn remove_stream_thread(&self, limit: Duration) -> Result<String> {
        self.must_run("lose a thread")?;
        let Some(seat) = self.shared.roster().dismiss() else {
            let why = "the last thread cannot be removed: close the client";
            return Err(Error::IllegalState(why.to_owned()));
        };
        let name = seat.name();
        self.shared.wake();
        if !self.shared.wait_for_leaving(&seat, limit) {
            let why = format!("{name} has not ended after {limit:?}; it is leaving");
            return Err(Error::IllegalState(why));
        }
        Ok(name)
    }

    fn must_run(&self, what: &str) -> Result<()> {
        let state = self.state();
        if matches!(state, State::Rebalancing | State::Running) {
            return Ok(());
        }
        Err(Error::IllegalState(format!(
            "a client that is {state} cannot {what}"
        )))
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
        let threads = std::mem::take(&mut *self.handles());
        for thread in threads.into_values() {
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

    /// What this client has dropped since it was started, by reason, and how many dead letters it
    /// wrote: the sum of what `streams_records_dropped_total` and `streams_dead_letters_total`
    /// count. Threads tell it a few times a second, and when they end in order; what is done again
    /// after a failure may be counted again.
    ///
    /// ```
    /// use millstream_runtime::streams::Streams;
    ///
    /// fn too_late(streams: &Streams) -> u64 {
    ///     streams.dropped().late_record
    /// }
    /// ```
    pub fn dropped(&self) -> Dropped {
        *self.shared.publisher.all_dropped()
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
