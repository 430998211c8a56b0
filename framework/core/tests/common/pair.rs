//! A bench for programs of two inputs and one output: a script of records, and restarts in between.
//!
//! Invariant: records are processed in the order of the script, whatever their times, and commits
//! are applied as the runtime applies them.

use millstream_core::{
    batch::{RecordBatch, Records},
    prelude::*,
    record::{TaskId, TopicPartition},
    task::{Dropped, Supply, Task, TaskConfig},
};
use millstream_state::{Backend, MemoryBackend, Position};
use std::sync::Arc;

pub(crate) type Key = Option<String>;
pub(crate) static LEFT: Topic<Key, i64> = Topic::new("left", option::<Utf8>(), i64_be());
pub(crate) static RIGHT: Topic<Key, i64> = Topic::new("right", option::<Utf8>(), i64_be());
pub(crate) static OUT: Topic<Key, String> = Topic::new("out", option::<Utf8>(), utf8());

/// An input as those see it who write to it.
fn written(left: bool) -> Topic<Key, Option<i64>> {
    let name = if left { LEFT.name } else { RIGHT.name };
    Topic::new(name, option::<Utf8>(), option::<I64Be>())
}

/// Which input, and what comes there.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) left: bool,
    /// `None` is null: a tombstone, where the input is a table.
    pub(crate) record: Record<Key, Option<i64>>,
}

/// A left record.
pub(crate) fn l(key: &str, value: i64, time: Timestamp) -> Step {
    Step {
        left: true,
        record: Record::new(Some(key.to_owned()), Some(value), time),
    }
}

/// A right record.
pub(crate) fn r(key: &str, value: i64, time: Timestamp) -> Step {
    Step {
        left: false,
        ..l(key, value, time)
    }
}

impl Step {
    /// The same without a key.
    pub(crate) fn without_key(mut self) -> Self {
        self.record.key = None;
        self
    }
}

/// What came of a script: results in order, and what was dropped.
pub(crate) struct Outcome {
    pub(crate) results: Vec<(Key, String, Timestamp)>,
    pub(crate) dropped: Dropped,
}

impl Outcome {
    /// The results as texts: key, what was joined, time.
    pub(crate) fn texts(&self) -> Vec<String> {
        let text = |(key, joined, time): &(Key, String, Timestamp)| {
            format!("{}: {joined} @{time}", key.as_deref().unwrap_or("null"))
        };
        self.results.iter().map(text).collect()
    }
}

/// Runs a script to its end.
pub(crate) fn run(topology: Topology, script: &[Step]) -> Outcome {
    let mut driver = TopologyTestDriver::new(topology).unwrap();
    for step in script {
        driver
            .pipe_record(&written(step.left), &step.record)
            .unwrap();
    }
    let results = driver.read(&OUT).unwrap();
    let results = results.into_iter().map(|r| (r.key, r.value, r.timestamp));
    Outcome {
        results: results.collect(),
        dropped: driver.dropped(),
    }
}

/// What happens to a task behind a stretch of the script.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    Committed,
    /// The log refuses the commit, and the stretch is done again.
    Refused,
    /// The process dies before the commit, and another one does the stretch again.
    Crashed,
    /// The process dies after the commit.
    Reopened,
}

/// Runs a script in stretches with a fate each; what is left at the end is committed.
pub(crate) fn run_through(
    topology: &Topology,
    script: &[Step],
    fates: &[(usize, Fate)],
) -> Vec<(Key, String, Timestamp)> {
    let names: Vec<_> = topology.stores().iter().map(|s| s.name.as_str()).collect();
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new(&names));
    let open = || {
        let (subtopology, partition) = (0, 0);
        let id = TaskId {
            subtopology,
            partition,
        };
        // Next to no cache, so that what is not dirty is read back from the backend.
        let config = TaskConfig {
            cache_bytes: 0,
            ..TaskConfig::new("test")
        };
        Task::open(topology, id, &config, backend.clone()).unwrap()
    };
    let (mut task, mut rest, mut results) = (open(), script, Vec::new());
    let mut fates = fates.iter();
    while !rest.is_empty() {
        let (length, fate) = *fates.next().unwrap_or(&(rest.len(), Fate::Committed));
        let (stretch, behind) = rest.split_at(length.min(rest.len()));
        match fate {
            Fate::Refused => {
                play(&mut task, stretch);
                task.prepare_commit().unwrap();
                task.abort().unwrap();
            }
            Fate::Crashed => {
                play(&mut task, stretch);
                task.prepare_commit().unwrap();
                task = open();
            }
            Fate::Committed | Fate::Reopened => {}
        }
        results.extend(play(&mut task, stretch));
        task.prepare_commit().unwrap();
        let position = Position {
            offset: 0,
            reach: 0,
            topic_id: 0,
            applied_at: 0,
            transaction: 0,
        };
        task.committed(|_| Some(position)).unwrap();
        if matches!(fate, Fate::Reopened) {
            task = open();
        }
        rest = behind;
    }
    results
}

/// Processes records one by one, whatever their times.
fn play(task: &mut Task, stretch: &[Step]) -> Vec<(Key, String, Timestamp)> {
    let mut results = Vec::new();
    for step in stretch {
        let topic = written(step.left);
        let to = TopicPartition::new(topic.name, 0);
        let place = task.inputs().iter().position(|input| *input == to);
        let Some(input) = place else { continue };
        let (mut batch, record) = (RecordBatch::new(), &step.record);
        let (key, value) = (&record.key, &record.value);
        let written = batch.encode(
            record.timestamp,
            &record.headers,
            |out| topic.key.encode(key, out),
            |out| topic.value.encode(value, out),
        );
        written.unwrap();
        batch.rebase(task.next_offset(input));
        task.add(input, Records::all(Arc::new(batch)));
        for input in 0..task.inputs().len() {
            task.set_supply(input, Supply::Exhausted);
        }
        assert_eq!(task.process(1).unwrap(), 1);
    }
    for output in task.outputs() {
        for (_, record) in output.records.iter() {
            let key = OUT.key.decode(record.key).unwrap();
            let value = OUT.value.decode(record.value).unwrap();
            results.push((key, value, record.timestamp));
        }
        output.records.clear();
    }
    results
}
