//! The buffer in front of a backend: the contract, over memory and over the disk, and what only it
//! promises.
#![expect(
    clippy::unwrap_used,
    reason = "in a helper of tests, too, a panic is the report"
)]

mod model;

use millstream_state::{
    Backend, BackendStats, BufferBudget, Buffered, Column, Direction, Error, Horizon,
    MemoryBackend, Op, Position, Presence, Result, Visitor, WriteBatch, contract,
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

fn over_memory(columns: &[&str], bytes: usize) -> (Arc<MemoryBackend>, Buffered) {
    let below = Arc::new(MemoryBackend::new(columns));
    (
        below.clone(),
        Buffered::new(below, BufferBudget::new(bytes)),
    )
}

#[test]
fn keeps_the_contract() {
    // From one that never holds anything back for long to one that holds all.
    for bytes in [0, 400, 4_000, 1 << 30] {
        contract::check(&|| Box::new(over_memory(&contract::COLUMNS, bytes).1)).unwrap();
    }
}

proptest! {
    #[test]
    fn behaves_like_the_model(steps in model::steps(), bytes in 0usize..3_000) {
        let below = Arc::new(MemoryBackend::new(&model::COLUMNS));
        let open = || Buffered::new(below.clone(), BufferBudget::new(bytes));
        model::run(open(), &steps, |backend| {
            drop(backend);
            open()
        })?;
    }
}

#[cfg(feature = "rocksdb")]
#[test]
fn keeps_the_contract_and_its_data_on_the_disk() {
    use millstream_state::{Limits, RocksBackend, Shared};
    let (directory, shared) = (tempfile::tempdir().unwrap(), Shared::new(Limits::default()));
    let open = || -> Box<dyn Backend> {
        let names = contract::COLUMNS.map(str::to_owned);
        let below = RocksBackend::open(directory.path(), &names, &shared).unwrap();
        Box::new(Buffered::new(Arc::new(below), BufferBudget::new(1 << 20)))
    };
    contract::check_reopen(&open).unwrap();
}

fn position(offset: i64, applied_at: i64) -> Position {
    Position {
        applied_at,
        ..contract::position(offset)
    }
}

fn put(backend: &dyn Backend, key: &[u8], value: &[u8], at: Option<Position>) {
    let mut batch = WriteBatch::new();
    batch.put(Column(0), key, value);
    if let Some(at) = at {
        batch.set_position(Column(0), at);
    }
    backend.apply(&batch).unwrap();
}

fn below(backend: &MemoryBackend) -> (Option<Vec<u8>>, Option<i64>) {
    let stored = contract::get(backend, Column(0), b"k").unwrap();
    let position = backend.position(Column(0)).unwrap();
    (stored, position.map(|position| position.offset))
}

#[test]
fn changes_go_below_with_their_position_after_five_seconds_of_others() {
    let (under, backend) = over_memory(&["rows"], 1 << 20);
    put(&backend, b"k", b"1", Some(position(1, 5_000)));
    put(&backend, b"k", b"2", Some(position(2, 9_999)));
    assert_eq!(below(&under), (None, None));
    assert_eq!(
        backend.position(Column(0)).unwrap(),
        Some(position(2, 9_999))
    );
    put(&backend, b"j", b"3", Some(position(3, 10_000)));
    assert_eq!(below(&under), (Some(b"2".to_vec()), Some(3)));
    put(&backend, b"k", b"4", Some(position(4, 14_000)));
    assert_eq!(below(&under), (Some(b"2".to_vec()), Some(3)));
    drop(backend);
    assert_eq!(below(&under), (Some(b"4".to_vec()), Some(4)));
}

/// Applies a change of one key: how it is made, and where the changelog is then.
fn change(backend: &dyn Backend, offset: i64, make: impl FnOnce(&mut WriteBatch)) {
    let mut batch = WriteBatch::new();
    make(&mut batch);
    batch.set_position(Column(0), position(offset, 0));
    backend.apply(&batch).unwrap();
}

#[test]
fn a_row_that_comes_and_goes_never_goes_below() {
    let sick = Arc::new(Sick {
        memory: MemoryBackend::new(&["rows"]),
        fails: AtomicBool::new(false),
        before_scan: Box::new(|| {}),
        written: Mutex::default(),
    });
    let budget = BufferBudget::new(1 << 20);
    let backend = Buffered::new(sick.clone(), budget.clone());
    change(&backend, 1, |batch| {
        batch.insert_parts(Column(0), b"k", &[b"1"]);
    });
    let held = budget.used();
    for offset in 2_i64..1_000 {
        let key = offset.to_be_bytes();
        change(&backend, offset, |batch| {
            batch.insert_parts(Column(0), &key, &[b"1"]);
        });
        if offset % 100 == 0 {
            // A scan puts into order what is there; what goes then is forgotten with the next one.
            let all = (Bound::Unbounded, Bound::Unbounded);
            let found = contract::scan(&backend, Column(0), all, Direction::Ascending).unwrap();
            assert_eq!(found.len(), 2);
        }
        change(&backend, offset, |batch| batch.delete(Column(0), &key));
        assert!(budget.used() <= held + 4_000, "{} bytes", budget.used());
    }
    sick.fails.store(true, Ordering::Relaxed);
    assert!(backend.flush().is_err());
    // What failed may have been written all the same, so this deletion has to go below.
    change(&backend, 1_000, |batch| batch.delete(Column(0), b"k"));
    sick.fails.store(false, Ordering::Relaxed);
    sick.written.lock().unwrap().clear();
    backend.flush().unwrap();
    assert_eq!(*sick.written.lock().unwrap(), [(b"k".to_vec(), None)]);
    assert_eq!(below(&sick.memory), (None, Some(1_000)));
}

const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

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

#[test]
fn what_no_changelog_can_bring_back_is_not_held_back() {
    let (under, backend) = over_memory(&["rows"], 1 << 20);
    put(&backend, b"k", b"1", None);
    assert_eq!(below(&under), (Some(b"1".to_vec()), None));
}

#[test]
fn what_comes_in_bulk_goes_below_behind_what_came_before() {
    let (under, backend) = over_memory(&["rows"], 1 << 20);
    put(&backend, b"k", b"1", Some(position(1, 0)));
    let mut batch = WriteBatch::new();
    batch.put(Column(0), b"k", b"2");
    batch.set_position(Column(0), position(2, 0));
    backend.apply_bulk(&batch).unwrap();
    assert_eq!(below(&under), (Some(b"2".to_vec()), Some(2)));
    assert_eq!(
        contract::get(&backend, Column(0), b"k").unwrap().unwrap(),
        b"2"
    );
    put(&backend, b"k", b"3", Some(position(3, 0)));
    assert_eq!(
        contract::get(&backend, Column(0), b"k").unwrap().unwrap(),
        b"3"
    );
}

#[test]
fn the_buffers_of_a_process_share_a_budget() {
    let budget = BufferBudget::new(4_000);
    let under = [0, 1].map(|_| Arc::new(MemoryBackend::new(&["rows"])));
    let backends = [0, 1].map(|at: usize| Buffered::new(under[at].clone(), budget.clone()));
    for number in 0..200_u32 {
        for backend in &backends {
            put(
                backend,
                &number.to_be_bytes(),
                b"value",
                Some(position(1, 0)),
            );
            assert!(budget.used() <= 4_000, "{} bytes", budget.used());
        }
    }
    drop(backends);
    assert_eq!(budget.used(), 0);
}

/// A key and its value, or that it was deleted.
type Written = (Vec<u8>, Option<Vec<u8>>);

/// A backend whose writes can be made to fail, and that does something of its own before it scans.
struct Sick {
    memory: MemoryBackend,
    fails: AtomicBool,
    before_scan: Box<dyn Fn() + Send + Sync>,
    written: Mutex<Vec<Written>>,
}

impl Backend for Sick {
    fn columns(&self) -> &[String] {
        self.memory.columns()
    }

    fn get(&self, column: Column, key: &[u8], out: &mut Vec<u8>) -> Result<Presence> {
        self.memory.get(column, key, out)
    }

    fn scan(
        &self,
        column: Column,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        visit: Visitor<'_>,
    ) -> Result<()> {
        (self.before_scan)();
        self.memory.scan(column, bounds, direction, visit)
    }

    fn apply(&self, batch: &WriteBatch) -> Result<()> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(Error::Storage("full".to_owned()));
        }
        let written = batch.ops().map(|op| match op {
            Op::Put { key, value, .. } => (key.to_vec(), Some(value.to_vec())),
            Op::Delete { key, .. } => (key.to_vec(), None),
        });
        self.written.lock().unwrap().extend(written);
        self.memory.apply(batch)
    }

    fn position(&self, column: Column) -> Result<Option<Position>> {
        self.memory.position(column)
    }

    fn clear(&self, column: Column) -> Result<()> {
        self.memory.clear(column)
    }

    fn flush(&self) -> Result<()> {
        self.memory.flush()
    }

    fn stats(&self) -> BackendStats {
        self.memory.stats()
    }
}

#[test]
fn a_write_that_fails_below_is_told_and_made_again() {
    let sick = Arc::new(Sick {
        memory: MemoryBackend::new(&["rows"]),
        fails: AtomicBool::new(true),
        before_scan: Box::new(|| {}),
        written: Mutex::default(),
    });
    let backend = Buffered::new(sick.clone(), BufferBudget::new(1 << 20));
    put(&backend, b"k", b"1", Some(position(1, 0)));
    assert!(backend.flush().is_err());
    assert_eq!(
        contract::get(&backend, Column(0), b"k").unwrap().unwrap(),
        b"1"
    );
    sick.fails.store(false, Ordering::Relaxed);
    backend.flush().unwrap();
    assert_eq!(below(&sick.memory), (Some(b"1".to_vec()), Some(1)));
}

/// Rows that go below between a scan's two looks are neither missed nor old.
#[test]
fn a_scan_sees_one_state_although_rows_pass_below_it() {
    let this: Arc<std::sync::OnceLock<std::sync::Weak<Buffered>>> = Arc::default();
    let once = AtomicBool::new(false);
    let weak = this.clone();
    let sick = Arc::new(Sick {
        memory: MemoryBackend::new(&["rows"]),
        fails: AtomicBool::new(false),
        before_scan: Box::new(move || {
            let backend = weak.get().and_then(std::sync::Weak::upgrade);
            if let (Some(backend), false) = (backend, once.swap(true, Ordering::Relaxed)) {
                put(&*backend, b"b", b"2", Some(position(2, 0)));
                backend.flush().unwrap();
            }
        }),
        written: Mutex::default(),
    });
    let backend = Arc::new(Buffered::new(sick, BufferBudget::new(1 << 20)));
    this.set(Arc::downgrade(&backend)).unwrap();
    for key in [b"a", b"b"] {
        put(&*backend, key, b"1", Some(position(1, 0)));
    }
    let all = (Bound::Unbounded, Bound::Unbounded);
    let found = contract::scan(&*backend, Column(0), all, Direction::Ascending).unwrap();
    let expected = [
        (b"a".to_vec(), b"1".to_vec()),
        (b"b".to_vec(), b"2".to_vec()),
    ];
    assert_eq!(found, expected);
}
