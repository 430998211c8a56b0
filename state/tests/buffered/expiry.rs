//! Rows that expire: the buffer forgets them without a word, and nothing else.

use super::{ALL, change, over_memory, position};
use millstream_state::{
    Backend, BufferBudget, Buffered, Column, Direction, Horizon, MemoryBackend, WriteBatch,
    contract,
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

fn until(time: u64) -> Horizon {
    Horizon {
        from_end: 8,
        until: time.to_be_bytes(),
    }
}

fn timed(key: u8, time: u64) -> Vec<u8> {
    [&[key][..], &time.to_be_bytes()].concat()
}

#[test]
fn a_row_that_expires_goes_without_a_word() {
    let (under, budget) = (
        Arc::new(MemoryBackend::new(&["rows"])),
        BufferBudget::new(1 << 20),
    );
    let backend = Buffered::new(under.clone(), budget.clone());
    let mut most = 0;
    for time in 0..2_000 {
        change(&backend, 1, |batch| {
            batch.put(Column(0), &timed(b'k', time), &[0; 1_000]);
            batch.put(Column(0), b"clock", &time.to_be_bytes());
            batch.set_horizon(Column(0), until(time.saturating_sub(50)));
        });
        most = most.max(budget.used());
    }
    // The rows of fifty times, and what has been begun of chunks.
    assert!((50_000..200_000).contains(&most), "{most} bytes");
    backend.flush().unwrap();
    let stored = contract::scan(&*under, Column(0), ALL, Direction::Ascending).unwrap();
    assert_eq!(
        stored.len(),
        1 + 50,
        "those that have not expired, and the clock"
    );
    assert_eq!(stored[0].1, 1_999_u64.to_be_bytes());
}

/// Whoever passes over the store deletes what has reached the disk, which has all expired by then.
#[test]
fn a_deletion_goes_below_also_of_what_has_expired() {
    for told_before in [false, true] {
        let (under, backend) = over_memory(&["rows"], 1 << 20);
        let old = timed(b'k', 5);
        change(&backend, 1, |batch| {
            batch.put(Column(0), &old, b"1");
            batch.set_horizon(Column(0), until(0));
        });
        backend.flush().unwrap();
        assert!(contract::get(&*under, Column(0), &old).unwrap().is_some());
        change(&backend, 2, |batch| {
            batch.delete(Column(0), &old);
            batch.put(Column(0), &timed(b'k', 6), b"2");
            let time = if told_before { 4 } else { 1_000 };
            batch.set_horizon(Column(0), until(time));
        });
        for time in [1_001, 1_002] {
            change(&backend, time, |batch| {
                batch.put(Column(0), b"clock", b"3");
                batch.set_horizon(Column(0), until(time.unsigned_abs()));
            });
        }
        backend.flush().unwrap();
        let stored = contract::scan(&*under, Column(0), ALL, Direction::Ascending).unwrap();
        assert_eq!(stored, [(b"clock".to_vec(), b"3".to_vec())]);
    }
}

/// A changelog that is read from the beginning may be another one, of other times.
#[test]
fn a_column_that_is_cleared_knows_no_horizon() {
    let (under, backend) = over_memory(&["rows"], 1 << 20);
    let old = timed(b'k', 5);
    change(&backend, 1, |batch| {
        batch.set_horizon(Column(0), until(1_000));
    });
    backend.clear(Column(0)).unwrap();
    change(&backend, 2, |batch| batch.put(Column(0), &old, b"1"));
    backend.flush().unwrap();
    let stored = contract::get(&*under, Column(0), &old).unwrap();
    assert_eq!(stored, Some(b"1".to_vec()));
}

proptest! {
    /// Whatever happens in between, what has not expired is there, and nothing else that has not.
    #[test]
    fn only_what_has_expired_is_forgotten(
        steps in prop::collection::vec((
            prop::collection::vec((
                0..3_u8,
                0..12_u64,
                prop::option::weighted(0.8, prop::sample::select(vec![0_usize, 9, 3_000, 30_000])),
            ), 0..8),
            0..4_u64,
            (any::<bool>(), prop::bool::weighted(0.1)),
        ), 1..60),
        bytes in prop::sample::select(vec![0, 300_000, 1 << 30]),
    ) {
        let (_, backend) = over_memory(&["rows"], bytes);
        let (mut model, mut now, mut batch) = (BTreeMap::new(), 0, WriteBatch::new());
        let mut clock = Vec::new();
        for (number, (changes, later, (scans, flushes))) in (0_u8..).zip(steps) {
            batch.clear();
            now += later;
            let horizon = until(now);
            for (key, ahead, length) in changes {
                let key = timed(key, now + ahead);
                match length.map(|length| vec![number; length]) {
                    Some(value) if horizon.covers(&key) || model.contains_key(&key) => {
                        batch.put(Column(0), &key, &value);
                        model.insert(key, value);
                    }
                    Some(value) => {
                        batch.insert_parts(Column(0), &key, &[&value]);
                        model.insert(key, value);
                    }
                    None => {
                        batch.delete(Column(0), &key);
                        model.remove(&key);
                    }
                }
            }
            if number % 3 == 0 {
                clock = now.to_be_bytes()[usize::from(number % 8)..].to_vec();
                batch.put(Column(0), b"clock", &clock);
            }
            batch.set_position(Column(0), position(1, i64::from(number) * 100));
            batch.set_horizon(Column(0), horizon);
            backend.apply(&batch)?;
            model.retain(|key, _| !horizon.covers(key));
            let stored = contract::get(&backend, Column(0), b"clock")?;
            prop_assert_eq!(stored.as_ref(), Some(&clock));
            for (key, value) in &model {
                let found = contract::get(&backend, Column(0), key)?;
                prop_assert_eq!(found.as_ref(), Some(value));
            }
            if scans {
                let mut found = contract::scan(&backend, Column(0), ALL, Direction::Ascending)?;
                found.retain(|(key, _)| key.len() == 9 && !horizon.covers(key));
                let alive = model.iter().map(|(key, value)| (key.clone(), value.clone()));
                prop_assert_eq!(found, alive.collect::<Vec<_>>());
            }
            if flushes {
                backend.flush()?;
            }
        }
    }
}
