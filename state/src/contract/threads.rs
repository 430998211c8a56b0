//! Readers on other threads: they see whole batches, and never an older state than before.

use super::{ALL, FIRST, SECOND, get, position, scan};
use crate::{Backend, Direction, Result, WriteBatch};
use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// A writer gives all keys of two columns the same new number per batch; readers must never see
/// two.
pub(super) fn shows_whole_batches_to_other_threads(backend: &dyn Backend) -> Result<()> {
    const BATCHES: i64 = 200;
    const READERS: usize = 2;
    let (start, done) = (Barrier::new(READERS + 1), AtomicBool::new(false));
    let write = || -> Result<()> {
        let mut batch = WriteBatch::new();
        start.wait();
        for n in 1..=BATCHES {
            batch.clear();
            for key in 0..40_u8 {
                batch.put(
                    if key % 2 == 0 { FIRST } else { SECOND },
                    &[key],
                    &n.to_be_bytes(),
                );
            }
            batch.set_position(FIRST, position(n));
            backend.apply(&batch)?;
        }
        Ok(())
    };
    let read = || -> Result<()> {
        start.wait();
        let mut last = 0;
        while last < BATCHES {
            let finished = done.load(Ordering::Acquire);
            for (column, direction) in [
                (FIRST, Direction::Ascending),
                (SECOND, Direction::Descending),
            ] {
                let pairs = scan(backend, column, ALL, direction)?;
                assert!(
                    pairs.is_empty() || pairs.len() == 20,
                    "half a batch: {}",
                    pairs.len()
                );
                assert!(
                    pairs.windows(2).all(|two| two[0].1 == two[1].1),
                    "two batches in a scan"
                );
                let Some((key, value)) = pairs.first() else {
                    continue;
                };
                let seen = value.as_slice().try_into().map_or(0, i64::from_be_bytes);
                assert!(seen >= last, "a batch that was seen is gone");
                last = seen;
                let applied = backend
                    .position(FIRST)?
                    .map_or(0, |position| position.offset);
                assert!(
                    applied >= seen,
                    "position {applied} is behind its data {seen}"
                );
                let again = get(backend, column, key)?.unwrap_or_default();
                assert!(again.as_slice() >= value.as_slice(), "time runs backwards");
            }
            assert!(!finished || last == BATCHES, "the last batch is missing");
        }
        Ok(())
    };
    thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(read)).collect();
        let written = write();
        done.store(true, Ordering::Release);
        for reader in readers {
            reader
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        written
    })
}
