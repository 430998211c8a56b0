//! What every [`Backend`] must do, as one suite that each implementation's tests run.
//!
//! Invariant: the suite knows nothing but the trait, so that a task cannot tell backends apart by
//! anything but speed. A check that fails panics with what was expected, as assertions do; an error
//! that the backend itself reports comes back as one.

use crate::{Backend, Column, Direction, Error, Position, Presence, Result, WriteBatch};
use std::ops::{Bound, ControlFlow};

mod scans;
mod threads;

/// The columns that a backend under test must have been opened with.
pub const COLUMNS: [&str; 3] = ["first", "second", "third"];

const FIRST: Column = Column(0);
const SECOND: Column = Column(1);
const THIRD: Column = Column(2);
const UNKNOWN: Column = Column(3);

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;
type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// A position with a different number in every field, all made from one.
#[must_use]
pub fn position(offset: i64) -> Position {
    Position {
        offset,
        reach: offset,
        topic_id: u128::MAX - offset.unsigned_abs() as u128,
        applied_at: -offset,
        transaction: offset.unsigned_abs() + 7,
    }
}

/// Reads one value, or `None`.
///
/// # Errors
/// Those of the backend.
pub fn get(backend: &dyn Backend, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut out = b"left from an earlier read".to_vec();
    let presence = backend.get(column, key, &mut out)?;
    assert!(
        presence == Presence::Found || out.is_empty(),
        "a missing key leaves the buffer empty"
    );
    Ok((presence == Presence::Found).then_some(out))
}

/// Collects a range.
///
/// # Errors
/// Those of the backend.
pub fn scan(
    backend: &dyn Backend,
    column: Column,
    bounds: Bounds<'_>,
    direction: Direction,
) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    backend.scan(column, bounds, direction, &mut |key, value| {
        pairs.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    Ok(pairs)
}

/// Runs the whole suite; `fresh` makes an empty backend with [`COLUMNS`] each time it is called.
///
/// # Errors
/// Those of the backend.
///
/// # Panics
/// Where the backend breaks the contract.
pub fn check(fresh: &dyn Fn() -> Box<dyn Backend>) -> Result<()> {
    starts_empty(&*fresh())?;
    reads_what_was_written(&*fresh())?;
    takes_big_values(&*fresh())?;
    scans::visits_every_kind_of_range(&*fresh())?;
    scans::visits_the_rows_of_one_field(&*fresh())?;
    scans::stops_and_stand_still(&*fresh())?;
    scans::visits_no_more_than_asked(&*fresh())?;
    keeps_positions_with_data(&*fresh())?;
    keeps_the_reach_of_a_topic(&*fresh())?;
    refuses_unknown_columns_whole(&*fresh())?;
    clears_one_column(&*fresh())?;
    threads::shows_whole_batches_to_other_threads(&*fresh())
}

/// For backends that keep their data: `open` opens the same place each time, empty at first.
///
/// # Errors
/// Those of the backend.
///
/// # Panics
/// Where something is lost between two openings.
pub fn check_reopen(open: &dyn Fn() -> Box<dyn Backend>) -> Result<()> {
    let mut batch = WriteBatch::new();
    for round in 0..4_u8 {
        let backend = open();
        let kept = scan(&*backend, FIRST, ALL, Direction::Ascending)?;
        assert_eq!(
            kept,
            (0..round).map(|n| (vec![n], vec![n])).collect::<Pairs>()
        );
        let expected = (round > 0).then(|| position(i64::from(round) - 1));
        assert_eq!(
            backend.position(FIRST)?,
            expected,
            "the position outlives a restart"
        );
        assert_eq!(
            get(&*backend, SECOND, b"overwritten")?,
            (round > 0).then(|| vec![round - 1])
        );
        assert_eq!(scan(&*backend, THIRD, ALL, Direction::Ascending)?, []);
        batch.clear();
        batch.put(FIRST, &[round], &[round]);
        batch.put(SECOND, b"overwritten", &[round]);
        batch.put(THIRD, b"cleared", b"");
        batch.set_position(FIRST, position(i64::from(round)));
        backend.apply(&batch)?;
        backend.clear(THIRD)?;
        if round == 1 {
            backend.flush()?;
        }
    }
    Ok(())
}

const ALL: Bounds<'static> = (Bound::Unbounded, Bound::Unbounded);

fn starts_empty(backend: &dyn Backend) -> Result<()> {
    assert_eq!(backend.columns(), COLUMNS);
    for column in [FIRST, SECOND, THIRD] {
        assert_eq!(get(backend, column, b"")?, None);
        assert_eq!(backend.position(column)?, None);
        assert_eq!(scan(backend, column, ALL, Direction::Descending)?, []);
        backend.clear(column)?;
    }
    backend.apply(&WriteBatch::new())?;
    backend.flush()
}

fn reads_what_was_written(backend: &dyn Backend) -> Result<()> {
    let mut batch = WriteBatch::new();
    batch.put(FIRST, b"a", b"1");
    batch.put(FIRST, b"", b"the empty key is a key");
    batch.put(FIRST, b"empty", b"");
    batch.put(FIRST, b"twice", b"old");
    batch.put(FIRST, b"twice", b"new");
    batch.put(FIRST, b"gone", b"x");
    batch.delete(FIRST, b"gone");
    batch.delete(FIRST, b"back");
    batch.put(FIRST, b"back", b"again");
    batch.delete(FIRST, b"never was");
    batch.put_parts(SECOND, b"a", &[b"an", b"", b"other column"]);
    backend.apply(&batch)?;
    let read = |column, key: &[u8]| get(backend, column, key);
    assert_eq!(read(FIRST, b"a")?.as_deref(), Some(&b"1"[..]));
    assert_eq!(
        read(FIRST, b"")?.as_deref(),
        Some(&b"the empty key is a key"[..])
    );
    assert_eq!(
        read(FIRST, b"empty")?.as_deref(),
        Some(&b""[..]),
        "an empty value is a value"
    );
    assert_eq!(
        read(FIRST, b"twice")?.as_deref(),
        Some(&b"new"[..]),
        "the later entry wins"
    );
    assert_eq!(read(FIRST, b"gone")?, None);
    assert_eq!(read(FIRST, b"back")?.as_deref(), Some(&b"again"[..]));
    assert_eq!(read(FIRST, b"never was")?, None);
    assert_eq!(read(SECOND, b"a")?.as_deref(), Some(&b"another column"[..]));
    assert_eq!(read(SECOND, b"twice")?, None, "columns share no keys");
    assert!(
        backend.stats().keys_estimate > 0,
        "a size is known once there is data"
    );

    batch.clear();
    batch.delete(FIRST, b"a");
    batch.put(FIRST, b"twice", b"and a longer value than before");
    backend.apply(&batch)?;
    assert_eq!(read(FIRST, b"a")?, None);
    assert_eq!(
        read(FIRST, b"twice")?.as_deref(),
        Some(&b"and a longer value than before"[..])
    );
    assert_eq!(read(SECOND, b"a")?.as_deref(), Some(&b"another column"[..]));
    Ok(())
}

fn takes_big_values(backend: &dyn Backend) -> Result<()> {
    let big: Vec<u8> = (0..5_u32 << 20)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    let long_key = vec![0xAB; 60_000];
    let mut batch = WriteBatch::new();
    batch.put(FIRST, b"big", &big);
    batch.put(FIRST, &long_key, b"long key");
    backend.apply(&batch)?;
    assert!(get(backend, FIRST, b"big")?.is_some_and(|value| value == big));
    assert_eq!(
        get(backend, FIRST, &long_key)?.as_deref(),
        Some(&b"long key"[..])
    );
    batch.clear();
    batch.put(FIRST, b"big", b"small");
    backend.apply(&batch)?;
    assert_eq!(get(backend, FIRST, b"big")?.as_deref(), Some(&b"small"[..]));
    Ok(())
}

fn keeps_positions_with_data(backend: &dyn Backend) -> Result<()> {
    let mut batch = WriteBatch::new();
    batch.put(FIRST, b"k", b"v");
    batch.set_position(FIRST, position(5));
    batch.set_position(FIRST, position(6));
    batch.set_position(THIRD, position(i64::MAX));
    backend.apply(&batch)?;
    assert_eq!(
        backend.position(FIRST)?,
        Some(position(6)),
        "the last position of a batch holds"
    );
    assert_eq!(backend.position(SECOND)?, None, "each column has its own");
    assert_eq!(backend.position(THIRD)?, Some(position(i64::MAX)));
    assert_eq!(
        scan(backend, FIRST, ALL, Direction::Ascending)?.len(),
        1,
        "and it is no key"
    );

    batch.clear();
    batch.set_position(FIRST, position(0));
    backend.apply(&batch)?;
    assert_eq!(
        backend.position(FIRST)?,
        Some(position(0)),
        "a position alone is applied, too"
    );
    assert_eq!(get(backend, FIRST, b"k")?.as_deref(), Some(&b"v"[..]));
    Ok(())
}

fn keeps_the_reach_of_a_topic(backend: &dyn Backend) -> Result<()> {
    let of = |topic_id, offset, reach| Position {
        offset,
        reach,
        topic_id,
        ..position(0)
    };
    let steps = [
        (of(1, 5, 9), 9, "it may be ahead"),
        (of(1, 6, 6), 9, "what was applied still is"),
        (of(1, 4, 4), 9, "also where it is replayed"),
        (of(1, 10, 10), 10, "it is passed"),
        (of(2, 3, 3), 3, "another topic has its own"),
    ];
    for (given, reach, why) in steps {
        let mut batch = WriteBatch::new();
        batch.set_position(FIRST, given);
        backend.apply(&batch)?;
        let expected = Position { reach, ..given };
        assert_eq!(backend.position(FIRST)?, Some(expected), "{why}");
    }
    backend.clear(FIRST)?;
    let mut batch = WriteBatch::new();
    batch.set_position(FIRST, of(2, 1, 1));
    backend.apply(&batch)?;
    assert_eq!(
        backend.position(FIRST)?,
        Some(of(2, 1, 1)),
        "nothing is left"
    );
    keeps_what_one_batch_says_in_several_steps(backend, of)
}

/// One batch may set a column's position more than once, which is as if each were a batch's own.
fn keeps_what_one_batch_says_in_several_steps(
    backend: &dyn Backend,
    of: impl Fn(u128, i64, i64) -> Position,
) -> Result<()> {
    let steps: [(&[_], _, _); 4] = [
        (&[of(3, 2, 8), of(3, 4, 4)], of(3, 4, 8), "within the batch"),
        (&[of(3, 5, 5), of(3, 6, 6)], of(3, 6, 8), "and before it"),
        (&[of(3, 9, 9), of(4, 1, 2)], of(4, 1, 2), "of its own topic"),
        (
            &[of(3, 1, 1), of(4, 3, 3)],
            of(4, 3, 3),
            "another topic came between",
        ),
    ];
    for (given, expected, why) in steps {
        let mut batch = WriteBatch::new();
        batch.set_position(SECOND, of(9, 1, 7));
        for position in given {
            batch.set_position(FIRST, *position);
        }
        batch.set_position(SECOND, of(9, 2, 2));
        backend.apply(&batch)?;
        assert_eq!(backend.position(FIRST)?, Some(expected), "{why}");
        assert_eq!(backend.position(SECOND)?, Some(of(9, 2, 7)), "{why}");
    }
    Ok(())
}

fn refuses_unknown_columns_whole(backend: &dyn Backend) -> Result<()> {
    let unknown = |result: Result<()>| matches!(result, Err(Error::UnknownColumn(3)));
    let mut put = WriteBatch::new();
    put.put(FIRST, b"k", b"v");
    put.set_position(FIRST, position(1));
    put.put(UNKNOWN, b"k", b"v");
    let mut delete = WriteBatch::new();
    delete.put(FIRST, b"k", b"v");
    delete.delete(UNKNOWN, b"k");
    let mut moved = WriteBatch::new();
    moved.put(FIRST, b"k", b"v");
    moved.set_position(UNKNOWN, position(1));
    for batch in [put, delete, moved] {
        assert!(unknown(backend.apply(&batch)));
    }
    assert_eq!(
        get(backend, FIRST, b"k")?,
        None,
        "a refused batch leaves no trace"
    );
    assert_eq!(backend.position(FIRST)?, None);
    assert!(unknown(get(backend, UNKNOWN, b"k").map(drop)));
    assert!(unknown(
        scan(backend, UNKNOWN, ALL, Direction::Ascending).map(drop)
    ));
    assert!(unknown(backend.position(UNKNOWN).map(drop)));
    assert!(unknown(backend.clear(UNKNOWN)));
    Ok(())
}

fn clears_one_column(backend: &dyn Backend) -> Result<()> {
    let mut batch = WriteBatch::new();
    for column in [FIRST, SECOND] {
        for key in [&b""[..], b"m", &[0xFF; 40]] {
            batch.put(column, key, b"v");
        }
        batch.set_position(column, position(3));
    }
    backend.apply(&batch)?;
    backend.clear(FIRST)?;
    assert_eq!(scan(backend, FIRST, ALL, Direction::Ascending)?, []);
    assert_eq!(get(backend, FIRST, b"m")?, None);
    assert_eq!(
        backend.position(FIRST)?,
        None,
        "the position goes with the data"
    );
    assert_eq!(scan(backend, SECOND, ALL, Direction::Ascending)?.len(), 3);
    assert_eq!(backend.position(SECOND)?, Some(position(3)));
    backend.apply(&batch)?;
    assert_eq!(
        scan(backend, FIRST, ALL, Direction::Descending)?.len(),
        3,
        "and can be refilled"
    );
    assert_eq!(
        get(backend, FIRST, &[0xFF; 40])?.as_deref(),
        Some(&b"v"[..])
    );
    assert_eq!(backend.position(FIRST)?, Some(position(3)));
    Ok(())
}
