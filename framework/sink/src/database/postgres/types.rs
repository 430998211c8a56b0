//! The six kinds in Postgres: how a column is declared, what it takes on the wire, what comes back.
//!
//! Invariant: a column counts as fitting exactly where every value of its kind can be sent to it in
//! binary, so that nothing is cast or rounded on the way; a value beyond its range is a bad row.

use crate::{
    database::{Dialect, Failure, Result},
    value::{Kind, Value},
};
use sqlx::{
    Encode, Row as _, Type, TypeInfo, ValueRef,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgRow, PgTypeInfo, Postgres, types::Oid},
};
use std::fmt::Write;

/// 2000-01-01, from which Postgres counts microseconds, in milliseconds since 1970.
const EPOCH_MS: i64 = 946_684_800_000;
/// The first and the first impossible timestamp, 4714-11-24 BC and 294277-01-01, in microseconds
/// since 2000. The numbers beyond mean infinity, or nothing.
const TIMESTAMPS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

pub(super) static DIALECT: Dialect = Dialect {
    type_name: |kind| match kind {
        Kind::Text => "text",
        Kind::Integer => "bigint",
        Kind::Real => "double precision",
        Kind::Boolean => "boolean",
        Kind::Blob => "bytea",
        Kind::Timestamp => "timestamp with time zone",
    },
    fits: |kind, declared| Wire::of(kind, declared).is_some(),
    placeholder: |text, number| {
        // Writing into a String cannot fail.
        let _ = write!(text, "${number}");
    },
    timestamp: |ms| format!("'epoch'::timestamptz + {ms} * interval '1 millisecond'"),
    readable: |column, declared| match READABLE.contains(&declared) {
        true => column,
        false => format!("{column}::text"),
    },
    // Quoted names keep their case.
    same_name: |one, other| one == other,
    name_bytes_max: 63,
    lock: " FOR UPDATE",
    // The number is "millstre" in ASCII: it only has to be nobody else's.
    start_lock: Some("SELECT pg_advisory_xact_lock(7883951835738042981)"),
    stretch: |rows, _| rows,
};

/// Types that [`value`] reads in binary.
const READABLE: [&str; 10] = [
    "text",
    "bigint",
    "integer",
    "smallint",
    "double precision",
    "real",
    "boolean",
    "bytea",
    "timestamp with time zone",
    "timestamp without time zone",
];

/// What a column takes in binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Text,
    Int8,
    Int4,
    Int2,
    Float8,
    Bool,
    Bytea,
    Timestamp,
}

impl Wire {
    /// How a column declared so (by `format_type`) takes a kind, or `None` where it does not.
    pub(super) fn of(kind: Kind, declared: &str) -> Option<Self> {
        // Types of extensions come with their schema where that is not searched.
        let name = declared.rsplit('.').next().unwrap_or(declared);
        let name = name.split('(').next().unwrap_or(name);
        Some(match (kind, name) {
            (Kind::Text, "text" | "character varying" | "citext") => Self::Text,
            (Kind::Integer, "bigint") => Self::Int8,
            (Kind::Integer, "integer") => Self::Int4,
            (Kind::Integer, "smallint") => Self::Int2,
            (Kind::Real, "double precision") => Self::Float8,
            (Kind::Boolean, "boolean") => Self::Bool,
            (Kind::Blob, "bytea") => Self::Bytea,
            (Kind::Timestamp, "timestamp without time zone") => Self::Timestamp,
            // `timestamp(3) with time zone` has its precision in the middle.
            (Kind::Timestamp, _) if timestamp(declared) => Self::Timestamp,
            _ => return None,
        })
    }
}

fn timestamp(declared: &str) -> bool {
    let rest = declared.strip_prefix("timestamp");
    rest.is_some_and(|rest| rest.ends_with(" time zone"))
}

/// Microseconds since 2000, or `None` beyond Postgres' range.
pub(super) fn micros(ms: i64) -> Option<i64> {
    let micros = ms.checked_sub(EPOCH_MS)?.checked_mul(1000)?;
    TIMESTAMPS.contains(&micros).then_some(micros)
}

/// A text that Postgres can have.
pub(super) fn without_nul(text: &str) -> std::result::Result<&[u8], &'static str> {
    let bytes = text.as_bytes();
    let clean = !bytes.contains(&0);
    clean.then_some(bytes).ok_or("NUL in a text")
}

/// The type of a column of this kind as an array.
pub(super) fn array_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text[]",
        Kind::Integer => "int8[]",
        Kind::Real => "float8[]",
        Kind::Boolean => "bool[]",
        Kind::Blob => "bytea[]",
        Kind::Timestamp => "timestamptz[]",
    }
}

/// The numbers by which every server knows a type and the array of it.
fn oids(kind: Kind) -> (Oid, Oid) {
    let (element, array) = match kind {
        Kind::Text => (25, 1009),
        Kind::Integer => (20, 1016),
        Kind::Real => (701, 1022),
        Kind::Boolean => (16, 1000),
        Kind::Blob => (17, 1001),
        Kind::Timestamp => (1184, 1185),
    };
    (Oid(element), Oid(array))
}

/// Writes a value that is not null as Postgres reads it.
fn encode(value: &Value, out: &mut Vec<u8>) -> std::result::Result<(), BoxDynError> {
    match value {
        Value::Null => {}
        Value::Text(text) => out.extend_from_slice(without_nul(text)?),
        Value::Integer(number) => out.extend_from_slice(&number.to_be_bytes()),
        Value::Real(number) => out.extend_from_slice(&number.to_be_bytes()),
        Value::Boolean(truth) => out.push(u8::from(*truth)),
        Value::Blob(bytes) => out.extend_from_slice(bytes),
        Value::Timestamp(ms) => {
            let micros = micros(*ms).ok_or_else(|| format!("timestamp {ms} out of range"))?;
            out.extend_from_slice(&micros.to_be_bytes());
        }
    }
    Ok(())
}

/// A value as a parameter of a statement. It says its own type; null is text.
pub(super) struct Bound<'a>(pub(super) &'a Value);

impl Type<Postgres> for Bound<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(oids(Kind::Text).0)
    }
}

impl Encode<'_, Postgres> for Bound<'_> {
    fn encode_by_ref(
        &self,
        out: &mut PgArgumentBuffer,
    ) -> std::result::Result<IsNull, BoxDynError> {
        encode(self.0, out)?;
        Ok(match self.0 {
            Value::Null => IsNull::Yes,
            _ => IsNull::No,
        })
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        self.0.kind().map(|kind| PgTypeInfo::with_oid(oids(kind).0))
    }
}

/// One column of many rows as a parameter, written from the rows as they are.
pub(super) struct Array<'a> {
    pub(super) kind: Kind,
    pub(super) rows: &'a [Value],
    pub(super) width: usize,
    pub(super) column: usize,
    /// The numbers of the rows that are meant.
    pub(super) chosen: &'a [usize],
}

impl Type<Postgres> for Array<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(oids(Kind::Text).1)
    }
}

impl Encode<'_, Postgres> for Array<'_> {
    fn encode_by_ref(
        &self,
        out: &mut PgArgumentBuffer,
    ) -> std::result::Result<IsNull, BoxDynError> {
        let count = i32::try_from(self.chosen.len())?;
        // Dimensions, whether there are nulls, the elements' type, their number, the first index.
        let (dimensions, nulls, first) = (1_i32, 1_i32, 1_i32);
        let Oid(element) = oids(self.kind).0;
        for number in [dimensions, nulls, i32::try_from(element)?, count, first] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        for row in self.chosen {
            let value = &self.rows[row * self.width + self.column];
            let at = out.len();
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            if *value != Value::Null {
                encode(value, out)?;
                let len = i32::try_from(out.len() - at - size_of::<i32>())?;
                out[at..at + size_of::<i32>()].copy_from_slice(&len.to_be_bytes());
            }
        }
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(oids(self.kind).1))
    }
}

/// One value of a row that came back.
pub(super) fn value(row: &PgRow, place: usize) -> Result<Value> {
    let lost = |error: sqlx::Error| Failure::Fatal(error.to_string());
    let raw = row.try_get_raw(place).map_err(lost)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let info = raw.type_info();
    macro_rules! get {
        ($type:ty) => {
            row.try_get_unchecked::<$type, _>(place).map_err(lost)?
        };
    }
    Ok(match info.name() {
        "INT8" => Value::Integer(get!(i64)),
        "INT4" => Value::Integer(get!(i32).into()),
        "INT2" => Value::Integer(get!(i16).into()),
        "FLOAT8" => Value::Real(get!(f64)),
        "FLOAT4" => Value::Real(get!(f32).into()),
        "BOOL" => Value::Boolean(get!(bool)),
        "BYTEA" => Value::Blob(get!(Vec<u8>)),
        "TEXT" | "VARCHAR" | "NAME" => Value::Text(get!(String).into()),
        "TIMESTAMPTZ" | "TIMESTAMP" => Value::Timestamp(millis(get!(i64))),
        // What a function without a result gives.
        "VOID" => Value::Null,
        other => return Err(Failure::Fatal(format!("a value of type {other} was read"))),
    })
}

/// Milliseconds since 1970; Postgres' infinities become the ends of the range.
fn millis(micros: i64) -> i64 {
    micros.div_euclid(1000).saturating_add(EPOCH_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_shifted_and_bounded() {
        assert_eq!(micros(EPOCH_MS), Some(0));
        assert_eq!(micros(0), Some(-946_684_800_000_000));
        assert_eq!(micros(i64::MAX), None);
        assert_eq!(micros(i64::MIN), None);
        assert_eq!(millis(micros(-1).unwrap()), -1);
    }

    #[test]
    fn columns_fit_by_what_they_take() {
        let fits = [
            (Kind::Text, "character varying(20)", Some(Wire::Text)),
            (Kind::Text, "public.citext", Some(Wire::Text)),
            (Kind::Text, "integer", None),
            (Kind::Integer, "smallint", Some(Wire::Int2)),
            (Kind::Integer, "numeric(10,0)", None),
            (Kind::Real, "real", None),
            (
                Kind::Timestamp,
                "timestamp(3) with time zone",
                Some(Wire::Timestamp),
            ),
            (
                Kind::Timestamp,
                "timestamp without time zone",
                Some(Wire::Timestamp),
            ),
            (Kind::Timestamp, "date", None),
        ];
        for (kind, declared, wire) in fits {
            assert_eq!(Wire::of(kind, declared), wire, "{declared}");
        }
    }
}
