//! From `CREATED` to `NOT_RUNNING`: what each call does to the state, and what an end commits.

use super::harness::*;
use millstream_core::{
    prelude::{StreamsBuilder, Topic, utf8},
    record::TopicPartition,
};
use millstream_log::{EmbeddedLog, Limits, Log};
use millstream_runtime::{
    clock::{Clock, SystemClock},
    streams::{State, StreamsConfig},
    worker::Phase,
};
use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

type Changes = Arc<Mutex<Vec<(State, State)>>>;

fn recorded(mut config: StreamsConfig) -> (StreamsConfig, Changes) {
    let changes = Changes::default();
    let seen = changes.clone();
    let listener = move |old, new| seen.lock().unwrap().push((old, new));
    config.listeners.push(Box::new(listener));
    (config, changes)
}

#[test]
fn a_listener_hears_every_change_in_order() {
    let world = World::new(1);
    let (config, changes) = recorded(config("a"));
    let streams = world.streams(sums(), config);
    assert_eq!(streams.state(), State::Created);
    start(&streams);
    world.feed(ones(3, 2));
    world.wait_for_outputs(6);
    assert_eq!(streams.close(), State::NotRunning);
    let expected = [
        (State::Created, State::Rebalancing),
        (State::Rebalancing, State::Running),
        (State::Running, State::PendingShutdown),
        (State::PendingShutdown, State::NotRunning),
    ];
    assert_eq!(*changes.lock().unwrap(), expected);
    assert_eq!(streams.failure(), None);
    assert!(streams.threads().is_empty());
}

#[test]
fn starting_twice_is_an_error_that_changes_nothing() {
    let world = World::new(1);
    let (config, changes) = recorded(config("a"));
    let streams = world.streams(sums(), config);
    start(&streams);
    let before = changes.lock().unwrap().clone();
    let error = streams.start().unwrap_err().to_string();
    assert!(error.contains("RUNNING"), "{error}");
    assert_eq!(*changes.lock().unwrap(), before);
    streams.close();
    let error = streams.start().unwrap_err().to_string();
    assert!(error.contains("NOT_RUNNING"), "{error}");
}

#[test]
fn a_client_that_was_never_started_closes_and_then_cannot_start() {
    let world = World::new(1);
    let streams = world.streams(sums(), config("a"));
    assert_eq!(streams.close(), State::NotRunning);
    assert!(streams.start().is_err());
    assert_eq!(streams.close(), State::NotRunning, "closing twice is fine");
}

#[test]
fn running_means_that_all_threads_run() {
    let world = World::new(4);
    let mut config = config("a");
    config.threads = 3;
    let streams = world.streams(sums(), config);
    start(&streams);
    let threads = streams.threads();
    assert_eq!(threads.len(), 3);
    assert!(threads.iter().all(|thread| thread.phase == Phase::Running));
    world.until("four tasks", || active(&streams).len() == 4);
    world.feed(ones(20, 3));
    assert_ones(&world.wait_for_outputs(60), 20, 3);
}

#[test]
fn closing_commits_what_is_done() {
    let world = World::new(1);
    let mut config = config("a");
    config.settings.commit_interval_ms = i64::MAX;
    let streams = world.streams(sums(), config);
    start(&streams);
    world.feed(ones(5, 4));
    world.until("processing", || processed(&streams) == 20);
    assert!(world.outputs().is_empty(), "nothing is visible before");
    streams.close();
    assert_ones(&world.outputs(), 5, 4);
    let input = [TopicPartition::new(IN.name, 0)];
    let places = world.log.client().committed_as(APPLICATION, &input);
    assert_eq!(places.unwrap()[0].as_ref().unwrap().offset, 20);
}

#[test]
fn whoever_only_asks_for_the_end_can_wait_for_it() {
    let world = World::new(2);
    let mut config = config("a");
    config.threads = 2;
    let streams = world.streams(sums(), config);
    start(&streams);
    streams.request_close();
    let end = streams.wait_for(State::is_final, LIMIT);
    assert_eq!(end, State::NotRunning);
}

#[test]
fn an_idle_client_stops_within_about_a_poll() {
    let world = World::new(1);
    let mut config = config("a");
    config.poll = Duration::from_millis(300);
    let streams = world.streams(sums(), config);
    start(&streams);
    let clock = SystemClock::new();
    streams.close();
    // A machine under load may take its time; forgetting to look at the flag would take for ever.
    assert!(clock.elapsed() < Duration::from_secs(10));
}

#[test]
fn pausing_stops_processing_and_not_membership() {
    let world = World::new(1);
    let clock = HandClock::new();
    let mut config = config("a");
    config.clock = clock.clone();
    let streams = world.streams(sums(), config);
    streams.pause();
    assert!(streams.is_paused());
    start(&streams);
    world.feed(ones(3, 2));
    let before = clock.asked.load(Ordering::Relaxed);
    world.let_it_be();
    // Records that may not be processed are at hand; a thread must not look at them all the time.
    let steps = clock.asked.load(Ordering::Relaxed) - before;
    assert!(steps < 100, "{steps} steps while paused");
    assert!(world.outputs().is_empty());
    assert_eq!((active(&streams).len(), processed(&streams)), (1, 0));
    streams.resume();
    assert!(!streams.is_paused());
    world.until("processing", || processed(&streams) == 6);
    clock.advance(1_000);
    assert_ones(&world.wait_for_outputs(6), 3, 2);
}

/// What stores will send with the commit counts as what was sent: they have no output topic here,
/// and a log that takes no more than a fraction of their rows at once.
#[test]
fn what_stores_will_send_is_committed_before_it_is_too_much_for_the_log() {
    const KEYS: usize = 2_000;
    static ROWS: Topic<String, String> = Topic::new("in", utf8(), utf8());
    let log = EmbeddedLog::in_memory_with(Limits {
        record_bytes_max: 1 << 10,
        transaction_bytes_max: 64 << 10,
        ..Limits::default()
    });
    let world = World::on(log, 1);
    let keys: Vec<_> = (0..KEYS).map(|key| key.to_string()).collect();
    for some in keys.chunks(50) {
        world.feed_bytes(some.iter().map(|key| (key.clone(), vec![b'x'; 500])));
    }
    let builder = StreamsBuilder::new();
    let _ = builder.table(&ROWS, "rows");
    let mut config = config("a");
    config.settings.commit_interval_ms = i64::from(u32::MAX);
    config.settings.records_per_step = 10;
    let streams = world.streams(builder.build().unwrap(), config);
    start(&streams);
    world.until("processing", || processed(&streams) == KEYS as u64);
    assert_eq!(streams.close(), State::NotRunning);
    let changelog = TopicPartition::new(format!("{APPLICATION}-rows-changelog"), 0);
    assert_eq!(world.log.client().end(&changelog).unwrap(), KEYS as i64);
}

#[test]
fn what_is_sent_is_committed_before_it_is_too_much_for_the_log() {
    const ROUNDS: usize = 20;
    const KEYS: usize = 100;
    let log = EmbeddedLog::in_memory_with(Limits {
        record_bytes_max: 1 << 10,
        transaction_bytes_max: 64 << 10,
        ..Limits::default()
    });
    let world = World::on(log, 1);
    // More in all than a transaction takes.
    (0..ROUNDS).for_each(|_| world.feed(ones(KEYS, 1)));
    let builder = StreamsBuilder::new();
    builder.stream(&IN).to(&OUT);
    let mut config = config("a");
    config.settings.commit_interval_ms = i64::from(u32::MAX);
    config.settings.records_per_step = KEYS;
    let streams = world.streams(builder.build().unwrap(), config);
    start(&streams);
    world.wait_for_outputs(ROUNDS * KEYS / 2);
    // The rest is committed at the end, but only if it was processed by then.
    world.until("processing", || {
        processed(&streams) == (ROUNDS * KEYS) as u64
    });
    assert_eq!(streams.close(), State::NotRunning);
    let outputs = world.outputs();
    assert_eq!(outputs.len(), KEYS);
    assert!(outputs.values().all(|values| values.len() == ROUNDS));
}
