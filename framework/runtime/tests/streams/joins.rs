//! Joins of two streams: what their changelogs are, and that finished rows do not wait for others.

use super::harness::*;
use millstream_core::prelude::*;
use millstream_log::{Cleanup, EmbeddedLog, Limits, Log, TopicSpec};
use millstream_runtime::{backends::MemoryBackends, streams::Streams};
use std::{sync::Arc, time::Duration};

static OTHER: Topic<String, i64> = Topic::new("other", utf8(), i64_be());
const CHANGELOG: &str = "app-met-this-join-store-changelog";

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

/// Makes the changelog as somebody else did before.
fn made_before(world: &World, cleanup: Cleanup) {
    let spec = TopicSpec {
        name: CHANGELOG.to_owned(),
        partitions: 1,
        cleanup,
    };
    world.log.create_topic(&spec).unwrap();
}

fn cleanup(world: &World) -> Cleanup {
    let info = world.log.client().topic(CHANGELOG).unwrap().unwrap();
    info.spec.cleanup
}

#[test]
fn rows_that_are_only_added_are_not_compacted() {
    let world = world(Limits::default());
    start(&world.streams(met(), config("a")));
    assert_eq!(cleanup(&world), Cleanup::Delete { retention_ms: None });
}

#[test]
fn a_changelog_of_an_earlier_version_stays_as_it_is() {
    let world = world(Limits::default());
    let compacted = Cleanup::CompactDelete {
        delete_retention_ms: 1_000,
        retention_ms: None,
    };
    made_before(&world, compacted);
    start(&world.streams(met(), config("a")));
    assert_eq!(cleanup(&world), compacted);
}

#[test]
fn a_changelog_that_forgets_by_age_is_refused() {
    for cleanup in [
        Cleanup::Delete {
            retention_ms: Some(1_000),
        },
        Cleanup::CompactDelete {
            delete_retention_ms: 1_000,
            retention_ms: Some(1_000),
        },
    ] {
        let world = world(Limits::default());
        made_before(&world, cleanup);
        let disk = Arc::new(MemoryBackends::default());
        let streams = Streams::new(Arc::new(met()), config("a"), world.source(), disk);
        let error = streams.err().unwrap().to_string();
        assert!(error.contains(CHANGELOG), "{error}");
    }
}

/// With an interval that never ends.
fn commits(topology: Topology, limits: Limits) -> u64 {
    let world = world(limits);
    let mut config = config("a");
    config.settings.commit_interval_ms = i64::MAX;
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
