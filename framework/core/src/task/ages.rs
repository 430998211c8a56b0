//! How old records are when what came of them is committed.
//!
//! Invariant: a record counts in the commit that it belongs to, and in no other: one that an abort
//! takes back is counted when it is done again.

use crate::record::Timestamp;

/// Of the records that a task took in for one commit: Kafka's `record-e2e-latency`, up to the
/// commit, before which nobody sees what came of a record.
///
/// ```
/// use millstream_core::task::Ages;
///
/// let mut ages = Ages::default();
/// for timestamp in [700, 900] {
///     ages.take_in(timestamp);
/// }
/// assert_eq!((ages.total_ms(1_000), ages.greatest_ms(1_000)), (400, Some(300)));
/// // A clock that is behind makes nobody younger than nothing.
/// assert_eq!((ages.total_ms(500), ages.greatest_ms(500)), (0, Some(0)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    records: u32,
    oldest: Timestamp,
    /// Of all timestamps.
    sum: i128,
}

impl Ages {
    /// A record of this time is taken in.
    #[inline]
    pub fn take_in(&mut self, timestamp: Timestamp) {
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
