//! Queries with types, of stores of every kind: what they say, and what they refuse.

use super::{harness::*, kinds::*, marks::Marked};
use millstream_core::{prelude::*, record::TaskId};
use millstream_log::Log;
use millstream_runtime::{
    Error,
    backends::{Backends, MemoryBackends, RocksBackends, TransientBackends},
    streams::{Rows, Streams},
};
use millstream_state::{Column, Limits, Shared, WriteBatch};
use proptest::{collection::vec, prelude::*};
use serde_json::json;
use std::{fmt::Debug, ops::Bound, ops::RangeBounds, sync::Arc};

const TASK: TaskId = TaskId {
    subtopology: 0,
    partition: 0,
};
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn on(world: &World, disk: Arc<dyn Backends>, threads: usize) -> Streams {
    let mut config = config("a");
    config.threads = threads;
    Streams::new(Arc::new(every_kind()), config, world.source(), disk).unwrap()
}

/// Some keys at some times, of which the first ones expire, and some that come late.
fn records() -> Vec<(String, i64)> {
    let times = [0, 3, 40, 38, 100, 101, 90, 155, 160, 158];
    let keyed = times
        .iter()
        .zip(KEYS.iter().cycle().chain(KEYS.iter().cycle()));
    let keyed = keyed.map(|(time, key)| ((*key).to_owned(), *time));
    keyed
        .chain([("a".to_owned(), 161), ("a".to_owned(), 150)])
        .collect()
}

#[test]
fn typed_answers_are_those_in_json_wherever_stores_lie() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = RocksBackends::open(dir.path(), Shared::new(Limits::default())).unwrap();
    let disks: [Arc<dyn Backends>; 3] = [
        Arc::new(MemoryBackends::default()),
        Arc::new(TransientBackends::default()),
        Arc::new(rocks),
    ];
    for disk in disks {
        let world = world(3);
        for (key, n) in KEYS.iter().zip(0..) {
            rate(&world, key, n);
        }
        let streams = on(&world, disk, 2);
        start(&streams);
        until_shared(&world, &streams, 3);
        let records = records();
        let count = records.len();
        world.feed(records);
        until_counted(&world, &streams, count);
        assert_alike(&streams);
        assert_eq!(json_rows(&streams, "rates").len(), KEYS.len());
    }
}

/// All ways to ask one iterator for the same.
fn both_ways<T: PartialEq + Debug>(ask: impl Fn() -> Rows<T>, expected: &[T], ends: &[bool]) {
    assert_eq!(all(ask()), expected);
    let mut back: Vec<T> = ask().rev().collect::<Result<_, _>>().unwrap();
    back.reverse();
    assert_eq!(back, expected);
    let (mut rows, mut front, mut back) = (ask(), Vec::new(), Vec::new());
    for from_front in ends.iter().cycle() {
        let (next, list) = if *from_front {
            (rows.next(), &mut front)
        } else {
            (rows.next_back(), &mut back)
        };
        match next {
            Some(row) => list.push(row.unwrap()),
            None => break,
        }
    }
    assert!(rows.next().is_none() && rows.next_back().is_none());
    back.reverse();
    front.append(&mut back);
    assert_eq!(front, expected);
}

fn any_bound<T: Clone + Debug + 'static>(
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

fn touches(window: &Window, times: &(Bound<i64>, Bound<i64>)) -> bool {
    // All windows lie in there.
    let mut all = -1_000..1_000;
    all.any(|time| times.contains(&time) && window.start <= time && time <= window.end)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_is_asked_for_is_what_all_rows_say_of_it(
        records in vec((any_key(), 0_i64..150), 1..60),
        asked in vec((
            any_key(),
            (any_bound(any_key()), any_bound(any_key())),
            (any_bound(-5_i64..160), any_bound(-5_i64..160)),
            vec(any::<bool>(), 1..4),
        ), 8),
    ) {
        let world = world(2);
        let streams = on(&world, Arc::new(MemoryBackends::default()), 2);
        start(&streams);
        until_shared(&world, &streams, 2);
        let mut model = std::collections::BTreeMap::<String, (u64, i64)>::new();
        for (key, time) in &records {
            let row = model.entry(key.clone()).or_default();
            *row = (row.0 + 1, row.1.max(*time));
        }
        let count = records.len();
        world.feed(records);
        until_counted(&world, &streams, count);
        assert_alike(&streams);
        let counts = streams.key_value_store::<String, u64>("counts").unwrap();
        for key in KEYS.map(str::to_owned) {
            let row = counts.get(&key).unwrap().map(|row| (row.value, row.timestamp));
            prop_assert_eq!(row, model.get(&key).copied());
        }
        let windows = streams.window_store::<String, u64>("windows").unwrap();
        let moments = streams.window_store::<String, i64>("moments").unwrap();
        let sessions = streams.session_store::<String, u64>("sessions").unwrap();
        let versions = streams.versioned_store::<String, i64>("versions").unwrap();
        for (key, keys, times, ends) in asked {
            let of_keys = |found: &String| keys.contains(found);

            let mut expected = all(counts.all().unwrap());
            expected.retain(|(found, _)| of_keys(found));
            both_ways(|| counts.range(keys.clone()).unwrap(), &expected, &ends);

            let mut expected = all(windows.all().unwrap());
            expected.retain(|(found, _)| times.contains(&found.window.start));
            both_ways(|| windows.fetch_all(times).unwrap(), &expected, &ends);
            expected.retain(|(found, _)| of_keys(&found.key));
            both_ways(|| windows.fetch_keys(keys.clone(), times).unwrap(), &expected, &ends);

            let mut expected = all(moments.all().unwrap());
            expected.retain(|(found, _)| found.key == key && times.contains(&found.window.start));
            let expected: Vec<_> = expected.into_iter().map(|(at, row)| (at.window, row)).collect();
            both_ways(|| moments.fetch_range(&key, times).unwrap(), &expected, &ends);

            let mut expected = all(sessions.all().unwrap());
            expected.retain(|(found, _)| touches(&found.window, &times));
            let mut of_key = expected.clone();
            expected.retain(|(found, _)| of_keys(&found.key));
            both_ways(|| sessions.find_sessions_of(keys.clone(), times).unwrap(), &expected, &ends);
            of_key.retain(|(found, _)| found.key == key);
            let of_key: Vec<_> = of_key.into_iter().map(|(at, row)| (at.window, row)).collect();
            both_ways(|| sessions.find_sessions(&key, times).unwrap(), &of_key, &ends);

            for time in [-5, 0, 60, 90, 100, 140, 160] {
                let held = versions.get_as_of(&key, time).unwrap();
                let found = all(versions.versions(&key, time..=time).unwrap());
                prop_assert_eq!(held.into_iter().collect::<Vec<_>>(), found);
                prop_assert!(all(versions.versions(&key, time..time).unwrap()).is_empty());
            }
            let every = all(versions.versions(&key, ..).unwrap());
            both_ways(|| versions.versions(&key, ..).unwrap(), &every, &ends);
        }
    }
}

fn told<T>(made: millstream_runtime::Result<T>, parts: &[&str]) {
    let told = made.err().unwrap().to_string();
    for part in parts {
        assert!(told.contains(part), "{told} does not say {part:?}");
    }
}

#[test]
fn a_store_that_is_not_like_that_is_refused_in_words_that_help() {
    let world = world(1);
    let streams = on(&world, Arc::new(MemoryBackends::default()), 1);
    let keyed = |store| streams.key_value_store::<String, u64>(store).map(drop);
    told(keyed("count"), &["no store \"count\""]);
    told(
        keyed("windows"),
        &["\"windows\" is a window store", "as a key-value store"],
    );
    told(keyed("sessions"), &["is a session store"]);
    told(keyed("versions"), &["is a versioned store"]);
    told(
        keyed("rates"),
        &["values", "\"rates\"", "u64", "i64", "misread"],
    );
    let windows = streams.window_store::<String, u64>("sessions").map(drop);
    told(windows, &["is a session store", "as a window store"]);
    let sessions = streams.session_store::<String, u64>("windows").map(drop);
    told(sessions, &["is a window store", "as a session store"]);
    let versions = streams.versioned_store::<String, u64>("counts").map(drop);
    told(versions, &["is a key-value store", "as a versioned store"]);
    let versions = streams.versioned_store::<String, u64>("versions").map(drop);
    told(versions, &["versions<", "u64", "i64"]);
    let keys = streams.key_value_store::<u64, u64>("counts").map(drop);
    told(keys, &["keys", "utf8", "u64"]);
    // Serdes that are said are taken, and so are other types that they make of the same bytes.
    let said = Materialized::with("counts", utf8(), u64_be());
    streams.key_value_store(said).map(drop).unwrap();
}

#[test]
fn a_store_without_keys_of_its_own_cannot_be_asked() {
    let world = World::new(1);
    let builder = StreamsBuilder::new();
    let sums = builder
        .stream(&IN)
        .group_by_key()
        .reduce("sums", |a, b| a + b);
    let second = std::time::Duration::from_secs(1);
    let later = Suppressed::until_time_limit(second, BufferConfig::unbounded());
    sums.suppress("held", later).to(&OUT);
    let streams = world.streams(builder.build().unwrap(), config("a"));
    let asked = streams.key_value_store::<String, i64>("held");
    told(asked.map(drop), &["no rows that can be shown by key"]);
}

fn is_illegal<T: Debug>(answer: millstream_runtime::Result<T>, part: &str) {
    match answer {
        Err(Error::IllegalState(why)) => assert!(why.contains(part), "{why}"),
        other => panic!("{other:?} is not what was to be told: {part}"),
    }
}

fn shared<T: Clone + Send + Sync + 'static>(handle: &T) -> T {
    handle.clone()
}

#[test]
fn a_client_that_does_not_run_is_not_asked_and_not_kept() {
    let world = world(1);
    let streams = on(&world, Arc::new(MemoryBackends::default()), 1);
    // It can be asked for before.
    let counts = streams.key_value_store::<String, u64>("counts").unwrap();
    let windows = streams.window_store::<String, u64>("windows").unwrap();
    let key = "a".to_owned();
    is_illegal(counts.get(&key), "CREATED");
    start(&streams);
    world.feed([("a".to_owned(), 1)]);
    until_counted(&world, &streams, 1);
    assert_eq!(shared(&counts).get(&key).unwrap().unwrap().value, 1);
    let mut rows = counts.all().unwrap();
    streams.close();
    is_illegal(counts.get(&key), "NOT_RUNNING");
    is_illegal(counts.all().map(drop), "NOT_RUNNING");
    is_illegal(windows.fetch_range(&key, ..).map(drop), "NOT_RUNNING");
    is_illegal(rows.next().unwrap(), "NOT_RUNNING");
    assert!(rows.next().is_none(), "nothing follows");
    drop(streams);
    is_illegal(counts.get(&key), "gone");
}

#[test]
fn only_what_was_committed_is_seen() {
    let world = World::new(1);
    let clock = HandClock::new();
    let mut config = config("a");
    config.clock = clock.clone();
    config.settings.commit_interval_ms = 1_000;
    let streams = world.streams(sums(), config);
    start(&streams);
    let sums = streams.key_value_store::<String, i64>("sums").unwrap();
    let sum = || sums.get(&"key-1".to_owned()).unwrap().map(|row| row.value);
    world.feed(ones(3, 2));
    world.until("processing", || processed(&streams) == 6);
    assert_eq!((sum(), sums.all().unwrap().count()), (None, 0));
    clock.advance(1_000);
    world.until("the commit", || sum() == Some(2));
    world.feed(ones(3, 1));
    world.until("processing", || processed(&streams) == 9);
    assert_eq!(sum(), Some(2));
}

fn ruin(streams: &Streams, disk: &MemoryBackends, store: &str, key: &[u8]) {
    let (_, column, _) = streams.program().topology.find_store(store).unwrap();
    let columns = streams.program().columns(TASK);
    let mut batch = WriteBatch::new();
    batch.put(Column(column), key, b"bad");
    disk.open(TASK, &columns).unwrap().apply(&batch).unwrap();
}

#[test]
fn a_row_that_cannot_be_read_is_an_error_in_its_place() {
    let (world, disk) = (World::new(1), Arc::new(MemoryBackends::default()));
    let streams = world.streams_on(&disk, sums(), config("a"));
    start(&streams);
    world.feed(ones(3, 1));
    let sums = streams.key_value_store::<String, i64>("sums").unwrap();
    world.until("the rows", || {
        sums.all().is_ok_and(|rows| rows.count() == 3)
    });
    for key in [&b"key-1"[..], b"key-1\xff"] {
        ruin(&streams, &disk, "sums", key);
    }
    let bad = |answer: Option<millstream_runtime::Result<_>>, key: serde_json::Value| match answer
        .unwrap()
        .map(|_: (String, _)| ())
    {
        Err(Error::UnreadableRow { store, row }) => {
            assert_eq!((&*store, &row.key), ("sums", &key));
            assert!(!row.why.is_empty());
        }
        other => panic!("{other:?}"),
    };
    let mut rows = sums.all().unwrap();
    assert_eq!(rows.next().unwrap().unwrap().0, "key-0");
    bad(rows.next(), json!("key-1"));
    // Not even its key can be read.
    bad(rows.next(), json!("6b65792d31ff"));
    assert_eq!(rows.next().unwrap().unwrap().0, "key-2");
    assert!(rows.next().is_none());
    let one = sums.get(&"key-1".to_owned());
    bad(
        Some(one.map(|row| (String::new(), row.unwrap()))),
        json!("key-1"),
    );
}

/// The log has the changelogs' records for ever on their way.
#[test]
fn nothing_is_told_of_a_partition_that_is_being_restored() {
    let world = World::new(1);
    let first = world.streams(every_kind_but_one(), config("a"));
    start(&first);
    world.feed([("a".to_owned(), 1)]);
    until_counted(&world, &first, 1);
    drop(first);
    let log = world.log.clone();
    let source = Arc::new(move || {
        let mut log = Marked::new(log.client());
        log.on_their_way = true;
        Ok(Box::new(log) as Box<dyn Log>)
    });
    let disk = Arc::new(MemoryBackends::default());
    let restoring =
        Streams::new(Arc::new(every_kind_but_one()), config("b"), source, disk).unwrap();
    restoring.start().unwrap();
    let key = "a".to_owned();
    let counts = restoring.key_value_store::<String, u64>("counts").unwrap();
    world.until("the task", || !restoring.tasks().is_empty());
    let part = "this instance can answer for 0";
    is_illegal(counts.get(&key), part);
    let windows = restoring.window_store::<String, u64>("windows").unwrap();
    is_illegal(windows.fetch(&key, 0), part);
    let mut rows = windows.fetch_range(&key, ..).unwrap();
    is_illegal(rows.next().unwrap(), part);
    assert!(rows.next().is_none());
    let sessions = restoring.session_store::<String, u64>("sessions").unwrap();
    is_illegal(sessions.fetch(&key).unwrap().next_back().unwrap(), part);
    let versions = restoring
        .versioned_store::<String, i64>("versions")
        .unwrap();
    is_illegal(versions.get(&key), part);
    is_illegal(versions.get_as_of(&key, 5), part);
    is_illegal(versions.versions(&key, ..).unwrap().next().unwrap(), part);
}
