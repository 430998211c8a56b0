//! A program forgets what it has done: its places, its state, and the topics that it made.
//!
//! Invariant: whoever dies in the middle of it leaves places that no instance starts from
//! ([`Place::reset_metadata`]), on any machine, until a reset has come to its end. Every step may
//! be done again.

use crate::program::{Program, clean_up};
use anyhow::{Context, Result};
use millstream_core::{
    record::{Offset, TopicPartition},
    task::Place,
};
use millstream_log::{Committed, Error as LogError, Log};
use millstream_runtime::{Error, clock::SystemClock, patience::patiently};
use std::{collections::BTreeMap, time::Duration};

/// The numbers of the two commits of places, before all else is forgotten and after.
const BEGIN: u64 = 1;
const END: u64 = 2;

impl Program {
    /// Forgets the program's progress, as Kafka Streams' application reset tool does together with
    /// `cleanUp()`: its places in the user's topics are the first that are there, and the state on
    /// this instance's disk, the changelogs and the repartition topics are deleted. What was
    /// written to the user's topics and to tables stays. Says, line by line, what was done or,
    /// without `execute`, would be.
    ///
    /// All instances must have stopped. Those on other machines keep what lies on their disks until
    /// they start, and see then that its changelogs are not the same any more. Stores without a
    /// changelog they keep altogether, and they refuse to start on stores of another format, unless
    /// [`Program::clean_up`] is called there.
    ///
    /// Where it ends halfway, by an error or because the process died, no instance of the program
    /// starts until it was called again and has come to its end. The mark lies on the places of the
    /// input topics, and lasts as long as they do: a cluster forgets those of a group that has no
    /// members after `offsets.retention.minutes`, and with a topic. Versions before this one do not
    /// know it.
    ///
    /// # Errors
    /// Where another instance runs (then nothing was done), or the log or the file system refuses.
    pub fn reset(&self, execute: bool) -> Result<Vec<String>> {
        let (id, log, config) = (self.config.application_id(), self.log(), self.config());
        let mut reset = Reset {
            client: log.client()?,
            clock: SystemClock::new(),
            limit: Duration::from_millis(config.task_timeout_ms().unsigned_abs()),
        };
        let there = reset.patiently(|log| log.topic_names())?;
        let (names, dead) = (there.iter().map(|name| &**name), config.dead_letter_topic());
        let wide = self.topology.matching(id, dead, names)?;
        let partitions = reset.partitions(wide.user_sources())?;
        let layout = wide.layout(id, |name| partitions.get(name).copied())?;
        let starts = reset.starts(layout.user_inputs())?;
        let told = starts.iter();
        let mut done: Vec<_> = told
            .map(|(at, start)| format!("go back to {start} in {at}"))
            .collect();
        if execute {
            // They are refused while other instances run, and then all stays as it is.
            reset
                .commit(id, BEGIN, &starts, |_| Place::reset_metadata(BEGIN))
                .context("setting the places back; does another instance run?")?;
        }
        done.extend(clean_up(&self.dir, execute)?);
        let internal = self.topology.internal_names(id);
        for name in internal.iter().filter(|name| there.contains(name)) {
            done.push(format!("delete the topic {name}"));
            if execute {
                reset.patiently(|_| match log.delete_topic(name) {
                    // An earlier request did it, whose answer was lost.
                    Err(LogError::UnknownTopic(_)) => Ok(()),
                    answer => answer,
                })?;
            }
        }
        if execute {
            let place = |start| Place::start(start).metadata(END);
            reset
                .commit(id, END, &starts, place)
                .context("the reset is not finished and must be run again")?;
        }
        Ok(done)
    }
}

struct Reset {
    client: Box<dyn Log>,
    clock: SystemClock,
    limit: Duration,
}

impl Reset {
    fn patiently<T>(
        &mut self,
        mut what: impl FnMut(&mut dyn Log) -> millstream_log::Result<T>,
    ) -> Result<T, Error> {
        patiently(&mut *self.client, &self.clock, self.limit, |log| {
            Ok(what(log)?)
        })
    }

    /// How many partitions topics have that are there.
    fn partitions(&mut self, names: Vec<String>) -> Result<BTreeMap<String, u32>> {
        let mut partitions = BTreeMap::new();
        for name in names {
            if let Some(info) = self.patiently(|log| log.topic(&name))? {
                partitions.insert(name, info.spec.partitions);
            }
        }
        Ok(partitions)
    }

    /// Where partitions begin.
    fn starts(&mut self, inputs: Vec<TopicPartition>) -> Result<Vec<(TopicPartition, Offset)>> {
        let with_start = |at| {
            let start = self.patiently(|log| log.start(&at))?;
            Ok((at, start))
        };
        inputs.into_iter().map(with_start).collect()
    }

    /// Commits the starts of partitions as the group's places.
    fn commit(
        &mut self,
        group: &str,
        number: u64,
        starts: &[(TopicPartition, Offset)],
        metadata: impl Fn(Offset) -> Vec<u8>,
    ) -> Result<(), Error> {
        let places = starts.iter().map(|(at, start)| {
            let place = Committed {
                offset: *start,
                metadata: metadata(*start),
            };
            (at.clone(), place)
        });
        let places: Vec<_> = places.collect();
        self.patiently(|log| log.commit_as(group, number, &places))
            .map(drop)
    }
}
