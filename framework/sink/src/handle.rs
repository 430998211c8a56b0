//! A sink on a thread of its own, so that a slow database slows nothing but its table.

use crate::{
    config::{SinkStats, Step},
    error::{Error, Result},
    sink::Sink,
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError},
    },
    thread::JoinHandle,
    time::Duration,
};

/// How long an idle sink waits for the log before it looks whether it should stop.
const IDLE_WAIT: Duration = Duration::from_millis(100);
/// How long a sink whose database is away does not hear its group at most.
const DEAF_MAX: Duration = Duration::from_secs(1);

/// A running sink. Dropping the handle ends it after the step it is in; [`SinkHandle::stop`] lets
/// it catch up first.
#[derive(Debug)]
pub struct SinkHandle {
    name: Arc<str>,
    stop: SyncSender<i64>,
    shared: Arc<Shared>,
    thread: JoinHandle<Result<()>>,
}

/// A look at a running sink, for whoever does not own its handle.
#[derive(Clone, Debug)]
pub struct SinkWatch {
    name: Arc<str>,
    shared: Arc<Shared>,
}

impl SinkWatch {
    /// The sink's name: its table's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts and places after the last step, the last one before its end included.
    pub fn stats(&self) -> SinkStats {
        self.shared.stats()
    }
}

#[derive(Debug, Default)]
struct Shared {
    stats: Mutex<SinkStats>,
    caught_up: AtomicBool,
}

impl Shared {
    fn publish(&self, stats: &SinkStats, caught_up: bool) {
        let mut shared = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        shared.clone_from(stats);
        drop(shared);
        self.caught_up.store(caught_up, Ordering::Release);
    }

    fn stats(&self) -> SinkStats {
        let stats = self.stats.lock();
        stats.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl SinkHandle {
    /// Starts the thread. `clock` gives milliseconds; only differences matter.
    ///
    /// # Errors
    /// [`Error::Thread`] where the system gives no thread.
    pub fn spawn(sink: Sink, clock: impl Fn() -> i64 + Send + 'static) -> Result<Self> {
        let (stop, commands) = mpsc::sync_channel(1);
        let shared = Arc::<Shared>::default();
        let publish = Arc::clone(&shared);
        let name: Arc<str> = sink.name().into();
        let thread = std::thread::Builder::new()
            .name(format!("sink-{}", name.replace('\0', "")))
            .spawn(move || run(sink, clock, &commands, &publish))
            .map_err(|error| Error::Thread(error.to_string()))?;
        Ok(Self {
            name,
            stop,
            shared,
            thread,
        })
    }

    /// Counts and places after the last step.
    pub fn stats(&self) -> SinkStats {
        self.shared.stats()
    }

    /// A look at the sink that may be kept elsewhere.
    pub fn watch(&self) -> SinkWatch {
        SinkWatch {
            name: Arc::clone(&self.name),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Whether the last step found nothing left to write in the sink's partitions. What was
    /// committed to the topic since is not known here: for a moment compare
    /// [`SinkStats::next_offsets`] with the log's ends.
    pub fn caught_up(&self) -> bool {
        self.shared.caught_up.load(Ordering::Acquire)
    }

    /// Whether the thread has ended by itself; [`SinkHandle::stop`] says why.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Writes on to the end of the sink's partitions, for at most `drain_ms` of the clock, and ends
    /// the thread. What is not written by then is written after the next start.
    ///
    /// # Errors
    /// What stopped the sink, if it did not last until now.
    pub fn stop(self, drain_ms: i64) -> Result<SinkStats> {
        // A thread that has ended hears nothing; its result says why it did.
        let _ = self.stop.send(drain_ms);
        let ended = self.thread.join();
        ended.map_err(|_| Error::Thread("panicked".into()))??;
        Ok(self.shared.stats())
    }
}

fn run(
    mut sink: Sink,
    clock: impl Fn() -> i64,
    commands: &Receiver<i64>,
    shared: &Shared,
) -> Result<()> {
    let mut deadline = None;
    loop {
        match commands.try_recv() {
            Ok(drain_ms) => deadline = Some(clock().saturating_add(drain_ms)),
            Err(TryRecvError::Disconnected) => return Ok(()),
            Err(TryRecvError::Empty) => {}
        }
        let step = sink.step(clock());
        shared.publish(sink.stats(), matches!(step, Ok(Step::Idle)));
        let step = step?;
        let now = clock();
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Ok(());
        }
        let pause = match step {
            Step::Wrote { .. } => continue,
            Step::Idle if deadline.is_some() => return Ok(()),
            Step::Idle if sink.wait(IDLE_WAIT).is_ok() => continue,
            // To whoever is told to stop, the group may be about to give what nobody else has.
            Step::Idle | Step::Waiting => IDLE_WAIT,
            Step::Retry { at_ms, .. } => {
                let until = deadline.map_or(at_ms, |deadline| at_ms.min(deadline));
                let left = until.saturating_sub(now).max(1).unsigned_abs();
                Duration::from_millis(left).min(DEAF_MAX)
            }
        };
        // The channel is the wait: to be told to stop ends it at once.
        match commands.recv_timeout(pause) {
            Ok(drain_ms) => deadline = Some(clock().saturating_add(drain_ms)),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
