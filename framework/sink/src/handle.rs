//! A sink on a thread of its own, so that a slow database slows nothing but its table.

use crate::{
    config::{SinkStats, Step},
    error::{Error, Result},
    sink::Sink,
};
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
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
    topics: [Arc<str>; 2],
    stop: SyncSender<i64>,
    shared: Arc<Shared>,
    thread: JoinHandle<Result<()>>,
}

/// What a sink on a thread does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SinkState {
    /// It has not begun, or waits for its group to say which partitions are its own.
    #[default]
    Waiting,
    /// It writes, or has everything in its table.
    Running,
    /// Its database or its log could not, and it tries again and again.
    Retrying,
    /// It was told to stop, and has.
    Stopped,
    /// It has ended by an error that trying again cannot mend: [`SinkWatch::failure`] says which.
    Failed,
}

impl SinkState {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Waiting,
        Self::Running,
        Self::Retrying,
        Self::Stopped,
        Self::Failed,
    ];

    /// Whether the thread has ended.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed)
    }

    fn after(step: &Result<Step>) -> Self {
        match step {
            Ok(Step::Wrote { .. } | Step::Idle) => Self::Running,
            Ok(Step::Waiting) => Self::Waiting,
            Ok(Step::Retry { .. }) => Self::Retrying,
            Err(_) => Self::Failed,
        }
    }
}

/// As metrics and pages write it, in the manner of Kafka Streams' states.
impl fmt::Display for SinkState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Waiting => "WAITING",
            Self::Running => "RUNNING",
            Self::Retrying => "RETRYING",
            Self::Stopped => "STOPPED",
            Self::Failed => "FAILED",
        })
    }
}

/// A look at a running sink, for whoever does not own its handle.
#[derive(Clone, Debug)]
pub struct SinkWatch {
    name: Arc<str>,
    topics: [Arc<str>; 2],
    shared: Arc<Shared>,
}

impl SinkWatch {
    /// The sink's name: its table's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The topic that it reads, and the one of its dead letters.
    pub fn topics(&self) -> [&str; 2] {
        self.topics.each_ref().map(|topic| &**topic)
    }

    /// Counts and places after the last step, the last one before its end included.
    pub fn stats(&self) -> SinkStats {
        self.shared.told().stats.clone()
    }

    /// What it does now.
    pub fn state(&self) -> SinkState {
        self.shared.told().state
    }

    /// What it ended by, if that was an error.
    pub fn failure(&self) -> Option<Error> {
        self.shared.told().failure.clone()
    }
}

#[derive(Debug, Default)]
struct Shared {
    told: Mutex<Told>,
    caught_up: AtomicBool,
}

#[derive(Debug, Default)]
struct Told {
    stats: SinkStats,
    state: SinkState,
    failure: Option<Error>,
}

impl Shared {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, stats: &SinkStats, step: &Result<Step>) {
        let mut told = self.told();
        told.stats.clone_from(stats);
        told.state = SinkState::after(step);
        drop(told);
        let caught_up = matches!(step, Ok(Step::Idle));
        self.caught_up.store(caught_up, Ordering::Release);
    }

    fn ended(&self, ended: &Result<()>) {
        let mut told = self.told();
        told.failure = ended.as_ref().err().cloned();
        told.state = match ended {
            Ok(()) => SinkState::Stopped,
            Err(_) => SinkState::Failed,
        };
    }
}

/// Tells of the thread's end also where it panics, as the program's own code may in it.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.0.told().state.is_final() {
            self.0.ended(&Err(panicked()));
        }
    }
}

fn panicked() -> Error {
    Error::Thread("panicked".into())
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
        let (name, topics) = (Arc::<str>::from(sink.name()), sink.topics().map(Arc::from));
        let thread = std::thread::Builder::new()
            .name(format!("sink-{}", name.replace('\0', "")))
            .spawn(move || {
                let ending = Ending(publish);
                let ended = run(sink, clock, &commands, &ending.0);
                ending.0.ended(&ended);
                ended
            })
            .map_err(|error| Error::Thread(error.to_string()))?;
        Ok(Self {
            name,
            topics,
            stop,
            shared,
            thread,
        })
    }

    /// Counts and places after the last step.
    pub fn stats(&self) -> SinkStats {
        self.shared.told().stats.clone()
    }

    /// A look at the sink that may be kept elsewhere.
    pub fn watch(&self) -> SinkWatch {
        SinkWatch {
            name: Arc::clone(&self.name),
            topics: self.topics.clone(),
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
        self.request_stop(drain_ms);
        let ended = self.thread.join();
        ended.map_err(|_| panicked())??;
        Ok(self.shared.told().stats.clone())
    }

    /// Ends several sinks as [`SinkHandle::stop`] does, side by side: one whose database is away
    /// takes all of `drain_ms`, and so many of them no longer. What became of each comes with its
    /// name.
    pub fn stop_all(
        sinks: impl IntoIterator<Item = Self>,
        drain_ms: i64,
    ) -> Vec<(Arc<str>, Result<SinkStats>)> {
        let sinks: Vec<_> = sinks.into_iter().collect();
        for sink in &sinks {
            sink.request_stop(drain_ms);
        }
        let ended = sinks.into_iter();
        ended
            .map(|sink| (Arc::clone(&sink.name), sink.stop(drain_ms)))
            .collect()
    }

    fn request_stop(&self, drain_ms: i64) {
        // A thread that has ended hears nothing, its result says why it did; and one that has not
        // heard yet what it was told before need not be told again.
        let _ = self.stop.try_send(drain_ms);
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
            Ok(drain_ms) => until(&mut deadline, &clock, drain_ms),
            Err(TryRecvError::Disconnected) => return Ok(()),
            Err(TryRecvError::Empty) => {}
        }
        let step = sink.step(clock());
        shared.publish(sink.stats(), &step);
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
            Ok(drain_ms) => until(&mut deadline, &clock, drain_ms),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Notes until when to drain. Being told again does not make it later.
fn until(deadline: &mut Option<i64>, clock: &impl Fn() -> i64, drain_ms: i64) {
    deadline.get_or_insert_with(|| clock().saturating_add(drain_ms));
}
