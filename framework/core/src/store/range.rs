//! Ordered scans of a key-value store: the uncommitted entries merged into the committed ones.
//!
//! Order is the byte order of the encoded keys. It equals the order of the keys themselves for
//! text, unsigned numbers and the `ordered_*` serdes, which is what keys get by default.

use super::{
    KeyValueStore,
    key_value::{corrupt, split_stamp},
};
use crate::{
    error::{Error, Result},
    record::Timestamp,
    serde::Encoded,
};
use millstream_state::Direction;
use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow, RangeBounds},
};

/// One side of a range as bytes.
fn bound<K>(
    side: Bound<&K>,
    encode: impl Fn(&K, &mut Vec<u8>) -> Result<Encoded>,
) -> Result<Bound<Vec<u8>>> {
    let bytes = |key: &K| {
        let mut out = Vec::new();
        match encode(key, &mut out)? {
            Encoded::Bytes => Ok(out),
            Encoded::Null => Err(Error::processing(
                "a range cannot begin or end at a null key",
            )),
        }
    };
    Ok(match side {
        Bound::Included(key) => Bound::Included(bytes(key)?),
        Bound::Excluded(key) => Bound::Excluded(bytes(key)?),
        Bound::Unbounded => Bound::Unbounded,
    })
}

fn borrowed(side: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    side.as_ref().map(Vec::as_slice)
}

impl<K: 'static, V: Clone + 'static> KeyValueStore<K, V> {
    /// Visits the entries of a range of keys in order, until `visit` breaks.
    ///
    /// # Errors
    /// Where storage fails or stored bytes cannot be decoded.
    pub fn range(
        &mut self,
        keys: impl RangeBounds<K>,
        direction: Direction,
        mut visit: impl FnMut(K, V, Timestamp) -> ControlFlow<()>,
    ) -> Result<()> {
        let (key, value) = self.serdes();
        let encode = |k: &K, out: &mut Vec<u8>| key.encode(k, out);
        let from = bound(keys.start_bound(), encode)?;
        let to = bound(keys.end_bound(), encode)?;
        let bounds = (borrowed(&from), borrowed(&to));
        let mut fresh = self.fresh(bounds);
        let mut failed = None;
        let env = self.env();
        let mut emit = |k: &[u8], found: Result<(V, Timestamp)>| match found
            .and_then(|(value, time)| Ok((key.decode(Some(k))?, value, time)))
        {
            Ok((key, value, time)) => visit(key, value, time),
            Err(cause) => {
                failed = Some(corrupt(env, &cause));
                ControlFlow::Break(())
            }
        };
        let mut ended = false;
        env.backend
            .scan(env.column, bounds, direction, &mut |k, stored| {
                let mut step = || {
                    while let Some((fresh_key, entry)) = take_before(&mut fresh, k, direction) {
                        if let Some((value, time)) = entry {
                            emit(&fresh_key, Ok((value, time)))?;
                        }
                    }
                    match fresh.remove(k) {
                        Some(None) => ControlFlow::Continue(()),
                        Some(Some((value, time))) => emit(k, Ok((value, time))),
                        None => emit(
                            k,
                            split_stamp(stored)
                                .and_then(|(time, bytes)| Ok((value.decode(Some(bytes))?, time))),
                        ),
                    }
                };
                let flow = step();
                ended = flow.is_break();
                flow
            })?;
        while !ended {
            let next = match direction {
                Direction::Ascending => fresh.pop_first(),
                Direction::Descending => fresh.pop_last(),
            };
            match next {
                Some((k, Some((value, time)))) => ended = emit(&k, Ok((value, time))).is_break(),
                Some((_, None)) => {}
                None => break,
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Visits all entries in order.
    ///
    /// # Errors
    /// As [`KeyValueStore::range`].
    pub fn all(&mut self, visit: impl FnMut(K, V, Timestamp) -> ControlFlow<()>) -> Result<()> {
        self.range(.., Direction::Ascending, visit)
    }

    /// The uncommitted entries within bounds, sorted; `None` marks a deleted key.
    fn fresh(&self, bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> Fresh<V> {
        let inside = |key: &[u8]| RangeBounds::<[u8]>::contains(&bounds, key);
        (self.uncommitted())
            .filter(|(key, ..)| inside(key))
            .map(|(key, value, time)| (key.to_vec(), value.map(|v| (v.clone(), time))))
            .collect()
    }
}

/// An uncommitted row; `None` marks a deleted one.
type Row<V> = Option<(V, Timestamp)>;
type Fresh<V> = BTreeMap<Vec<u8>, Row<V>>;

/// Takes the next uncommitted entry if it comes before a committed key.
fn take_before<V>(
    fresh: &mut Fresh<V>,
    key: &[u8],
    direction: Direction,
) -> Option<(Vec<u8>, Row<V>)> {
    match direction {
        Direction::Ascending => {
            let first = fresh.first_entry()?;
            (first.key().as_slice() < key).then(|| first.remove_entry())
        }
        Direction::Descending => {
            let last = fresh.last_entry()?;
            (last.key().as_slice() > key).then(|| last.remove_entry())
        }
    }
}
