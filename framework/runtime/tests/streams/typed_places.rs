//! Queries with types where rows are in several places, or on their way between them; and ranges of
//! more rows than are read at once.

use super::{harness::*, kinds::*};
use millstream_core::prelude::*;
use millstream_runtime::{
    Error,
    streams::{ReadOnlyKeyValueStore, Streams},
};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

const KEYS: usize = 40;
/// More than any page has.
const MANY: usize = 6_000;

fn sums_of(streams: &Streams) -> ReadOnlyKeyValueStore<String, i64> {
    streams.key_value_store("sums").unwrap()
}

fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(|key| format!("key-{key}"))
}

/// What an instance says of all keys: their sums, `None` where it cannot tell.
fn answers(sums: &ReadOnlyKeyValueStore<String, i64>) -> BTreeMap<String, Option<i64>> {
    let answer = |key: String| match sums.get(&key) {
        Ok(Some(row)) => (key, Some(row.value)),
        Err(Error::IllegalState(_)) => (key, None),
        other => panic!("{key}: {:?}", other.map(|row| row.map(|row| row.value))),
    };
    keys().map(answer).collect()
}

fn here(sums: &ReadOnlyKeyValueStore<String, i64>) -> usize {
    sums.all().map_or(0, Iterator::count)
}

#[test]
fn instances_say_what_they_have_and_not_that_there_is_nothing_more() {
    let world = World::new(4);
    let a = world.streams(sums(), config("a"));
    start(&a);
    world.feed(ones(KEYS, 2));
    world.wait_for_outputs(KEYS * 2);
    let (nobody, of_a) = ("nobody".to_owned(), sums_of(&a));
    world.until("all rows", || here(&of_a) == KEYS);
    assert_eq!(of_a.get(&nobody).unwrap(), None);
    let b = world.streams(sums(), config("b"));
    start(&b);
    let of_b = sums_of(&b);
    world.until("shared rows", || {
        active(&a).len() == 2 && active(&b).len() == 2 && here(&of_a) + here(&of_b) == KEYS
    });
    let (from_a, from_b) = (answers(&of_a), answers(&of_b));
    for key in keys() {
        let known = [from_a[&key], from_b[&key]];
        assert!(
            known == [Some(2), None] || known == [None, Some(2)],
            "{key}: {known:?}"
        );
    }
    for sums in [&of_a, &of_b] {
        let Err(Error::IllegalState(why)) = sums.get(&nobody) else {
            panic!("it may be with the other one");
        };
        assert!(
            why.contains("of 4 partitions") && why.contains("for 2"),
            "{why}"
        );
    }
    b.close();
    world.until("all rows again", || here(&of_a) == KEYS);
    world.until("all partitions", || of_a.get(&nobody).is_ok());
    assert!(answers(&of_a).values().all(|sum| *sum == Some(2)));
}

#[test]
fn where_everybody_stands_by_everybody_can_tell() {
    let world = World::new(2);
    let [a, b] = ["a", "b"].map(|name| {
        let mut config = config(name);
        config.settings.standby_replicas = 1;
        world.streams(sums(), config)
    });
    start(&a);
    start(&b);
    world.feed(ones(KEYS, 2));
    world.wait_for_outputs(KEYS * 2);
    for sums in [sums_of(&a), sums_of(&b)] {
        world.until("all rows", || {
            here(&sums) == KEYS && answers(&sums).values().all(|sum| *sum == Some(2))
        });
        world.until("nothing to come", || {
            sums.get(&"nobody".to_owned())
                .is_ok_and(|row| row.is_none())
        });
    }
}

#[test]
fn rows_of_a_partition_that_goes_end_in_an_error() {
    let world = World::new(2);
    let a = world.streams(sums(), config("a"));
    start(&a);
    world.feed(ones(MANY, 1));
    let sums = sums_of(&a);
    world.until("all rows", || here(&sums) == MANY);
    let (mut forth, mut back) = (sums.all().unwrap(), sums.all().unwrap().rev());
    assert!(forth.next().unwrap().is_ok() && back.next().unwrap().is_ok());
    let b = world.streams(super::harness::sums(), config("b"));
    start(&b);
    world.until("one task each", || {
        active(&a).len() == 1 && active(&b).len() == 1
    });
    for rows in [&mut forth as &mut dyn Iterator<Item = _>, &mut back] {
        let last = rows.last().unwrap().map(drop);
        let Err(Error::IllegalState(why)) = last else {
            panic!("{last:?}");
        };
        assert!(why.contains("not here any more"), "{why}");
    }
    assert!(forth.next().is_none());
    // What is asked anew is what is here now.
    let mut known: Vec<_> = all(sums_of(&a).all().unwrap());
    known.extend(all(sums_of(&b).all().unwrap()));
    assert_eq!(known.len(), MANY);
}

#[test]
fn rows_of_many_pages_come_once_each_in_the_order_of_their_keys() {
    let world = World::new(1);
    let streams = world.streams(sums(), config("a"));
    start(&streams);
    world.feed(ones(MANY, 1));
    let sums = sums_of(&streams);
    world.until("all rows", || here(&sums) == MANY);
    let mut keys: Vec<_> = (0..MANY).map(|key| format!("key-{key}")).collect();
    keys.sort();
    let names = |rows: Vec<(String, _)>| rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(names(all(sums.all().unwrap())), keys);
    let back = sums.all().unwrap().rev().map(|row| row.unwrap());
    let mut back = names(back.collect());
    back.reverse();
    assert_eq!(back, keys);
    let scanned = names(all(sums.prefix_scan("key-5").unwrap()));
    keys.retain(|key| key.starts_with("key-5"));
    assert!(scanned.len() > 1_000, "of more than one page");
    assert_eq!(scanned, keys);
    // Rows from both ends are not read twice where they meet.
    let mut both = sums.prefix_scan("key-5").unwrap();
    let mut met = Vec::new();
    while let Some(row) = both.next() {
        met.push(row.unwrap().0);
        met.extend(both.next_back().map(|row| row.unwrap().0));
    }
    met.sort();
    assert_eq!(met, keys);
}

/// Between two rows of a range others come and go, and a reader is in nobody's way.
#[test]
fn rows_that_do_not_change_are_all_there_while_others_do() {
    let world = World::new(2);
    let mut config = config("a");
    config.threads = 2;
    let streams = world.streams(sums(), config);
    start(&streams);
    until_shared(&world, &streams, 2);
    world.feed(ones(1_000, 1));
    let sums = sums_of(&streams);
    world.until("all rows", || here(&sums) == 1_000);
    for round in 0..5 {
        let mut rows = sums.all().unwrap();
        let first = rows.next().unwrap().unwrap().0;
        let other = |n| (format!("other-{round}-{n}"), 1);
        world.feed((0..500).map(other));
        world.until("their rows", || here(&sums) == 1_000 + 500 * (round + 1));
        let rest = rows.map(|row| row.unwrap().0);
        let mut known: Vec<_> = [first].into_iter().chain(rest).collect();
        known.retain(|key| key.starts_with("key-"));
        known.sort();
        assert_eq!(known.len(), 1_000);
    }
}

#[test]
fn a_row_that_is_there_is_never_said_not_to_be() {
    let world = World::new(4);
    let mut config = config("a");
    config.threads = 2;
    let streams = world.streams(sums(), config);
    start(&streams);
    world.feed(ones(KEYS, 1));
    let (sums, done) = (sums_of(&streams), AtomicBool::new(false));
    world.until("all rows", || here(&sums) == KEYS);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) || rounds == 0 {
                // It panics at a key of which it hears that there is none.
                let known = answers(&sums);
                assert!(known.values().flatten().all(|sum| *sum >= 1));
                rounds += 1;
            }
            rounds
        });
        for _ in 0..4 {
            // Tasks pass between the threads.
            world.log.expire(APPLICATION, "a-1").unwrap();
            world.feed(ones(KEYS, 1));
            world.let_it_be();
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
    world.until("all answers", || {
        answers(&sums).values().all(|sum| *sum == Some(5))
    });
}

#[test]
fn windows_that_have_expired_are_no_rows_though_nobody_has_deleted_them() {
    let world = world(1);
    let streams = world.streams(every_kind(), config("a"));
    start(&streams);
    let key = "a".to_owned();
    world.feed([(key.clone(), 3), (key.clone(), 40)]);
    until_counted(&world, &streams, 2);
    let windows = streams.window_store::<String, u64>("windows").unwrap();
    let sessions = streams.session_store::<String, u64>("sessions").unwrap();
    let versions = streams.versioned_store::<String, i64>("versions").unwrap();
    let starts = || -> Vec<_> {
        let rows = windows.fetch_range(&key, ..).unwrap();
        all(rows)
            .into_iter()
            .map(|(window, _)| window.start)
            .collect()
    };
    assert_eq!(starts(), [0, 35, 40]);
    let since = || -> Vec<_> {
        all(versions.versions(&key, ..).unwrap())
            .iter()
            .map(|version| version.since)
            .collect()
    };
    assert_eq!(since(), [3, 40]);
    // Another key moves the time on.
    world.feed([("b".to_owned(), 40 + RETENTION)]);
    until_counted(&world, &streams, 3);
    assert_eq!(starts(), Vec::<i64>::new());
    assert_eq!(windows.fetch(&key, 40).unwrap(), None);
    assert_eq!(all(sessions.fetch(&key).unwrap()), []);
    assert_eq!(
        sessions.fetch_session(&key, Window::new(40, 40)).unwrap(),
        None
    );
    assert_eq!(windows.all().unwrap().count(), 2, "those of the other key");
    assert_eq!(since(), [40], "it still holds");
    assert_eq!(versions.get_as_of(&key, 5).unwrap(), None);
    assert_eq!(versions.get_as_of(&key, 45).unwrap().unwrap().since, 40);
}
