//! A bench for one task: a topology, a backend, and what the log would do. Invariant: commits are
//! applied as the runtime applies them, after they were handed over.

use millstream_core::{
    batch::{RecordBatch, Records},
    prelude::*,
    record::{RawRecord, TaskId, TopicPartition},
    task::{Emission, Place, Policies, Task, TaskConfig},
};
use millstream_state::{Backend, MemoryBackend, Position};
use std::sync::Arc;

pub(crate) static LEFT: Topic<String, String> = Topic::new("left", utf8(), utf8());
pub(crate) static RIGHT: Topic<String, String> = Topic::new("right", utf8(), utf8());
pub(crate) static OUT: Topic<String, String> = Topic::new("out", utf8(), utf8());
pub(crate) static COUNTS: Topic<String, u64> = Topic::new("counts", utf8(), u64_be());
pub(crate) const ID: TaskId = TaskId {
    subtopology: 0,
    partition: 0,
};
pub(crate) const FEW: [&str; 13] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m",
];

/// Key, value and timestamp as bytes.
pub(crate) type Row = (Vec<u8>, Option<Vec<u8>>, Timestamp);

pub(crate) struct Bench {
    pub(crate) task: Task,
    pub(crate) cache_bytes: usize,
    pub(crate) emission: Emission,
    pub(crate) policies: Policies,
    topology: Topology,
    pub(crate) backend: Arc<dyn Backend>,
}

impl Bench {
    pub(crate) fn new(topology: Topology) -> Self {
        let names: Vec<_> = topology
            .stores()
            .iter()
            .map(|store| store.name.as_str())
            .collect();
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new(&names));
        let config = TaskConfig::new("test");
        let task = Task::open(&topology, ID, &config, backend.clone()).unwrap();
        Self {
            task,
            cache_bytes: config.cache_bytes,
            emission: config.emission,
            policies: config.policies,
            topology,
            backend,
        }
    }

    /// The process dies and comes back over what its backend holds.
    pub(crate) fn reopen(&mut self) {
        let config = TaskConfig {
            cache_bytes: self.cache_bytes,
            emission: self.emission,
            policies: self.policies,
            ..TaskConfig::new("test")
        };
        self.task = Task::open(&self.topology, ID, &config, self.backend.clone()).unwrap();
    }

    /// Takes what was written to a topic.
    pub(crate) fn outputs(&mut self, topic: &str) -> Vec<Row> {
        let mut rows = Vec::new();
        for output in self
            .task
            .outputs()
            .iter_mut()
            .filter(|output| &*output.topic == topic)
        {
            rows.extend(output.records.iter().map(|(_, record)| row(record)));
            output.records.clear();
        }
        rows
    }

    /// The same as texts, key before value.
    pub(crate) fn texts(&mut self, topic: &str) -> Vec<String> {
        let text = |(key, value, _): &Row| {
            let bytes = [key.clone(), value.clone().unwrap_or_default()].concat();
            String::from_utf8(bytes).unwrap()
        };
        self.outputs(topic).iter().map(text).collect()
    }

    /// Commits, and returns places and changelog records.
    pub(crate) fn commit(&mut self) -> (Vec<(TopicPartition, Place)>, Vec<Row>) {
        let commit = self.task.prepare_commit().unwrap();
        let places = commit.places.clone();
        let changes = commit
            .changes
            .iter()
            .flat_map(|changes| changes.records.iter());
        let changes = changes.map(|(_, record)| row(record)).collect();
        self.task.committed(|_| Some(position(0))).unwrap();
        (places, changes)
    }
}

fn row(record: RawRecord<'_>) -> Row {
    let value = record.value.map(<[u8]>::to_vec);
    (
        record.key.unwrap_or_default().to_vec(),
        value,
        record.timestamp,
    )
}

/// Counts by key, as rows.
pub(crate) fn ends(counts: &[(&str, u64, Timestamp)]) -> Vec<Row> {
    let row = |&(key, count, time): &(&str, u64, Timestamp)| {
        (
            key.as_bytes().to_vec(),
            Some(count.to_be_bytes().to_vec()),
            time,
        )
    };
    counts.iter().map(row).collect()
}

/// A fetched batch that begins at an offset.
pub(crate) fn records(offset: i64, script: &[(&str, &str, Timestamp)]) -> Records {
    let mut batch = RecordBatch::new();
    for (number, (key, value, timestamp)) in (offset..).zip(script) {
        let record = RawRecord {
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            timestamp: *timestamp,
            headers: &Headers::NONE,
        };
        assert!(batch.push(number, record));
    }
    Records::all(Arc::new(batch))
}

pub(crate) fn position(offset: i64) -> Position {
    Position {
        offset,
        reach: offset,
        topic_id: 0,
        applied_at: 0,
        transaction: 0,
    }
}
