//! Programs that do not fit their log are refused before anything starts, in words that help.

use super::harness::*;
use millstream_core::{prelude::*, store::BufferStore, task::TaskConfig, topology::StoreSpec};
use millstream_log::EmbeddedLog;
use millstream_runtime::{
    backends::MemoryBackends,
    program::Program,
    streams::{LogSource, Streams},
};
use std::sync::Arc;

static ROWS: Topic<String, i64> = Topic::new("rows", utf8(), i64_be());

fn joined() -> Topology {
    let builder = StreamsBuilder::new();
    let table = builder.table(&ROWS, "rows");
    builder.stream(&IN).join(table, |n, row| n + row).to(&OUT);
    builder.build().unwrap()
}

fn refused(log: &EmbeddedLog, topology: Topology) -> String {
    let logs = log.clone();
    let source: LogSource = Arc::new(move || Ok(Box::new(logs.client())));
    let disk = Arc::new(MemoryBackends::default());
    let streams = Streams::new(Arc::new(topology), config("a"), source, disk);
    streams.err().unwrap().to_string()
}

#[test]
fn a_missing_source_topic_is_named() {
    let error = refused(&EmbeddedLog::in_memory(), sums());
    assert!(error.contains("\"in\" does not exist"), "{error}");
}

#[test]
fn joined_topics_of_different_widths_are_named_with_their_place_in_the_program() {
    let world = World::new(2);
    create(&world.log, ROWS.name, 3);
    let error = refused(&world.log, joined());
    for part in ["in has 2", "rows has 3", "programs.rs:"] {
        assert!(error.contains(part), "{error} does not say {part:?}");
    }
}

#[test]
fn a_store_whose_format_changed_is_refused_with_both() {
    let counted = || {
        let builder = StreamsBuilder::new();
        let _ = builder.stream(&IN).group_by_key().count("sums");
        builder.build().unwrap()
    };
    let world = World::new(1);
    let disk = Arc::new(MemoryBackends::default());
    start(&world.streams_on(&disk, sums(), config("a")));
    let changed = world.streams_on(&disk, counted(), config("a"));
    changed.start().unwrap();
    world.until("the refusal", || changed.failure().is_some());
    let failure = changed.failure().unwrap();
    for part in ["\"sums\" of task 0_0", "i64", "u64", "reset"] {
        assert!(failure.contains(part), "{failure} does not say {part:?}");
    }
    drop(changed);
    // Nothing was lost: the old program goes on.
    start(&world.streams_on(&disk, sums(), config("a")));
}

#[test]
fn a_changelog_of_another_width_is_refused() {
    let world = World::new(2);
    let config = TaskConfig::new(APPLICATION);
    create(&world.log, "app-sums-changelog", 5);
    let mut client = world.log.client();
    let refused = Program::prepare(Arc::new(sums()), config, &mut client);
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("app-sums-changelog"), "{error}");
}

#[test]
fn a_store_that_needs_whole_commits_is_refused_where_there_may_be_parts_of_them() {
    let world = World::new(1);
    let prepared = |whole_commits, exactly_once| {
        let builder = StreamsBuilder::new();
        builder.stream(&IN).to(&OUT);
        let mut spec = StoreSpec::custom("model", "buffer/i64", |env| {
            Ok(Box::new(BufferStore::open(i64_be(), env)?))
        });
        spec.whole_commits = whole_commits;
        let _ = builder.add_store::<BufferStore<i64>>(spec);
        let mut config = TaskConfig::new(APPLICATION);
        config.exactly_once = exactly_once;
        let topology = Arc::new(builder.build().unwrap());
        Program::prepare(topology, config, &mut world.log.client())
    };
    let error = prepared(true, false).err().unwrap().to_string();
    for part in [
        "programs.rs:",
        "\"model\"",
        "processing.guarantee=exactly_once_v2",
    ] {
        assert!(error.contains(part), "{error} does not say {part:?}");
    }
    for (whole_commits, exactly_once) in [(true, true), (false, true), (false, false)] {
        assert!(prepared(whole_commits, exactly_once).is_ok());
    }
}
