//! Sources of a pattern on a log: topics that come and go between starts, and what is refused.

use super::harness::*;
use millstream_core::{
    prelude::*,
    record::{Headers, RawRecord},
};
use millstream_log::Log;
use millstream_runtime::{
    backends::MemoryBackends,
    streams::{State, Streams},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

static EVENTS: Topic<String, i64> = Topic::new("events-.*", utf8(), i64_be());

fn summed(reset: OffsetReset) -> Topology {
    let builder = StreamsBuilder::new();
    let events = Consumed::of(&EVENTS).with_offset_reset(reset);
    let grouped = builder.stream_matching(events).group_by_key();
    let add = |_: &String, n, sum: &mut i64| *sum += n;
    grouped.aggregate("sums", || 0, add).to(&OUT);
    builder.build().unwrap()
}

/// No state, so that nothing but its topics says how many tasks it has.
fn copied() -> Topology {
    let builder = StreamsBuilder::new();
    builder.stream_matching(&EVENTS).to(&OUT);
    builder.build().unwrap()
}

/// A one for each of some keys, in a topic.
fn feed(world: &World, topic: &str, keys: usize) {
    let mut client = world.log.client();
    for key in 0..keys {
        let key = format!("key-{key}");
        let record = RawRecord {
            key: Some(key.as_bytes()),
            value: Some(&1i64.to_be_bytes()),
            timestamp: 1,
            headers: &Headers::NONE,
        };
        client.send(topic, None, record).unwrap();
    }
    client.commit(1, &[]).unwrap();
}

/// How the program ends that is started now; what it put out before is waited for.
fn run(world: &World, disk: &Arc<MemoryBackends>, topology: Topology, outputs: usize) {
    let streams = world.streams_on(disk, topology, config("a"));
    start(&streams);
    world.wait_for_outputs(outputs);
    streams.close();
}

#[test]
fn a_new_topic_is_read_from_its_first_record_after_the_next_start() {
    let (world, disk) = (World::new(2), Arc::new(MemoryBackends::default()));
    create(&world.log, "events-a", 2);
    create(&world.log, "other", 5);
    feed(&world, "events-a", 8);
    run(&world, &disk, summed(OffsetReset::Earliest), 8);
    create(&world.log, "events-b", 2);
    create(&world.log, "events-c", 1);
    feed(&world, "events-b", 8);
    feed(&world, "events-a", 8);
    run(&world, &disk, summed(OffsetReset::Earliest), 24);
    // And an instance without its disk goes on at the same places.
    feed(&world, "events-b", 8);
    run(&world, &Arc::default(), summed(OffsetReset::Earliest), 32);
    assert_ones(&world.outputs(), 8, 4);
}

#[test]
fn a_topic_that_is_gone_is_read_no_more() {
    let (world, disk) = (World::new(2), Arc::new(MemoryBackends::default()));
    create(&world.log, "events-a", 2);
    create(&world.log, "events-b", 2);
    feed(&world, "events-b", 8);
    run(&world, &disk, summed(OffsetReset::Earliest), 8);
    world.log.delete_topic("events-b").unwrap();
    feed(&world, "events-a", 8);
    run(&world, &disk, summed(OffsetReset::Earliest), 16);
    assert_ones(&world.outputs(), 8, 2);
}

#[test]
fn where_a_new_topic_begins_is_the_source_s_to_say() {
    let (world, disk) = (World::new(1), Arc::new(MemoryBackends::default()));
    create(&world.log, "events-a", 1);
    create(&world.log, "events-b", 1);
    feed(&world, "events-b", 3);
    let streams = world.streams_on(&disk, summed(OffsetReset::Latest), config("a"));
    start(&streams);
    feed(&world, "events-b", 8);
    let outputs = world.wait_for_outputs(8);
    assert_ones(&outputs, 8, 1);
}

#[test]
fn state_does_not_follow_to_other_partitions() {
    let (world, disk) = (World::new(2), Arc::new(MemoryBackends::default()));
    create(&world.log, "events-a", 2);
    feed(&world, "events-a", 8);
    run(&world, &disk, summed(OffsetReset::Earliest), 8);
    create(&world.log, "events-wide", 3);
    let refused = |topology| {
        let topology = Arc::new(topology);
        let made = Streams::new(topology, config("a"), world.source(), disk.clone());
        made.map(drop).unwrap_err().to_string()
    };
    let error = refused(summed(OffsetReset::Earliest));
    for part in ["app-sums-changelog", "ask for 3 partitions", "reset"] {
        assert!(error.contains(part), "{error} does not say {part}");
    }
    // Gone again, it is as before.
    world.log.delete_topic("events-wide").unwrap();
    feed(&world, "events-a", 8);
    run(&world, &disk, summed(OffsetReset::Earliest), 16);
    assert_ones(&world.outputs(), 8, 2);
}

#[test]
fn a_program_without_state_gets_more_tasks() {
    let (world, disk) = (World::new(2), Arc::new(MemoryBackends::default()));
    create(&world.log, "events-a", 1);
    feed(&world, "events-a", 8);
    run(&world, &disk, copied(), 8);
    create(&world.log, "events-wide", 3);
    feed(&world, "events-wide", 8);
    let streams = world.streams_on(&disk, copied(), config("a"));
    start(&streams);
    assert_eq!(active(&streams).len(), 3);
    let outputs = world.wait_for_outputs(16);
    let twice: BTreeMap<_, _> = outputs
        .iter()
        .map(|(key, ones)| (key, ones.len()))
        .collect();
    assert!(
        twice.len() == 8 && twice.values().all(|times| *times == 2),
        "{twice:?}"
    );
}

#[test]
fn a_program_that_nothing_matches_runs_and_waits_for_another_start() {
    let (world, disk) = (World::new(1), Arc::new(MemoryBackends::default()));
    let streams = world.streams_on(&disk, summed(OffsetReset::Earliest), config("a"));
    start(&streams);
    create(&world.log, "events-a", 1);
    feed(&world, "events-a", 8);
    world.let_it_be();
    assert!(streams.tasks().is_empty() && world.outputs().is_empty());
    assert_eq!(streams.close(), State::NotRunning);
    run(&world, &disk, summed(OffsetReset::Earliest), 8);
    assert_ones(&world.outputs(), 8, 1);
}

/// Instances that were started on other topics than there are now would not share tasks alike with
/// those that start on these.
#[test]
fn instances_that_would_give_tasks_out_differently_stop() {
    let world = World::new(1);
    create(&world.log, "events-a", 1);
    let failures = Arc::new(Mutex::new(Vec::new()));
    let made = ["a", "b"].map(|name| {
        let (failures, mut config) = (failures.clone(), config(name));
        config.uncaught = Box::new(move |error| {
            failures.lock().unwrap().push(error.to_string());
            millstream_runtime::streams::UncaughtPolicy::ShutdownClient
        });
        world.streams(copied(), config)
    });
    let [a, b] = &made;
    start(a);
    // One that comes to the same tasks may come while they run.
    create(&world.log, "events-narrow", 1);
    create(&world.log, "events-wide", 2);
    b.start().unwrap();
    let state = b.wait_for(State::is_final, LIMIT);
    assert_eq!(state, State::Error);
    let failures = failures.lock().unwrap();
    assert!(failures[0].contains("come to 2 tasks now"), "{failures:?}");
    assert!(failures[0].contains("restarted together"), "{failures:?}");
}

/// With a topic that no instance could be started with, those that run go on.
#[test]
fn a_topic_that_the_state_does_not_fit_stops_nobody() {
    let (world, disk) = (World::new(1), Arc::new(MemoryBackends::default()));
    create(&world.log, "events-a", 1);
    let [a, b] =
        ["a", "b"].map(|name| world.streams_on(&disk, summed(OffsetReset::Earliest), config(name)));
    start(&a);
    create(&world.log, "events-wide", 2);
    b.start().unwrap();
    feed(&world, "events-a", 8);
    world.wait_for_outputs(8);
    assert_ne!(a.state(), State::Error);
    assert_ne!(b.state(), State::Error);
}

/// A program that read its own dead letters would write them again, without end.
#[test]
fn dead_letters_match_no_pattern() {
    let world = World::new(1);
    create(&world.log, "events-a", 1);
    create(&world.log, "events-dead", 1);
    let mut config = config("a");
    config.task.dead_letter_topic = Some("events-dead".to_owned());
    let streams = world.streams(copied(), config);
    start(&streams);
    feed(&world, "events-dead", 8);
    feed(&world, "events-a", 3);
    world.wait_for_outputs(3);
    world.let_it_be();
    let read: usize = world.outputs().values().map(Vec::len).sum();
    assert_eq!(read, 3);
}

#[test]
fn instances_that_give_tasks_out_alike_go_on() {
    let world = World::new(1);
    create(&world.log, "events-a", 2);
    let [a, b] = ["a", "b"].map(|name| world.streams(copied(), config(name)));
    start(&a);
    create(&world.log, "events-narrow", 1);
    start(&b);
    feed(&world, "events-a", 8);
    world.wait_for_outputs(8);
    assert_eq!((a.state(), b.state()), (State::Running, State::Running));
}
