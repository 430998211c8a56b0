//! `TopologyTestDriver`: a program on one thread and one partition, with no log at all.
//!
//! It commits after every record, as Kafka Streams' driver does, and follows records through the
//! program's own repartition topics before it returns. Calls of asynchronous operators are made and
//! answered meanwhile, on the caller's thread. Invariant: equal calls give equal outputs.

use crate::{
    batch::{RecordBatch, Records},
    calls::{Executor, InlineExecutor},
    dsl::GlobalStore,
    error::{Error, Result},
    record::{Headers, Record, TaskId, Timestamp, TopicPartition},
    store::{StateStore, StoreHandle},
    task::{Dropped, Policies, SourceChangelogs, Supply, Task, TaskConfig},
    topic::Topic,
    topology::{GlobalWriter, Topology},
};
use millstream_state::{Backend, Column, MemoryBackend, Position, WriteBatch};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

/// The `application.id` of a driver's program.
const APPLICATION: &str = "test";
/// Records a driver takes in one `run` before it believes that the program feeds itself for ever.
const STEPS_MAX: usize = 1_000_000;

/// A record on its way through the driver.
#[derive(Clone, Debug, PartialEq)]
struct Raw {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp: Timestamp,
    headers: Headers,
}

/// Runs a topology record by record. Its wall clock begins at 0.
///
/// See [`StreamsBuilder`](crate::dsl::StreamsBuilder) for an example.
pub struct TopologyTestDriver {
    /// The program for the topics that it has met so far, where it reads some by patterns.
    topology: Topology,
    /// The program as it was declared, if it does.
    patterns: Option<Topology>,
    config: TaskConfig,
    now: Timestamp,
    /// One for each subtopology.
    tasks: Vec<Task>,
    /// The rows of the global tables, a column each, and what of their topics was dropped.
    globals: Arc<dyn Backend>,
    writers: Vec<GlobalWriter>,
    policies: Policies,
    dropped: Dropped,
    executor: Arc<dyn Executor>,
    offsets: BTreeMap<String, i64>,
    outputs: BTreeMap<String, VecDeque<Raw>>,
    changelog: BTreeMap<String, Vec<Raw>>,
}

impl TopologyTestDriver {
    /// Opens all tasks of a program, over memory.
    ///
    /// # Errors
    /// Where the topology cannot be run.
    pub fn new(topology: Topology) -> Result<Self> {
        Self::with_config(topology, &TaskConfig::new(APPLICATION))
    }

    /// As [`TopologyTestDriver::new`], with error policy, dead-letter topic, and perhaps an
    /// executor of one's own for asynchronous operators.
    ///
    /// # Errors
    /// Where the topology cannot be run.
    pub fn with_config(topology: Topology, config: &TaskConfig) -> Result<Self> {
        // It restores nothing; but the changelogs of tables are there to be looked at.
        let copies = topology.stores().iter().filter_map(|s| s.source.as_ref());
        let read_only = copies.filter(|copy| copy.read_only);
        let read_only = read_only.map(|copy| copy.topic.clone()).collect();
        let mut config = TaskConfig {
            source_changelogs: SourceChangelogs::Of(read_only),
            ..config.clone()
        };
        let executor = (config.executor)
            .get_or_insert_with(|| Arc::new(InlineExecutor::new()))
            .clone();
        let (topology, patterns) = match topology.has_patterns() {
            true => (
                topology.matching(&config.application_id, None, [])?,
                Some(topology),
            ),
            false => (topology, None),
        };
        let mut tasks = Vec::new();
        let tables = topology.globals().iter().map(|global| &*global.name);
        let globals: Arc<dyn Backend> = Arc::new(MemoryBackend::new(&tables.collect::<Vec<_>>()));
        let numbered = (0u16..).map(Column).zip(topology.globals());
        let writers = numbered.map(|(column, global)| global.writer(&globals, column));
        let writers = writers.collect();
        for (subtopology, sub) in (0u32..).zip(topology.subtopologies()) {
            let names: Vec<_> = sub
                .stores
                .iter()
                .map(|id| topology.store(*id).name.as_str())
                .collect();
            let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new(&names));
            let id = TaskId {
                subtopology,
                partition: 0,
            };
            let rows = Some(globals.clone());
            let mut task = Task::open_with(&topology, id, &config, backend, rows)?;
            task.advance_wall_clock(0)?;
            tasks.push(task);
        }
        let (offsets, outputs, changelog) = Default::default();
        Ok(Self {
            topology,
            policies: config.policies,
            patterns,
            config,
            now: 0,
            tasks,
            globals,
            writers,
            dropped: Dropped::default(),
            executor,
            offsets,
            outputs,
            changelog,
        })
    }

    /// Puts one record on an input topic and runs the program until it is quiet.
    ///
    /// # Errors
    /// What the program's error policy does not swallow, and an unknown topic.
    pub fn pipe<K, V>(
        &mut self,
        topic: &Topic<K, V>,
        key: K,
        value: V,
        timestamp: Timestamp,
    ) -> Result<()> {
        self.pipe_record(topic, &Record::new(key, value, timestamp))
    }

    /// Puts one record with headers on an input topic and runs the program until it is quiet. A
    /// value that has headers of its own ([`with_headers`](crate::serde::with_headers())) says what
    /// the record's are, also if it has none.
    ///
    /// # Errors
    /// As [`TopologyTestDriver::pipe`].
    pub fn pipe_record<K, V>(&mut self, topic: &Topic<K, V>, record: &Record<K, V>) -> Result<()> {
        let (mut batch, value) = (RecordBatch::new(), topic.value.apart());
        batch.encode(
            record.timestamp,
            value.headers_or(&record.value, &record.headers),
            |out| topic.key.encode(&record.key, out),
            |out| value.encode(&record.value, out),
        )?;
        self.pipe_batch(topic.name, batch)
    }

    /// Puts a deletion on an input topic that is read as a table.
    ///
    /// # Errors
    /// As [`TopologyTestDriver::pipe`].
    pub fn pipe_tombstone<K, V>(
        &mut self,
        topic: &Topic<K, V>,
        key: &K,
        timestamp: Timestamp,
    ) -> Result<()> {
        let mut bytes = Vec::new();
        topic.key.encode(key, &mut bytes)?;
        self.pipe_raw(topic.name, Some(&bytes), None, timestamp)
    }

    /// Puts any bytes on an input topic.
    ///
    /// # Errors
    /// As [`TopologyTestDriver::pipe`].
    pub fn pipe_raw(
        &mut self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: Timestamp,
    ) -> Result<()> {
        let mut batch = RecordBatch::new();
        let headers = Headers::NONE;
        let record = crate::record::RawRecord {
            key,
            value,
            timestamp,
            headers: &headers,
        };
        if !batch.push(0, record) {
            return Err(Error::serialization("the record is too large"));
        }
        self.pipe_batch(topic, batch)
    }

    fn pipe_batch(&mut self, topic: &str, batch: RecordBatch) -> Result<()> {
        let input = TopicPartition::new(topic, 0);
        let mut globals = self.topology.globals().iter();
        let known = globals.any(|global| global.topic == topic);
        let reads = |driver: &Self| driver.tasks.iter().any(|t| t.inputs().contains(&input));
        if !known && !reads(self) {
            self.take_up(topic)?;
            if !reads(self) {
                return Err(Error::topology(format!(
                    "the program does not read the topic {topic:?}"
                )));
            }
        }
        self.feed(&input, batch)?;
        self.run()
    }

    /// Lets the program read a topic if a pattern of it matches. Tasks that read one more go on
    /// from what they have committed, as when an instance starts again.
    fn take_up(&mut self, topic: &str) -> Result<()> {
        let Some(declared) = &self.patterns else {
            return Ok(());
        };
        let met = self.topology.user_sources();
        let topics = met.iter().map(String::as_str).chain([topic]);
        let dead = self.config.dead_letter_topic.as_deref();
        let wider = declared.matching(&self.config.application_id, dead, topics)?;
        for (number, task) in self.tasks.iter_mut().enumerate() {
            let (was, is) = (
                &self.topology.subtopologies()[number],
                &wider.subtopologies()[number],
            );
            if was.sources == is.sources {
                continue;
            }
            let rows = Some(self.globals.clone());
            let (id, backend) = (task.id(), task.backend().clone());
            let mut next = Task::open_with(&wider, id, &self.config, backend, rows)?;
            for input in 0..next.inputs().len() {
                let known = task
                    .inputs()
                    .iter()
                    .position(|at| *at == next.inputs()[input]);
                if let Some(known) = known {
                    next.resume(input, task.place(known));
                }
            }
            next.advance_wall_clock(self.now)?;
            self.dropped = self.dropped + task.dropped();
            *task = next;
        }
        self.topology = wider;
        Ok(())
    }

    /// Moves the wall clock to a time; punctuations that are due are called.
    ///
    /// # Errors
    /// What the punctuated processor returns.
    pub fn advance_wall_clock(&mut self, now: Timestamp) -> Result<()> {
        self.now = now;
        for task in &mut self.tasks {
            task.advance_wall_clock(now)?;
        }
        self.run()
    }

    /// Takes the records that were written to a topic since the last look.
    ///
    /// # Errors
    /// Where the topic's serdes cannot read them.
    pub fn read<K, V>(&mut self, topic: &Topic<K, V>) -> Result<Vec<Record<K, V>>> {
        let records = self.outputs.remove(topic.name).unwrap_or_default();
        let value = topic.value.apart();
        let decode = |raw: Raw| {
            Ok(Record {
                key: topic.key.decode(raw.key.as_deref())?,
                value: value.decode(raw.value.as_deref(), &raw.headers)?,
                timestamp: raw.timestamp,
                headers: raw.headers,
            })
        };
        records.into_iter().map(decode).collect()
    }

    /// Takes keys and values written to a topic since the last look, tombstones being `None`.
    ///
    /// # Errors
    /// Where the topic's serdes cannot read them.
    pub fn read_key_values<K, V>(&mut self, topic: &Topic<K, V>) -> Result<Vec<(K, Option<V>)>> {
        let records = self.outputs.remove(topic.name).unwrap_or_default();
        let format = topic.value.apart();
        let decode = |raw: Raw| {
            let value = raw
                .value
                .map(|bytes| format.decode(Some(&bytes), &raw.headers))
                .transpose()?;
            Ok((topic.key.decode(raw.key.as_deref())?, value))
        };
        records.into_iter().map(decode).collect()
    }

    /// Takes the bytes written to a topic since the last look: key, value, timestamp, headers.
    pub fn read_raw(&mut self, topic: &str) -> Vec<RawOutput> {
        let records = self.outputs.remove(topic).unwrap_or_default();
        records
            .into_iter()
            .map(|raw| (raw.key, raw.value, raw.timestamp, raw.headers))
            .collect()
    }

    /// All that was written to a store's changelog so far.
    pub fn changelog(&self, store: &str) -> Vec<RawOutput> {
        let name = crate::topology::changelog_name(&self.config.application_id, store);
        let records = self.changelog.get(&name).cloned().unwrap_or_default();
        records
            .into_iter()
            .map(|raw| (raw.key, raw.value, raw.timestamp, raw.headers))
            .collect()
    }

    /// A store of the program, to look at or to fill.
    ///
    /// # Errors
    /// Where the handle is of another program.
    pub fn store<S: StateStore>(&mut self, handle: StoreHandle<S>) -> Result<&mut S> {
        let subs = self.topology.subtopologies();
        let found = subs.iter().position(|sub| sub.stores.contains(&handle.id));
        let number = found.ok_or_else(|| Error::topology("the store is of another program"))?;
        Ok(self.tasks[number].context().store(handle.reference()))
    }

    /// The row of a key in a global table, and its time.
    ///
    /// # Errors
    /// Where the key cannot be encoded or the row not be decoded.
    pub fn global_row<K, V>(
        &self,
        table: GlobalStore<K, V>,
        key: &K,
    ) -> Result<Option<(V, Timestamp)>> {
        table.row(Some(self.globals.clone()), key)
    }

    /// What was dropped so far, over all tasks and global tables.
    pub fn dropped(&self) -> Dropped {
        self.tasks
            .iter()
            .map(Task::dropped)
            .fold(self.dropped, |a, b| a + b)
    }

    /// The program; where it reads by patterns, for the topics that it has met.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Global tables hear of a record first: it is there when a task takes it, or any other.
    fn feed(&mut self, to: &TopicPartition, mut batch: RecordBatch) -> Result<()> {
        let next = self.offsets.entry(to.topic.to_string()).or_default();
        batch.rebase(*next);
        *next = batch.next_offset().unwrap_or(*next);
        let mut rows = WriteBatch::new();
        let read = self.topology.globals().iter().zip(&mut self.writers);
        for (_, writer) in read.filter(|(global, _)| global.topic == *to.topic) {
            writer.begin();
            for (offset, record) in batch.iter() {
                let (from, dropped) = ((to, offset, record), &mut self.dropped);
                writer.apply(from, &mut rows, self.policies, dropped)?;
            }
            writer.end(&mut rows)?;
        }
        self.globals.apply(&rows)?;
        for writer in &mut self.writers {
            writer.applied()?;
        }
        let records = Records::all(Arc::new(batch));
        for task in &mut self.tasks {
            if let Some(input) = task.inputs().iter().position(|tp| tp == to) {
                task.add(input, records.clone());
            }
        }
        Ok(())
    }

    /// Runs all tasks in turn, one record and one commit at a time, until no queue has a record.
    fn run(&mut self) -> Result<()> {
        for _ in 0..STEPS_MAX {
            let mut busy = false;
            for number in 0..self.tasks.len() {
                busy |= self.step(number)?;
            }
            if !busy {
                return Ok(());
            }
        }
        Err(Error::topology("the program feeds itself without end"))
    }

    /// Takes a record of a task, if it has one, and says whether there may be more to do.
    fn step(&mut self, number: usize) -> Result<bool> {
        let task = &mut self.tasks[number];
        for input in 0..task.inputs().len() {
            task.set_supply(input, Supply::Exhausted);
        }
        let processed = process_one(task, &*self.executor);
        if processed.is_err() {
            task.abort()?;
        }
        let mut busy = processed?;
        let mut made = Vec::new();
        for output in task.outputs() {
            if !output.records.is_empty() {
                made.push((output.topic.clone(), std::mem::take(&mut output.records)));
                output.clear();
            }
        }
        for changes in &task.prepare_commit()?.changes {
            if let Some(topic) = &changes.changelog {
                let log = self.changelog.entry(topic.topic.to_string()).or_default();
                log.extend(changes.records.logged().map(owned));
            }
        }
        let position = Position {
            offset: 0,
            reach: 0,
            topic_id: 0,
            applied_at: 0,
            transaction: 0,
        };
        task.committed(|_| Some(position))?;
        for (topic, batch) in made {
            let to = TopicPartition::new(topic.clone(), 0);
            let internal = self.tasks.iter().any(|task| task.inputs().contains(&to));
            let globals = self.topology.globals();
            let read = internal || globals.iter().any(|global| global.topic == *topic);
            if !internal || !topic.ends_with("-repartition") {
                let queue = self.outputs.entry(topic.to_string()).or_default();
                queue.extend(batch.iter().map(|(_, record)| owned(record)));
            }
            if read {
                // Also where nothing was processed: a punctuation may feed its own task.
                busy |= internal;
                self.feed(&to, batch)?;
            }
        }
        Ok(busy)
    }
}

/// Processes one record, if there is one, and waits for all that asynchronous operators make of it;
/// says whether there was one.
fn process_one(task: &mut Task, executor: &dyn Executor) -> Result<bool> {
    let busy = task.process(1)? > 0;
    loop {
        if task.outstanding_calls() == 0 {
            // What waits for the commit may lead to further calls.
            task.flush()?;
            if task.outstanding_calls() == 0 {
                return Ok(busy);
            }
        }
        executor.wait(Duration::MAX);
        task.settle_calls()?;
    }
}

/// A record as bytes: key, value, timestamp, headers.
pub type RawOutput = (Option<Vec<u8>>, Option<Vec<u8>>, Timestamp, Headers);

fn owned(record: crate::record::RawRecord<'_>) -> Raw {
    Raw {
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        timestamp: record.timestamp,
        headers: record.headers.clone(),
    }
}
