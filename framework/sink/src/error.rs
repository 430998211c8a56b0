//! What stops a sink, told so that a person can act; what only delays it is never an error here.

use crate::database::Failure;
use millstream_core::record::TopicPartition;
use millstream_log as log;

/// The result of a sink call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a sink stopped for good. A database that is away or locked is not among these: it is
/// [`Step::Retry`](crate::Step::Retry).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another writer of the same sink took the partition later: this one must not write it any
    /// more. A member of a group ([`Sink::shared`](crate::Sink::shared)) does not stop for it.
    #[error("sink {sink}: {partition} is written by a newer sink: epoch {found} replaced {mine}")]
    Fenced {
        /// The sink's name, which is its table's.
        sink: String,
        /// The partition whose epoch moved on.
        partition: TopicPartition,
        /// The epoch this writer took with the partition.
        mine: i64,
        /// The epoch the database holds now; 0 where the place was removed.
        found: i64,
    },
    /// The table in the database does not fit the row type.
    #[error("table {table}, column {column}: expected {expected}, found {found}")]
    Schema {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What the row type asks for.
        expected: String,
        /// What the database has.
        found: String,
    },
    /// The declaration itself cannot become a table.
    #[error("table {table}: {problem}")]
    Declaration {
        /// The table.
        table: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The text that should say where a database is does not. It is not repeated here, because
    /// there may be a password in it.
    #[error("database location: {0}")]
    Location(String),
    /// The topic is not what the stored place says it was.
    #[error("sink {sink}: {problem}")]
    Source {
        /// The sink's name.
        sink: String,
        /// What is wrong.
        problem: String,
    },
    /// The database refused in a way that trying again cannot mend.
    #[error("database: {0}")]
    Database(String),
    /// The log refused in a way that trying again cannot mend.
    #[error("log: {0}")]
    Log(log::Error),
    /// The thread of a [`SinkHandle`](crate::SinkHandle) could not start or died.
    #[error("sink thread: {0}")]
    Thread(String),
}

/// What ends an attempt: a reason to wait, or one to stop.
#[derive(Debug)]
pub(crate) enum Trouble {
    Retry {
        reason: String,
        reconnect: bool,
        /// Whether less to write at a time might help.
        slow: bool,
    },
    Stop(Error),
}

impl Trouble {
    pub(crate) fn wait(reason: impl Into<String>) -> Self {
        Self::Retry {
            reason: reason.into(),
            reconnect: false,
            slow: false,
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Stop(error)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Busy(reason) => Self::wait(reason),
            Failure::Away(reason) => Self::Retry {
                reason,
                reconnect: true,
                slow: false,
            },
            Failure::Slow { reason, reconnect } => Self::Retry {
                reason,
                reconnect,
                slow: true,
            },
            // Statements whose rows may be refused are met by the writer, which knows the row. Any
            // other refusal (a deferred constraint at COMMIT) names no row to set aside.
            Failure::Row(reason) | Failure::Fatal(reason) => Self::Stop(Error::Database(reason)),
        }
    }
}

impl From<log::Error> for Trouble {
    fn from(error: log::Error) -> Self {
        match error {
            log::Error::Retry(_) | log::Error::UnknownOutcome(_) | log::Error::UnknownTopic(_) => {
                Self::wait(error.to_string())
            }
            log::Error::Fenced(_) | log::Error::OffsetOutOfRange { .. } | log::Error::Fatal(_) => {
                Self::Stop(Error::Log(error))
            }
        }
    }
}
