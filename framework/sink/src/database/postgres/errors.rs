//! What to do about an error of Postgres: one table, by SQLSTATE.
//!
//! Invariant: an error that another attempt could mend never stops a sink, and one that it could
//! not mend never makes a sink wait for ever without a reason in the log.

use crate::database::Failure;
use sqlx::postgres::PgDatabaseError;

/// A key that is there already.
pub(super) const UNIQUE_VIOLATION: &str = "23505";
/// `COPY` into a table with row level security, among others.
pub(super) const NOT_SUPPORTED: &str = "0A000";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Wait, and try again over the same connection.
    Wait,
    /// Wait, and try again with less to do.
    Less,
    /// Wait, and try again over a new connection: to the server that is there then.
    Reconnect,
    /// One of the rows is to blame: find it, and make it a dead letter.
    Blame,
    /// Stop: a person must act.
    Stop,
}

/// SQLSTATEs (five characters) and their classes (two). A code is looked up before its class; what
/// is not here stops the sink.
#[rustfmt::skip]
pub(super) const SQLSTATES: &[(&str, Act, &str)] = &[
    ("08",    Act::Reconnect, "the connection failed"),
    ("21000", Act::Blame,     "two rows of one statement have a key that SQL takes for one"),
    ("22",    Act::Blame,     "a value out of range, too long, or NUL in a text"),
    ("23",    Act::Blame,     "a constraint"),
    ("25",    Act::Reconnect, "a read-only server after a failover, or a transaction in disorder"),
    ("26000", Act::Reconnect, "a prepared statement is gone: something between forgot it"),
    ("40",    Act::Wait,      "serialization failure, deadlock"),
    ("40003", Act::Reconnect, "whether the statement was completed is not known"),
    ("44000", Act::Blame,     "a view's check option"),
    ("53",    Act::Wait,      "disk full, out of memory, another limit of the machine"),
    ("53300", Act::Reconnect, "too many connections"),
    ("54",    Act::Blame,     "a row too large for a page or an index"),
    ("55006", Act::Wait,      "an object in use"),
    ("55P03", Act::Wait,      "a lock was not to be had in time"),
    ("57014", Act::Less,      "the statement took too long, or somebody cancelled it"),
    ("57",    Act::Reconnect, "shutdown, crash, start-up, idle for too long"),
    ("58030", Act::Wait,      "the server's disk does not answer as it should"),
    ("72000", Act::Wait,      "a snapshot too old"),
    ("P0",    Act::Blame,     "a trigger raised it"),
    ("XX000", Act::Wait,      "an internal error, such as a tuple concurrently updated"),
];

pub(super) fn act(code: &str) -> Act {
    let find = |wanted: Option<&str>| {
        let mut entries = SQLSTATES.iter();
        entries.find(|(code, _, _)| wanted == Some(*code))
    };
    find(Some(code))
        .or_else(|| find(code.get(..2)))
        .map_or(Act::Stop, |(_, act, _)| *act)
}

/// The SQLSTATE, where the server sent one.
pub(super) fn code(error: &sqlx::Error) -> Option<&str> {
    let error = error.as_database_error()?;
    Some(error.try_downcast_ref::<PgDatabaseError>()?.code())
}

pub(super) fn failure(error: &sqlx::Error) -> Failure {
    let database = error.as_database_error();
    let Some(said) = database.and_then(|error| error.try_downcast_ref::<PgDatabaseError>()) else {
        return without_code(error);
    };
    // Not the detail, which shows the whole row: rows do not belong into logs.
    let message = format!("{} (SQLSTATE {})", said.message(), said.code());
    match act(said.code()) {
        Act::Wait => Failure::Busy(message),
        Act::Less => Failure::Slow {
            reason: message,
            reconnect: false,
        },
        Act::Reconnect => Failure::Away(message),
        Act::Blame => Failure::Row(message),
        Act::Stop => Failure::Fatal(message),
    }
}

/// Errors of the driver. Whatever became of the connection or of TLS may be mended on the other
/// side, so only what is wrong on this side stops.
fn without_code(error: &sqlx::Error) -> Failure {
    let message = error.to_string();
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::PoolClosed => Failure::Away(message),
        _ => Failure::Fatal(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_go_before_their_classes_and_the_unknown_stops() {
        assert_eq!(act("53100"), Act::Wait);
        assert_eq!(act("53300"), Act::Reconnect);
        assert_eq!(act("57P01"), Act::Reconnect);
        assert_eq!(act("57014"), Act::Less);
        assert_eq!(act("42501"), Act::Stop);
        assert_eq!(act("28P01"), Act::Stop);
        assert_eq!(act(""), Act::Stop);
    }

    #[test]
    fn no_line_of_the_table_is_there_twice() {
        let mut codes: Vec<_> = SQLSTATES.iter().map(|(code, _, _)| code).collect();
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), SQLSTATES.len());
        assert!(codes.iter().all(|code| matches!(code.len(), 2 | 5)));
    }
}
