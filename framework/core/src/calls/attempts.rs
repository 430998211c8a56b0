//! A call as the program asks for it: several attempts, each with its time.

use super::{Call, Executor};
use crate::error::{Error, Result};
use std::{pin::pin, sync::Arc, task::Poll, time::Duration};

/// The longest wait between two attempts, however often it was doubled.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// How an asynchronous operator makes its calls.
///
/// No commit happens while a call is out, so the time that all attempts may take together should
/// stay well below `transaction.timeout.ms` (10 s where nobody says otherwise): a cluster ends a
/// transaction that is open for longer, and the calls are made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsyncConfig {
    pub(crate) concurrency: usize,
    pub(crate) ordered: bool,
    timeout: Option<Duration>,
    retries: u32,
    backoff: Duration,
}

impl Default for AsyncConfig {
    fn default() -> Self {
        Self {
            concurrency: 64,
            ordered: true,
            timeout: Some(Duration::from_secs(5)),
            retries: 0,
            backoff: Duration::from_millis(100),
        }
    }
}

impl AsyncConfig {
    /// 64 calls at once, results in the order of the records, five seconds for each call, and no
    /// second attempt.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many records of a task may be between the operator's beginning and its end; at least 1.
    /// While there are so many, the task takes no further record.
    #[must_use]
    pub fn concurrency(mut self, calls: usize) -> Self {
        self.concurrency = calls.max(1);
        self
    }

    /// Lets results go on as they come; those of one key stay in order. So a slow call holds up its
    /// own key only, but the order between keys is then chance, and after a crash may be another.
    #[must_use]
    pub fn unordered(mut self) -> Self {
        self.ordered = false;
        self
    }

    /// How long one attempt may take. It is dropped then, and counts as failed.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Lets an attempt take any time. Commits wait for it, and so does a rebalance.
    #[must_use]
    pub fn without_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// How often a failed attempt is made again, and how long to wait before; the wait doubles each
    /// time, up to a minute.
    #[must_use]
    pub fn retries(mut self, retries: u32, backoff: Duration) -> Self {
        (self.retries, self.backoff) = (retries, backoff);
        self
    }

    /// The wait after so many attempts, the first being 0.
    fn backoff_after(&self, attempt: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempt).unwrap_or(u32::MAX);
        self.backoff.saturating_mul(factor).min(BACKOFF_MAX)
    }
}

/// Makes attempts until one succeeds or none is left; then the error is the last one's.
pub(crate) async fn attempts<W, F>(
    begin: impl Fn() -> F + Send,
    config: AsyncConfig,
    executor: Arc<dyn Executor>,
) -> Result<W>
where
    F: Future<Output = Result<W>> + Send,
{
    let mut attempt = 0;
    loop {
        let work = begin();
        let result = match config.timeout {
            Some(timeout) => within(work, executor.sleep(timeout), timeout).await,
            None => work.await,
        };
        match result {
            Err(_) if attempt < config.retries => {}
            settled => return settled,
        }
        executor.sleep(config.backoff_after(attempt)).await;
        attempt += 1;
    }
}

/// Does the work, if it is done before the timer strikes.
async fn within<W>(
    work: impl Future<Output = Result<W>>,
    mut timer: Call,
    timeout: Duration,
) -> Result<W> {
    let mut work = pin!(work);
    let raced = std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = work.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        timer.as_mut().poll(cx).map(|()| Err(late(timeout)))
    });
    raced.await
}

#[cold]
fn late(timeout: Duration) -> Error {
    Error::processing(format!("no answer within {} ms", timeout.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute() {
        let config = AsyncConfig::new().retries(9, Duration::from_secs(1));
        let waits = [0, 1, 2, 5, 6, 40].map(|attempt| config.backoff_after(attempt).as_secs());
        assert_eq!(waits, [1, 2, 4, 32, 60, 60]);
    }
}
