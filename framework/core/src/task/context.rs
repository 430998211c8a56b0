//! What operators see of their task: stores, outputs, times, and where the record in hand is from.

use super::refusal::{Answers, Failure, HeldBack};
use super::{
    Dropped, Emission, ErrorReason, Letter, Output, OutputId, TaskConfig, Topics, calls::InHand,
    counts::Tally, place::Spot, timer::Timers,
};
use crate::{
    batch::RecordBatch,
    calls::Executor,
    error::{Error, ErrorKind, Result},
    record::{Headers, Offset, Partition, Record, TaskId, Timestamp, TopicPartition},
    serde::Encoded,
    store::{StateStore, StoreRef, SuppressionBuffer},
    topology::{StoreId, TopicName, check_topic},
};
use millstream_state::Backend;
use std::{collections::BTreeMap, sync::Arc};

/// Where the record in hand comes from.
#[derive(Clone, Debug)]
pub struct RecordMetadata {
    /// Topic and partition.
    pub partition: TopicPartition,
    /// The record's offset; records of a repartition topic share it where they came in one pack.
    pub offset: Offset,
    /// Which of the records with that offset it is, from 0 on. No two records have the same
    /// partition, offset and index.
    pub index: u32,
}

/// The inside of a task, as its operators see it.
pub struct TaskContext {
    id: TaskId,
    application_id: Arc<str>,
    emission: Emission,
    record_bytes_max: usize,
    /// By the stores' numbers in the whole topology; `None` for those of other subtopologies.
    pub(super) stores: Vec<Option<Box<dyn StateStore>>>,
    pub(super) outputs: Vec<Output>,
    /// The rows of all global tables, a column each.
    pub(crate) globals: Option<Arc<dyn Backend>>,
    pub(super) stream_time: Timestamp,
    pub(crate) tally: Tally,
    pub(super) wall_clock: Timestamp,
    pub(crate) timers: Timers,
    /// Whether there were records to process when the task last looked at the wall clock.
    pub(super) has_work: bool,
    pub(super) timestamp: Timestamp,
    /// The task's input partitions, and which of them the record in hand is from.
    pub(super) inputs: Vec<TopicPartition>,
    pub(super) source: Option<usize>,
    pub(super) spot: Spot,
    pub(super) answers: Answers,
    pub(super) dropped: Dropped,
    pub(super) letters: Arc<BTreeMap<Letter, u64>>,
    pub(super) failures: Vec<Failure>,
    /// How many sources could not decode the record in hand.
    pub(super) unread: usize,
    /// The result that is told now, of a record that came before the one in hand.
    pub(super) held: Option<HeldBack>,
    pub(super) commit_requested: bool,
    out_of_order: bool,
    /// The record in hand, where some operator outlives it.
    pub(super) in_hand: Option<InHand>,
    executor: Option<Arc<dyn Executor>>,
    topics: Option<Arc<dyn Topics>>,
}

impl TaskContext {
    pub(crate) fn new(
        id: TaskId,
        config: &TaskConfig,
        stores: Vec<Option<Box<dyn StateStore>>>,
        globals: Option<Arc<dyn Backend>>,
    ) -> Self {
        Self {
            id,
            application_id: config.application_id.clone(),
            emission: config.emission,
            record_bytes_max: config.record_bytes_max.unwrap_or(usize::MAX),
            stores,
            outputs: Vec::new(),
            globals,
            stream_time: Timestamp::MIN,
            tally: Tally::default(),
            wall_clock: Timestamp::MIN,
            timers: Timers::default(),
            has_work: false,
            timestamp: Timestamp::MIN,
            inputs: Vec::new(),
            source: None,
            spot: Spot {
                offset: -1,
                index: 0,
            },
            answers: Answers::default(),
            dropped: Dropped::default(),
            letters: Arc::default(),
            failures: Vec::new(),
            unread: 0,
            held: None,
            commit_requested: false,
            out_of_order: false,
            in_hand: None,
            executor: config.executor.clone(),
            topics: config.topics.clone(),
        }
    }

    /// A store of this task. A reference to a store of another subtopology cannot be had: the DSL
    /// gives them out only to nodes that are connected to the store.
    #[inline]
    #[expect(
        clippy::expect_used,
        reason = "a StoreRef exists only where its store is connected"
    )]
    pub fn store<S: StateStore>(&mut self, at: StoreRef<S>) -> &mut S {
        let store = self.stores[at.id.0]
            .as_mut()
            .expect("the store is in this subtopology");
        store.set_time(self.timestamp);
        store
            .as_any_mut()
            .downcast_mut()
            .expect("a StoreRef has the type of its StoreHandle")
    }

    /// A record of this time, which is not negative, is taken.
    #[inline]
    pub(super) fn see_time(&mut self, timestamp: Timestamp) {
        self.stream_time = self.stream_time.max(timestamp);
        let late = self.stream_time.abs_diff(timestamp);
        self.tally.lateness = self.tally.lateness.saturating_add(late);
        self.tally.ages.take_in(timestamp, self.wall_clock);
    }

    /// The task's name.
    pub fn task_id(&self) -> TaskId {
        self.id
    }

    /// The greatest timestamp of all records this task has processed.
    pub fn stream_time(&self) -> Timestamp {
        self.stream_time
    }

    /// The wall clock as the driver last told it.
    pub fn wall_clock(&self) -> Timestamp {
        self.wall_clock
    }

    /// Whether records waited to be processed when the task last looked at the wall clock: it may
    /// have been kept from them for a while, and is not idle.
    pub(crate) fn has_work(&self) -> bool {
        self.has_work
    }

    /// Who runs calls.
    pub(crate) fn executor(&self) -> Option<Arc<dyn Executor>> {
        self.executor.clone()
    }

    /// When tables tell their changes.
    pub(crate) fn emission(&self) -> Emission {
        self.emission
    }

    /// Goes on as of another time: that of a change which was kept.
    pub(crate) fn at_time(&mut self, timestamp: Timestamp) {
        self.timestamp = timestamp;
    }

    /// The timestamp of the record in hand, or the time of the punctuation.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// Says that another record is in hand, which came before.
    pub(crate) fn set_timestamp(&mut self, timestamp: Timestamp) {
        self.timestamp = timestamp;
    }

    /// Where the record in hand comes from; `None` in a punctuation, and for what was held back.
    pub fn record_metadata(&self) -> Option<RecordMetadata> {
        if self.held.is_some() {
            return None;
        }
        let partition = self.inputs.get(self.source?)?.clone();
        let Spot { offset, index } = self.spot;
        Some(RecordMetadata {
            partition,
            offset,
            index,
        })
    }

    /// The offset of the record in hand.
    pub(crate) fn offset(&self) -> Offset {
        self.spot.offset
    }

    /// Whether the change in hand is of a row that has been followed by another already. Only below
    /// a table with versions does it mean anything.
    pub(crate) fn is_out_of_order(&self) -> bool {
        self.out_of_order
    }

    /// Says so of what is about to go downstream; returns what was said before.
    pub(crate) fn set_out_of_order(&mut self, out_of_order: bool) -> bool {
        std::mem::replace(&mut self.out_of_order, out_of_order)
    }

    /// Asks for a commit soon.
    pub fn request_commit(&mut self) {
        self.commit_requested = true;
    }

    /// The place of a topic's output; known topics keep theirs.
    pub(crate) fn output_id(&mut self, topic: &TopicName) -> OutputId {
        let name = topic.resolve(&self.application_id);
        let to = self.output_named(&name);
        self.outputs[to.0].packed = matches!(topic, TopicName::Repartition(_));
        to
    }

    pub(crate) fn output_named(&mut self, name: &str) -> OutputId {
        let known = self
            .outputs
            .iter()
            .position(|output| &*output.topic == name);
        OutputId(known.unwrap_or_else(|| {
            self.outputs.push(Output {
                topic: name.into(),
                records: RecordBatch::new(),
                packed: false,
                bytes_max: self.record_bytes_max,
                chosen: Vec::new(),
                partitions: None,
            });
            self.outputs.len() - 1
        }))
    }

    /// The full name of an output's topic.
    pub(crate) fn output_topic(&self, to: OutputId) -> &str {
        &self.outputs[to.0].topic
    }

    /// How many partitions an output's topic has; asked once. A task by itself, which knows no
    /// log, has topics of one.
    pub(crate) fn output_partitions(&mut self, to: OutputId) -> Result<Partition> {
        let output = &mut self.outputs[to.0];
        if let Some(partitions) = output.partitions {
            return Ok(partitions);
        }
        let partitions = match &self.topics {
            Some(topics) => topics.partitions(&output.topic)?,
            None => 1,
        };
        output.partitions = Some(partitions);
        Ok(partitions)
    }

    /// Says where the record goes that was emitted last.
    pub(crate) fn place_last(&mut self, to: OutputId, partition: Partition) {
        let output = &mut self.outputs[to.0];
        let last = output.records.len().saturating_sub(1);
        output.chosen.push((last, partition));
    }

    /// A record for which the program's partitioner chose no partition.
    #[cold]
    pub(crate) fn drop_unplaced(&mut self) {
        self.dropped.production += 1;
    }

    /// Says that a topic takes no larger records than these.
    pub(crate) fn limit_output(&mut self, to: OutputId, bytes_max: usize) {
        let output = &mut self.outputs[to.0];
        output.bytes_max = output.bytes_max.min(bytes_max);
    }

    /// The place of an output that a record chooses: names are checked once, when they first come.
    pub(crate) fn output_chosen(&mut self, name: &str) -> Result<OutputId> {
        let known = self.outputs.iter().any(|output| &*output.topic == name);
        if !known && let Err(why) = check_topic(name) {
            let text = format!("the chosen topic name {name:?} {why}");
            return Err(Error::invalid_topic(text));
        }
        let topics = self.topics.as_ref().filter(|_| !known);
        if topics.is_some_and(|topics| !topics.exists(name)) {
            let text = format!("the chosen topic {name:?} does not exist");
            return Err(Error::invalid_topic(text));
        }
        Ok(self.output_named(name))
    }

    /// Encodes a record straight into the output's memory. What has a negative timestamp or is too
    /// large is refused here, where the processor that made it is near: no log takes it, and asked
    /// to, it would drop the transaction.
    #[inline]
    pub(crate) fn emit<K, V>(
        &mut self,
        to: OutputId,
        record: &Record<K, V>,
        headers: &Headers,
        key: impl FnOnce(&K, &mut Vec<u8>) -> Result<Encoded>,
        value: impl FnOnce(&V, &mut Vec<u8>) -> Result<Encoded>,
    ) -> Result<()> {
        if record.timestamp < 0 {
            return Err(negative(record.timestamp));
        }
        let output = &mut self.outputs[to.0];
        output.records.encode(
            record.timestamp,
            headers,
            |out| key(&record.key, out),
            |out| value(&record.value, out),
        )?;
        output.check_last()
    }

    /// How large a record for an output may be.
    pub(super) fn bytes_max(&self, to: OutputId) -> usize {
        self.outputs[to.0].bytes_max
    }

    pub(crate) fn emit_raw(
        &mut self,
        to: OutputId,
        timestamp: Timestamp,
        headers: &Headers,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<()> {
        let write = |bytes: Option<&[u8]>, out: &mut Vec<u8>| {
            Ok(match bytes {
                Some(bytes) => {
                    out.extend_from_slice(bytes);
                    Encoded::Bytes
                }
                None => Encoded::Null,
            })
        };
        let output = &mut self.outputs[to.0];
        output.records.encode(
            timestamp,
            headers,
            |out| write(key, out),
            |out| write(value, out),
        )?;
        output.check_last()
    }

    /// A node refused the record in hand: the source's policy decides what happens.
    ///
    /// # Errors
    /// The error itself where the policy is to fail, and always where storage below a store failed:
    /// to go on then would lose what the record did.
    #[cold]
    pub(crate) fn refuse(&mut self, node: &str, error: Error) -> Result<()> {
        let reason = match error.kind() {
            ErrorKind::Deserialization(_) => ErrorReason::Deserialization,
            _ => ErrorReason::Processing,
        };
        self.refuse_for(reason, node, error)
    }

    /// A source cannot decode the record in hand.
    ///
    /// # Errors
    /// As [`TaskContext::refuse`].
    #[cold]
    pub(crate) fn refuse_unread(&mut self, node: &str, error: Error) -> Result<()> {
        self.unread += 1;
        self.refuse(node, error)
    }

    /// A node could not write what it made of the record in hand: the policy for production
    /// decides.
    ///
    /// # Errors
    /// As [`TaskContext::refuse`].
    #[cold]
    pub(crate) fn refuse_output(&mut self, node: &str, error: Error) -> Result<()> {
        self.refuse_for(ErrorReason::Production, node, error)
    }

    /// The same error, and of which record: the one in hand, where it was not `held` back before.
    #[cold]
    pub(super) fn at_record(&self, node: &str, error: Error, held: Option<&HeldBack>) -> Error {
        if let Some(held) = held {
            return error.at(format!("what was held back at {}, {node}", held.timestamp));
        }
        match self.source.and_then(|input| self.inputs.get(input)) {
            Some(input) => error.at(format!("{input} {}, {node}", self.spot)),
            None => error,
        }
    }

    /// A null key where a key is needed: dropped as Kafka does, and counted.
    #[cold]
    pub(crate) fn drop_null_key(&mut self) -> Result<()> {
        self.dropped.null_key += 1;
        Ok(())
    }

    /// A record that comes too late: dropped as Kafka does, and counted.
    #[cold]
    pub(crate) fn drop_late_record(&mut self) {
        self.dropped.late_record += 1;
    }

    pub(super) fn dirty_bytes(&self) -> usize {
        self.stores
            .iter()
            .flatten()
            .map(|store| store.dirty_bytes())
            .sum()
    }

    pub(super) fn suppression_buffers(&self) -> impl Iterator<Item = SuppressionBuffer> + '_ {
        let stores = self.stores.iter().flatten();
        stores.filter_map(|store| store.suppression_buffer())
    }

    pub(super) fn written_bytes(&self) -> usize {
        let stores = self.stores.iter().flatten();
        stores.map(|store| store.written_bytes()).sum()
    }

    pub(super) fn store_mut(&mut self, id: StoreId) -> Option<&mut Box<dyn StateStore>> {
        self.stores[id.0].as_mut()
    }
}

#[cold]
fn negative(timestamp: Timestamp) -> Error {
    Error::processing(format!("cannot write a record with timestamp {timestamp}"))
}
