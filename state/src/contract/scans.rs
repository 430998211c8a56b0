//! Scans: which keys they visit, in which order, and that they stand still in one state.

use super::{ALL, FIRST, Pairs, SECOND, get, position, scan};
use crate::{Backend, Direction, Result, WriteBatch, ordered};
use std::ops::{Bound, ControlFlow, RangeBounds};

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

/// Fields that begin one another, or look like the end of one, each with rows at several times, and
/// keys that are no fields between them. What a backend knows of fields must not hide a row.
pub(super) fn visits_the_rows_of_one_field(backend: &dyn Backend) -> Result<()> {
    let fields: [&[u8]; 7] = [b"", b"\0", b"\0\0", b"a", b"a\0", b"a\0\x01", b"b"];
    let row = |field: &[u8], time: i64| {
        let mut key = Vec::new();
        ordered::put_bytes(&mut key, field);
        ordered::put_i64(&mut key, time);
        key
    };
    let rows = |times: &[i64]| -> Vec<Vec<u8>> {
        let places = (fields.iter()).flat_map(|field| times.iter().map(move |time| (field, time)));
        places.map(|(field, time)| row(field, *time)).collect()
    };
    let bare: [&[u8]; 5] = [b"", b"\0", b"a", b"a\0\x01", b"b\0\xFF"];
    let mut batch = WriteBatch::new();
    for key in bare.map(<[u8]>::to_vec).iter().chain(&rows(&[-1, 7, 8])) {
        batch.put(FIRST, key, key);
    }
    // With positions, so that what is held back is looked through too, and a look beforehand, for
    // what a backend notes of it.
    batch.set_position(FIRST, position(1));
    let (from, to) = (row(b"a", 0), row(b"a", 9));
    let a = (
        Bound::Included(from.as_slice()),
        Bound::Included(to.as_slice()),
    );
    backend.apply(&batch)?;
    batch.clear();
    assert_eq!(scan(backend, FIRST, a, Direction::Ascending)?.len(), 2);
    // What was not there at that look is of other fields, too.
    batch.put(FIRST, &row(b"c\0", 7), b"late");
    // Of some fields there are deletions only.
    for key in rows(&[7, 8]).iter().chain(&rows(&[-1])[2..4]) {
        batch.delete(FIRST, key);
    }
    batch.put(FIRST, &row(b"a", 8), b"again");
    batch.set_position(FIRST, position(2));
    backend.apply(&batch)?;
    let all = scan(backend, FIRST, ALL, Direction::Ascending)?;
    assert_eq!(all.len(), bare.len() + fields.len() - 2 + 2);
    for field in fields.iter().chain(&[&b"c"[..], b"c\0"]) {
        let prefix = row(field, 0)[..row(field, 0).len() - 8].to_vec();
        let (first, last, mut end) = (row(field, -1), row(field, 8), prefix.clone());
        assert!(ordered::prefix_end(&mut end));
        for bounds in [
            (Bound::Included(&prefix), Bound::Excluded(&end)),
            (Bound::Included(&first), Bound::Excluded(&end)),
            (Bound::Excluded(&first), Bound::Included(&last)),
            (Bound::Included(&first), Bound::Excluded(&last)),
            (Bound::Included(&first), Bound::Unbounded),
            (Bound::Excluded(&prefix), Bound::Included(&end)),
        ] {
            let bounds = (bounds.0.map(Vec::as_slice), bounds.1.map(Vec::as_slice));
            let inside = |(key, _): &&(Vec<u8>, Vec<u8>)| bounds.contains(key.as_slice());
            let mut expected: Pairs = all.iter().filter(inside).cloned().collect();
            let found = scan(backend, FIRST, bounds, Direction::Ascending)?;
            assert_eq!(found, expected, "ascending {bounds:?}");
            expected.reverse();
            let found = scan(backend, FIRST, bounds, Direction::Descending)?;
            assert_eq!(found, expected, "descending {bounds:?}");
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

/// Rows below, rows above, and deletions of some: a scan of so many rows visits the first ones of
/// them all, from either end.
pub(super) fn visits_no_more_than_asked(backend: &dyn Backend) -> Result<()> {
    let mut batch = WriteBatch::new();
    (0..40_u8).for_each(|n| batch.put(FIRST, &[n], b"old"));
    batch.set_position(FIRST, position(1));
    backend.apply(&batch)?;
    backend.flush()?;
    batch.clear();
    for n in 0..50_u8 {
        match n % 5 {
            0 | 1 => batch.delete(FIRST, &[n]),
            2 | 3 => batch.put(FIRST, &[n], b"new"),
            _ => {}
        }
    }
    batch.set_position(FIRST, position(2));
    backend.apply(&batch)?;
    let bounds = (Bound::Excluded(&[1][..]), Bound::Included(&[47][..]));
    for direction in [Direction::Ascending, Direction::Descending] {
        let all = scan(backend, FIRST, bounds, direction)?;
        for limit in 0..=all.len() + 1 {
            let mut seen = Pairs::new();
            backend.scan_first(FIRST, bounds, (direction, limit), &mut |key, value| {
                seen.push((key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            })?;
            assert_eq!(seen, all[..limit.min(all.len())], "{direction:?} {limit}");
        }
    }
    Ok(())
}
