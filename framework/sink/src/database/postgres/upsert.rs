//! How rows get into a table fast: `COPY` in binary, beside the slow way that always works.
//!
//! A table without a key takes the rows straight from `COPY`. One with a key takes them by way of a
//! temporary table and one `INSERT .. ON CONFLICT`. A single row, which is also what a batch with a
//! bad row ends as, takes a plain `INSERT`: so it is always the table itself that refuses a row.
//!
//! Invariant: each call stands behind a savepoint and is undone as a whole where a row is refused.

use super::{
    Bound, Postgres, Refused, arguments,
    copy::Stream,
    errors::{NOT_SUPPORTED, UNIQUE_VIOLATION},
    types::{DIALECT, Wire},
};
use crate::{
    database::{Database, Failure, Result, sql},
    table::TableSpec,
    value::Value,
};
use std::{
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// The temporary table, of which every session has its own.
const STAGE: &str = "pg_temp.millstream_stage";
/// Its column that says in which stretch of the transaction a row is to be moved on; 0 for a row
/// that a later one of the same stretch replaces. Such rows are staged all the same, because the
/// stage has the table's own checks and a bad record is to be found wherever the batch ends.
const STRETCH: &str = "millstream_stretch";

/// What is known between calls.
#[derive(Debug, Default)]
pub(super) struct Upsert {
    stream: Stream,
    /// By row of the stretch: whether no later row has its key.
    last: Vec<bool>,
    plan: Option<Arc<Plan>>,
    savepoint: Savepoint,
    stage: Stage,
    /// Whether `COPY` into the table itself was refused in this transaction.
    indirect: bool,
    stretch: i32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Savepoint {
    #[default]
    None,
    /// Set, and nothing was done since.
    Fresh,
    Used,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    None,
    /// Made in the open transaction: it stays if that is committed.
    Made,
    Kept,
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
    single: Arc<str>,
    make_stage: Arc<str>,
    copy_to_stage: String,
    move_on: Arc<str>,
}

impl Upsert {
    pub(super) fn disconnected(&mut self) {
        self.plan = None;
        self.stage = Stage::None;
        self.began();
    }

    pub(super) fn began(&mut self) {
        self.savepoint = Savepoint::None;
        self.indirect = false;
        self.stretch = 0;
    }

    pub(super) fn committed(&mut self) {
        if self.stage == Stage::Made {
            self.stage = Stage::Kept;
        }
    }

    pub(super) fn rolled_back(&mut self) {
        if self.stage == Stage::Made {
            self.stage = Stage::None;
        }
    }
}

/// Writes the rows; see [`Database::upsert`].
pub(super) fn write(database: &mut Postgres, table: &TableSpec, rows: &[Value]) -> Result<()> {
    let plan = plan(database, table)?;
    if rows.len() <= table.columns.len() {
        return single(database, &plan, table, rows);
    }
    if !plan.keyed && !database.upsert.indirect {
        encode(&mut database.upsert.stream, &plan, table, rows, |_| None)?;
        savepoint(database)?;
        match copy(database, &plan.copy) {
            Ok(()) => return Ok(()),
            // Rows that are there already, because the places were set back by hand; or row level
            // security. The other way can do both.
            Err(Refused { code, .. }) if is_indirect(code.as_deref()) => {
                undo(database)?;
                database.upsert.indirect = true;
            }
            Err(refused) => return Err(undone(database, refused.into())),
        }
    }
    staged(database, &plan, table, rows)
}

fn is_indirect(code: Option<&str>) -> bool {
    matches!(code, Some(UNIQUE_VIOLATION | NOT_SUPPORTED))
}

/// One row by `INSERT`. What the encoder says of it names the column, so it goes before what the
/// server says; but only the server's refusal counts.
fn single(database: &mut Postgres, plan: &Plan, table: &TableSpec, row: &[Value]) -> Result<()> {
    let stream = &mut database.upsert.stream;
    let told = encode(stream, plan, table, row, |_| None).err();
    let kinds = table.columns.iter().map(|column| column.kind);
    let bound = row.iter().zip(kinds);
    let arguments = arguments(bound.map(|(value, kind)| Bound(value, kind)))
        .map_err(|failure| told.clone().unwrap_or(failure))?;
    savepoint(database)?;
    match database.statement(&plan.single, arguments) {
        Ok(_) => Ok(()),
        Err(Failure::Row(message)) => {
            let failure = told.unwrap_or(Failure::Row(message));
            Err(undone(database, failure))
        }
        Err(other) => Err(other),
    }
}

/// Many rows through the temporary table.
fn staged(database: &mut Postgres, plan: &Plan, table: &TableSpec, rows: &[Value]) -> Result<()> {
    let upsert = &mut database.upsert;
    upsert.stretch = upsert.stretch.saturating_add(1);
    let stretch = upsert.stretch;
    mark_last(&mut upsert.last, plan, table.columns.len(), rows);
    let last = &upsert.last;
    encode(&mut upsert.stream, plan, table, rows, |row| {
        Some(if last[row] { stretch } else { 0 })
    })?;
    if upsert.stage == Stage::None {
        // Before the savepoint, which may be undone.
        database.statement(&plan.make_stage, arguments(std::iter::empty())?)?;
        database.upsert.stage = Stage::Made;
    }
    savepoint(database)?;
    if let Err(refused) = copy(database, &plan.copy_to_stage) {
        return Err(undone(database, refused.into()));
    }
    let number = Value::Integer(stretch.into());
    let arguments = arguments([Bound::of(&number)].into_iter())?;
    let moved = database.statement(&plan.move_on, arguments);
    moved.map(drop).map_err(|failure| undone(database, failure))
}

/// Encodes the rows into the stream, each with a last number where `last` gives one.
fn encode(
    stream: &mut Stream,
    plan: &Plan,
    table: &TableSpec,
    rows: &[Value],
    last: impl Fn(usize) -> Option<i32>,
) -> Result<()> {
    stream.begin();
    for (number, row) in rows.chunks_exact(table.columns.len()).enumerate() {
        let added = stream.row(&plan.wires, row, last(number));
        added.map_err(|(column, problem)| {
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
        let problem = || {
            // Checked at the start, so somebody has changed it since: another start will say how.
            let name = column.name;
            Failure::Fatal(format!("table {}: column {name} has changed", table.name))
        };
        wires.push(wire.ok_or_else(problem)?);
    }
    let keys = table.columns.iter().enumerate();
    let keys = keys.filter(|(_, column)| column.key).map(|(at, _)| at);
    let (name, columns) = (sql::quoted(&table.name), sql::columns(table));
    let conflict = sql::on_conflict(table);
    let plan = Plan {
        table: table.name.clone(),
        wires,
        keys: keys.collect(),
        keyed: table.keyed(),
        copy: format!("COPY {name} ({columns}) FROM STDIN (FORMAT binary)"),
        single: sql::upsert(&DIALECT, table, 1),
        // With the table's checks and defaults, so that it refuses what the table would refuse.
        make_stage: format!(
            "CREATE TEMPORARY TABLE millstream_stage (LIKE {name} INCLUDING CONSTRAINTS \
             INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING IDENTITY, \
             {STRETCH} integer NOT NULL) ON COMMIT DELETE ROWS"
        )
        .into(),
        copy_to_stage: format!("COPY {STAGE} ({columns}, {STRETCH}) FROM STDIN (FORMAT binary)"),
        move_on: format!(
            "INSERT INTO {name} ({columns}) SELECT {columns} FROM {STAGE} \
             WHERE {STRETCH} = $1{conflict}"
        )
        .into(),
    };
    let plan = Arc::new(plan);
    database.upsert.plan = Some(Arc::clone(&plan));
    Ok(plan)
}

/// Marks the rows that no later row with the same key replaces: one `INSERT` may touch a key once.
/// Keys that SQL takes for equal and Rust does not (citext) are refused by the database as a row
/// is, and so come apart when the stretch is halved.
fn mark_last(last: &mut Vec<bool>, plan: &Plan, width: usize, rows: &[Value]) {
    last.clear();
    last.resize(rows.len() / width, false);
    let mut seen = HashSet::with_capacity(last.len());
    for (row, last) in rows.chunks_exact(width).zip(last).rev() {
        *last = seen.insert(Key(row, &plan.keys));
    }
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
