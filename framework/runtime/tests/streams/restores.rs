//! What a listener hears of restores: of each store that one began, and that it ended or was given
//! up.

use super::{harness::*, marks::Marked};
use millstream_core::{
    record::{Offset, TopicPartition},
    task::TaskConfig,
};
use millstream_log::Log;
use millstream_runtime::{
    backends::MemoryBackends,
    program::Program,
    worker::{Phase, Settings, StateRestoreListener, Worker},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

const NOW: i64 = 1_000_000_000_000;

/// What was heard, in order.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Start(Offset, Offset),
    Batch(Offset, u64),
    End(u64),
    Suspended(u64),
}

/// Listens to the restores of the one store there is.
#[derive(Default)]
struct Ears(Mutex<Vec<Heard>>);

impl Ears {
    fn hear(&self, changelog: &TopicPartition, store: &str, what: Heard) {
        assert_eq!((&*changelog.topic, store), ("app-sums-changelog", "sums"));
        self.0.lock().unwrap().push(what);
    }

    fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl StateRestoreListener for Ears {
    fn on_restore_start(&self, at: &TopicPartition, store: &str, start: Offset, end: Offset) {
        self.hear(at, store, Heard::Start(start, end));
    }

    fn on_batch_restored(&self, at: &TopicPartition, store: &str, last: Offset, records: u64) {
        self.hear(at, store, Heard::Batch(last, records));
    }

    fn on_restore_end(&self, at: &TopicPartition, store: &str, total: u64) {
        self.hear(at, store, Heard::End(total));
    }

    fn on_restore_suspended(&self, at: &TopicPartition, store: &str, total: u64) {
        self.hear(at, store, Heard::Suspended(total));
    }
}

/// A world in which the sums of eight keys were made, and the disk on which that was.
fn left() -> (World, Arc<MemoryBackends>) {
    let (world, disk) = (World::new(1), Arc::default());
    let streams = world.streams_on(&disk, sums(), config("a"));
    start(&streams);
    world.feed(ones(8, 1));
    world.wait_for_outputs(8);
    streams.close();
    (world, disk)
}

/// A worker that restores in small pages on a fresh disk, and who listens to it.
fn in_pages(world: &World) -> (Worker, Arc<Ears>) {
    let log = Box::new(Marked::new(world.log.client()));
    worker(world, &Arc::default(), log)
}

fn worker(world: &World, disk: &Arc<MemoryBackends>, log: Box<dyn Log>) -> (Worker, Arc<Ears>) {
    let ears = Arc::<Ears>::default();
    (heard_by(ears.clone(), world, disk, log), ears)
}

fn heard_by(
    listener: Arc<dyn StateRestoreListener>,
    world: &World,
    disk: &Arc<MemoryBackends>,
    log: Box<dyn Log>,
) -> Worker {
    let task = TaskConfig::new(APPLICATION);
    let mut client = world.log.client();
    let program = Program::prepare(Arc::new(sums()), task, &mut client).unwrap();
    let mut settings = Settings::new("b", "b");
    settings.restore_listener = listener.into();
    Worker::new(Arc::new(program), disk.clone(), log, settings)
}

fn run(worker: &mut Worker) {
    for _ in 0..100 {
        worker.step(NOW, Duration::ZERO).unwrap();
        if worker.phase() == Phase::Running {
            return;
        }
    }
    panic!("it does not run");
}

#[test]
fn a_restore_is_told_from_its_start_to_its_end() {
    let (world, _) = left();
    let (mut worker, ears) = in_pages(&world);
    run(&mut worker);
    let mut heard = ears.take();
    let Some(Heard::Start(0, end)) = heard.first() else {
        panic!("{heard:?}");
    };
    let end = *end;
    assert_eq!(heard.pop(), Some(Heard::End(8)));
    let batches = heard.drain(1..).map(|heard| match heard {
        Heard::Batch(last, records) => (last, records),
        other => panic!("{other:?}"),
    });
    let batches: Vec<_> = batches.collect();
    assert!(batches.len() > 1, "{batches:?}");
    assert!(batches.is_sorted_by_key(|(last, _)| *last), "{batches:?}");
    assert!(batches.iter().all(|(last, _)| *last < end), "{batches:?}");
    assert_eq!(batches.iter().map(|(_, records)| records).sum::<u64>(), 8);
    drop(worker);
    assert_eq!(ears.take(), []);
}

#[test]
fn a_store_that_has_all_begins_and_ends_too() {
    let (world, disk) = left();
    let (mut worker, ears) = worker(&world, &disk, Box::new(world.log.client()));
    run(&mut worker);
    let heard = ears.take();
    let [Heard::Start(start, end), Heard::End(0)] = heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!(start, end);
}

#[test]
fn a_restore_that_is_given_up_is_told_once() {
    let (world, _) = left();
    let (mut worker, ears) = in_pages(&world);
    let restored = |heard: &Heard| matches!(heard, Heard::Batch(..));
    for _ in 0..100 {
        worker.step(NOW, Duration::ZERO).unwrap();
        if ears.0.lock().unwrap().iter().any(restored) {
            break;
        }
    }
    let heard = ears.take();
    let Some(Heard::Batch(_, records)) = heard.last() else {
        panic!("{heard:?}");
    };
    assert_eq!(worker.phase(), Phase::Rebalancing);
    drop(worker);
    assert_eq!(ears.take(), [Heard::Suspended(*records)]);
}

/// Cannot listen: it panics, and does so again when it is told of what came of that.
struct Deaf;

impl StateRestoreListener for Deaf {
    fn on_restore_start(&self, _: &TopicPartition, _: &str, _: Offset, _: Offset) {}

    fn on_batch_restored(&self, _: &TopicPartition, _: &str, _: Offset, _: u64) {
        panic!("not heard");
    }

    fn on_restore_end(&self, _: &TopicPartition, _: &str, _: u64) {}

    fn on_restore_suspended(&self, _: &TopicPartition, _: &str, _: u64) {
        panic!("nor this");
    }
}

#[test]
fn a_listener_that_panics_fails_its_thread_and_not_the_process() {
    let (world, _) = left();
    let log = Box::new(world.log.client());
    let mut worker = heard_by(Arc::new(Deaf), &world, &Arc::default(), log);
    let ran = catch_unwind(AssertUnwindSafe(move || run(&mut worker)));
    let why = ran.unwrap_err();
    assert_eq!(why.downcast_ref::<&str>(), Some(&"not heard"));
}
