//! Scans: which keys they visit, in which order, and that they stand still in one state.

use super::{ALL, FIRST, Pairs, SECOND, get, scan};
use crate::{Backend, Direction, Result, WriteBatch};
use std::ops::{Bound, ControlFlow};

/// Every pair of bounds over keys that are there, are not, are empty, or begin one another.
pub(super) fn visits_every_kind_of_range(backend: &dyn Backend) -> Result<()> {
    let keys: [&[u8]; 7] = [b"", b"\0", b"a", b"a\0", b"ab", b"b", b"\xFF\xFF"];
    let mut batch = WriteBatch::new();
    for (n, key) in keys.iter().enumerate() {
        batch.put(SECOND, key, n.to_string().as_bytes());
        batch.put(FIRST, &[*key, b"!"].concat(), b"not of this column");
    }
    backend.apply(&batch)?;
    let absent: [&[u8]; 3] = [b"\0\0", b"aa", b"\xFF"];
    let edges = keys
        .iter()
        .chain(&absent)
        .flat_map(|key| [Bound::Included(*key), Bound::Excluded(*key)]);
    let edges: Vec<Bound<&[u8]>> = edges.chain([Bound::Unbounded]).collect();
    for from in &edges {
        for to in &edges {
            let inside = |key: &[u8]| {
                let above = match from {
                    Bound::Included(from) => key >= *from,
                    Bound::Excluded(from) => key > *from,
                    Bound::Unbounded => true,
                };
                above
                    && match to {
                        Bound::Included(to) => key <= *to,
                        Bound::Excluded(to) => key < *to,
                        Bound::Unbounded => true,
                    }
            };
            let mut expected: Pairs = (keys.iter().enumerate())
                .filter(|(_, key)| inside(key))
                .map(|(n, key)| (key.to_vec(), n.to_string().into_bytes()))
                .collect();
            let found = scan(backend, SECOND, (*from, *to), Direction::Ascending)?;
            assert_eq!(found, expected, "ascending {from:?} to {to:?}");
            expected.reverse();
            let found = scan(backend, SECOND, (*from, *to), Direction::Descending)?;
            assert_eq!(found, expected, "descending {from:?} to {to:?}");
        }
    }
    Ok(())
}

pub(super) fn stops_and_stand_still(backend: &dyn Backend) -> Result<()> {
    let mut batch = WriteBatch::new();
    for n in 0..100_u8 {
        batch.put(FIRST, &[n], b"old");
    }
    backend.apply(&batch)?;
    let mut seen = 0;
    backend.scan(FIRST, ALL, Direction::Ascending, &mut |_, _| {
        seen += 1;
        if seen == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    assert_eq!(seen, 3, "a scan ends where its visitor breaks");

    // The visitor itself changes what lies ahead: the scan must go on in the state it began with.
    for direction in [Direction::Ascending, Direction::Descending] {
        let (mut seen, mut failed) = (0, None);
        backend.scan(FIRST, ALL, direction, &mut |_, value| {
            assert_eq!(value, b"old", "a scan sees one state");
            seen += 1;
            if seen == 1 {
                let mut batch = WriteBatch::new();
                for n in 0..100_u8 {
                    batch.put(FIRST, &[n, n], b"between");
                    batch.delete(FIRST, &[n]);
                }
                failed = backend.apply(&batch).err();
            }
            ControlFlow::Continue(())
        })?;
        failed.map_or(Ok(()), Err)?;
        assert_eq!(seen, 100);
        assert_eq!(get(backend, FIRST, &[9])?, None);
        backend.clear(FIRST)?;
        backend.apply(&batch)?;
    }
    Ok(())
}
