//! The runtime's worker on a log: the embedded one, or a Kafka cluster. One partition.
//!
//! Invariant: a record is piped, processed, committed and at rest before the next one comes, so
//! that what the test driver promises in total order holds here too.

use super::{DEAD_LETTERS, Engine, Limits, Prefixed, Raw, Settings};
use anyhow::{Result, anyhow, bail};
use millstream_core::{
    record::{RawRecord, Timestamp, TopicPartition},
    task::{Dropped, Place, TaskConfig},
    topology::{Topology, changelog_name},
};
use millstream_kafka::{KafkaConfig, KafkaLog};
use millstream_log::{Broker, Cleanup, Committed, EmbeddedLog, Error as LogError, Log, TopicSpec};
use millstream_runtime::{
    Error,
    backends::MemoryBackends,
    clock::{Clock, SystemClock},
    program::Program,
    worker::{self, Step, Worker},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const APPLICATION: &str = "cases";
/// Idle steps in a row after which it is looked whether there is rest, and steps after which there
/// is none to come.
const QUIET: usize = 4;
const STEPS_MAX: usize = 10_000;
/// How long a step on a cluster waits for news.
const CLUSTER_WAIT: Duration = Duration::from_millis(10);
/// librdkafka cannot send a timestamp of zero, and the cluster marks transactions between records.
const CLUSTER_LIMITS: Limits = Limits {
    earliest: 1,
    dense: false,
};
/// How long a cluster that does not answer is waited for.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(60);
const PAGE: usize = 1 << 20;

/// A program on a log.
pub struct OnLog {
    log: Box<dyn Broker>,
    client: Box<dyn Log>,
    wait: Duration,
    limits: Limits,
    program: Arc<Program>,
    disk: Arc<MemoryBackends>,
    worker: Worker,
    now: Timestamp,
    /// The end of a topic before the last record was written to it.
    written: Option<(TopicPartition, i64)>,
    /// Where the last look at each topic ended.
    seen: BTreeMap<String, i64>,
    /// Drops of workers that ended.
    dropped: Dropped,
    transaction: u64,
}

impl OnLog {
    /// Starts a program on a log in memory.
    ///
    /// # Errors
    /// Where it cannot be run.
    pub fn embedded(topology: Topology, settings: &Settings) -> Result<Box<dyn Engine>> {
        let log = Box::new(EmbeddedLog::in_memory());
        Self::open(log, (Duration::ZERO, Limits::default()), topology, settings)
    }

    /// Starts a program on a cluster; `prefix` is in front of all its topics and groups.
    ///
    /// # Errors
    /// Where it cannot be run.
    pub fn kafka(
        servers: &str,
        prefix: &str,
        topology: Topology,
        settings: &Settings,
    ) -> Result<Box<dyn Engine>> {
        let log = KafkaLog::connect(
            KafkaConfig {
                application_id: prefix.to_owned(),
                process_id: "cases".to_owned(),
                replication_factor: -1,
                task_timeout: CLUSTER_TIMEOUT,
                client: vec![("bootstrap.servers".to_owned(), servers.to_owned())],
                ..KafkaConfig::default()
            },
            SystemClock::stopwatch(),
        )?;
        let log = Box::new(Prefixed::new(log, prefix));
        Self::open(log, (CLUSTER_WAIT, CLUSTER_LIMITS), topology, settings)
    }

    fn open(
        log: Box<dyn Broker>,
        (wait, limits): (Duration, Limits),
        topology: Topology,
        settings: &Settings,
    ) -> Result<Box<dyn Engine>> {
        let mut client = log.client()?;
        let names = topology
            .user_sources()
            .into_iter()
            .chain(topology.user_sinks())
            .chain(topology.dead_letter_topics());
        for name in names.chain([DEAD_LETTERS.to_owned()]) {
            create(&mut *client, &name)?;
        }
        let config = TaskConfig {
            policies: settings.policies,
            dead_letter_topic: Some(DEAD_LETTERS.to_owned()),
            ..TaskConfig::new(APPLICATION)
        };
        let topology = Arc::new(topology);
        let prepare = || Program::prepare(topology.clone(), config.clone(), &mut *client);
        let program = Arc::new(patiently(prepare)?);
        let disk = Arc::new(MemoryBackends::default());
        let worker = worker(&*log, &program, &disk)?;
        let (seen, dropped) = Default::default();
        let mut engine = Self {
            log,
            client,
            wait,
            limits,
            program,
            disk,
            worker,
            now: 0,
            written: None,
            seen,
            dropped,
            transaction: 0,
        };
        engine.run()?;
        Ok(Box::new(engine))
    }

    /// Steps until nothing happens any more.
    fn run(&mut self) -> Result<()> {
        let mut quiet = 0;
        for _ in 0..STEPS_MAX {
            match self.worker.step(self.now, self.wait) {
                Ok(Step::Busy) => quiet = 0,
                Ok(Step::Idle) => quiet += 1,
                // Records may choose topics that nobody has declared; a user would make them first.
                Err(Error::Log(LogError::UnknownTopic(name))) => {
                    create(&mut *self.client, name.split(' ').next().unwrap_or(&name))?;
                    self.restart()?;
                }
                Err(error) => {
                    self.restart()?;
                    self.pass_over()?;
                    return Err(anyhow!(error));
                }
            }
            if quiet >= QUIET && self.at_rest()? {
                return Ok(());
            }
        }
        bail!("no rest after {STEPS_MAX} steps")
    }

    /// Whether every input is committed up to its end, and every global table read up to its own.
    fn at_rest(&mut self) -> Result<bool> {
        // A cluster says that a transaction is committed before everybody sees it.
        if let Some((at, before)) = &self.written
            && self.client.end(at)? <= *before
        {
            return Ok(false);
        }
        for table in self.worker.globals().progress() {
            if table.position < self.client.end(&table.partition)? {
                return Ok(false);
            }
        }
        let tasks = self.program.layout.tasks.iter();
        let inputs: Vec<_> = tasks.flat_map(|task| task.inputs.iter().cloned()).collect();
        let places = match self.client.committed_as(APPLICATION, &inputs) {
            Err(LogError::Retry(_)) => return Ok(false),
            places => places?,
        };
        for (input, place) in inputs.iter().zip(places) {
            let next = place.map_or(0, |place| place.offset);
            if next < self.client.end(input)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn restart(&mut self) -> Result<()> {
        self.dropped = self.dropped();
        self.worker = worker(&*self.log, &self.program, &self.disk)?;
        Ok(())
    }

    /// What an operator does who wants to go on after a record that stops the program.
    fn pass_over(&mut self) -> Result<()> {
        self.transaction += 1;
        let mut places = Vec::new();
        for at in self
            .program
            .layout
            .tasks
            .iter()
            .flat_map(|task| &task.inputs)
        {
            let place = Place::start(self.client.end(at)?);
            let metadata = place.metadata(self.transaction);
            places.push((
                at.clone(),
                Committed {
                    offset: place.offset,
                    metadata,
                },
            ));
        }
        self.client
            .commit_as(APPLICATION, self.transaction, &places)?;
        Ok(())
    }

    fn records(&mut self, topic: &str, from: i64) -> Result<(Vec<Raw>, i64)> {
        if self.client.topic(topic)?.is_none() {
            return Ok((Vec::new(), from));
        }
        let at = TopicPartition::new(topic, 0);
        let (mut found, mut next) = (Vec::new(), from);
        loop {
            let page = self.client.read(&at, next, PAGE)?;
            found.extend(page.records.iter().map(|(_, record)| owned(record)));
            next = page.next;
            if next >= page.end {
                return Ok((found, next));
            }
        }
    }
}

fn worker(log: &dyn Broker, program: &Arc<Program>, disk: &Arc<MemoryBackends>) -> Result<Worker> {
    let mut settings = worker::Settings::new("member", "instance");
    settings.commit_interval_ms = 0;
    Ok(Worker::new(
        program.clone(),
        disk.clone(),
        log.client()?,
        settings,
    ))
}

fn create(client: &mut dyn Log, name: &str) -> Result<()> {
    let spec = TopicSpec {
        name: name.to_owned(),
        partitions: 1,
        cleanup: Cleanup::Delete { retention_ms: None },
    };
    patiently(|| Ok(client.create_topic(&spec)?))?;
    Ok(())
}

/// Does what a cluster that has much to do may put off.
fn patiently<T>(mut act: impl FnMut() -> millstream_runtime::Result<T>) -> Result<T> {
    let clock = SystemClock::new();
    loop {
        match act() {
            Err(Error::Log(LogError::Retry(_))) if clock.elapsed() < CLUSTER_TIMEOUT => {
                std::thread::park_timeout(CLUSTER_WAIT);
            }
            done => return Ok(done?),
        }
    }
}

fn owned(record: RawRecord<'_>) -> Raw {
    Raw {
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        timestamp: record.timestamp,
        headers: record.headers.clone(),
    }
}

impl Engine for OnLog {
    fn pipe(&mut self, topic: &str, record: &Raw) -> Result<()> {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let (timestamp, headers) = (record.timestamp, &record.headers);
        let at = TopicPartition::new(topic, 0);
        let before = self.client.end(&at)?;
        self.written = Some((at, before));
        self.client.send(
            topic,
            None,
            RawRecord {
                key,
                value,
                timestamp,
                headers,
            },
        )?;
        self.client.commit(1, &[])?;
        self.run()
    }

    fn advance_wall_clock(&mut self, now: Timestamp) -> Result<()> {
        self.now = now;
        self.run()
    }

    fn read(&mut self, topic: &str) -> Result<Vec<Raw>> {
        let from = self.seen.get(topic).copied().unwrap_or(0);
        let (records, next) = self.records(topic, from)?;
        self.seen.insert(topic.to_owned(), next);
        Ok(records)
    }

    fn changelog(&mut self, store: &str) -> Result<Vec<Raw>> {
        Ok(self.records(&changelog_name(APPLICATION, store), 0)?.0)
    }

    fn dropped(&self) -> Dropped {
        let totals = self.worker.totals().into_values();
        totals
            .map(|total| total.counts.dropped)
            .fold(self.dropped, |a, b| a + b)
            + self.worker.globals().dropped()
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}
