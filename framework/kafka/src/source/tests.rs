//! What is known of an end, on librdkafka's mock of a cluster.

use super::*;
use crate::{
    config::Guarantee,
    mock::{Mock, TOPIC, send},
};
use millstream_log::Log as _;
use std::{sync::atomic::Ordering, time::Duration};

/// So many waits are longer than any broker takes to answer or to be missed.
const WAITS: usize = 6_000;
const WAIT: Duration = Duration::from_millis(10);

/// Waits until an end is known, or is not.
fn wait_until_known(sources: &mut Sources, at: &TopicPartition, known: bool) {
    for _ in 0..WAITS {
        if (sources.end(at) == Some(0)) == known {
            return;
        }
        sources.handle().serve(WAIT);
        std::thread::park_timeout(WAIT);
    }
    panic!("the end stays {:?}", sources.end(at));
}

#[test]
fn news_of_an_end_that_waited_behind_records_is_in_doubt_too() {
    let mock = Mock::start();
    mock.cluster.create_topic("other", 1, 1).unwrap();
    mock.cluster.partition_leader("other", 0, Some(1)).unwrap();
    let log = mock.log(Guarantee::AtLeastOnce, &[]);
    let mut client = log.client();
    send(&mut client, "other");
    client.commit(1, &[]).unwrap();
    let mut sources = Sources::new(log.cluster(), ("client", true), &Arc::default()).unwrap();
    let (at, other) = (
        TopicPartition::new(TOPIC, 0),
        TopicPartition::new("other", 0),
    );
    sources.seek(&other, 0).unwrap();
    while !sources.news() {
        sources.handle().serve(WAIT);
    }
    sources.seek(&at, 0).unwrap();
    wait_until_known(&mut sources, &at, true);
    mock.cluster.broker_down(1).unwrap();
    wait_until_known(&mut sources, &at, false);
    // Nobody has taken the record until now, nor the news behind it.
    let taken = sources.take(&other, 9, usize::MAX).unwrap();
    assert_eq!(taken.map(|batch| batch.len()), Some(1));
    assert_ne!(sources.end(&other), Some(1));
}

#[test]
fn headers_count_in_what_is_taken_at_once() {
    let mock = Mock::start();
    let log = mock.log(Guarantee::AtLeastOnce, &[]);
    let mut client = log.client();
    let mut headers = Headers::NONE;
    headers.push("large", Some(vec![0; 10_000]));
    let record = RawRecord {
        key: None,
        value: Some(b"small"),
        timestamp: 1,
        headers: &headers,
    };
    for _ in 0..3 {
        client.send(TOPIC, Some(0), record).unwrap();
    }
    client.commit(1, &[]).unwrap();
    let mut sources = Sources::new(log.cluster(), ("client", true), &Arc::default()).unwrap();
    let at = TopicPartition::new(TOPIC, 0);
    sources.seek(&at, 0).unwrap();
    let mut sizes = Vec::new();
    for _ in 0..WAITS {
        let taken = sources.take(&at, usize::MAX, 5_000).unwrap();
        sizes.extend(taken.map(|batch| batch.len()));
        if sizes.iter().sum::<usize>() == 3 {
            break;
        }
        sources.handle().serve(WAIT);
        std::thread::park_timeout(WAIT);
    }
    assert_eq!(sizes, [1, 1, 1]);
}

#[test]
fn an_end_is_not_known_while_its_broker_is_away() {
    let mock = Mock::start();
    let log = mock.log(Guarantee::AtLeastOnce, &[]);
    let mut sources = Sources::new(log.cluster(), ("client", true), &Arc::default()).unwrap();
    let at = TopicPartition::new(TOPIC, 0);
    sources.seek(&at, 0).unwrap();
    wait_until_known(&mut sources, &at, true);
    for _ in 0..2 {
        mock.cluster.broker_down(1).unwrap();
        wait_until_known(&mut sources, &at, false);
        mock.cluster.broker_up(1).unwrap();
        wait_until_known(&mut sources, &at, true);
    }
}

#[test]
fn pages_that_nobody_asks_for_any_more_cost_nothing() {
    let mock = Mock::start();
    mock.cluster.create_topic("other", 1, 1).unwrap();
    let log = mock.log(Guarantee::AtLeastOnce, &[]);
    let mut client = log.client();
    send(&mut client, TOPIC);
    client.commit(1, &[]).unwrap();
    let mut sources = Sources::new(log.cluster(), ("client", true), &Arc::default()).unwrap();
    let (at, other, input) = (
        TopicPartition::new(TOPIC, 0),
        TopicPartition::new("other", 0),
        TopicPartition::new("other", 1),
    );
    let first = |sources: &mut Sources| {
        for _ in 0..WAITS {
            if let Some(page) = sources.page(&at, 0, usize::MAX).unwrap() {
                return page.range.len();
            }
            sources.handle().serve(WAIT);
            std::thread::park_timeout(WAIT);
        }
        panic!("no page");
    };
    assert_eq!(first(&mut sources), 1);
    sources.seek(&input, 0).unwrap();
    for (seconds, open) in [(UNREAD.as_secs(), true), (UNREAD.as_secs() + 1, false)] {
        mock.seconds.store(seconds, Ordering::Relaxed);
        sources.page(&other, 0, usize::MAX).unwrap();
        assert_eq!(sources.is_open(&at), open);
    }
    assert!(sources.is_open(&input), "it is not read in pages");
    assert_eq!(first(&mut sources), 1);
}

#[test]
fn what_is_said_of_an_earlier_offset_is_old_and_of_a_log_that_was_cut_off_is_not() {
    // Somebody had read from 999 on, and reads from 5 on now.
    assert!(is_old(999, 5, 0..=9));
    assert!(is_old(2, 5, 4..=9));
    assert!(!is_old(5, 5, 0..=9), "it has grown again");
    assert!(!is_old(-1_001, 5, 0..=9), "of no offset");
    assert!(!is_old(7, 5, 0..=9), "it is there");
    assert!(!is_old(999, 12, 0..=9), "neither is there");
}
