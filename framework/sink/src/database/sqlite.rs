//! SQLite over sqlx: one connection in WAL mode, its own small runtime, statements kept prepared.
//!
//! `synchronous = NORMAL` may lose the last transactions when the machine (not the process) dies.
//! Rows and places are lost together then, so the topic fills the hole again: still exactly once.

use super::{Database, Dialect, Failure, Found, Result, sql};
use crate::{
    table::TableSpec,
    value::{Kind, Value},
};
use sqlx::{
    Arguments, AssertSqlSafe, ConnectOptions, Connection, Row as _, SqlSafeStr, TypeInfo, ValueRef,
    sqlite::{
        SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow,
        SqliteSynchronous,
    },
};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};
use tokio::runtime::{Builder, Handle, Runtime};

/// How long one call waits for a lock inside SQLite before the sink's own backoff takes over.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// 32 MB of pages in memory (negative numbers are KiB to SQLite), and as much in the WAL before it
/// is copied back. With random keys each row touches a page of its own: measured over 400,000 rows
/// of eight columns, 12 us of CPU per row against 21 us with SQLite's defaults, and 35 us in a
/// table WITHOUT ROWID. Rows in key order cost 2 to 3 us whatever is set here.
const CACHE_KIB: &str = "-32000";
const CHECKPOINT_PAGES: &str = "8000";

static DIALECT: Dialect = Dialect {
    type_name: |kind| match kind {
        Kind::Text => "TEXT",
        Kind::Integer => "INTEGER",
        Kind::Real => "REAL",
        Kind::Boolean => "BOOLEAN",
        Kind::Blob => "BLOB",
        Kind::Timestamp => "TIMESTAMP",
    },
    fits,
    placeholder: |text, _| text.push('?'),
    timestamp: |ms| ms.to_string(),
    readable: |column, _| column,
    same_name: str::eq_ignore_ascii_case,
    name_bytes_max: usize::MAX,
    // A transaction of SQLite holds the one lock there is from its beginning.
    lock: "",
    start_lock: None,
    stretch: |rows, columns| {
        let fit = BIND_LIMIT / columns.max(1);
        1 << rows.min(fit).clamp(1, INSERT_ROWS_MAX).ilog2()
    },
};

/// How many placeholders one statement may have.
const BIND_LIMIT: usize = 32_766;
/// Found by measuring. Statements have a power of two of rows, so that a few texts serve batches of
/// every size and stay prepared.
const INSERT_ROWS_MAX: usize = 128;

/// SQLite takes any word as a type. Tables made by others are taken where the word leads to the
/// same storage class by SQLite's own rules (its "type affinity").
fn fits(kind: Kind, declared: &str) -> bool {
    let word = declared.to_ascii_uppercase();
    let has = |parts: &[&str]| parts.iter().any(|part| word.contains(part));
    match kind {
        Kind::Integer => has(&["INT"]),
        Kind::Text => !has(&["INT"]) && has(&["CHAR", "CLOB", "TEXT"]),
        Kind::Blob => has(&["BLOB"]) || word.is_empty(),
        Kind::Real => has(&["REAL", "FLOA", "DOUB"]),
        Kind::Boolean => has(&["BOOL"]),
        Kind::Timestamp => has(&["TIMESTAMP", "DATETIME"]),
    }
}

/// A SQLite file.
pub(super) struct Sqlite {
    path: PathBuf,
    create: bool,
    open: Option<Open>,
    /// The statements of one table by their number of rows.
    upserts: (String, BTreeMap<usize, Arc<str>>),
}

struct Open {
    runtime: Runtime,
    connection: SqliteConnection,
}

impl Sqlite {
    /// A file that is made when missing if `create` says so, and is read as it is otherwise.
    pub(super) fn new(path: PathBuf, create: bool) -> Self {
        Self {
            path,
            create,
            open: None,
            upserts: (String::new(), BTreeMap::new()),
        }
    }

    fn opened(&mut self) -> Result<&mut Open> {
        self.open
            .as_mut()
            .ok_or_else(|| Failure::Away("not connected".into()))
    }

    fn run(&mut self, sql: &'static str) -> Result<()> {
        let Open {
            runtime,
            connection,
        } = self.opened()?;
        let done = runtime.block_on(sqlx::query(sql).execute(connection));
        done.map(drop).map_err(|error| failure(&error))
    }
}

impl Database for Sqlite {
    fn dialect(&self) -> &'static Dialect {
        &DIALECT
    }

    fn connect(&mut self) -> Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        let away = |error: std::io::Error| Failure::Away(error.to_string());
        let mut options = SqliteConnectOptions::new()
            .filename(&self.path)
            .busy_timeout(BUSY_TIMEOUT)
            // Statements carry rows, and rows do not belong into logs.
            .disable_statement_logging();
        if self.create {
            if let Some(folder) = self.path.parent() {
                std::fs::create_dir_all(folder).map_err(away)?;
            }
            options = options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal)
                .pragma("cache_size", CACHE_KIB)
                .pragma("wal_autocheckpoint", CHECKPOINT_PAGES);
        }
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(away)?;
        let connection = runtime
            .block_on(options.connect())
            .map_err(|error| failure(&error))?;
        self.open = Some(Open {
            runtime,
            connection,
        });
        Ok(())
    }

    fn disconnect(&mut self) {
        if let Some(Open {
            runtime,
            connection,
        }) = self.open.take()
        {
            // Closing waits for the file to be let go, so that whoever opens it next finds no lock.
            // Inside another runtime nothing may block; dropping closes it a moment later.
            if Handle::try_current().is_err() {
                let _ = runtime.block_on(connection.close());
            }
            runtime.shutdown_background();
        }
    }

    fn begin(&mut self) -> Result<()> {
        // IMMEDIATE takes the write lock here, where waiting costs nothing yet.
        self.run("BEGIN IMMEDIATE")
    }

    fn commit(&mut self) -> Result<()> {
        self.run("COMMIT")
    }

    fn rollback(&mut self) {
        // SQLite may have rolled back on its own (a full disk), and then says so as an error.
        if self.open.is_some() && self.run("ROLLBACK").is_err() {
            self.disconnect();
        }
    }

    fn execute(&mut self, sql: &Arc<str>, values: &[Value]) -> Result<u64> {
        let Open {
            runtime,
            connection,
        } = self.opened()?;
        let query = sqlx::query_with(
            AssertSqlSafe(sql.clone()).into_sql_str(),
            arguments(values)?,
        );
        let done = runtime.block_on(query.execute(connection));
        done.map(|done| done.rows_affected())
            .map_err(|error| failure(&error))
    }

    fn upsert(&mut self, table: &TableSpec, rows: &[Value]) -> Result<()> {
        let (name, texts) = &mut self.upserts;
        if *name != table.name {
            name.clone_from(&table.name);
            texts.clear();
        }
        let count = rows.len() / table.columns.len().max(1);
        let text = texts.entry(count);
        let text = text.or_insert_with(|| sql::upsert(&DIALECT, table, count));
        // SQLite takes back a statement that fails for a row, and only that.
        let text = Arc::clone(text);
        self.execute(&text, rows).map(drop)
    }

    fn query(&mut self, sql: &Arc<str>, values: &[Value]) -> Result<Vec<Vec<Value>>> {
        let Open {
            runtime,
            connection,
        } = self.opened()?;
        let query = sqlx::query_with(
            AssertSqlSafe(sql.clone()).into_sql_str(),
            arguments(values)?,
        );
        let rows = runtime.block_on(query.fetch_all(connection));
        let rows = rows.map_err(|error| failure(&error))?;
        rows.iter()
            .map(|row| (0..row.len()).map(|place| value(row, place)).collect())
            .collect()
    }

    fn columns(&mut self, table: &str) -> Result<Vec<Found>> {
        let sql = "SELECT name, type, \"notnull\", pk, dflt_value FROM pragma_table_info(?)";
        let rows = self.query(&sql.into(), &[table.into()])?;
        Ok(rows.iter().filter_map(|row| found(row)).collect())
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.disconnect();
    }
}

fn found(row: &[Value]) -> Option<Found> {
    let [Value::Text(name), declared, notnull, key, default] = row else {
        return None;
    };
    let declared = match declared {
        Value::Text(word) => word.to_string(),
        _ => String::new(),
    };
    Some(Found {
        name: name.to_string(),
        declared,
        nullable: *notnull == Value::Integer(0),
        key: *key != Value::Integer(0),
        default: *default != Value::Null,
    })
}

fn arguments(values: &[Value]) -> Result<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(values.len(), 0);
    for value in values {
        match value {
            Value::Null => arguments.add(None::<i64>),
            // Shared, not copied: the rows stay with the sink in case the statement fails.
            Value::Text(text) => arguments.add(text.clone()),
            Value::Integer(number) | Value::Timestamp(number) => arguments.add(*number),
            Value::Real(number) => arguments.add(*number),
            Value::Boolean(truth) => arguments.add(*truth),
            Value::Blob(bytes) => arguments.add(bytes.as_slice()),
        }
        .map_err(|error| Failure::Row(error.to_string()))?;
    }
    Ok(arguments)
}

fn value(row: &SqliteRow, place: usize) -> Result<Value> {
    let lost = |error: sqlx::Error| Failure::Fatal(error.to_string());
    let raw = row.try_get_raw(place).map_err(lost)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    // The storage class of the value itself: SQLite lets it differ from its column's type.
    let class = raw.type_info();
    Ok(match class.name() {
        "REAL" => Value::Real(row.try_get_unchecked(place).map_err(lost)?),
        "BLOB" => Value::Blob(row.try_get_unchecked(place).map_err(lost)?),
        "TEXT" => {
            let bytes: Vec<u8> = row.try_get_unchecked(place).map_err(lost)?;
            Value::Text(String::from_utf8_lossy(&bytes).into())
        }
        _ => Value::Integer(row.try_get_unchecked(place).map_err(lost)?),
    })
}

/// SQLite's primary result codes, by what can be done about them.
fn failure(error: &sqlx::Error) -> Failure {
    let message = error.to_string();
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .and_then(|code| code.parse::<u32>().ok());
    match code.map(|code| code & 0xff) {
        // BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, FULL, SCHEMA
        Some(5 | 6 | 7 | 8 | 9 | 13 | 17) => Failure::Busy(message),
        // IOERR, CANTOPEN, PROTOCOL
        Some(10 | 14 | 15) => Failure::Away(message),
        // TOOBIG, CONSTRAINT, MISMATCH
        Some(18..=20) => Failure::Row(message),
        Some(_) => Failure::Fatal(message),
        None => match error {
            sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed => {
                Failure::Away(message)
            }
            _ => Failure::Fatal(message),
        },
    }
}
