//! Tables that are restored from their topics in place of changelogs (`topology.optimization`).

use super::{harness::*, marks::Marked};
use millstream_core::{
    prelude::*,
    record::{RawRecord, TaskId, TopicPartition},
    task::{SourceChangelogs, TaskConfig},
};
use millstream_log::{Cleanup, Committed, Error as LogError, Log, TopicSpec};
use millstream_runtime::{
    backends::{Backends, MemoryBackends},
    lease::Leases,
    program::Program,
    replica::{FullRestore, Replay, Replica},
    streams::{State, StreamsConfig},
};
use millstream_state::{Column, Presence};
use std::sync::Arc;

static ROWS: Topic<String, i64> = Topic::new("rows", utf8(), i64_be());
const CHANGELOG: &str = "app-rows-changelog";
const TASK: TaskId = TaskId {
    subtopology: 0,
    partition: 0,
};

/// Each number with the row of its key, or 0, added.
fn joined() -> Topology {
    let builder = StreamsBuilder::new();
    let rows = builder.table(&ROWS, "rows");
    let sums = |number: i64, row: Option<&i64>| number + row.copied().unwrap_or(0);
    builder.stream(&IN).left_join(rows, sums).to(&OUT);
    builder.build().unwrap()
}

fn world(cleanup: Cleanup) -> World {
    let world = World::new(1);
    let spec = TopicSpec {
        name: ROWS.name.to_owned(),
        partitions: 1,
        cleanup,
    };
    world.log.create_topic(&spec).unwrap();
    world
}

const COMPACTED: Cleanup = Cleanup::Compact {
    delete_retention_ms: 1_000,
};

fn task_config() -> TaskConfig {
    TaskConfig {
        source_changelogs: SourceChangelogs::Always,
        ..TaskConfig::new(APPLICATION)
    }
}

fn reusing() -> StreamsConfig {
    let mut config = config("a");
    config.task = task_config();
    config
}

fn write(world: &World, rows: &[(&str, Option<i64>)]) {
    let mut client = world.log.client();
    for (key, row) in rows {
        let value = row.map(i64::to_be_bytes);
        let record = RawRecord {
            key: Some(key.as_bytes()),
            value: value.as_ref().map(|bytes| &bytes[..]),
            timestamp: 1,
            headers: &Headers::NONE,
        };
        client.send(ROWS.name, None, record).unwrap();
    }
    client.commit(1, &[]).unwrap();
}

/// Waits until the table has been committed up to its topic's end.
fn until_read(world: &World, end: i64) {
    let rows = [TopicPartition::new(ROWS.name, 0)];
    world.until("the table", || {
        let places = world.log.client().committed_as(APPLICATION, &rows);
        let place = places.unwrap().remove(0);
        place.is_some_and(|place| place.offset >= end)
    });
}

#[test]
fn a_table_comes_back_from_its_topic_alone() {
    let world = world(COMPACTED);
    write(&world, &[("a", Some(10)), ("b", Some(20)), ("b", None)]);
    let streams = world.streams(joined(), reusing());
    start(&streams);
    until_read(&world, 3);
    world.feed([("a".to_owned(), 1), ("b".to_owned(), 2)]);
    let outputs = world.wait_for_outputs(2);
    assert_eq!((&outputs["a"], &outputs["b"]), (&vec![11], &vec![2]));
    assert_eq!(streams.close(), State::NotRunning);
    assert!(world.log.client().topic(CHANGELOG).unwrap().is_none());
    // Another disk, which knows nothing.
    let streams = world.streams(joined(), reusing());
    start(&streams);
    world.feed([("a".to_owned(), 3), ("b".to_owned(), 4)]);
    let outputs = world.wait_for_outputs(4);
    assert_eq!((&outputs["a"], &outputs["b"]), (&vec![11, 13], &vec![2, 4]));
    streams.close();
}

#[test]
fn a_topic_that_forgets_by_age_is_not_taken_for_a_changelog() {
    let world = world(Cleanup::Delete {
        retention_ms: Some(1_000_000),
    });
    let streams = world.streams(joined(), reusing());
    assert!(world.log.client().topic(CHANGELOG).unwrap().is_some());
    drop(streams);
    let forever = self::world(Cleanup::Delete { retention_ms: None });
    let streams = forever.streams(joined(), reusing());
    assert!(forever.log.client().topic(CHANGELOG).unwrap().is_none());
    drop(streams);
}

/// A replica of the only task, with the rows of "a", "b" and "c".
struct Bench {
    world: World,
    disk: MemoryBackends,
    program: Program,
}

impl Bench {
    fn new(config: TaskConfig) -> Self {
        let world = world(COMPACTED);
        let program = Program::prepare(Arc::new(joined()), config, &mut world.log.client());
        Self {
            program: program.unwrap(),
            disk: MemoryBackends::default(),
            world,
        }
    }

    fn open(&self) -> millstream_runtime::Result<Replica> {
        let leases = Arc::<Leases>::default();
        let mut log = self.world.log.client();
        Replica::open(&self.program, &self.disk, (&leases, TASK), &mut log, 5)
    }

    fn place(&self, transaction: u64, offset: i64) {
        let at = TopicPartition::new(ROWS.name, 0);
        let place = Committed::new(offset, transaction, b"");
        let mut client = self.world.log.client();
        client
            .commit_as(APPLICATION, transaction, &[(at, place)])
            .unwrap();
    }

    fn rows(&self) -> Vec<Option<i64>> {
        let backend = self.disk.open(TASK, &self.program.columns(TASK)).unwrap();
        let mut stored = Vec::new();
        let row = |key: &str| {
            let found = backend.get(Column(0), key.as_bytes(), &mut stored).unwrap();
            let value = stored.last_chunk().copied().map(i64::from_be_bytes);
            value.filter(|_| found == Presence::Found)
        };
        ["a", "b", "c"].map(row).to_vec()
    }
}

#[test]
fn a_copy_is_replayed_up_to_the_committed_place_and_no_further() {
    let bench = Bench::new(task_config());
    write(
        &bench.world,
        &[
            ("a", Some(1)),
            ("b", Some(2)),
            ("a", Some(3)),
            ("c", Some(4)),
        ],
    );
    let mut log = bench.world.log.client();
    let mut replica = bench.open().unwrap();
    replica.ask_for_limits(&mut log, 10).unwrap();
    assert_eq!(replica.step(&mut log, 10).unwrap(), Replay::CaughtUp);
    assert_eq!(bench.rows(), [None, None, None], "nothing is committed");

    bench.place(1, 2);
    replica.ask_for_limits(&mut log, 500).unwrap();
    replica.step(&mut log, 500).unwrap();
    assert_eq!(bench.rows(), [None, None, None], "it asks once in a second");
    replica.ask_for_limits(&mut log, 1_010).unwrap();
    assert_eq!(replica.step(&mut log, 1_010).unwrap(), Replay::CaughtUp);
    assert_eq!(bench.rows(), [Some(1), Some(2), None]);
    let progress = replica.progress().next().unwrap();
    assert_eq!(
        (progress.position, progress.end, progress.records),
        (2, 2, 2)
    );

    bench.place(2, 4);
    drop(replica);
    let mut replica = bench.open().unwrap();
    assert_eq!(replica.progress().next().unwrap().full, None, "it goes on");
    replica.ask_for_limits(&mut log, 20).unwrap();
    replica.step(&mut log, 20).unwrap();
    assert_eq!(bench.rows(), [Some(3), Some(2), Some(4)]);

    // Somebody set the group's place back: what was ahead of it begins anew.
    bench.place(3, 1);
    let mut replica = bench.open().unwrap();
    replica.ask_for_limits(&mut log, 30).unwrap();
    assert_eq!(
        replica.progress().next().unwrap().full,
        Some(FullRestore::BeyondEnd)
    );
    replica.step(&mut log, 30).unwrap();
    assert_eq!(bench.rows(), [Some(1), None, None]);
}

/// A standby that looks at a quiet topic has not slept, whether or not there is something to read.
#[test]
fn a_copy_of_a_topic_that_was_quiet_for_long_goes_on() {
    // Below any time after which who was away has slept; all of them together are above it.
    const LOOK_MS: i64 = 30_000;
    let bench = Bench::new(task_config());
    write(&bench.world, &[("a", Some(1)), ("b", Some(2))]);
    bench.place(1, 2);
    let mut log = bench.world.log.client();
    let mut replica = bench.open().unwrap();
    for look in 0..100 {
        let now = look * LOOK_MS;
        replica.ask_for_limits(&mut log, now).unwrap();
        assert_eq!(replica.step(&mut log, now).unwrap(), Replay::CaughtUp);
    }
    let replayed = |replica: &Replica| replica.progress().next().unwrap().records;
    assert_eq!(replayed(&replica), 2);
    write(&bench.world, &[("c", Some(3))]);
    bench.place(2, 3);
    let now = 100 * LOOK_MS;
    replica.ask_for_limits(&mut log, now).unwrap();
    replica.step(&mut log, now).unwrap();
    let why = replica.progress().next().unwrap().full;
    assert_eq!((why, replayed(&replica)), (Some(FullRestore::Empty), 3));
    assert_eq!(bench.rows(), [Some(1), Some(2), Some(3)]);
}

#[test]
fn without_the_optimisation_such_a_store_cannot_go_on() {
    let mut bench = Bench::new(task_config());
    write(&bench.world, &[("a", Some(1))]);
    bench.place(1, 1);
    let mut log = bench.world.log.client();
    let mut replica = bench.open().unwrap();
    replica.ask_for_limits(&mut log, 10).unwrap();
    replica.step(&mut log, 10).unwrap();
    drop(replica);
    let plain = TaskConfig::new(APPLICATION);
    let program = Program::prepare(Arc::new(joined()), plain, &mut log);
    bench.program = program.unwrap();
    let refused = bench.open().err().unwrap().to_string();
    assert!(
        refused.contains("\"rows\"") && refused.contains("topology.optimization"),
        "{refused}"
    );
}

/// The thread that asks has a group to answer and a stop to hear.
#[test]
fn a_search_by_time_does_not_wait_for_records_on_their_way() {
    let world = World::new(1);
    world.feed(ones(1, 1));
    let mut log = Marked::new(world.log.client());
    let at = TopicPartition::new(IN.name, 0);
    log.on_their_way = true;
    let told = log.offset_for_time(&at, 1);
    assert!(matches!(told, Err(LogError::Retry(_))), "{told:?}");
    log.on_their_way = false;
    assert_eq!(log.offset_for_time(&at, 1).unwrap(), 0);
}
