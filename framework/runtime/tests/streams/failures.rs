//! Code that panics and records that are bad: what becomes of the thread, the client and the work.

use super::harness::*;
use millstream_core::{prelude::*, task::Emission};
use millstream_metrics::Metric;
use millstream_runtime::{
    Error,
    streams::{State, UncaughtPolicy},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

static OTHER: Topic<String, i64> = Topic::new("other", utf8(), i64_be());

/// Sums that panic at a number, the first time only if asked so.
fn explosive(once: bool) -> Topology {
    let builder = StreamsBuilder::new();
    let exploded = Arc::new(AtomicBool::new(false));
    let stream = builder.stream(&IN).map_values(move |n: i64| {
        let before = exploded.swap(
            n == 666 || exploded.load(Ordering::Relaxed),
            Ordering::Relaxed,
        );
        assert!(n != 666 || (once && before), "666 explodes");
        if n == 666 { 1 } else { n }
    });
    let grouped = stream.group_by_key();
    let summed = grouped.aggregate("sums", || 0, |_: &String, n, sum: &mut i64| *sum += n);
    summed.to(&OUT);
    builder.build().unwrap()
}

#[test]
fn a_panic_stops_the_client_with_the_panics_words() {
    let world = World::new(2);
    let mut config = config("a");
    config.threads = 2;
    let streams = world.streams(explosive(false), config);
    start(&streams);
    world.feed([("key-0".to_owned(), 666)]);
    assert_eq!(streams.wait_for(State::is_final, LIMIT), State::Error);
    let failure = streams.failure().unwrap();
    assert!(failure.contains("666 explodes"), "{failure}");
    assert_eq!(streams.close(), State::Error);
    assert!(world.outputs().is_empty());
}

#[test]
fn a_bad_record_under_the_policy_to_fail_stops_the_client() {
    let world = World::new(1);
    let streams = world.streams(sums(), config("a"));
    start(&streams);
    world.feed_bytes([("key-0".to_owned(), b"no number".to_vec())]);
    assert_eq!(streams.wait_for(State::is_final, LIMIT), State::Error);
    let failure = streams.failure().unwrap();
    assert!(
        failure.contains("in-0") || failure.contains("\"in\""),
        "{failure}"
    );
}

#[test]
fn what_is_dropped_by_the_last_commit_is_counted_too() {
    let world = World::new(1);
    let builder = StreamsBuilder::new();
    let last = builder.stream(&IN).group_by_key();
    let last = last.reduce("last", |_, new| new).to_stream();
    let refused = last.try_map_values(|_| Err::<i64, _>("no"));
    refused.on_error(ErrorPolicy::Skip).to(&OUT);
    let mut config = config("a");
    config.task.emission = Emission::PerCommit;
    config.settings.commit_interval_ms = i64::MAX;
    let registry = config.registry.clone();
    let streams = world.streams(builder.build().unwrap(), config);
    start(&streams);
    world.feed([("a".to_owned(), 1)]);
    world.until("the record", || processed(&streams) == 1);
    assert_eq!(registry.total(Metric::RecordsDropped), 0.0);
    assert_eq!(streams.close(), State::NotRunning);
    assert_eq!(registry.total(Metric::RecordsDropped), 1.0);
}

#[test]
fn a_record_for_a_topic_that_is_not_there_costs_no_transaction_but_itself() {
    let world = World::new(1);
    let builder = StreamsBuilder::new();
    let choose = |key: &String, _: &i64| key.clone();
    let numbers = builder.stream(&IN);
    numbers.to_chosen_or(choose, utf8(), i64_be(), ErrorPolicy::Skip);
    let config = config("a");
    let registry = config.registry.clone();
    let streams = world.streams(builder.build().unwrap(), config);
    start(&streams);
    world.feed(["out", "nowhere", "out"].map(|topic| (topic.to_owned(), 1)));
    assert_eq!(world.wait_for_outputs(2)["out"], [1, 1]);
    assert_eq!(streams.close(), State::NotRunning);
    assert_eq!(registry.total(Metric::RecordsDropped), 1.0);
    assert_eq!(registry.total(Metric::ThreadFailures), 0.0);
}

#[test]
fn dead_letters_are_told_by_the_topic_they_came_from_and_why() {
    let world = World::new(1);
    create(&world.log, "dead", 1);
    create(&world.log, "other", 1);
    let builder = StreamsBuilder::new();
    builder
        .stream(&IN)
        .merge(builder.stream(&OTHER))
        .try_map_values(|n| if n == 666 { Err("no") } else { Ok(n) })
        .group_by_key()
        .reduce("last", |_, new| new)
        .to_stream()
        .try_map_values(|n| n.filter(|n| *n != 13).ok_or("no"))
        .to(&OUT);
    let mut config = config("a");
    config.task.emission = Emission::PerCommit;
    config.task.policies = ErrorPolicy::DeadLetter.into();
    config.task.dead_letter_topic = Some("dead".into());
    let registry = config.registry.clone();
    let told = move |source: &str, reason: &str| {
        let series = format!("reason=\"{reason}\",source=\"{source}\"");
        let all = registry.render().unwrap();
        let mut lines = all.lines().filter(|line| {
            line.starts_with("streams_dead_letters_total") && line.contains(&series)
        });
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
        lines.next().map(value)
    };
    let streams = world.streams(builder.build().unwrap(), config);
    start(&streams);
    world.until("the task", || !active(&streams).is_empty());
    // There before there is any, since nobody sees a series grow that begins at one.
    world.until("the series", || told("in", "processing") == Some(0));
    assert_eq!(told("other", "deserialization"), Some(0));
    world.feed_bytes([("a".to_owned(), b"no number".to_vec())]);
    world.feed([("b", 666), ("c", 666), ("d", 13), ("e", 1)].map(|(key, n)| (key.into(), n)));
    assert_eq!(world.wait_for_outputs(1)["e"], [1]);
    assert_eq!(streams.close(), State::NotRunning);
    assert_eq!(told("in", "deserialization"), Some(1));
    assert_eq!(told("in", "processing"), Some(2));
    // The commit told it, which no record of a topic is to blame for.
    assert_eq!(told("0_0", "processing"), Some(1));
    assert_eq!(told("other", "processing"), Some(0));
    assert_eq!(told("in", "record"), None);
}

#[test]
fn a_replaced_thread_begins_at_the_last_commit() {
    let world = World::new(1);
    let mut config = config("a");
    let registry = config.registry.clone();
    config.uncaught = Box::new(|error| {
        assert!(matches!(error, Error::Panicked(_)), "{error}");
        UncaughtPolicy::ReplaceThread
    });
    let streams = world.streams(explosive(true), config);
    start(&streams);
    let mut records = ones(10, 1);
    records.push(("key-0".to_owned(), 666));
    records.extend(ones(10, 1).into_iter().skip(1));
    world.feed(records);
    assert_ones(&world.wait_for_outputs(20), 10, 2);
    assert!(registry.total(Metric::ThreadFailures) == 1.0);
    let state = streams.wait_for(|state| state == State::Running, LIMIT);
    assert_eq!(state, State::Running);
    assert_eq!(streams.failure(), None);
    assert_eq!(streams.close(), State::NotRunning);
}

#[test]
fn a_handler_that_panics_itself_stops_the_client() {
    let world = World::new(1);
    let mut config = config("a");
    config.uncaught = Box::new(|_| panic!("the handler too"));
    let streams = world.streams(explosive(false), config);
    start(&streams);
    world.feed([("key-0".to_owned(), 666)]);
    assert_eq!(streams.wait_for(State::is_final, LIMIT), State::Error);
    let failure = streams.failure().unwrap();
    assert!(failure.contains("666 explodes"), "{failure}");
}
