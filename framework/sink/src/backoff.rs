//! How long to leave a database alone that did not answer, and how often to say so.

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
