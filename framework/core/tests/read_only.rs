//! Stores that are copies of a topic: what processors find in them, and what is logged of them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::{
    batch::{RecordBatch, Records},
    prelude::*,
    record::{RawRecord, TaskId, TopicPartition},
    task::{SourceChangelogs, Supply, Task, TaskConfig},
};
use millstream_state::{Backend, Column, MemoryBackend, Position, Presence, WriteBatch};
use std::sync::Arc;

static ROWS: Topic<String, u64> = Topic::new("rows", utf8(), u64_be());
static KEYS: Topic<String, u64> = Topic::new("keys", utf8(), u64_be());
static OUT: Topic<String, String> = Topic::new("out", utf8(), utf8());

/// Tells what the store has for a key, and since when.
struct LookUp(StoreRef<KeyValueStore<String, u64>>);

impl FixedKeyProcessor<String, u64> for LookUp {
    type Value = String;

    fn process(
        &mut self,
        key: &String,
        _: u64,
        ctx: &mut FixedKeyContext<'_, String, String>,
    ) -> ProcessResult {
        let found = ctx.store(self.0).get_with_timestamp(key)?;
        let text = found.map_or("-".to_owned(), |(row, time)| format!("{row}@{time}"));
        Ok(ctx.forward(text)?)
    }
}

fn program() -> Topology {
    let builder = StreamsBuilder::new();
    let rows = builder.read_only_store(&ROWS, "rows-by-key");
    builder.stream(&KEYS).process_values(rows, LookUp).to(&OUT);
    builder.build().unwrap()
}

#[test]
fn a_processor_finds_the_last_row_of_each_key() {
    let mut driver = TopologyTestDriver::new(program()).unwrap();
    let look = |driver: &mut TopologyTestDriver, key: &str| {
        driver.pipe(&KEYS, key.to_owned(), 0, 99).unwrap();
        driver.read(&OUT).unwrap().remove(0).value
    };
    driver.pipe(&ROWS, "a".to_owned(), 1, 10).unwrap();
    driver.pipe(&ROWS, "a".to_owned(), 2, 5).unwrap();
    driver.pipe(&ROWS, "b".to_owned(), 3, 20).unwrap();
    driver.pipe_raw("rows", None, Some(&[0; 8]), 21).unwrap();
    // Rows follow the order of offsets, as the topic does when it is compacted.
    assert_eq!(look(&mut driver, "a"), "2@5");
    assert_eq!(look(&mut driver, "b"), "3@20");
    driver.pipe_tombstone(&ROWS, &"b".to_owned(), 30).unwrap();
    assert_eq!(look(&mut driver, "b"), "-");
    assert_eq!(driver.dropped().null_key, 1);
    assert!(driver.changelog("rows-by-key").is_empty());
}

/// Feeds one record and returns what was written to the output.
fn feed(task: &mut Task, topic: &Topic<String, u64>, key: &str, value: u64) -> Vec<String> {
    let of = TopicPartition::new(topic.name, 0);
    let input = task.inputs().iter().position(|input| *input == of).unwrap();
    let mut batch = RecordBatch::new();
    let written = batch.encode(
        7,
        &Headers::NONE,
        |out| topic.key.encode(&key.to_owned(), out),
        |out| topic.value.encode(&value, out),
    );
    written.unwrap();
    batch.rebase(task.next_offset(input));
    task.add(input, Records::all(Arc::new(batch)));
    for input in 0..task.inputs().len() {
        task.set_supply(input, Supply::Exhausted);
    }
    assert_eq!(task.process(1).unwrap(), 1);
    let output = &mut task.outputs()[0];
    let values = output
        .records
        .iter()
        .map(|(_, record)| record.value.unwrap_or_default().to_vec());
    let texts = values
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .collect();
    output.records.clear();
    texts
}

fn position(offset: i64) -> Position {
    Position {
        offset,
        reach: offset,
        topic_id: 1,
        applied_at: 2,
        transaction: 3,
    }
}

#[test]
fn a_copy_is_committed_with_the_place_in_its_topic_and_logged_only_where_it_must_be() {
    for shared_log in [false, true] {
        let (topology, backend) = (program(), Arc::new(MemoryBackend::new(&["rows-by-key"])));
        let shared: Arc<dyn Backend> = backend.clone();
        let (subtopology, partition) = (0, 0);
        let id = TaskId {
            subtopology,
            partition,
        };
        let config = TaskConfig {
            source_changelogs: if shared_log {
                SourceChangelogs::Always
            } else {
                SourceChangelogs::Never
            },
            ..TaskConfig::new("test")
        };
        let open = || Task::open(&topology, id, &config, shared.clone()).unwrap();
        let mut task = open();
        assert!(feed(&mut task, &ROWS, "a", 5).is_empty());
        let changes = &task.prepare_commit().unwrap().changes[0];
        let own = TopicPartition::new("test-rows-by-key-changelog", 0);
        let source = TopicPartition::new("rows", 0);
        let log = if shared_log { source } else { own.clone() };
        assert_eq!(changes.changelog, (!shared_log).then_some(own));
        assert_eq!(changes.source, shared_log.then(|| log.clone()));
        assert_eq!(changes.records.len(), 1);
        task.committed(|of| (*of == log).then(|| position(1)))
            .unwrap();
        assert_eq!(backend.position(Column(0)).unwrap(), Some(position(1)));
        let mut task = open();
        assert_eq!(feed(&mut task, &KEYS, "a", 0), ["5@7"]);
    }
}

#[test]
fn a_copy_has_the_times_of_its_topic() {
    let builder = StreamsBuilder::new();
    let times = TimestampExtractor::from_fn(|_, row: &u64| i64::try_from(*row).unwrap());
    let line = line!() + 1;
    builder.read_only_store(Consumed::of(&ROWS).with_timestamp(times), "rows-by-key");
    let told = builder.build().err().unwrap().to_string();
    assert!(told.starts_with(&format!("{}:{line}:", file!())), "{told}");
    assert!(told.contains("has the topic's times"), "{told}");
}

#[test]
fn tables_are_copies_where_only_their_topic_changes_them() {
    let builder = StreamsBuilder::new();
    let stores = |name: &'static str| Materialized::<String, u64>::from(name);
    builder.table(&ROWS, stores("plain"));
    builder.table(&KEYS, stores("unlogged").with_logging_disabled());
    static OTHER: Topic<String, u64> = Topic::new("other", utf8(), u64_be());
    builder.stream(&OTHER).to_table(stores("of-a-stream"));
    let topology = builder.build().unwrap();
    let copies = topology.stores().iter().map(|store| {
        let copy = store.source.as_ref();
        (store.name.as_str(), copy.map(|copy| copy.topic.as_str()))
    });
    let expected = [
        ("plain", Some("rows")),
        ("unlogged", None),
        ("of-a-stream", None),
    ];
    assert_eq!(copies.collect::<Vec<_>>(), expected);
}

#[test]
fn a_restore_from_the_topic_says_what_the_task_said() {
    static TEXTS: Topic<u64, u64> = Topic::new("texts", json(), json());
    let builder = StreamsBuilder::new();
    // The store has other formats than the topic.
    let table = builder.table(
        Consumed::of(&TEXTS).on_error(ErrorPolicy::Skip),
        Materialized::with("rows", u64_be(), u64_be()),
    );
    table.to(&Topic::new("out", u64_be(), u64_be()));
    let topology = builder.build().unwrap();
    type Raw<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, Timestamp);
    let records: [Raw<'_>; 8] = [
        (Some(b"1"), Some(b"10"), 5),
        (Some(b" 1 "), Some(b" 11"), 6),
        (Some(b"2"), Some(b"20"), 7),
        (Some(b"2"), None, 8),
        (Some(b"3"), Some(b"no number"), 9),
        (Some(b"no number"), Some(b"1"), 9),
        (None, Some(b"1"), 9),
        (Some(b"4"), Some(b"40"), -1),
    ];
    let (names, id) = (
        ["rows"],
        TaskId {
            subtopology: 0,
            partition: 0,
        },
    );
    let live: Arc<dyn Backend> = Arc::new(MemoryBackend::new(&names));
    let config = TaskConfig {
        source_changelogs: SourceChangelogs::Always,
        ..TaskConfig::new("test")
    };
    let mut task = Task::open(&topology, id, &config, live.clone()).unwrap();
    let mut batch = RecordBatch::new();
    for ((key, value, timestamp), offset) in records.into_iter().zip(0..) {
        let headers = &Headers::NONE;
        let record = RawRecord {
            key,
            value,
            timestamp,
            headers,
        };
        assert!(batch.push(offset, record));
    }
    let restored = MemoryBackend::new(&names);
    let mut writes = WriteBatch::new();
    let copy = topology.stores()[0].source.clone().unwrap();
    for (_, record) in batch.iter() {
        copy.restore(record, Column(0), &mut writes);
    }
    restored.apply(&writes).unwrap();
    task.add(0, Records::all(Arc::new(batch)));
    assert_eq!(task.process(9).unwrap(), 8);
    task.prepare_commit().unwrap();
    task.committed(|_| None).unwrap();
    let rows = |backend: &dyn Backend| {
        let mut value = Vec::new();
        let row = |key: u64| {
            let found = backend
                .get(Column(0), &key.to_be_bytes(), &mut value)
                .unwrap();
            (found == Presence::Found).then(|| value.clone())
        };
        [1, 2, 3, 4].map(row)
    };
    assert_eq!(rows(&restored), rows(&*live));
    let row = [6_u64.to_be_bytes(), 11_u64.to_be_bytes()].concat();
    assert_eq!(rows(&restored), [Some(row), None, None, None]);
}
