//! How a Rust type becomes a row: [`Row`], its columns, and [`row!`](crate::row) to list them once.

use crate::value::{Kind, Value, Values};
use std::sync::Arc;

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Column {
    /// Its name, quoted wherever it is used.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it may be null.
    pub nullable: bool,
    /// Whether it is part of the primary key.
    pub key: bool,
    /// What rows have that were written before the column was added.
    pub default: Option<Value>,
}

impl Column {
    /// A column that must have a value.
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            nullable: false,
            key: false,
            default: None,
        }
    }

    /// A column of the kind that a field's type has; the function only names the field.
    pub const fn of<S, F: Field>(name: &'static str, _field: fn(&S) -> &F) -> Self {
        let mut column = Self::new(name, F::KIND);
        column.nullable = F::NULLABLE;
        column
    }

    /// The same column, which may be null.
    #[must_use]
    pub const fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    /// The same column as part of the primary key.
    #[must_use]
    pub const fn key(mut self) -> Self {
        self.key = true;
        self
    }

    /// The same column with a value for rows that were there before it.
    #[must_use]
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }
}

/// A type that can be written as a row of a table.
///
/// Usually [`row!`](crate::row) implements it; by hand it is:
///
/// ```
/// use millstream_sink::{Column, Kind, Row, Values};
///
/// struct Visit { page: String, seconds: Option<f64> }
///
/// impl Row for Visit {
///     fn columns() -> &'static [Column] {
///         const { &[
///             Column::new("page", Kind::Text).key(),
///             Column::new("seconds", Kind::Real).nullable(),
///         ] }
///     }
///     fn bind(&self, values: &mut Values) {
///         values.push(&self.page).push(self.seconds);
///     }
/// }
/// assert!(Visit::columns()[0].key);
/// ```
pub trait Row {
    /// The columns, in the order in which they are bound. Those with `key` are the primary key.
    fn columns() -> &'static [Column];

    /// Binds one value per column.
    fn bind(&self, values: &mut Values);
}

/// A type that fits one column: what [`row!`](crate::row) asks of a field's type.
pub trait Field {
    /// The kind of column.
    const KIND: Kind;
    /// Whether the column may be null.
    const NULLABLE: bool = false;
    /// The value to bind.
    fn value(&self) -> Value;
}

/// Milliseconds since 1970-01-01 UTC, as a [`Kind::Timestamp`] column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub i64);

impl From<Millis> for Value {
    fn from(millis: Millis) -> Self {
        Self::Timestamp(millis.0)
    }
}

macro_rules! fields {
    ($($type:ty: $kind:ident, |$field:ident| $value:expr;)*) => {
        $(impl Field for $type {
            const KIND: Kind = Kind::$kind;
            fn value(&self) -> Value {
                let $field = self;
                Value::from($value)
            }
        })*
    };
}

fields! {
    String: Text, |text| text;
    &str: Text, |text| *text;
    Arc<str>: Text, |text| Self::clone(text);
    i64: Integer, |number| *number;
    i32: Integer, |number| *number;
    u32: Integer, |number| *number;
    f64: Real, |number| *number;
    f32: Real, |number| *number;
    bool: Boolean, |truth| *truth;
    Vec<u8>: Blob, |bytes| bytes.as_slice();
    Millis: Timestamp, |millis| *millis;
}

impl<T: Field> Field for Option<T> {
    const KIND: Kind = T::KIND;
    const NULLABLE: bool = true;
    fn value(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::value)
    }
}

/// Implements [`Row`](crate::Row) for a struct by listing the fields that become columns.
///
/// `: key` makes a field part of the primary key; `= value` says what rows have that were written
/// before the column was added. The fields' types choose the columns' kinds; `Option` is nullable.
///
/// | field | SQLite | Postgres, which also takes |
/// | --- | --- | --- |
/// | `String`, `&str`, `Arc<str>` | `TEXT` | `text`, `varchar(n)`, `citext` |
/// | `i64`, `i32`, `u32` | `INTEGER` | `bigint`, `integer`, `smallint` |
/// | `f64`, `f32` | `REAL` | `double precision` |
/// | `bool` | `BOOLEAN` | `boolean` |
/// | `Vec<u8>` | `BLOB` | `bytea` |
/// | [`Millis`](crate::Millis) | `TIMESTAMP` | `timestamp` with or without time zone |
///
/// A value that a column cannot have, such as a text with NUL or a number beyond a `smallint` on
/// Postgres, makes its record a dead letter and leaves the others alone.
///
/// ```
/// use millstream_sink::{Kind, Millis, Row, row};
///
/// struct Prediction { id: String, at: Millis, score: f64, model: i64, note: Option<String> }
/// row!(Prediction { id: key, at, score, model = 0, note });
///
/// let columns = Prediction::columns();
/// assert!(columns[0].key && columns[4].nullable);
/// assert_eq!(columns[1].kind, Kind::Timestamp);
/// ```
#[macro_export]
macro_rules! row {
    ($type:ty { $($name:ident $(: $key:ident)? $(= $default:expr)?),+ $(,)? }) => {
        impl $crate::Row for $type {
            fn columns() -> &'static [$crate::Column] {
                static COLUMNS: ::std::sync::LazyLock<::std::vec::Vec<$crate::Column>> =
                    ::std::sync::LazyLock::new(|| ::std::vec![$(
                        $crate::Column::of(::core::stringify!($name), |row: &$type| &row.$name)
                            $(.$key())? $(.default($default))?
                    ),+]);
                &COLUMNS
            }

            fn bind(&self, values: &mut $crate::Values) {
                $(values.push($crate::Field::value(&self.$name));)+
            }
        }
    };
}
