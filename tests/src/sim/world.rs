//! The world of one run: a log, instances with workers and disks, and time.

use super::{
    Tally, check,
    disk::{CRASH, Disk},
    program::{DEAD, SINKS, SOURCES, Script},
};
use anyhow::{Result, anyhow, bail};
use millstream_core::task::TaskConfig;
use millstream_log::{
    Cleanup, EmbeddedLog, FaultRates, Faults, FaultyLog, Limits, Log, Rng, TopicSpec,
};
use millstream_runtime::{
    global::Globals,
    lease::Leases,
    program::Program,
    worker::{CommitOrder, Settings, Step, Worker},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub(super) const APPLICATION: &str = "sim";
/// Steps of bad weather.
const STORM_STEPS: u64 = 600;
/// Rounds over all workers within which a healed world must come to rest.
const SETTLE_ROUNDS: u64 = 5_000;
/// Rounds without any change that count as rest; longer than a commit interval of simulated time.
const QUIET_ROUNDS: u64 = 12;

/// A log's record as it is compared: key, value, timestamp.
pub(super) type Entry = (Option<Vec<u8>>, Option<Vec<u8>>, i64);
/// All partitions of all topics.
pub(super) type Contents = BTreeMap<(String, u32), Vec<Entry>>;

struct Instance {
    name: String,
    faults: Faults,
    disk: Arc<Disk>,
    /// A worker that is not stepped for now: the steps left until it wakes.
    workers: Vec<(Worker, u64)>,
    starts: u64,
}

pub(super) struct World {
    pub(super) log: EmbeddedLog,
    pub(super) program: Arc<Program>,
    rng: Rng,
    now: i64,
    order: CommitOrder,
    instances: Vec<Instance>,
    standbys: usize,
    tally: Tally,
    /// What was found wrong on the way.
    pub(super) found: Vec<String>,
}

impl World {
    /// One instance with one worker, and nothing goes wrong.
    pub(super) fn calm(script: &Script) -> Result<Self> {
        let mut world = Self::new(script, 1, CommitOrder::LogThenDisk)?;
        world.start(0, FaultRates::default(), 0);
        world.settle()?;
        Ok(world)
    }

    /// One to three instances among faults.
    pub(super) fn stormy(script: &Script, seed: u64, order: CommitOrder) -> Result<Self> {
        let mut world = Self::new(script, seed.wrapping_mul(2).wrapping_add(1), order)?;
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
            world.start(number, rates, 10);
        }
        Ok(world)
    }

    fn new(script: &Script, seed: u64, order: CommitOrder) -> Result<Self> {
        let mut limits = Limits::default();
        if seed % 4 == 1 {
            // Small enough for changelogs to be compacted while stores are restored from them.
            limits.compact_bytes_min = 500;
        }
        let log = EmbeddedLog::in_memory_with(limits);
        let mut client = log.client();
        let sinks = SINKS.map(|name| (name, script.partitions));
        let sources = SOURCES.map(|name| (name, script.source_partitions(name)));
        for (name, partitions) in sinks.into_iter().chain(sources) {
            let cleanup = Cleanup::Delete { retention_ms: None };
            client.create_topic(&TopicSpec {
                name: name.to_owned(),
                partitions,
                cleanup,
            })?;
        }
        for (topic, records) in &script.input {
            for (_, record) in records.iter() {
                client.send(topic, None, record)?;
            }
        }
        client.commit(1, &[])?;
        let mut task = TaskConfig::new(APPLICATION);
        task.dead_letter_topic = Some(DEAD.to_owned());
        // A tiny cache, so that eviction and reading back are exercised.
        task.cache_bytes = 300;
        let program = Program::prepare(Arc::new(script.topology()?), task, &mut client)?;
        Ok(Self {
            log,
            program: Arc::new(program),
            rng: Rng::new(seed),
            now: 1_000_000,
            order,
            instances: Vec::new(),
            standbys: 0,
            tally: Tally::default(),
            found: Vec::new(),
        })
    }

    fn start(&mut self, number: usize, rates: FaultRates, disk_per_mille: u64) {
        let seed = self.rng.next_u64();
        self.instances.push(Instance {
            name: format!("instance-{number}"),
            faults: Faults::new(seed, rates),
            disk: Arc::new(Disk::new(seed ^ 0x5eed, disk_per_mille)),
            workers: Vec::new(),
            starts: 0,
        });
        self.boot(number);
    }

    /// Starts an instance's process: one or two workers over the disk it has.
    fn boot(&mut self, number: usize) {
        let threads = 1 + self.rng.index(2);
        let interval = 1 + self.rng.below(60) as i64;
        let records = 1 + self.rng.index(8);
        let instance = &mut self.instances[number];
        instance.faults.restart();
        instance.disk.restart();
        instance.starts += 1;
        let leases = Arc::new(Leases::default());
        let globals = Arc::new(Globals::default());
        for thread in 0..threads {
            let member = format!("{}-{thread}-{}", instance.name, instance.starts);
            let mut settings = Settings::new(member, instance.name.clone());
            settings.commit_interval_ms = interval;
            settings.records_per_step = records;
            settings.buffered_records = 5;
            settings.standby_replicas = self.standbys;
            settings.commit_order = self.order;
            settings.leases = leases.clone();
            settings.globals = globals.clone();
            settings.uncommitted_bytes_max = 2_000;
            let log = FaultyLog::new(self.log.client(), instance.faults.clone());
            let (program, disk) = (self.program.clone(), instance.disk.clone());
            instance
                .workers
                .push((Worker::new(program, disk, Box::new(log), settings), 0));
        }
    }

    /// Bad weather: random steps of random workers, and whatever else can happen to a cluster.
    pub(super) fn storm(&mut self) -> Result<()> {
        for _ in 0..STORM_STEPS {
            self.now += self.rng.below(20) as i64;
            let number = self.rng.index(self.instances.len());
            match self.rng.below(200) {
                0 => self.kill(number),
                1 => self.close(number)?,
                2 => self.freeze(number)?,
                3 => self.lose_disk(number),
                4..8 => self.maintain()?,
                8 if self.instances.len() < 4 => {
                    let rates = FaultRates {
                        delay: 0.1,
                        unknown: 0.05,
                        ..FaultRates::default()
                    };
                    self.start(self.instances.len(), rates, 5);
                }
                _ => self.step(number)?,
            }
        }
        Ok(())
    }

    /// What a log does in the background: it compacts, and forgets repartition records that were
    /// read.
    fn maintain(&mut self) -> Result<()> {
        let done = self.log.maintain(self.now)?;
        self.tally.compactions += u64::from(done.records_compacted > 0);
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
        let places = self.log.client().committed_as(APPLICATION, &moved)?;
        for (input, place) in moved.iter().zip(places) {
            if let Some(place) = place {
                self.log.delete_records(input, place.offset)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, number: usize) -> Result<()> {
        let instance = &mut self.instances[number];
        let count = instance.workers.len();
        let chosen = self.rng.index(count.max(1));
        let Some((worker, frozen)) = instance.workers.get_mut(chosen) else {
            return Ok(());
        };
        if *frozen > 0 {
            *frozen -= 1;
            return Ok(());
        }
        match worker.step(self.now, Duration::ZERO) {
            Ok(_) => Ok(()),
            Err(error) if error.to_string().contains(CRASH) => {
                self.died_at(&error);
                self.kill(number);
                Ok(())
            }
            Err(error) => Err(anyhow!(
                "a worker of {}: {error}",
                self.instances[number].name
            )),
        }
    }

    /// The process dies here and now, and starts again on the disk it has.
    fn kill(&mut self, number: usize) {
        self.tally.crashes += 1;
        self.instances[number].disk.die();
        self.end_workers(number);
        let instance = &self.instances[number];
        let wrong = check::disk(&self.program, &self.log, &instance.disk, &instance.name);
        self.found.extend(wrong);
        self.boot(number);
    }

    fn close(&mut self, number: usize) -> Result<()> {
        for (mut worker, _) in std::mem::take(&mut self.instances[number].workers) {
            let closed = worker.close(self.now);
            self.tally.worker(worker.stats());
            match closed {
                Ok(()) => {}
                Err(error) if error.to_string().contains(CRASH) => {
                    self.tally.crashes += 1;
                    self.died_at(&error);
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => bail!("closing: {error}"),
            }
        }
        self.boot(number);
        Ok(())
    }

    /// A worker stops for longer than its session: its tasks go to others, and then it wakes.
    fn freeze(&mut self, number: usize) -> Result<()> {
        let instance = &mut self.instances[number];
        let count = instance.workers.len();
        let chosen = self.rng.index(count.max(1));
        let Some((worker, frozen)) = instance.workers.get_mut(chosen) else {
            return Ok(());
        };
        *frozen = 1 + self.rng.below(40);
        self.log.expire(APPLICATION, worker.member())?;
        self.tally.zombies += 1;
        Ok(())
    }

    fn lose_disk(&mut self, number: usize) {
        self.tally.crashes += 1;
        self.end_workers(number);
        let seed = self.rng.next_u64();
        let instance = &mut self.instances[number];
        instance.disk = Arc::new(Disk::new(seed, 10));
        self.boot(number);
    }

    /// The weather clears: no more faults, and everybody works until there is nothing left to do.
    pub(super) fn settle(&mut self) -> Result<()> {
        // A disk may have died under a destructor, of which nobody has heard yet.
        for number in 0..self.instances.len() {
            if self.instances[number].disk.is_dead() {
                self.kill(number);
            }
        }
        for instance in &mut self.instances {
            instance.faults.set_rates(FaultRates::default());
            instance.disk.heal();
            instance
                .workers
                .iter_mut()
                .for_each(|(_, frozen)| *frozen = 0);
        }
        let mut quiet = 0;
        for _ in 0..SETTLE_ROUNDS {
            self.now += 10;
            let mut busy = false;
            for instance in &mut self.instances {
                for (worker, _) in &mut instance.workers {
                    busy |= worker.step(self.now, Duration::ZERO)? == Step::Busy;
                }
            }
            quiet = if busy { 0 } else { quiet + 1 };
            if quiet > QUIET_ROUNDS {
                return Ok(());
            }
        }
        bail!("{SETTLE_ROUNDS} rounds after the last fault there is still work")
    }

    /// Ends all workers, checks all disks, and returns what the log holds.
    pub(super) fn finish(mut self) -> Result<Contents> {
        for instance in &mut self.instances {
            for (worker, _) in &mut instance.workers {
                worker.close(self.now)?;
            }
            instance.workers.clear();
            let wrong = check::disk(&self.program, &self.log, &instance.disk, &instance.name);
            if let Some(first) = wrong.first() {
                bail!("at the end: {first}");
            }
        }
        check::contents(&self.log)
    }

    /// Everything that was counted so far.
    pub(super) fn tally(&self) -> Tally {
        let mut tally = self.tally.clone();
        for instance in &self.instances {
            let counts = instance.faults.counts();
            tally.unknown_committed += counts.unknown_committed;
            tally.unknown_aborted += counts.unknown_aborted;
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

    fn end_workers(&mut self, number: usize) {
        for (worker, _) in self.instances[number].workers.drain(..) {
            self.tally.worker(worker.stats());
        }
    }

    /// Notes at which step of its work a process died.
    fn died_at(&mut self, error: &millstream_runtime::Error) {
        let told = error.to_string();
        let (_, place) = told.split_once(CRASH).unwrap_or_default();
        *self.tally.deaths.entry(place.to_owned()).or_default() += 1;
    }
}

/// Errors of a closing member that mean only that its work is left to the next owner.
fn is_passing(error: &millstream_runtime::Error) -> bool {
    use millstream_log::Error as LogError;
    matches!(
        error,
        millstream_runtime::Error::Log(LogError::Retry(_) | LogError::Fenced(_))
    )
}
