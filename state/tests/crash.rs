//! A process killed with SIGKILL while it writes: what it had been told was applied is there.
//!
//! The test starts itself as a child that applies batches and says so, line by line, until it is
//! killed. Nothing waits for time to pass: the parent reads lines, kills, and reads what is left.
#![cfg(feature = "rocksdb")]
#![expect(
    clippy::unwrap_used,
    reason = "in a helper of tests, too, a panic is the report"
)]

use millstream_state::{
    Backend, Column, Direction, Limits, RocksBackend, Shared, WriteBatch, contract,
};
use std::{
    env,
    io::{BufRead, BufReader, Write},
    ops::Bound,
    path::Path,
    process::{Command, Stdio},
};

/// Names the directory to write to; only the child has it.
const DIRECTORY: &str = "MILLSTREAM_CRASH_DIRECTORY";
/// What a line begins with that reports an applied batch.
const APPLIED: &str = "applied ";
/// Keys per batch, and the number of slots that the batches overwrite in turn.
const KEYS: u64 = 50;
const SLOTS: u64 = 300;

/// Write buffers small enough that the kill meets flushes and compactions.
fn open(path: &Path) -> RocksBackend {
    let shared = Shared::new(Limits {
        block_cache_bytes: 1 << 20,
        write_buffer_bytes: 1 << 20,
    });
    RocksBackend::open(path, &["left".to_owned(), "right".to_owned()], &shared).unwrap()
}

/// Batch `n` gives the keys of slot `n % SLOTS` the value `n`, in both columns.
fn fill(batch: &mut WriteBatch, n: u64) {
    batch.clear();
    for key in 0..KEYS {
        let key = [(n % SLOTS).to_be_bytes(), key.to_be_bytes()].concat();
        for column in [Column(0), Column(1)] {
            batch.put_parts(column, &key, &[&n.to_be_bytes(), &[0x5A; 100]]);
        }
    }
    for column in [Column(0), Column(1)] {
        batch.set_position(column, contract::position(i64::try_from(n).unwrap()));
    }
}

/// The number of the last batch in the directory; all data must be of this batch or be older.
fn verify(path: &Path) -> u64 {
    let backend = open(path);
    let position = backend.position(Column(0)).unwrap();
    assert_eq!(backend.position(Column(1)).unwrap(), position);
    let last = position.map_or(0, |position| u64::try_from(position.offset).unwrap());
    let all = (Bound::Unbounded, Bound::Unbounded);
    for column in [Column(0), Column(1)] {
        let pairs = contract::scan(&backend, column, all, Direction::Ascending).unwrap();
        assert_eq!(
            pairs.len() as u64,
            last.min(SLOTS) * KEYS,
            "every batch is there whole"
        );
        for (key, value) in pairs {
            let slot = u64::from_be_bytes(key[..8].try_into().unwrap());
            let expected = last - (last + SLOTS - slot) % SLOTS;
            assert_eq!(
                value[..8],
                expected.to_be_bytes(),
                "slot {slot} after batch {last}"
            );
        }
    }
    last
}

/// The child: writes until it is killed. Without the variable, in the parent, there is nothing to
/// do.
#[test]
fn child() {
    let Some(directory) = env::var_os(DIRECTORY) else {
        return;
    };
    let backend = open(directory.as_ref());
    let mut n =
        u64::try_from(backend.position(Column(0)).unwrap().map_or(0, |p| p.offset)).unwrap();
    let mut batch = WriteBatch::new();
    loop {
        n += 1;
        fill(&mut batch, n);
        backend.apply(&batch).unwrap();
        // The harness captures `println!`; the handle itself is written through.
        writeln!(std::io::stdout(), "{APPLIED}{n}").unwrap();
    }
}

#[test]
fn nothing_that_was_applied_is_lost_to_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut reached = 0;
    for batches in [1, 40, 700, 350] {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The kill may cut the last line; what is left of its number is smaller than the number.
        let (mut applied, goal) = (reached, reached + batches);
        for line in lines {
            let line = line.unwrap();
            let number = line
                .split_once(APPLIED)
                .and_then(|(_, number)| number.parse().ok());
            applied = number.map_or(applied, |number| applied.max(number));
            if number == Some(goal) {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let found = verify(directory.path());
        assert!(
            found >= applied,
            "batch {applied} was acknowledged, {found} is on disk"
        );
        assert!(
            applied >= goal,
            "the child ended by itself at batch {applied}"
        );
        reached = found;
    }
}
