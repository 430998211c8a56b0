//! The buffer in front of a backend: the contract, over memory and over the disk, and what only it
//! promises.
#![expect(
    clippy::unwrap_used,
    reason = "in a helper of tests, too, a panic is the report"
)]

mod expiry;
mod going_below;
#[path = "../model/mod.rs"]
mod model;

use millstream_state::{
    Backend, BackendStats, BufferBudget, Buffered, Column, Direction, Error, MemoryBackend, Op,
    Position, Presence, Result, Visitor, WriteBatch, contract, ordered,
};
use proptest::prelude::*;
use std::{
    ops::{Bound, ControlFlow},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
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

/// Looks in between put into order what there is; then come many more rows than there were, among
/// them and behind.
#[test]
fn rows_of_fields_that_come_after_a_look_are_found() {
    let (_, backend) = over_memory(&["rows"], 1 << 30);
    let field = |n: u32| {
        let mut key = Vec::new();
        // Each number once, in no order: the modulus is a prime.
        ordered::put_bytes(&mut key, &(n * 7_919 % 20_011).to_be_bytes());
        key
    };
    let rows = |n: u32| {
        let (from, mut to) = (field(n), field(n));
        assert!(ordered::prefix_end(&mut to));
        let bounds = (Bound::Included(&*from), Bound::Excluded(&*to));
        contract::scan(&backend, Column(0), bounds, Direction::Ascending).unwrap()
    };
    let mut there = 0;
    for (offset, upto) in [(1, 10), (2, 1_500), (3, 20_000)] {
        let mut batch = WriteBatch::new();
        for n in there..upto {
            let mut key = field(n);
            ordered::put_i64(&mut key, i64::from(n));
            batch.put(Column(0), &key, b"v");
        }
        batch.set_position(Column(0), position(offset, offset));
        backend.apply(&batch).unwrap();
        there = upto;
        assert!((0..there).all(|n| rows(n).len() == 1), "{there} rows");
        assert!((there..there + 10).all(|n| rows(n).is_empty()));
    }
}

fn position(offset: i64, applied_at: i64) -> Position {
    Position {
        applied_at,
        topic_id: 1,
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
fn memory_of_rows_that_went_below_is_given_back() {
    let budget = BufferBudget::new(1 << 30);
    let backend = Buffered::new(Arc::new(MemoryBackend::new(&["rows"])), budget.clone());
    for number in 0..100_000_u32 {
        put(
            &backend,
            &number.to_be_bytes(),
            &[0; 100],
            Some(position(1, 0)),
        );
    }
    let most = budget.used();
    for now in (0..10_000).step_by(100) {
        put(
            &backend,
            &0_u32.to_be_bytes(),
            b"young",
            Some(position(2, now)),
        );
    }
    assert!(budget.used() < most / 50, "{} of {most}", budget.used());
    let first = contract::get(&backend, Column(0), &0_u32.to_be_bytes()).unwrap();
    assert_eq!(first.as_deref(), Some(&b"young"[..]));
}

#[test]
fn what_was_flushed_is_no_longer_in_the_buffer() {
    for rows in [10, 100_000_u32] {
        let budget = BufferBudget::new(1 << 30);
        let sick = Arc::new(Sick::new(MemoryBackend::new(&["rows"])));
        let backend = Buffered::new(sick.clone(), budget.clone());
        for number in 0..rows {
            put(&backend, &number.to_be_bytes(), b"v", Some(position(1, 0)));
        }
        backend.flush().unwrap();
        assert_eq!(budget.used(), 0);
        sick.written.lock().unwrap().clear();
        backend.flush().unwrap();
        assert!(sick.written.lock().unwrap().is_empty());
    }
}

#[test]
fn who_looks_for_settled_rows_is_told_which_will_change() {
    let (_, backend) = over_memory(&["rows"], 1 << 20);
    for key in [b"a", b"b", b"c"] {
        put(&backend, key, b"1", Some(position(1, 0)));
    }
    backend.flush().unwrap();
    put(&backend, b"a", b"2", Some(position(2, 0)));
    change(&backend, 3, |batch| batch.delete(Column(0), b"b"));
    put(&backend, b"d", b"2", Some(position(4, 0)));
    let mut seen = Vec::new();
    let mut see = |key: &[u8], settled| {
        seen.push((key.to_vec(), settled));
        ControlFlow::Continue(())
    };
    backend.scan_settled(Column(0), ALL, &mut see).unwrap();
    let told = [(b"a", false), (b"b", false), (b"c", true)];
    assert_eq!(seen, told.map(|(key, settled)| (key.to_vec(), settled)));
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
    let sick = Arc::new(Sick::new(MemoryBackend::new(&["rows"])));
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
    sick.allowed.store(0, Ordering::Relaxed);
    assert!(backend.flush().is_err());
    // What failed may have been written all the same, so this deletion has to go below.
    change(&backend, 1_000, |batch| batch.delete(Column(0), b"k"));
    sick.allowed.store(usize::MAX, Ordering::Relaxed);
    sick.written.lock().unwrap().clear();
    backend.flush().unwrap();
    assert_eq!(*sick.written.lock().unwrap(), [(b"k".to_vec(), None)]);
    assert_eq!(below(&sick.memory), (None, Some(1_000)));
}

/// Nobody checks what was only believed: the row of before is there again.
#[test]
fn what_was_wrongly_called_new_goes_without_the_row_below_it() {
    let (under, backend) = over_memory(&["rows"], 1 << 20);
    change(&backend, 1, |batch| batch.put(Column(0), b"k", b"old"));
    backend.flush().unwrap();
    let read = || contract::get(&backend, Column(0), b"k").unwrap();
    for (offset, supposed) in [(2, true), (4, false)] {
        change(&backend, offset, |batch| {
            if supposed {
                batch.suppose_parts(Column(0), b"k", &[b"n", b"ew"]);
            } else {
                batch.put(Column(0), b"k", b"new");
            }
        });
        assert_eq!(read().as_deref(), Some(&b"new"[..]));
        change(&backend, offset + 1, |batch| batch.delete(Column(0), b"k"));
        assert_eq!(read().as_deref(), supposed.then_some(&b"old"[..]));
    }
    backend.flush().unwrap();
    assert_eq!(below(&under), (None, Some(5)));
    // One that holds nothing back takes it for a row as any other.
    for value in [b"1", b"2"] {
        change(&*under, 6, |batch| {
            batch.suppose_parts(Column(0), b"k", &[value])
        });
    }
    assert_eq!(below(&under).0.as_deref(), Some(&b"2"[..]));
}

#[test]
fn rows_that_come_and_go_behind_one_that_stays_leave_nothing() {
    let (_, backend) = over_memory(&["rows"], 1 << 20);
    change(&backend, 1, |batch| {
        batch.insert_parts(Column(0), b"k", &[b"1"]);
    });
    let held = backend.stats().memory_bytes;
    let mut stay = vec![b"k".to_vec()];
    for offset in 2_i64..20_000 {
        let key = offset.to_be_bytes();
        change(&backend, offset, |batch| {
            batch.insert_parts(Column(0), &key, &[b"1"]);
        });
        if offset % 4_000 == 0 {
            stay.push(key.to_vec());
        } else {
            change(&backend, offset, |batch| batch.delete(Column(0), &key));
        }
    }
    let more = backend.stats().memory_bytes - held;
    assert!(more < 20_000, "{more} bytes");
    let found = contract::scan(&backend, Column(0), ALL, Direction::Ascending).unwrap();
    stay.sort();
    assert!(found.iter().map(|(key, _)| key).eq(&stay), "{found:?}");
}

const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

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
    /// How many writes go well from now on.
    allowed: AtomicUsize,
    before_scan: Box<dyn Fn() + Send + Sync>,
    written: Mutex<Vec<Written>>,
}

impl Sick {
    fn new(memory: MemoryBackend) -> Self {
        Self {
            memory,
            allowed: AtomicUsize::new(usize::MAX),
            before_scan: Box::new(|| {}),
            written: Mutex::default(),
        }
    }
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
        let allowed = self.allowed.load(Ordering::Relaxed);
        if allowed == 0 {
            return Err(Error::Storage("full".to_owned()));
        }
        self.allowed.store(allowed - 1, Ordering::Relaxed);
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
    let sick = Arc::new(Sick::new(MemoryBackend::new(&["rows"])));
    let backend = Buffered::new(sick.clone(), BufferBudget::new(1 << 20));
    put(&backend, b"k", b"1", Some(position(1, 0)));
    sick.allowed.store(0, Ordering::Relaxed);
    assert!(backend.flush().is_err());
    assert_eq!(
        contract::get(&backend, Column(0), b"k").unwrap().unwrap(),
        b"1"
    );
    sick.allowed.store(usize::MAX, Ordering::Relaxed);
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
        before_scan: Box::new(move || {
            let backend = weak.get().and_then(std::sync::Weak::upgrade);
            if let (Some(backend), false) = (backend, once.swap(true, Ordering::Relaxed)) {
                put(&*backend, b"b", b"2", Some(position(2, 0)));
                backend.flush().unwrap();
            }
        }),
        ..Sick::new(MemoryBackend::new(&["rows"]))
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
