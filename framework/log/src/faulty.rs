//! Any log made unreliable, in all the ways the trait allows, by a seed.
//!
//! Invariant: it lies about nothing. What it refuses was not done, what it reports lost is lost or
//! done as [`Log::resolve`] then says, and a member it throws out has really left its group.

use crate::{
    api::{
        Commit, Committed, Error, Event, Instance, Log, Outcome, Page, Result, Subscription,
        TopicInfo, TopicSpec,
    },
    faults::{CrashPoint, Faults},
};
use millstream_core::{
    batch::Records,
    record::{Offset, Partition, RawRecord, TaskId, TopicPartition},
};
use std::{sync::Arc, time::Duration};

/// What the client is to its group, as far as injected fencing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It has no subscription.
    Outside,
    Member,
    /// It was thrown out and does not know.
    Expelled,
    /// It was told, and has not subscribed again.
    Lost,
}

/// A log that fails as [`Faults`] say.
pub struct FaultyLog<L> {
    inner: L,
    faults: Faults,
    standing: Standing,
    /// Records in the open transaction.
    sent: u64,
    /// A commit whose answer was lost, and whether it was done.
    unknown: Option<(u64, bool)>,
    begun: Option<Begun>,
}

/// A commit that was begun and takes its time.
enum Begun {
    /// It is done when it is asked for.
    Later(u64, Vec<(TopicPartition, Committed)>),
    /// It is done, and the answer is on its way.
    Done(Result<Commit>),
}

impl<L: Log> FaultyLog<L> {
    /// Makes a log unreliable.
    pub const fn new(inner: L, faults: Faults) -> Self {
        Self {
            inner,
            faults,
            standing: Standing::Outside,
            sent: 0,
            unknown: None,
            begun: None,
        }
    }

    /// Refuses what a dead process or a member that was thrown out asks.
    fn standing(&self) -> Result<()> {
        self.faults.alive()?;
        match self.standing {
            Standing::Outside | Standing::Member => Ok(()),
            Standing::Expelled | Standing::Lost => {
                Err(Error::Fenced("injected: the member was thrown out".into()))
            }
        }
    }

    /// Refuses to go on while a commit's outcome is unknown: the trait demands to ask first.
    fn settled(&self) -> Result<()> {
        if self.begun.is_some() {
            return Err(Error::Fatal(
                "a commit is under way: its end comes first".into(),
            ));
        }
        match self.unknown {
            Some((transaction, _)) => Err(Error::Fatal(format!(
                "the outcome of transaction {transaction} is unknown: resolve comes first"
            ))),
            None => Ok(()),
        }
    }

    fn expel(&mut self) -> Result<()> {
        self.inner.leave()?;
        self.standing = Standing::Expelled;
        self.sent = 0;
        Ok(())
    }
}

impl<L: Log> Log for FaultyLog<L> {
    fn topic(&mut self, name: &str) -> Result<Option<TopicInfo>> {
        self.faults.alive()?;
        self.faults.retry("topic")?;
        self.inner.topic(name)
    }

    fn topic_names(&mut self) -> Result<Vec<String>> {
        self.faults.alive()?;
        self.faults.retry("topic_names")?;
        self.inner.topic_names()
    }

    fn create_topic(&mut self, spec: &TopicSpec) -> Result<TopicInfo> {
        self.faults.alive()?;
        self.faults.retry("create_topic")?;
        self.inner.create_topic(spec)
    }

    fn subscribe(&mut self, subscription: Subscription) -> Result<()> {
        self.faults.alive()?;
        self.faults.retry("subscribe")?;
        self.inner.subscribe(subscription)?;
        (self.standing, self.sent, self.unknown) = (Standing::Member, 0, None);
        self.begun = None;
        Ok(())
    }

    fn poll(&mut self, wait: Duration) -> Result<Event> {
        self.faults.alive()?;
        if self.standing == Standing::Expelled {
            self.standing = Standing::Lost;
            return Ok(Event::Lost);
        }
        self.faults.retry("poll")?;
        if self.faults.delay() {
            return Ok(Event::Idle);
        }
        let event = self.inner.poll(wait)?;
        if event == Event::Lost {
            self.standing = Standing::Lost;
        }
        Ok(event)
    }

    fn acknowledge(&mut self, tasks: &[TaskId]) -> Result<()> {
        self.standing()?;
        self.faults.retry("acknowledge")?;
        self.inner.acknowledge(tasks)
    }

    fn leave(&mut self) -> Result<()> {
        self.faults.alive()?;
        self.inner.leave()?;
        (self.standing, self.sent, self.unknown) = (Standing::Outside, 0, None);
        Ok(())
    }

    fn instances(&mut self) -> Result<Vec<Instance>> {
        self.faults.alive()?;
        match self.standing {
            Standing::Outside | Standing::Member => self.inner.instances(),
            Standing::Expelled | Standing::Lost => Ok(Vec::new()),
        }
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<Committed>>> {
        self.standing()?;
        self.faults.retry("committed")?;
        self.inner.committed(partitions)
    }

    fn seek(&mut self, partition: &TopicPartition, offset: Offset) -> Result<()> {
        self.standing()?;
        self.inner.seek(partition, offset)
    }

    fn fetch(&mut self, partition: &TopicPartition, max: usize) -> Result<Option<Records>> {
        self.standing()?;
        self.faults.retry("fetch")?;
        if self.faults.delay() {
            return Ok(None);
        }
        self.inner.fetch(partition, max)
    }

    fn position(&mut self, partition: &TopicPartition) -> Result<Offset> {
        self.standing()?;
        self.inner.position(partition)
    }

    fn end(&mut self, partition: &TopicPartition) -> Result<Offset> {
        self.faults.alive()?;
        self.faults.retry("end")?;
        self.inner.end(partition)
    }

    fn end_uncommitted(&mut self, partition: &TopicPartition) -> Result<Offset> {
        self.faults.alive()?;
        self.faults.retry("end")?;
        self.inner.end_uncommitted(partition)
    }

    fn start(&mut self, partition: &TopicPartition) -> Result<Offset> {
        self.faults.alive()?;
        self.faults.retry("start")?;
        self.inner.start(partition)
    }

    fn send(
        &mut self,
        topic: &str,
        partition: Option<Partition>,
        record: RawRecord<'_>,
    ) -> Result<()> {
        self.faults.alive()?;
        self.settled()?;
        match self.sent {
            0 => self.faults.pass(CrashPoint::BeforeSend)?,
            1 => self.faults.pass(CrashPoint::BetweenSends)?,
            _ => {}
        }
        self.inner.send(topic, partition, record)?;
        self.sent += 1;
        Ok(())
    }

    fn commit(
        &mut self,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Commit> {
        self.standing()?;
        self.settled()?;
        self.faults.retry("commit")?;
        if self.standing == Standing::Member && self.faults.fence() {
            self.expel()?;
            return Err(Error::Fenced("injected, at commit".into()));
        }
        self.faults.pass(CrashPoint::BeforeCommit)?;
        if let Some(done) = self.faults.unknown() {
            if done {
                self.inner.commit(transaction, places)?;
            } else {
                self.inner.abort()?;
            }
            (self.sent, self.unknown) = (0, Some((transaction, done)));
            return Err(Error::UnknownOutcome(format!(
                "injected, transaction {transaction}"
            )));
        }
        let commit = self.inner.commit(transaction, places)?;
        self.sent = 0;
        self.faults.pass(CrashPoint::AfterCommit)?;
        Ok(commit)
    }

    fn commit_bytes(&self) -> usize {
        self.inner.commit_bytes()
    }

    fn room(&self) -> usize {
        self.inner.room()
    }

    fn record_bytes_max(&self) -> usize {
        self.inner.record_bytes_max()
    }

    fn begin_commit(
        &mut self,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Option<Commit>> {
        self.standing()?;
        self.settled()?;
        if !self.faults.delay() {
            return self.commit(transaction, places).map(Some);
        }
        self.begun = Some(if self.faults.delay() {
            Begun::Done(self.commit(transaction, places))
        } else {
            Begun::Later(transaction, places.to_vec())
        });
        Ok(None)
    }

    fn poll_commit(&mut self, _: Duration) -> Result<Option<Commit>> {
        self.faults.alive()?;
        if self.faults.delay() {
            return Ok(None);
        }
        match self.begun.take() {
            None => Err(Error::Fatal("no commit was begun".into())),
            Some(Begun::Done(answer)) => answer.map(Some),
            Some(Begun::Later(transaction, places)) => match self.commit(transaction, &places) {
                // The transaction is still open, and so is the question.
                Err(Error::Retry(_)) => {
                    self.begun = Some(Begun::Later(transaction, places));
                    Ok(None)
                }
                answer => answer.map(Some),
            },
        }
    }

    fn abort(&mut self) -> Result<()> {
        self.faults.alive()?;
        self.begun = None;
        self.sent = 0;
        self.inner.abort()
    }

    fn resolve(
        &mut self,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Outcome> {
        self.standing()?;
        self.faults.retry("resolve")?;
        let outcome = self.inner.resolve(transaction, places)?;
        if let Some((number, done)) = self.unknown.take_if(|(number, _)| *number == transaction)
            && done != matches!(outcome, Outcome::Committed(_))
        {
            return Err(Error::Fatal(format!(
                "the log says {outcome:?} of transaction {number}, which is not what happened"
            )));
        }
        Ok(outcome)
    }

    fn read(&mut self, partition: &TopicPartition, from: Offset, max_bytes: usize) -> Result<Page> {
        self.faults.alive()?;
        self.faults.retry("read")?;
        let page = self.inner.read(partition, from, max_bytes)?;
        if self.faults.delay() {
            return Ok(Page {
                records: Records::all(Arc::default()),
                next: from,
                end: page.end,
            });
        }
        Ok(page)
    }

    fn committed_as(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<Committed>>> {
        self.faults.alive()?;
        self.faults.retry("committed_as")?;
        self.inner.committed_as(group, partitions)
    }

    fn commit_as(
        &mut self,
        group: &str,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Commit> {
        self.faults.alive()?;
        self.settled()?;
        self.faults.pass(CrashPoint::BeforeCommit)?;
        self.sent = 0;
        let commit = self.inner.commit_as(group, transaction, places)?;
        self.faults.pass(CrashPoint::AfterCommit)?;
        Ok(commit)
    }
}
