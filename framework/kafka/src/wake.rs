//! How librdkafka's threads wake a thread that waits for news.
//!
//! Invariant: news that come between a look and the wait that follows it end that wait at once.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

/// A flag with somebody waiting for it.
#[derive(Default)]
pub(crate) struct Waker {
    news: Mutex<bool>,
    told: Condvar,
}

impl Waker {
    /// There is something to look at.
    pub(crate) fn wake(&self) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        *news = true;
        self.told.notify_one();
    }

    /// Waits for news for at most so long, and takes them.
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.told.wait_timeout_while(news, at_most, |news| !*news);
        let (mut news, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *news)
    }
}
