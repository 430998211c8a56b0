//! Ordered scans of a key-value store: the uncommitted entries merged into the committed ones.
//!
//! Order is the byte order of the encoded keys. It equals the order of the keys themselves for
//! text, unsigned numbers and the `ordered_*` serdes, which is what keys get by default. Invariant:
//! a scan costs what it visits, however much else waits for the next commit.

use super::{
    KeyValueStore,
    stored::{RowBytes, corrupt},
};
use crate::{
    error::{Error, Result},
    record::Timestamp,
    serde::Encoded,
};
use millstream_state::{Direction, SmallBytes};
use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow, RangeBounds},
};

/// From and to.
pub(super) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The uncommitted entries of a store in the order of their keys, as far as a scan has asked for
/// it: most stores are never scanned, and others not between two commits.
#[derive(Default)]
pub(super) struct Ordered {
    keys: BTreeMap<SmallBytes, u32>,
    /// How many of the uncommitted entries are in it, in the order in which they became dirty.
    listed: usize,
}

impl Ordered {
    /// How many of the uncommitted entries have been taken in.
    pub(super) fn listed(&self) -> usize {
        self.listed
    }

    /// Takes in those that came since.
    pub(super) fn extend<'k>(&mut self, entries: impl Iterator<Item = (&'k SmallBytes, u32)>) {
        for (key, slot) in entries {
            self.keys.insert(key.clone(), slot);
            self.listed += 1;
        }
    }

    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.listed = 0;
    }

    /// The entries between two bounds.
    pub(super) fn between(
        &self,
        bounds: Bounds<'_>,
        direction: Direction,
    ) -> impl Iterator<Item = (&[u8], u32)> {
        let mut range = (!is_empty(bounds)).then(|| self.keys.range::<[u8], _>(bounds));
        std::iter::from_fn(move || {
            let next = match direction {
                Direction::Ascending => range.as_mut()?.next(),
                Direction::Descending => range.as_mut()?.next_back(),
            };
            next.map(|(key, slot)| (&**key, *slot))
        })
    }
}

/// Whether no key can lie between the bounds; the standard map panics on some of these.
fn is_empty(bounds: Bounds<'_>) -> bool {
    use Bound::{Excluded, Included, Unbounded};
    match bounds {
        (Unbounded, _) | (_, Unbounded) => false,
        (Included(from), Included(to)) => from > to,
        (Included(from) | Excluded(from), Included(to) | Excluded(to)) => from >= to,
    }
}

/// One side of a range as bytes.
pub(super) fn bound<K>(
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

/// The end of the keys that begin with a prefix: the least key that is greater than all of them.
pub(super) fn after(prefix: &[u8]) -> Bound<Vec<u8>> {
    match prefix.iter().rposition(|&byte| byte < u8::MAX) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            Bound::Excluded(end)
        }
        None => Bound::Unbounded,
    }
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
        let (key, _) = self.formats();
        let encode = |k: &K, out: &mut Vec<u8>| key.encode(k, out);
        let from = bound(keys.start_bound(), encode)?;
        let to = bound(keys.end_bound(), encode)?;
        self.scan((borrowed(&from), borrowed(&to)), direction, |k, v, time| {
            Ok(visit(key.decode(Some(k))?, v, time))
        })
    }

    /// Visits all entries in order.
    ///
    /// # Errors
    /// As [`KeyValueStore::range`].
    pub fn all(&mut self, visit: impl FnMut(K, V, Timestamp) -> ControlFlow<()>) -> Result<()> {
        self.range(.., Direction::Ascending, visit)
    }

    /// Visits the entries whose encoded keys begin with `prefix`, in order, until `visit` breaks:
    /// it gets what follows the prefix. Kafka's `prefixScan`.
    ///
    /// # Errors
    /// As [`KeyValueStore::range`].
    pub fn prefix_scan(
        &mut self,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], V, Timestamp) -> ControlFlow<()>,
    ) -> Result<()> {
        let end = after(prefix);
        let bounds = (Bound::Included(prefix), borrowed(&end));
        self.scan(bounds, Direction::Ascending, |key, value, time| {
            Ok(visit(&key[prefix.len()..], value, time))
        })
    }

    /// Merges what is not committed into what is. That `visit` fails means that the stored bytes
    /// are not what they should be.
    fn scan(
        &mut self,
        bounds: Bounds<'_>,
        direction: Direction,
        mut visit: impl FnMut(&[u8], V, Timestamp) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        self.order();
        let ((_, format), env) = (self.formats(), self.env());
        let mut failed = None;
        let mut emit = |key: &[u8], found: Result<(V, Timestamp)>| {
            let visited = found.and_then(|(value, time)| visit(key, value, time));
            visited.unwrap_or_else(|cause| {
                failed = Some(corrupt(env, &cause));
                ControlFlow::Break(())
            })
        };
        let owned = |(value, time): (&V, Timestamp)| Ok((value.clone(), time));
        let comes_first = |fresh: &[u8], key: &[u8]| match direction {
            Direction::Ascending => fresh < key,
            Direction::Descending => fresh > key,
        };
        let mut fresh = self.uncommitted(bounds, direction).peekable();
        let mut ended = false;
        env.backend
            .scan(env.column, bounds, direction, &mut |key, stored| {
                let mut step = || {
                    while let Some((k, row)) = fresh.next_if(|(k, _)| comes_first(k, key)) {
                        if let Some(row) = row {
                            emit(k, owned(row))?;
                        }
                    }
                    match fresh.next_if(|(k, _)| *k == key) {
                        Some((_, Some(row))) => emit(key, owned(row)),
                        Some((_, None)) => ControlFlow::Continue(()),
                        None => {
                            let found = RowBytes::split(stored)
                                .and_then(|row| Ok((row.decode(format)?, row.timestamp)));
                            emit(key, found)
                        }
                    }
                };
                let flow = step();
                ended = flow.is_break();
                flow
            })?;
        for (key, row) in fresh {
            if ended {
                break;
            }
            if let Some(row) = row {
                ended = emit(key, owned(row)).is_break();
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_key_that_does_not_begin_so() {
        let end = |prefix: &[u8]| after(prefix);
        assert_eq!(end(b"ab"), Bound::Excluded(b"ac".to_vec()));
        assert_eq!(end(&[1, 255, 255]), Bound::Excluded(vec![2]));
        assert_eq!(end(&[255, 255]), Bound::Unbounded);
        assert_eq!(end(b""), Bound::Unbounded);
    }
}
