//! Readers of committed rows against the stores that wrote them: what each says of the same state.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/shelf.rs"]
mod shelf;

use millstream_core::{
    prelude::*,
    store::{
        At, KeyBounds, KeyValueRows, StateStore, StoreEnv, StoreKind, StoreLayout, TimedKind,
        TimedRows, TimedShape, TimedStore, Version, VersionRows, versions_of,
    },
};
use millstream_state::{Backend, Direction, MemoryBackend};
use proptest::{collection::vec, prelude::*};
use serde::{Deserialize, Serialize};
use shelf::{COLUMN, backend, commit};
use std::{
    ops::{Bound, ControlFlow},
    sync::{Arc, OnceLock},
};

const RETENTION: Timestamp = 20;
/// A zero in a key is escaped where times stand behind it.
const KEYS: [&str; 4] = ["", "a", "a\0", "b"];

/// A row as it is stored.
type Stored = (Vec<u8>, Vec<u8>);
/// A put or a deletion by key and times, and whether a commit follows.
type Puts = Vec<(String, Option<i64>, (Timestamp, i64), bool)>;

fn env(backend: &Arc<MemoryBackend>) -> StoreEnv {
    StoreEnv {
        trimmed: true,
        ..shelf::env(backend)
    }
}

/// The rows between two bounds that have not expired, as a query finds them.
fn stored(
    backend: &MemoryBackend,
    (from, to): &KeyBounds,
    shape: Option<TimedShape>,
) -> (Vec<Stored>, Timestamp) {
    let horizon = shape.map_or(Timestamp::MIN, |shape| {
        shape.committed_horizon(backend, COLUMN).unwrap()
    });
    let bounds = (
        from.as_ref().map(Vec::as_slice),
        to.as_ref().map(Vec::as_slice),
    );
    let mut rows = Vec::new();
    let mut visit = |key: &[u8], row: &[u8]| {
        let gone = shape.is_some_and(|shape| shape.has_expired(key, horizon));
        if key != [0] && !gone {
            rows.push((key.to_vec(), row.to_vec()));
        }
        ControlFlow::Continue(())
    };
    let scanned = backend.scan(COLUMN, bounds, Direction::Ascending, &mut visit);
    scanned.unwrap();
    (rows, horizon)
}

fn any_bound<T: Clone + std::fmt::Debug + 'static>(
    of: impl Strategy<Value = T> + Clone + 'static,
) -> impl Strategy<Value = Bound<T>> {
    prop_oneof![
        of.clone().prop_map(Bound::Included),
        of.prop_map(Bound::Excluded),
        Just(Bound::Unbounded),
    ]
}

fn any_key() -> impl Strategy<Value = String> + Clone {
    (0..KEYS.len()).prop_map(|key| KEYS[key].to_owned())
}

fn any_puts() -> impl Strategy<Value = Puts> {
    let put = (
        any_key(),
        proptest::option::of(any::<i64>()),
        (-10_i64..60, 0_i64..3),
        any::<bool>(),
    );
    vec(put, 0..40)
}

type Row = (Windowed<String>, i64, Timestamp);

/// What a store says of keys and times, and what a reader says of what it has committed.
fn timed(
    (kind, wide): (TimedKind, bool),
    puts: &Puts,
    (key, keys): (&String, &(Bound<String>, Bound<String>)),
    times: (Bound<Timestamp>, Bound<Timestamp>),
) -> [(Vec<Row>, Vec<Row>); 2] {
    let (backend, retention) = (backend(), RETENTION);
    let shape = TimedShape {
        kind,
        retention,
        wide,
    };
    let mut store = TimedStore::open(utf8(), i64_be(), shape, env(&backend)).unwrap();
    for (now, (key, value, (time, second), ends)) in (0..).zip(puts) {
        store.set_time(now);
        let at = At::new(*time, if wide { *second } else { 0 });
        store.put(key, at, *value).unwrap();
        if *ends {
            commit(&mut store, &backend);
        }
    }
    commit(&mut store, &backend);
    let (mut of_key, mut of_keys) = (Vec::new(), Vec::new());
    let all = Timestamp::MIN..=Timestamp::MAX;
    let visited = store.all(all, |found, at, value, timestamp| {
        let window = kind.window(at);
        let row = (Windowed::new(found, window), *value, timestamp);
        if row.0.key == *key && std::ops::RangeBounds::contains(&times, &at.time) {
            of_key.push(row.clone());
        }
        if std::ops::RangeBounds::contains(keys, &row.0.key) {
            of_keys.push(row);
        }
        ControlFlow::Continue(())
    });
    visited.unwrap();
    let layout = StoreLayout::new(StoreKind::Timed(shape), utf8(), i64_be());
    let asked = Materialized::with("store", utf8(), i64_be());
    let reader = match kind {
        TimedKind::Session => TimedRows::sessions(&asked, &layout),
        TimedKind::Window(_) | TimedKind::Instant => TimedRows::windows(&asked, &layout),
    };
    let reader = reader.unwrap();
    let read = |bounds: KeyBounds| -> Vec<Row> {
        let (rows, _) = stored(&backend, &bounds, Some(shape));
        let row = |(place, row): &Stored| {
            let (key, found) = reader.row(place, row).unwrap();
            let (window, alike) = reader.window_row(place, row).unwrap();
            assert_eq!((key.window, &found), (window, &alike));
            assert_eq!(reader.window_of(place), Some(window));
            (key, found.value, found.timestamp)
        };
        rows.iter().map(row).collect()
    };
    for (key, ..) in &of_keys {
        // The place of a row is found from what it says, unless others are at its time.
        let place = reader.place(&key.key, key.window).unwrap();
        let found = read((Bound::Included(place.clone()), Bound::Included(place)));
        assert!(found.len() == 1 || (wide && kind != TimedKind::Session));
    }
    [
        (of_key, read(reader.of_key(key, &times).unwrap())),
        (of_keys, read(reader.of_keys(keys).unwrap())),
    ]
}

fn same(version: Version<&i64>) -> Version<i64> {
    Version {
        value: *version.value,
        since: version.since,
        until: version.until,
    }
}

proptest! {
    #[test]
    fn a_reader_of_timed_rows_says_what_their_store_does(
        puts in any_puts(),
        key in any_key(),
        keys in (any_bound(any_key()), any_bound(any_key())),
        times in (any_bound(-10_i64..60), any_bound(-10_i64..60)),
    ) {
        for (kind, wide) in [
            (TimedKind::Window(5), false),
            (TimedKind::Session, true),
            (TimedKind::Instant, true),
        ] {
            for (expected, found) in timed((kind, wide), &puts, (&key, &keys), times) {
                prop_assert_eq!(expected, found, "{:?}", kind);
            }
        }
    }

    #[test]
    fn a_reader_of_versions_says_what_their_store_does(
        puts in any_puts(),
        key in any_key(),
        (from, to) in (-15_i64..65, -15_i64..65),
    ) {
        static SERDE: OnceLock<Serde<Option<i64>>> = OnceLock::new();
        let (backend, value) = (backend(), *SERDE.get_or_init(|| versions_of(i64_be())));
        let shape = VersionRows::<String, i64>::shape(RETENTION);
        let mut store = VersionedStore::open(utf8(), value, RETENTION, env(&backend)).unwrap();
        for (key, value, (since, _), ends) in &puts {
            store.put(key, *value, *since).unwrap();
            if *ends {
                commit(&mut store, &backend);
            }
        }
        commit(&mut store, &backend);
        let layout = StoreLayout::new(StoreKind::Versioned(shape), utf8(), value);
        let asked = Materialized::with("store", utf8(), i64_be());
        let reader = VersionRows::of(&asked, &layout).unwrap();
        let read = |from, to: Timestamp| {
            let bounds = reader.since(&key, from).unwrap();
            let (rows, horizon) = stored(&backend, &bounds, Some(shape));
            let told = rows.into_iter().filter(|(place, _)| reader.is_told(place, to, horizon));
            told.map(|(place, row)| reader.version(&place, &row).unwrap()).collect::<Vec<_>>()
        };
        let held = |version: &Version<i64>| version.since <= to;
        let mut versions = Vec::new();
        let visited = store.versions(&key, (from, to), Direction::Ascending, |version| {
            versions.push(same(version));
            ControlFlow::Continue(())
        });
        visited.unwrap();
        let found = read(from, to).into_iter().flatten().filter(held);
        prop_assert_eq!(found.collect::<Vec<_>>(), versions);

        let as_of = store.get_as_of(&key, to).unwrap().map(same);
        let first = read(to, to).into_iter().next().flatten().filter(held);
        prop_assert_eq!(first, as_of);

        let now = reader.now(&key).unwrap();
        let now = (Bound::Included(now.clone()), Bound::Included(now));
        let (rows, _) = stored(&backend, &now, None);
        let now = rows.first().map(|(place, row)| reader.version(place, row).unwrap().unwrap());
        let now = now.map(|version| (version.value, version.since));
        let known = store.get(&key).unwrap();
        prop_assert_eq!(now, known.map(|(value, since)| (*value, since)));
    }

    #[test]
    fn a_reader_of_values_by_key_says_what_their_store_does(
        puts in any_puts(),
        keys in (any_bound(any_key()), any_bound(any_key())),
        prefix in any_key(),
        used in any::<bool>(),
    ) {
        let backend = backend();
        let mut plain = KeyValueStore::new(utf8(), i64_be(), env(&backend));
        let mut lru = LruStore::open(utf8(), i64_be(), 3, env(&backend)).unwrap();
        for (now, (key, value, ..)) in (0..).zip(&puts) {
            plain.set_time(now);
            lru.set_time(now);
            match value {
                Some(value) if used => lru.put(key, *value).unwrap(),
                None if used => drop(lru.delete(key).unwrap()),
                Some(value) => plain.put(key, *value).unwrap(),
                None => drop(plain.delete(key).unwrap()),
            }
        }
        let store: &mut dyn StateStore = if used { &mut lru } else { &mut plain };
        commit(store, &backend);
        let mut all = Vec::new();
        for key in KEYS.map(str::to_owned) {
            let found = if used {
                lru.get_with_timestamp(&key).unwrap()
            } else {
                plain.get_with_timestamp(&key).unwrap()
            };
            all.extend(found.map(|(value, time)| (key.clone(), *value, time)));
        }
        let kind = if used { StoreKind::Lru } else { StoreKind::KeyValue };
        let layout = StoreLayout::new(kind, utf8(), i64_be());
        let asked = Materialized::with("store", utf8(), i64_be());
        let reader = KeyValueRows::of(&asked, &layout).unwrap();
        let read = |bounds: KeyBounds| {
            let (rows, _) = stored(&backend, &bounds, None);
            let row = |(key, row): &Stored| {
                let (found, row) = reader.row(key, row).unwrap();
                assert_eq!(reader.key(&found).unwrap(), *key);
                (found, row.value, row.timestamp)
            };
            rows.iter().map(row).collect::<Vec<_>>()
        };
        let mut between = all.clone();
        between.retain(|(key, ..)| std::ops::RangeBounds::contains(&keys, key));
        prop_assert_eq!(read(reader.range(&keys).unwrap()), between);
        all.retain(|(key, ..)| key.starts_with(&prefix));
        prop_assert_eq!(read(reader.beginning_with(prefix.as_bytes())), all);
    }
}

#[derive(Clone, Serialize, Deserialize)]
enum Old {
    A(u8),
}

#[derive(Clone, Serialize, Deserialize)]
enum New {
    A(u8),
    B(String),
}

/// What asking for a store in another way than it is comes to.
fn refused<V>(found: &StoreLayout, value: Serde<V>) -> [Option<String>; 4] {
    let asked = Materialized::with("store", utf8(), value);
    let told = |made: Option<millstream_core::Error>| made.map(|error| error.to_string());
    [
        told(KeyValueRows::of(&asked, found).err()),
        told(TimedRows::windows(&asked, found).err()),
        told(TimedRows::sessions(&asked, found).err()),
        told(VersionRows::of(&asked, found).err()),
    ]
}

#[test]
fn a_store_is_read_as_what_it_is() {
    let timed = |kind| {
        StoreKind::Timed(TimedShape {
            kind,
            retention: 1,
            wide: true,
        })
    };
    let versioned = StoreKind::Versioned(VersionRows::<String, u64>::shape(1));
    let cases = [
        (StoreKind::KeyValue, 0, "a key-value store"),
        (StoreKind::Lru, 0, "a key-value store"),
        (timed(TimedKind::Window(7)), 1, "a window store"),
        (timed(TimedKind::Instant), 1, "a window store"),
        (timed(TimedKind::Session), 2, "a session store"),
        (versioned, 3, "a versioned store"),
    ];
    for (kind, right, called) in cases {
        let layout = match kind {
            StoreKind::Versioned(_) => StoreLayout::new(kind, utf8(), versions_of(u64_be())),
            _ => StoreLayout::new(kind, utf8(), u64_be()),
        };
        for (place, told) in refused(&layout, u64_be()).into_iter().enumerate() {
            match told {
                None => assert_eq!(place, right, "{called}"),
                Some(told) => {
                    assert_ne!(place, right, "{told}");
                    assert!(
                        told.starts_with(&format!("\"store\" is {called}")),
                        "{told}"
                    );
                }
            }
        }
        let told = refused(&layout, i64_be());
        let told = told[right].as_ref().unwrap();
        for part in ["values", "u64_be", "i64_be", "misread"] {
            assert!(told.contains(part), "{told} does not say {part:?}");
        }
    }
}

/// As rows of an older program are readable to a newer one.
#[test]
fn a_type_that_reads_all_that_is_there_may_ask() {
    let old = StoreLayout::new(StoreKind::KeyValue, utf8(), bincode::<Old>());
    let new = StoreLayout::new(StoreKind::KeyValue, utf8(), bincode::<New>());
    assert_eq!(refused(&old, bincode::<New>())[0], None);
    assert_eq!(refused(&old, bincode::<Old>())[0], None);
    assert!(refused(&new, bincode::<Old>())[0].is_some());
    let keys = Materialized::with("store", u64_be(), bincode::<Old>());
    let told = KeyValueRows::of(&keys, &old).err().unwrap().to_string();
    assert!(told.contains("the keys of the store \"store\""), "{told}");
}

#[test]
fn a_null_key_is_no_key_of_a_store() {
    let layout = StoreLayout::new(StoreKind::KeyValue, option::<Utf8>(), u64_be());
    let asked = Materialized::with("store", option::<Utf8>(), u64_be());
    let rows = KeyValueRows::of(&asked, &layout).unwrap();
    assert!(rows.key(&None).is_err() && rows.key(&Some("a".to_owned())).is_ok());
    assert!(rows.range(&(None..)).is_err());
}
