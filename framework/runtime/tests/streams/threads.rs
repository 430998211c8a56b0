//! Threads that come and go while the client runs: none of their work is lost or done twice.

use super::harness::*;
use millstream_runtime::{
    streams::{State, Streams},
    worker::Phase,
};
use std::time::Duration;

fn running(threads: usize) -> (World, Streams) {
    let world = World::new(4);
    let mut config = config("a");
    config.threads = threads;
    let streams = world.streams(sums(), config);
    start(&streams);
    (world, streams)
}

/// Waits until so many threads have all tasks among them, each at least one.
fn until_shared(world: &World, streams: &Streams, count: usize) {
    world.until("shares of the tasks", || {
        let threads = streams.threads();
        let runs = |phase| phase == Phase::Running;
        threads.len() == count
            && threads
                .iter()
                .all(|of| runs(of.phase) && !of.tasks.is_empty())
            && active(streams).len() == 4
    });
}

#[test]
fn threads_take_over_from_each_other_without_loss() {
    let (world, streams) = running(1);
    world.feed(ones(20, 1));
    world.wait_for_outputs(20);
    assert_eq!(streams.add_stream_thread().unwrap(), "StreamThread-2");
    assert_eq!(streams.add_stream_thread().unwrap(), "StreamThread-3");
    world.feed(ones(20, 1));
    until_shared(&world, &streams, 3);
    assert_eq!(streams.state(), State::Running);
    world.feed(ones(20, 1));
    world.wait_for_outputs(60);
    assert_eq!(
        streams.remove_stream_thread(LIMIT).unwrap(),
        "StreamThread-3"
    );
    world.feed(ones(20, 1));
    until_shared(&world, &streams, 2);
    // Its number is free again.
    assert_eq!(streams.add_stream_thread().unwrap(), "StreamThread-3");
    until_shared(&world, &streams, 3);
    for _ in 0..2 {
        streams.remove_stream_thread(LIMIT).unwrap();
    }
    world.feed(ones(20, 1));
    until_shared(&world, &streams, 1);
    assert_ones(&world.wait_for_outputs(100), 20, 5);
    assert_eq!(streams.close(), State::NotRunning);
    assert_ones(&world.outputs(), 20, 5);
}

#[test]
fn threads_that_come_take_their_share_of_what_may_be_uncommitted() {
    let run = |most: usize| {
        let world = World::new(1);
        let mut config = config("a");
        config.settings.commit_interval_ms = i64::MAX;
        config.settings.uncommitted_bytes_max = most;
        let streams = world.streams(sums(), config);
        start(&streams);
        world.feed(ones(20, 1));
        world.until("processing", || processed(&streams) == 20);
        (world, streams)
    };
    let dirty = |streams: &Streams| {
        let threads = streams.threads();
        let tasks = threads.iter().flat_map(|of| &of.tasks);
        tasks.map(|task| task.dirty_bytes).sum::<usize>()
    };
    let (_, streams) = run(usize::MAX);
    let all = dirty(&streams);
    assert!(all > 100, "{all}");
    streams.close();

    // What is more than half of the room is too much where two share it.
    let (world, streams) = run(all + all / 2);
    assert!(world.outputs().is_empty());
    streams.add_stream_thread().unwrap();
    world.wait_for_outputs(20);
    world.until("two threads", || {
        let threads = streams.threads();
        threads.len() == 2 && threads.iter().all(|of| of.phase == Phase::Running)
    });
    world.feed(ones(20, 1));
    world.wait_for_outputs(40);
    streams.remove_stream_thread(LIMIT).unwrap();
    world.feed(ones(20, 1));
    world.until("processing", || dirty(&streams) == all);
    world.let_it_be();
    assert_ones(&world.outputs(), 20, 2);
    streams.close();
    assert_ones(&world.outputs(), 20, 3);
}

#[test]
fn a_thread_that_is_removed_commits_what_it_has_done() {
    let world = World::new(4);
    let mut config = config("a");
    config.threads = 2;
    config.settings.commit_interval_ms = i64::MAX;
    let streams = world.streams(sums(), config);
    start(&streams);
    until_shared(&world, &streams, 2);
    world.feed(ones(20, 2));
    world.until("processing", || processed(&streams) == 40);
    assert!(world.outputs().is_empty(), "nothing is visible before");
    let own: u64 = streams.threads()[1]
        .tasks
        .iter()
        .map(|task| task.processed)
        .sum();
    assert!(own > 0);
    streams.remove_stream_thread(LIMIT).unwrap();
    let committed = world.outputs().values().map(Vec::len).sum::<usize>();
    assert_eq!(committed as u64, own, "the other thread has not committed");
    streams.close();
    assert_ones(&world.outputs(), 20, 2);
}

#[test]
fn only_a_client_that_runs_gets_or_loses_threads_and_one_stays() {
    let (_world, streams) = running(2);
    streams.remove_stream_thread(LIMIT).unwrap();
    let error = streams.remove_stream_thread(LIMIT).unwrap_err().to_string();
    assert!(error.contains("close the client"), "{error}");
    assert_eq!(streams.state(), State::Running);
    streams.close();
    for error in [
        streams.add_stream_thread().unwrap_err(),
        streams.remove_stream_thread(LIMIT).unwrap_err(),
    ] {
        assert!(error.to_string().contains("NOT_RUNNING"), "{error}");
    }
}

#[test]
fn who_does_not_wait_for_a_thread_is_told_that_it_is_leaving() {
    let (world, streams) = running(2);
    let error = streams.remove_stream_thread(Duration::ZERO).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("StreamThread-2 has not ended"), "{text}");
    until_shared(&world, &streams, 1);
    world.feed(ones(5, 1));
    assert_ones(&world.wait_for_outputs(5), 5, 1);
}
