//! How long to leave a database alone that did not answer, how much to ask of it at a time, and how
//! often to say so.

/// Doubles the wait with each failure in a row, up to a bound. Knows time only as an argument.
#[derive(Debug)]
pub(crate) struct Backoff {
    min_ms: i64,
    max_ms: i64,
    wait_ms: i64,
    until_ms: Option<i64>,
    pub(crate) reason: String,
}

impl Backoff {
    pub(crate) fn new(min_ms: i64, max_ms: i64) -> Self {
        let min_ms = min_ms.max(1);
        Self {
            min_ms,
            max_ms: max_ms.max(min_ms),
            wait_ms: 0,
            until_ms: None,
            reason: String::new(),
        }
    }

    /// Until when to wait, while there is still to wait. A clock that was set back ends the wait.
    pub(crate) fn pending(&self, now_ms: i64) -> Option<i64> {
        let until = self.until_ms?;
        let left = until.saturating_sub(now_ms);
        (left > 0 && left <= self.max_ms).then_some(until)
    }

    /// Notes a failure and gives the time of the next attempt.
    pub(crate) fn failed(&mut self, now_ms: i64, reason: String) -> i64 {
        self.wait_ms = (self.wait_ms * 2).clamp(self.min_ms, self.max_ms);
        self.reason = reason;
        let until = now_ms.saturating_add(self.wait_ms);
        self.until_ms = Some(until);
        until
    }

    /// Notes a success; true where it ends a row of failures.
    pub(crate) fn succeeded(&mut self) -> bool {
        self.wait_ms = 0;
        self.until_ms.take().is_some()
    }
}

/// How many rows to write at a time. A database that takes longer for a batch than a statement may
/// would take as long for the same batch again and again, so each time the next one is half as
/// large. It grows again by an eighth with each batch of full size, which leaves a database that is
/// slow for good alone with what it cannot do for most of the time.
#[derive(Debug)]
pub(crate) struct Pace {
    rows: usize,
    rows_max: usize,
}

impl Pace {
    pub(crate) fn new(rows_max: usize) -> Self {
        let rows_max = rows_max.max(1);
        Self {
            rows: rows_max,
            rows_max,
        }
    }

    /// Rows of the next batch, at most.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Notes that so many rows took too long, and gives how many to write next.
    pub(crate) fn too_slow(&mut self, rows: usize) -> usize {
        self.rows = (self.rows.min(rows) / 2).max(1);
        self.rows
    }

    /// Notes that so many rows were written.
    pub(crate) fn written(&mut self, rows: usize) {
        // A small batch says nothing of what a larger one would have taken.
        if rows >= self.rows {
            let more = (self.rows / 8).max(1);
            self.rows = self.rows.saturating_add(more).min(self.rows_max);
        }
    }
}

/// Lets one log line through per interval, so that a long trouble does not fill the log.
#[derive(Clone, Debug)]
pub(crate) struct Seldom {
    every_ms: i64,
    last_ms: Option<i64>,
}

impl Seldom {
    pub(crate) fn new(every_ms: i64) -> Self {
        Self {
            every_ms,
            last_ms: None,
        }
    }

    pub(crate) fn due(&mut self, now_ms: i64) -> bool {
        let due = self.last_ms.is_none_or(|last| {
            now_ms.saturating_sub(last).unsigned_abs() >= self.every_ms.unsigned_abs()
        });
        if due {
            self.last_ms = Some(now_ms);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_halves_when_it_is_too_fast_and_grows_with_full_batches() {
        let mut pace = Pace::new(100);
        assert_eq!((pace.too_slow(100), pace.too_slow(50)), (50, 25));
        // Half of what was written, not of what could have been.
        assert_eq!(pace.too_slow(4), 2);
        pace.written(1);
        assert_eq!(pace.rows(), 2);
        pace.written(2);
        assert_eq!(pace.rows(), 3);
        for _ in 0..100 {
            pace.written(pace.rows());
        }
        assert_eq!(pace.rows(), 100);
        for _ in 0..10 {
            pace.too_slow(pace.rows());
        }
        assert_eq!((pace.rows(), Pace::new(0).rows()), (1, 1));
    }
}
