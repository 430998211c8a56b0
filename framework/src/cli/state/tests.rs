//! What is shown of the disk of a program that ran.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::{rows, stores};
use crate::{Feed, Program};
use millstream_core::{prelude::*, topology::Topology};
use millstream_runtime::{
    config::{Config, ConfigBuilder},
    streams::State,
};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

static ITEMS: Topic<u64, String> = Topic::new("items", u64_be(), utf8());
static RATES: Topic<u64, String> = Topic::new("rates", u64_be(), utf8());
/// How often something is looked at that must come about, and the wait in between.
const LOOKS: u32 = 400;
const PAUSE: Duration = Duration::from_millis(50);

/// How often each key came in ten milliseconds, and a global table.
fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
    let items = builder.stream(&ITEMS).group_by_key();
    items.windowed_by(windows).count("windows");
    builder.stream(&ITEMS).group_by_key().count("numbers");
    builder.global_table(&RATES, "rates");
    builder.build().unwrap()
}

fn config(dir: &Path) -> Config {
    let mut builder = ConfigBuilder::new().defaults(&[
        ("application.id", "items"),
        ("embedded.partitions", "1"),
        ("commit.interval.ms", "20"),
    ]);
    let dir = format!("state.dir={}", dir.display());
    builder = builder.set(&dir).unwrap();
    builder.build().unwrap()
}

/// Runs the program until it has counted one of each key, and read the rates.
fn run(dir: &Path, keys: u64) {
    let program = Program::open(topology(), config(dir)).unwrap();
    for (topic, to) in [("items", &ITEMS), ("rates", &RATES)] {
        let mut feed = Feed::open(program.log(), topic, to).unwrap();
        for key in 0..keys {
            let time = i64::try_from(key).unwrap() * 10;
            feed.send(&key, &format!("item {key}"), time).unwrap();
        }
        feed.commit().unwrap();
    }
    let node = program.start().unwrap();
    let there = |store: &str| {
        let last = node.streams().get(store, &json!(keys - 1));
        last.is_ok_and(|row| row.is_some())
    };
    let all = || there("numbers") && there("rates");
    let came =
        (0..LOOKS).any(|_| all() || node.streams().wait_for(State::is_final, PAUSE).is_final());
    assert!(came && all(), "{:?}", node.streams().failure());
    node.close().unwrap();
}

fn shown(dir: &Path, store: &str, key: Option<&str>, limit: usize) -> Vec<Value> {
    rows(&topology(), &config(dir), store, key, limit).unwrap()
}

#[test]
fn only_rows_that_there_are_for_the_program_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 30);
    // All windows but the last have closed, and been forgotten; the store's clock is no row.
    let windows = shown(dir.path(), "windows", None, 20);
    let keys: Vec<_> = windows.iter().map(|row| row["key"].clone()).collect();
    assert_eq!(keys, [json!({"key": 29, "start": 290, "end": 300})]);
    let key = keys[0].to_string();
    assert_eq!(shown(dir.path(), "windows", Some(&key), 20), windows);
    let expired = r#"{"key":3,"start":30,"end":40}"#;
    assert!(shown(dir.path(), "windows", Some(expired), 20).is_empty());
    assert_eq!(shown(dir.path(), "numbers", None, 20).len(), 20);
    let of_seven = shown(dir.path(), "numbers", Some("7"), 20);
    let row = json!({"task": of_seven[0]["task"], "key": 7, "value": 1, "timestamp": 70});
    assert_eq!(of_seven, [row]);
    let error = rows(
        &topology(),
        &config(dir.path()),
        "numbers",
        Some("seven"),
        20,
    );
    let error = format!("{:#}", error.unwrap_err());
    assert!(
        error.contains("numbers") && error.contains("seven"),
        "{error}"
    );
}

#[test]
fn global_tables_are_shown_as_stores_are() {
    let dir = tempfile::tempdir().unwrap();
    assert!(shown(dir.path(), "rates", None, 20).is_empty());
    run(dir.path(), 30);
    assert_eq!(shown(dir.path(), "rates", None, 100).len(), 30);
    let row = json!({"task": "global", "key": 4, "value": "item 4", "timestamp": 40});
    assert_eq!(shown(dir.path(), "rates", Some("4"), 20), [row]);
    let names: Vec<_> = stores(&topology())
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(names, ["windows", "numbers", "rates"]);
}
