//! When rows go below, with which positions, and what a crash leaves.

use super::{ALL, Sick, below, over_memory, position, put};
use millstream_state::{
    Backend, BufferBudget, Buffered, Column, Direction, MemoryBackend, WriteBatch, contract,
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

#[test]
fn a_change_goes_below_five_seconds_later_unless_there_was_another() {
    let (under, backend) = over_memory(&["rows"], 1 << 20);
    let there = |key: &[u8]| contract::get(&*under, Column(0), key).unwrap();
    let at = || below(&under).1;
    put(&backend, b"k", b"1", Some(position(1, 5_000)));
    put(&backend, b"i", b"2", Some(position(2, 7_000)));
    put(&backend, b"k", b"3", Some(position(3, 9_999)));
    assert_eq!((there(b"i"), at()), (None, None));
    let newest = backend.position(Column(0)).unwrap();
    assert_eq!(newest, Some(position(3, 9_999)));
    // What has not changed since half of that time was over, and that it is so far: on a changelog
    // that goes on to where the other rows changed.
    put(&backend, b"j", b"4", Some(position(4, 10_000)));
    assert_eq!((there(b"i"), at()), (Some(b"2".to_vec()), Some(2)));
    let stored = under.position(Column(0)).unwrap();
    assert_eq!(stored.map(|position| position.reach), Some(4));
    assert_eq!(there(b"k"), None, "its second change is younger");
    assert_eq!(
        backend.position(Column(0)).unwrap(),
        Some(position(4, 10_000))
    );
    let mut now = 10_000;
    while at() == Some(2) {
        now += 100;
        put(&backend, b"j", b"5", Some(position(5, now)));
    }
    assert!(now <= 15_000, "{now}");
    assert_eq!((there(b"k"), there(b"j")), (Some(b"3".to_vec()), None));
    drop(backend);
    assert_eq!((there(b"j"), at()), (Some(b"5".to_vec()), Some(5)));
}

#[test]
fn a_change_goes_below_by_the_clock_alone() {
    let sick = Arc::new(Sick::new(MemoryBackend::new(&["rows"])));
    let backend = Buffered::new(sick.clone(), BufferBudget::new(1 << 20));
    let writes = || usize::MAX - sick.allowed.load(Ordering::Relaxed);
    put(&backend, b"k", b"1", Some(position(1, 1_000)));
    put(&backend, b"k", b"2", Some(position(2, 1_100)));
    // A delay is counted from the change on, and from when it is no longer seen to change.
    for now in [1_200, 3_499, 3_500, 5_999] {
        backend.settle(now).unwrap();
        assert_eq!(writes(), 0, "at {now}");
    }
    backend.settle(6_000).unwrap();
    assert_eq!(below(&sick.memory), (Some(b"2".to_vec()), Some(2)));
    assert_eq!(writes(), 1);
    // Then there is nothing to do, however long that goes on.
    for now in (0..100).map(|day| day * 86_400_000) {
        backend.settle(now).unwrap();
    }
    assert_eq!(writes(), 1);
    assert_eq!(
        backend.position(Column(0)).unwrap(),
        Some(position(2, 1_100))
    );
}

#[test]
fn what_could_not_go_below_by_the_clock_is_tried_again() {
    let sick = Arc::new(Sick::new(MemoryBackend::new(&["rows"])));
    let backend = Buffered::new(sick.clone(), BufferBudget::new(1 << 20));
    put(&backend, b"k", b"1", Some(position(1, 0)));
    sick.allowed.store(0, Ordering::Relaxed);
    backend.settle(4_999).unwrap();
    assert!(backend.settle(5_000).is_err());
    assert_eq!(
        contract::get(&backend, Column(0), b"k").unwrap(),
        Some(b"1".to_vec())
    );
    sick.allowed.store(1, Ordering::Relaxed);
    backend.settle(5_001).unwrap();
    assert_eq!(below(&sick.memory), (Some(b"1".to_vec()), Some(1)));
}

#[test]
fn a_clock_that_went_back_holds_nothing_up() {
    let (under, backend) = over_memory(&["rows"], 1 << 20);
    put(&backend, b"k", b"1", Some(position(1, 3_600_000)));
    for (offset, now) in (2..).zip((0..6_000).step_by(100)) {
        put(&backend, b"j", b"2", Some(position(offset, now)));
    }
    assert_eq!(below(&under).0, Some(b"1".to_vec()));
}

proptest! {
    /// A crash takes the buffer; the changelog from the position below on brings everything back.
    #[test]
    fn what_is_below_and_the_changelog_behind_it_are_all_there_is(
        steps in prop::collection::vec((
            prop::collection::vec((0..2_u16, 0..9_u8, any::<bool>()), 0..6),
            0..2_000_i64,
            prop::bool::weighted(0.05),
        ), 1..60),
        bytes in prop::sample::select(vec![0, 2_000, 1 << 30]),
    ) {
        let columns = [Column(0), Column(1)];
        let (under, backend) = over_memory(&["rows", "others"], bytes);
        let (mut now, mut changelog) = (0, Vec::new());
        let (mut model, mut batch) = (BTreeMap::new(), WriteBatch::new());
        let mut states = vec![model.clone()];
        for (offset, (changes, later, flushes)) in (1_i64..).zip(steps) {
            now += later;
            batch.clear();
            for (number, (column, key, stays)) in (0_u8..).zip(changes) {
                let value = stays.then(|| vec![number; 20]);
                match (&value, model.contains_key(&(column, key))) {
                    (Some(value), true) => batch.put(Column(column), &[key], value),
                    (Some(value), false) => batch.insert_parts(Column(column), &[key], &[value]),
                    (None, _) => batch.delete(Column(column), &[key]),
                }
                changelog.push((offset, column, key, value.clone()));
                match value {
                    Some(value) => model.insert((column, key), value),
                    None => model.remove(&(column, key)),
                };
            }
            for column in columns {
                batch.set_position(column, position(offset, now));
            }
            backend.apply(&batch)?;
            if flushes {
                backend.flush()?;
            }
            states.push(model.clone());
            for column in columns {
                let at = under.position(column)?;
                let (at, reach) = at.map_or((0, 0), |at| (at.offset, at.reach));
                prop_assert!(at <= reach && reach <= offset);
                let mut found = BTreeMap::new();
                for (key, value) in contract::scan(&*under, column, ALL, Direction::Ascending)? {
                    found.insert((column.0, key[0]), value);
                }
                // It may be anything before the changelog is replayed that far.
                for offset in at + 1..=offset {
                    let now = changelog.iter().filter(|row| (row.0, row.1) == (offset, column.0));
                    for (_, number, key, value) in now {
                        match value {
                            Some(value) => found.insert((*number, *key), value.clone()),
                            None => found.remove(&(*number, *key)),
                        };
                    }
                    let state = states[usize::try_from(offset).unwrap()].iter();
                    let state = state.filter(|((of, _), _)| *of == column.0);
                    let state = state.map(|(key, value)| (*key, value.clone()));
                    prop_assert!(offset < reach || found == state.collect());
                }
            }
        }
    }
}

/// Rows that are larger than a piece go below in several, and the disk is full behind the first.
#[test]
fn what_went_below_in_pieces_is_known_by_its_reach_and_written_again() {
    let sick = Arc::new(Sick::new(MemoryBackend::new(&["rows"])));
    let backend = Buffered::new(sick.clone(), BufferBudget::new(1 << 30));
    put(&backend, b"k", b"1", Some(position(1, 0)));
    backend.flush().unwrap();
    let mut rows: Vec<_> = (0..5_u8)
        .map(|key| (vec![key], vec![key; 300_000]))
        .collect();
    for (offset, (key, value)) in (2..).zip(&rows) {
        put(&backend, key, value, Some(position(offset, 0)));
    }
    sick.allowed.store(1, Ordering::Relaxed);
    assert!(backend.flush().is_err());
    let stored = |sick: &Sick| contract::scan(&sick.memory, Column(0), ALL, Direction::Ascending);
    assert_eq!(stored(&sick).unwrap().len(), 1 + 2);
    let at = |sick: &Sick| {
        sick.position(Column(0))
            .unwrap()
            .map(|at| (at.offset, at.reach))
    };
    assert_eq!(at(&sick), Some((1, 6)), "who dies now must replay to there");
    put(&backend, &[0], b"2", Some(position(7, 0)));
    sick.allowed.store(usize::MAX, Ordering::Relaxed);
    backend.flush().unwrap();
    rows[0].1 = b"2".to_vec();
    rows.push((b"k".to_vec(), b"1".to_vec()));
    assert_eq!(stored(&sick).unwrap(), rows);
    assert_eq!(at(&sick), Some((7, 7)));
}
