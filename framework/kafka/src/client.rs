//! One thread's client of a cluster: a group member, a reader and a producer put together.
//!
//! Invariant: partitions are read and places committed only for tasks that the group has given to
//! this member and that it has not given back.

mod commit;
mod tasks;
#[cfg(test)]
mod tests;

use crate::{
    broker::Cluster,
    committer::{Committer, Job},
    config::Guarantee,
    errors::Patience,
    membership::{ClassicGroup, Membership, client_id},
    producer::Producer,
    source::Sources,
    wake::Waker,
};
use millstream_core::{
    batch::Records,
    record::{Offset, Partition, RawRecord, TaskId, TopicPartition},
};
use millstream_log::{
    Commit, Committed, Error, Event, Instance, Log, Outcome, Page, Result, Subscription, TopicInfo,
    TopicSpec,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How long a read waits for records that are on their way.
const READ_WAIT: Duration = Duration::from_millis(2);
/// How long a failed call waits, so that nobody asks a cluster that is away without pause.
const FAILED_WAIT: Duration = Duration::from_millis(100);

/// A [`Log`] over a [`KafkaLog`](crate::KafkaLog).
pub struct KafkaClient {
    cluster: Arc<Cluster>,
    waker: Arc<Waker>,
    id: String,
    subscription: Option<Subscription>,
    group: Option<Box<dyn Membership>>,
    /// Whether the group threw us out and we have not subscribed again.
    lost: bool,
    /// Whether it was fenced by a call that was refused, and no poll has said so yet.
    untold: bool,
    active: BTreeSet<TaskId>,
    /// The input partitions of the active tasks, and to which they belong.
    inputs: BTreeMap<TopicPartition, TaskId>,
    revoking: BTreeSet<TaskId>,
    sources: Option<Sources>,
    /// `None` while it is at the committer.
    producer: Option<Producer>,
    committer: Option<Committer>,
    /// The answer to a commit that was begun, until it is asked for.
    finished: Option<Result<Commit>>,
    /// The number of the commit that was begun.
    begun: Option<u64>,
    patience: Patience,
    /// How long nothing could be sent: what is read may be answered meanwhile.
    sending: Patience,
    /// How long nothing could be committed, whatever else is answered.
    committing: Patience,
    /// The last commit made or tried, to answer [`Log::resolve`] with its ends.
    last: Option<(u64, Commit)>,
    /// Without transactions: ends of what was acknowledged while its places are not committed.
    unplaced: BTreeMap<TopicPartition, Offset>,
}

impl KafkaClient {
    pub(crate) fn new(cluster: &Arc<Cluster>, id: String) -> Self {
        let waker = Arc::default();
        let patience = || Patience::new(cluster.config.task_timeout, Arc::clone(&cluster.elapsed));
        Self {
            producer: Some(Producer::new(cluster, &waker, id.clone())),
            committer: None,
            finished: None,
            begun: None,
            patience: patience(),
            sending: patience(),
            committing: patience(),
            cluster: Arc::clone(cluster),
            waker,
            id,
            subscription: None,
            group: None,
            lost: false,
            untold: false,
            active: BTreeSet::new(),
            inputs: BTreeMap::new(),
            revoking: BTreeSet::new(),
            sources: None,
            last: None,
            unplaced: BTreeMap::new(),
        }
    }

    /// Counts a call that came to nothing, and waits a little.
    fn patient<T>(&mut self, result: Result<T>) -> Result<T> {
        match result {
            Ok(value) => {
                self.patience.answered();
                Ok(value)
            }
            Err(error @ Error::Retry(_)) => {
                self.waker.wait(FAILED_WAIT);
                Err(self.patience.failed(error))
            }
            Err(error) => Err(error),
        }
    }

    fn sources(&mut self) -> Result<&mut Sources> {
        if self.sources.is_none() {
            let client = (&*self.id, self.subscription.is_some());
            self.sources = Some(Sources::new(&self.cluster, client, &self.waker)?);
        }
        (self.sources.as_mut()).ok_or_else(|| Error::Fatal("no reader".into()))
    }

    fn subscription(&self) -> Result<&Subscription> {
        let none = || Error::Fatal("the client has not subscribed".into());
        let subscription = self.subscription.as_ref().ok_or_else(none)?;
        if self.lost || self.group.is_none() {
            let member = &subscription.member;
            return Err(Error::Fenced(format!("{member} is no longer in its group")));
        }
        Ok(subscription)
    }

    fn owned(&self, partition: &TopicPartition) -> Result<()> {
        self.subscription()?;
        if self.inputs.contains_key(partition) {
            return Ok(());
        }
        Err(Error::Fenced(format!("{partition} is another member's")))
    }

    fn news(&mut self) -> bool {
        self.producer.iter().for_each(Producer::serve);
        let Some(sources) = &mut self.sources else {
            return false;
        };
        sources.handle().serve(Duration::ZERO);
        sources.news()
    }
}

impl Log for KafkaClient {
    fn topic(&mut self, name: &str) -> Result<Option<TopicInfo>> {
        let found = self.cluster.look_up(name);
        self.patient(found)
    }

    fn topic_names(&mut self) -> Result<Vec<String>> {
        let found = self.cluster.topic_names();
        self.patient(found)
    }

    fn create_topic(&mut self, spec: &TopicSpec) -> Result<TopicInfo> {
        let made = self.cluster.create_topic(spec);
        self.patient(made)
    }

    fn subscribe(&mut self, subscription: Subscription) -> Result<()> {
        let same = self.subscription.as_ref() == Some(&subscription);
        match self.group {
            Some(_) if same && self.lost => {
                // The group had lost us, and librdkafka joins again by itself.
                self.lost = false;
                return Ok(());
            }
            // It was fenced, and not by its group, which has given it its tasks and would never
            // tell of them again: it leaves, and joins anew.
            Some(_) if same => self.fenced(),
            Some(_) => return Err(Error::Fatal("the client has subscribed already".into())),
            None => {}
        }
        self.id = client_id(&self.cluster.config.process_id, &subscription);
        let id = self.id.clone();
        self.producer()?.join(id);
        // Whoever used our name before is fenced, and its open transaction ended, before the group
        // gives us any task.
        let settled = self.producer()?.settle();
        self.patient(settled)?;
        let joined = ClassicGroup::join(&self.cluster, subscription.clone(), &self.waker)?;
        self.group = Some(Box::new(joined));
        if self.subscription.replace(subscription).is_none() {
            // What was read before is read on by a reader that has statistics.
            self.sources = None;
        }
        (self.lost, self.untold) = (false, false);
        Ok(())
    }

    fn poll(&mut self, wait: Duration) -> Result<Event> {
        for wait in [wait, Duration::ZERO] {
            // That nothing has happened is no answer of the cluster's.
            match self.group_event() {
                Ok(None) => {}
                Ok(Some(event)) => return self.patient(Ok(event)),
                Err(error) => return self.patient(Err(error)),
            }
            if self.news() {
                return Ok(Event::Ready);
            }
            if wait.is_zero() || !self.waker.wait(wait) {
                break;
            }
        }
        Ok(Event::Idle)
    }

    fn acknowledge(&mut self, tasks: &[TaskId]) -> Result<()> {
        self.subscription()?;
        if let Some(task) = tasks.iter().find(|task| !self.revoking.contains(task)) {
            return Err(Error::Fatal(format!("{task} is not being revoked")));
        }
        for task in tasks {
            self.revoking.remove(task);
            self.active.remove(task);
        }
        let active = &self.active;
        self.inputs.retain(|_, task| active.contains(task));
        if let Some(sources) = &mut self.sources {
            let gone: BTreeSet<_> = tasks.iter().copied().collect();
            let of_gone = |at: &TopicPartition| {
                let mut all = self.subscription.iter().flat_map(|s| &s.tasks);
                all.any(|task| gone.contains(&task.task) && task.inputs.contains(at))
            };
            sources.retain(|at| !of_gone(at));
        }
        match &mut self.group {
            Some(group) if self.revoking.is_empty() => group.let_go(),
            _ => Ok(()),
        }
    }

    fn leave(&mut self) -> Result<()> {
        self.abort_open();
        self.forget_tasks();
        (self.group, self.subscription) = (None, None);
        (self.lost, self.untold) = (false, false);
        Ok(())
    }

    fn instances(&mut self) -> Result<Vec<Instance>> {
        let group = self.group.iter().filter(|_| !self.lost);
        Ok(group.flat_map(|group| group.instances()).cloned().collect())
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<Committed>>> {
        let group = self.subscription()?.group.clone();
        let found = self.cluster.places(&group, partitions);
        let found = self.patient(found)?;
        // Nobody else can commit for these any more; but what was written before may be new to us.
        if let Some(sources) = &mut self.sources {
            sources.forget_ends();
        }
        Ok(found)
    }

    fn seek(&mut self, partition: &TopicPartition, offset: Offset) -> Result<()> {
        self.owned(partition)?;
        self.sources()?.seek(partition, offset)
    }

    fn fetch(&mut self, partition: &TopicPartition, max: usize) -> Result<Option<Records>> {
        self.owned(partition)?;
        if !self.sources()?.is_open(partition) {
            let place = self.committed(std::slice::from_ref(partition))?;
            let place = place.into_iter().flatten().next();
            let place = place.map(|place| place.offset);
            let from = self.sources()?.broken_off(partition).or(place);
            let from = from.map_or_else(|| self.cluster.start(partition), Ok)?;
            self.sources()?.seek(partition, from)?;
        }
        let batch = self.sources()?.take(partition, max, usize::MAX)?;
        Ok(batch.map(Records::all))
    }

    fn position(&mut self, partition: &TopicPartition) -> Result<Offset> {
        self.owned(partition)?;
        let position = self.sources()?.position(partition);
        Ok(position.unwrap_or_default())
    }

    fn end(&mut self, partition: &TopicPartition) -> Result<Offset> {
        if self.inputs.contains_key(partition)
            && let Some(end) = self.sources()?.end(partition)
        {
            return Ok(end);
        }
        let end = self.cluster.end(partition);
        self.patient(end)
    }

    fn end_uncommitted(&mut self, partition: &TopicPartition) -> Result<Offset> {
        let end = self.cluster.end_uncommitted(partition);
        self.patient(end)
    }

    fn start(&mut self, partition: &TopicPartition) -> Result<Offset> {
        let start = self.cluster.start(partition);
        self.patient(start)
    }

    fn offset_for_time(&mut self, partition: &TopicPartition, timestamp: i64) -> Result<Offset> {
        let found = self.cluster.offset_for_time(partition, timestamp);
        let found = self.patient(found)?;
        // It may be the mark of a transaction, which has the time at which that was committed.
        self.scan_for_time(partition, found, timestamp)
    }

    fn send(
        &mut self,
        topic: &str,
        partition: Option<Partition>,
        record: RawRecord<'_>,
    ) -> Result<()> {
        match self.producer()?.send(topic, partition, record) {
            Ok(()) => {
                self.sending.answered();
                Ok(())
            }
            Err(error) => Err(self.sending.failed(error)),
        }
    }

    fn commit(
        &mut self,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Commit> {
        self.may_commit(places)?;
        let result = self.try_commit(places, None);
        self.ended(transaction, result)
    }

    fn begin_commit(
        &mut self,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Option<Commit>> {
        if self.cluster.config.guarantee == Guarantee::AtLeastOnce {
            return self.commit(transaction, places).map(Some);
        }
        self.may_commit(places)?;
        let places = self.fenced_places(places, None)?;
        if places.is_none() && !self.producer()?.is_open() {
            return Ok(Some(Commit::default()));
        }
        self.producer()?;
        if self.committer.is_none() {
            self.committer = Some(Committer::start(&self.id, &self.waker)?);
        }
        if let (Some(committer), Some(producer)) = (&mut self.committer, self.producer.take()) {
            committer.begin(Job { producer, places })?;
            (self.begun, self.finished) = (Some(transaction), None);
        }
        Ok(None)
    }

    fn poll_commit(&mut self, wait: Duration) -> Result<Option<Commit>> {
        let Some(transaction) = self.begun else {
            return Err(Error::Fatal("no commit was begun".into()));
        };
        if self.producer.is_none() {
            self.bring_back(wait)?;
        }
        let Some(finished) = self.finished.take() else {
            return Ok(None);
        };
        self.begun = None;
        self.ended(transaction, finished).map(Some)
    }

    fn record_bytes_max(&self) -> usize {
        self.cluster.config.record_bytes_max()
    }

    fn abort(&mut self) -> Result<()> {
        self.abort_open();
        Ok(())
    }

    fn resolve(
        &mut self,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Outcome> {
        self.settle(transaction, places)
    }

    fn read(&mut self, partition: &TopicPartition, from: Offset, max_bytes: usize) -> Result<Page> {
        let waker = Arc::clone(&self.waker);
        let mut records = self.sources()?.page(partition, from, max_bytes)?;
        let mut end = self.sources()?.asked_end(partition);
        if matches!(end, Ok(end) if from > end) {
            // Others have written since it was asked for.
            self.sources()?.forget_ends();
            end = self.sources()?.asked_end(partition);
        }
        let end = self.patient(end)?;
        let sources = self.sources()?;
        if from > end {
            return Err(sources.out_of_range(partition, from));
        }
        let position = |sources: &mut Sources| sources.position(partition).unwrap_or(from);
        let mut next = position(sources);
        if records.is_none() && next < end {
            waker.wait(READ_WAIT);
            records = sources.page(partition, next, max_bytes)?;
            next = position(sources);
        }
        let end = sources.asked_end(partition)?.max(next);
        let records = records.unwrap_or_else(|| Records::all(Arc::default()));
        self.patience.answered();
        Ok(Page { records, next, end })
    }

    fn committed_as(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<Committed>>> {
        let found = self.cluster.places(group, partitions);
        self.patient(found)
    }

    fn commit_as(
        &mut self,
        group: &str,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Commit> {
        self.commit_for(group, transaction, places)
    }
}
