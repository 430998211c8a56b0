//! The timed store and the ordered buffer against the standard map: whatever is done in whatever
//! order, with however little memory, both must show the same, and what a crash leaves must be what
//! was committed; as must what a changelog gives back that was cut off in front.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/shelf.rs"]
mod shelf;

use millstream_core::{
    batch::RecordBatch,
    record::{Headers, RawRecord, Timestamp},
    serde::{i64_be, utf8},
    store::{At, BufferStore, StateStore, StoreEnv, Sweep, TimedKind, TimedShape, TimedStore},
    task::restore_record,
};
use millstream_state::{Backend, Direction, MemoryBackend, Position, WriteBatch};
use proptest::{collection::vec, prelude::*};
use shelf::{COLUMN, backend, replay};
use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

const RETENTION: Timestamp = 20;
const SHAPE: TimedShape = TimedShape {
    kind: TimedKind::Instant,
    retention: RETENTION,
    wide: true,
};

type Rows = BTreeMap<(String, At), (i64, Timestamp)>;

#[derive(Clone, Copy, Debug)]
enum Op {
    Now(Timestamp),
    Observe(Timestamp),
    Get(u8, At),
    Expect(u8, u8),
    Put(u8, At, i64),
    Add(u8, At, i64),
    Refuse(u8, At),
    Delete(u8, At),
    Fetch(u8, At, At, bool, usize),
    All,
    Drain,
    Applied,
    Abort,
    Crash,
    /// The log forgets what it may.
    Trim,
    /// The disk is lost, and the store restored from the changelog.
    Restore(bool),
}

fn at() -> impl Strategy<Value = At> {
    (0i64..60, 0i64..2).prop_map(|(time, second)| At::new(time, second))
}

fn ops() -> impl Strategy<Value = Op> {
    let key = 0u8..4;
    prop_oneof![
        2 => (0i64..60).prop_map(Op::Now),
        3 => (0i64..60).prop_map(Op::Observe),
        4 => (key.clone(), at()).prop_map(|(k, at)| Op::Get(k, at)),
        1 => (key.clone(), key.clone()).prop_map(|(k, l)| Op::Expect(k, l)),
        4 => (key.clone(), at(), any::<i64>()).prop_map(|(k, at, v)| Op::Put(k, at, v)),
        5 => (key.clone(), at(), 0i64..9).prop_map(|(k, at, v)| Op::Add(k, at, v)),
        1 => (key.clone(), at()).prop_map(|(k, at)| Op::Refuse(k, at)),
        3 => (key.clone(), at()).prop_map(|(k, at)| Op::Delete(k, at)),
        4 => (key, at(), at(), any::<bool>(), 0usize..9)
            .prop_map(|(k, from, to, up, most)| Op::Fetch(k, from, to, up, most)),
        1 => Just(Op::All),
        4 => Just(Op::Drain),
        4 => Just(Op::Applied),
        1 => Just(Op::Abort),
        1 => Just(Op::Crash),
        1 => Just(Op::Trim),
        1 => any::<bool>().prop_map(Op::Restore),
    ]
}

fn key(number: u8) -> String {
    // One is the beginning of the next, and zeros are what the ordered encoding escapes.
    "\0".repeat(usize::from(number))
}

struct Pair {
    backend: Arc<MemoryBackend>,
    store: TimedStore<String, i64>,
    cache_bytes: usize,
    /// Whether what has expired goes from the changelog's front, and not by tombstones.
    trimmed: bool,
    now: Timestamp,
    shown: (Rows, Timestamp),
    committed: (Rows, Timestamp),
    drained: Option<((Rows, Timestamp), RecordBatch)>,
    log: Changelog,
}

/// What a log would hold.
#[derive(Default)]
struct Changelog {
    records: Vec<(Vec<u8>, Option<Vec<u8>>, Timestamp)>,
    start: usize,
    /// Where it may begin.
    may_start: usize,
}

impl Pair {
    fn new(cache_bytes: usize, trimmed: bool) -> Self {
        let backend = backend();
        Self {
            store: open(&backend, cache_bytes, trimmed),
            backend,
            cache_bytes,
            trimmed,
            now: 0,
            shown: (Rows::new(), Timestamp::MIN),
            committed: (Rows::new(), Timestamp::MIN),
            drained: None,
            log: Changelog::default(),
        }
    }

    fn horizon(&self) -> Timestamp {
        self.shown.1.saturating_sub(RETENTION)
    }

    fn row(&self, k: u8, at: At) -> Option<(i64, Timestamp)> {
        let found = self.shown.0.get(&(key(k), at)).copied();
        found.filter(|_| at.time > self.horizon())
    }

    fn run(&mut self, op: Op) {
        let live = |at: At, horizon| at.time > horizon;
        match op {
            Op::Now(now) => {
                self.now = now;
                self.store.set_time(now);
            }
            Op::Observe(time) => {
                self.shown.1 = self.shown.1.max(time);
                assert_eq!(self.store.observe(time), self.shown.1);
            }
            Op::Get(k, at) => {
                let found = self.store.get(&key(k), at).unwrap();
                assert_eq!(found.map(|(v, t)| (*v, t)), self.row(k, at));
            }
            Op::Expect(k, other) => self.expect(&[key(k), key(other)]),
            Op::Put(k, at, value) => {
                let put = self.store.put(&key(k), at, Some(value)).unwrap();
                assert_eq!(put, live(at, self.horizon()));
                if put {
                    self.shown.0.insert((key(k), at), (value, self.now));
                    self.shown.1 = self.shown.1.max(at.time);
                }
            }
            Op::Add(k, at, value) => {
                let update = |row: &mut Option<i64>| {
                    let before = row.unwrap_or(100);
                    *row = Some(before.wrapping_add(value));
                    Ok(before)
                };
                let old = self.row(k, at);
                let updated = self.store.update(&key(k), at, update).unwrap();
                let updated = updated.map(|(before, row, time)| (before, *row, time));
                let expected = live(at, self.horizon()).then(|| {
                    let before = old.map_or(100, |(value, _)| value);
                    let time = old.map_or(self.now, |(_, time)| time.max(self.now));
                    (before, Some(before.wrapping_add(value)), time)
                });
                assert_eq!(updated, expected);
                if let Some((_, Some(value), time)) = expected {
                    self.shown.0.insert((key(k), at), (value, time));
                    self.shown.1 = self.shown.1.max(at.time);
                }
            }
            Op::Refuse(k, at) => {
                let refuse = |_: &mut Option<i64>| -> millstream_core::Result<()> {
                    Err(millstream_core::Error::processing("no"))
                };
                let refused = self.store.update(&key(k), at, refuse);
                assert_eq!(refused.is_err(), live(at, self.horizon()));
            }
            Op::Delete(k, at) => {
                self.store.put(&key(k), at, None).unwrap();
                if live(at, self.horizon()) {
                    self.shown.0.remove(&(key(k), at));
                }
            }
            Op::Fetch(k, from, to, up, most) => self.fetch((k, from, to), up, most),
            Op::All => self.all(),
            Op::Drain => self.drain(),
            Op::Applied => self.applied(),
            Op::Abort => self.abort(),
            Op::Crash => self.reopen(),
            Op::Trim => self.log.start = self.log.may_start,
            Op::Restore(tidy) => self.restore(tidy),
        }
    }

    fn expect(&mut self, keys: &[String]) {
        let coming: Vec<_> = keys.iter().map(|key| key.as_bytes()).collect();
        assert!(self.store.expect(&coming) <= keys.len());
    }

    fn restore(&mut self, tidy: bool) {
        self.backend = backend();
        let mut batch = WriteBatch::new();
        for (key, value, timestamp) in &self.log.records[self.log.start..] {
            let (key, value) = (Some(&key[..]), value.as_deref());
            let headers = &Headers::NONE;
            let record = RawRecord {
                key,
                value,
                timestamp: *timestamp,
                headers,
            };
            restore_record(&mut batch, COLUMN, record);
        }
        self.backend.apply(&batch).unwrap();
        if tidy {
            // As a standby does, also one of a program that keeps its rows less long.
            batch.clear();
            let column = (&*self.backend as &dyn Backend, COLUMN);
            let retention = if self.trimmed { 1 } else { RETENTION };
            let shape = TimedShape { retention, ..SHAPE };
            let mut sweep = Sweep::default();
            let swept = sweep.delete_expired(column, shape, 0, &mut batch);
            swept.unwrap();
            self.backend.apply(&batch).unwrap();
            let horizon = SHAPE.horizon(self.committed.1);
            let rows = self.stored();
            assert!(rows.iter().all(|row| !SHAPE.has_expired(row, horizon)));
        }
        self.reopen();
    }

    fn abort(&mut self) {
        self.store.abort().unwrap();
        self.back_to_committed();
    }

    fn reopen(&mut self) {
        self.store = open(&self.backend, self.cache_bytes, self.trimmed);
        self.store.set_time(self.now);
        self.back_to_committed();
    }

    fn stored(&self) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        let everything = (Bound::Unbounded, Bound::Unbounded);
        let mut take = |key: &[u8], _: &[u8]| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        };
        let up = Direction::Ascending;
        self.backend
            .scan(COLUMN, everything, up, &mut take)
            .unwrap();
        keys
    }

    fn back_to_committed(&mut self) {
        self.shown = self.committed.clone();
        self.drained = None;
        assert_eq!(self.store.observed(), self.shown.1);
    }

    fn fetch(&mut self, (k, from, to): (u8, At, At), up: bool, most: usize) {
        let rows = self.shown.0.iter().filter(|((name, at), _)| {
            *name == key(k) && (from..=to).contains(at) && at.time > self.horizon()
        });
        let mut expected: Vec<_> = rows.map(|((_, at), (v, t))| (*at, *v, *t)).collect();
        if !up {
            expected.reverse();
        }
        expected.truncate(most + 1);
        let (mut found, direction) = (Vec::new(), direction(up));
        let visit = |at, value: &i64, time| {
            found.push((at, *value, time));
            if found.len() > most {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let fetched = self.store.fetch(&key(k), from..=to, direction, visit);
        fetched.unwrap();
        assert_eq!(found, expected);
    }

    fn all(&mut self) {
        let (horizon, mut found) = (self.horizon(), Vec::new());
        let everything = Timestamp::MIN..=Timestamp::MAX;
        let visit = |key, at, value: &i64, time| {
            found.push(((key, at), (*value, time)));
            ControlFlow::Continue(())
        };
        self.store.all(everything, visit).unwrap();
        let rows = self.shown.0.iter().filter(|((_, at), _)| at.time > horizon);
        let expected: Vec<_> = rows.map(|(at, row)| (at.clone(), *row)).collect();
        assert_eq!(found, expected);
    }

    fn drain(&mut self) {
        self.applied();
        let mut changes = RecordBatch::new();
        self.store.drain(&mut changes).unwrap();
        assert_eq!(self.store.dirty_bytes(), 0);
        self.drained = Some((self.shown.clone(), changes));
    }

    fn applied(&mut self) {
        let Some((rows, changes)) = self.drained.take() else {
            return;
        };
        replay(&changes, &self.backend);
        for record in changes.logged() {
            let (key, value) = (
                record.key.unwrap().to_vec(),
                record.value.map(<[u8]>::to_vec),
            );
            self.log.records.push((key, value, record.timestamp));
        }
        let end = self.log.records.len();
        let position = Position {
            offset: i64::try_from(end).unwrap(),
            reach: i64::try_from(end).unwrap(),
            topic_id: 7,
            applied_at: 0,
            transaction: 0,
        };
        if let Some(start) = self.store.log_start(&position) {
            assert!(self.trimmed);
            let start = usize::try_from(start).unwrap();
            assert!(start <= end, "{start}");
            // After a crash it may know less than it did, since the trail goes with the clock.
            self.log.may_start = self.log.may_start.max(start);
        }
        self.store.applied().unwrap();
        self.committed = rows;
    }
}

fn direction(up: bool) -> Direction {
    if up {
        Direction::Ascending
    } else {
        Direction::Descending
    }
}

fn open(
    backend: &Arc<MemoryBackend>,
    cache_bytes: usize,
    trimmed: bool,
) -> TimedStore<String, i64> {
    let env = env(backend, cache_bytes, trimmed);
    TimedStore::open(utf8(), i64_be(), SHAPE, env).unwrap()
}

fn env(backend: &Arc<MemoryBackend>, cache_bytes: usize, trimmed: bool) -> StoreEnv {
    StoreEnv {
        cache_bytes,
        trimmed,
        ..shelf::env(backend)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_a_map_with_commits_and_a_horizon(
        cache in 0usize..2000, trimmed: bool, script in vec(ops(), 0..150)
    ) {
        let mut pair = Pair::new(cache, trimmed);
        pair.store.set_time(0);
        for op in script {
            pair.run(op);
        }
        pair.all();
        pair.run(Op::Crash);
        pair.all();
    }

    #[test]
    fn the_buffer_is_a_map_with_commits(script in vec((0u8..6, 0u8..8, any::<i64>()), 0..120)) {
        let backend = backend();
        let open = || BufferStore::open(i64_be(), env(&backend, 0, true)).unwrap();
        let (mut store, mut shown) = (open(), BTreeMap::new());
        let mut committed: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        let mut drained = None;
        for (what, key, value) in script {
            let key = vec![key];
            match what {
                0 | 1 => {
                    let old = store.put(&key, value, value.max(0)).unwrap();
                    prop_assert_eq!(old, shown.insert(key, value));
                }
                2 => {
                    let old = store.remove(&key).map(|(value, _)| value);
                    prop_assert_eq!(old, shown.remove(&key));
                }
                3 => {
                    let first = store.pop_first_if(|first| *first <= key[..]);
                    let due = shown.first_key_value().is_some_and(|(first, _)| *first <= key);
                    let expected = if due { shown.pop_first() } else { None };
                    prop_assert_eq!(first.map(|(key, value, _)| (key, value)), expected);
                }
                4 => {
                    if let Some((rows, changes)) = drained.take() {
                        replay(&changes, &backend);
                        store.applied().unwrap();
                        committed = rows;
                    } else {
                        let mut changes = RecordBatch::new();
                        store.drain(&mut changes).unwrap();
                        drained = Some((shown.clone(), changes));
                    }
                }
                _ => {
                    if value % 2 == 0 {
                        store = open();
                    } else {
                        store.abort().unwrap();
                    }
                    (shown, drained) = (committed.clone(), None);
                }
            }
            let all = (Bound::Unbounded, Bound::Unbounded);
            let found = store.range(all).map(|(key, value, _)| (key.to_vec(), *value));
            prop_assert_eq!(found.collect::<BTreeMap<_, _>>(), shown.clone());
            prop_assert_eq!(store.len(), shown.len());
            prop_assert_eq!(store.bytes() == 0, shown.is_empty());
        }
    }
}
