//! What a replica makes of the position it finds: go on from there, or begin anew and say why.

use super::{harness::*, marks::Marked};
use millstream_core::{
    prelude::*,
    record::{RawRecord, TaskId, TopicPartition},
    task::TaskConfig,
};
use millstream_log::{Cleanup, Log, TopicSpec};
use millstream_runtime::{
    backends::{Backends, MemoryBackends},
    lease::Leases,
    program::{Program, TOMBSTONE_RETENTION_MS},
    replica::{FullRestore, Replay, Replica, StoreProgress},
    worker::{Phase, Settings, Worker},
};
use millstream_state::{Backend, Column, Direction, Position, WriteBatch};
use std::{
    ops::{Bound, ControlFlow},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

const TASK: TaskId = TaskId {
    subtopology: 0,
    partition: 0,
};
const NOW: i64 = 1_000_000_000_000;

/// A world in which the sums program ran, with the disk it left.
struct Left {
    world: World,
    disk: Arc<MemoryBackends>,
    program: Program,
    backend: Arc<dyn Backend>,
}

fn left() -> Left {
    left_by(sums, ones(8, 1))
}

fn left_by(topology: fn() -> Topology, records: Vec<(String, i64)>) -> Left {
    left_in(World::new(1), topology, records)
}

fn left_in(world: World, topology: fn() -> Topology, records: Vec<(String, i64)>) -> Left {
    let disk = Arc::new(MemoryBackends::default());
    let streams = world.streams_on(&disk, topology(), config("a"));
    start(&streams);
    let count = records.len();
    world.feed(records);
    world.wait_for_outputs(count);
    streams.close();
    let mut client = world.log.client();
    let task = TaskConfig::new(APPLICATION);
    let program = Program::prepare(Arc::new(topology()), task, &mut client).unwrap();
    let backend = disk.open(TASK, &program.columns(TASK)).unwrap();
    Left {
        world,
        disk,
        program,
        backend,
    }
}

impl Left {
    fn move_position(&self, change: impl Fn(&mut Position)) {
        let mut position = self.backend.position(Column(0)).unwrap().unwrap();
        change(&mut position);
        let mut batch = WriteBatch::new();
        batch.set_position(Column(0), position);
        self.backend.apply(&batch).unwrap();
    }

    fn rows(&self) -> usize {
        let (mut rows, all) = (0, (Bound::Unbounded, Bound::Unbounded));
        let mut count = |_: &[u8], _: &[u8]| {
            rows += 1;
            ControlFlow::Continue(())
        };
        let up = Direction::Ascending;
        let scanned = self.backend.scan(Column(0), all, up, &mut count);
        scanned.unwrap();
        rows
    }

    /// Opens a replica, replays all, and returns how it began and how it ended.
    fn replay(&self) -> (StoreProgress, StoreProgress) {
        self.replay_from(&mut self.world.log.client())
    }

    fn replay_from(&self, log: &mut dyn Log) -> (StoreProgress, StoreProgress) {
        let leases = Arc::new(Leases::default());
        let lease = (&leases, TASK);
        let mut replica = Replica::open(&self.program, &*self.disk, lease, log, NOW).unwrap();
        let began = replica.progress().next().unwrap().clone();
        for _ in 0..100 {
            if replica.step(log, NOW).unwrap() == Replay::CaughtUp {
                break;
            }
        }
        let ended = replica.progress().next().unwrap().clone();
        assert_eq!(ended.position, ended.end);
        (began, ended)
    }
}

#[test]
fn a_position_at_the_end_leaves_nothing_to_do() {
    let left = left();
    left.move_position(|position| position.applied_at = 0);
    let (began, ended) = left.replay();
    assert_eq!((began.full, began.from), (None, began.end));
    assert_eq!(ended.records, 0);
}

#[test]
fn a_position_behind_replays_only_what_follows() {
    let left = left();
    left.move_position(|position| {
        position.offset -= 3;
        position.applied_at = NOW - 1;
    });
    let (began, ended) = left.replay();
    assert_eq!((began.full, ended.records), (None, 3));
}

#[test]
fn positions_that_cannot_be_trusted_restore_from_the_start_and_say_why() {
    type Change = fn(&mut Position);
    let cases: [(Change, FullRestore); 5] = [
        (
            |position| position.topic_id ^= 1,
            FullRestore::TopicReplaced,
        ),
        (|position| position.offset += 1, FullRestore::BeyondEnd),
        (|position| position.reach += 1, FullRestore::BeyondEnd),
        (
            |position| {
                position.offset -= 1;
                position.applied_at = NOW - TOMBSTONE_RETENTION_MS - 1;
            },
            FullRestore::TooOld,
        ),
        (
            // The clock was put back since, nobody knows by how much more.
            |position| {
                position.offset -= 1;
                position.applied_at = NOW + 3_600_000;
            },
            FullRestore::TooOld,
        ),
    ];
    for (change, why) in cases {
        let left = left();
        left.move_position(change);
        let (began, ended) = left.replay();
        assert_eq!((began.full, began.from), (Some(why), 0), "{why}");
        assert_eq!(ended.records, 8, "{why}");
    }
}

#[test]
fn a_store_is_old_when_its_changelog_may_have_forgotten_a_deletion() {
    for (kept, full) in [(10_000, None), (9_999, Some(FullRestore::TooOld))] {
        let world = World::new(1);
        let changelog = TopicSpec {
            name: "app-sums-changelog".to_owned(),
            partitions: 1,
            cleanup: Cleanup::Compact {
                delete_retention_ms: kept,
            },
        };
        world.log.create_topic(&changelog).unwrap();
        let left = left_in(world, sums, ones(8, 1));
        left.move_position(|position| {
            position.offset -= 1;
            position.applied_at = NOW - 10_000;
        });
        assert_eq!(left.replay().0.full, full, "{kept}");
    }
}

/// A process that was frozen goes on in the middle of a changelog that may have forgotten deletions
/// meanwhile.
#[test]
fn a_replica_that_slept_for_too_long_begins_anew_if_it_has_missed_anything() {
    for missed in [false, true] {
        let left = left();
        let mut log = left.world.log.client();
        let lease = (&Arc::new(Leases::default()), TASK);
        let (program, disk) = (&left.program, &*left.disk);
        let mut replica = Replica::open(program, disk, lease, &mut log, NOW).unwrap();
        while replica.step(&mut log, NOW).unwrap() == Replay::Behind {}
        if missed {
            let record = RawRecord {
                key: Some(b"late"),
                value: Some(&1_i64.to_be_bytes()),
                timestamp: 1,
                headers: &Headers::NONE,
            };
            log.send("app-sums-changelog", Some(0), record).unwrap();
            log.commit(1, &[]).unwrap();
        }
        let later = NOW + TOMBSTONE_RETENTION_MS + 1;
        while replica.step(&mut log, later).unwrap() == Replay::Behind {}
        let full = replica.progress().next().unwrap().full;
        assert_eq!(full, missed.then_some(FullRestore::TooOld));
        assert_eq!(left.rows(), if missed { 9 } else { 8 });
        // It has read everything now, and need not do so again.
        let records = replica.progress().next().unwrap().records;
        replica.step(&mut log, later + 1).unwrap();
        assert_eq!(replica.progress().next().unwrap().records, records);
    }
}

#[test]
fn an_old_store_that_only_marks_of_the_log_lie_behind_has_missed_nothing() {
    let left = left();
    left.move_position(|position| position.applied_at = 0);
    let mut log = Marked::new(left.world.log.client());
    let (began, ended) = left.replay_from(&mut log);
    assert!(began.position < began.end, "there are marks to pass");
    assert_eq!((began.full, ended.records), (None, 0));

    // One record among the marks, and the age counts.
    left.move_position(|position| {
        position.offset -= Marked::MARKS + 1;
        position.applied_at = 0;
    });
    let (began, ended) = left.replay_from(&mut log);
    assert_eq!((began.full, ended.records), (Some(FullRestore::TooOld), 8));
}

#[test]
fn a_commit_that_the_log_has_not_marked_yet_is_not_beyond_the_changelog() {
    let left = left();
    let mut log = Marked::new(left.world.log.client());
    log.unmarked = 3;
    let (began, ended) = left.replay_from(&mut log);
    assert!(began.position > began.end, "the commit is not marked yet");
    assert_eq!((began.full, ended.records), (None, 0));

    // What the log never wrote is beyond it all the same.
    left.move_position(|position| position.offset += Marked::MARKS + 1);
    let (began, _) = left.replay_from(&mut log);
    assert_eq!(began.full, Some(FullRestore::BeyondEnd));
}

#[test]
fn a_task_that_restores_asks_for_its_places_once() {
    let left = left();
    let log = Marked::new(left.world.log.client());
    let asked = log.asked.clone();
    let (disk, log) = (Arc::new(MemoryBackends::default()), Box::new(log));
    let settings = Settings::new("member".to_owned(), "instance".to_owned());
    let mut worker = Worker::new(Arc::new(left.program), disk, log, settings);
    for _ in 0..100 {
        worker.step(NOW, Duration::ZERO).unwrap();
        if worker.phase() == Phase::Running {
            break;
        }
    }
    assert_eq!(worker.phase(), Phase::Running);
    assert_eq!(worker.stats().restored, 8);
    let pages = asked.pages.load(Ordering::Relaxed);
    assert!(pages > 2, "restored in {pages} pages: too few to tell");
    assert_eq!(asked.places.load(Ordering::Relaxed), 1);
}

#[test]
fn a_store_without_a_position_is_new() {
    let mut left = left();
    left.disk = Arc::default();
    left.backend = left.disk.open(TASK, &left.program.columns(TASK)).unwrap();
    let (began, ended) = left.replay();
    assert_eq!((began.full, ended.records), (Some(FullRestore::Empty), 8));
}

#[test]
fn a_store_behind_the_start_of_its_changelog_begins_anew() {
    let left = left();
    left.move_position(|position| (position.offset, position.applied_at) = (2, NOW));
    let changelog = TopicPartition::new("app-sums-changelog", 0);
    left.world.log.delete_records(&changelog, 3).unwrap();
    let (began, ended) = left.replay();
    assert_eq!((began.full, began.position), (None, 2));
    assert_eq!(
        (ended.full, ended.records),
        (Some(FullRestore::OutOfRange), 5)
    );
    assert_eq!(left.rows(), 5, "what the log has lost is lost");
}

/// Counts by windows of ten milliseconds; the numbers are the times.
fn windows() -> Topology {
    let builder = StreamsBuilder::new();
    let times = TimestampExtractor::from_fn(|_: &String, n: &i64| *n);
    let numbers = builder.stream(Consumed::of(&IN).with_timestamp(times));
    let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
    let counts = numbers.group_by_key().windowed_by(windows).count("counts");
    let counts = counts.to_stream();
    counts
        .map(|window, _| (window.key.clone(), window.window.start))
        .to(&OUT);
    builder.build().unwrap()
}

#[test]
fn a_replica_of_windows_forgets_by_itself() {
    let numbers = (0..100).map(|n| (format!("key-{n}"), n)).collect();
    let left = left_by(windows, numbers);
    assert!(left.rows() > 90, "nobody swept yet: {}", left.rows());
    left.move_position(|position| {
        position.offset -= 1;
        position.applied_at = NOW - 1;
    });
    let (began, ended) = left.replay();
    assert_eq!((began.full, ended.full, ended.records), (None, None, 1));
    assert_eq!(left.rows(), 11, "those of the last window, and the clock");
}

/// Nobody can cut it off in front, so it must be told.
#[test]
fn a_changelog_that_is_compacted_and_no_more_gets_tombstones() {
    let world = World::new(1);
    let name = "app-counts-changelog";
    let compacted = TopicSpec {
        name: name.to_owned(),
        partitions: 1,
        cleanup: Cleanup::Compact {
            delete_retention_ms: TOMBSTONE_RETENTION_MS,
        },
    };
    world.log.create_topic(&compacted).unwrap();
    let streams = world.streams(windows(), config("a"));
    start(&streams);
    // Between two searches for what has expired a minute passes.
    for (fed, from) in [(50, 0), (100, 100_000)] {
        world.feed((from..from + 50).map(|n| (format!("key-{n}"), n)));
        world.wait_for_outputs(fed);
    }
    let tombstones = || {
        let (changelog, mut client) = (TopicPartition::new(name, 0), world.log.client());
        let (mut from, mut nulls) = (0, 0);
        while from < client.end(&changelog).unwrap() {
            let page = client.read(&changelog, from, usize::MAX).unwrap();
            let values = page.records.iter().map(|(_, record)| record.value);
            nulls += values.filter(Option::is_none).count();
            from = page.next;
        }
        nulls
    };
    world.until("tombstones", || tombstones() > 0);
    assert!(
        active(&streams)
            .iter()
            .all(|task| task.log_starts.is_empty())
    );
    streams.close();
}
