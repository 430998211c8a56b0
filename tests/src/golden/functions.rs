//! The functions that operators are given, with their parameters: the same as
//! `tests/jvm/GoldenFunctions.java` has. Invariant: each is total, also on nulls, and wraps around
//! where numbers are too large.

use super::program::{Key, Value};
use serde::{Deserialize, Serialize};

fn number(value: Value) -> i64 {
    value.unwrap_or(0)
}

/// What is left of a division, never negative; of a division by 0, 0.
fn remainder(value: i64, modulus: i64) -> i64 {
    value.checked_rem_euclid(modulus).unwrap_or(0)
}

/// A number that differs from key to key.
pub fn code(key: &Key) -> i64 {
    let bytes = key.iter().flat_map(|key| key.bytes());
    bytes.fold(0_i64, |code, byte| {
        code.wrapping_mul(31).wrapping_add(i64::from(byte))
    })
}

/// What becomes of a value that is the `number`th change of its key: of some values nothing, and of
/// every other null something.
pub fn numbered(value: Value, number: i64) -> Value {
    match value {
        None if number % 2 == 0 => Some(-number),
        Some(value) if remainder(value, 5) != 4 => {
            Some(number.wrapping_mul(1000).wrapping_add(value))
        }
        _ => None,
    }
}

/// `[MODULUS, REMAINDER]` of the value, or `[]` for any value but null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Test {
    /// A remainder; null counts as 0.
    Remainder((i64, i64)),
    /// Any value but null.
    Present([(); 0]),
}

impl Test {
    /// Whether a value passes.
    pub fn passes(self, value: Value) -> bool {
        match self {
            Self::Remainder((modulus, wanted)) => remainder(number(value), modulus) == wanted,
            Self::Present(_) => value.is_some(),
        }
    }
}

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Selector {
    /// `["value", MODULUS]`, `["code", MODULUS]` of the key's number, `["take", LETTERS]` of the
    /// key.
    One((By, i64)),
    /// `["value", MODULUS, REMAINDER THAT MEANS NULL]`.
    Nullable((By, i64, i64)),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "Selector says what they mean")]
pub enum By {
    Value,
    Code,
    Take,
}

impl Selector {
    /// What the key is made of.
    pub fn by(&self) -> By {
        let (Self::One((by, _)) | Self::Nullable((by, ..))) = *self;
        by
    }

    /// All keys that it gives, if they are few.
    pub fn all(&self) -> Vec<Key> {
        let (Self::One((_, modulus)) | Self::Nullable((_, modulus, _))) = *self;
        let keys = (0..modulus).map(|remainder| Some(format!("k{remainder}")));
        keys.chain([None]).collect()
    }

    /// The key of a record.
    pub fn key(&self, key: &Key, value: Value) -> Key {
        let (by, parameter, none) = match *self {
            Self::One((by, parameter)) => (by, parameter, None),
            Self::Nullable((by, parameter, none)) => (by, parameter, Some(none)),
        };
        match by {
            By::Value => {
                let remainder = remainder(number(value), parameter);
                (none != Some(remainder)).then(|| format!("k{remainder}"))
            }
            By::Code => Some(format!("k{}", remainder(code(key), parameter))),
            By::Take => {
                let letters = usize::try_from(parameter).unwrap_or(0);
                key.as_ref().map(|key| key.chars().take(letters).collect())
            }
        }
    }
}

/// `[FACTOR, SUMMAND]`, perhaps with the modulus at whose multiples there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "the type says what they mean")]
pub enum Map {
    Line((i64, i64)),
    Nullable((i64, i64, i64)),
}

impl Map {
    /// What becomes of a value; null stays null.
    pub fn of(self, value: Value) -> Value {
        let (factor, summand, none) = match self {
            Self::Line((factor, summand)) => (factor, summand, 0),
            Self::Nullable(all) => all,
        };
        let mapped = value?.wrapping_mul(factor).wrapping_add(summand);
        (none <= 0 || remainder(mapped, none) != 0).then_some(mapped)
    }
}

/// A value with the number of its key.
pub fn keyed(value: Value, code: i64) -> Value {
    Some(value?.wrapping_add(code))
}

/// The values that a value becomes: as many as its remainder by `modulus`.
pub fn several(value: Value, modulus: i64) -> Vec<Value> {
    let values = 0..remainder(number(value), modulus);
    let made = values.map(|i| Some(number(value).wrapping_mul(10).wrapping_add(i)));
    made.collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "`of` says what they mean")]
pub enum Fold {
    Sum,
    Max,
    Last,
    Mix,
}

impl Fold {
    /// Two values as one.
    pub fn of(self, a: i64, b: i64) -> i64 {
        match self {
            Self::Sum => a.wrapping_add(b),
            Self::Max => a.max(b),
            Self::Last => b,
            Self::Mix => a.wrapping_mul(31).wrapping_add(b),
        }
    }

    /// Takes a row back. It need not be an inverse to show when it is called.
    pub fn taken_back(self, a: i64, b: i64) -> i64 {
        match self {
            Self::Sum => a.wrapping_sub(b),
            Self::Max => a.min(b),
            Self::Last => a.wrapping_sub(1),
            Self::Mix => a.wrapping_mul(37).wrapping_sub(b),
        }
    }
}

/// An aggregate with one more value. In a group of several streams each has a factor of its own.
pub fn added(sum: i64, value: Value, factor: i64) -> i64 {
    sum.wrapping_mul(31)
        .wrapping_add(number(value).wrapping_mul(factor))
}

/// An aggregate from which a row is taken back.
pub fn subtracted(sum: i64, value: i64) -> i64 {
    sum.wrapping_mul(37).wrapping_sub(value)
}

/// Two sessions' aggregates as one.
pub fn merged(a: i64, b: i64) -> i64 {
    a.wrapping_mul(41).wrapping_add(b)
}

/// What a store with a history says: until when a value that was put holds, and what its key was,
/// and since when.
pub fn versions(put: i64, was: Option<(i64, i64)>) -> i64 {
    let was = was.map_or(-7, |(value, since)| {
        value.wrapping_mul(31).wrapping_add(since)
    });
    put.wrapping_mul(1_000_003).wrapping_add(was)
}

/// A join's result. Which side was absent, and which was which, can be told from it.
pub fn joined(left: Value, right: Value) -> i64 {
    let left = left.unwrap_or(-7).wrapping_mul(1009);
    left.wrapping_add(right.unwrap_or(-3))
}
