//! The producing half of a client: one transaction at a time, by the rules that make it safe.
//!
//! Invariants: places are sent only after every record is acknowledged; a producer of which any
//! request timed out, or whose connection broke, is replaced before the next transaction, because
//! with the transaction protocol that librdkafka speaks a late request could fall into that one; a
//! commit of which it is not known whether it happened is called unknown and nothing else.

#[cfg(test)]
mod tests;

use crate::{
    broker::Cluster,
    config::Guarantee,
    errors::{Elapsed, Reaction, answer, fatal, refused},
    ffi::{Code, Context, GroupMetadata, Handle, KafkaError, Outgoing, PartitionList, Slot, Topic},
    wake::Waker,
};
use millstream_core::record::{Offset, Partition, RawRecord, TopicPartition};
use millstream_log::{Error, Result, murmur2};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long one transactional request is waited for.
const REQUEST: Duration = Duration::from_secs(5);
/// How often a request that says it may be made again is made again, before the transaction is
/// given up or its outcome called unknown.
const AGAIN_MAX: usize = 6;
/// How much longer than librdkafka tries to deliver a record it is waited for: it looks once a
/// second which ones are too old, and a request on its way is waited for.
const SETTLE: Duration = Duration::from_secs(5);
/// How long a full queue is waited for at a time.
const FULL_WAIT: Duration = Duration::from_millis(50);
/// Deliveries are looked at after so many records at the latest.
const SERVE_EVERY: u32 = 1_000;

/// A topic written to.
struct Target {
    topic: Topic,
    name: Arc<str>,
    /// One for each partition, each in a place of its own, because librdkafka has their addresses
    /// and a topic may get more.
    slots: Vec<Arc<Slot>>,
    /// The partition of the next record without a key.
    turn: u32,
}

/// How a transaction stands.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Closed,
    Open,
    /// It can only be aborted, for this reason.
    Failed(String),
}

/// A producer, made when the first record is sent.
pub(crate) struct Producer {
    cluster: Arc<Cluster>,
    waker: Arc<Waker>,
    /// The transactional id and the `client.id`.
    id: String,
    /// Whether there are statistics. They wait in memory until somebody serves the handle.
    tells: bool,
    handle: Option<Arc<Handle>>,
    /// Within this time every record of the handle's is acknowledged or given up.
    settles: Duration,
    initialised: bool,
    standing: Standing,
    targets: Vec<Target>,
    names: BTreeMap<Arc<str>, usize>,
    /// Partitions written to in this transaction, as places in `targets` and their slots.
    touched: Vec<(usize, Partition)>,
    /// Where a transaction ended of which it is not known whether it was committed.
    tried: Vec<(TopicPartition, Offset)>,
    recent: usize,
    unserved: u32,
}

impl Producer {
    pub(crate) fn new(cluster: &Arc<Cluster>, waker: &Arc<Waker>, id: String) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            waker: Arc::clone(waker),
            id,
            tells: false,
            handle: None,
            settles: SETTLE,
            initialised: false,
            standing: Standing::Closed,
            targets: Vec::new(),
            names: BTreeMap::new(),
            touched: Vec::new(),
            tried: Vec::new(),
            recent: 0,
            unserved: 0,
        }
    }

    fn transactional(&self) -> bool {
        self.cluster.config.guarantee == Guarantee::ExactlyOnceV2
    }

    /// A member's producer, under its name; what was open is gone. A member is polled often, and
    /// its producer served with it, so that it may have statistics.
    pub(crate) fn join(&mut self, id: String) {
        if self.id != id || !self.tells {
            self.discard();
            (self.id, self.tells) = (id, true);
        }
    }

    /// Hears what there is to hear.
    pub(crate) fn serve(&self) {
        if let Some(handle) = &self.handle {
            handle.serve(Duration::ZERO);
        }
    }

    /// The handle, made and initialised: whoever had our id before is fenced, and what it left open
    /// is ended.
    fn ready(&mut self) -> Result<Arc<Handle>> {
        let handle = match &self.handle {
            Some(handle) => Arc::clone(handle),
            None => {
                let context = Context::new(Arc::clone(&self.waker));
                if self.tells {
                    self.cluster.tellers.add(&context);
                }
                let (id, client) = (
                    self.transactional().then_some(&*self.id),
                    (&*self.id, self.tells),
                );
                let handle = self.cluster.config.producer(client, id, context)?;
                (self.initialised, self.standing) = (false, Standing::Closed);
                self.settles = self.delivery_limit(&handle) + SETTLE;
                self.handle = Some(Arc::clone(&handle));
                handle
            }
        };
        if self.transactional() && !self.initialised {
            if let Err(error) = handle.init_transactions(REQUEST) {
                let told = refused("initialising transactions", &error);
                if !matches!(told, Error::Retry(_)) {
                    self.discard();
                }
                return Err(told);
            }
            self.initialised = true;
        }
        Ok(handle)
    }

    /// For how long librdkafka tries to deliver a record. Where that is without end, it tries no
    /// longer than a transaction lives, or than a cluster is waited for at all.
    fn delivery_limit(&self, handle: &Handle) -> Duration {
        let positive = |key| handle.setting(key).filter(|millis| *millis > 0);
        let millis = positive("message.timeout.ms").or_else(|| {
            let transactional = self.transactional();
            positive("transaction.timeout.ms").filter(|_| transactional)
        });
        millis.map_or(self.cluster.config.task_timeout, Duration::from_millis)
    }

    /// Makes sure that a transaction is open.
    fn begin(&mut self) -> Result<()> {
        match &self.standing {
            Standing::Open => return Ok(()),
            Standing::Failed(why) => return Err(Error::Retry(why.clone())),
            Standing::Closed => {}
        }
        if self.transactional() && self.handle.as_deref().is_some_and(was_troubled) {
            tracing::debug!(id = self.id, "replacing a producer after trouble");
            self.discard();
        }
        let handle = self.ready()?;
        // What was refused between transactions is of no concern to this one.
        handle.context().take_refusal();
        if self.transactional()
            && let Err(error) = handle.begin_transaction()
        {
            let told = refused("beginning a transaction", &error);
            self.discard();
            return Err(told);
        }
        self.standing = Standing::Open;
        Ok(())
    }

    /// Settles who we are with the cluster: after this no earlier transaction of ours is open.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.discard();
        if self.transactional() {
            self.ready()?;
        }
        Ok(())
    }

    /// Adds a record to the transaction; without a partition the key chooses.
    pub(crate) fn send(
        &mut self,
        topic: &str,
        partition: Option<Partition>,
        record: RawRecord<'_>,
    ) -> Result<()> {
        self.begin()?;
        let number = self.target(topic)?;
        if let Some(partition) = partition {
            self.widen(number, partition)?;
        }
        let target = &mut self.targets[number];
        let count = u32::try_from(target.slots.len()).unwrap_or(u32::MAX);
        let partition = match (partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => murmur2::partition(key, count),
            (None, None) => {
                let turn = target.turn % count;
                target.turn = turn + 1;
                turn
            }
        };
        let target = &self.targets[number];
        let handle = self.handle.as_deref().ok_or_else(gone)?;
        let slot = &target.slots[partition as usize];
        let outgoing = Outgoing {
            topic: &target.topic,
            partition,
            slot,
            key: record.key,
            value: record.value,
            timestamp: record.timestamp,
            headers: record.headers,
        };
        let limit = (self.settles, &self.cluster.elapsed);
        if let Err(error) = produce(handle, &outgoing, limit) {
            return Err(self.not_sent(topic, &record, &error));
        }
        if slot.first_touch() {
            self.touched.push((number, partition));
        }
        self.unserved += 1;
        if self.unserved >= SERVE_EVERY {
            self.unserved = 0;
            handle.serve(Duration::ZERO);
        }
        Ok(())
    }

    fn not_sent(&mut self, topic: &str, record: &RawRecord<'_>, error: &KafkaError) -> Error {
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let size = length(record.key) + length(record.value);
        let what = format!("sending {size} bytes to {topic}");
        match refused(&what, error) {
            Error::Retry(why) => {
                self.standing = Standing::Failed(why.clone());
                Error::Retry(why)
            }
            told => {
                self.discard();
                told
            }
        }
    }

    /// The place of a topic in `targets`, looked up in the cluster the first time.
    fn target(&mut self, name: &str) -> Result<usize> {
        if let Some(target) = self.targets.get(self.recent)
            && &*target.name == name
        {
            return Ok(self.recent);
        }
        if let Some(&number) = self.names.get(name) {
            self.recent = number;
            return Ok(number);
        }
        let handle = self.handle.as_ref().ok_or_else(gone)?;
        let topic = Topic::new(handle, name).map_err(fatal)?;
        let count = self.partitions(&topic, name, 0)?;
        let target = Target {
            topic,
            name: name.into(),
            slots: (0..count).map(|_| Arc::new(Slot::new())).collect(),
            turn: 0,
        };
        self.names
            .insert(Arc::clone(&target.name), self.targets.len());
        self.targets.push(target);
        self.recent = self.targets.len() - 1;
        Ok(self.recent)
    }

    /// Makes sure that a topic has a partition: it may have got it since it was looked up.
    fn widen(&mut self, number: usize, partition: Partition) -> Result<()> {
        let target = &self.targets[number];
        if (partition as usize) < target.slots.len() {
            return Ok(());
        }
        let count = self.partitions(&target.topic, &target.name, partition)?;
        let slots = &mut self.targets[number].slots;
        slots.resize_with(count as usize, || Arc::new(Slot::new()));
        Ok(())
    }

    /// How many partitions a topic has, if it has this one. The producer itself must know it, which
    /// asks any broker; one that does not know it yet may hear of it.
    fn partitions(&self, topic: &Topic, name: &str, partition: Partition) -> Result<Partition> {
        let known = topic.partitions(REQUEST);
        let known = known.map_err(|error| refused("asking for a topic", &error))?;
        if let Some(count) = known.filter(|count| partition < *count) {
            return Ok(count);
        }
        let there = self.cluster.describe(name)?;
        match there.map_or(0, |topic| topic.partitions) {
            0 => Err(self.cluster.unknown(name, name.to_owned())),
            count if partition < count => {
                Err(Error::Retry(format!("{name}-{partition} is not known yet")))
            }
            _ => Err(Error::UnknownTopic(format!("{name}-{partition}"))),
        }
    }

    /// How long a commit may take: acknowledgements, and three requests.
    pub(crate) fn commit_limit(&self) -> Duration {
        let requests = u32::try_from(3 * AGAIN_MAX).unwrap_or(u32::MAX);
        self.settles + REQUEST * requests
    }

    /// Whether there is anything to commit.
    pub(crate) fn is_open(&self) -> bool {
        self.standing != Standing::Closed
    }

    /// Makes the transaction visible, with places of a group if there are some. Without
    /// transactions this only waits for the acknowledgements: the caller commits the places.
    pub(crate) fn commit(
        &mut self,
        places: Option<(&PartitionList, &GroupMetadata)>,
    ) -> Result<Vec<(TopicPartition, Offset)>> {
        self.begin()?;
        let handle = Arc::clone(self.handle.as_ref().ok_or_else(gone)?);
        if let Err(error) = handle.flush(self.settles) {
            return Err(self.give_up("waiting for acknowledgements", &error));
        }
        if let Some(error) = handle.context().take_refusal() {
            return Err(self.give_up("sending records", &error));
        }
        if self.transactional() {
            if let Some((places, group)) = places {
                let sent = again(|| handle.send_offsets(places, group, REQUEST));
                if let Err(error) = sent {
                    return Err(self.give_up("committing places", &error));
                }
            }
            self.end_transaction(&handle)?;
        }
        self.standing = Standing::Closed;
        let ends = self.ends();
        if was_troubled(&handle) {
            tracing::debug!(id = self.id, "replacing a producer after trouble");
            self.discard();
        }
        Ok(ends)
    }

    fn end_transaction(&mut self, handle: &Handle) -> Result<()> {
        let Err(error) = again(|| handle.commit_transaction(REQUEST)) else {
            return Ok(());
        };
        if error.abortable {
            return Err(self.give_up("committing", &error));
        }
        // It may have been committed all the same, and then these are its ends.
        self.tried = self.ends();
        self.discard();
        Err(Error::UnknownOutcome(format!("committing: {error}")))
    }

    /// Where the transaction ended whose outcome is unknown.
    pub(crate) fn take_tried(&mut self) -> Vec<(TopicPartition, Offset)> {
        std::mem::take(&mut self.tried)
    }

    /// A transaction that cannot be committed any more. Whether it is worth trying again is for the
    /// error to say.
    fn give_up(&mut self, what: &str, error: &KafkaError) -> Error {
        let told = refused(what, error);
        match &told {
            Error::Retry(why) => self.standing = Standing::Failed(why.clone()),
            _ if error.abortable => {
                // A fenced member's transaction holds up everybody else's reading.
                self.standing = Standing::Failed(what.to_owned());
                self.abort();
            }
            _ => self.discard(),
        }
        told
    }

    /// Where the transaction's records ended, per partition.
    fn ends(&mut self) -> Vec<(TopicPartition, Offset)> {
        let touched = std::mem::take(&mut self.touched);
        let ends = touched.iter().filter_map(|(number, partition)| {
            let target = &self.targets[*number];
            let end = target.slots[*partition as usize].take()?;
            Some((
                TopicPartition::new(Arc::clone(&target.name), *partition),
                end,
            ))
        });
        ends.collect()
    }

    /// Drops the transaction.
    pub(crate) fn abort(&mut self) {
        if self.standing != Standing::Closed
            && self.transactional()
            && let Some(handle) = self.handle.clone()
        {
            let aborted = again(|| handle.abort_transaction(REQUEST));
            if aborted.is_err() || was_troubled(&handle) {
                // The next producer of our name ends what is still open.
                self.discard();
            }
        }
        if !self.transactional() {
            // What waits to be sent belongs to tasks that may be another's by now, and would
            // overwrite in its changelog what that one writes. What is on its way cannot be helped.
            self.discard();
        }
        self.standing = Standing::Closed;
        self.ends();
    }

    /// Forgets the handle and all that hangs on it: topics first, then the handle, and last the
    /// slots, to which it may write until it is gone.
    fn discard(&mut self) {
        self.standing = Standing::Closed;
        self.names.clear();
        self.touched.clear();
        (self.recent, self.initialised) = (0, false);
        let targets = std::mem::take(&mut self.targets);
        let slots: Vec<_> = targets.into_iter().map(|target| target.slots).collect();
        drop(self.handle.take());
        drop(slots);
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.discard();
    }
}

fn gone() -> Error {
    Error::Retry("the producer is gone".into())
}

/// Whether there was trouble since the last call, also of what was not heard yet.
fn was_troubled(handle: &Handle) -> bool {
    handle.serve(Duration::ZERO);
    handle.context().take_trouble()
}

/// Sends a record, waiting for room where there is none: for as long as librdkafka may take to make
/// some, by delivering or giving up what is before it.
fn produce(
    handle: &Handle,
    record: &Outgoing<'_>,
    (limit, elapsed): (Duration, &Elapsed),
) -> std::result::Result<(), KafkaError> {
    let mut since = None;
    loop {
        match handle.produce(record) {
            Err(error) if error.code == Code::RD_KAFKA_RESP_ERR__QUEUE_FULL => {
                let now = elapsed();
                if now.saturating_sub(*since.get_or_insert(now)) >= limit {
                    return Err(error);
                }
                handle.serve(FULL_WAIT);
            }
            settled => return settled,
        }
    }
}

/// Makes a request that may be made again, a bounded number of times.
fn again(
    mut request: impl FnMut() -> std::result::Result<(), KafkaError>,
) -> std::result::Result<(), KafkaError> {
    let mut result = request();
    for _ in 1..AGAIN_MAX {
        match &result {
            Err(error) if !error.fatal && !error.abortable && answer(error) == Reaction::Retry => {
                result = request();
            }
            _ => break,
        }
    }
    result
}
