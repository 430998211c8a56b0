//! A program on several partitions, asked over HTTP: pages of its stores have every row once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod common;

use common::{LINES, ask, feed, settings, until};
use millstream::{
    Node, Program,
    prelude::*,
    state::{Column, Presence, WriteBatch},
};
use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

const WORDS: usize = 50;
/// The size of a page: no number of rows is a multiple of it, so pages end within partitions.
const PAGE: usize = 7;
/// So many numbers are told apart.
const NUMBERS: u64 = 40;
const STORES: [&str; 4] = ["texts", "numbers", "windows", "sessions"];

/// A topic whose records may lack their keys and values, one of rows, and one that nobody reads.
static NOTES: Topic<(), Option<String>> = Topic::new("notes", unit(), option::<Utf8>());
static NAMES: Topic<String, String> = Topic::new("names", utf8(), utf8());
static COPIES: Topic<String, String> = Topic::new("copies", utf8(), utf8());

/// Counts lines by text, by number and by time.
fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    let _ = (builder.stream(&NOTES), builder.table(&NAMES, "names"));
    builder.stream(&LINES).to(&COPIES);
    let lines = || builder.stream(&LINES).group_by(|_, line| line.clone());
    lines().count("texts");
    let number = |key: &String, _: &String| key.parse::<u64>().unwrap_or(0) % NUMBERS;
    builder.stream(&LINES).group_by(number).count("numbers");
    let grace = Duration::from_secs(1);
    let windows = TimeWindows::of_size_and_grace(Duration::from_millis(60), grace);
    lines().windowed_by(windows).count("windows");
    let gap = Duration::from_millis(10);
    let sessions = SessionWindows::of_inactivity_gap_and_grace(gap, grace);
    lines().windowed_by(sessions).count("sessions");
    builder.build().unwrap()
}

/// A program that serves, and has counted all lines.
fn served(dir: &std::path::Path) -> (Node, SocketAddr) {
    let settings = [
        "embedded.partitions=3",
        "application.server=127.0.0.1:0",
        "commit.interval.ms=20",
    ];
    let program = Program::open(topology(), settings_of(dir, &settings)).unwrap();
    let lines: Vec<_> = (0..WORDS).map(|number| format!("word {number}")).collect();
    let lines: Vec<_> = lines.iter().cycle().take(2 * WORDS).map(|s| &**s).collect();
    feed(program.log(), &lines);
    let mut node = program.start().unwrap();
    let address = node.serve().unwrap();
    let counted = |store: &str| {
        let rows = node.streams().rows(store, (None, None), None, usize::MAX);
        let counts = rows.map(|page| page.rows).unwrap_or_default();
        counts
            .iter()
            .flatten()
            .filter_map(|row| row.value.as_u64())
            .sum::<u64>()
            == 2 * WORDS as u64
    };
    until(&node, "the counts", || {
        STORES.iter().all(|store| counted(store))
    });
    (node, address)
}

fn settings_of(dir: &std::path::Path, set: &[&str]) -> millstream::runtime::config::Config {
    settings(dir, set).unwrap()
}

/// What a path or a query may carry.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The keys of all pages of a range, and how many pages there were.
fn pages(address: SocketAddr, store: &str, range: &str) -> (Vec<String>, usize) {
    let (mut keys, mut count, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let path = format!("/stores/{store}?limit={PAGE}{range}{cursor}");
        let (status, page) = ask(address, "GET", &path, "");
        assert_eq!(status, 200, "{path}: {page}");
        let entries = page["entries"].as_array().unwrap();
        keys.extend(
            entries
                .iter()
                .map(|entry| entry["key"].as_str().unwrap().to_owned()),
        );
        count += 1;
        match page["next"].as_str() {
            Some(next) => {
                assert_eq!(entries.len(), PAGE, "{path}");
                cursor = format!("&cursor={}", escaped(next));
            }
            None => return (keys, count),
        }
    }
}

#[test]
fn pages_have_every_row_of_all_partitions_once() {
    let dir = tempfile::tempdir().unwrap();
    let (node, address) = served(dir.path());
    for (store, rows) in STORES.into_iter().zip([50, 40, 90, 100]) {
        let (keys, count) = pages(address, store, "");
        let apart: BTreeSet<_> = keys.iter().collect();
        assert_eq!((keys.len(), apart.len()), (rows, rows), "{store}: {keys:?}");
        assert_eq!(count, rows.div_ceil(PAGE), "{store}");
        // What a page says is a key can be asked for.
        for key in &keys {
            let (status, row) = ask(
                address,
                "GET",
                &format!("/stores/{store}/{}", escaped(key)),
                "",
            );
            assert_eq!(
                (status, row["key"].as_str()),
                (200, Some(&**key)),
                "{store}"
            );
        }
    }
    node.close().unwrap();
}

#[test]
fn a_row_that_cannot_be_read_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (node, address) = served(dir.path());
    let before = pages(address, "texts", "").0;
    let topology = &node.streams().program().topology;
    let (home, column, _) = topology.find_store("texts").unwrap();
    let (column, key) = (Column(column), before[1].as_bytes());
    let mut stored = Vec::new();
    let tasks = node.streams().tasks().into_iter();
    let backend = (tasks.filter(|task| task.id.subtopology == home))
        .map(|task| task.committed)
        .find(|rows| rows.get(column, key, &mut stored).unwrap() == Presence::Found);
    // A count without its last byte.
    let mut batch = WriteBatch::new();
    batch.put(column, key, &stored[..stored.len() - 1]);
    backend.unwrap().apply(&batch).unwrap();
    assert_eq!(pages(address, "texts", "").0, before);
    let (_, page) = ask(address, "GET", "/stores/texts?limit=3", "");
    let told = page["entries"][1]["error"].as_str().unwrap();
    assert!(!told.is_empty() && page["entries"][1]["value"].is_null());
    for sound in [0, 2] {
        assert_eq!(page["entries"][sound]["value"], 2, "{page}");
        assert!(page["entries"][sound].get("error").is_none(), "{page}");
    }
    let path = format!("/stores/texts/{}", escaped(&before[1]));
    assert_eq!(ask(address, "GET", &path, "").0, 500, "of the row itself");
    node.close().unwrap();
}

#[test]
fn records_without_a_key_go_round_the_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let (node, address) = served(dir.path());
    let mut partitions = Vec::new();
    for _ in 0..3 {
        let body = r#"{"records":[{"value":"a"},{"value":"b"}]}"#;
        let (status, said) = ask(address, "POST", "/topics/notes/records", body);
        assert_eq!(status, 200, "{said}");
        let places = said["offsets"].as_array().unwrap();
        partitions.extend(
            places
                .iter()
                .filter_map(|place| place["partition"].as_u64()),
        );
    }
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 0, 1, 1, 2, 2]);
    node.close().unwrap();
}

#[test]
fn a_record_of_no_time_is_refused_before_it_stops_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let (node, address) = served(dir.path());
    let path = "/topics/lines/records";
    let body = r#"{"records":[{"key":"k","value":"b","timestamp":-1}]}"#;
    let (status, said) = ask(address, "POST", path, body);
    assert_eq!(status, 400, "{said}");
    assert_eq!(said["error"]["code"], "bad_record");
    let body = r#"{"records":[{"key":"k","value":"a","timestamp":0}]}"#;
    assert_eq!(ask(address, "POST", path, body).0, 200);
    node.close().unwrap();
}

/// What a null is to a topic is for the program to say that reads it.
#[test]
fn a_null_is_taken_where_the_program_can_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let (node, address) = served(dir.path());
    for (topic, record, expected) in [
        ("lines", r#"{"value":"a"}"#, 400),
        ("lines", r#"{"key":"k"}"#, 400),
        ("lines", r#"{"key":"k","value":"a"}"#, 200),
        ("notes", "{}", 200),
        ("names", r#"{"key":"k","value":"a"}"#, 200),
        ("names", r#"{"key":"k"}"#, 200),
        ("copies", "{}", 200),
    ] {
        let (path, good) = (format!("/topics/{topic}/records"), expected == 200);
        let body = format!(r#"{{"records":[{record}]}}"#);
        let (status, said) = ask(address, "POST", &path, &body);
        assert_eq!(status, expected, "{topic} {record}: {said}");
        if !good {
            assert_eq!(said["error"]["code"], "bad_record");
            let why = said["error"]["message"].as_str().unwrap();
            assert!(why.contains("of topic lines: null where utf8"), "{why}");
        }
    }
    // The program has gone through all of it, and deleted the row.
    let path = "/topics/names/records";
    let body = r#"{"records":[{"key":"k2","value":"a"}]}"#;
    assert_eq!(ask(address, "POST", path, body).0, 200);
    until(&node, "the row that is left", || {
        pages(address, "names", "").0 == ["k2"]
    });
    node.close().unwrap();
}

#[test]
fn ranges_are_of_keys_as_the_store_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let (node, address) = served(dir.path());
    let mut all = pages(address, "texts", "").0;
    all.retain(|key| ("word 2"..="word 41").contains(&&**key));
    let range = format!("&from={}&to={}", escaped("word 2"), escaped("word 41"));
    let (mut keys, _) = pages(address, "texts", &range);
    assert!(all.len() > 2 * PAGE);
    all.sort();
    keys.sort();
    assert_eq!(keys, all);
    // Windows of a key: they lie together, in the order of time.
    let window = |start| {
        format!(
            r#"{{"key":"word 17","start":{start},"end":{}}}"#,
            start + 60
        )
    };
    let range = format!("&from={}&to={}", escaped(&window(0)), escaped(&window(60)));
    assert_eq!(pages(address, "windows", &range).0.len(), 2);
    let (numbers, _) = pages(address, "numbers", "&from=5&to=5");
    assert_eq!(numbers, ["5"]);
    for (path, code) in [
        ("/stores/numbers?from=five", "bad_key"),
        ("/stores/numbers?to=-", "bad_key"),
        ("/stores/numbers/five", "bad_key"),
        ("/stores/windows?from=word", "bad_key"),
        ("/stores/windows/word", "bad_key"),
        ("/stores/texts?cursor=word", "bad_cursor"),
        ("/stores/texts?cursor=1.xy", "bad_cursor"),
        ("/stores/texts?cursor=1.123", "bad_cursor"),
    ] {
        let (status, said) = ask(address, "GET", path, "");
        assert_eq!(
            (status, said["error"]["code"].as_str()),
            (400, Some(code)),
            "{path}: {said}"
        );
        let why = said["error"]["message"].as_str().unwrap();
        let says_what_one_is = why.contains("a cursor is what a page of rows says");
        assert_eq!(says_what_one_is, code == "bad_cursor", "{path}: {why}");
    }
    node.close().unwrap();
}
