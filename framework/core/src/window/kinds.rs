//! The kinds of windows, as values that programs pass to `windowed_by(..)`.
//!
//! A kind is a `const`-constructible plain value; what is wrong with one is told at `build()`,
//! where it is used. Invariant: of all kinds a window has closed when its last possible record is
//! late: [`Span::close`] is the one number that says so, for late records and for final results
//! alike.

use crate::record::Timestamp;
use std::time::Duration;

/// Durations in milliseconds; parts of one are cut off, as Kafka Streams does.
const fn millis(duration: Duration) -> Timestamp {
    let millis = duration.as_millis();
    if millis > Timestamp::MAX as u128 {
        Timestamp::MAX
    } else {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is no larger than the largest timestamp"
        )]
        let millis = millis as Timestamp;
        millis
    }
}

/// What stores and operators must know of windows of any kind, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// A window has closed once the observed time is so far behind the time of its row: its start,
    /// or a session's end.
    pub(crate) close: Timestamp,
    /// The time that Kafka Streams adds to a window's end before it suppresses no longer.
    pub(crate) grace: Timestamp,
    /// How long rows must be kept for the windows to be right.
    pub(crate) needed: Timestamp,
    /// The least retention that a program may ask for, as in Kafka Streams.
    pub(crate) retention_min: Timestamp,
    /// How long a window is, where all are equally long.
    pub(crate) size: Option<Timestamp>,
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::TimeWindows {}
    impl Sealed for super::SlidingWindows {}
    impl Sealed for super::SessionWindows {}
    impl Sealed for super::UnlimitedWindows {}
}

/// The kinds of windows that a grouped stream can be cut into.
///
/// What the kinds have in common: a record belongs to windows by its timestamp, never by when it is
/// processed. A window stays open for records that come out of order until the greatest timestamp
/// seen has passed its end by the *grace period*; a record for a window that has closed is dropped,
/// and counted as [`Dropped::late_record`](crate::task::Dropped), once for each such window.
pub trait Windows: sealed::Sealed + Copy + Send + Sync + 'static {
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "nobody else implements it")]
    fn span(&self) -> Span;

    #[doc(hidden)]
    fn mistake(&self) -> Option<String>;

    /// What tells windows from others of their size, as a part of their store's format: rows of one
    /// kind are no windows of another. Nothing for those that are the only ones of their size.
    #[doc(hidden)]
    fn cut(&self) -> String {
        String::new()
    }
}

/// Windows of one size at regular distances: tumbling ones, or hopping ones that overlap.
///
/// They begin at multiples of the distance since 1970, and do not contain their end: `[start,
/// end)`. Kafka's `TimeWindows`.
///
/// ```
/// use millstream_core::prelude::*;
/// use std::time::Duration;
///
/// const MINUTE: Duration = Duration::from_secs(60);
/// // Each minute, told apart from the next; records may be 10 seconds late.
/// let tumbling = TimeWindows::of_size_and_grace(MINUTE, Duration::from_secs(10));
/// // The last five minutes, at every full minute.
/// let hopping = TimeWindows::of_size_with_no_grace(5 * MINUTE).advance_by(MINUTE);
/// # let _ = (tumbling, hopping);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWindows {
    size: Timestamp,
    advance: Timestamp,
    grace: Timestamp,
}

impl TimeWindows {
    /// Tumbling windows that close at their end.
    pub const fn of_size_with_no_grace(size: Duration) -> Self {
        Self::of_size_and_grace(size, Duration::ZERO)
    }

    /// Tumbling windows that close when time has passed their end by `grace`.
    pub const fn of_size_and_grace(size: Duration, grace: Duration) -> Self {
        Self {
            size: millis(size),
            advance: millis(size),
            grace: millis(grace),
        }
    }

    /// Hopping windows: a new one begins every `advance`, which is not longer than a window.
    #[must_use]
    pub const fn advance_by(self, advance: Duration) -> Self {
        Self {
            advance: millis(advance),
            ..self
        }
    }

    pub(crate) const fn grid(self) -> Grid {
        Grid {
            size: self.size,
            advance: self.advance,
            grace: self.grace,
            origin: None,
        }
    }
}

impl Windows for TimeWindows {
    #[expect(private_interfaces, reason = "nobody else implements it")]
    fn span(&self) -> Span {
        let close = self.size.saturating_add(self.grace);
        Span {
            close,
            grace: self.grace,
            needed: close,
            retention_min: close,
            size: Some(self.size),
        }
    }

    fn mistake(&self) -> Option<String> {
        let Self { size, advance, .. } = self;
        if *size == 0 {
            return Some("a window must last at least one millisecond".to_owned());
        }
        let fits = (1..=*size).contains(advance);
        (!fits).then(|| {
            format!(
                "windows of {size} ms cannot begin every {advance} ms: advance_by(..) takes \
                 1 to {size} ms"
            )
        })
    }

    fn cut(&self) -> String {
        match self.advance == self.size {
            true => String::new(),
            false => format!(" every {}", self.advance),
        }
    }
}

/// Windows that slide along with the records: one for every different set of records that lie no
/// further apart than the time difference.
///
/// Both ends belong to a window: `[end - difference, end]`. There is one that ends at each record,
/// and one that begins right behind each record that is followed by another; so there are at most
/// twice as many as different timestamps, at no fixed distances. Kafka's `SlidingWindows`
/// (KIP-450).
///
/// ```
/// use millstream_core::prelude::*;
/// use std::time::Duration;
///
/// static CALLS: Topic<String, String> = Topic::new("calls", utf8(), utf8());
/// static COUNTS: Topic<String, u64> = Topic::new("counts", utf8(), u64_be());
///
/// let builder = StreamsBuilder::new();
/// let windows = SlidingWindows::of_time_difference_with_no_grace(Duration::from_millis(10));
/// let counts = builder.stream(&CALLS).group_by_key().windowed_by(windows).count("counts");
/// let told = |key: Windowed<String>, n: Option<u64>| {
///     (format!("{}..{}", key.window.start, key.window.end), n.unwrap_or(0))
/// };
/// counts.to_stream().map(told).to(&COUNTS);
///
/// let mut driver = TopologyTestDriver::new(builder.build()?)?;
/// for time in [100, 106] {
///     driver.pipe(&CALLS, "ann".to_owned(), "a call".to_owned(), time)?;
/// }
/// let counts = driver.read_key_values(&COUNTS)?;
/// let counts: Vec<_> = counts.iter().map(|(at, n)| (at.as_str(), n.unwrap_or(0))).collect();
/// assert_eq!(counts, [("90..100", 1), ("101..111", 1), ("96..106", 2)]);
/// # Ok::<(), millstream_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindows {
    pub(crate) difference: Timestamp,
    pub(crate) grace: Timestamp,
}

impl SlidingWindows {
    /// Windows that close as soon as time passes their end.
    pub const fn of_time_difference_with_no_grace(difference: Duration) -> Self {
        Self::of_time_difference_and_grace(difference, Duration::ZERO)
    }

    /// Windows that close when time has passed their end by more than `grace`.
    pub const fn of_time_difference_and_grace(difference: Duration, grace: Duration) -> Self {
        Self {
            difference: millis(difference),
            grace: millis(grace),
        }
    }
}

impl Windows for SlidingWindows {
    #[expect(private_interfaces, reason = "nobody else implements it")]
    fn span(&self) -> Span {
        let Self { difference, grace } = *self;
        let times = |n: Timestamp| difference.saturating_mul(n).saturating_add(grace);
        Span {
            close: times(1).saturating_add(1),
            grace,
            // The oldest record that is not late begins from windows twice the difference older.
            needed: times(3).saturating_add(1),
            retention_min: times(2),
            size: Some(difference),
        }
    }

    fn mistake(&self) -> Option<String> {
        let none = self.difference == 0;
        // Kafka Streams takes it, and fails at the first record.
        none.then(|| "sliding windows must reach over at least one millisecond".to_owned())
    }

    fn cut(&self) -> String {
        " sliding".to_owned()
    }
}

/// Sessions: windows that last as long as records come, and end when none has come for a while.
///
/// Two records of a key belong to one session if they lie no further apart than the gap. A session
/// begins at its first record and ends at its last one: `[start, end]`. A record between two
/// sessions makes them one. Kafka's `SessionWindows`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionWindows {
    pub(crate) gap: Timestamp,
    grace: Timestamp,
}

impl SessionWindows {
    /// Sessions that close as soon as time passes their end by more than `gap`.
    pub const fn of_inactivity_gap_with_no_grace(gap: Duration) -> Self {
        Self::of_inactivity_gap_and_grace(gap, Duration::ZERO)
    }

    /// Sessions that close when time has passed their end by more than `gap` and `grace` together.
    pub const fn of_inactivity_gap_and_grace(gap: Duration, grace: Duration) -> Self {
        Self {
            gap: millis(gap),
            grace: millis(grace),
        }
    }

    /// How long a session is open behind its end.
    pub(crate) const fn open(self) -> Timestamp {
        self.gap.saturating_add(self.grace)
    }
}

impl Windows for SessionWindows {
    #[expect(private_interfaces, reason = "nobody else implements it")]
    fn span(&self) -> Span {
        let open = self.open();
        let close = open.saturating_add(1);
        Span {
            close,
            grace: open,
            needed: close,
            retention_min: open,
            size: None,
        }
    }

    fn mistake(&self) -> Option<String> {
        let none = self.gap == 0;
        none.then(|| "the gap between sessions must be at least one millisecond".to_owned())
    }
}

/// One window from a time on that never closes. Records before that time are in no window, and
/// pass without being counted as dropped. Kafka's `UnlimitedWindows`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnlimitedWindows {
    start: Timestamp,
}

impl UnlimitedWindows {
    /// One window since 1970.
    pub const fn of() -> Self {
        Self { start: 0 }
    }

    /// One window since `start`, in milliseconds since 1970.
    #[must_use]
    pub const fn start_on(self, start: Timestamp) -> Self {
        Self { start }
    }

    pub(crate) const fn grid(self) -> Grid {
        Grid {
            size: Timestamp::MAX,
            advance: Timestamp::MAX,
            grace: 0,
            origin: Some(self.start),
        }
    }
}

impl Windows for UnlimitedWindows {
    #[expect(private_interfaces, reason = "nobody else implements it")]
    fn span(&self) -> Span {
        Span {
            close: Timestamp::MAX,
            grace: Timestamp::MAX,
            needed: Timestamp::MAX,
            retention_min: Timestamp::MAX,
            size: Some(Timestamp::MAX),
        }
    }

    fn mistake(&self) -> Option<String> {
        let Self { start } = self;
        (*start < 0).then(|| format!("a window cannot begin before 1970, at {start}"))
    }

    fn cut(&self) -> String {
        match self.start {
            0 => String::new(),
            start => format!(" from {start}"),
        }
    }
}

/// Where windows of one size begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) size: Timestamp,
    pub(crate) advance: Timestamp,
    pub(crate) grace: Timestamp,
    /// Where the first window begins, if there is only one.
    pub(crate) origin: Option<Timestamp>,
}

impl Grid {
    /// The starts of all windows with a record of this time, in order. No window begins before
    /// 1970, as in Kafka Streams.
    #[inline]
    pub(crate) fn starts(self, time: Timestamp) -> impl Iterator<Item = Timestamp> {
        let first = self.origin.unwrap_or_else(|| {
            // A tumbling window is found without an overflow, whatever its size.
            let earliest = time.saturating_sub(self.size - self.advance).max(0);
            earliest - earliest % self.advance
        });
        let next = move |start: &Timestamp| start.checked_add(self.advance);
        std::iter::successors(Some(first), next).take_while(move |start| *start <= time)
    }

    /// Whether a time can lie in more than one window.
    #[inline]
    pub(crate) const fn overlaps(self) -> bool {
        self.advance < self.size && self.origin.is_none()
    }

    /// Where a window ends.
    #[inline]
    pub(crate) const fn end(self, start: Timestamp) -> Timestamp {
        start.saturating_add(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn starts_are_all_windows_that_hold_the_time(
            time in 0i64..500, size in 1i64..100, advance in 1i64..100
        ) {
            let advance = advance.min(size);
            let grid = Grid { size, advance, grace: 0, origin: None };
            let holds = |start: &i64| *start <= time && time < start + size;
            let expected = (0..=time).filter(|start| start % advance == 0).filter(holds);
            prop_assert_eq!(
                grid.starts(time).collect::<Vec<_>>(),
                expected.collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn no_time_is_too_large_or_too_small() {
        let ms = Duration::from_millis;
        let day = TimeWindows::of_size_with_no_grace(ms(10)).advance_by(ms(3));
        assert_eq!(day.grid().starts(-1).count(), 0);
        assert_eq!(day.grid().starts(Timestamp::MIN).count(), 0);
        let last = day.grid().starts(Timestamp::MAX).last();
        assert_eq!(last, Some(Timestamp::MAX - Timestamp::MAX % 3));
        let whole = TimeWindows::of_size_with_no_grace(Duration::MAX).grid();
        assert_eq!(whole.starts(Timestamp::MAX - 1).collect::<Vec<_>>(), [0]);
        let unlimited = UnlimitedWindows::of().start_on(7).grid();
        assert_eq!(unlimited.starts(6).count(), 0);
        assert_eq!(unlimited.starts(Timestamp::MAX).collect::<Vec<_>>(), [7]);
    }
}
