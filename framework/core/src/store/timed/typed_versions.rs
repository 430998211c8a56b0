//! How whoever knows the types of a versioned store reads its committed rows.
//!
//! Invariant: a reader says of a key's past what the store itself would: nothing of what ended
//! before the history began, and what holds now however long it has.

use super::{
    At, TimedShape, Version, keys,
    typed::{placed, prefix},
    version_rows::{self, NOW, WIDE},
};
use crate::{
    error::Result,
    record::Timestamp,
    serde::{Apart, Serde},
    store::{KeyBounds, Materialized, RowBytes, StoreKind, StoreLayout},
};
use std::ops::Bound;

/// The rows of a versioned store.
///
/// ```
/// use millstream_core::{
///     prelude::*,
///     store::{StoreKind, StoreLayout, VersionRows, versions_of},
/// };
///
/// let shape = VersionRows::<String, u64>::shape(5_000);
/// let layout = StoreLayout::new(StoreKind::Versioned(shape), utf8(), versions_of(u64_be()));
/// let rows = VersionRows::<String, u64>::of(&"rates".into(), &layout)?;
/// let now = rows.now(&"euro".to_owned())?;
/// let stored = [&[0, 0, 0, 0, 0, 0, 0, 9, 1][..], &3_u64.to_be_bytes()].concat();
/// let version = rows.version(&now, &stored)?.unwrap();
/// assert_eq!((version.value, version.since, version.until), (3, 9, None));
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub struct VersionRows<K: 'static, V: 'static> {
    key: Serde<K>,
    value: Apart<V>,
}

impl<K, V> Clone for VersionRows<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for VersionRows<K, V> {}

impl<K: 'static, V: 'static> VersionRows<K, V> {
    /// What a versioned store is as a store of rows by time, with a history so long.
    pub const fn shape(retention: Timestamp) -> TimedShape {
        super::VersionedStore::<K, V>::shape(retention)
    }

    /// The rows of a store, which is asked for with a name and serdes.
    ///
    /// # Errors
    /// Where the store is not versioned, or has other serdes.
    pub fn of(asked: &Materialized<K, V>, found: &StoreLayout) -> Result<Self> {
        let (key, value) = (asked.key, asked.value.apart());
        if !matches!(found.kind, StoreKind::Versioned(_)) {
            return Err(found.is_no(&asked.name, "a versioned store"));
        }
        let names = (key.codec().name(), version_rows::name(value.bytes));
        found.holds(&asked.name, &names.0, &names.1)?;
        Ok(Self { key, value })
    }

    /// Where the version of a key lies that holds now.
    ///
    /// # Errors
    /// Where the key is null, or cannot be encoded.
    pub fn now(&self, key: &K) -> Result<Vec<u8>> {
        Ok(placed(prefix(self.key, key)?, NOW, WIDE))
    }

    /// Where the versions of a key lie that held after a time or at it, in the order of their
    /// times. The first of them is the only one that can have held at the time.
    ///
    /// # Errors
    /// As [`VersionRows::now`].
    pub fn since(&self, key: &K, time: Timestamp) -> Result<KeyBounds> {
        let prefix = prefix(self.key, key)?;
        let from = placed(prefix.clone(), At::first(time.saturating_add(1)), WIDE);
        let to = placed(prefix, NOW, WIDE);
        Ok((Bound::Included(from), Bound::Included(to)))
    }

    /// Whether the history tells of a row at a time, or of times before, once it begins at
    /// `horizon`: what had ended by then is not known exactly, so none of it is.
    pub fn is_told(&self, key: &[u8], time: Timestamp, horizon: Timestamp) -> bool {
        time >= horizon || keys::split(key, WIDE).is_none_or(|(_, at)| at == NOW)
    }

    /// What a row says; `None` for a stretch in which its key was deleted.
    ///
    /// # Errors
    /// Where its bytes are not what the serdes write.
    pub fn version(&self, key: &[u8], stored: &[u8]) -> Result<Option<Version<V>>> {
        let (_, at) = keys::parts(key, WIDE)?;
        let mut row = RowBytes::split(stored)?;
        let value = version_rows::split(Some(row.value))?.map(|bytes| {
            row.value = bytes;
            row.decode(self.value)
        });
        let value = value.transpose()?;
        let (since, until) = if at == NOW {
            (row.timestamp, None)
        } else {
            (at.second, Some(at.time))
        };
        Ok(value.map(|value| Version {
            value,
            since,
            until,
        }))
    }
}
