//! A row on its way into SQL: values of six kinds, checked against their columns as they are bound.
//!
//! Invariant: what [`Values`] holds fits the columns in number, kind and nullability, so that a bad
//! row is found before it can spoil a statement it shares with good ones.

use crate::row::Column;
use std::sync::Arc;

/// What a column holds, in terms every database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Unicode text.
    Text,
    /// A signed 64-bit number.
    Integer,
    /// A 64-bit float. SQL databases disagree about NaN, so NaN is null here.
    Real,
    /// True or false.
    Boolean,
    /// Bytes.
    Blob,
    /// Milliseconds since 1970-01-01 UTC.
    Timestamp,
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL's NULL.
    Null,
    /// For [`Kind::Text`].
    Text(Arc<str>),
    /// For [`Kind::Integer`].
    Integer(i64),
    /// For [`Kind::Real`].
    Real(f64),
    /// For [`Kind::Boolean`].
    Boolean(bool),
    /// For [`Kind::Blob`].
    Blob(Vec<u8>),
    /// For [`Kind::Timestamp`]: milliseconds since 1970-01-01 UTC.
    Timestamp(i64),
}

impl Value {
    pub(crate) fn kind(&self) -> Option<Kind> {
        Some(match self {
            Self::Null => return None,
            Self::Text(_) => Kind::Text,
            Self::Integer(_) => Kind::Integer,
            Self::Real(_) => Kind::Real,
            Self::Boolean(_) => Kind::Boolean,
            Self::Blob(_) => Kind::Blob,
            Self::Timestamp(_) => Kind::Timestamp,
        })
    }
}

macro_rules! value_from {
    ($($type:ty => |$value:ident| $make:expr;)*) => {
        $(impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $make
            }
        })*
    };
}

value_from! {
    &str => |text| Self::Text(text.into());
    &String => |text| Self::Text(text.as_str().into());
    String => |text| Self::Text(text.into());
    Arc<str> => |text| Self::Text(text);
    i64 => |number| Self::Integer(number);
    i32 => |number| Self::Integer(number.into());
    u32 => |number| Self::Integer(number.into());
    f64 => |number| Self::Real(number);
    f32 => |number| Self::Real(number.into());
    bool => |truth| Self::Boolean(truth);
    &[u8] => |bytes| Self::Blob(bytes.to_vec());
    Vec<u8> => |bytes| Self::Blob(bytes);
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Where a [`Row`](crate::Row) binds its values, one after another in the order of its columns.
#[derive(Debug)]
pub struct Values {
    columns: Arc<[Column]>,
    values: Vec<Value>,
    row: usize,
    problem: Option<String>,
}

impl Values {
    pub(crate) fn new(columns: Arc<[Column]>) -> Self {
        Self {
            columns,
            values: Vec::new(),
            row: 0,
            problem: None,
        }
    }

    /// Binds the next column. A value that does not fit makes the whole row a dead letter.
    ///
    /// Whole numbers fit [`Kind::Timestamp`] columns too, as milliseconds.
    pub fn push(&mut self, value: impl Into<Value>) -> &mut Self {
        let mut value = value.into();
        let Some(column) = self.columns.get(self.values.len() - self.row) else {
            self.problem = Some("more values were bound than the row has columns".into());
            return self;
        };
        match value {
            Value::Integer(ms) if column.kind == Kind::Timestamp => value = Value::Timestamp(ms),
            // SQLite turns NaN into NULL without a word and Postgres orders it above infinity;
            // null everywhere is the one meaning that all can keep.
            Value::Real(number) if number.is_nan() => value = Value::Null,
            _ => {}
        }
        match value.kind() {
            None if !column.nullable => {
                self.problem = Some(format!(
                    "column {}: null (or NaN) where {:?} must be",
                    column.name, column.kind
                ));
            }
            Some(kind) if kind != column.kind => {
                self.problem = Some(format!(
                    "column {}: {kind:?} where {:?} must be",
                    column.name, column.kind
                ));
            }
            _ => {}
        }
        self.values.push(value);
        self
    }

    /// Ends a row: keeps it, or takes it away again and says why.
    pub(crate) fn end_row(&mut self) -> Result<(), String> {
        let bound = self.values.len() - self.row;
        let problem = self.problem.take().or_else(|| {
            (bound != self.columns.len()).then(|| {
                format!(
                    "{bound} values were bound for {} columns",
                    self.columns.len()
                )
            })
        });
        match problem {
            None => {
                self.row = self.values.len();
                Ok(())
            }
            Some(problem) => {
                self.values.truncate(self.row);
                Err(problem)
            }
        }
    }

    /// The values of `len` rows from row `start` on.
    pub(crate) fn rows(&self, start: usize, len: usize) -> &[Value] {
        let width = self.columns.len();
        &self.values[start * width..(start + len) * width]
    }

    /// Forgets the rows and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.row = 0;
        self.problem = None;
    }
}
