//! Header-aware stores (KIP-1271): every shape keeps the headers of its values over commits,
//! restore and reopening, and stores with and without them read each other's rows.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "header_stores/programs.rs"]
mod programs;
#[path = "common/shelf.rs"]
mod shelf;

use millstream_core::{
    batch::RecordBatch,
    error::ErrorKind,
    prelude::*,
    record::Header,
    store::{
        At, KeyValueRows, RowBytes, StateStore, StoreKind, StoreLayout, TimedKind, TimedRows,
        TimedShape, TimedStore, VersionRows, versions_of,
    },
};
use millstream_state::{Backend, Direction, Error as StateError, MemoryBackend, WriteBatch};
use proptest::{collection::vec, prelude::*};
use shelf::{COLUMN, backend, env, replay};
use std::{
    ops::{Bound, ControlFlow},
    sync::{Arc, OnceLock},
};

type Traced = ValueAndHeaders<i64>;

/// A timestamp that looks like the mark of a row with headers.
const MARK: Timestamp = i64::from_be_bytes(*b"\x80headers");

fn traced() -> Serde<Traced> {
    with_headers::<I64Be>()
}

fn versions() -> Serde<Option<Traced>> {
    static SERDE: OnceLock<Serde<Option<Traced>>> = OnceLock::new();
    *SERDE.get_or_init(|| versions_of(traced()))
}

fn headers(of: &[(&str, Option<&[u8]>)]) -> Headers {
    let header = |(name, value): &(&str, Option<&[u8]>)| Header {
        name: (*name).to_owned(),
        value: value.map(<[u8]>::to_vec),
    };
    of.iter().map(header).collect()
}

fn trace(text: &str) -> Headers {
    headers(&[("trace", Some(text.as_bytes())), ("", None)])
}

fn value(value: i64, headers: Headers) -> Traced {
    Traced { value, headers }
}

/// Commits; what the changelog got, and a second backend that was restored from it.
fn commit(
    store: &mut dyn StateStore,
    backend: &MemoryBackend,
) -> (RecordBatch, Arc<MemoryBackend>) {
    let restored = shelf::backend();
    let changes = shelf::commit(store, backend);
    replay(&changes, &restored);
    (changes, restored)
}

/// The rows of a column, one after the other.
fn rows(backend: &MemoryBackend) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (everything, mut rows) = ((Bound::Unbounded, Bound::Unbounded), Vec::new());
    let mut take = |key: &[u8], row: &[u8]| {
        rows.push((key.to_vec(), row.to_vec()));
        ControlFlow::Continue(())
    };
    let scanned = backend.scan(COLUMN, everything, Direction::Ascending, &mut take);
    scanned.unwrap();
    rows
}

#[test]
fn the_changelog_has_the_values_bytes_and_the_headers_beside_them() {
    let backend = backend();
    let mut store = KeyValueStore::new(utf8(), traced(), env(&backend));
    store
        .put_at(&"a".to_owned(), value(7, trace("x")), 5)
        .unwrap();
    store
        .put_at(&"b".to_owned(), value(8, Headers::NONE), 6)
        .unwrap();
    let (changes, restored) = commit(&mut store, &backend);
    let (a, b) = (changes.get(0), changes.get(1));
    assert_eq!(
        (a.value, a.headers),
        (Some(&7_i64.to_be_bytes()[..]), &trace("x"))
    );
    assert!(b.headers.is_empty());
    assert_eq!(rows(&backend), rows(&restored));
    let [(_, a), (_, b)] = &rows(&backend)[..] else {
        unreachable!("two rows")
    };
    // A row without headers is as if there were none of them.
    assert_eq!(b[..], [6_i64.to_be_bytes(), 8_i64.to_be_bytes()].concat());
    let row = RowBytes::split(a).unwrap();
    assert_eq!((row.timestamp, row.value), (5, &7_i64.to_be_bytes()[..]));
    assert_eq!(row.headers().unwrap(), trace("x"));
}

#[test]
fn rows_by_key_have_their_headers_again() {
    let backend = backend();
    let mut store = KeyValueStore::new(utf8(), traced(), env(&backend));
    let keys = ["a", "b", "c"].map(str::to_owned);
    for (number, key) in (0..).zip(&keys) {
        store
            .put_at(key, value(number, trace(key)), number)
            .unwrap();
    }
    let (_, restored) = commit(&mut store, &backend);
    let mut again = KeyValueStore::new(utf8(), traced(), env(&restored));
    // One that is changed in place keeps the headers that nobody changes.
    again.entry(&keys[1], Traced::default).unwrap().value += 10;
    for (number, key) in (0..).zip(&keys) {
        let expected = value(number + if number == 1 { 10 } else { 0 }, trace(key));
        assert_eq!(again.get(key).unwrap(), Some(&expected));
    }
    let (mut committed, mut seen) = (KeyValueStore::new(utf8(), traced(), env(&backend)), vec![]);
    let visit = |_: String, row: Traced, time| {
        seen.push((row, time));
        ControlFlow::Continue(())
    };
    committed.all(visit).unwrap();
    let expected = (0..)
        .zip(&keys)
        .map(|(number, key)| (value(number, trace(key)), number));
    assert_eq!(seen, expected.collect::<Vec<_>>());

    let layout = StoreLayout::new(StoreKind::KeyValue, utf8(), traced());
    let with = Materialized::with("store", utf8(), i64_be()).with_headers();
    let with = KeyValueRows::of(&with, &layout).unwrap();
    let without = KeyValueRows::of(&Materialized::with("store", utf8(), i64_be()), &layout);
    let without = without.unwrap();
    for ((key, stored), (number, name)) in rows(&backend).iter().zip((0..).zip(&keys)) {
        let (_, row) = with.row(key, stored).unwrap();
        assert_eq!(
            (row.value, row.timestamp),
            (value(number, trace(name)), number)
        );
        assert_eq!(without.row(key, stored).unwrap().1.value, number);
    }
}

#[test]
fn a_serde_under_another_name_keeps_headers_apart_too() {
    let named = traced().named("number-v2");
    let backend = backend();
    let mut store = KeyValueStore::new(utf8(), named, env(&backend));
    store
        .put_at(&"a".to_owned(), value(7, trace("x")), 5)
        .unwrap();
    let (changes, _) = commit(&mut store, &backend);
    let record = changes.get(0);
    assert_eq!(record.value, Some(&7_i64.to_be_bytes()[..]));
    assert_eq!(record.headers, &trace("x"));
    // What has the headers in front of it is another format, and has another name.
    assert_eq!(named.apart().name(), "number-v2");
    assert_eq!(named.codec().name(), "with-headers<number-v2>");
}

#[test]
fn windows_and_sessions_have_their_headers_again() {
    for (kind, wide, at) in [
        (TimedKind::Window(10), false, At::time(20)),
        (TimedKind::Session, true, At::new(29, 20)),
    ] {
        let (backend, shape) = (
            backend(),
            TimedShape {
                kind,
                retention: 1_000,
                wide,
            },
        );
        let mut store = TimedStore::open(utf8(), traced(), shape, env(&backend)).unwrap();
        let key = "a".to_owned();
        store
            .put_at(&key, at, Some(value(7, trace("x"))), 25)
            .unwrap();
        let (changes, restored) = commit(&mut store, &backend);
        assert_eq!(changes.get(0).headers, &trace("x"));
        assert_eq!(changes.get(0).value, Some(&7_i64.to_be_bytes()[..]));
        let mut again = TimedStore::open(utf8(), traced(), shape, env(&restored)).unwrap();
        let expected = value(7, trace("x"));
        assert_eq!(again.get(&key, at).unwrap(), Some((&expected, 25)));
        let asked = Materialized::with("store", utf8(), i64_be()).with_headers();
        let layout = StoreLayout::new(StoreKind::Timed(shape), utf8(), i64_be());
        let reader = match kind {
            TimedKind::Session => TimedRows::sessions(&asked, &layout),
            _ => TimedRows::windows(&asked, &layout),
        };
        let is_row = |(key, _): &&(Vec<u8>, Vec<u8>)| key.len() > 1;
        let rows = rows(&backend);
        let (_, stored) = rows.iter().find(is_row).unwrap();
        assert_eq!(reader.unwrap().value(stored).unwrap().value, expected);
    }
}

#[test]
fn versions_have_the_headers_of_theirs() {
    let (backend, key) = (backend(), "a".to_owned());
    let open = |backend| VersionedStore::open(utf8(), versions(), 1_000, env(backend)).unwrap();
    let mut store = open(&backend);
    store.put(&key, Some(value(1, trace("x"))), 10).unwrap();
    store.put(&key, None, 20).unwrap();
    store.put(&key, Some(value(2, trace("y"))), 30).unwrap();
    let (_, restored) = commit(&mut store, &backend);
    let mut again = open(&restored);
    let at = |store: &mut VersionedStore<String, Traced>, time| {
        let found = store.get_as_of(&key, time).unwrap();
        found.map(|version| version.value.clone())
    };
    assert_eq!(at(&mut again, 15), Some(value(1, trace("x"))));
    assert_eq!(at(&mut again, 25), None);
    assert_eq!(at(&mut again, 35), Some(value(2, trace("y"))));
    let asked = Materialized::with("store", utf8(), i64_be()).with_headers();
    let shape = VersionRows::<String, Traced>::shape(1_000);
    let layout = StoreLayout::new(StoreKind::Versioned(shape), utf8(), versions());
    let (reader, rows) = (VersionRows::of(&asked, &layout).unwrap(), rows(&backend));
    let told = rows.iter().filter(|(key, _)| key.len() > 1);
    let told = told.filter_map(|(key, row)| reader.version(key, row).unwrap());
    let told: Vec<_> = told.map(|version| version.value).collect();
    assert_eq!(told, [value(1, trace("x")), value(2, trace("y"))]);
}

#[test]
fn what_was_used_last_has_its_headers_again() {
    let (backend, key) = (backend(), "a".to_owned());
    let mut store = LruStore::open(utf8(), traced(), 2, env(&backend)).unwrap();
    store.put(&key, value(1, trace("x"))).unwrap();
    let (_, restored) = commit(&mut store, &backend);
    let mut again = LruStore::open(utf8(), traced(), 2, env(&restored)).unwrap();
    assert_eq!(again.get(&key).unwrap(), Some(&value(1, trace("x"))));
}

#[test]
fn stores_with_and_without_headers_read_each_others_rows() {
    let (backend, keys) = (backend(), ["a", "b"].map(str::to_owned));
    let mut plain = KeyValueStore::new(utf8(), i64_be(), env(&backend));
    for (number, key) in (1..).zip(&keys) {
        plain.put_at(key, number, 10 * number).unwrap();
    }
    commit(&mut plain, &backend);
    let mut aware = KeyValueStore::new(utf8(), traced(), env(&backend));
    let (old, time) = aware.get_with_timestamp(&keys[0]).unwrap().unwrap();
    assert_eq!((old, time), (&value(1, Headers::NONE), 10));
    aware.put_at(&keys[0], value(3, trace("x")), 30).unwrap();
    commit(&mut aware, &backend);
    let mut plain = KeyValueStore::new(utf8(), i64_be(), env(&backend));
    assert_eq!(plain.get_with_timestamp(&keys[0]).unwrap(), Some((&3, 30)));
    assert_eq!(plain.get_with_timestamp(&keys[1]).unwrap(), Some((&2, 20)));
    plain.put_at(&keys[0], 4, 40).unwrap();
    commit(&mut plain, &backend);
    let stored = &rows(&backend)[0].1;
    assert_eq!(
        stored[..],
        [40_i64.to_be_bytes(), 4_i64.to_be_bytes()].concat()
    );
}

#[test]
fn bytes_that_are_no_headers_are_corrupt_state() {
    let broken = [
        &b"\x80headers"[..],
        b"\x80headers\0\0\0\0\0\0\0\x05",
        b"\x80headers\0\0\0\0\0\0\0\x05\x09\x01",
        b"\x80headers\0\0\0\0\0\0\0\x05\x02\x01\x05\0\0\0\0\0\0\0\0",
        b"\x80headers\0\0\0\0\0\0\0\x05\x02\0\0\0\0\0\0\0\0\0\0",
    ];
    for bytes in broken {
        let (backend, mut batch) = (backend(), WriteBatch::new());
        batch.put(COLUMN, b"a", bytes);
        backend.apply(&batch).unwrap();
        let mut store = KeyValueStore::new(utf8(), traced(), env(&backend));
        let error = store.get(&"a".to_owned()).unwrap_err();
        let is_corrupt = matches!(error.kind(), ErrorKind::State(StateError::Corrupt(_)));
        assert!(is_corrupt, "{bytes:?}: {error}");
    }
}

fn any_headers() -> impl Strategy<Value = Headers> {
    let header = (".{0,5}", proptest::option::of(vec(any::<u8>(), 0..9)));
    let header = header.prop_map(|(name, value)| Header { name, value });
    vec(header, 0..5).prop_map(|list| list.into_iter().collect())
}

proptest! {
    #[test]
    fn rows_come_back_whatever_their_times_and_headers(
        number: i64,
        headers in any_headers(),
        timestamp in prop_oneof![any::<i64>(), Just(MARK)],
    ) {
        let backend = backend();
        let mut store = KeyValueStore::new(utf8(), traced(), env(&backend));
        let (key, expected) = ("a".to_owned(), value(number, headers));
        store.put_at(&key, expected.clone(), timestamp).unwrap();
        let (_, restored) = commit(&mut store, &backend);
        prop_assert_eq!(rows(&backend), rows(&restored));
        let mut again = KeyValueStore::new(utf8(), traced(), env(&backend));
        let row = again.get_with_timestamp(&key).unwrap();
        prop_assert_eq!(row, Some((&expected, timestamp)));
        let mut plain = KeyValueStore::new(utf8(), i64_be(), env(&backend));
        prop_assert_eq!(plain.get_with_timestamp(&key).unwrap(), Some((&number, timestamp)));
    }

    #[test]
    fn where_there_is_no_place_for_headers_they_lie_with_the_value(
        text in proptest::option::of(".{0,9}"),
        headers in any_headers(),
    ) {
        // It may be null, and have headers.
        static SERDE: OnceLock<Serde<ValueAndHeaders<Option<String>>>> = OnceLock::new();
        let serde = *SERDE.get_or_init(|| option::<Utf8>().with_headers());
        let (value, mut bytes) = (ValueAndHeaders { value: text, headers }, Vec::new());
        prop_assert_eq!(serde.encode(&value, &mut bytes).unwrap(), Encoded::Bytes);
        prop_assert_eq!(serde.decode(Some(&bytes)).unwrap(), value);
        for cut in 0..bytes.len() {
            // Whatever a part of it means, it must not panic.
            let _ = serde.decode(Some(&bytes[..cut])).is_ok();
        }
    }

    #[test]
    fn rubbish_behind_the_mark_never_panics(rest in vec(any::<u8>(), 0..40)) {
        let stored = [&b"\x80headers"[..], &rest].concat();
        if let Ok(row) = RowBytes::split(&stored) {
            let _ = row.headers().is_ok();
        }
    }
}
