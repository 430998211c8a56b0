//! Several instances of one program: sharing, taking over, and standing by.

use super::harness::*;
use millstream_runtime::{backends::MemoryBackends, streams::Streams, worker::TaskRole};
use std::sync::Arc;

const KEYS: usize = 40;

fn both_have(streams: [&Streams; 2], tasks: usize) -> bool {
    streams.iter().all(|one| active(one).len() == tasks)
}

#[test]
fn two_instances_share_the_tasks_and_one_takes_them_over() {
    let world = World::new(4);
    let a = world.streams(sums(), config("a"));
    start(&a);
    world.feed(ones(KEYS, 2));
    world.wait_for_outputs(KEYS * 2);
    let b = world.streams(sums(), config("b"));
    start(&b);
    world.until("two tasks each", || both_have([&a, &b], 2));
    world.feed(ones(KEYS, 2));
    world.wait_for_outputs(KEYS * 4);
    world.until("work for both", || processed(&b) > 0);
    b.close();
    world.until("all tasks back", || active(&a).len() == 4);
    world.feed(ones(KEYS, 2));
    assert_ones(&world.wait_for_outputs(KEYS * 6), KEYS, 6);
}

#[test]
fn instances_that_come_and_go_under_load_lose_and_double_nothing() {
    let world = World::new(3);
    let a = world.streams(sums(), config("a"));
    start(&a);
    for round in 0..4 {
        let other = world.streams(sums(), config(&format!("other-{round}")));
        start(&other);
        world.feed(ones(KEYS, 5));
        if round % 2 == 0 {
            drop(other);
        } else {
            // Thrown out as a process would be that nobody hears of any more; it joins again.
            world
                .log
                .expire(APPLICATION, &format!("other-{round}-1"))
                .unwrap();
            world.log.expire(APPLICATION, "a-1").unwrap();
        }
    }
    assert_ones(&world.wait_for_outputs(KEYS * 20), KEYS, 20);
}

#[test]
fn threads_of_an_instance_pass_tasks_over_one_disk() {
    let world = World::new(4);
    let mut config = config("a");
    config.threads = 2;
    let a = world.streams(sums(), config);
    start(&a);
    for _ in 0..4 {
        world.feed(ones(KEYS, 5));
        // The other thread gets all tasks, and then gives half of them back.
        world.log.expire(APPLICATION, "a-1").unwrap();
    }
    assert_ones(&world.wait_for_outputs(KEYS * 20), KEYS, 20);
}

#[test]
fn a_standby_is_kept_current_and_promoted_without_a_full_replay() {
    let world = World::new(2);
    let standing_by = |instance| {
        let mut config = config(instance);
        config.settings.standby_replicas = 1;
        config
    };
    let a = world.streams(sums(), standing_by("a"));
    start(&a);
    world.feed(ones(KEYS, 10));
    world.wait_for_outputs(KEYS * 10);
    let b = world.streams(sums(), standing_by("b"));
    start(&b);
    world.until("one task each", || both_have([&a, &b], 1));
    world.until("a current standby", || {
        let tasks = b.tasks();
        let mut standbys = tasks.iter().filter(|task| task.role == TaskRole::Standby);
        let current = |task: &millstream_runtime::worker::TaskView| {
            let stores = &task.restore;
            stores
                .iter()
                .all(|store| store.records > 0 && store.position == store.end)
        };
        standbys.any(current)
    });
    let before = b.threads()[0].stats;
    a.close();
    world.until("both tasks", || active(&b).len() == 2);
    let after = b.threads()[0].stats;
    assert_eq!(after.promoted - before.promoted, 1);
    assert_eq!(
        after.restored, before.restored,
        "it was current: nothing was left to replay"
    );
    world.feed(ones(KEYS, 1));
    assert_ones(&world.wait_for_outputs(KEYS * 11), KEYS, 11);
}

#[test]
fn what_is_on_the_disk_is_not_replayed_after_a_restart() {
    let world = World::new(2);
    let disk = Arc::new(MemoryBackends::default());
    let first = world.streams_on(&disk, sums(), config("a"));
    start(&first);
    world.feed(ones(KEYS, 3));
    world.wait_for_outputs(KEYS * 3);
    first.close();
    let second = world.streams_on(&disk, sums(), config("a"));
    start(&second);
    assert_eq!(second.threads()[0].stats.restored, 0);
    world.feed(ones(KEYS, 1));
    assert_ones(&world.wait_for_outputs(KEYS * 4), KEYS, 4);
    drop(second);
    // Another machine has nothing, and reads all of it.
    let third = world.streams(sums(), config("a"));
    start(&third);
    world.until("restores", || {
        third.threads()[0].stats.restored >= KEYS as u64
    });
    world.feed(ones(KEYS, 1));
    assert_ones(&world.wait_for_outputs(KEYS * 5), KEYS, 5);
}
