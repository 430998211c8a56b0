//! The backend on disk: the contract, and what only it promises.
#![cfg(feature = "rocksdb")]
#![expect(
    clippy::unwrap_used,
    reason = "in a helper of tests, too, a panic is the report"
)]

mod model;

use millstream_state::{
    Backend, Column, Direction, Durability, Error, Limits, RocksBackend, Shared, WriteBatch,
    contract,
};
use proptest::prelude::*;
use std::{cell::RefCell, fs, ops::Bound, path::Path};

fn names(columns: &[&str]) -> Vec<String> {
    columns.iter().map(|name| (*name).to_owned()).collect()
}

/// Budgets so small that caches are cut and memtables flushed within a test.
fn small() -> Shared {
    Shared::new(Limits {
        block_cache_bytes: 256 << 10,
        write_buffer_bytes: 1 << 20,
    })
}

fn open(path: &Path, columns: &[&str], shared: &Shared) -> RocksBackend {
    RocksBackend::open(path, &names(columns), shared).unwrap()
}

#[test]
fn keeps_the_contract() {
    let (parent, shared, count) = (tempfile::tempdir().unwrap(), small(), RefCell::new(0));
    contract::check(&|| {
        *count.borrow_mut() += 1;
        let path = parent.path().join(count.borrow().to_string());
        Box::new(open(&path, &contract::COLUMNS, &shared))
    })
    .unwrap();
}

#[test]
fn keeps_its_data() {
    for durability in [Durability::Process, Durability::Machine] {
        let (directory, shared) = (tempfile::tempdir().unwrap(), small());
        contract::check_reopen(&|| {
            let backend = open(directory.path(), &contract::COLUMNS, &shared);
            Box::new(backend.with_durability(durability))
        })
        .unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn behaves_like_the_model(steps in model::steps()) {
        let (directory, shared) = (tempfile::tempdir().unwrap(), small());
        let first = open(directory.path(), &model::COLUMNS, &shared);
        model::run(first, &steps, |backend| {
            drop(backend);
            open(directory.path(), &model::COLUMNS, &shared)
        })?;
    }
}

fn put(backend: &RocksBackend, column: u16, offset: i64) {
    let mut batch = WriteBatch::new();
    batch.put(Column(column), b"k", &offset.to_be_bytes());
    batch.set_position(Column(column), contract::position(offset));
    backend.apply(&batch).unwrap();
}

fn holds(backend: &RocksBackend, column: u16, offset: Option<i64>) {
    let stored = contract::get(backend, Column(column), b"k").unwrap();
    assert_eq!(stored, offset.map(|offset| offset.to_be_bytes().to_vec()));
    assert_eq!(
        backend.position(Column(column)).unwrap(),
        offset.map(contract::position)
    );
}

#[test]
fn columns_are_known_by_name_and_never_dropped() {
    let (directory, shared) = (tempfile::tempdir().unwrap(), small());
    let backend = open(directory.path(), &["a", "b", "default"], &shared);
    for column in 0..3 {
        put(&backend, column, i64::from(column));
    }
    assert!(backend.undeclared_columns().is_empty());
    drop(backend);

    let backend = open(directory.path(), &["new", "b"], &shared);
    assert_eq!(backend.columns(), ["new", "b"]);
    assert_eq!(backend.undeclared_columns(), ["a", "default"]);
    holds(&backend, 0, None);
    holds(&backend, 1, Some(1));
    put(&backend, 1, 11);
    backend.clear(Column(0)).unwrap();
    drop(backend);

    let backend = open(directory.path(), &["default", "a", "b", "new"], &shared);
    assert!(backend.undeclared_columns().is_empty());
    for (column, offset) in [(0, Some(2)), (1, Some(0)), (2, Some(11)), (3, None)] {
        holds(&backend, column, offset);
    }
}

#[test]
fn a_column_declared_twice_is_refused_before_anything_is_made() {
    let (directory, shared) = (tempfile::tempdir().unwrap(), small());
    let path = directory.path().join("task");
    let refusal = RocksBackend::open(&path, &names(&["a", "b", "a"]), &shared)
        .err()
        .unwrap();
    assert!(
        matches!(&refusal, Error::Storage(why) if why.contains("twice")),
        "{refusal}"
    );
    assert!(!path.exists());
}

#[test]
fn a_directory_in_use_is_locked() {
    let (directory, shared) = (tempfile::tempdir().unwrap(), small());
    let _owner = open(directory.path(), &["a"], &shared);
    let refusal = RocksBackend::open(directory.path(), &names(&["a"]), &shared)
        .err()
        .unwrap();
    assert!(
        matches!(&refusal, Error::Locked { path } if path == directory.path()),
        "{refusal}"
    );
}

#[test]
fn a_damaged_file_is_an_error_and_not_an_empty_store() {
    let (directory, shared) = (tempfile::tempdir().unwrap(), small());
    drop(open(directory.path(), &["a"], &shared));
    for entry in fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("MANIFEST")
        {
            fs::write(path, "damaged").unwrap();
        }
    }
    let refusal = RocksBackend::open(directory.path(), &names(&["a"]), &shared)
        .err()
        .unwrap();
    assert!(matches!(refusal, Error::Corrupt(_)), "{refusal}");
}

/// A kilobyte that does not compress.
fn noise(seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    })
    .take(1_000)
    .collect()
}

/// Enough data for files on several levels, overwritten and cleared while it is compacted.
#[test]
fn a_large_column_is_cleared_and_its_disk_given_back() {
    let (directory, shared) = (tempfile::tempdir().unwrap(), small());
    let backend = open(directory.path(), &["a", "b"], &shared);
    let mut batch = WriteBatch::new();
    for round in 0..20_u32 {
        batch.clear();
        for key in 0..400_u32 {
            let key = (key * 31 + round).to_be_bytes();
            batch.put(Column(0), &key, &noise(u32::from_be_bytes(key)));
        }
        batch.put(Column(1), &round.to_be_bytes(), b"stays");
        backend.apply(&batch).unwrap();
    }
    // What is still in memory becomes files when the write-ahead log is read.
    drop(backend);
    let backend = open(directory.path(), &["a", "b"], &shared);
    let full = backend.stats();
    assert!(
        full.keys_estimate >= 8_000 && full.disk_bytes > 5 << 20,
        "{full:?}"
    );
    backend.clear(Column(0)).unwrap();
    let all = (Bound::Unbounded, Bound::Unbounded);
    let left = |column| contract::scan(&backend, column, all, Direction::Descending).unwrap();
    assert_eq!(left(Column(0)), []);
    assert_eq!(left(Column(1)).len(), 20);
    let empty = backend.stats();
    assert!(empty.disk_bytes < full.disk_bytes / 10, "{empty:?}");
    assert!(shared.write_buffer_bytes() > 0 && shared.block_cache_bytes() <= 1 << 20);
}

/// A log's blocks are read in long stretches and hardly ever again; rows are.
#[test]
fn what_a_scan_of_a_log_reads_is_not_kept() {
    for (is_log, kept) in [(false, 800_000..usize::MAX), (true, 0..100_000)] {
        let directory = tempfile::tempdir().unwrap();
        let shared = Shared::new(Limits::default());
        let own = if is_log {
            shared.for_a_log()
        } else {
            shared.clone()
        };
        let backend = open(directory.path(), &["a"], &own);
        let mut batch = WriteBatch::new();
        for key in 0..1_000_u32 {
            batch.put(Column(0), &key.to_be_bytes(), &noise(key));
        }
        backend.apply(&batch).unwrap();
        // What is still in memory becomes files when the write-ahead log is read.
        drop(backend);
        let backend = open(directory.path(), &["a"], &own);
        let before = shared.block_cache_bytes();
        let all = (Bound::Unbounded, Bound::Unbounded);
        let rows = contract::scan(&backend, Column(0), all, Direction::Ascending).unwrap();
        assert_eq!(rows.len(), 1_000);
        let grown = shared.block_cache_bytes() - before;
        assert!(kept.contains(&grown), "{is_log}: {grown}");
    }
}

#[test]
fn a_lock_that_cannot_be_opened_is_not_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let shared = Shared::new(Limits::default());
    let columns = ["rows".to_owned()];
    drop(RocksBackend::open(directory.path(), &columns, &shared).unwrap());
    let lock = directory.path().join("LOCK");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    let refusal = RocksBackend::open(directory.path(), &columns, &shared).map(drop);
    let refusal = refusal.unwrap_err();
    assert!(
        matches!(&refusal, Error::Storage(why) if why.contains("LOCK")),
        "{refusal}"
    );
}
