//! The one place that reads the machine's clocks. Everything else takes time as an argument, which
//! is what makes the engine and the threads' work repeatable from a seed.

use millstream_core::record::Timestamp;
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A source of time.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970-01-01 UTC.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment, never going back: for measuring work.
    fn elapsed(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Begins to measure now.
    #[expect(
        clippy::disallowed_methods,
        reason = "this file is the one that reads the clock"
    )]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl SystemClock {
    /// A stopwatch that runs from now on, for crates below that measure how long they wait.
    pub fn stopwatch() -> Arc<dyn Fn() -> Duration + Send + Sync> {
        let clock = Self::new();
        Arc::new(move || clock.elapsed())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this file is the one that reads the clock"
    )]
    fn now(&self) -> Timestamp {
        // A machine whose clock stands before 1970 gets the epoch, not a crash.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::try_from(since.as_millis()).unwrap_or(Timestamp::MAX)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}
