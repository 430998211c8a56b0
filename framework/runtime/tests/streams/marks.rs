//! A log that marks transactions, as Kafka does: offsets without records, behind the last one.

use millstream_core::record::{Offset, Partition, RawRecord, TaskId, TopicPartition};
use millstream_log::{
    Commit, Committed, EmbeddedClient, Error, Event, Instance, Log, Outcome, Page, Result,
    Subscription, TopicInfo, TopicSpec,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// What a client was asked for.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) places: AtomicUsize,
    pub(crate) pages: AtomicUsize,
}

/// A client of an embedded log that shows each partition's end a few marks later, and reads in
/// the smallest of pages.
pub(crate) struct Marked {
    log: EmbeddedClient,
    pub(crate) asked: Arc<Asked>,
    /// So many of the last records count as not committed yet.
    pub(crate) unmarked: Offset,
    /// Other members are in the middle of a commit whenever a group's places are asked for.
    pub(crate) committing: bool,
    /// Pages are empty and do not move on: their records are on their way for ever.
    pub(crate) on_their_way: bool,
}

impl Marked {
    /// How many there are.
    pub(crate) const MARKS: Offset = 3;

    pub(crate) fn new(log: EmbeddedClient) -> Self {
        let asked = Arc::default();
        Self {
            log,
            asked,
            unmarked: 0,
            committing: false,
            on_their_way: false,
        }
    }
}

impl Log for Marked {
    fn end(&mut self, partition: &TopicPartition) -> Result<Offset> {
        let end = self.log.end(partition)?;
        match self.unmarked {
            0 => Ok(end + Self::MARKS),
            unmarked => Ok(end - unmarked),
        }
    }

    fn end_uncommitted(&mut self, partition: &TopicPartition) -> Result<Offset> {
        Ok(self.log.end(partition)? + Self::MARKS)
    }

    /// Among the marks a page passes over one of them.
    fn read(&mut self, partition: &TopicPartition, from: Offset, _: usize) -> Result<Page> {
        self.asked.pages.fetch_add(1, Ordering::Relaxed);
        let records_end = self.log.end(partition)?;
        let marks_end = records_end + Self::MARKS;
        let mut page = self.log.read(partition, from.min(records_end), 1)?;
        if page.records.is_empty() {
            page.next = (from + 1).min(marks_end);
        }
        if self.on_their_way {
            (page.records.range, page.next) = (0..0, from);
        }
        page.end = marks_end;
        Ok(page)
    }

    fn topic(&mut self, name: &str) -> Result<Option<TopicInfo>> {
        self.log.topic(name)
    }
    fn create_topic(&mut self, spec: &TopicSpec) -> Result<TopicInfo> {
        self.log.create_topic(spec)
    }
    fn subscribe(&mut self, subscription: Subscription) -> Result<()> {
        self.log.subscribe(subscription)
    }
    fn poll(&mut self, wait: Duration) -> Result<Event> {
        self.log.poll(wait)
    }
    fn acknowledge(&mut self, tasks: &[TaskId]) -> Result<()> {
        self.log.acknowledge(tasks)
    }
    fn leave(&mut self) -> Result<()> {
        self.log.leave()
    }
    fn instances(&mut self) -> Result<Vec<Instance>> {
        self.log.instances()
    }
    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<Committed>>> {
        self.asked.places.fetch_add(1, Ordering::Relaxed);
        self.log.committed(partitions)
    }
    fn seek(&mut self, partition: &TopicPartition, offset: Offset) -> Result<()> {
        self.log.seek(partition, offset)
    }
    fn fetch(
        &mut self,
        partition: &TopicPartition,
        max: usize,
    ) -> Result<Option<millstream_core::batch::Records>> {
        self.log.fetch(partition, max)
    }
    fn position(&mut self, partition: &TopicPartition) -> Result<Offset> {
        self.log.position(partition)
    }
    fn start(&mut self, partition: &TopicPartition) -> Result<Offset> {
        self.log.start(partition)
    }
    fn send(
        &mut self,
        topic: &str,
        partition: Option<Partition>,
        record: RawRecord<'_>,
    ) -> Result<()> {
        self.log.send(topic, partition, record)
    }
    fn commit(&mut self, number: u64, places: &[(TopicPartition, Committed)]) -> Result<Commit> {
        self.log.commit(number, places)
    }
    fn abort(&mut self) -> Result<()> {
        self.log.abort()
    }
    fn resolve(&mut self, number: u64, places: &[(TopicPartition, Committed)]) -> Result<Outcome> {
        self.log.resolve(number, places)
    }
    fn committed_as(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<Committed>>> {
        if self.committing {
            return Err(Error::Retry("a transaction is being ended".into()));
        }
        self.log.committed_as(group, partitions)
    }
    fn commit_as(
        &mut self,
        group: &str,
        number: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Commit> {
        self.log.commit_as(group, number, places)
    }
}
