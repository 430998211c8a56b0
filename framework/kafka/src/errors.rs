//! How each error of the cluster or the client is answered: one table.
//!
//! There are three answers. *Retry*: nothing was done, and the same call may succeed later; how
//! long that may go on is bounded by `task.timeout.ms`. *Fenced*: somebody else has, or may have,
//! the tasks of this client; all uncommitted work is dropped. *Stop*: a person must act.
//! Invariant: a code that is not in the table stops the program, since what is not known to be
//! harmless is not.

use crate::ffi::{Code, KafkaError};
use millstream_log::Error;
use std::{sync::Arc, time::Duration};

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    Retry,
    Fenced,
    Stop,
}

/// The cluster or the way to it is unwell, and gets well by itself.
const RETRY: &[Code] = &[
    Code::RD_KAFKA_RESP_ERR__TRANSPORT,
    Code::RD_KAFKA_RESP_ERR__RESOLVE,
    Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN,
    Code::RD_KAFKA_RESP_ERR__TIMED_OUT,
    Code::RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE,
    Code::RD_KAFKA_RESP_ERR__MSG_TIMED_OUT,
    Code::RD_KAFKA_RESP_ERR__WAIT_COORD,
    Code::RD_KAFKA_RESP_ERR__WAIT_CACHE,
    Code::RD_KAFKA_RESP_ERR__QUEUE_FULL,
    Code::RD_KAFKA_RESP_ERR__RETRY,
    Code::RD_KAFKA_RESP_ERR__IN_PROGRESS,
    Code::RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS,
    Code::RD_KAFKA_RESP_ERR__INTR,
    Code::RD_KAFKA_RESP_ERR__DESTROY_BROKER,
    Code::RD_KAFKA_RESP_ERR__BAD_MSG,
    Code::RD_KAFKA_RESP_ERR__INCONSISTENT,
    Code::RD_KAFKA_RESP_ERR__PURGE_QUEUE,
    Code::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT,
    Code::RD_KAFKA_RESP_ERR__STATE,
    // "No leaders found": what requests about offsets end with while a partition's leader is away.
    // Where there may be no such partition, whoever asked looks.
    Code::RD_KAFKA_RESP_ERR__NOENT,
    Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
    Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
    Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    Code::RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE,
    Code::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE,
    Code::RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION,
    Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
    Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
    Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
    Code::RD_KAFKA_RESP_ERR_NOT_CONTROLLER,
    Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
    Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    Code::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
    Code::RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT,
    Code::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
    Code::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
    Code::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
    Code::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
    Code::RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED,
    Code::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
    Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
];

/// Another member, or another producer of our name, has taken over. A transaction that the
/// coordinator gave up for being open too long ends here as well. Not here, and so reason to stop:
/// another member with our `group.instance.id`. To join again would throw it out, and it us.
const FENCED: &[Code] = &[
    Code::RD_KAFKA_RESP_ERR__FENCED,
    Code::RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST,
    Code::RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED,
    Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
    Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
    Code::RD_KAFKA_RESP_ERR_TRANSACTION_COORDINATOR_FENCED,
    Code::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE,
    Code::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
    Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
    Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
    Code::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
];

/// The answer to a code.
pub(crate) fn reaction(code: Code) -> Reaction {
    if RETRY.contains(&code) {
        Reaction::Retry
    } else if FENCED.contains(&code) {
        Reaction::Fenced
    } else {
        Reaction::Stop
    }
}

/// The answer to an error. A handle that is finished and does not say why is made anew, with all
/// uncommitted work dropped.
pub(crate) fn answer(error: &KafkaError) -> Reaction {
    match reaction(error.code) {
        Reaction::Stop if error.retriable => Reaction::Retry,
        Reaction::Retry if error.fatal => Reaction::Fenced,
        Reaction::Stop if error.code == Code::RD_KAFKA_RESP_ERR__FATAL => Reaction::Fenced,
        found => found,
    }
}

/// An error of a request, as the log says it.
pub(crate) fn refused(what: &str, error: &KafkaError) -> Error {
    let why = format!("{what}: {error}");
    match answer(error) {
        Reaction::Retry => Error::Retry(why),
        Reaction::Fenced => Error::Fenced(why),
        Reaction::Stop if crate::ffi::is_unknown_topic(error.code) => Error::UnknownTopic(why),
        Reaction::Stop => Error::Fatal(why),
    }
}

/// An error that a person must look at: a bad setting, say.
#[expect(clippy::needless_pass_by_value, reason = "for use in map_err")]
pub(crate) fn fatal(error: KafkaError) -> Error {
    Error::Fatal(error.to_string())
}

/// How often a cluster that is away is told of.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Time since some fixed moment, never going back. This crate reads no clock by itself.
pub type Elapsed = Arc<dyn Fn() -> Duration + Send + Sync>;

/// How long a cluster has not answered.
pub(crate) struct Patience {
    limit: Duration,
    elapsed: Elapsed,
    /// When the first of the calls failed that all came to nothing.
    since: Option<Duration>,
    /// For how long it had been away when that was last told.
    told: Duration,
}

impl Patience {
    pub(crate) fn new(limit: Duration, elapsed: Elapsed) -> Self {
        Self {
            limit,
            elapsed,
            since: None,
            told: Duration::ZERO,
        }
    }

    /// The cluster answered.
    pub(crate) fn answered(&mut self) {
        let Some(since) = self.since.take() else {
            return;
        };
        if self.told > Duration::ZERO {
            let waited = (self.elapsed)().saturating_sub(since);
            tracing::info!(?waited, "the cluster answers again");
        }
        self.told = Duration::ZERO;
    }

    /// A call came to nothing: it may be made again, until the limit is reached.
    pub(crate) fn failed(&mut self, error: Error) -> Error {
        let Error::Retry(why) = error else {
            return error;
        };
        let now = (self.elapsed)();
        let waited = now.saturating_sub(*self.since.get_or_insert(now));
        if waited >= self.limit {
            return Error::Fatal(format!("no answer for {waited:?} (task.timeout.ms): {why}"));
        }
        if waited >= self.told + TELL_EVERY {
            self.told = waited;
            tracing::warn!(?waited, limit = ?self.limit, why, "the cluster is away");
        }
        Error::Retry(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn no_code_has_two_answers() {
        assert!(RETRY.iter().all(|code| !FENCED.contains(code)));
    }

    #[test]
    fn a_partition_without_a_leader_is_waited_for() {
        let told = refused("asking", &KafkaError::of(Code::RD_KAFKA_RESP_ERR__NOENT));
        assert!(matches!(told, Error::Retry(_)), "{told}");
    }

    #[test]
    fn what_nobody_knows_stops() {
        let code = Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        let told = refused("sending", &KafkaError::of(code));
        assert!(matches!(told, Error::Fatal(_)), "{told}");
    }

    #[test]
    fn patience_ends_and_begins_anew() {
        let seconds = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&seconds);
        let elapsed = move || Duration::from_secs(clock.load(Ordering::Relaxed));
        let mut patience = Patience::new(Duration::from_secs(3), Arc::new(elapsed));
        let retry = || Error::Retry("away".into());
        let at = |second| seconds.store(second, Ordering::Relaxed);
        // However often it is asked in that time.
        for second in [7, 7, 7, 8, 9, 9] {
            at(second);
            assert!(matches!(patience.failed(retry()), Error::Retry(_)));
        }
        patience.answered();
        for second in [10, 12] {
            at(second);
            assert!(matches!(patience.failed(retry()), Error::Retry(_)));
        }
        at(13);
        assert!(matches!(patience.failed(retry()), Error::Fatal(_)));
        let other = Error::Fenced("moved".into());
        assert_eq!(patience.failed(other.clone()), other);
    }
}
