//! Asking a log again that says "not now", for so long and no longer.
//!
//! Threads do this step by step, with everything else they have to do in between; this is for those
//! who have nothing else to do: a program that starts, a feed, a command.

use crate::{
    clock::Clock,
    error::{Error, Result},
};
use millstream_log::{Error as LogError, Log};
use std::time::Duration;

/// How long one wait between two tries is at most: the log's client ends it early on news.
const WAIT: Duration = Duration::from_millis(50);

/// Does something until the log no longer answers `Retry`, or the limit has passed.
///
/// # Errors
/// As what is done; after the limit, the log's last `Retry`.
pub fn patiently<T>(
    log: &mut dyn Log,
    clock: &dyn Clock,
    limit: Duration,
    mut what: impl FnMut(&mut dyn Log) -> Result<T>,
) -> Result<T> {
    let end = clock.elapsed().saturating_add(limit);
    loop {
        match what(log) {
            Err(Error::Log(LogError::Retry(why))) if clock.elapsed() < end => {
                tracing::debug!(why, "the log asks for patience");
                log.poll(WAIT)?;
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use millstream_log::EmbeddedLog;

    #[test]
    fn it_asks_again_until_it_is_told_or_the_time_is_over() {
        let mut client = EmbeddedLog::in_memory().client();
        let clock = SystemClock::new();
        let not_now = || LogError::Retry("busy".to_owned());
        let mut tries = 0;
        let told = patiently(&mut client, &clock, Duration::from_secs(60), |_| {
            tries += 1;
            if tries < 3 {
                Err(not_now().into())
            } else {
                Ok(tries)
            }
        });
        assert_eq!(told.unwrap(), 3);

        let told = patiently(&mut client, &clock, Duration::from_millis(120), |_| {
            tries += 1;
            Err::<(), _>(not_now().into())
        });
        assert!(matches!(told, Err(Error::Log(error)) if error == not_now()));
        assert!(tries > 4, "it was asked once only");

        let fatal = || LogError::Fatal("no".to_owned());
        let before = tries;
        let told = patiently(&mut client, &clock, Duration::from_secs(60), |_| {
            tries += 1;
            Err::<(), _>(fatal().into())
        });
        assert!(matches!(told, Err(Error::Log(error)) if error == fatal()));
        assert_eq!(tries, before + 1, "other errors are final");
    }
}
