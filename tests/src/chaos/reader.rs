//! An independent look at the cluster: committed records, places and ends.
//!
//! Invariant: it only reads, and belongs to no group; whatever it says was seen under
//! `read_committed`.

use super::{CALM, Weather, instance::Instance, program};
use anyhow::{Context, Result, bail};
use millstream_core::{
    record::{Offset, Timestamp, TopicPartition},
    task::TaskConfig,
};
use millstream_kafka::KafkaLog;
use millstream_log::{Broker, Log};
use millstream_runtime::{
    clock::{Clock, SystemClock},
    error::Error,
    patience::patiently,
    program::Program,
};
use std::{sync::Arc, time::Duration};

/// How long one question may take.
const ANSWER: Duration = Duration::from_secs(60);
/// About how many bytes are read at a time.
const PAGE_BYTES: usize = 1 << 20;

/// A committed record.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) offset: Offset,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) timestamp: Timestamp,
}

/// Who looks.
pub(super) struct Reader {
    log: Box<dyn Log>,
    clock: SystemClock,
    /// The program's tasks and internal topics, as the cluster's topics make them.
    pub(super) program: Program,
    judged: u64,
}

impl Reader {
    /// Looks at this cluster.
    pub(super) fn new(log: &KafkaLog) -> Result<Self> {
        let (mut log, clock) = (Broker::client(log)?, SystemClock::new());
        let topology = Arc::new(program::topology()?);
        let config = TaskConfig::new(program::APPLICATION);
        let program = patiently(&mut *log, &clock, ANSWER, |log| {
            Program::prepare(topology.clone(), config.clone(), log)
        })?;
        let judged = 0;
        Ok(Self {
            log,
            clock,
            program,
            judged,
        })
    }

    /// How many records it has read.
    pub(super) fn judged(&self) -> u64 {
        self.judged
    }

    /// Asks, and asks again while the cluster is away.
    fn ask<T>(
        &mut self,
        mut what: impl FnMut(&mut dyn Log) -> millstream_log::Result<T>,
    ) -> Result<T> {
        let asked = patiently(&mut *self.log, &self.clock, ANSWER, |log| {
            what(log).map_err(Error::from)
        });
        Ok(asked?)
    }

    /// The end of what is committed.
    pub(super) fn end(&mut self, at: &TopicPartition) -> Result<Offset> {
        self.ask(|log| log.end(at))
    }

    /// The end of all, open transactions included.
    pub(super) fn end_of_all(&mut self, at: &TopicPartition) -> Result<Offset> {
        let end = self.end(at)?;
        Ok(self.ask(|log| log.read(at, end, 1))?.end)
    }

    /// All committed records of a partition, from the first that is still there.
    pub(super) fn records(&mut self, topic: &str, partition: u32) -> Result<Vec<Entry>> {
        let at = TopicPartition::new(topic, partition);
        let (mut next, end) = (self.ask(|log| log.start(&at))?, self.end(&at)?);
        let limit = self.clock.elapsed() + ANSWER;
        let mut found = Vec::new();
        while next < end {
            if self.clock.elapsed() > limit {
                bail!("{at} shows nothing between {next} and its end {end}");
            }
            let page = self.ask(|log| log.read(&at, next, PAGE_BYTES))?;
            let bytes = |side: Option<&[u8]>| side.map(<[u8]>::to_vec);
            found.extend(page.records.iter().map(|(offset, record)| Entry {
                offset,
                key: bytes(record.key),
                value: bytes(record.value),
                timestamp: record.timestamp,
            }));
            next = page.next;
        }
        self.judged += found.len() as u64;
        Ok(found)
    }

    /// Every partition that the program reads or writes, its internal topics' included.
    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        let internal = self.program.layout.internal.iter();
        let internal = internal.map(|topic| (topic.name.clone(), topic.partitions));
        let users = program::TOPICS.iter();
        let users = users.map(|name| ((*name).to_owned(), super::PARTITIONS));
        let all = users.chain(internal);
        all.flat_map(|(name, count)| {
            (0..count).map(move |partition| TopicPartition::new(name.clone(), partition))
        })
        .collect()
    }

    /// The inputs that are not committed to their end, with both.
    pub(super) fn behind(&mut self) -> Result<Vec<(TopicPartition, Offset, Offset)>> {
        let tasks = self.program.layout.tasks.iter();
        let inputs: Vec<_> = tasks.flat_map(|task| task.inputs.iter().cloned()).collect();
        let places = self.ask(|log| log.committed_as(program::APPLICATION, &inputs))?;
        let mut behind = Vec::new();
        for (input, place) in inputs.into_iter().zip(places) {
            let (next, end) = (place.map_or(0, |place| place.offset), self.end(&input)?);
            if next != end {
                behind.push((input, next, end));
            }
        }
        Ok(behind)
    }

    /// Waits until every input is committed to its end. The places are asked for after the input
    /// has ended, so that what is true once stays true.
    pub(super) fn wait_until_caught_up(
        &mut self,
        weather: &Weather<'_>,
        instances: &mut [Instance],
    ) -> Result<()> {
        let limit = weather.elapsed() + CALM;
        loop {
            for (number, instance) in instances.iter_mut().enumerate() {
                let lives = instance.lives();
                lives.with_context(|| format!("instance {number} died in the calm"))?;
            }
            let behind = self.behind()?;
            if behind.is_empty() {
                weather.say("all inputs are committed to their ends");
                return Ok(());
            }
            if weather.elapsed() > limit {
                let told = behind.iter();
                let told = told.map(|(at, next, end)| format!("{at} at {next} of {end}"));
                let told: Vec<_> = told.collect();
                bail!("not caught up after {CALM:?}: {}", told.join(", "));
            }
            weather.pause(super::LOOK);
        }
    }
}
