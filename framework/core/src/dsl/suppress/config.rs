//! What programs say of a suppression: until when changes wait, and how many of them.
//!
//! Invariant: what may emit early cannot be given to what tells final results only; the types see
//! to it.

use crate::{record::Timestamp, window::Windowed};
use std::{marker::PhantomData, time::Duration};

/// A buffer that may not let anything out before its time: the task stops when it is full.
#[derive(Clone, Copy, Debug)]
pub struct Strict;

/// A buffer that lets the oldest out before its time when it is full.
#[derive(Clone, Copy, Debug)]
pub struct Eager;

/// How much may wait, and what happens when it is more. Kafka's `Suppressed.BufferConfig`.
///
/// What waits lies in memory, in every task, beside the changelog.
#[derive(Clone, Copy, Debug)]
pub struct BufferConfig<Full> {
    records: usize,
    bytes: usize,
    full: PhantomData<Full>,
}

impl BufferConfig<Strict> {
    /// As much as there is.
    pub const fn unbounded() -> Self {
        Self::of(usize::MAX, usize::MAX)
    }
}

impl BufferConfig<Eager> {
    /// So many keys; the oldest are told early when there are more.
    pub const fn max_records(records: usize) -> Self {
        Self::of(records, usize::MAX)
    }

    /// So many bytes of keys and values, roughly; the oldest are told early when there are more.
    pub const fn max_bytes(bytes: usize) -> Self {
        Self::of(usize::MAX, bytes)
    }
}

impl<Full> BufferConfig<Full> {
    const fn of(records: usize, bytes: usize) -> Self {
        Self {
            records,
            bytes,
            full: PhantomData,
        }
    }

    /// The same, with at most so many keys.
    #[must_use]
    pub const fn with_max_records(self, records: usize) -> Self {
        Self::of(records, self.bytes)
    }

    /// The same, with at most so many bytes, roughly.
    #[must_use]
    pub const fn with_max_bytes(self, bytes: usize) -> Self {
        Self::of(self.records, bytes)
    }

    /// The same bounds; when there is more, the task stops with an error. It stops again when it is
    /// started anew, until it is given more room: nothing is lost meanwhile.
    #[must_use]
    pub const fn shut_down_when_full(self) -> BufferConfig<Strict> {
        BufferConfig::of(self.records, self.bytes)
    }

    /// The same bounds; when there is more, the oldest are told early.
    #[must_use]
    pub const fn emit_early_when_full(self) -> BufferConfig<Eager> {
        BufferConfig::of(self.records, self.bytes)
    }
}

/// Which changes of a table are told, and when. Kafka's `Suppressed`.
#[derive(Clone, Copy, Debug)]
pub struct Suppressed(());

impl Suppressed {
    /// Only the final result of each window, when the window has closed: when the greatest time of
    /// the changes has passed its end by the windows' grace period. Windows that were deleted
    /// meanwhile (sessions that became part of others) are not told at all.
    ///
    /// As in Kafka Streams, sessions and sliding windows are told one millisecond before they take
    /// no more records: one with just that time changes them once more, and they are told again.
    /// [`EmitStrategy::OnWindowClose`](crate::dsl::EmitStrategy) tells them once.
    pub const fn until_window_closes(buffer: BufferConfig<Strict>) -> UntilWindowCloses {
        UntilWindowCloses { buffer, idle: None }
    }

    /// The latest change of each key, when the greatest time of the changes is `wait` after the
    /// first one that was held back.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    /// use std::time::Duration;
    ///
    /// static VISITS: Topic<String, String> = Topic::new("visits", utf8(), utf8());
    /// static COUNTS: Topic<String, u64> = Topic::new("counts", utf8(), u64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// // At most one change of a page in ten seconds, as long as no more than 1,000 pages wait.
    /// let calm = Suppressed::until_time_limit(
    ///     Duration::from_secs(10),
    ///     BufferConfig::max_records(1_000),
    /// );
    /// let counts = builder.stream(&VISITS).group_by_key().count("counts");
    /// counts.suppress("calm-counts", calm).to(&COUNTS);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// for (page, time) in [("front", 0), ("front", 5_000), ("back", 10_000)] {
    ///     driver.pipe(&VISITS, page.to_owned(), "a visitor".to_owned(), time)?;
    /// }
    /// assert_eq!(driver.read_key_values(&COUNTS)?, [("front".to_owned(), Some(2))]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    pub const fn until_time_limit<Full>(
        wait: Duration,
        buffer: BufferConfig<Full>,
    ) -> UntilTimeLimit<Full> {
        UntilTimeLimit {
            wait,
            buffer,
            idle: None,
        }
    }
}

/// See [`Suppressed::until_window_closes`].
#[derive(Clone, Copy, Debug)]
pub struct UntilWindowCloses {
    buffer: BufferConfig<Strict>,
    idle: Option<Duration>,
}

impl UntilWindowCloses {
    /// Closes and tells all windows that wait when no change has come for so long by the wall
    /// clock. Later changes of them are dropped, and counted as those of windows that have closed.
    /// Kafka Streams has no counterpart.
    ///
    /// What is above in the same subtopology then tells every change when it is made, whatever
    /// `statestore.cache.max.bytes` says. Records that come through a repartition topic come with
    /// the commits of the tasks before it: wait longer than `commit.interval.ms` for them.
    #[must_use]
    pub const fn close_when_idle(self, idle: Duration) -> Self {
        Self {
            idle: Some(idle),
            ..self
        }
    }
}

/// See [`Suppressed::until_time_limit`].
#[derive(Clone, Copy, Debug)]
pub struct UntilTimeLimit<Full> {
    wait: Duration,
    buffer: BufferConfig<Full>,
    idle: Option<Duration>,
}

impl<Full> UntilTimeLimit<Full> {
    /// Tells all that waits when no change has come for so long by the wall clock. Kafka Streams
    /// has no counterpart.
    #[must_use]
    pub const fn emit_when_idle(self, idle: Duration) -> Self {
        Self {
            idle: Some(idle),
            ..self
        }
    }
}

/// What a task must know of a suppression.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    /// How far behind a change's time the observed one must be; `None`, as long as the windows are
    /// open.
    pub(super) wait: Option<Timestamp>,
    pub(super) records: usize,
    pub(super) bytes: usize,
    /// What is full stops the task.
    pub(super) strict: bool,
    pub(super) idle: Option<Timestamp>,
}

fn millis(duration: Duration) -> Timestamp {
    Timestamp::try_from(duration.as_millis()).unwrap_or(Timestamp::MAX)
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::UntilWindowCloses {}
    impl<Full> Sealed for super::UntilTimeLimit<Full> {}
    pub trait WhenFull: Copy + Send + Sync + 'static {
        const STRICT: bool;
    }
    impl WhenFull for super::Strict {
        const STRICT: bool = true;
    }
    impl WhenFull for super::Eager {
        const STRICT: bool = false;
    }
}

/// What [`KTable::suppress`](crate::dsl::KTable::suppress) takes for a table with keys of this
/// type.
pub trait Suppression<K>: sealed::Sealed + Copy + Send + Sync + 'static {
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "nobody else implements it")]
    fn plan(&self) -> Plan;

    /// Under which time a change waits if its key does not wait yet.
    #[doc(hidden)]
    fn time(&self, key: &K, timestamp: Timestamp) -> Timestamp;
}

impl<K> Suppression<Windowed<K>> for UntilWindowCloses {
    #[expect(private_interfaces, reason = "nobody else implements it")]
    fn plan(&self) -> Plan {
        Plan {
            wait: None,
            records: self.buffer.records,
            bytes: self.buffer.bytes,
            strict: true,
            idle: self.idle.map(millis),
        }
    }

    fn time(&self, key: &Windowed<K>, _: Timestamp) -> Timestamp {
        key.window.end
    }
}

impl<K, Full: sealed::WhenFull> Suppression<K> for UntilTimeLimit<Full> {
    #[expect(private_interfaces, reason = "nobody else implements it")]
    fn plan(&self) -> Plan {
        Plan {
            wait: Some(millis(self.wait)),
            records: self.buffer.records,
            bytes: self.buffer.bytes,
            strict: Full::STRICT,
            idle: self.idle.map(millis),
        }
    }

    fn time(&self, _: &K, timestamp: Timestamp) -> Timestamp {
        timestamp
    }
}
