//! The first on-disk format, as a directory that was written once and is never written again.
//!
//! Whoever changes how state lies on disk has to keep reading `tests/fixtures/state-v1`, or raise
//! [`FORMAT`] and add a fixture of the new version beside it. To write one, set the variable
//! `MILLSTREAM_FIXTURE` to a directory that does not exist and run this test.
#![cfg(feature = "rocksdb")]
#![expect(
    clippy::unwrap_used,
    reason = "in a helper of tests, too, a panic is the report"
)]

use millstream_state::{
    Backend, Column, Direction, FORMAT, Limits, Position, RocksBackend, Shared, StateDir,
    WriteBatch, contract, ordered,
};
use std::{env, fs, ops::Bound, path::Path};

const TASK: &str = "0_3";

fn open(state: &StateDir, columns: &[&str]) -> RocksBackend {
    let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
    let path = state.task_path(TASK).unwrap();
    RocksBackend::open(path, &columns, &Shared::new(Limits::default())).unwrap()
}

fn position(offset: i64) -> Position {
    let topic_id = 0x0123_4567_89AB_CDEF_0011_2233_4455_6677;
    Position {
        offset,
        reach: offset,
        topic_id,
        applied_at: 1_700_000_000_123,
        transaction: 42,
    }
}

fn window(key: &str, start: i64) -> Vec<u8> {
    let mut out = Vec::new();
    ordered::put_str(&mut out, key);
    ordered::put_i64(&mut out, start);
    out
}

fn write(path: &Path) {
    let state = StateDir::open(path).unwrap();
    let backend = open(&state, &["counts", "windows", "given up"]);
    let mut batch = WriteBatch::new();
    for n in 0..200_u32 {
        batch.put(Column(0), format!("word-{n}").as_bytes(), &n.to_be_bytes());
    }
    batch.delete(Column(0), b"word-13");
    for start in [-60_000, 0, 60_000] {
        batch.put(
            Column(1),
            &window("a\0b", start),
            start.to_string().as_bytes(),
        );
    }
    batch.put(Column(2), b"k", b"kept all the same");
    batch.set_position(Column(0), position(200));
    batch.set_position(Column(2), position(-1));
    backend.apply(&batch).unwrap();
    // Opening again turns the write-ahead log into a table file, which is what a fixture keeps.
    drop(backend);
    drop(open(&state, &["counts", "windows", "given up"]));
}

fn read(path: &Path) {
    let state = StateDir::open(path).unwrap();
    assert_eq!(state.tasks().unwrap(), [TASK]);
    let backend = open(&state, &["new", "windows", "counts"]);
    assert_eq!(backend.undeclared_columns(), ["given up"]);
    let all = (Bound::Unbounded, Bound::Unbounded);
    let scan = |column| contract::scan(&backend, column, all, Direction::Ascending).unwrap();
    assert_eq!(scan(Column(0)), []);
    let windows: Vec<_> = [-60_000, 0, 60_000_i64]
        .map(|start| (window("a\0b", start), start.to_string().into_bytes()))
        .into();
    assert_eq!(scan(Column(1)), windows);
    assert_eq!(scan(Column(2)).len(), 199);
    for n in 0..200_u32 {
        let value = contract::get(&backend, Column(2), format!("word-{n}").as_bytes()).unwrap();
        assert_eq!(
            value,
            (n != 13).then(|| n.to_be_bytes().to_vec()),
            "word-{n}"
        );
    }
    assert_eq!(backend.position(Column(0)).unwrap(), None);
    assert_eq!(backend.position(Column(1)).unwrap(), None);
    assert_eq!(backend.position(Column(2)).unwrap(), Some(position(200)));
    drop(backend);
    let backend = open(&state, &["given up"]);
    assert_eq!(backend.position(Column(0)).unwrap(), Some(position(-1)));
    let kept = contract::get(&backend, Column(0), b"k").unwrap();
    assert_eq!(kept.as_deref(), Some(&b"kept all the same"[..]));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn the_first_format_is_still_read() {
    let fixture = Path::new("../tests/fixtures/state-v1");
    let copied = tempfile::tempdir().unwrap();
    copy(fixture, copied.path());
    assert_eq!(FORMAT, 1, "a new format needs a fixture of its own");
    read(copied.path());
}

#[test]
fn what_is_written_today_is_read_today() {
    let directory = tempfile::tempdir().unwrap();
    let kept = env::var_os("MILLSTREAM_FIXTURE");
    let path = kept.as_deref().map_or(directory.path(), Path::new);
    write(path);
    let copied = tempfile::tempdir().unwrap();
    copy(path, copied.path());
    read(copied.path());
}
