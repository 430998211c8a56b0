//! How rows get into a table fast, in the two ways that were measured to be the best.
//!
//! A table without a key of its own takes its rows straight from a binary `COPY`. One with a key
//! takes them as one array per column, in an `INSERT .. SELECT FROM unnest(..) ON CONFLICT`. By
//! thousand rows per second, medians of five, batches of 4096 rows of eight columns, each batch
//! committed, two busy cores:
//!
//! | | `COPY` | `COPY` to a temporary table, `INSERT` | `unnest` | 128 rows of `VALUES` |
//! | --- | --- | --- | --- | --- |
//! | no key | 242 | 168 | 218 | 198 |
//! | new keys | | 128 | 206 | |
//! | 100,000 keys | | 135 | 151 | |
//!
//! Invariant: each call stands behind a savepoint and is undone as a whole where a row is refused.
//! A row that stands alone is always judged by the table itself.

use super::{
    Postgres, Refused,
    copy::Stream,
    errors::{NOT_SUPPORTED, UNIQUE_VIOLATION},
    types::{Array, Wire, array_type},
};
use crate::{
    database::{Database, Failure, Result, sql},
    table::TableSpec,
    value::Value,
};
use sqlx::{Arguments, postgres::PgArguments};
use std::{
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// What is known between calls.
#[derive(Debug, Default)]
pub(super) struct Upsert {
    stream: Stream,
    /// Which rows go into the arrays; kept for its memory.
    chosen: Vec<usize>,
    plan: Option<Arc<Plan>>,
    savepoint: Savepoint,
    /// Whether `COPY` was refused in this transaction.
    no_copy: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Savepoint {
    #[default]
    None,
    /// Set, and nothing was done since.
    Fresh,
    Used,
}

/// The texts for one table, and what its columns take, as they were at the first use.
#[derive(Debug)]
struct Plan {
    table: String,
    wires: Vec<Wire>,
    keys: Vec<usize>,
    /// Whether the row type has a key of its own, so that keys come back.
    keyed: bool,
    copy: String,
    insert: Arc<str>,
}

impl Upsert {
    pub(super) fn disconnected(&mut self) {
        self.plan = None;
        self.began();
    }

    pub(super) fn began(&mut self) {
        self.savepoint = Savepoint::None;
        self.no_copy = false;
    }
}

/// Writes the rows; see [`Database::upsert`].
pub(super) fn write(database: &mut Postgres, table: &TableSpec, rows: &[Value]) -> Result<()> {
    let plan = plan(database, table)?;
    let alone = rows.len() <= table.columns.len();
    if !plan.keyed && !alone && !database.upsert.no_copy {
        encode(&mut database.upsert.stream, &plan, table, rows)?;
        savepoint(database)?;
        match copy(database, &plan.copy) {
            Ok(()) => return Ok(()),
            // Rows that are there already, because the places were set back by hand; or row level
            // security. The other way can do both.
            Err(refused) if refused.is(UNIQUE_VIOLATION) || refused.is(NOT_SUPPORTED) => {
                undo(database)?;
                database.upsert.no_copy = true;
            }
            Err(refused) => return Err(undone(database, refused.into())),
        }
    }
    insert(database, &plan, table, rows)
}

/// The rows as arrays, each row once that no later one replaces.
fn insert(database: &mut Postgres, plan: &Plan, table: &TableSpec, rows: &[Value]) -> Result<()> {
    let width = table.columns.len();
    let chosen = &mut database.upsert.chosen;
    choose(chosen, plan, width, rows);
    let mut arguments = PgArguments::default();
    for (column, declared) in table.columns.iter().enumerate() {
        let array = Array {
            kind: declared.kind,
            rows,
            width,
            column,
            chosen,
        };
        arguments
            .add(array)
            .map_err(|problem| Failure::Row(format!("column {}: {problem}", declared.name)))?;
    }
    savepoint(database)?;
    let done = database.statement(&plan.insert, arguments);
    done.map(drop).map_err(|failure| undone(database, failure))
}

/// Encodes the rows into the stream.
fn encode(stream: &mut Stream, plan: &Plan, table: &TableSpec, rows: &[Value]) -> Result<()> {
    stream.begin();
    for row in rows.chunks_exact(table.columns.len()) {
        stream.row(&plan.wires, row).map_err(|(column, problem)| {
            Failure::Row(format!("column {}: {problem}", table.columns[column].name))
        })?;
    }
    Ok(())
}

/// Sends the encoded rows.
fn copy(database: &mut Postgres, text: &str) -> std::result::Result<(), Refused> {
    // Taken out for the call, as the connection lies beside it.
    let mut stream = std::mem::take(&mut database.upsert.stream);
    let done = database.call(async |connection| {
        let mut copy = connection.copy_in_raw(text).await?;
        copy.send(stream.end()).await?;
        copy.finish().await.map(drop)
    });
    database.upsert.stream = stream;
    done
}

fn savepoint(database: &mut Postgres) -> Result<()> {
    match database.upsert.savepoint {
        Savepoint::None => database.run("SAVEPOINT millstream")?,
        // Released first, or they would pile up.
        Savepoint::Used => database.run("RELEASE millstream; SAVEPOINT millstream")?,
        Savepoint::Fresh => {}
    }
    database.upsert.savepoint = Savepoint::Used;
    Ok(())
}

/// Goes back to the savepoint, which stays.
fn undo(database: &mut Postgres) -> Result<()> {
    database.run("ROLLBACK TO millstream")?;
    database.upsert.savepoint = Savepoint::Fresh;
    if let Some(open) = &mut database.open {
        open.spoiled = false;
    }
    Ok(())
}

/// The failure of a call, which is undone where the transaction is to go on.
fn undone(database: &mut Postgres, failure: Failure) -> Failure {
    match failure {
        Failure::Row(_) => undo(database).err().unwrap_or(failure),
        other => other,
    }
}

fn plan(database: &mut Postgres, table: &TableSpec) -> Result<Arc<Plan>> {
    if let Some(plan) = &database.upsert.plan
        && plan.table == table.name
    {
        return Ok(Arc::clone(plan));
    }
    let found = database.columns(&table.name)?;
    let mut wires = Vec::with_capacity(table.columns.len());
    for column in table.columns.iter() {
        let declared = found.iter().find(|found| found.name == column.name);
        let wire = declared.and_then(|found| Wire::of(column.kind, &found.declared));
        // Checked at the start, so somebody has changed it since: another start will say how.
        let changed = || format!("table {}: column {} has changed", table.name, column.name);
        wires.push(wire.ok_or_else(|| Failure::Fatal(changed()))?);
    }
    let keys = table.columns.iter().enumerate();
    let keys = keys.filter(|(_, column)| column.key).map(|(at, _)| at);
    let arrays = table.columns.iter().enumerate();
    let arrays = arrays.map(|(at, column)| format!("${}::{}", at + 1, array_type(column.kind)));
    let arrays: Vec<_> = arrays.collect();
    let (name, columns) = (sql::quoted(&table.name), sql::columns(table));
    let plan = Arc::new(Plan {
        table: table.name.clone(),
        wires,
        keys: keys.collect(),
        keyed: table.keyed(),
        copy: format!("COPY {name} ({columns}) FROM STDIN (FORMAT binary)"),
        insert: format!(
            "INSERT INTO {name} ({columns}) SELECT * FROM unnest({}){}",
            arrays.join(", "),
            sql::on_conflict(table)
        )
        .into(),
    });
    database.upsert.plan = Some(Arc::clone(&plan));
    Ok(plan)
}

/// Chooses the rows that no later row with the same key replaces: one `INSERT` may touch a key only
/// once. Keys that SQL takes for equal and Rust does not (citext) are refused by the database as a
/// row is, and so come apart when the stretch is halved.
fn choose(chosen: &mut Vec<usize>, plan: &Plan, width: usize, rows: &[Value]) {
    chosen.clear();
    let count = rows.len() / width;
    let mut seen = HashSet::with_capacity(count);
    for (number, row) in rows.chunks_exact(width).enumerate().rev() {
        if seen.insert(Key(row, &plan.keys)) {
            chosen.push(number);
        }
    }
    chosen.reverse();
}

struct Key<'a>(&'a [Value], &'a [usize]);

impl Key<'_> {
    fn values(&self) -> impl Iterator<Item = &Value> {
        self.1.iter().map(|column| &self.0[*column])
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.values().eq(other.values())
    }
}

impl Eq for Key<'_> {}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for value in self.values() {
            match value {
                // Key columns are never null, and NaN never comes here.
                Value::Null => {}
                Value::Text(text) => text.hash(state),
                Value::Integer(number) | Value::Timestamp(number) => number.hash(state),
                // 0.0 and -0.0 are equal and must hash alike.
                Value::Real(number) => (number + 0.0).to_bits().hash(state),
                Value::Boolean(truth) => truth.hash(state),
                Value::Blob(bytes) => bytes.hash(state),
            }
        }
    }
}
