//! A feed writes each record of its source once, wherever its program ends.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::{LINES, open, records};
use millstream::Feed;

/// Sends the source's next records.
fn send(feed: &mut Feed<String, String>, count: u64) {
    for _ in 0..count {
        let number = feed.position();
        let key = number.to_string();
        feed.send(&key, &format!("line {number}"), 0).unwrap();
    }
}

fn numbers(log: &dyn millstream::log::Broker) -> Vec<u64> {
    let mut found: Vec<_> = (records(log, "lines").iter())
        .map(|(key, _)| key.parse().unwrap())
        .collect();
    found.sort_unstable();
    found
}

#[test]
fn what_was_sent_and_not_committed_is_sent_again_and_there_once() {
    let dir = tempfile::tempdir().unwrap();
    // However much is open at the end, the next program goes on at the last commit.
    for (committed, lost) in [(0, 3), (5, 0), (7, 4), (1, 9), (0, 1)] {
        let program = open(dir.path(), &["embedded.partitions=3"]).unwrap();
        let mut feed = Feed::open(program.log(), "source", &LINES).unwrap();
        let before = feed.position();
        assert_eq!(numbers(program.log()), (0..before).collect::<Vec<_>>());
        if committed > 0 {
            send(&mut feed, committed);
            feed.commit().unwrap();
        }
        send(&mut feed, lost);
        assert_eq!(feed.position(), before + committed + lost);
        let visible: Vec<_> = (0..before + committed).collect();
        assert_eq!(
            numbers(program.log()),
            visible,
            "an open transaction shows nothing"
        );
    }
    let program = open(dir.path(), &["embedded.partitions=3"]).unwrap();
    let feed = Feed::open(program.log(), "source", &LINES).unwrap();
    assert_eq!(feed.position(), 13);
    assert_eq!(numbers(program.log()), (0..13).collect::<Vec<_>>());
}

#[test]
fn what_was_skipped_counts_as_taken() {
    let dir = tempfile::tempdir().unwrap();
    let program = open(dir.path(), &[]).unwrap();
    let mut feed = Feed::open(program.log(), "source", &LINES).unwrap();
    feed.skip();
    send(&mut feed, 2);
    feed.skip();
    feed.commit().unwrap();
    // Nothing but skipped records is a commit too.
    feed.skip();
    feed.commit().unwrap();
    let feed = Feed::open(program.log(), "source", &LINES).unwrap();
    assert_eq!(feed.position(), 5);
    assert_eq!(numbers(program.log()), [1, 2]);
}

#[test]
fn feeds_of_different_names_do_not_know_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let program = open(dir.path(), &[]).unwrap();
    let mut one = Feed::open(program.log(), "one", &LINES).unwrap();
    let mut other = Feed::open(program.log(), "other", &LINES).unwrap();
    send(&mut one, 3);
    send(&mut other, 2);
    one.commit().unwrap();
    other.commit().unwrap();
    assert_eq!(numbers(program.log()), [0, 0, 1, 1, 2]);
    let other = Feed::open(program.log(), "other", &LINES).unwrap();
    assert_eq!(other.position(), 2);
}

#[test]
fn a_feed_that_was_overtaken_by_its_like_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let program = open(dir.path(), &[]).unwrap();
    let mut first = Feed::open(program.log(), "source", &LINES).unwrap();
    let mut second = Feed::open(program.log(), "source", &LINES).unwrap();
    send(&mut first, 3);
    send(&mut second, 3);
    second.commit().unwrap();
    let refused = first.commit().unwrap_err().to_string();
    assert!(
        refused.contains("feed-source") && refused.contains('3'),
        "{refused}"
    );
    assert_eq!(numbers(program.log()), [0, 1, 2]);
    send(&mut second, 1);
    second.commit().unwrap();
    assert_eq!(numbers(program.log()), [0, 1, 2, 3]);
}

#[test]
fn a_feed_needs_its_topic() {
    static ELSEWHERE: millstream::prelude::Topic<String, String> = millstream::prelude::Topic::new(
        "elsewhere",
        millstream::prelude::utf8(),
        millstream::prelude::utf8(),
    );
    let dir = tempfile::tempdir().unwrap();
    let program = open(dir.path(), &[]).unwrap();
    let Err(error) = Feed::open(program.log(), "source", &ELSEWHERE) else {
        panic!("there is no such topic");
    };
    assert!(format!("{error:#}").contains("elsewhere"), "{error:#}");
}
