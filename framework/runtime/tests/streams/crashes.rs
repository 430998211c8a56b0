//! Two instances driven by a seed over an unreliable log, with calls that take their time and a
//! table that has no changelog but its topic: whatever dies and when, each result is there once.
//!
//! Invariant: equal seeds give equal runs; time is a number, and calls run on the stepping thread.

use super::harness::*;
use millstream_core::{
    calls::{AsyncConfig, Executor, InlineExecutor},
    prelude::*,
    record::RawRecord,
    task::{SourceChangelogs, TaskConfig},
};
use millstream_log::{Cleanup, FaultRates, Faults, FaultyLog, Log, Rng, TopicSpec};
use millstream_runtime::{
    Error,
    backends::MemoryBackends,
    program::Program,
    worker::{Settings, Worker},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

static ROWS: Topic<String, i64> = Topic::new("rows", utf8(), i64_be());
const PARTITIONS: u32 = 2;
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
const RECORDS: i64 = 300;
const STEPS_MAX: usize = 20_000;

/// Sums of numbers and their keys' rows, after a call for each.
fn topology(executor: &InlineExecutor) -> Topology {
    let executor = executor.clone();
    let builder = StreamsBuilder::new();
    let rows = builder.table(&ROWS, "rows");
    let called = builder
        .stream(&IN)
        .left_join(rows, |number, row| number + row.copied().unwrap_or(0))
        .map_async(
            "call",
            AsyncConfig::new().concurrency(3),
            move |_, value: i64| {
                let sleep = executor.sleep(Duration::from_millis(value.unsigned_abs() % 7));
                async move {
                    sleep.await;
                    Ok::<_, String>(value)
                }
            },
        );
    let grouped = called.group_by_key();
    let summed = grouped.aggregate("sums", || 0, |_: &String, n, sum: &mut i64| *sum += n);
    summed.to(&OUT);
    builder.build().unwrap()
}

/// Writes the input, and says what must come of it. Every record has a time of its own.
fn feed(world: &World, rng: &mut Rng) -> BTreeMap<String, Vec<i64>> {
    let mut client = world.log.client();
    let mut rows: BTreeMap<&str, i64> = BTreeMap::new();
    let mut sums: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for timestamp in 0..RECORDS {
        let key = KEYS[rng.index(KEYS.len())];
        let number = rng.below(1_000) as i64;
        let is_row = rng.chance(0.3);
        let deleted = is_row && rng.chance(0.2);
        let bytes = number.to_be_bytes();
        let record = RawRecord {
            key: Some(key.as_bytes()),
            value: (!deleted).then_some(&bytes[..]),
            timestamp,
            headers: &Headers::NONE,
        };
        let topic = if is_row { ROWS.name } else { IN.name };
        client.send(topic, None, record).unwrap();
        if deleted {
            rows.remove(key);
        } else if is_row {
            rows.insert(key, number);
        } else {
            let made = sums.entry(key.to_owned()).or_default();
            let before = made.last().copied().unwrap_or(0);
            made.push(before + number + rows.get(key).copied().unwrap_or(0));
        }
    }
    client.commit(1, &[]).unwrap();
    sums
}

struct Instance {
    name: &'static str,
    disk: Arc<MemoryBackends>,
    faults: Faults,
    worker: Option<Worker>,
}

struct Cluster {
    world: World,
    program: Arc<Program>,
    executor: InlineExecutor,
    rng: Rng,
    now: i64,
    instances: Vec<Instance>,
}

impl Cluster {
    fn new(world: World, mut rng: Rng) -> Self {
        let executor = InlineExecutor::new();
        let task = TaskConfig {
            source_changelogs: SourceChangelogs::Always,
            cache_bytes: 100,
            ..TaskConfig::new(APPLICATION)
        };
        let topology = Arc::new(topology(&executor));
        let program = Program::prepare(topology, task, &mut world.log.client()).unwrap();
        let rates = FaultRates {
            delay: 0.1,
            retry: 0.05,
            fence: 0.02,
            unknown: 0.1,
            crash: 0.02,
        };
        let instances = ["one", "two"].map(|name| Instance {
            name,
            disk: Arc::default(),
            faults: Faults::new(rng.next_u64(), rates),
            worker: None,
        });
        Self {
            world,
            program: Arc::new(program),
            executor,
            rng,
            now: 1_000,
            instances: instances.into(),
        }
    }

    fn boot(&mut self, number: usize) {
        let instance = &mut self.instances[number];
        instance.faults.restart();
        let mut settings = Settings::new(instance.name, instance.name);
        settings.commit_interval_ms = 1 + self.rng.below(40) as i64;
        settings.records_per_step = 1 + self.rng.index(6);
        settings.buffered_records = 5;
        settings.standby_replicas = 1;
        let log = FaultyLog::new(self.world.log.client(), instance.faults.clone());
        let (program, disk) = (self.program.clone(), instance.disk.clone());
        let worker = Worker::new(program, disk, Box::new(log), settings);
        instance.worker = Some(worker.calling(Arc::new(self.executor.clone())));
    }

    fn step(&mut self) {
        self.now += self.rng.below(60) as i64;
        let number = self.rng.index(self.instances.len());
        match self.rng.below(100) {
            0 => self.instances[number].worker = None,
            1 => {
                self.instances[number].worker = None;
                self.instances[number].disk = Arc::default();
            }
            _ => {}
        }
        if self.instances[number].worker.is_none() {
            self.boot(number);
        }
        let instance = &mut self.instances[number];
        let Some(worker) = &mut instance.worker else {
            return;
        };
        match worker.step(self.now, Duration::ZERO) {
            Ok(_) => {}
            Err(Error::Log(error)) if Faults::is_crash(&error) => instance.worker = None,
            Err(error) => panic!("{error}"),
        }
    }

    fn calm(&mut self) {
        for instance in &self.instances {
            instance.faults.set_rates(FaultRates::default());
        }
    }
}

#[test]
fn a_commit_comes_though_there_are_always_more_records() {
    let world = World::new(PARTITIONS);
    let spec = TopicSpec {
        name: ROWS.name.to_owned(),
        partitions: PARTITIONS,
        cleanup: Cleanup::Delete { retention_ms: None },
    };
    world.log.create_topic(&spec).unwrap();
    let mut rng = Rng::new(1);
    feed(&world, &mut rng);
    let mut cluster = Cluster::new(world, rng);
    cluster.calm();
    cluster.boot(0);
    let Some(worker) = &mut cluster.instances[0].worker else {
        return;
    };
    let mut now = 1_000;
    while worker.stats().processed < RECORDS as u64 / 2 {
        now += 30;
        worker.step(now, Duration::ZERO).unwrap();
    }
    // An interval is 40 ms at most; calls keep a commit waiting for some steps.
    let commits = worker.stats().commits;
    assert!(commits >= 10, "only {commits} commits");
}

#[test]
fn whatever_dies_each_result_is_there_once() {
    let (mut crashes, mut fences, mut unknown) = (0, 0, 0);
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let world = World::new(PARTITIONS);
        let spec = TopicSpec {
            name: ROWS.name.to_owned(),
            partitions: PARTITIONS,
            cleanup: Cleanup::Delete { retention_ms: None },
        };
        world.log.create_topic(&spec).unwrap();
        let expected = feed(&world, &mut rng);
        let mut cluster = Cluster::new(world, rng);
        let wanted: usize = expected.values().map(Vec::len).sum();
        let mut steps = 0;
        loop {
            cluster.step();
            steps += 1;
            let made = cluster
                .world
                .outputs()
                .values()
                .map(Vec::len)
                .sum::<usize>();
            if made >= wanted {
                break;
            }
            assert!(
                steps < STEPS_MAX,
                "seed {seed}: {made} of {wanted} after all steps"
            );
        }
        cluster.calm();
        for _ in 0..100 {
            cluster.step();
        }
        assert_eq!(cluster.world.outputs(), expected, "seed {seed}");
        for instance in &cluster.instances {
            let counts = instance.faults.counts();
            crashes += counts.crashes;
            fences += counts.fences;
            unknown += counts.unknown_committed + counts.unknown_aborted;
        }
    }
    assert!(
        crashes > 50 && fences > 20 && unknown > 50,
        "the weather was too fair: {crashes}, {fences}, {unknown}"
    );
}
