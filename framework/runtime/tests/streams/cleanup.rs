//! What an instance keeps of tasks that it has not: nothing, after a while.

use super::harness::*;
use millstream_runtime::{
    backends::{Backends, MemoryBackends},
    streams::{Streams, StreamsConfig},
};
use std::sync::Arc;

/// More than a delay may be, so that only the clock of the test matters.
const DELAY_MS: i64 = 600_000;
/// How far the clock goes while something is waited for: enough for a commit.
const COMMIT_MS: i64 = 5;

fn timed(instance: &str, clock: &Arc<HandClock>, standbys: usize) -> StreamsConfig {
    let mut config = config(instance);
    config.clock = clock.clone();
    config.settings.standby_replicas = standbys;
    config
}

fn wait_for_outputs(world: &World, clock: &HandClock, records: usize) {
    world.until("outputs", || {
        clock.advance(COMMIT_MS);
        world.outputs().values().map(Vec::len).sum::<usize>() >= records
    });
}

/// Two instances that share two tasks, the first of which had both before.
struct Two {
    world: World,
    clock: Arc<HandClock>,
    disk: Arc<MemoryBackends>,
    a: Streams,
    b: Streams,
}

fn two(standbys: usize) -> Two {
    let (world, clock) = (World::new(2), HandClock::new());
    let disk = Arc::new(MemoryBackends::default());
    let a = world.streams_on(&disk, sums(), timed("a", &clock, standbys));
    start(&a);
    world.feed(ones(8, 1));
    wait_for_outputs(&world, &clock, 8);
    assert_eq!(a.tidy_state().unwrap(), []);
    assert_eq!(disk.kept().unwrap().len(), 2);
    let b = world.streams(sums(), timed("b", &clock, standbys));
    start(&b);
    world.until("shared tasks", || {
        clock.advance(COMMIT_MS);
        let both = a.tasks().iter().chain(&b.tasks()).count();
        active(&a).len() == 1 && active(&b).len() == 1 && both == 2 + 2 * standbys.min(1)
    });
    Two {
        world,
        clock,
        disk,
        a,
        b,
    }
}

#[test]
fn a_task_that_moved_away_is_deleted_and_comes_back_whole() {
    let two = two(0);
    let (kept, moved) = (active(&two.a)[0].id, active(&two.b)[0].id);
    // The first look after it went only begins to count.
    let mut deleted = Vec::new();
    two.world.until("the end of the state", || {
        two.clock.advance(DELAY_MS);
        deleted_by(&two.a, &two.disk) == [moved]
    });
    deleted.extend(two.disk.kept().unwrap());
    assert_eq!(deleted, [kept]);
    // The other one has its task, so it keeps its own.
    assert_eq!(two.b.tidy_state().unwrap(), []);
    two.b.close();
    two.world.feed(ones(8, 1));
    wait_for_outputs(&two.world, &two.clock, 16);
    let outputs = two.world.outputs();
    assert_ones(&outputs, 8, 2);
    assert_eq!(two.disk.kept().unwrap().len(), 2);
}

/// Deletes what is due; the tasks that are gone from the disk of two.
fn deleted_by(streams: &Streams, disk: &MemoryBackends) -> Vec<millstream_core::record::TaskId> {
    streams.tidy_state().unwrap();
    let kept = disk.kept().unwrap();
    let both = (0..2).map(|partition| millstream_core::record::TaskId {
        subtopology: 0,
        partition,
    });
    both.filter(|task| !kept.contains(task)).collect()
}

#[test]
fn a_standby_is_a_task_that_the_instance_has() {
    let two = two(1);
    for _ in 0..5 {
        two.clock.advance(DELAY_MS);
        assert_eq!(two.a.tidy_state().unwrap(), []);
        assert_eq!(two.b.tidy_state().unwrap(), []);
    }
    assert_eq!(two.disk.kept().unwrap().len(), 2);
}

#[test]
fn an_instance_that_does_not_run_deletes_nothing() {
    let (world, clock) = (World::new(2), HandClock::new());
    let disk = Arc::new(MemoryBackends::default());
    let ran = world.streams_on(&disk, sums(), timed("a", &clock, 0));
    start(&ran);
    ran.close();
    let stopped = world.streams_on(&disk, sums(), timed("a", &clock, 0));
    for streams in [&ran, &stopped] {
        for _ in 0..3 {
            clock.advance(DELAY_MS);
            assert_eq!(streams.tidy_state().unwrap(), []);
        }
    }
    assert_eq!(disk.kept().unwrap().len(), 2);
}
