//! A log seen through a prefix: many programs with the same names of topics on one cluster.
//!
//! Invariant: every name that goes in gets the prefix, every name that comes out loses it, and
//! nothing else changes.

use millstream_core::{
    batch::Records,
    record::{Offset, Partition, RawRecord, TaskId, TopicPartition},
};
use millstream_log::{
    Broker, Commit, Committed, Error, Event, Instance, Log, Outcome, Page, Result, Subscription,
    TopicInfo, TopicSpec,
};
use std::{sync::Arc, time::Duration};

/// A log, or a client of one, behind a prefix.
pub struct Prefixed<L> {
    inner: L,
    prefix: Arc<str>,
}

impl<L> Prefixed<L> {
    /// Puts `prefix` in front of every topic and group.
    pub fn new(inner: L, prefix: &str) -> Self {
        let prefix = prefix.into();
        Self { inner, prefix }
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn there(&self, at: &TopicPartition) -> TopicPartition {
        TopicPartition::new(self.name(&at.topic), at.partition)
    }

    fn all_there(&self, all: &[TopicPartition]) -> Vec<TopicPartition> {
        all.iter().map(|at| self.there(at)).collect()
    }

    fn places_there(
        &self,
        places: &[(TopicPartition, Committed)],
    ) -> Vec<(TopicPartition, Committed)> {
        let there = places
            .iter()
            .map(|(at, place)| (self.there(at), place.clone()));
        there.collect()
    }

    fn stripped(&self, name: &str) -> String {
        name.strip_prefix(&*self.prefix).unwrap_or(name).to_owned()
    }

    fn back(&self, at: &TopicPartition) -> TopicPartition {
        TopicPartition::new(self.stripped(&at.topic), at.partition)
    }

    fn info(&self, mut info: TopicInfo) -> TopicInfo {
        info.spec.name = self.stripped(&info.spec.name);
        info
    }

    fn commit(&self, commit: &Commit) -> Commit {
        let ends = commit.ends.iter().map(|(at, end)| (self.back(at), *end));
        Commit {
            ends: ends.collect(),
        }
    }

    fn told<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match error {
            Error::OffsetOutOfRange {
                partition,
                offset,
                start,
                end,
            } => Error::OffsetOutOfRange {
                partition: self.back(&partition),
                offset,
                start,
                end,
            },
            Error::UnknownTopic(name) => Error::UnknownTopic(self.stripped(&name)),
            other => other,
        })
    }
}

impl Log for Prefixed<Box<dyn Log>> {
    fn topic(&mut self, name: &str) -> Result<Option<TopicInfo>> {
        let found = self.inner.topic(&self.name(name));
        Ok(self.told(found)?.map(|info| self.info(info)))
    }

    fn topic_names(&mut self) -> Result<Vec<String>> {
        let names = self.inner.topic_names()?.into_iter();
        let own = names.filter_map(|name| Some(name.strip_prefix(&*self.prefix)?.to_owned()));
        Ok(own.collect())
    }

    fn create_topic(&mut self, spec: &TopicSpec) -> Result<TopicInfo> {
        let name = self.name(&spec.name);
        let made = self.inner.create_topic(&TopicSpec {
            name,
            ..spec.clone()
        });
        Ok(self.info(self.told(made)?))
    }

    fn subscribe(&mut self, mut subscription: Subscription) -> Result<()> {
        subscription.group = self.name(&subscription.group);
        for task in &mut subscription.tasks {
            task.inputs = self.all_there(&task.inputs);
        }
        let joined = self.inner.subscribe(subscription);
        self.told(joined)
    }

    fn poll(&mut self, wait: Duration) -> Result<Event> {
        let event = self.inner.poll(wait);
        self.told(event)
    }

    fn acknowledge(&mut self, tasks: &[TaskId]) -> Result<()> {
        self.inner.acknowledge(tasks)
    }

    fn leave(&mut self) -> Result<()> {
        self.inner.leave()
    }

    fn instances(&mut self) -> Result<Vec<Instance>> {
        self.inner.instances()
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<Committed>>> {
        let found = self.inner.committed(&self.all_there(partitions));
        self.told(found)
    }

    fn seek(&mut self, partition: &TopicPartition, offset: Offset) -> Result<()> {
        let done = self.inner.seek(&self.there(partition), offset);
        self.told(done)
    }

    fn fetch(&mut self, partition: &TopicPartition, max: usize) -> Result<Option<Records>> {
        let fetched = self.inner.fetch(&self.there(partition), max);
        self.told(fetched)
    }

    fn position(&mut self, partition: &TopicPartition) -> Result<Offset> {
        let found = self.inner.position(&self.there(partition));
        self.told(found)
    }

    fn end(&mut self, partition: &TopicPartition) -> Result<Offset> {
        let found = self.inner.end(&self.there(partition));
        self.told(found)
    }

    fn end_uncommitted(&mut self, partition: &TopicPartition) -> Result<Offset> {
        let found = self.inner.end_uncommitted(&self.there(partition));
        self.told(found)
    }

    fn start(&mut self, partition: &TopicPartition) -> Result<Offset> {
        let found = self.inner.start(&self.there(partition));
        self.told(found)
    }

    fn send(
        &mut self,
        topic: &str,
        partition: Option<Partition>,
        record: RawRecord<'_>,
    ) -> Result<()> {
        let sent = self.inner.send(&self.name(topic), partition, record);
        self.told(sent)
    }

    fn commit(
        &mut self,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Commit> {
        let made = self.inner.commit(transaction, &self.places_there(places));
        Ok(Self::commit(self, &self.told(made)?))
    }

    fn abort(&mut self) -> Result<()> {
        self.inner.abort()
    }

    fn resolve(
        &mut self,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Outcome> {
        let outcome = self.inner.resolve(transaction, &self.places_there(places));
        Ok(match self.told(outcome)? {
            Outcome::Committed(commit) => Outcome::Committed(Self::commit(self, &commit)),
            Outcome::Aborted => Outcome::Aborted,
        })
    }

    fn read(&mut self, partition: &TopicPartition, from: Offset, max_bytes: usize) -> Result<Page> {
        let page = self.inner.read(&self.there(partition), from, max_bytes);
        self.told(page)
    }

    fn committed_as(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<Committed>>> {
        let (group, partitions) = (self.name(group), self.all_there(partitions));
        let found = self.inner.committed_as(&group, &partitions);
        self.told(found)
    }

    fn commit_as(
        &mut self,
        group: &str,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Commit> {
        let (group, places) = (self.name(group), self.places_there(places));
        let made = self.inner.commit_as(&group, transaction, &places);
        Ok(Self::commit(self, &self.told(made)?))
    }
}

impl<B: Broker> Broker for Prefixed<B> {
    fn client(&self) -> Result<Box<dyn Log>> {
        let client = self.inner.client()?;
        Ok(Box::new(Prefixed::new(client, &self.prefix)))
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        let topics = self.inner.topics()?.into_iter();
        let ours = topics.filter(|info| info.spec.name.starts_with(&*self.prefix));
        Ok(ours.map(|info| self.info(info)).collect())
    }

    fn delete_topic(&self, name: &str) -> Result<()> {
        let gone = self.inner.delete_topic(&self.name(name));
        self.told(gone)
    }

    fn delete_records(&self, at: &TopicPartition, before: Offset) -> Result<Offset> {
        let start = self.inner.delete_records(&self.there(at), before);
        self.told(start)
    }
}
