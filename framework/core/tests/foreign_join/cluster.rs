//! A cluster in one thread: all tasks of all partitions, and topics whose records are delivered one
//! at a time, from whichever partition the caller chooses.
//!
//! Invariant: within a partition records keep their order, and where the program chooses no
//! partition, equal keys go to one.

use millstream_core::{
    Error,
    batch::{RecordBatch, Records},
    prelude::*,
    record::{Partition as Number, RawRecord, TopicPartition},
    task::{Emission, Place, Supply, Task, TaskConfig, Topics},
    topology::TaskSpec,
};
use millstream_state::{Backend, BufferBudget, Buffered, MemoryBackend, Position};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Key, value, timestamp.
pub(super) type Row = (Vec<u8>, Option<Vec<u8>>, Timestamp);

#[derive(Default)]
struct Partition {
    waiting: VecDeque<Row>,
    next: i64,
}

/// How many bytes of changes tasks hold back before they go below, one after the other: nearly
/// none, a few commits' worth, and more than there are.
const HELD_BYTES: [usize; 3] = [300, 8_000, 1 << 30];

pub(super) struct Cluster {
    specs: Vec<TaskSpec>,
    config: TaskConfig,
    tasks: Vec<Task>,
    backends: Vec<Arc<Buffered>>,
    partitions: BTreeMap<TopicPartition, Partition>,
    /// The number of partitions of each topic that is read.
    counts: Counts,
    /// What was written to topics that nobody reads.
    pub(super) out: Vec<Row>,
    /// The topics that tasks wrote and others read, record by record, and the partitions that the
    /// program chose.
    pub(super) chosen: Vec<(String, Option<Number>)>,
}

#[derive(Clone, Debug, Default)]
struct Counts(BTreeMap<String, u32>);

impl Topics for Counts {
    fn exists(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn partitions(&self, name: &str) -> Result<Number, Error> {
        Ok(self.0[name])
    }
}

impl Cluster {
    pub(super) fn new(
        topology: &Topology,
        emission: Emission,
        counts: impl Fn(&str) -> Option<u32>,
    ) -> Self {
        let layout = topology.layout("app", counts).unwrap();
        let (mut counts, mut partitions) = (Counts::default(), BTreeMap::new());
        for input in layout.tasks.iter().flat_map(|spec| &spec.inputs) {
            let count = counts.0.entry(input.topic.to_string()).or_default();
            *count = (*count).max(input.partition + 1);
            partitions.insert(input.clone(), Partition::default());
        }
        let config = TaskConfig {
            emission,
            topics: Some(Arc::new(counts.clone())),
            ..TaskConfig::new("app")
        };
        let mut cluster = Self {
            specs: layout.tasks,
            config,
            tasks: Vec::new(),
            backends: Vec::new(),
            partitions,
            counts,
            out: Vec::new(),
            chosen: Vec::new(),
        };
        for number in 0..cluster.specs.len() {
            let (task, backend) = cluster.open(topology, number);
            cluster.tasks.push(task);
            cluster.backends.push(backend);
        }
        cluster
    }

    /// A task with empty stores.
    fn open(&self, topology: &Topology, number: usize) -> (Task, Arc<Buffered>) {
        let spec = &self.specs[number];
        let sub = &topology.subtopologies()[spec.id.subtopology as usize];
        let names = sub
            .stores
            .iter()
            .map(|id| topology.store(*id).name.as_str());
        let below = MemoryBackend::new(&names.collect::<Vec<_>>());
        let budget = BufferBudget::new(HELD_BYTES[number % HELD_BYTES.len()]);
        let backend = Arc::new(Buffered::new(Arc::new(below), budget));
        let mut task = Task::open(topology, spec.id, &self.config, backend.clone()).unwrap();
        task.retain_inputs(&spec.inputs);
        (task, backend)
    }

    /// The tasks that read a topic lose their state.
    pub(super) fn lose(&mut self, topology: &Topology, topic: &str) {
        for number in 0..self.specs.len() {
            let inputs = &self.specs[number].inputs;
            if inputs.iter().any(|at| &*at.topic == topic) {
                let places = self.tasks[number].inputs().to_vec();
                (self.tasks[number], self.backends[number]) = self.open(topology, number);
                for (input, at) in places.iter().enumerate() {
                    let next = Place::start(self.partitions[at].next);
                    self.tasks[number].resume(input, next);
                }
            }
        }
    }

    /// Puts a record where its key belongs.
    pub(super) fn send(&mut self, topic: &str, row: Row) {
        self.put(topic, None, row);
    }

    /// Puts a record into a partition, or where its key belongs.
    pub(super) fn put(&mut self, topic: &str, partition: Option<Number>, row: Row) {
        let Some(count) = self.counts.0.get(topic) else {
            self.out.push(row);
            return;
        };
        let mix = |hash: u32, byte: &u8| hash.wrapping_mul(31) ^ u32::from(*byte);
        let by_key = || row.0.iter().fold(17, mix) % count;
        let to = TopicPartition::new(topic, partition.unwrap_or_else(by_key));
        self.partitions.get_mut(&to).unwrap().waiting.push_back(row);
    }

    /// Delivers the next record of one of the partitions that have any, among the topics that are
    /// `wanted`, and commits its task if asked to. `false` where there is nothing to deliver.
    pub(super) fn step(
        &mut self,
        choice: usize,
        commit: bool,
        wanted: impl Fn(&str) -> bool,
    ) -> bool {
        let waiting = self.partitions.iter();
        let waiting = waiting.filter(|(at, p)| !p.waiting.is_empty() && wanted(&at.topic));
        let places: Vec<_> = waiting.map(|(at, _)| at.clone()).collect();
        if places.is_empty() {
            return false;
        }
        self.deliver(&places[choice % places.len()], commit);
        true
    }

    fn deliver(&mut self, from: &TopicPartition, commit: bool) {
        let partition = self.partitions.get_mut(from).unwrap();
        let (key, value, timestamp) = partition.waiting.pop_front().unwrap();
        let record = RawRecord {
            key: Some(&key),
            value: value.as_deref(),
            timestamp,
            headers: &Headers::NONE,
        };
        let mut batch = RecordBatch::new();
        assert!(batch.push(partition.next, record));
        partition.next += 1;
        let reads = |task: &&mut Task| task.inputs().contains(from);
        let task = self.tasks.iter_mut().find(reads).unwrap();
        for input in 0..task.inputs().len() {
            if task.inputs()[input] == *from {
                task.add(input, Records::all(Arc::new(batch.clone())));
            }
            task.set_supply(input, Supply::Exhausted);
        }
        assert_eq!(task.process(1).unwrap(), 1);
        if commit {
            end_commit(task);
        }
        let made = take_outputs(task);
        self.route(made);
    }

    /// How many bytes the task that reads a topic holds back from what is below.
    pub(super) fn held(&self, topic: &str) -> u64 {
        let reads = |task: &Task| task.inputs().iter().any(|at| &*at.topic == topic);
        let task = self.tasks.iter().position(reads).unwrap();
        self.backends[task].stats().memory_bytes
    }

    fn route(&mut self, made: Vec<(String, Option<Number>, Row)>) {
        for (topic, partition, row) in made {
            self.put(&topic, partition, row);
            if self.counts.exists(&topic) {
                self.chosen.push((topic, partition));
            }
        }
    }

    /// Commits all tasks, and says whether that told anything that is to be delivered.
    pub(super) fn commit(&mut self) -> bool {
        let mut made = Vec::new();
        for task in &mut self.tasks {
            end_commit(task);
            made.extend(take_outputs(task));
        }
        self.route(made);
        (self.partitions.values()).any(|partition| !partition.waiting.is_empty())
    }
}

fn end_commit(task: &mut Task) {
    let position = Position {
        offset: 0,
        reach: 0,
        topic_id: 0,
        applied_at: 0,
        transaction: 0,
    };
    task.prepare_commit().unwrap();
    task.committed(|_| Some(position)).unwrap();
}

/// By topic and chosen partition, what the task has made since the last call.
fn take_outputs(task: &mut Task) -> Vec<(String, Option<Number>, Row)> {
    let mut made = Vec::new();
    for output in task.outputs() {
        for (partition, record) in output.placed() {
            let (key, value) = (record.key.unwrap_or_default(), record.value);
            let row = (key.to_vec(), value.map(<[u8]>::to_vec), record.timestamp);
            made.push((output.topic.to_string(), partition, row));
        }
        output.clear();
    }
    made
}
