//! How whoever knows the types of a window or session store reads its committed rows.
//!
//! Invariant: the rows of a key lie together, in the order of their times, so that what is asked
//! for of one key is never looked for beyond it.

use super::{At, TimedKind, keys};
use crate::{
    error::Result,
    record::Timestamp,
    serde::{Apart, Serde},
    store::{
        KeyBounds, Materialized, StoreKind, StoreLayout, ValueAndTimestamp, range::after,
        stored::RowBytes, typed::key_bytes,
    },
    window::{Window, Windowed},
};
use millstream_state::ordered;
use std::ops::{Bound, RangeBounds};

/// The rows of a store of windows or of sessions.
///
/// ```
/// use millstream_core::{
///     prelude::*,
///     store::{StoreKind, StoreLayout, TimedKind, TimedRows, TimedShape},
/// };
///
/// let kind = TimedKind::Window(1_000);
/// let shape = TimedShape { kind, retention: 5_000, wide: false };
/// let layout = StoreLayout::new(StoreKind::Timed(shape), utf8(), u64_be());
/// let rows = TimedRows::<String, u64>::windows(&"counts".into(), &layout)?;
/// let place = rows.place(&"apple".to_owned(), Window::new(3_000, 4_000))?;
/// let stored = [[0, 0, 0, 0, 0, 0, 12, 0], 3_u64.to_be_bytes()].concat();
/// let (key, row) = rows.row(&place, &stored)?;
/// assert_eq!((&*key.key, key.window), ("apple", Window::new(3_000, 4_000)));
/// assert_eq!((row.value, row.timestamp), (3, 3_072));
/// assert!(TimedRows::<String, u64>::sessions(&"counts".into(), &layout).is_err());
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub struct TimedRows<K: 'static, V: 'static> {
    key: Serde<K>,
    value: Apart<V>,
    kind: TimedKind,
    wide: bool,
}

impl<K, V> Clone for TimedRows<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for TimedRows<K, V> {}

impl<K: 'static, V: 'static> TimedRows<K, V> {
    /// The rows of a store of windows, or of a join of streams.
    ///
    /// # Errors
    /// Where the store is none of those, or has other serdes.
    pub fn windows(asked: &Materialized<K, V>, found: &StoreLayout) -> Result<Self> {
        let is_asked = |kind| !matches!(kind, TimedKind::Session);
        Self::of(asked, found, is_asked, "a window store")
    }

    /// The rows of a store of sessions.
    ///
    /// # Errors
    /// As [`TimedRows::windows`].
    pub fn sessions(asked: &Materialized<K, V>, found: &StoreLayout) -> Result<Self> {
        let is_asked = |kind| matches!(kind, TimedKind::Session);
        Self::of(asked, found, is_asked, "a session store")
    }

    fn of(
        asked: &Materialized<K, V>,
        found: &StoreLayout,
        is_asked: impl Fn(TimedKind) -> bool,
        kind: &str,
    ) -> Result<Self> {
        let shape = match found.kind {
            StoreKind::Timed(shape) if is_asked(shape.kind) => shape,
            _ => return Err(found.is_no(&asked.name, kind)),
        };
        let (key, value) = (asked.key, asked.value.apart());
        found.holds(&asked.name, &key.codec().name(), &value.name())?;
        Ok(Self {
            key,
            value,
            kind: shape.kind,
            wide: shape.wide,
        })
    }

    /// Whether several rows of a key may have one time.
    pub fn is_wide(&self) -> bool {
        self.wide
    }

    /// Where the row of a key's window lies.
    ///
    /// # Errors
    /// Where the key is null, or cannot be encoded.
    pub fn place(&self, key: &K, window: Window) -> Result<Vec<u8>> {
        Ok(self.at(self.prefix(key)?, self.kind.at(window)))
    }

    /// Where the rows of a key lie whose times are in a range: the starts of windows, and the ends
    /// of sessions.
    ///
    /// # Errors
    /// As [`TimedRows::place`].
    pub fn of_key(&self, key: &K, times: &impl RangeBounds<Timestamp>) -> Result<KeyBounds> {
        let prefix = self.prefix(key)?;
        let from = match times.start_bound() {
            Bound::Included(&time) => Bound::Included(At::first(time)),
            Bound::Excluded(&time) => Bound::Excluded(At::last(time)),
            Bound::Unbounded => Bound::Included(At::first(Timestamp::MIN)),
        };
        let to = match times.end_bound() {
            Bound::Included(&time) => Bound::Included(At::last(time)),
            Bound::Excluded(&time) => Bound::Excluded(At::first(time)),
            Bound::Unbounded => Bound::Included(At::last(Timestamp::MAX)),
        };
        let from = from.map(|at| self.at(prefix.clone(), at));
        Ok((from, to.map(|at| self.at(prefix, at))))
    }

    /// Where all rows of a range of keys lie, in the order of the keys' bytes.
    ///
    /// # Errors
    /// As [`TimedRows::place`].
    pub fn of_keys(&self, keys: &impl RangeBounds<K>) -> Result<KeyBounds> {
        let behind = |prefix: Vec<u8>| match after(&prefix) {
            Bound::Excluded(end) | Bound::Included(end) => end,
            // No prefix consists of the greatest byte alone, as all end in zeros.
            Bound::Unbounded => prefix,
        };
        let from = match keys.start_bound() {
            Bound::Included(key) => Bound::Included(self.prefix(key)?),
            Bound::Excluded(key) => Bound::Included(behind(self.prefix(key)?)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let to = match keys.end_bound() {
            Bound::Included(key) => Bound::Excluded(behind(self.prefix(key)?)),
            Bound::Excluded(key) => Bound::Excluded(self.prefix(key)?),
            Bound::Unbounded => Bound::Unbounded,
        };
        Ok((from, to))
    }

    /// The stretch of time of a row; `None` for what is no row.
    pub fn window_of(&self, key: &[u8]) -> Option<Window> {
        keys::split(key, self.wide).map(|(_, at)| self.kind.window(at))
    }

    /// What a row says.
    ///
    /// # Errors
    /// Where its bytes are not what the serdes write.
    pub fn row(&self, key: &[u8], stored: &[u8]) -> Result<(Windowed<K>, ValueAndTimestamp<V>)> {
        let (bytes, at) = keys::read(key, self.wide)?;
        let key = Windowed::new(self.key.decode(Some(&bytes))?, self.kind.window(at));
        Ok((key, self.value(stored)?))
    }

    /// What a row says besides its key.
    ///
    /// # Errors
    /// As [`TimedRows::row`].
    pub fn window_row(&self, key: &[u8], stored: &[u8]) -> Result<(Window, ValueAndTimestamp<V>)> {
        let (_, at) = keys::parts(key, self.wide)?;
        Ok((self.kind.window(at), self.value(stored)?))
    }

    /// What a row says besides its key and its time.
    ///
    /// # Errors
    /// As [`TimedRows::row`].
    pub fn value(&self, stored: &[u8]) -> Result<ValueAndTimestamp<V>> {
        let row = RowBytes::split(stored)?;
        Ok(ValueAndTimestamp {
            value: row.decode(self.value)?,
            timestamp: row.timestamp,
        })
    }

    fn prefix(&self, key: &K) -> Result<Vec<u8>> {
        prefix(self.key, key)
    }

    fn at(&self, prefix: Vec<u8>, at: At) -> Vec<u8> {
        placed(prefix, at, self.wide)
    }
}

/// What all places of a key's rows begin with.
pub(super) fn prefix<K>(serde: Serde<K>, key: &K) -> Result<Vec<u8>> {
    let mut prefix = Vec::new();
    ordered::put_bytes(&mut prefix, &key_bytes(serde, key)?);
    Ok(prefix)
}

/// The place of a key's row, given what all of them begin with.
pub(super) fn placed(mut prefix: Vec<u8>, at: At, wide: bool) -> Vec<u8> {
    keys::put_at(&mut prefix, at, wide);
    prefix
}
