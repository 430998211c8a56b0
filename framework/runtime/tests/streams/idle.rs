//! Windows that the wall clock closes, in a worker that was kept from its records for a while; and
//! how long a task waits for an input that is empty.

use super::{harness::*, marks::Marked};
use millstream_core::{
    prelude::*,
    record::{TaskId, TopicPartition},
    task::TaskConfig,
};
use millstream_log::{Committed, Log};
use millstream_runtime::{
    backends::{Backends, MemoryBackends},
    program::Program,
    worker::{Settings, Step, Worker},
};
use millstream_state::{Backend, BufferBudget, Buffered, Column, DeclaredStore};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

const IDLE_MS: i64 = 1_000;

/// Counts in windows, told when they close or when nothing has come for a second.
fn topology() -> Topology {
    let windows = TimeWindows::of_size_with_no_grace(Duration::from_secs(10));
    let builder = StreamsBuilder::new();
    let windowed = builder.stream(&IN).group_by_key().windowed_by(windows);
    let closing = windowed.emit_strategy(EmitStrategy::OnWindowClose);
    let closing = closing.close_when_idle(Duration::from_millis(IDLE_MS as u64));
    let counts = closing.aggregate("counts", || 0, |_: &String, _, n: &mut i64| *n += 1);
    let told = |key: Windowed<String>, n: Option<i64>| (key.key, n.unwrap_or_default());
    counts.to_stream().map(told).to(&OUT);
    builder.build().unwrap()
}

fn worker(world: &World) -> Worker {
    worker_of(world, topology(), Settings::new("worker", "worker"))
}

fn worker_of(world: &World, topology: Topology, settings: Settings) -> Worker {
    worker_on(world, Box::new(world.log.client()), topology, settings)
}

fn worker_on(world: &World, log: Box<dyn Log>, topology: Topology, settings: Settings) -> Worker {
    let task = TaskConfig::new(APPLICATION);
    let program = Program::prepare(Arc::new(topology), task, &mut world.log.client()).unwrap();
    let backends = Arc::<MemoryBackends>::default();
    Worker::new(Arc::new(program), backends, log, settings)
}

/// Two topics made one, so that a task has two inputs.
fn merged(world: &World) -> Topology {
    let other: Topic<String, i64> = Topic::new("other", utf8(), i64_be());
    create(&world.log, other.name, 1);
    let builder = StreamsBuilder::new();
    let merged = builder.stream(&IN).merge(builder.stream(&other));
    merged.to(&OUT);
    builder.build().unwrap()
}

fn work(worker: &mut Worker, now: i64) {
    while worker.step(now, Duration::ZERO).unwrap() == Step::Busy {}
}

#[test]
fn records_that_waited_out_a_pause_are_counted_before_windows_close() {
    let world = World::new(1);
    let mut worker = worker(&world);
    world.feed([("a".to_owned(), 1)]);
    work(&mut worker, 10);
    // Nobody steps it for longer than the idle time, and meanwhile a record comes.
    world.feed([("a".to_owned(), 2)]);
    let late = 10 + 5 * IDLE_MS;
    work(&mut worker, late);
    work(&mut worker, late + IDLE_MS - 1);
    assert!(world.outputs().is_empty());
    work(&mut worker, late + 2 * IDLE_MS);
    work(&mut worker, late + 3 * IDLE_MS);
    assert_eq!(world.outputs()["a"], [2]);
    assert_eq!(worker.tasks()[0].dropped.late_record, 0);
}

#[test]
fn a_clock_that_is_put_back_holds_nothing_up() {
    let world = World::new(1);
    let mut settings = Settings::new("worker", "worker");
    (settings.max_task_idle_ms, settings.commit_interval_ms) = (100, 1_000);
    let mut worker = worker_of(&world, merged(&world), settings);
    world.feed([("a".to_owned(), 1)]);
    // Waiting for the other topic began here, and so did the time until the commit.
    work(&mut worker, 1_000_000);
    for now in [0, 99] {
        work(&mut worker, now);
        assert_eq!(worker.stats().processed, 0);
    }
    work(&mut worker, 100);
    assert_eq!(worker.stats().processed, 1);
    work(&mut worker, 999);
    assert!(world.outputs().is_empty());
    work(&mut worker, 1_000);
    assert_eq!(world.outputs()["a"], [1]);
}

#[test]
fn only_a_negative_idle_time_passes_over_what_the_log_has_and_has_not_brought_yet() {
    for (max_task_idle_ms, processed) in [(-1, 1), (0, 0)] {
        let world = World::new(1);
        let mut settings = Settings::new("worker", "worker");
        settings.max_task_idle_ms = max_task_idle_ms;
        // The ends it shows lie behind all that it brings, also that of the other topic.
        let log = Box::new(Marked::new(world.log.client()));
        let mut worker = worker_on(&world, log, merged(&world), settings);
        world.feed([("a".to_owned(), 1)]);
        for now in [0, 1_000_000] {
            work(&mut worker, now);
        }
        assert_eq!(worker.stats().processed, processed, "{max_task_idle_ms}");
    }
}

/// Tells every second of the wall clock, whatever its records are.
struct Ticking;

impl Processor<String, i64> for Ticking {
    type Key = String;
    type Value = i64;

    fn init(&mut self, ctx: &mut StateContext<'_>) -> ProcessResult {
        ctx.schedule(Schedule::wall_clock(1_000))?;
        Ok(())
    }

    fn process(
        &mut self,
        _: Record<String, i64>,
        _: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        Ok(())
    }

    fn punctuate(
        &mut self,
        _: &Cancellable,
        now: Timestamp,
        ctx: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        ctx.forward(Record::new("tick".to_owned(), now, now))?;
        Ok(())
    }
}

#[test]
fn a_pause_stops_punctuation_too_and_what_fell_into_it_is_called_once() {
    let builder = StreamsBuilder::new();
    let ticks = builder.stream(&IN).process((), |()| Ticking);
    ticks.to(&OUT);
    let world = World::new(1);
    let mut settings = Settings::new("worker", "worker");
    settings.commit_interval_ms = 0;
    let pause = settings.pause.clone();
    let mut worker = worker_of(&world, builder.build().unwrap(), settings);
    let mut step = |now| {
        for _ in 0..10 {
            worker.step(now, Duration::ZERO).unwrap();
        }
        world.outputs().remove("tick").unwrap_or_default()
    };
    assert!(step(10_000).is_empty());
    assert_eq!(step(11_000), [11_000]);
    pause.store(true, Ordering::Relaxed);
    for now in [12_000, 13_000, 14_500] {
        assert_eq!(step(now), [11_000]);
    }
    pause.store(false, Ordering::Relaxed);
    assert_eq!(step(14_500), [11_000, 14_500]);
    assert_eq!(step(15_000), [11_000, 14_500, 15_000]);
}

/// Backends with buffers in front of them, as those on a disk have.
#[derive(Default)]
struct Held(MemoryBackends);

impl Backends for Held {
    fn declare(
        &self,
        task: TaskId,
        stores: &[DeclaredStore],
        elsewhere: &[String],
    ) -> millstream_runtime::Result<()> {
        self.0.declare(task, stores, elsewhere)
    }

    fn open(
        &self,
        task: TaskId,
        columns: &[String],
    ) -> millstream_runtime::Result<Arc<dyn Backend>> {
        let below = self.0.open(task, columns)?;
        Ok(Arc::new(Buffered::new(below, BufferBudget::new(1 << 20))))
    }

    fn open_global(&self, columns: &[String]) -> millstream_runtime::Result<Arc<dyn Backend>> {
        self.0.open_global(columns)
    }
}

/// A process that dies after a quiet time has all its state on the disk, though nothing was
/// committed since that could have taken it there, on an active task and on a standby.
#[test]
fn what_a_task_holds_back_is_written_while_nothing_comes() {
    let world = World::new(1);
    let task = TaskConfig::new(APPLICATION);
    let program = Program::prepare(Arc::new(sums()), task, &mut world.log.client()).unwrap();
    let program = Arc::new(program);
    let disks = [Arc::<Held>::default(), Arc::<Held>::default()];
    let mut workers = ["a", "b"].into_iter().zip(&disks).map(|(name, disk)| {
        let mut settings = Settings::new(name, name);
        settings.standby_replicas = 1;
        let log = Box::new(world.log.client());
        Worker::new(program.clone(), disk.clone(), log, settings)
    });
    let (mut a, mut b) = (workers.next().unwrap(), workers.next().unwrap());
    let mut step = |now| {
        for _ in 0..20 {
            a.step(now, Duration::ZERO).unwrap();
            b.step(now, Duration::ZERO).unwrap();
        }
    };
    step(0);
    world.feed([("a".to_owned(), 1)]);
    step(1_000);
    assert_eq!(world.outputs()["a"], [1]);
    let id = TaskId {
        subtopology: 0,
        partition: 0,
    };
    let columns = program.columns(id);
    let changelog = &program.changelogs(id)[0].changelog;
    let end = world.log.client().end(changelog).unwrap();
    assert!(end > 0);
    let on_disk = |disk: &Held| {
        let below = disk.0.open(id, &columns).unwrap();
        let position = below.position(Column(0)).unwrap();
        position.map_or(0, |position| position.offset)
    };
    assert_eq!(disks.each_ref().map(|disk| on_disk(disk)), [0, 0]);
    for now in (2_000..10_000).step_by(500) {
        step(now);
    }
    assert_eq!(disks.each_ref().map(|disk| on_disk(disk)), [end, end]);
}

#[test]
fn a_place_behind_the_end_is_a_reason_to_stop() {
    let world = World::new(1);
    world.feed([("a".to_owned(), 1)]);
    let place = (
        TopicPartition::new(IN.name, 0),
        Committed::new(1_000, 1, b""),
    );
    world
        .log
        .client()
        .commit_as(APPLICATION, 1, &[place])
        .unwrap();
    let mut worker = worker(&world);
    let steps = (0..100).find_map(|now| worker.step(now, Duration::ZERO).err());
    let told = steps.unwrap().to_string();
    assert!(
        told.contains("behind its end 1") && told.contains("reset"),
        "{told}"
    );
}

/// The records that wait are at hand, and end every poll of the log at once.
#[test]
fn a_thread_that_waits_for_another_input_does_not_look_all_the_time() {
    let world = World::new(1);
    let clock = HandClock::new();
    let mut config = config("a");
    config.clock = clock.clone();
    config.settings.max_task_idle_ms = 60_000;
    let streams = world.streams(merged(&world), config);
    start(&streams);
    // More than a task takes into its queue.
    world.feed(ones(3, 1_000));
    world.let_it_be();
    let before = clock.asked.load(Ordering::Relaxed);
    world.let_it_be();
    let steps = clock.asked.load(Ordering::Relaxed) - before;
    assert!(steps < 1_000, "{steps} steps while nothing may be done");
    assert_eq!(processed(&streams), 0);
    clock.advance(60_000);
    world.until("processing", || {
        clock.advance(60_000);
        processed(&streams) == 3_000
    });
}
