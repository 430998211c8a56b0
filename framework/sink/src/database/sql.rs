//! SQL text, the same for every database but for its [`Dialect`].
//!
//! Invariant: names are quoted and values bound, so that no text of a user is ever read as SQL.

use super::Dialect;
use crate::{row::Column, table::TableSpec, value::Value};
use std::sync::Arc;

/// A name in double quotes, as the SQL standard has it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `CREATE TABLE` with the key columns as primary key.
pub(crate) fn create_table(dialect: &Dialect, table: &TableSpec) -> Arc<str> {
    let mut parts: Vec<_> = table
        .columns
        .iter()
        .map(|column| definition(dialect, column))
        .collect();
    parts.push(format!("PRIMARY KEY ({})", names(table, |c| c.key, quoted)));
    format!(
        "CREATE TABLE {} ({})",
        quoted(&table.name),
        parts.join(", ")
    )
    .into()
}

/// `ALTER TABLE ADD COLUMN`.
pub(crate) fn add_column(dialect: &Dialect, table: &str, column: &Column) -> Arc<str> {
    format!(
        "ALTER TABLE {} ADD COLUMN {}",
        quoted(table),
        definition(dialect, column)
    )
    .into()
}

/// All column names.
pub(crate) fn columns(table: &TableSpec) -> String {
    names(table, |_| true, quoted)
}

fn definition(dialect: &Dialect, column: &Column) -> String {
    let mut text = format!(
        "{} {}",
        quoted(column.name),
        (dialect.type_name)(column.kind)
    );
    if !column.nullable {
        text.push_str(" NOT NULL");
    }
    if let Some(default) = column
        .default
        .as_ref()
        .and_then(|value| literal(dialect, value))
    {
        text.push_str(" DEFAULT ");
        text.push_str(&default);
    }
    text
}

/// A default as text; declarations allow only those that have one.
fn literal(dialect: &Dialect, value: &Value) -> Option<String> {
    Some(match value {
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Integer(number) => number.to_string(),
        Value::Timestamp(ms) => (dialect.timestamp)(*ms),
        Value::Real(number) => format!("{number:?}"),
        Value::Boolean(truth) => if *truth { "TRUE" } else { "FALSE" }.into(),
        Value::Null | Value::Blob(_) => return None,
    })
}

/// `INSERT` of so many rows, each replacing the row with its key.
pub(crate) fn upsert(dialect: &Dialect, table: &TableSpec, rows: usize) -> Arc<str> {
    let mut text = format!(
        "INSERT INTO {} ({}) VALUES ",
        quoted(&table.name),
        columns(table)
    );
    let mut number = 0;
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { "), (" });
        for column in 0..table.columns.len() {
            if column > 0 {
                text.push(',');
            }
            number += 1;
            (dialect.placeholder)(&mut text, number);
        }
    }
    text.push(')');
    text.push_str(&on_conflict(table));
    text.into()
}

/// What an `INSERT` ends with whose rows take the place of those with their keys.
pub(crate) fn on_conflict(table: &TableSpec) -> String {
    let keys = names(table, |column| column.key, quoted);
    let set = names(
        table,
        |column| !column.key,
        |name| {
            let name = quoted(name);
            format!("{name} = excluded.{name}")
        },
    );
    if set.is_empty() {
        format!(" ON CONFLICT ({keys}) DO NOTHING")
    } else {
        format!(" ON CONFLICT ({keys}) DO UPDATE SET {set}")
    }
}

/// A statement written with `?` for its values, in the dialect's own placeholders.
pub(crate) fn statement(dialect: &Dialect, text: &str) -> Arc<str> {
    let mut out = String::with_capacity(text.len());
    for (number, part) in text.split('?').enumerate() {
        if number > 0 {
            (dialect.placeholder)(&mut out, number);
        }
        out.push_str(part);
    }
    out.into()
}

fn names(table: &TableSpec, pick: fn(&Column) -> bool, write: fn(&str) -> String) -> String {
    let picked = table.columns.iter().filter(|column| pick(column));
    let written: Vec<_> = picked.map(|column| write(column.name)).collect();
    written.join(", ")
}
