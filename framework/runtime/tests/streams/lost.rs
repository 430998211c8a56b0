//! Records that the log deleted before they were processed: where the program goes on, as its
//! sources say, and that they are counted.

use super::harness::*;
use millstream_core::{prelude::*, record::TopicPartition, task::TaskConfig};
use millstream_log::{FaultRates, Faults, FaultyLog, Log};
use millstream_runtime::{
    Error,
    backends::MemoryBackends,
    program::Program,
    worker::{Settings, Step, Worker},
};
use std::{sync::Arc, time::Duration};

fn topology(reset: OffsetReset) -> Topology {
    let builder = StreamsBuilder::new();
    let source = Consumed::of(&IN).with_offset_reset(reset);
    builder.stream(source).to(&OUT);
    builder.build().unwrap()
}

fn worker(world: &World, reset: OffsetReset) -> Worker {
    worker_on(world, reset, Box::new(world.log.client()))
}

fn worker_on(world: &World, reset: OffsetReset, log: Box<dyn Log>) -> Worker {
    let task = TaskConfig::new(APPLICATION);
    let topology = Arc::new(topology(reset));
    let program = Program::prepare(topology, task, &mut world.log.client()).unwrap();
    let backends = Arc::<MemoryBackends>::default();
    let settings = Settings::new("worker", "worker");
    Worker::new(Arc::new(program), backends, log, settings)
}

fn feed(world: &World, numbers: std::ops::Range<i64>) {
    world.feed(numbers.map(|number| ("a".to_owned(), number)));
}

/// Steps a worker until it has committed all it finds.
fn work(worker: &mut Worker, now: i64) -> Result<(), Error> {
    for now in [now, now + 1_000_000] {
        while worker.step(now, Duration::ZERO)? == Step::Busy {}
    }
    Ok(())
}

/// A worker whose place is 1, in front of records of which those before 4 were deleted since.
fn behind(world: &World, reset: OffsetReset) -> Worker {
    let mut first = worker(world, OffsetReset::Earliest);
    feed(world, 0..1);
    work(&mut first, 0).unwrap();
    first.close(0).unwrap();
    feed(world, 1..6);
    let place = TopicPartition::new(IN.name, 0);
    world.log.delete_records(&place, 4).unwrap();
    worker(world, reset)
}

fn lost(worker: &Worker) -> u64 {
    let totals = worker.totals().into_values();
    totals.map(|total| total.counts.dropped.lost).sum()
}

/// What was sent in vain is sent again, and is in the output once: so it is counted.
#[test]
fn what_an_abort_drops_is_not_counted_as_sent() {
    const RECORDS: i64 = 10;
    let mut aborted = 0;
    for (seed, (fence, unknown)) in (0..12).zip([(1.0, 0.0), (0.0, 1.0)].into_iter().cycle()) {
        let world = World::new(1);
        let rates = FaultRates {
            fence,
            unknown,
            ..FaultRates::default()
        };
        let faults = Faults::new(seed, rates);
        let log = Box::new(FaultyLog::new(world.log.client(), faults.clone()));
        let mut worker = worker_on(&world, OffsetReset::Earliest, log);
        feed(&world, 0..RECORDS);
        for _ in 0..20 {
            worker.step(0, Duration::ZERO).unwrap();
        }
        assert_eq!(worker.stats().processed, RECORDS as u64);
        worker.step(1_000_000, Duration::ZERO).unwrap();
        faults.set_rates(FaultRates::default());
        work(&mut worker, 2_000_000).unwrap();
        let stats = *worker.stats();
        aborted += stats.aborted + stats.fenced;
        let sent: u64 = worker.totals().values().map(|total| total.sent).sum();
        assert_eq!((sent, world.outputs()["a"].len()), (10, 10), "{stats:?}");
    }
    assert!(aborted > 6, "the weather was too fair: {aborted}");
}

#[test]
fn a_program_goes_on_where_its_source_says_and_counts_what_it_missed() {
    for (reset, missed, then) in [
        (OffsetReset::Earliest, 3, vec![0, 4, 5, 6]),
        (OffsetReset::Latest, 5, vec![0, 6]),
        (
            OffsetReset::ByDuration(Duration::from_secs(1)),
            5,
            vec![0, 6],
        ),
    ] {
        let world = World::new(1);
        let mut worker = behind(&world, reset);
        work(&mut worker, i64::MAX / 2).unwrap();
        assert_eq!(lost(&worker), missed, "{reset:?}");
        feed(&world, 6..7);
        work(&mut worker, i64::MAX / 2 + 10_000_000).unwrap();
        assert_eq!(world.outputs()["a"], then, "{reset:?}");
        // Its place moved on: a successor misses nothing, and what was done still counts.
        worker.close(0).unwrap();
        assert_eq!(lost(&worker), missed, "{reset:?}");
        let mut successor = self::worker(&world, reset);
        work(&mut successor, i64::MAX / 2 + 20_000_000).unwrap();
        assert_eq!(lost(&successor), 0, "{reset:?}");
    }
}

#[test]
fn a_program_that_is_to_begin_nowhere_else_stops() {
    let world = World::new(1);
    let mut worker = behind(&world, OffsetReset::Fail);
    let told = work(&mut worker, 0).unwrap_err().to_string();
    for part in ["in-0", "from 1 on", "up to 4", "auto.offset.reset=none"] {
        assert!(told.contains(part), "{told}");
    }
}
