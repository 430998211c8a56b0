//! Windows that the wall clock closes, in a worker that was kept from its records for a while.

use super::harness::*;
use millstream_core::{prelude::*, record::TopicPartition, task::TaskConfig};
use millstream_log::{Committed, Log};
use millstream_runtime::{
    backends::MemoryBackends,
    program::Program,
    worker::{Settings, Step, Worker},
};
use std::{sync::Arc, time::Duration};

const IDLE_MS: i64 = 1_000;

/// Counts in windows, told when they close or when nothing has come for a second.
fn topology() -> Topology {
    let windows = TimeWindows::of_size_with_no_grace(Duration::from_secs(10));
    let builder = StreamsBuilder::new();
    let windowed = builder.stream(&IN).group_by_key().windowed_by(windows);
    let closing = windowed.emit_strategy(EmitStrategy::OnWindowClose);
    let closing = closing.close_when_idle(Duration::from_millis(IDLE_MS as u64));
    let counts = closing.aggregate("counts", || 0, |_: &String, _, n: &mut i64| *n += 1);
    let told = |key: Windowed<String>, n: Option<i64>| (key.key, n.unwrap_or_default());
    counts.to_stream().map(told).to(&OUT);
    builder.build().unwrap()
}

fn worker(world: &World) -> Worker {
    worker_of(world, topology(), Settings::new("worker", "worker"))
}

fn worker_of(world: &World, topology: Topology, settings: Settings) -> Worker {
    let task = TaskConfig::new(APPLICATION);
    let program = Program::prepare(Arc::new(topology), task, &mut world.log.client()).unwrap();
    let (log, backends) = (
        Box::new(world.log.client()),
        Arc::<MemoryBackends>::default(),
    );
    Worker::new(Arc::new(program), backends, log, settings)
}

fn work(worker: &mut Worker, now: i64) {
    while worker.step(now, Duration::ZERO).unwrap() == Step::Busy {}
}

#[test]
fn records_that_waited_out_a_pause_are_counted_before_windows_close() {
    let world = World::new(1);
    let mut worker = worker(&world);
    world.feed([("a".to_owned(), 1)]);
    work(&mut worker, 10);
    // Nobody steps it for longer than the idle time, and meanwhile a record comes.
    world.feed([("a".to_owned(), 2)]);
    let late = 10 + 5 * IDLE_MS;
    work(&mut worker, late);
    work(&mut worker, late + IDLE_MS - 1);
    assert!(world.outputs().is_empty());
    work(&mut worker, late + 2 * IDLE_MS);
    work(&mut worker, late + 3 * IDLE_MS);
    assert_eq!(world.outputs()["a"], [2]);
    assert_eq!(worker.tasks()[0].dropped.late_record, 0);
}

#[test]
fn a_clock_that_is_put_back_holds_nothing_up() {
    let other: Topic<String, i64> = Topic::new("other", utf8(), i64_be());
    let builder = StreamsBuilder::new();
    let merged = builder.stream(&IN).merge(builder.stream(&other));
    merged.to(&OUT);
    let world = World::new(1);
    create(&world.log, other.name, 1);
    let mut settings = Settings::new("worker", "worker");
    (settings.max_task_idle_ms, settings.commit_interval_ms) = (100, 1_000);
    let mut worker = worker_of(&world, builder.build().unwrap(), settings);
    world.feed([("a".to_owned(), 1)]);
    // Waiting for the other topic began here, and so did the time until the commit.
    work(&mut worker, 1_000_000);
    for now in [0, 99] {
        work(&mut worker, now);
        assert_eq!(worker.stats().processed, 0);
    }
    work(&mut worker, 100);
    assert_eq!(worker.stats().processed, 1);
    work(&mut worker, 999);
    assert!(world.outputs().is_empty());
    work(&mut worker, 1_000);
    assert_eq!(world.outputs()["a"], [1]);
}

#[test]
fn a_place_behind_the_end_is_a_reason_to_stop() {
    let world = World::new(1);
    world.feed([("a".to_owned(), 1)]);
    let place = (
        TopicPartition::new(IN.name, 0),
        Committed::new(1_000, 1, b""),
    );
    world
        .log
        .client()
        .commit_as(APPLICATION, 1, &[place])
        .unwrap();
    let mut worker = worker(&world);
    let steps = (0..100).find_map(|now| worker.step(now, Duration::ZERO).err());
    let told = steps.unwrap().to_string();
    assert!(
        told.contains("behind its end 1") && told.contains("reset"),
        "{told}"
    );
}
