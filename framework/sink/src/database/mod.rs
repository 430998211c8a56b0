//! The seam to a database: what a sink needs of any, and what differs between them as data.
//!
//! One more database is one more module here: a [`Dialect`], a [`Database`], an arm in
//! [`Location::open`]. Invariant: nothing outside this folder knows sqlx or a database by name.

pub(crate) mod sql;
mod sqlite;

use crate::{
    error::Trouble,
    value::{Kind, Value},
};
use std::{path::PathBuf, sync::Arc};

/// The table in which every sink keeps its places.
pub(crate) const OFFSETS_TABLE: &str = "millstream_offsets";

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// A file; it and the folders above it are made when missing.
    Sqlite(PathBuf),
}

impl Location {
    /// A SQLite database in a file.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self::Sqlite(path.into())
    }

    /// A connection for writing (not open yet), or for reading what is there already.
    pub(crate) fn open(&self, create: bool) -> Box<dyn Database> {
        match self {
            Self::Sqlite(path) => Box::new(sqlite::Sqlite::new(path.clone(), create)),
        }
    }
}

/// Why a database call failed, by what can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Locked or full: the same call may succeed later over the same connection.
    Busy(String),
    /// The connection is of no more use: connect again later.
    Away(String),
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

/// One connection, its calls blocking. All calls but `connect` need one that is open.
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

    /// Runs a statement and gives the number of rows changed. After [`Failure::Row`] the open
    /// transaction is as it was before the statement, and goes on.
    fn execute(&mut self, sql: &Arc<str>, values: &[Value]) -> Result<u64>;

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
    /// How many placeholders one statement may have.
    pub(crate) bind_limit: usize,
    /// How many rows one INSERT has at most, a power of two, found by measuring.
    pub(crate) insert_rows_max: usize,
}
