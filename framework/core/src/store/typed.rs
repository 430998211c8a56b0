//! How whoever knows a store's types reads its committed rows: which bytes to ask the backend for,
//! and what they say.
//!
//! It is for readers outside the store's task, so that nothing here knows of what is not committed.
//! Invariant: a reader is made only of serdes that write what the store's own do, as far as their
//! names tell, so that no row is taken for what it is not.

use super::{
    Materialized, TimedKind, TimedShape,
    lru::split_use,
    range::{after, bound},
    stored::RowBytes,
};
use crate::{
    error::{Error, Result},
    record::Timestamp,
    serde::{Apart, Encoded, Serde},
};
use millstream_state::{Fit, shown_apart};
use std::{
    fmt,
    ops::{Bound, RangeBounds},
};

/// From and to, as bytes of keys in a store's column.
pub type KeyBounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// A value and when it last changed, in milliseconds. Kafka's `ValueAndTimestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueAndTimestamp<V> {
    /// The value.
    pub value: V,
    /// When it last changed.
    pub timestamp: Timestamp,
}

/// How a store's rows lie.
#[derive(Clone, Copy, Debug)]
pub enum StoreKind {
    /// A value by key; so do those of global tables.
    KeyValue,
    /// The same, each value behind the number of its last use.
    Lru,
    /// By key and time.
    Timed(TimedShape),
    /// By key and the time at which they ended, which for what holds is the end of time.
    Versioned(TimedShape),
}

impl StoreKind {
    /// What the rows are by which they expire, where they do.
    pub fn expires(self) -> Option<TimedShape> {
        match self {
            Self::Timed(shape) | Self::Versioned(shape) => {
                (shape.retention < Timestamp::MAX).then_some(shape)
            }
            Self::KeyValue | Self::Lru => None,
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::KeyValue | Self::Lru => "a key-value store",
            Self::Timed(shape) => match shape.kind {
                TimedKind::Window(_) | TimedKind::Instant => "a window store",
                TimedKind::Session => "a session store",
            },
            Self::Versioned(_) => "a versioned store",
        };
        f.write_str(kind)
    }
}

/// What a store's rows are to those who read them from outside: how they lie, and the names of the
/// formats of keys and values.
#[derive(Clone, Debug)]
pub struct StoreLayout {
    /// How they lie.
    pub kind: StoreKind,
    /// What the bytes of keys are.
    pub key: String,
    /// What the bytes of values are.
    pub value: String,
}

impl StoreLayout {
    /// Rows of that kind, with these serdes.
    pub fn new<K, V>(kind: StoreKind, key: Serde<K>, value: Serde<V>) -> Self {
        let (key, value) = (key.codec().name(), value.apart().name());
        Self { kind, key, value }
    }

    /// An error for serdes of other names, as the check at start has them.
    pub(super) fn holds(&self, store: &str, key: &str, value: &str) -> Result<()> {
        for (what, found, asked) in [("keys", &*self.key, key), ("values", &*self.value, value)] {
            if !Fit::between(found, asked).is_readable() {
                let (found, asked) = shown_apart(found, asked);
                return Err(Error::topology(format!(
                    "the {what} of the store {store:?} are {found}, and it is asked for with \
                     {asked}: its rows would be misread"
                )));
            }
        }
        Ok(())
    }

    /// The error for one who asks for a store of another kind.
    #[cold]
    pub(super) fn is_no(&self, store: &str, asked: &str) -> Error {
        Error::topology(format!(
            "{store:?} is {}, and it is asked for as {asked}",
            self.kind
        ))
    }
}

/// The bytes of a key.
pub(super) fn key_bytes<K>(serde: Serde<K>, key: &K) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match serde.encode(key, &mut bytes)? {
        Encoded::Bytes => Ok(bytes),
        Encoded::Null => Err(Error::deserialization("a store has no null key")),
    }
}

/// The rows of a key-value store, or of a global table.
///
/// ```
/// use millstream_core::{
///     prelude::*,
///     store::{KeyValueRows, StoreKind, StoreLayout},
/// };
///
/// let layout = StoreLayout::new(StoreKind::KeyValue, utf8(), u64_be());
/// let rows = KeyValueRows::<String, u64>::of(&"counts".into(), &layout)?;
/// let key = rows.key(&"apple".to_owned())?;
/// // Eight bytes say when the value last changed.
/// let stored = [[0, 0, 0, 0, 0, 0, 0, 5], 3_u64.to_be_bytes()].concat();
/// let (key, row) = rows.row(&key, &stored)?;
/// assert_eq!((&*key, row.value, row.timestamp), ("apple", 3, 5));
/// assert!(KeyValueRows::<String, String>::of(&"counts".into(), &layout).is_err());
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub struct KeyValueRows<K: 'static, V: 'static> {
    key: Serde<K>,
    value: Apart<V>,
    /// Whether values stand behind the numbers of their uses.
    used: bool,
}

impl<K, V> Clone for KeyValueRows<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for KeyValueRows<K, V> {}

impl<K: 'static, V: 'static> KeyValueRows<K, V> {
    /// The rows of a store, which is asked for with a name and serdes.
    ///
    /// # Errors
    /// Where the store is none of values by key, or has other serdes.
    pub fn of(asked: &Materialized<K, V>, found: &StoreLayout) -> Result<Self> {
        let (key, value) = (asked.key, asked.value.apart());
        let used = match found.kind {
            StoreKind::KeyValue => false,
            StoreKind::Lru => true,
            StoreKind::Timed(_) | StoreKind::Versioned(_) => {
                return Err(found.is_no(&asked.name, "a key-value store"));
            }
        };
        found.holds(&asked.name, &key.codec().name(), &value.name())?;
        Ok(Self { key, value, used })
    }

    /// Where the row of a key lies.
    ///
    /// # Errors
    /// Where the key is null, or cannot be encoded.
    pub fn key(&self, key: &K) -> Result<Vec<u8>> {
        key_bytes(self.key, key)
    }

    /// Where the rows of a range of keys lie, in the order of the keys' bytes.
    ///
    /// # Errors
    /// As [`KeyValueRows::key`].
    pub fn range(&self, keys: &impl RangeBounds<K>) -> Result<KeyBounds> {
        let encode = |key: &K, out: &mut Vec<u8>| self.key.encode(key, out);
        let from = bound(keys.start_bound(), encode)?;
        Ok((from, bound(keys.end_bound(), encode)?))
    }

    /// Where the rows lie of whose keys the bytes begin so.
    pub fn beginning_with(&self, prefix: &[u8]) -> KeyBounds {
        (Bound::Included(prefix.to_vec()), after(prefix))
    }

    /// What a row says.
    ///
    /// # Errors
    /// Where its bytes are not what the serdes write.
    pub fn row(&self, key: &[u8], stored: &[u8]) -> Result<(K, ValueAndTimestamp<V>)> {
        Ok((self.key.decode(Some(key))?, self.value(stored)?))
    }

    /// What a row says besides its key.
    ///
    /// # Errors
    /// As [`KeyValueRows::row`].
    pub fn value(&self, stored: &[u8]) -> Result<ValueAndTimestamp<V>> {
        let mut row = RowBytes::split(stored)?;
        if self.used {
            row.value = split_use(row.value)?.1;
        }
        Ok(ValueAndTimestamp {
            value: row.decode(self.value)?,
            timestamp: row.timestamp,
        })
    }
}
