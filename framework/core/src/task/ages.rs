//! How old records are when what came of them is committed.
//!
//! Invariant: a record counts in the commit that it belongs to, and in no other: one that an abort
//! takes back is counted when it is done again.

use crate::record::Timestamp;

/// A record may be ahead of the clock by so much, in milliseconds, as a worker may have waited for
/// it since it looked; one that is further ahead has a wrong time, and counts as taken in at once.
const AHEAD_MAX: Timestamp = 10_000;

/// Of the records that a task took in for one commit: Kafka's `record-e2e-latency`, up to the
/// commit, before which nobody sees what came of a record.
///
/// ```
/// use millstream_core::task::Ages;
///
/// let (mut ages, clock) = (Ages::default(), 1_000);
/// for timestamp in [700, 900] {
///     ages.take_in(timestamp, clock);
/// }
/// assert_eq!((ages.total_ms(1_200), ages.greatest_ms(1_200)), (800, Some(500)));
/// // A record from the future makes the others no younger.
/// ages.take_in(5_000_000, clock);
/// assert_eq!((ages.total_ms(1_200), ages.greatest_ms(1_200)), (1_000, Some(500)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    records: u32,
    oldest: Timestamp,
    /// Of all timestamps.
    sum: i128,
}

impl Ages {
    /// A record of this time is taken in, when a clock showed this or a little more.
    #[inline]
    pub fn take_in(&mut self, mut timestamp: Timestamp, clock: Timestamp) {
        // A task that was never told the time has none to judge by.
        if clock >= 0 && timestamp > clock.saturating_add(AHEAD_MAX) {
            timestamp = clock;
        }
        let first = self.records == 0;
        self.oldest = if first {
            timestamp
        } else {
            self.oldest.min(timestamp)
        };
        self.records = self.records.saturating_add(1);
        self.sum += i128::from(timestamp);
    }

    /// Milliseconds from the records' times until now, summed up.
    pub fn total_ms(&self, now: Timestamp) -> u64 {
        let total = i128::from(now) * i128::from(self.records) - self.sum;
        u64::try_from(total.max(0)).unwrap_or(u64::MAX)
    }

    /// Milliseconds from the oldest record's time until now; `None` where there was no record.
    pub fn greatest_ms(&self, now: Timestamp) -> Option<u64> {
        let age = now.saturating_sub(self.oldest).max(0);
        (self.records > 0).then(|| age.unsigned_abs())
    }
}
