//! Interactive queries: committed rows only, of a client that runs.

use super::harness::*;
use millstream_core::prelude::*;
use millstream_runtime::streams::Streams;
use serde_json::{Value, json};
use std::time::Duration;

fn sum_of(streams: &Streams, key: &str) -> Option<Value> {
    let row = streams.get("sums", &json!(key)).unwrap();
    row.map(|row| row.value)
}

#[test]
fn a_query_sees_what_was_committed_and_nothing_else() {
    let world = World::new(1);
    let clock = HandClock::new();
    let mut config = config("a");
    config.clock = clock.clone();
    config.settings.commit_interval_ms = 1_000;
    let streams = world.streams(sums(), config);
    start(&streams);
    world.feed(ones(3, 2));
    world.until("processing", || processed(&streams) == 6);
    assert_eq!(sum_of(&streams, "key-1"), None);
    clock.advance(1_000);
    world.until("the commit", || sum_of(&streams, "key-1") == Some(json!(2)));
    world.feed(ones(3, 1));
    world.until("processing", || processed(&streams) == 9);
    assert_eq!(sum_of(&streams, "key-1"), Some(json!(2)));
    assert_eq!(sum_of(&streams, "key-9"), None);
}

#[test]
fn rows_come_once_each_between_two_keys_up_to_a_limit() {
    let world = World::new(1);
    let streams = world.streams(sums(), config("a"));
    start(&streams);
    world.feed(ones(5, 1));
    world.until("commits", || sum_of(&streams, "key-4").is_some());
    let keys = |from: Option<&Value>, to: Option<&Value>, limit| {
        let rows = streams.rows("sums", (from, to), None, limit).unwrap().rows;
        rows.into_iter()
            .map(|row| row.unwrap().key)
            .collect::<Vec<_>>()
    };
    let (from, to) = (json!("key-1"), json!("key-3"));
    let between = [json!("key-1"), json!("key-2"), json!("key-3")];
    assert_eq!(keys(Some(&from), Some(&to), 10), between);
    assert_eq!(keys(None, None, 10).len(), 5);
    assert_eq!(keys(None, None, 2), [json!("key-0"), json!("key-1")]);
    assert!(keys(Some(&to), Some(&from), 10).is_empty());
}

#[test]
fn a_page_ends_behind_the_row_that_makes_it_large() {
    let world = World::new(2);
    let streams = world.streams(sums(), config("a"));
    start(&streams);
    let key = |n: i64| format!("{n}{}", "k".repeat(300_000));
    world.feed((0..9).map(|n| (key(n), n)));
    let found = |n: i64| streams.get("sums", &json!(key(n))).unwrap().is_some();
    world.until("commits", || (0..9).all(found));
    let (mut cursor, mut keys) = (None, Vec::new());
    loop {
        let page = streams.rows("sums", (None, None), cursor.as_ref(), 100);
        let page = page.unwrap();
        assert!(page.rows.len() <= 4, "{}", page.rows.len());
        keys.extend(page.rows.into_iter().map(|row| row.unwrap().key));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let mut keys: Vec<_> = keys.iter().map(|key| &key.as_str().unwrap()[..1]).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
}

#[test]
fn rows_of_all_tasks_of_an_instance_are_found() {
    let world = World::new(4);
    let mut config = config("a");
    config.threads = 2;
    let streams = world.streams(sums(), config);
    start(&streams);
    world.feed(ones(30, 1));
    let rows = || {
        // While no task is here, there is nothing to be told of.
        let page = streams.rows("sums", (None, None), None, 100);
        page.map_or(0, |page| page.rows.len())
    };
    world.until("all rows", || rows() == 30);
    // Tasks pass between the threads, and are seen with both for a moment.
    world.log.expire(APPLICATION, "a-1").unwrap();
    for _ in 0..20 {
        assert!(rows() <= 30);
        world.let_it_be();
    }
    world.until("all rows again", || rows() == 30);
}

#[test]
fn what_cannot_be_asked_is_told() {
    let world = World::new(1);
    let streams = world.streams(sums(), config("a"));
    let error = streams
        .get("sums", &json!("key-0"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("CREATED"), "{error}");
    start(&streams);
    let error = streams
        .get("summs", &json!("key-0"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("no store \"summs\""), "{error}");
    assert!(streams.get("sums", &json!({"no": "key"})).is_err());
    streams.close();
    let error = streams
        .rows("sums", (None, None), None, 1)
        .unwrap_err()
        .to_string();
    assert!(error.contains("NOT_RUNNING"), "{error}");
}

#[test]
fn versions_that_history_has_forgotten_are_no_rows_though_nobody_has_deleted_them() {
    let world = World::new(1);
    let builder = StreamsBuilder::new();
    let times = TimestampExtractor::from_fn(|_: &String, n: &i64| *n);
    let numbers = builder.stream(Consumed::of(&IN).with_timestamp(times));
    let kept = Materialized::from("versions").versioned(Duration::from_millis(100));
    numbers.to_table(kept).to(&OUT);
    let streams = world.streams(builder.build().unwrap(), config("a"));
    start(&streams);
    let keys = || -> Vec<Value> {
        let rows = streams.rows("versions", (None, None), None, 10);
        let rows = rows.unwrap().rows.into_iter();
        rows.map(|row| row.unwrap().key).collect()
    };
    let number = |n: i64| ("a".to_owned(), n);
    world.feed([number(1), number(2)]);
    let ended = json!({"key": "a", "since": 1, "until": 2});
    world.until("both", || keys() == [ended.clone(), json!("a")]);
    world.feed([number(102)]);
    let ended = json!({"key": "a", "since": 2, "until": 102});
    world.until("the last ones", || keys() == [ended.clone(), json!("a")]);
}
