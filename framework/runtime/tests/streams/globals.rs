//! Global tables on a log: every instance has all rows, before it begins and while it runs.

use super::harness::*;
use millstream_core::{
    prelude::*,
    record::{Headers, RawRecord, TopicPartition},
    task::TaskConfig,
};
use millstream_log::Log;
use millstream_runtime::{
    backends::MemoryBackends,
    program::Program,
    replica::FullRestore,
    streams::Streams,
    worker::{Phase, Settings, Worker},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

static RATES: Topic<String, i64> = Topic::new("rates", utf8(), i64_be());
/// Far more than a step away.
const STEPS_MAX: usize = 1_000;

/// Each number times the rate of its key.
fn multiplied() -> Topology {
    let builder = StreamsBuilder::new();
    let rates = builder.global_table(&RATES, "rates");
    let numbers = builder.stream(&IN);
    let joined = numbers.left_join_global(
        rates,
        |key, _| key.clone(),
        |n, rate| n * rate.copied().unwrap_or(-1),
    );
    joined.to(&OUT);
    builder.build().unwrap()
}

fn world() -> World {
    let world = World::new(2);
    create(&world.log, RATES.name, 3);
    world
}

fn rate(world: &World, key: &str, rate: Option<i64>) {
    let (mut client, value) = (world.log.client(), rate.map(i64::to_be_bytes));
    let record = RawRecord {
        key: Some(key.as_bytes()),
        value: value.as_ref().map(<[u8; 8]>::as_slice),
        timestamp: 1,
        headers: &Headers::NONE,
    };
    client.send(RATES.name, None, record).unwrap();
    client.commit(1, &[]).unwrap();
}

/// Rates for many keys, so that all partitions have some.
fn rates(world: &World, keys: usize) {
    (0..keys).for_each(|key| rate(world, &format!("key-{key}"), Some(10)));
}

fn row(streams: &Streams, key: &str) -> Option<serde_json::Value> {
    let row = streams.get("rates", &json!(key)).unwrap();
    row.map(|row| row.value)
}

/// Records applied by an instance since it was made, and why it began at the first record.
fn read(streams: &Streams) -> (u64, Option<FullRestore>) {
    let progress = streams.globals();
    assert_eq!(progress.len(), 3, "one for each partition");
    let records = progress.iter().map(|p| p.records).sum();
    (records, progress[0].full)
}

#[test]
fn every_instance_has_all_rows_before_it_begins() {
    let world = world();
    rates(&world, 20);
    world.feed(ones(20, 1));
    let a = world.streams(multiplied(), config("a"));
    let b = world.streams(multiplied(), config("b"));
    start(&a);
    start(&b);
    let outputs = world.wait_for_outputs(20);
    assert!(
        outputs.values().all(|values| *values == [10]),
        "{outputs:?}"
    );
    for instance in [&a, &b] {
        assert_eq!(read(instance), (20, Some(FullRestore::Empty)));
        for key in 0..20 {
            assert_eq!(row(instance, &format!("key-{key}")), Some(json!(10)));
        }
    }
}

#[test]
fn rows_change_and_go_while_the_program_runs() {
    let world = world();
    let streams = world.streams(multiplied(), config("a"));
    start(&streams);
    for (value, product) in [(Some(2), 2), (None, -1), (Some(5), 5)] {
        rate(&world, "key-0", value);
        world.until("the row", || {
            row(&streams, "key-0") == value.map(|n| json!(n))
        });
        world.feed(ones(1, 1));
        world.until("the product", || {
            world.outputs().get("key-0").and_then(|all| all.last()) == Some(&product)
        });
    }
    assert_eq!(world.outputs()["key-0"], [2, -1, 5]);
}

#[test]
fn a_restarted_instance_reads_on_where_it_was() {
    let world = world();
    let disk = Arc::new(MemoryBackends::default());
    rates(&world, 20);
    let streams = world.streams_on(&disk, multiplied(), config("a"));
    start(&streams);
    assert_eq!(read(&streams), (20, Some(FullRestore::Empty)));
    drop(streams);
    rate(&world, "key-0", None);
    rate(&world, "key-1", Some(7));
    world.feed(ones(2, 1));
    let streams = world.streams_on(&disk, multiplied(), config("a"));
    start(&streams);
    assert_eq!(read(&streams), (2, None));
    assert_eq!(row(&streams, "key-0"), None);
    assert_eq!(row(&streams, "key-2"), Some(json!(10)));
    let outputs = world.wait_for_outputs(2);
    assert_eq!(
        (&outputs["key-0"], &outputs["key-1"]),
        (&vec![-1], &vec![7])
    );
}

#[test]
fn rows_of_a_topic_that_was_made_anew_are_forgotten() {
    let world = world();
    let disk = Arc::new(MemoryBackends::default());
    rates(&world, 5);
    let streams = world.streams_on(&disk, multiplied(), config("a"));
    start(&streams);
    drop(streams);
    world.log.delete_topic(RATES.name).unwrap();
    create(&world.log, RATES.name, 3);
    rate(&world, "key-0", Some(3));
    let streams = world.streams_on(&disk, multiplied(), config("a"));
    start(&streams);
    assert_eq!(read(&streams), (1, Some(FullRestore::TopicReplaced)));
    assert_eq!(row(&streams, "key-0"), Some(json!(3)));
    assert_eq!(row(&streams, "key-1"), None);
}

#[test]
fn nothing_runs_before_the_last_row_is_read() {
    let world = world();
    // More than a page in one partition, so that reading takes several steps.
    let mut client = world.log.client();
    for key in 0..40_000 {
        let key = format!("{key:0>100}");
        let record = RawRecord {
            key: Some(key.as_bytes()),
            value: Some(&[0; 8]),
            timestamp: 1,
            headers: &Headers::NONE,
        };
        client.send(RATES.name, Some(0), record).unwrap();
    }
    client.commit(1, &[]).unwrap();
    world.feed(ones(1, 1));
    let task = TaskConfig::new(APPLICATION);
    let program = Program::prepare(Arc::new(multiplied()), task, &mut client).unwrap();
    let (disk, log) = (
        Arc::new(MemoryBackends::default()),
        Box::new(world.log.client()),
    );
    let settings = Settings::new("member", "instance");
    let mut worker = Worker::new(Arc::new(program), disk, log, settings);
    let mut waited = 0;
    for _ in 0..STEPS_MAX {
        worker.step(1, Duration::ZERO).unwrap();
        let progress = worker.globals().progress();
        let behind = progress.is_empty() || progress.iter().any(|p| p.position < p.end);
        if behind {
            assert_eq!(
                (worker.phase(), worker.stats().processed),
                (Phase::Rebalancing, 0)
            );
            waited += 1;
        }
        if worker.stats().processed == 1 {
            break;
        }
    }
    assert!(waited > 3, "read in {waited} steps: too few to tell");
    assert_eq!(worker.stats().processed, 1);
    let end = client.end(&TopicPartition::new(RATES.name, 0)).unwrap();
    assert_eq!(worker.globals().progress()[0].position, end);
}

#[test]
fn bad_rows_stop_the_instance_or_are_counted() {
    let world = world();
    let mut client = world.log.client();
    for (key, value) in [(Some(&b"key-0"[..]), &b"short"[..]), (None, &[0; 8])] {
        let headers = &Headers::NONE;
        let record = RawRecord {
            key,
            value: Some(value),
            timestamp: 1,
            headers,
        };
        client.send(RATES.name, Some(0), record).unwrap();
    }
    client.commit(1, &[]).unwrap();
    let strict = world.streams(multiplied(), config("a"));
    strict.start().unwrap();
    world.until("the failure", || strict.failure().is_some());
    let failure = strict.failure().unwrap();
    assert!(
        failure.contains("rates-0 offset 0, global table rates"),
        "{failure}"
    );

    let mut lenient = config("b");
    lenient.task.policies = ErrorPolicy::Skip.into();
    let registry = lenient.registry.clone();
    let streams = world.streams(multiplied(), lenient);
    start(&streams);
    let counted = |reason: &str| {
        let line =
            format!("streams_records_dropped_total{{reason=\"{reason}\",task=\"global\"}} 1");
        registry.render().unwrap().contains(&line)
    };
    world.until("the counts", || {
        counted("deserialization") && counted("null_key")
    });
}

/// Sums values under the lengths of their keys; a deletion counts as well.
struct Sums;

impl GlobalProcessor<String, i64> for Sums {
    type Key = String;
    type Value = i64;

    fn process(
        &mut self,
        record: Record<String, Option<i64>>,
        ctx: &mut GlobalContext<'_, String, i64>,
    ) -> ProcessResult {
        let length = record.key.len().to_string();
        *ctx.store().entry(&length, || 0)? += record.value.unwrap_or(1_000);
        Ok(())
    }
}

/// Each number and the sum of its key.
fn summed() -> Topology {
    let builder = StreamsBuilder::new();
    let sums = builder.global_store(&RATES, "rates", || Sums);
    let numbers = builder.stream(&IN);
    let length = |key: &String, _: &i64| key.len().to_string();
    let joined = numbers.left_join_global(sums, length, |n, sum| n + sum.copied().unwrap_or(-9));
    joined.to(&OUT);
    builder.build().unwrap()
}

#[test]
fn a_processor_takes_each_record_once_over_restarts_and_all_of_them_where_rows_are_lost() {
    let world = world();
    let disk = Arc::new(MemoryBackends::default());
    rates(&world, 10);
    rate(&world, "key-3", None);
    let began = |streams: &Streams, sum: i64| {
        start(streams);
        world.until("the row", || row(streams, "5") == Some(json!(sum)));
        read(streams)
    };
    let streams = world.streams_on(&disk, summed(), config("a"));
    assert_eq!(began(&streams, 1_100), (11, Some(FullRestore::Empty)));
    world.feed(ones(1, 1));
    let outputs = world.wait_for_outputs(1);
    assert_eq!(outputs["key-0"], [1_101]);
    drop(streams);
    rate(&world, "key-4", Some(7));
    let streams = world.streams_on(&disk, summed(), config("a"));
    assert_eq!(began(&streams, 1_107), (1, None));
    drop(streams);
    // Elsewhere there is nothing yet, and the processor runs again.
    let lost = Arc::new(MemoryBackends::default());
    let streams = world.streams_on(&lost, summed(), config("b"));
    assert_eq!(began(&streams, 1_107), (12, Some(FullRestore::Empty)));
    drop(streams);
    // Rows that were copied are none of a processor's.
    let streams = world.streams_on(&lost, multiplied(), config("b"));
    start(&streams);
    world.until("the row", || row(&streams, "key-4") == Some(json!(7)));
    assert_eq!(row(&streams, "5"), None);
    assert_eq!(read(&streams).1, Some(FullRestore::TopicReplaced));
}
