//! Makes a table fit its declaration: created when missing, widened when that is harmless, and
//! otherwise refused with the column by name. Nothing is ever dropped, renamed or rewritten.

use crate::{
    database::{Database, Dialect, Found, sql},
    error::{Error, Trouble},
    row::Column,
    table::TableSpec,
};

/// Brings the table to its declaration, inside the caller's transaction.
pub(crate) fn prepare(database: &mut dyn Database, table: &TableSpec) -> Result<(), Trouble> {
    let dialect = database.dialect();
    check_names(dialect, table)?;
    let present = database.columns(&table.name)?;
    if present.is_empty() {
        database.execute(&sql::create_table(dialect, table), &[])?;
        return Ok(());
    }
    for column in table.columns.iter() {
        let mut found = present.iter();
        match found.find(|found| (dialect.same_name)(&found.name, column.name)) {
            Some(found) => check(dialect, table, column, found)?,
            None if !column.key && (column.nullable || column.default.is_some()) => {
                database.execute(&sql::add_column(dialect, &table.name, column), &[])?;
            }
            None => {
                let expected = describe(dialect, column);
                let found = "no such column, and no null or default that old rows could have";
                return Err(mismatch(table, column.name, expected, found.into()).into());
            }
        }
    }
    present
        .iter()
        .filter(|found| !declares(dialect, table, found))
        .try_for_each(|found| check_extra(table, found))
        .map_err(Trouble::from)
}

fn declares(dialect: &Dialect, table: &TableSpec, found: &Found) -> bool {
    let mut columns = table.columns.iter();
    columns.any(|column| (dialect.same_name)(column.name, &found.name))
}

fn check_names(dialect: &Dialect, table: &TableSpec) -> Result<(), Error> {
    let columns = table.columns.iter().map(|column| column.name);
    for name in columns.chain([table.name.as_str()]) {
        if name.len() > dialect.name_bytes_max {
            return Err(Error::Declaration {
                table: table.name.clone(),
                problem: format!(
                    "the name {name} has more than the {} bytes that this database keeps",
                    dialect.name_bytes_max
                ),
            });
        }
    }
    Ok(())
}

fn check(
    dialect: &Dialect,
    table: &TableSpec,
    column: &Column,
    found: &Found,
) -> Result<(), Error> {
    let fits = (dialect.fits)(column.kind, &found.declared)
        && column.key == found.key
        // A column that takes null takes everything else too, so only the other way round is wrong.
        && (found.nullable || !column.nullable);
    if fits {
        return Ok(());
    }
    let expected = describe(dialect, column);
    let found = words(&found.declared, found.nullable, found.key);
    Err(mismatch(table, column.name, expected, found))
}

/// A column the row type does not know must fill itself, and must not be part of the key.
fn check_extra(table: &TableSpec, found: &Found) -> Result<(), Error> {
    if !found.key && (found.nullable || found.default) {
        return Ok(());
    }
    let expected = "no such column, or one that may be null or has a default".into();
    let words = words(&found.declared, found.nullable, found.key);
    Err(mismatch(table, &found.name, expected, words))
}

fn describe(dialect: &Dialect, column: &Column) -> String {
    words(
        (dialect.type_name)(column.kind),
        column.nullable,
        column.key,
    )
}

fn words(declared: &str, nullable: bool, key: bool) -> String {
    let null = if nullable { "" } else { " NOT NULL" };
    let key = if key { " PRIMARY KEY" } else { "" };
    format!("{declared}{null}{key}")
}

fn mismatch(table: &TableSpec, column: &str, expected: String, found: String) -> Error {
    Error::Schema {
        table: table.name.clone(),
        column: column.into(),
        expected,
        found,
    }
}
