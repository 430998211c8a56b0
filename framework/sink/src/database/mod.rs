//! The seam to a database: what a sink needs of any, and what differs between them as data.
//!
//! One more database is one more module here: a [`Dialect`], a [`Database`], an arm in
//! [`Location::open`]. Invariant: nothing outside this folder knows sqlx or a database by name.

mod location;
mod postgres;
pub(crate) mod sql;
mod sqlite;

pub use location::Location;
pub use postgres::PostgresUrl;

use crate::{
    error::Trouble,
    table::TableSpec,
    value::{Kind, Value},
};
use std::sync::Arc;

/// The table in which every sink keeps its places.
pub(crate) const OFFSETS_TABLE: &str = "millstream_offsets";

/// Why a database call failed, by what can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Locked or full: the same call may succeed later over the same connection.
    Busy(String),
    /// The connection is of no more use: connect again later.
    Away(String),
    /// The call took longer than it may, over a connection that is of use or, where it did not even
    /// answer, is not: the same call would take as long again, one with less to do may not.
    Slow {
        /// What the database said.
        reason: String,
        /// Whether to connect again.
        reconnect: bool,
    },
    /// The database refuses what one of the statement's rows says.
    Row(String),
    /// Trying again cannot help.
    Fatal(String),
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// A column as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) declared: String,
    pub(crate) nullable: bool,
    pub(crate) key: bool,
    pub(crate) default: bool,
}

/// One connection, its calls blocking, each for a bounded time. All calls but `connect` need one
/// that is open.
pub(crate) trait Database: Send {
    /// How this database writes SQL.
    fn dialect(&self) -> &'static Dialect;

    /// Opens the connection where there is none.
    fn connect(&mut self) -> Result<()>;

    /// Drops the connection, and the open transaction with it.
    fn disconnect(&mut self);

    /// Begins a transaction that may write.
    fn begin(&mut self) -> Result<()>;

    /// Ends it; after an error it may or may not have happened.
    fn commit(&mut self) -> Result<()>;

    /// Ends it without effect. Where that fails, the connection is dropped.
    fn rollback(&mut self);

    /// Runs a statement and gives the number of rows changed. After an error the open transaction
    /// can only be rolled back.
    fn execute(&mut self, sql: &Arc<str>, values: &[Value]) -> Result<u64>;

    /// Writes rows, the values of one after those of the other: each takes the place of the row
    /// with its key, a later one that of an earlier one. After [`Failure::Row`] the open
    /// transaction is as it was before the call, and goes on.
    fn upsert(&mut self, table: &TableSpec, rows: &[Value]) -> Result<()>;

    /// All rows of a query.
    fn query(&mut self, sql: &Arc<str>, values: &[Value]) -> Result<Vec<Vec<Value>>>;

    /// The columns of a table in order; none where there is no such table.
    fn columns(&mut self, table: &str) -> Result<Vec<Found>>;
}

/// Runs `work` in one transaction: all of it is in the database, or nothing.
pub(crate) fn transaction<T>(
    database: &mut dyn Database,
    work: impl FnOnce(&mut dyn Database) -> std::result::Result<T, Trouble>,
) -> std::result::Result<T, Trouble> {
    database.begin()?;
    let done = work(database).and_then(|value| {
        database.commit()?;
        Ok(value)
    });
    if done.is_err() {
        database.rollback();
    }
    done
}

/// What differs in the SQL of databases.
#[derive(Debug)]
pub(crate) struct Dialect {
    /// The name of a column type.
    pub(crate) type_name: fn(Kind) -> &'static str,
    /// Whether a column declared so holds that kind.
    pub(crate) fits: fn(Kind, &str) -> bool,
    /// Writes the n-th placeholder, counted from 1.
    pub(crate) placeholder: fn(&mut String, usize),
    /// A timestamp, in milliseconds since 1970, as an expression.
    pub(crate) timestamp: fn(i64) -> String,
    /// A column (its quoted name and its declared type) as an expression that
    /// [`Database::query`] can read.
    pub(crate) readable: fn(String, &str) -> String,
    /// Whether two quoted names are one.
    pub(crate) same_name: fn(&str, &str) -> bool,
    /// The longest name in bytes; the database would cut longer ones without a word.
    pub(crate) name_bytes_max: usize,
    /// What a `SELECT` ends with whose rows nobody else may change until the transaction ends, and
    /// which waits for whoever is changing them now.
    pub(crate) lock: &'static str,
    /// Lets one start at a time make tables and take epochs, inside its transaction.
    pub(crate) start_lock: Option<&'static str>,
    /// How many of so many rows, of so many columns, go into one [`Database::upsert`].
    pub(crate) stretch: fn(rows: usize, columns: usize) -> usize,
}
