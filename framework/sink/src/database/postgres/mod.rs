//! Postgres over sqlx: one connection, its own small runtime, every call with a time limit.
//!
//! Invariant: a transaction holds the locks of the places it moves from before its first row until
//! it has ended, and whoever reads places waits for those locks. So the answer to "how far is this
//! sink?" is never that of a moment before a `COMMIT` still under way, be it of a connection that
//! was lost or of a writer that was replaced.
//!
//! Why READ COMMITTED is enough: `SELECT .. FOR UPDATE` and `UPDATE .. WHERE epoch = mine` wait for
//! a transaction that has changed the row, and then judge the row as that one left it, not as it
//! was when they began. A writer that was replaced in the meantime thus finds another epoch, its
//! `UPDATE` changes no row, and it stops before it has written anything. What it wrote under the
//! lock before it was replaced is what its successor, which had to wait, continues from. A stricter
//! level would only turn the waiting into serialization failures.

mod address;
mod copy;
mod errors;
mod types;
mod upsert;

pub use address::PostgresUrl;

use super::{Database, Dialect, Failure, Found, Result, sql::quoted};
use crate::{table::TableSpec, value::Value};
use sqlx::{
    Arguments, AssertSqlSafe, ConnectOptions, Connection, Row as _, SqlSafeStr,
    postgres::{PgArguments, PgConnection},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    time::timeout,
};
use types::Bound;
use upsert::Upsert;

/// How long a connection may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Deferred constraints are checked with the statement that broke them, because at the commit
/// nobody could say which row is to blame.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET CONSTRAINTS ALL IMMEDIATE";

const COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), \
        NOT a.attnotnull, \
        EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary \
            AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])), \
        a.atthasdef OR a.attidentity <> '' \
    FROM pg_attribute a \
    WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped \
    ORDER BY a.attnum";

/// A database on a Postgres server.
pub(super) struct Postgres {
    url: PostgresUrl,
    write: bool,
    open: Option<Open>,
    upsert: Upsert,
}

struct Open {
    runtime: Runtime,
    connection: PgConnection,
    /// Whether a statement of the open transaction failed and was not undone. Postgres answers a
    /// `COMMIT` then with a rollback that is no error, so it must not be sent.
    spoiled: bool,
}

/// What came of a call: what to do about it, and the SQLSTATE where there is one.
#[derive(Debug)]
struct Refused {
    failure: Failure,
    code: Option<String>,
}

impl Refused {
    fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        refused.failure
    }
}

impl Postgres {
    /// A database to write to, or one whose session may only read.
    pub(super) fn new(url: PostgresUrl, write: bool) -> Self {
        Self {
            url,
            write,
            open: None,
            upsert: Upsert::default(),
        }
    }

    /// One exchange with the server. A connection that failed, or did not answer in time and may
    /// be in the middle of anything, is dropped at once.
    fn call<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> std::result::Result<T, sqlx::Error>,
    ) -> std::result::Result<T, Refused> {
        let limit = self.url.answer_timeout();
        let Some(open) = &mut self.open else {
            let failure = Failure::Away("not connected".into());
            return Err(Refused {
                failure,
                code: None,
            });
        };
        let connection = &mut open.connection;
        let done = open
            .runtime
            .block_on(async { timeout(limit, work(connection)).await });
        let refused = match done {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => Refused {
                failure: errors::failure(&error),
                code: errors::code(&error).map(str::to_owned),
            },
            Err(_) => Refused {
                failure: Failure::Slow {
                    reason: format!("no answer in {} s", limit.as_secs()),
                    reconnect: true,
                },
                code: None,
            },
        };
        open.spoiled = true;
        let away = |failure: &Failure| match failure {
            Failure::Away(_) => true,
            Failure::Slow { reconnect, .. } => *reconnect,
            Failure::Busy(_) | Failure::Row(_) | Failure::Fatal(_) => false,
        };
        if away(&refused.failure) {
            self.lose();
        }
        Err(refused)
    }

    /// Statements without values, one answer for all of them.
    fn run(&mut self, text: &'static str) -> Result<()> {
        let run = async |connection: &mut PgConnection| {
            sqlx::raw_sql(text).execute(connection).await.map(drop)
        };
        Ok(self.call(run)?)
    }

    fn statement(&mut self, sql: &Arc<str>, arguments: PgArguments) -> Result<u64> {
        let query = sqlx::query_with(AssertSqlSafe(sql.clone()).into_sql_str(), arguments);
        let done = self.call(async |connection| query.execute(connection).await)?;
        Ok(done.rows_affected())
    }

    /// Forgets a connection without a word to the other side.
    fn lose(&mut self) {
        if let Some(Open { runtime, .. }) = self.open.take() {
            runtime.shutdown_background();
        }
        self.upsert.disconnected();
    }
}

impl Database for Postgres {
    fn dialect(&self) -> &'static Dialect {
        &types::DIALECT
    }

    fn connect(&mut self) -> Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        // Statements carry rows, and rows do not belong into logs.
        let options = self.url.options(self.write).map_err(Failure::Fatal)?;
        let options = options.disable_statement_logging();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Away(error.to_string()))?;
        let limit = self.url.connect_timeout();
        let connection = runtime
            .block_on(async { timeout(limit, options.connect()).await })
            .map_err(|_| Failure::Away(format!("no connection in {} s", limit.as_secs())))?
            .map_err(|error| errors::failure(&error))?;
        self.upsert.disconnected();
        self.open = Some(Open {
            runtime,
            connection,
            spoiled: false,
        });
        Ok(())
    }

    fn disconnect(&mut self) {
        self.upsert.disconnected();
        if let Some(open) = self.open.take() {
            // Inside another runtime nothing may block; dropping closes it without a goodbye.
            if Handle::try_current().is_err() {
                let close = async { timeout(CLOSE_TIMEOUT, open.connection.close()).await };
                let _ = open.runtime.block_on(close);
            }
            open.runtime.shutdown_background();
        }
    }

    fn begin(&mut self) -> Result<()> {
        self.upsert.began();
        self.run(BEGIN)?;
        if let Some(open) = &mut self.open {
            open.spoiled = false;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        if self.open.as_ref().is_some_and(|open| open.spoiled) {
            return Err(Failure::Busy(
                "a statement of the transaction failed".into(),
            ));
        }
        self.run("COMMIT")
    }

    fn rollback(&mut self) {
        if self.open.is_some() && self.run("ROLLBACK").is_err() {
            self.disconnect();
        }
    }

    fn execute(&mut self, sql: &Arc<str>, values: &[Value]) -> Result<u64> {
        let arguments = arguments(values)?;
        self.statement(sql, arguments)
    }

    fn upsert(&mut self, table: &TableSpec, rows: &[Value]) -> Result<()> {
        upsert::write(self, table, rows)
    }

    fn query(&mut self, sql: &Arc<str>, values: &[Value]) -> Result<Vec<Vec<Value>>> {
        let arguments = arguments(values)?;
        let query = sqlx::query_with(AssertSqlSafe(sql.clone()).into_sql_str(), arguments);
        let rows = self.call(async |connection| query.fetch_all(connection).await)?;
        rows.iter()
            .map(|row| {
                (0..row.len())
                    .map(|place| types::value(row, place))
                    .collect()
            })
            .collect()
    }

    fn columns(&mut self, table: &str) -> Result<Vec<Found>> {
        let rows = self.query(&COLUMNS.into(), &[quoted(table).into()])?;
        Ok(rows.iter().filter_map(|row| found(row)).collect())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.disconnect();
    }
}

fn found(row: &[Value]) -> Option<Found> {
    let [
        Value::Text(name),
        Value::Text(declared),
        nullable,
        key,
        default,
    ] = row
    else {
        return None;
    };
    Some(Found {
        name: name.to_string(),
        declared: declared.to_string(),
        nullable: *nullable == Value::Boolean(true),
        key: *key == Value::Boolean(true),
        default: *default == Value::Boolean(true),
    })
}

fn arguments(values: &[Value]) -> Result<PgArguments> {
    let mut arguments = PgArguments::default();
    for value in values {
        arguments
            .add(Bound(value))
            .map_err(|error| Failure::Row(error.to_string()))?;
    }
    Ok(arguments)
}
