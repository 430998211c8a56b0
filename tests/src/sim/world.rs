//! The world of one run: a log, instances with workers and disks, and time.

mod misfortune;
mod portions;
mod rest;

use super::{
    Tally,
    calls::Whims,
    check,
    disk::{CRASH, Disk},
    ground::{Embedded, Ground, Sleep},
    program::{DEAD, SINKS, SOURCES, Script},
};
use anyhow::{Result, anyhow, bail};
use millstream_core::{
    record::{Headers, Offset, TopicPartition},
    task::{Emission, TaskConfig},
};
use millstream_log::{Cleanup, Error as LogError, FaultRates, Faults, Limits, Log, Rng, TopicSpec};
use millstream_runtime::{
    clock::SystemClock,
    global::Globals,
    lease::Leases,
    patience::patiently,
    program::Program,
    worker::{CommitOrder, Settings, Step, Worker},
};
use misfortune::is_passing;
use portions::Portions;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub(super) const APPLICATION: &str = "sim";
/// How long a log that says "not now" is asked.
pub(super) const ANSWER: Duration = Duration::from_secs(60);

/// A log's record as it is compared: key, value, timestamp, headers.
pub(super) type Entry = (Option<Vec<u8>>, Option<Vec<u8>>, i64, Headers);
/// All partitions of all topics.
pub(super) type Contents = BTreeMap<(String, u32), Vec<Entry>>;

struct Instance {
    name: String,
    faults: Faults,
    disk: Arc<Disk>,
    /// Of the process that runs now.
    calls: Whims,
    /// With how long each is not stepped.
    workers: Vec<(Worker, Sleep)>,
    /// How many workers it has had at once, at most.
    threads: usize,
    starts: u64,
}

pub(super) struct World {
    ground: Box<dyn Ground>,
    /// Whose questions nobody disturbs.
    client: Box<dyn Log>,
    program: Arc<Program>,
    /// Of the topics that the program writes.
    partitions: u32,
    rng: Rng,
    /// The seed of how long calls take.
    whims: u64,
    now: i64,
    /// How long nothing must come before the program lets out what waits.
    idle: i64,
    /// Whether one more misfortune is to come, when the wall clock strikes.
    is_rough: bool,
    portions: Portions,
    order: CommitOrder,
    instances: Vec<Instance>,
    standbys: usize,
    /// Where changelogs begin that were cut off in front.
    trimmed: BTreeMap<TopicPartition, Offset>,
    tally: Tally,
    /// What was found wrong on the way.
    pub(super) found: Vec<String>,
}

impl World {
    /// One instance with one worker, and nothing goes wrong.
    pub(super) fn calm(script: &Script) -> Result<Self> {
        let ground = Box::new(Embedded::new(limits(1)));
        let (order, all) = (CommitOrder::LogThenDisk, Emission::PerUpdate);
        let mut world = Self::new(script, 1, (order, all, true), ground)?;
        world.start(0, FaultRates::default(), 0)?;
        world.settle()?;
        Ok(world)
    }

    /// One to three instances among faults on the embedded log.
    pub(super) fn stormy(script: &Script, seed: u64, order: CommitOrder) -> Result<Self> {
        let ground = Box::new(Embedded::new(limits(weather(seed))));
        Self::stormy_on(ground, script, seed, order)
    }

    /// As [`World::stormy`], on this ground.
    pub(super) fn stormy_on(
        ground: Box<dyn Ground>,
        script: &Script,
        seed: u64,
        order: CommitOrder,
    ) -> Result<Self> {
        let emission = match script.per_commit {
            true => Emission::PerCommit,
            false => Emission::PerUpdate,
        };
        let mut world = Self::new(script, weather(seed), (order, emission, false), ground)?;
        world.standbys = world.rng.index(2);
        for number in 0..=world.rng.index(3) {
            let rates = FaultRates {
                delay: 0.1,
                // In the worst of them even a call that is repeated often enough fails.
                retry: [0.02, 0.2, 0.6][world.rng.index(3)],
                fence: 0.01,
                unknown: 0.05,
                crash: 0.01,
            };
            world.start(number, rates, 10)?;
        }
        Ok(world)
    }

    fn new(
        script: &Script,
        seed: u64,
        (order, emission, calm): (CommitOrder, Emission, bool),
        ground: Box<dyn Ground>,
    ) -> Result<Self> {
        let (mut client, clock) = (ground.broker().client()?, SystemClock::new());
        let sinks = SINKS.map(|name| (name, script.partitions));
        let sources = SOURCES.map(|name| (name, script.source_partitions(name)));
        for (name, partitions) in sinks.into_iter().chain(sources) {
            let spec = TopicSpec {
                name: name.to_owned(),
                partitions,
                cleanup: Cleanup::Delete { retention_ms: None },
            };
            patiently(&mut *client, &clock, ANSWER, |client| {
                Ok(client.create_topic(&spec)?)
            })?;
        }
        let portions = Portions::first(script, calm, &mut *client)?;
        let mut task = TaskConfig::new(APPLICATION);
        task.dead_letter_topic = Some(DEAD.to_owned());
        task.emission = emission;
        // With the wrong order a disk is ahead of its log, and what is new to a task is not there.
        task.exactly_once = order == CommitOrder::LogThenDisk;
        // A tiny cache, so that eviction and reading back are exercised.
        task.cache_bytes = 300;
        let topology = Arc::new(script.topology()?);
        let program = patiently(&mut *client, &clock, ANSWER, |client| {
            Program::prepare(topology.clone(), task.clone(), client)
        })?;
        Ok(Self {
            ground,
            client,
            program: Arc::new(program),
            partitions: script.partitions,
            rng: Rng::new(seed),
            whims: Rng::new(!seed).next_u64(),
            now: 1_000_000,
            idle: script.idle(),
            is_rough: false,
            portions,
            order,
            instances: Vec::new(),
            standbys: 0,
            trimmed: BTreeMap::new(),
            tally: Tally::default(),
            found: Vec::new(),
        })
    }

    fn start(&mut self, number: usize, rates: FaultRates, disk_per_mille: u64) -> Result<()> {
        let seed = self.rng.next_u64();
        self.instances.push(Instance {
            name: format!("instance-{number}"),
            faults: Faults::new(seed, rates),
            disk: Arc::new(Disk::new(seed ^ 0x5eed, disk_per_mille)),
            calls: Whims::new(0),
            workers: Vec::new(),
            threads: 0,
            starts: 0,
        });
        self.boot(number)
    }

    /// Starts an instance's process: one or two workers over the disk it has.
    fn boot(&mut self, number: usize) -> Result<()> {
        let mut threads = 1 + self.rng.index(2);
        let interval = 1 + self.rng.below(60) as i64;
        let records = 1 + self.rng.index(8);
        let instance = &mut self.instances[number];
        instance.faults.restart();
        instance.disk.restart();
        instance.starts += 1;
        let whims = Whims::new(self.whims ^ (number as u64) << 32 ^ instance.starts);
        let calls = std::mem::replace(&mut instance.calls, whims);
        self.tally.calls += calls.begun();
        self.tally.ended_asking += u64::from(calls.are_out());
        let keeps_names = self.ground.habits().keeps_names;
        if keeps_names {
            threads = threads.max(instance.threads);
        }
        instance.threads = threads;
        let leases = Arc::new(Leases::default());
        let globals = Arc::new(Globals::default());
        for thread in 0..threads {
            let mut member = format!("{}-{thread}", instance.name);
            if !keeps_names {
                member = format!("{member}-{}", instance.starts);
            }
            let mut settings = Settings::new(member, instance.name.clone());
            settings.commit_interval_ms = interval;
            settings.records_per_step = records;
            settings.buffered_records = 5;
            settings.standby_replicas = self.standbys;
            settings.commit_order = self.order;
            settings.leases = leases.clone();
            settings.globals = globals.clone();
            settings.uncommitted_bytes_max = 2_000;
            let log = self.ground.client(&instance.faults)?;
            let (program, disk) = (self.program.clone(), instance.disk.clone());
            let mut worker = Worker::new(program, disk, log, settings);
            if self.program.topology.is_asynchronous() {
                worker = worker.calling(Arc::new(instance.calls.clone()));
            }
            instance.workers.push((worker, Sleep::NONE));
        }
        Ok(())
    }

    /// Bad weather: random steps of random workers, and whatever else can happen to a cluster.
    pub(super) fn storm(&mut self) -> Result<()> {
        let habits = self.ground.habits();
        let mut busy = true;
        for step in 0..habits.storm_steps {
            self.feed(step, habits.storm_steps)?;
            self.now += self.rng.below(20) as i64;
            let number = self.rng.index(self.instances.len());
            if habits.only_the_busy && !busy {
                busy = self.step(number)?;
                continue;
            }
            match self.rng.below(habits.misfortune) {
                0 => self.kill(number)?,
                1 => self.close(number)?,
                2 => self.freeze(number)?,
                3 => self.lose_disk(number)?,
                4..8 => self.maintain()?,
                8 if self.instances.len() < 4 => {
                    let rates = FaultRates {
                        delay: 0.1,
                        unknown: 0.05,
                        ..FaultRates::default()
                    };
                    self.start(self.instances.len(), rates, 5)?;
                }
                9 => self.put_the_clock_back(),
                _ => busy = self.step(number)?,
            }
        }
        self.is_rough = true;
        Ok(())
    }

    /// What a log does in the background: it compacts, and forgets repartition records that were
    /// read and changelog records that have expired.
    fn maintain(&mut self) -> Result<()> {
        self.tally.compactions += u64::from(self.ground.maintain(self.now)?);
        let inputs = self
            .program
            .layout
            .tasks
            .iter()
            .flat_map(|task| &task.inputs);
        let moved: Vec<_> = inputs
            .filter(|input| input.topic.ends_with("-repartition"))
            .cloned()
            .collect();
        let places = match self.client.committed_as(APPLICATION, &moved) {
            Err(LogError::Retry(_)) => return Ok(()),
            places => places?,
        };
        for (input, place) in moved.iter().zip(places) {
            if let Some(place) = place {
                self.ground.broker().delete_records(input, place.offset)?;
            }
        }
        let workers = self.instances.iter().flat_map(|instance| &instance.workers);
        let tasks = workers.flat_map(|(worker, _)| worker.tasks());
        for (changelog, start) in tasks.flat_map(|task| task.log_starts) {
            if self
                .trimmed
                .get(&changelog)
                .is_none_or(|before| *before < start)
            {
                self.ground.broker().delete_records(&changelog, start)?;
                self.trimmed.insert(changelog, start);
                self.tally.trimmed += 1;
            }
        }
        Ok(())
    }

    /// One step of a worker, if it is awake; whether it did anything.
    fn step(&mut self, number: usize) -> Result<bool> {
        let wait = self.ground.habits().wait;
        let instance = &mut self.instances[number];
        let count = instance.workers.len();
        let chosen = self.rng.index(count.max(1));
        let Some((worker, sleep)) = instance.workers.get_mut(chosen) else {
            return Ok(false);
        };
        if !self.ground.wakes(sleep) {
            if !wait.is_zero() {
                self.client.poll(wait)?;
            }
            return Ok(false);
        }
        match worker.step(self.now, wait) {
            Ok(step) => Ok(step == Step::Busy),
            Err(error) if error.to_string().contains(CRASH) => {
                self.died_at(&error);
                self.kill(number)?;
                Ok(true)
            }
            Err(error) => Err(anyhow!(
                "a worker of {}: {error}",
                self.instances[number].name
            )),
        }
    }

    /// Ends all workers, checks all disks, and returns what the log holds.
    pub(super) fn finish(mut self) -> Result<Contents> {
        for instance in &mut self.instances {
            for (mut worker, _) in instance.workers.drain(..) {
                match worker.close(self.now) {
                    // Where nothing is left to do, no work is left to others either.
                    Err(error) if !is_passing(&error) => bail!("closing: {error}"),
                    _ => {}
                }
            }
        }
        let dense = self.ground.habits().dense;
        for instance in &self.instances {
            let disk = (&*instance.disk, &*instance.name);
            let wrong = check::disk(&self.program, &mut *self.client, dense, disk)?;
            if let Some(first) = wrong.first() {
                bail!("at the end: {first}");
            }
        }
        self.contents()
    }

    /// All committed records of all topics.
    fn contents(&mut self) -> Result<Contents> {
        let internal = self.program.layout.internal.iter();
        let internal = internal.map(|topic| (topic.name.clone(), topic.partitions));
        let sinks = SINKS.map(|name| (name.to_owned(), self.partitions));
        let mut contents = Contents::new();
        for (name, partitions) in internal.chain(sinks) {
            for partition in 0..partitions {
                let at = TopicPartition::new(name.clone(), partition);
                let records = check::records(&mut *self.client, &at, (None, None))?;
                contents.insert((name.clone(), partition), records);
            }
        }
        Ok(contents)
    }

    /// Everything that was counted so far.
    pub(super) fn tally(&self) -> Tally {
        let mut tally = self.tally.clone();
        for instance in &self.instances {
            let counts = instance.faults.counts();
            tally.unknown_committed += counts.unknown_committed;
            tally.unknown_aborted += counts.unknown_aborted;
            tally.calls += instance.calls.begun();
            for (worker, _) in &instance.workers {
                tally.worker(worker.stats());
            }
        }
        tally
    }

    /// Records that came too late for those who work now.
    pub(super) fn late(&self) -> u64 {
        let workers = self.instances.iter().flat_map(|instance| &instance.workers);
        let tasks = workers.flat_map(|(worker, _)| worker.tasks());
        tasks.map(|task| task.dropped.late_record).sum()
    }
}

/// The seed of the bad weather of a program.
fn weather(seed: u64) -> u64 {
    seed.wrapping_mul(2).wrapping_add(1)
}

/// The bounds of an embedded log.
fn limits(seed: u64) -> Limits {
    let mut limits = Limits::default();
    if seed % 4 == 1 {
        // Small enough for changelogs to be compacted while stores are restored from them.
        limits.compact_bytes_min = 500;
        limits.compact_trimmed_bytes_min = 500;
    }
    if seed % 16 == 3 {
        limits.commit_bytes = 100;
    }
    limits
}
