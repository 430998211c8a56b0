//! The store that forgets against the simplest one: a list in the order of use. Whatever is done,
//! committed, aborted or restarted, and with whatever limit, both must hold the same and forget the
//! same next; and the changelog alone must bring it all back.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/shelf.rs"]
mod shelf;

use millstream_core::{
    ErrorKind,
    batch::RecordBatch,
    prelude::*,
    record::RawRecord,
    store::StateStore,
    task::restore_record,
    topology::{Evolution, Format, Verdict},
};
use millstream_state::{Backend, MemoryBackend, WriteBatch};
use proptest::{collection::vec, prelude::*};
use shelf::{COLUMN, backend, env, replay};
use std::sync::Arc;

/// The entries, least recently used first: key, value, when it changed.
type Rows = Vec<(String, i64, Timestamp)>;

#[derive(Clone, Copy, Debug)]
enum Op {
    Time(Timestamp),
    Get(u8),
    Put(u8, i64),
    PutIfAbsent(u8, i64),
    Delete(u8),
    /// The changes go to the log; what happens next happens beside an open commit.
    Drain,
    Applied,
    Abort,
    /// The process dies and begins anew with another limit, on its disk as the last commit that
    /// reached it left that, or on an empty one.
    Restart(usize, bool),
}

fn ops() -> impl Strategy<Value = Op> {
    let key = 0u8..9;
    prop_oneof![
        2 => (0i64..50).prop_map(Op::Time),
        6 => key.clone().prop_map(Op::Get),
        6 => (key.clone(), any::<i64>()).prop_map(|(k, v)| Op::Put(k, v)),
        2 => (key.clone(), any::<i64>()).prop_map(|(k, v)| Op::PutIfAbsent(k, v)),
        2 => key.prop_map(Op::Delete),
        3 => Just(Op::Drain),
        3 => Just(Op::Applied),
        1 => Just(Op::Abort),
        1 => (1usize..7, any::<bool>()).prop_map(|(limit, disk)| Op::Restart(limit, disk)),
    ]
}

fn key(number: u8) -> String {
    format!("k{number}")
}

/// A changelog record: key, value, time.
type Logged = (Vec<u8>, Option<Vec<u8>>, Timestamp);

struct Pair {
    backend: Arc<MemoryBackend>,
    store: LruStore<String, i64>,
    limit: usize,
    now: Timestamp,
    /// What the store shows, what is committed, and what will be after the open commit.
    shown: Rows,
    committed: Rows,
    drained: Option<(Rows, RecordBatch)>,
    changelog: Vec<Logged>,
}

impl Pair {
    fn new(limit: usize) -> Self {
        let backend = backend();
        let mut store = open(&backend, limit);
        store.set_time(0);
        Self {
            store,
            backend,
            limit,
            now: 0,
            shown: Rows::new(),
            committed: Rows::new(),
            drained: None,
            changelog: Vec::new(),
        }
    }

    /// The model's row of a key, moved to the end.
    fn used(&mut self, key: &str) -> Option<&mut (String, i64, Timestamp)> {
        let at = self.shown.iter().position(|row| row.0 == key)?;
        let row = self.shown.remove(at);
        self.shown.push(row);
        self.shown.last_mut()
    }

    fn set(&mut self, key: String, value: i64) {
        let now = self.now;
        match self.used(&key) {
            Some(row) => (row.1, row.2) = (value, now),
            None => self.shown.push((key, value, now)),
        }
        self.forget();
    }

    fn forget(&mut self) {
        let too_many = self.shown.len().saturating_sub(self.limit);
        self.shown.drain(..too_many);
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
                assert_eq!(found, self.used(&key(k)).map(|row| (row.1, row.2)));
            }
            Op::Put(k, value) => {
                self.store.put(&key(k), value).unwrap();
                self.set(key(k), value);
            }
            Op::PutIfAbsent(k, value) => {
                let found = self.store.put_if_absent(&key(k), value).unwrap().copied();
                assert_eq!(found, self.used(&key(k)).map(|row| row.1));
                if found.is_none() {
                    self.set(key(k), value);
                }
            }
            Op::Delete(k) => {
                let found = self.store.delete(&key(k)).unwrap();
                let at = self.shown.iter().position(|row| row.0 == key(k));
                assert_eq!(found, at.map(|at| self.shown.remove(at).1));
            }
            Op::Drain => self.drain(),
            Op::Applied => self.applied(),
            Op::Abort => {
                self.store.abort().unwrap();
                self.back_to_committed();
            }
            Op::Restart(limit, disk) => {
                if !disk {
                    self.backend = restored(&self.changelog);
                }
                self.limit = limit;
                self.store = open(&self.backend, limit);
                self.store.set_time(self.now);
                self.back_to_committed();
            }
        }
        assert_eq!(self.store.len(), self.shown.len());
        assert!(self.store.len() <= self.limit);
    }

    fn back_to_committed(&mut self) {
        self.shown = self.committed.clone();
        self.forget();
        self.drained = None;
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
        (self.changelog).extend(changes.iter().map(|(_, record)| logged(record)));
        self.store.applied().unwrap();
        self.committed = rows;
        self.changelog_has_the_order();
    }

    /// Of each key the last record counts, and these are in the order of the last uses.
    fn changelog_has_the_order(&self) {
        let last = |at: usize, key: &Vec<u8>| self.changelog[at + 1..].iter().all(|r| r.0 != *key);
        let all = self.changelog.iter().enumerate();
        let lasting = all.filter(|(at, (key, value, _))| value.is_some() && last(*at, key));
        let keys: Vec<_> = lasting
            .map(|(_, row)| utf8().decode(Some(&row.0)).unwrap())
            .collect();
        let expected = self.committed.iter().map(|row| row.0.clone());
        assert_eq!(keys, expected.collect::<Vec<_>>());
    }

    /// Puts new keys until all that there was is forgotten, in the right order.
    fn forget_all(&mut self) {
        for number in 100..100 + u8::try_from(self.limit).unwrap() {
            self.run(Op::Put(number, 0));
            self.run(Op::Drain);
            self.run(Op::Applied);
        }
    }
}

fn logged(record: RawRecord<'_>) -> Logged {
    let key = record.key.unwrap_or_default().to_vec();
    (key, record.value.map(<[u8]>::to_vec), record.timestamp)
}

/// A disk that had nothing, after a restore from the changelog.
fn restored(changelog: &[Logged]) -> Arc<MemoryBackend> {
    let backend = backend();
    let mut batch = WriteBatch::new();
    for (key, value, timestamp) in changelog {
        let record = RawRecord {
            key: Some(key),
            value: value.as_deref(),
            timestamp: *timestamp,
            headers: &Headers::NONE,
        };
        restore_record(&mut batch, COLUMN, record);
    }
    backend.apply(&batch).unwrap();
    backend
}

fn open(backend: &Arc<MemoryBackend>, limit: usize) -> LruStore<String, i64> {
    LruStore::open(utf8(), i64_be(), limit, env(backend)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_a_list_with_commits(limit in 1usize..7, script in vec(ops(), 0..120)) {
        let mut pair = Pair::new(limit);
        for op in script {
            pair.run(op);
        }
        pair.run(Op::Drain);
        pair.run(Op::Applied);
        pair.run(Op::Restart(pair.limit, false));
        pair.forget_all();
    }
}

/// A row as two owners under at-least-once may leave it: of the same use.
fn used(number: u64, value: i64) -> Vec<u8> {
    [
        0i64.to_be_bytes(),
        number.to_be_bytes(),
        value.to_be_bytes(),
    ]
    .concat()
}

fn with_rows(rows: &[(&str, Vec<u8>)]) -> Arc<MemoryBackend> {
    let backend = backend();
    let mut batch = WriteBatch::new();
    for (key, row) in rows {
        batch.put(COLUMN, key.as_bytes(), row);
    }
    backend.apply(&batch).unwrap();
    backend
}

#[test]
fn what_was_used_at_once_goes_by_its_key() {
    let backend = with_rows(&[("c", used(3, 1)), ("a", used(3, 2)), ("b", used(2, 3))]);
    let mut store = open(&backend, 3);
    store.set_time(7);
    for (new, gone) in [("x", "b"), ("y", "a"), ("z", "c")] {
        store.put(&new.to_owned(), 0).unwrap();
        let mut changes = RecordBatch::new();
        store.drain(&mut changes).unwrap();
        let told: Vec<_> = changes.iter().map(|(_, record)| logged(record)).collect();
        assert_eq!(told[0], (gone.as_bytes().to_vec(), None, 7));
        assert_eq!((told.len(), &*told[1].0), (2, new.as_bytes()));
        store.applied().unwrap();
    }
}

#[test]
fn stored_bytes_that_cannot_be_read_are_corrupt_state() {
    for bytes in [&b"short"[..], &[0; 12], &[0; 17], &used(u64::MAX, 0)] {
        let backend = with_rows(&[("a", bytes.to_vec())]);
        let opened = LruStore::open(utf8(), i64_be(), 2, env(&backend));
        let error = opened.map(drop).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::State(_)), "{error}");
        assert!(error.to_string().contains("store \"rows\""), "{error}");
    }
}

#[test]
fn what_the_log_could_not_tell_from_a_deletion_is_refused() {
    let backend = backend();
    let mut store = LruStore::open(option::<Utf8>(), option::<Utf8>(), 2, env(&backend)).unwrap();
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

static IN: Topic<String, i64> = Topic::new("in", utf8(), i64_be());

/// Keeps the last values.
struct Keep(StoreRef<LruStore<String, i64>>);

impl Processor<String, i64> for Keep {
    type Key = String;
    type Value = i64;

    fn process(
        &mut self,
        record: Record<String, i64>,
        ctx: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        ctx.store(self.0).put(&record.key, record.value)?;
        Ok(())
    }
}

fn program(limit: usize) -> Topology {
    let builder = StreamsBuilder::new();
    let last = builder.lru_map::<String, i64>("last", limit);
    let _ = builder.stream(&IN).process(last, Keep);
    builder.build().unwrap()
}

#[test]
fn its_kind_is_known_to_those_who_compare_and_read() {
    let described = |limit| program(limit).describe(Format::Json);
    let same = Evolution::between(&described(2), &described(3)).unwrap();
    assert_eq!(same.verdict(), Verdict::Compatible);
    let builder = StreamsBuilder::new();
    let _ = builder.table(&IN, "last");
    let table = builder.build().unwrap().describe(Format::Json);
    let other = Evolution::between(&described(2), &table).unwrap();
    assert_eq!(other.verdict(), Verdict::Reset);

    let topology = program(2);
    let (_, _, spec) = topology.find_store("last").unwrap();
    assert_eq!(spec.format, "lru/utf8/i64_be");
    let query = spec.query.clone().unwrap();
    assert_eq!(query.key(&serde_json::json!("a")).unwrap(), b"a");
    assert_eq!(query.show_key(b"a").unwrap(), "a");
    assert_eq!(query.show_value(&used(1, 5)[8..]).unwrap(), 5);
    assert!(query.show_value(b"short").is_err());

    let mut driver = TopologyTestDriver::new(topology).unwrap();
    for (time, key) in (0..).zip(["a", "b", "c"]) {
        driver.pipe(&IN, key.to_owned(), 1, time).unwrap();
    }
    let told = driver.changelog("last").into_iter();
    let told: Vec<_> = told
        .map(|(key, value, time, _)| (key.unwrap(), value.is_some(), time))
        .collect();
    let row = |key: &str, some, time| (key.as_bytes().to_vec(), some, time);
    assert_eq!(
        told,
        [
            row("a", true, 0),
            row("b", true, 1),
            row("a", false, 2),
            row("c", true, 2)
        ]
    );
}

#[test]
fn what_such_a_store_cannot_be_is_a_mistake() {
    let day = std::time::Duration::from_secs(86_400);
    let plain = || Materialized::<String, i64>::with("last", utf8(), i64_be());
    let cases = [
        (plain(), 0, "at most 0 entries"),
        (plain().versioned(day), 1, "cannot have versions"),
        (plain().with_retention(day), 1, "has no retention"),
    ];
    for (materialized, limit, why) in cases {
        let builder = StreamsBuilder::new();
        let line = line!() + 1;
        let last = builder.lru_map(materialized, limit);
        let _ = builder.stream(&IN).process(last, Keep);
        let told = builder.build().err().unwrap().to_string();
        assert!(told.contains(&format!("{}:{line}:", file!())), "{told}");
        assert!(told.contains(why), "{told}");
    }
}
