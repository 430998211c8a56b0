//! Which table a sink writes: a name and a row type, checked before anything is opened.

use crate::{
    database::OFFSETS_TABLE,
    error::{Error, Result},
    row::{Column, Row},
    value::{Kind, Value},
};
use std::{collections::BTreeSet, marker::PhantomData, sync::Arc};

/// The column that says from which partition of the topic a row came.
pub const PARTITION_COLUMN: &str = "_partition";
/// The column that says from which offset of the partition a row came.
pub const OFFSET_COLUMN: &str = "_offset";

/// A table written from a topic, one row of type `R` per record.
///
/// With key columns a later record replaces the row of an earlier one with the same key. Without,
/// each record has its own row, its coordinates [`PARTITION_COLUMN`] and [`OFFSET_COLUMN`] being
/// the primary key. Both columns are there in either case.
/// A table belongs to one sink and one topic. Of the records of one key that come together the
/// database may be shown the last one only.
///
/// Its name is one name, quoted wherever it is used, dots included. On Postgres its schema is the
/// first of the connection's `search_path`, which [`PostgresUrl`](crate::PostgresUrl) can set.
pub struct Table<R> {
    name: &'static str,
    row: PhantomData<fn(R)>,
}

impl<R> Clone for Table<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Table<R> {}

impl<R: Row> Table<R> {
    /// A table of that name, which is the sink's name too.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            row: PhantomData,
        }
    }

    /// The table's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The columns with the coordinates in front, or why there can be no such table.
    pub(crate) fn spec(&self) -> Result<TableSpec> {
        let declared = R::columns();
        let keyed = declared.iter().any(|column| column.key);
        let coordinate = |name| Column {
            key: !keyed,
            ..Column::new(name, Kind::Integer)
        };
        let columns = [coordinate(PARTITION_COLUMN), coordinate(OFFSET_COLUMN)];
        let spec = TableSpec {
            name: self.name.into(),
            columns: columns
                .into_iter()
                .chain(declared.iter().cloned())
                .collect(),
        };
        spec.check().map_err(|problem| Error::Declaration {
            table: self.name.into(),
            problem,
        })?;
        Ok(spec)
    }
}

/// A table without its row type.
#[derive(Clone, Debug)]
pub(crate) struct TableSpec {
    pub(crate) name: String,
    pub(crate) columns: Arc<[Column]>,
}

impl TableSpec {
    /// Whether keys come back: the row type has some of its own, beside the coordinates.
    pub(crate) fn keyed(&self) -> bool {
        let coordinates = [PARTITION_COLUMN, OFFSET_COLUMN];
        let mut keys = self.columns.iter().filter(|column| column.key);
        keys.any(|column| !coordinates.contains(&column.name))
    }

    fn check(&self) -> std::result::Result<(), String> {
        check_name(&self.name)?;
        let reserved = self.name.eq_ignore_ascii_case(OFFSETS_TABLE);
        if reserved || self.name.to_ascii_lowercase().starts_with("sqlite_") {
            return Err("the name is reserved".into());
        }
        let mut seen = BTreeSet::new();
        for column in self.columns.iter() {
            check_name(column.name)?;
            if !seen.insert(column.name.to_ascii_lowercase()) {
                return Err(format!("column {} is there twice", column.name));
            }
            if column.key && column.nullable {
                return Err(format!("key column {} may be null", column.name));
            }
            check_default(column)?;
        }
        Ok(())
    }
}

fn check_name(name: &str) -> std::result::Result<(), String> {
    if name.is_empty() || name.contains('\0') {
        return Err(format!("{name:?} is not a name"));
    }
    Ok(())
}

/// Defaults become literals in SQL text, so only those are taken that every database reads alike.
fn check_default(column: &Column) -> std::result::Result<(), String> {
    let fits = match (&column.default, column.kind) {
        (None, _)
        | (Some(Value::Integer(_)), Kind::Integer | Kind::Timestamp)
        | (Some(Value::Timestamp(_)), Kind::Timestamp)
        | (Some(Value::Boolean(_)), Kind::Boolean) => true,
        (Some(Value::Text(text)), Kind::Text) => !text.contains('\0'),
        (Some(Value::Real(number)), Kind::Real) => number.is_finite(),
        (Some(_), _) => false,
    };
    fits.then_some(()).ok_or_else(|| {
        format!(
            "column {} cannot have {:?} as default",
            column.name, column.default
        )
    })
}
