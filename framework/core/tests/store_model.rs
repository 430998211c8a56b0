//! The key-value store against the standard map: whatever is done in whatever order, with however
//! little memory, both must show the same, and what a crash leaves must be what was committed.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/shelf.rs"]
mod shelf;

use millstream_core::{
    ErrorKind,
    batch::RecordBatch,
    record::Timestamp,
    serde::{Utf8, i64_be, option, utf8},
    store::{KeyValueStore, StateStore, StoreEnv},
};
use millstream_state::{Backend, Direction, MemoryBackend, WriteBatch};
use proptest::{collection::vec, prelude::*};
use shelf::{COLUMN, backend, commit, replay};
use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow, RangeBounds},
    sync::Arc,
};

type Rows = BTreeMap<String, (i64, Timestamp)>;

#[derive(Clone, Copy, Debug)]
enum Op {
    Time(Timestamp),
    Get(u8),
    Expect(u8, u8),
    Put(u8, i64),
    PutAt(u8, i64, Timestamp),
    PutIfAbsent(u8, i64),
    Add(u8, i64),
    Delete(u8),
    Range(Bound<u8>, Bound<u8>, bool, usize),
    /// All keys that begin as this one's does, up to so many.
    Prefix(u8, usize),
    /// The changes go to the log; what happens next happens beside an open commit.
    Drain,
    Applied,
    Abort,
    Crash,
}

fn bounds() -> impl Strategy<Value = Bound<u8>> {
    prop_oneof![
        Just(Bound::Unbounded),
        (0u8..14).prop_map(Bound::Included),
        (0u8..14).prop_map(Bound::Excluded),
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    let key = 0u8..12;
    prop_oneof![
        2 => (0i64..50).prop_map(Op::Time),
        6 => key.clone().prop_map(Op::Get),
        1 => (key.clone(), key.clone()).prop_map(|(k, l)| Op::Expect(k, l)),
        4 => (key.clone(), any::<i64>()).prop_map(|(k, v)| Op::Put(k, v)),
        1 => (key.clone(), any::<i64>(), 0i64..50).prop_map(|(k, v, t)| Op::PutAt(k, v, t)),
        3 => (key.clone(), any::<i64>()).prop_map(|(k, v)| Op::PutIfAbsent(k, v)),
        4 => (key.clone(), 0i64..9).prop_map(|(k, v)| Op::Add(k, v)),
        4 => key.prop_map(Op::Delete),
        3 => (bounds(), bounds(), any::<bool>(), 0usize..15)
            .prop_map(|(from, to, up, most)| Op::Range(from, to, up, most)),
        2 => (0u8..14, 0usize..15).prop_map(|(k, most)| Op::Prefix(k, most)),
        3 => Just(Op::Drain),
        3 => Just(Op::Applied),
        1 => Just(Op::Abort),
        1 => Just(Op::Crash),
    ]
}

fn key(number: u8) -> String {
    // Not all of one length, so that the order is that of bytes and not of numbers.
    format!("k{number}")
}

/// A store, and what it should be.
struct Pair {
    backend: Arc<MemoryBackend>,
    store: KeyValueStore<String, i64>,
    cache_bytes: usize,
    now: Timestamp,
    /// What the store shows, what the backend holds, and what it holds after the open commit.
    shown: Rows,
    committed: Rows,
    drained: Option<(Rows, RecordBatch)>,
    /// Keys in the order of their first change since the last drain.
    dirty: Vec<String>,
}

impl Pair {
    fn new(cache_bytes: usize) -> Self {
        let backend = backend();
        Self {
            store: open(&backend, cache_bytes),
            backend,
            cache_bytes,
            now: 0,
            shown: Rows::new(),
            committed: Rows::new(),
            drained: None,
            dirty: Vec::new(),
        }
    }

    fn touch(&mut self, key: &str) {
        if !self.dirty.iter().any(|known| known == key) {
            self.dirty.push(key.to_owned());
        }
    }

    fn set(&mut self, key: String, value: i64, time: Timestamp) {
        self.touch(&key);
        self.shown.insert(key, (value, time));
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Time(now) => {
                self.now = now;
                self.store.set_time(now);
            }
            Op::Get(k) => {
                let found = self.store.get_with_timestamp(&key(k)).unwrap();
                let found = found.map(|(value, time)| (*value, time));
                assert_eq!(found, self.shown.get(&key(k)).copied());
            }
            Op::Expect(k, other) => {
                let keys = [key(k), key(other)];
                let keys = keys.each_ref().map(|key| key.as_bytes());
                assert!(self.store.expect(&keys) <= 2);
            }
            Op::Put(k, value) => {
                self.store.put(&key(k), value).unwrap();
                self.set(key(k), value, self.now);
            }
            Op::PutAt(k, value, time) => {
                self.store.put_at(&key(k), value, time).unwrap();
                self.set(key(k), value, time);
            }
            Op::PutIfAbsent(k, value) => {
                let found = self.store.put_if_absent(&key(k), value).unwrap().copied();
                assert_eq!(found, self.shown.get(&key(k)).map(|(value, _)| *value));
                if found.is_none() {
                    self.set(key(k), value, self.now);
                }
            }
            Op::Add(k, value) => {
                let entry = self.store.entry(&key(k), || 100).unwrap();
                *entry = entry.wrapping_add(value);
                let before = self.shown.get(&key(k)).map_or(100, |(value, _)| *value);
                self.set(key(k), before.wrapping_add(value), self.now);
            }
            Op::Delete(k) => {
                let found = self.store.delete(&key(k)).unwrap();
                let row = self.shown.remove(&key(k));
                assert_eq!(found, row.map(|(value, _)| value));
                if found.is_some() {
                    self.touch(&key(k));
                }
            }
            Op::Range(from, to, up, most) => self.range((from.map(key), to.map(key)), up, most),
            Op::Prefix(k, most) => self.prefix(&key(k), most),
            Op::Drain => self.drain(),
            Op::Applied => self.applied(),
            Op::Abort => {
                self.store.abort().unwrap();
                self.back_to_committed();
            }
            Op::Crash => {
                self.store = open(&self.backend, self.cache_bytes);
                self.store.set_time(self.now);
                self.back_to_committed();
            }
        }
        assert_eq!(self.store.dirty_bytes() > 0, !self.dirty.is_empty());
    }

    fn back_to_committed(&mut self) {
        self.shown = self.committed.clone();
        self.dirty.clear();
        self.drained = None;
    }

    fn range(&mut self, bounds: (Bound<String>, Bound<String>), up: bool, most: usize) {
        let inside = |key: &&String| bounds.contains(*key);
        let rows = self.shown.iter().filter(|(key, _)| inside(key));
        let mut expected: Vec<_> = rows.map(|(k, (v, t))| (k.clone(), *v, *t)).collect();
        let direction = if up {
            Direction::Ascending
        } else {
            Direction::Descending
        };
        if !up {
            expected.reverse();
        }
        expected.truncate(most + 1);
        let mut found = Vec::new();
        let visit = |key, value, time| {
            found.push((key, value, time));
            if found.len() > most {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        self.store.range(bounds, direction, visit).unwrap();
        assert_eq!(found, expected);
    }

    fn prefix(&mut self, prefix: &str, most: usize) {
        let rest = |key: &String| {
            key.strip_prefix(prefix)
                .map(|rest| rest.as_bytes().to_vec())
        };
        let rows = (self.shown.iter()).filter_map(|(k, (v, t))| Some((rest(k)?, *v, *t)));
        let expected: Vec<_> = rows.take(most + 1).collect();
        let mut found = Vec::new();
        let visit = |rest: &[u8], value, time| {
            found.push((rest.to_vec(), value, time));
            if found.len() > most {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        self.store.prefix_scan(prefix.as_bytes(), visit).unwrap();
        assert_eq!(found, expected);
    }

    fn drain(&mut self) {
        self.applied();
        let mut changes = RecordBatch::new();
        self.store.drain(&mut changes).unwrap();
        let logged: Vec<_> = changes
            .iter()
            .map(|(_, record)| utf8().decode(record.key).unwrap())
            .collect();
        assert_eq!(
            logged, self.dirty,
            "one record a dirty key, first touched first"
        );
        for (_, record) in changes.iter() {
            let row = self.shown.get(&utf8().decode(record.key).unwrap());
            let value = record
                .value
                .map(|bytes| i64_be().decode(Some(bytes)).unwrap());
            assert_eq!(value, row.map(|(value, _)| *value));
            if let Some((_, time)) = row {
                assert_eq!(record.timestamp, *time);
            }
        }
        self.dirty.clear();
        self.drained = Some((self.shown.clone(), changes));
    }

    fn applied(&mut self) {
        let Some((rows, changes)) = self.drained.take() else {
            return;
        };
        replay(&changes, &self.backend);
        self.store.applied().unwrap();
        self.committed = rows;
        if self.dirty.is_empty() {
            let held = self.store.resident_bytes();
            assert!(
                held <= self.cache_bytes,
                "{held} bytes in a cache of {}",
                self.cache_bytes
            );
        }
    }
}

fn open(backend: &Arc<MemoryBackend>, cache_bytes: usize) -> KeyValueStore<String, i64> {
    KeyValueStore::new(utf8(), i64_be(), env(backend, cache_bytes))
}

fn env(backend: &Arc<MemoryBackend>, cache_bytes: usize) -> StoreEnv {
    StoreEnv {
        cache_bytes,
        ..shelf::env(backend)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_a_map_with_commits(cache in 0usize..600, script in vec(ops(), 0..120)) {
        let mut pair = Pair::new(cache);
        pair.store.set_time(0);
        for op in script {
            pair.run(op);
        }
        pair.range((Bound::Unbounded, Bound::Unbounded), true, usize::MAX - 1);
        pair.run(Op::Crash);
        pair.range((Bound::Unbounded, Bound::Unbounded), true, usize::MAX - 1);
    }
}

/// Of one key alone there can be no mistake.
#[test]
fn a_key_that_is_expected_is_looked_for_as_it_is_on_the_log() {
    let backend = backend();
    let mut store = open(&backend, 10_000);
    assert_eq!(store.expect(&[b"key"]), 0);
    store.put(&"key".to_owned(), 1).unwrap();
    assert_eq!(store.expect(&[b"key"]), 1);
    assert_eq!(store.expect(&[b"other", b"key", b"none"]), 1);
    assert_eq!(store.get(&"key".to_owned()).unwrap(), Some(&1));
}

#[test]
fn the_cache_keeps_its_bound_while_values_grow_and_shrink() {
    let backend = backend();
    let cache_bytes = 20_000;
    let mut store = KeyValueStore::new(utf8(), utf8(), env(&backend, cache_bytes));
    for round in 0..20usize {
        let length = if round % 2 == 0 { 10 } else { 1000 };
        for number in 0..100 {
            let name = format!("{}", number + round * 50);
            store.put(&name, "x".repeat(length)).unwrap();
        }
        commit(&mut store, &backend);
        // What is held cannot be less than what lies there.
        assert!(store.resident_bytes() <= cache_bytes, "round {round}");
    }
    for number in 0..1000 {
        store.get(&number.to_string()).unwrap();
    }
    let held = store.resident_bytes();
    assert!(held <= 3 * cache_bytes, "{held} bytes between two commits");
    commit(&mut store, &backend);
    let held = store.resident_bytes();
    assert!(
        held <= cache_bytes && held > cache_bytes / 2,
        "{held} bytes after a commit"
    );
}

#[test]
fn stored_bytes_that_cannot_be_read_are_corrupt_state() {
    for bytes in [&b"short"[..], &[0; 9], &[]] {
        let backend = backend();
        let mut batch = WriteBatch::new();
        batch.put(COLUMN, b"a", bytes);
        backend.apply(&batch).unwrap();
        let mut store = open(&backend, 0);
        let got = store.get(&"a".to_owned()).unwrap_err();
        let scanned = store.all(|_, _, _| ControlFlow::Continue(())).unwrap_err();
        for error in [got, scanned] {
            assert!(matches!(error.kind(), ErrorKind::State(_)), "{error}");
            assert!(error.to_string().contains("store \"rows\""), "{error}");
        }
    }
}

#[test]
fn what_the_log_could_not_tell_from_a_deletion_is_refused() {
    let backend = backend();
    let mut store = KeyValueStore::new(option::<Utf8>(), option::<Utf8>(), env(&backend, 0));
    assert!(store.put(&None, None).is_err());
    assert!(store.delete(&None).is_err());
    assert_eq!(store.get(&None).unwrap(), None);
    store.put(&Some("a".to_owned()), None).unwrap();
    let error = store.drain(&mut RecordBatch::new()).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Serialization(_)),
        "{error}"
    );
}
