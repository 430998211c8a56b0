//! How far apart in time two records may lie and still be joined.

use crate::record::Timestamp;
use std::time::Duration;

/// The window of a stream-stream join: a right record joins a left one if its time is at most
/// `before` earlier and at most `after` later, both inclusive. Kafka's `JoinWindows`.
///
/// A window closes when the stream time has come `after` (for a right record: `before`) and the
/// grace period beyond the record's time. As in Kafka Streams, records of either side are kept for
/// `before` + `after` + grace behind the greatest time of their own side, that time excluded, and
/// what comes later than that is dropped and counted. So pairs that lie as far apart as the window
/// allows need a millisecond of grace to be sure of each other, and a window that does not hold its
/// own record (one of the two is negative) needs as much grace as it lies away from it.
///
/// ```
/// use millstream_core::dsl::JoinWindows;
/// use std::time::Duration;
///
/// let minute = Duration::from_secs(60);
/// // A payment up to an hour after its order; payments may come a minute late.
/// let windows = JoinWindows::of_time_difference_and_grace(Duration::ZERO, minute)
///     .after(60 * minute);
/// assert_eq!(windows.size_ms(), 3_600_000);
/// // Only what comes at least a minute after the left record: the window begins behind it.
/// let later = windows.before_ms(-60_000);
/// assert_eq!(later.size_ms(), 3_540_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinWindows {
    pub(crate) before: Timestamp,
    pub(crate) after: Timestamp,
    pub(crate) grace: Timestamp,
}

impl JoinWindows {
    /// As far before as after, and closed as soon as stream time is beyond it.
    pub const fn of_time_difference_with_no_grace(difference: Duration) -> Self {
        Self::of_time_difference_and_grace(difference, Duration::ZERO)
    }

    /// As far before as after, and open for records that come so much later.
    pub const fn of_time_difference_and_grace(difference: Duration, grace: Duration) -> Self {
        Self {
            before: millis(difference),
            after: millis(difference),
            grace: millis(grace),
        }
    }

    /// How much earlier than the left record the right one may be.
    #[must_use]
    pub const fn before(self, difference: Duration) -> Self {
        self.before_ms(millis(difference))
    }

    /// How much later than the left record the right one may be.
    #[must_use]
    pub const fn after(self, difference: Duration) -> Self {
        self.after_ms(millis(difference))
    }

    /// As [`JoinWindows::before`] in milliseconds, which may be negative: the right record must
    /// then be at least so much later.
    #[must_use]
    pub const fn before_ms(self, before: Timestamp) -> Self {
        Self { before, ..self }
    }

    /// As [`JoinWindows::after`] in milliseconds, which may be negative: the right record must then
    /// be at least so much earlier.
    #[must_use]
    pub const fn after_ms(self, after: Timestamp) -> Self {
        Self { after, ..self }
    }

    /// How much time the window spans, in milliseconds.
    pub const fn size_ms(self) -> Timestamp {
        self.before.saturating_add(self.after)
    }

    /// How long records are kept, in milliseconds.
    pub(crate) const fn retention(self) -> Timestamp {
        self.size_ms().saturating_add(self.grace)
    }

    /// Why no program can mean such a window.
    pub(crate) fn mistake(self) -> Option<String> {
        (self.size_ms() < 0).then(|| {
            format!(
                "a join window from {} ms before to {} ms after a record is empty: the two must \
                 not add up to less than zero",
                self.before, self.after
            )
        })
    }
}

/// A time that no program lives to see is as good as any beyond it.
const fn millis(duration: Duration) -> Timestamp {
    let millis = duration.as_millis();
    if millis > FOREVER as u128 {
        FOREVER
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "it is at most FOREVER")]
        {
            millis as Timestamp
        }
    }
}

/// Leaves room for a sum of four of them.
const FOREVER: Timestamp = Timestamp::MAX / 4;
