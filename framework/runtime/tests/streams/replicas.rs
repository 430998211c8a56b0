//! What a replica makes of the position it finds: go on from there, or begin anew and say why.

use super::{harness::*, marks::Marked};
use millstream_core::{record::TaskId, task::TaskConfig};
use millstream_log::Log;
use millstream_runtime::{
    backends::{Backends, MemoryBackends},
    lease::Leases,
    program::{Program, TOMBSTONE_RETENTION_MS},
    replica::{FullRestore, Replay, Replica, StoreProgress},
    worker::{Phase, Settings, Worker},
};
use millstream_state::{Backend, Column, Position, WriteBatch};
use std::{
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
    let world = World::new(1);
    let disk = Arc::new(MemoryBackends::default());
    let streams = world.streams_on(&disk, sums(), config("a"));
    start(&streams);
    world.feed(ones(8, 1));
    world.wait_for_outputs(8);
    streams.close();
    let mut client = world.log.client();
    let task = TaskConfig::new(APPLICATION);
    let program = Program::prepare(Arc::new(sums()), task, &mut client).unwrap();
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
    let cases: [(Change, FullRestore); 3] = [
        (
            |position| position.topic_id ^= 1,
            FullRestore::TopicReplaced,
        ),
        (|position| position.offset += 1, FullRestore::BeyondEnd),
        (
            |position| {
                position.offset -= 1;
                position.applied_at = NOW - TOMBSTONE_RETENTION_MS - 1;
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
