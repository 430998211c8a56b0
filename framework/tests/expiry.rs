//! What has expired leaves the changelog of a windowed store from the front, without tombstones,
//! and what is left is enough to go on from.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod common;

use common::{COUNTS, LINES, feed, records, settings, until};
use millstream::{
    Node, Program,
    core::record::{Offset, TopicPartition},
    prelude::*,
};
use std::{path::Path, time::Duration};

const CHANGELOG: &str = "words-windows-changelog";
const SETTINGS: [&str; 3] = [
    "embedded.partitions=1",
    "repartition.purge.interval.ms=50",
    "commit.interval.ms=20",
];

/// How often each line came within ten milliseconds.
fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
    let grouped = builder.stream(&LINES).group_by(|_, line| line.clone());
    let counts = grouped.windowed_by(windows).count("windows").to_stream();
    let counts = counts.map(|window, count| (window.key.clone(), count));
    counts.to(&COUNTS);
    builder.build().unwrap()
}

fn start(dir: &Path) -> Node {
    let program = Program::open(topology(), settings(dir, &SETTINGS).unwrap());
    program.unwrap().start().unwrap()
}

/// Feeds a line a millisecond up to so many in all, and waits until they are counted.
fn count_up_to(node: &Node, lines: usize) -> Vec<String> {
    feed(node.log(), &vec!["line"; lines]);
    until(node, "the counts", || {
        records(node.log(), "counts").len() == lines
    });
    let counts = records(node.log(), "counts");
    counts.into_iter().map(|(_, count)| count).collect()
}

fn begins(node: &Node) -> Offset {
    let mut client = node.log().client().unwrap();
    client.start(&TopicPartition::new(CHANGELOG, 0)).unwrap()
}

#[test]
fn what_has_expired_is_cut_off_and_the_rest_restores_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path());
    count_up_to(&node, 500);
    let end = records(node.log(), CHANGELOG).len();
    count_up_to(&node, 1_005);
    until(&node, "the purge", || {
        begins(&node) >= Offset::try_from(end).unwrap()
    });
    let left = records(node.log(), CHANGELOG);
    assert!(
        left.iter().all(|(_, value)| !value.is_empty()),
        "there are no tombstones"
    );
    node.close().unwrap();

    // The disk is lost; the window of the last five lines comes back and goes on.
    std::fs::remove_dir_all(dir.path().join("words/tasks")).unwrap();
    let node = start(dir.path());
    let counts = count_up_to(&node, 1_012);
    let tail: Vec<_> = counts[1_000..].iter().map(String::as_str).collect();
    let expected = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "1", "2"];
    assert_eq!(tail, expected);
    node.close().unwrap();
}
