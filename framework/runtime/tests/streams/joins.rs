//! Joins of two streams: finished rows do not wait for others.

use super::harness::*;
use millstream_core::prelude::*;
use millstream_log::{EmbeddedLog, Limits};
use std::time::Duration;

static OTHER: Topic<String, i64> = Topic::new("other", utf8(), i64_be());

/// Numbers that meet those of another topic.
fn met() -> Topology {
    let builder = StreamsBuilder::new();
    let windows = JoinWindows::of_time_difference_with_no_grace(Duration::from_secs(60));
    let other = builder.stream(&OTHER);
    let met = builder.stream(&IN);
    met.join_stream(other, windows, "met", |a, b| a + b)
        .to(&OUT);
    builder.build().unwrap()
}

fn world(limits: Limits) -> World {
    let world = World::on(EmbeddedLog::in_memory_with(limits), 1);
    create(&world.log, OTHER.name, 1);
    world
}

/// With an interval that never ends.
fn commits(topology: Topology, limits: Limits) -> u64 {
    let world = world(limits);
    let mut config = config("a");
    config.settings.commit_interval_ms = i64::MAX;
    config.settings.records_per_step = 10;
    let streams = world.streams(topology, config);
    start(&streams);
    for number in 0..20 {
        world.feed((0..10).map(|key| (format!("key-{key}"), number)));
    }
    world.until("all records", || processed(&streams) == 200);
    world.let_it_be();
    let threads = streams.threads();
    threads.iter().map(|thread| thread.stats.commits).sum()
}

#[test]
fn finished_rows_do_not_wait_for_a_commit_longer_than_the_log_asks() {
    let often = Limits {
        commit_bytes: 500,
        ..Limits::default()
    };
    assert!(commits(met(), often) >= 2);
    assert_eq!(commits(met(), Limits::default()), 0);
    // Sums change again, and are worth waiting for.
    assert_eq!(commits(sums(), often), 0);
}
