//! Where reading begins when no place was committed, and where records go when the program says so.

use super::{harness::*, marks::Marked};
use millstream_core::{
    prelude::*,
    record::{RawRecord, TopicPartition},
    task::{Place, TaskConfig},
};
use millstream_log::{Committed, Log};
use millstream_runtime::{program::Program, streams::State};
use std::{sync::Arc, time::Duration};

/// Each record as it is, from where the source is to begin.
fn copies(reset: OffsetReset) -> Topology {
    let builder = StreamsBuilder::new();
    let numbers = builder.stream(Consumed::of(&IN).with_offset_reset(reset));
    numbers.to(&OUT);
    builder.build().unwrap()
}

fn numbers(of: std::ops::Range<i64>) -> Vec<(String, i64)> {
    of.map(|number| ("key".to_owned(), number)).collect()
}

/// Runs until so many records are in the output.
fn run(world: &World, reset: OffsetReset, outputs: usize) -> Vec<i64> {
    let streams = world.streams(copies(reset), config("a"));
    start(&streams);
    let mut made = world.wait_for_outputs(outputs);
    world.let_it_be();
    assert_eq!(streams.close(), State::NotRunning);
    made.remove("key").unwrap_or_default()
}

#[test]
fn a_source_that_begins_at_the_end_goes_on_from_there_ever_after() {
    let world = World::new(1);
    world.feed(numbers(0..5));
    assert!(run(&world, OffsetReset::Latest, 0).is_empty());
    // It has seen no record, and yet has a place.
    world.feed(numbers(5..8));
    assert_eq!(run(&world, OffsetReset::Latest, 3), [5, 6, 7]);
    world.feed(numbers(8..9));
    assert_eq!(run(&world, OffsetReset::Latest, 4), [5, 6, 7, 8]);
}

#[test]
fn what_the_source_says_comes_before_what_the_program_says() {
    let world = World::new(1);
    world.feed(numbers(0..2));
    let mut all = config("a");
    all.task.offset_reset = OffsetReset::Fail;
    let streams = world.streams(copies(OffsetReset::Earliest), all);
    start(&streams);
    assert_eq!(world.wait_for_outputs(2)["key"], [0, 1]);
    assert_eq!(streams.close(), State::NotRunning);
}

#[test]
fn a_source_that_is_to_begin_nowhere_stops_the_program() {
    let world = World::new(1);
    let mut nowhere = config("a");
    nowhere.task.offset_reset = OffsetReset::Fail;
    let streams = world.streams(sums(), nowhere);
    streams.start().unwrap();
    assert_eq!(streams.wait_for(State::is_final, LIMIT), State::Error);
    let failure = streams.failure().unwrap();
    for part in ["in-0", "auto.offset.reset"] {
        assert!(failure.contains(part), "{failure}");
    }
}

/// What a reset that is under way has committed.
fn begin_reset(world: &World) {
    let place = Committed {
        offset: 0,
        metadata: Place::reset_metadata(1),
    };
    let places = [(TopicPartition::new(IN.name, 0), place)];
    let mut client = world.log.client();
    client.commit_as(APPLICATION, 1, &places).unwrap();
}

#[test]
fn nothing_starts_at_a_place_of_a_reset_that_is_not_finished() {
    let world = World::new(1);
    begin_reset(&world);
    let task = TaskConfig::new(APPLICATION);
    let refused = Program::prepare(Arc::new(sums()), task, &mut world.log.client());
    let said = refused.err().unwrap().to_string();
    assert!(said.contains("run `reset --execute` again"), "{said}");
    let topics = world.log.topics().unwrap().into_iter();
    let topics: Vec<_> = topics.map(|topic| topic.spec.name).collect();
    assert_eq!(topics, [IN.name, OUT.name], "nothing was made");
}

/// Of a program that has many threads one is always in the middle of a commit, and of a place that
/// is being committed Kafka does not say what it is.
#[test]
fn others_that_commit_keep_no_instance_from_starting() {
    let world = World::new(1);
    let mut log = Marked::new(world.log.client());
    log.committing = true;
    let task = TaskConfig::new(APPLICATION);
    Program::prepare(Arc::new(sums()), task, &mut log).unwrap();
}

#[test]
fn a_reset_that_begins_between_a_programs_start_and_its_first_task_stops_it() {
    let world = World::new(1);
    world.feed(numbers(0..2));
    let streams = world.streams(sums(), config("a"));
    begin_reset(&world);
    streams.start().unwrap();
    assert_eq!(streams.wait_for(State::is_final, LIMIT), State::Error);
    let failure = streams.failure().unwrap();
    assert!(failure.contains("run `reset --execute` again"), "{failure}");
    assert!(world.outputs().is_empty());
}

#[test]
fn a_source_begins_so_long_ago() {
    const NOW: i64 = 1_000_000;
    let world = World::new(1);
    let mut client = world.log.client();
    for (number, age) in [(1_i64, 9_000), (2, 4_000), (3, 6_000), (4, 0)] {
        let record = RawRecord {
            key: Some(b"key"),
            value: Some(&number.to_be_bytes()),
            timestamp: NOW - age,
            headers: &Headers::NONE,
        };
        client.send(IN.name, Some(0), record).unwrap();
    }
    client.commit(1, &[]).unwrap();
    let mut by_hand = config("a");
    let clock = HandClock::new();
    by_hand.clock = clock.clone();
    let five_seconds = OffsetReset::ByDuration(Duration::from_secs(5));
    let streams = world.streams(copies(five_seconds), by_hand);
    start(&streams);
    world.until("outputs", || {
        // Commits are due by the clock.
        clock.advance(1);
        world.outputs().contains_key("key")
    });
    assert_eq!(world.outputs()["key"], [2, 3, 4]);
    assert_eq!(streams.close(), State::NotRunning);
}

#[test]
fn records_lie_where_the_partitioner_put_them() {
    let world = World::new(3);
    let builder = StreamsBuilder::new();
    let modulo = |_: &String, number: Option<&i64>, partitions: u32| {
        number.map(|number| u32::try_from(number % i64::from(partitions)).unwrap())
    };
    let sink = Produced::of(&OUT).with_partitioner(modulo);
    builder.stream(&IN).to(sink);
    let streams = world.streams(builder.build().unwrap(), config("a"));
    start(&streams);
    // One key: by itself it would choose one partition.
    world.feed(numbers(0..9));
    world.wait_for_outputs(9);
    assert_eq!(streams.close(), State::NotRunning);
    let mut client = world.log.client();
    for partition in 0..3 {
        let at = TopicPartition::new(Arc::from(OUT.name), partition);
        let page = client.read(&at, 0, usize::MAX).unwrap();
        let found: Vec<_> = (page.records.iter())
            .map(|(_, record)| i64::from_be_bytes(record.value.unwrap().try_into().unwrap()))
            .collect();
        let first = i64::from(partition);
        assert_eq!(found, [first, first + 3, first + 6]);
    }
}
