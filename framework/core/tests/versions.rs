//! The versioned store against a list of everything that was ever put: what a key was at any time,
//! whatever became known in whatever order, and whatever a crash took.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/shelf.rs"]
mod shelf;

use millstream_core::{
    batch::RecordBatch,
    record::Timestamp,
    serde::{Serde, i64_be, utf8},
    store::{Put, StateStore, StoreEnv, Version, VersionedStore, versions_of},
};
use millstream_state::{Backend, Direction, MemoryBackend};
use proptest::{collection::vec, prelude::*};
use shelf::{backend, commit, replay};
use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, OnceLock},
};

const RETENTION: Timestamp = 20;

fn serde() -> Serde<Option<i64>> {
    static SERDE: OnceLock<Serde<Option<i64>>> = OnceLock::new();
    *SERDE.get_or_init(|| versions_of(i64_be()))
}

fn open(backend: &Arc<MemoryBackend>, cache_bytes: usize) -> VersionedStore<String, i64> {
    let env = StoreEnv {
        cache_bytes,
        trimmed: true,
        ..shelf::env(backend)
    };
    VersionedStore::open(utf8(), serde(), RETENTION, env).unwrap()
}

/// What was put: for each key, since when which value holds; `None` where it is deleted.
#[derive(Clone)]
struct History {
    keys: BTreeMap<String, BTreeMap<Timestamp, Option<i64>>>,
    observed: Timestamp,
}

impl History {
    fn begins(&self) -> Timestamp {
        self.observed.saturating_sub(RETENTION)
    }

    fn put(&mut self, key: &str, value: Option<i64>, since: Timestamp) -> Put {
        if since < self.begins() {
            return Put::TooOld;
        }
        self.observed = self.observed.max(since);
        let versions = self.keys.entry(key.to_owned()).or_default();
        versions.insert(since, value);
        let next = versions.range(since + 1..).next();
        next.map_or(Put::Latest, |(until, _)| Put::Until(*until))
    }

    /// All versions of a key, those that are deletions too.
    fn versions(&self, key: &str) -> Vec<Version<Option<i64>>> {
        let versions = self.keys.get(key).into_iter().flatten().collect::<Vec<_>>();
        let untils = versions
            .iter()
            .skip(1)
            .map(|(since, _)| Some(**since))
            .chain([None]);
        let both = versions.iter().zip(untils);
        let version = |((since, value), until): (&(&Timestamp, &Option<i64>), _)| Version {
            value: **value,
            since: **since,
            until,
        };
        both.map(version).collect()
    }

    fn as_of(&self, key: &str, time: Timestamp) -> Option<Version<i64>> {
        let all = self.versions(key);
        let held = all.into_iter().rfind(|version| version.since <= time)?;
        let known = held.until.is_none() || time >= self.begins();
        present(held).filter(|_| known)
    }

    fn between(&self, key: &str, from: Timestamp, to: Timestamp) -> Vec<Version<i64>> {
        let begins = self.begins();
        let held = self
            .versions(key)
            .into_iter()
            .filter_map(present)
            .filter(|version| {
                let until = version.until.unwrap_or(Timestamp::MAX);
                let known = version.until.is_none() || (to >= begins && until > begins);
                version.since <= to && until > from && known
            });
        held.collect()
    }

    /// Whether a deletion takes the version that holds now at its very beginning.
    fn takes_back(&self, key: &str, value: Option<i64>, since: Timestamp) -> bool {
        let last = self
            .keys
            .get(key)
            .and_then(|versions| versions.last_key_value());
        value.is_none() && last.is_some_and(|(at, held)| *at == since && held.is_some())
    }
}

fn present(version: Version<Option<i64>>) -> Option<Version<i64>> {
    let Version {
        value,
        since,
        until,
    } = version;
    let value = value?;
    Some(Version {
        value,
        since,
        until,
    })
}

fn owned(version: Version<&i64>) -> Version<i64> {
    let Version {
        value,
        since,
        until,
    } = version;
    let value = *value;
    Version {
        value,
        since,
        until,
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Put(u8, Option<i64>, Timestamp),
    Delete(u8, Timestamp),
    Get(u8),
    AsOf(u8, Timestamp),
    Between(u8, Timestamp, Timestamp, bool),
    Drain,
    Applied,
    Abort,
    Crash,
}

fn ops() -> impl Strategy<Value = Op> {
    let (key, time) = (0u8..3, 0i64..60);
    prop_oneof![
        9 => (key.clone(), any::<Option<i64>>(), time.clone())
            .prop_map(|(key, value, since)| Op::Put(key, value, since)),
        1 => (key.clone(), time.clone()).prop_map(|(key, since)| Op::Delete(key, since)),
        2 => key.clone().prop_map(Op::Get),
        6 => (key.clone(), time.clone()).prop_map(|(key, time)| Op::AsOf(key, time)),
        3 => (key, time.clone(), 0i64..30, any::<bool>())
            .prop_map(|(key, from, more, up)| Op::Between(key, from, from + more, up)),
        3 => Just(Op::Drain),
        3 => Just(Op::Applied),
        1 => Just(Op::Abort),
        1 => Just(Op::Crash),
    ]
}

struct Pair {
    backend: Arc<MemoryBackend>,
    cache_bytes: usize,
    store: VersionedStore<String, i64>,
    shown: History,
    committed: History,
    drained: Option<(History, RecordBatch)>,
}

impl Pair {
    fn new(cache_bytes: usize) -> Self {
        let backend = backend();
        let history = History {
            keys: BTreeMap::new(),
            observed: Timestamp::MIN,
        };
        Self {
            store: open(&backend, cache_bytes),
            backend,
            cache_bytes,
            shown: history.clone(),
            committed: history,
            drained: None,
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Put(key, value, since) => {
                let key = name(key);
                // That leaves no trace, which has a test of its own.
                if !self.shown.takes_back(&key, value, since) {
                    let put = self.store.put(&key, value, since).unwrap();
                    assert_eq!(put, Some(self.shown.put(&key, value, since)));
                }
            }
            Op::Delete(key, since) => {
                let key = name(key);
                if !self.shown.takes_back(&key, None, since) {
                    let held = self.shown.as_of(&key, since);
                    let held = held.filter(|_| since >= self.shown.begins());
                    assert_eq!(self.store.delete(&key, since).unwrap(), held);
                    self.shown.put(&key, None, since);
                }
            }
            Op::Get(key) => {
                let found = self.store.get(&name(key)).unwrap();
                let found = found.map(|(value, since)| (*value, since));
                let now = self.shown.versions(&name(key)).pop().and_then(present);
                assert_eq!(found, now.map(|version| (version.value, version.since)));
            }
            Op::AsOf(key, time) => {
                let found = self.store.get_as_of(&name(key), time).unwrap().map(owned);
                assert_eq!(found, self.shown.as_of(&name(key), time));
            }
            Op::Between(key, from, to, up) => {
                let (mut found, direction) = (Vec::new(), direction(up));
                let visit = |version: Version<&i64>| {
                    found.push(owned(version));
                    ControlFlow::Continue(())
                };
                let visited = self
                    .store
                    .versions(&name(key), (from, to), direction, visit);
                visited.unwrap();
                if !up {
                    found.reverse();
                }
                assert_eq!(found, self.shown.between(&name(key), from, to));
            }
            Op::Drain => {
                self.applied();
                let mut changes = RecordBatch::new();
                self.store.drain(&mut changes).unwrap();
                self.drained = Some((self.shown.clone(), changes));
            }
            Op::Applied => self.applied(),
            Op::Abort => {
                self.store.abort().unwrap();
                (self.shown, self.drained) = (self.committed.clone(), None);
            }
            Op::Crash => {
                self.store = open(&self.backend, self.cache_bytes);
                (self.shown, self.drained) = (self.committed.clone(), None);
            }
        }
        assert_eq!(self.store.observed(), self.shown.observed);
    }

    fn applied(&mut self) {
        if let Some((history, changes)) = self.drained.take() {
            replay(&changes, &self.backend);
            self.store.applied().unwrap();
            self.committed = history;
        }
    }
}

fn name(key: u8) -> String {
    "\0".repeat(usize::from(key))
}

fn direction(up: bool) -> Direction {
    if up {
        Direction::Ascending
    } else {
        Direction::Descending
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_a_list_of_what_was_put(
        cache in 0usize..2000, script in vec(ops(), 0..120)
    ) {
        let mut pair = Pair::new(cache);
        for op in script {
            pair.run(op);
        }
        for (key, time) in (0..3).flat_map(|key| (0..60).map(move |time| (key, time))) {
            pair.run(Op::AsOf(key, time));
        }
    }
}

fn store() -> VersionedStore<String, i64> {
    open(&backend(), 1 << 20)
}

fn put(store: &mut VersionedStore<String, i64>, value: Option<i64>, since: Timestamp) -> Put {
    store.put(&"k".to_owned(), value, since).unwrap().unwrap()
}

/// What is put at exactly the retention behind the greatest time is put still; and what has ended
/// there is known no more, while what holds is, however old.
#[test]
fn history_ends_where_the_retention_does() {
    let (mut store, key) = (store(), "k".to_owned());
    assert_eq!(put(&mut store, Some(1), 10), Put::Latest);
    assert_eq!(put(&mut store, Some(2), 30), Put::Latest);
    assert_eq!(put(&mut store, Some(3), 9), Put::TooOld);
    assert_eq!(put(&mut store, Some(4), 10), Put::Until(30));
    let mut as_of = |time| {
        let found = store.get_as_of(&key, time).unwrap();
        found.map(|version| (*version.value, version.since, version.until))
    };
    assert_eq!(as_of(9), None);
    assert_eq!(as_of(10), Some((4, 10, Some(30))));
    assert_eq!(as_of(29), Some((4, 10, Some(30))));
    assert_eq!(as_of(30), Some((2, 30, None)));
    let other = "other".to_owned();
    store.put(&other, Some(0), 1_000).unwrap();
    assert_eq!(store.get_as_of(&key, 29).unwrap(), None, "that is long ago");
    assert_eq!(
        store
            .get_as_of(&key, 500)
            .unwrap()
            .map(|found| *found.value),
        Some(2)
    );
}

#[test]
fn a_deletion_ends_what_becomes_known_later() {
    let mut store = store();
    assert_eq!(put(&mut store, None, 20), Put::Latest);
    assert_eq!(put(&mut store, Some(1), 10), Put::Until(20));
    assert_eq!(put(&mut store, None, 15), Put::Until(20));
    assert_eq!(put(&mut store, Some(2), 17), Put::Until(20));
    let found = store.get_as_of(&"k".to_owned(), 12).unwrap().map(owned);
    let (since, until) = (10, Some(15));
    let value = 1;
    assert_eq!(
        found,
        Some(Version {
            value,
            since,
            until,
        })
    );
    assert_eq!(store.get(&"k".to_owned()).unwrap(), None);
}

/// So it is in Kafka Streams: what is deleted at the time at which it began was never there, and
/// what becomes known later is not ended by it.
#[test]
fn a_version_deleted_at_its_beginning_leaves_no_trace() {
    let mut store = store();
    assert_eq!(put(&mut store, Some(1), 20), Put::Latest);
    assert_eq!(put(&mut store, None, 20), Put::Latest);
    assert_eq!(put(&mut store, Some(2), 10), Put::Latest);
    assert_eq!(store.get(&"k".to_owned()).unwrap(), Some((&2, 10)));
}

/// Versions of keys that never come again are forgotten all the same, but for the last.
#[test]
fn what_has_ended_leaves_the_backend() {
    let backend = backend();
    let mut store = open(&backend, 1 << 20);
    for second in 0..2_000i64 {
        let time = second * 1000;
        let key = format!("k{}", second / 10);
        store.put(&key, Some(second), time).unwrap();
        commit(&mut store, &backend);
    }
    let rows = backend.stats().keys_estimate;
    assert!((200..400).contains(&rows), "{rows} rows of 200 keys");
    assert_eq!(store.get(&"k0".to_owned()).unwrap(), Some((&9, 9_000)));
}
