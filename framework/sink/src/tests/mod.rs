//! What the tests stand on: a log in memory, a fuse that crashes anything at any call, a few rows.

mod crash;
mod hostile;
mod location;
mod postgres;
mod refused;
mod schema;
mod server;
mod sharing;
mod thread;
mod trouble;
mod world;

use world::{Engine, World, on_each};

use crate::{
    Kind, Location, Row, Sink, SinkConfig, Step, Table, Value, Values,
    batch::decoder,
    database::{Database, Dialect, Failure, Found},
    row,
    table::TableSpec,
};
use millstream_core::{
    batch::{RecordBatch, Records},
    error::{Error as CoreError, Result as CoreResult},
    record::{Headers, Offset, Partition, RawRecord, TaskId, TopicPartition, wire_size},
    serde::{Codec, Encoded, Serde},
    topic::Topic,
};
use millstream_log::{
    Commit, Committed, Error as LogError, Event, Instance, Log, Outcome, Page, Result as LogResult,
    Subscription, TopicInfo, TopicSpec,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

/// UTF-8 text, null being refused.
struct Text;

impl Codec for Text {
    type Item = String;

    fn encode(&self, value: &String, out: &mut Vec<u8>) -> CoreResult<Encoded> {
        out.extend_from_slice(value.as_bytes());
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> CoreResult<String> {
        let bytes = bytes.ok_or_else(|| CoreError::deserialization("null"))?;
        String::from_utf8(bytes.to_vec()).map_err(|_| CoreError::deserialization("not UTF-8"))
    }

    fn name(&self) -> String {
        "text".into()
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> CoreResult<serde_json::Value> {
        self.decode(bytes).map(Into::into)
    }

    fn from_json(&self, json: &serde_json::Value, out: &mut Vec<u8>) -> CoreResult<Encoded> {
        self.encode(&json.to_string(), out)
    }
}

static WORDS: Topic<String, String> = Topic::new("words", Serde::new(&Text), Serde::new(&Text));

/// A row per record: the coordinates are its key.
struct Word {
    id: String,
    word: String,
    length: i64,
}
row!(Word { id, word, length });

/// A row per key: later records replace earlier ones.
struct Latest {
    id: String,
    word: Option<String>,
}
row!(Latest { id: key, word });

fn word(id: &str, word: &str) -> Word {
    let length = i64::try_from(word.len()).unwrap();
    Word {
        id: id.into(),
        word: word.into(),
        length,
    }
}

/// One record on the log in memory.
#[derive(Clone, Debug, Default)]
struct Entry {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Headers,
}

impl Entry {
    fn raw(&self) -> RawRecord<'_> {
        RawRecord {
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            timestamp: 0,
            headers: &self.headers,
        }
    }

    /// What a header of a dead letter says.
    fn said(&self, name: &str) -> Option<String> {
        let header = self.headers.last(&format!("__streams.errors.{name}"))?;
        Some(String::from_utf8(header.value.clone().unwrap()).unwrap())
    }
}

type Topics = BTreeMap<String, Vec<Vec<Entry>>>;

/// Topics in memory, shared by every client made of it. `first` is where partitions begin.
/// `told_max` is how large a record the log says it takes, and `taken_max` how large one it takes.
#[derive(Clone, Default)]
struct MemoryLog {
    topics: Arc<Mutex<Topics>>,
    open: Vec<(String, Partition, Entry)>,
    fuse: Fuse,
    first: Offset,
    told_max: Option<usize>,
    taken_max: Option<usize>,
}

impl MemoryLog {
    fn words(partitions: usize) -> Self {
        let log = Self::default();
        log.topics
            .lock()
            .unwrap()
            .insert("words".into(), vec![Vec::new(); partitions]);
        log
    }

    fn produce(&self, partition: usize, key: &[u8], value: &[u8]) {
        let entry = Entry {
            key: Some(key.into()),
            value: Some(value.into()),
            ..Entry::default()
        };
        self.topics.lock().unwrap().get_mut("words").unwrap()[partition].push(entry);
    }

    fn entries(&self, topic: &str) -> Vec<Entry> {
        let topics = self.topics.lock().unwrap();
        topics
            .get(topic)
            .into_iter()
            .flatten()
            .flatten()
            .cloned()
            .collect()
    }

    fn client(&self, fuse: &Fuse) -> Box<dyn Log> {
        Box::new(Self {
            open: Vec::new(),
            fuse: fuse.clone(),
            ..self.clone()
        })
    }

    fn at(&self, partition: &TopicPartition) -> LogResult<Vec<Entry>> {
        let topics = self.topics.lock().unwrap();
        let topic = topics.get(&*partition.topic);
        let found = topic.and_then(|topic| topic.get(partition.partition as usize));
        found
            .cloned()
            .ok_or_else(|| LogError::UnknownTopic(partition.to_string()))
    }

    fn info(name: &str, partitions: usize) -> TopicInfo {
        let cleanup = millstream_log::Cleanup::Delete { retention_ms: None };
        let partitions = u32::try_from(partitions).unwrap();
        TopicInfo {
            id: 1,
            spec: TopicSpec {
                name: name.into(),
                partitions,
                cleanup,
            },
        }
    }

    fn burn<T>(&mut self, work: impl FnOnce(&mut Self) -> LogResult<T>) -> LogResult<T> {
        let fuse = self.fuse.clone();
        fuse.through(|| work(self), || LogError::Retry("crashed".into()))
    }
}

impl Log for MemoryLog {
    fn topic(&mut self, name: &str) -> LogResult<Option<TopicInfo>> {
        self.burn(|log| {
            let topics = log.topics.lock().unwrap();
            Ok(topics.get(name).map(|topic| Self::info(name, topic.len())))
        })
    }
    fn create_topic(&mut self, spec: &TopicSpec) -> LogResult<TopicInfo> {
        self.burn(|log| {
            let partitions = spec.partitions as usize;
            let mut topics = log.topics.lock().unwrap();
            topics
                .entry(spec.name.clone())
                .or_insert_with(|| vec![Vec::new(); partitions]);
            Ok(Self::info(&spec.name, partitions))
        })
    }
    fn end(&mut self, partition: &TopicPartition) -> LogResult<Offset> {
        Ok(Offset::try_from(self.at(partition)?.len()).unwrap())
    }
    fn start(&mut self, _: &TopicPartition) -> LogResult<Offset> {
        Ok(self.first)
    }
    fn poll(&mut self, _: Duration) -> LogResult<Event> {
        Ok(Event::Idle)
    }
    fn send(
        &mut self,
        topic: &str,
        partition: Option<Partition>,
        record: RawRecord<'_>,
    ) -> LogResult<()> {
        if wire_size(record) > self.record_bytes_max() {
            return Err(LogError::Fatal("too large".into()));
        }
        self.burn(|log| {
            let entry = Entry {
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record.headers.clone(),
            };
            log.open.push((topic.into(), partition.unwrap(), entry));
            Ok(())
        })
    }
    fn commit(&mut self, _: u64, _: &[(TopicPartition, Committed)]) -> LogResult<Commit> {
        let too_large = self.open.iter().any(|(_, _, entry)| {
            let size = wire_size(entry.raw());
            self.taken_max.is_some_and(|most| size > most)
        });
        if too_large {
            self.open.clear();
            return Err(LogError::Fatal("Broker: Message size too large".into()));
        }
        self.burn(|log| {
            let mut topics = log.topics.lock().unwrap();
            for (topic, partition, entry) in log.open.drain(..) {
                topics.get_mut(&topic).unwrap()[partition as usize].push(entry);
            }
            Ok(Commit::default())
        })
    }
    fn record_bytes_max(&self) -> usize {
        self.told_max.unwrap_or(usize::MAX)
    }
    fn abort(&mut self) -> LogResult<()> {
        self.open.clear();
        Ok(())
    }
    fn read(&mut self, partition: &TopicPartition, from: Offset, max: usize) -> LogResult<Page> {
        let entries = self.at(partition)?;
        let (start, end) = (self.first, Offset::try_from(entries.len()).unwrap());
        self.burn(|_| {
            if from < start || from > end {
                let partition = partition.clone();
                return Err(LogError::OffsetOutOfRange {
                    partition,
                    offset: from,
                    start,
                    end,
                });
            }
            let mut batch = RecordBatch::new();
            for (offset, entry) in (0..).zip(&entries).skip(usize::try_from(from).unwrap()) {
                if batch.bytes() >= max {
                    break;
                }
                let (key, value) = (entry.key.as_deref(), entry.value.as_deref());
                let record = RawRecord {
                    key,
                    value,
                    timestamp: offset,
                    headers: &entry.headers,
                };
                assert!(batch.push(offset, record));
            }
            let next = batch.next_offset().unwrap_or(from);
            Ok(Page {
                records: Records::all(Arc::new(batch)),
                next,
                end,
            })
        })
    }

    // A sink has no group: the rest is none of its business.
    fn subscribe(&mut self, _: Subscription) -> LogResult<()> {
        unreachable!()
    }
    fn acknowledge(&mut self, _: &[TaskId]) -> LogResult<()> {
        unreachable!()
    }
    fn leave(&mut self) -> LogResult<()> {
        unreachable!()
    }
    fn instances(&mut self) -> LogResult<Vec<Instance>> {
        unreachable!()
    }
    fn committed(&mut self, _: &[TopicPartition]) -> LogResult<Vec<Option<Committed>>> {
        unreachable!()
    }
    fn seek(&mut self, _: &TopicPartition, _: Offset) -> LogResult<()> {
        unreachable!()
    }
    fn fetch(&mut self, _: &TopicPartition, _: usize) -> LogResult<Option<Records>> {
        unreachable!()
    }
    fn position(&mut self, _: &TopicPartition) -> LogResult<Offset> {
        unreachable!()
    }
    fn resolve(&mut self, _: u64, _: &[(TopicPartition, Committed)]) -> LogResult<Outcome> {
        unreachable!()
    }
    fn committed_as(&mut self, _: &str, _: &[TopicPartition]) -> LogResult<Vec<Option<Committed>>> {
        unreachable!()
    }
    fn commit_as(
        &mut self,
        _: &str,
        _: u64,
        _: &[(TopicPartition, Committed)],
    ) -> LogResult<Commit> {
        unreachable!()
    }
}

/// Lets so many calls through, then crashes: the last call happens or not, all later ones do not.
#[derive(Clone, Default)]
struct Fuse(Arc<Mutex<Option<(u64, bool)>>>);

impl Fuse {
    fn burning(calls: u64, last_happens: bool) -> Self {
        Self(Arc::new(Mutex::new(Some((calls, last_happens)))))
    }

    /// From here on all calls go through again.
    fn mend(&self) {
        *self.0.lock().unwrap() = None;
    }

    fn burnt(&self) -> bool {
        matches!(*self.0.lock().unwrap(), Some((0, _)))
    }

    fn through<T, E>(
        &self,
        work: impl FnOnce() -> Result<T, E>,
        crash: impl FnOnce() -> E,
    ) -> Result<T, E> {
        let happens = match &mut *self.0.lock().unwrap() {
            None => return work(),
            Some((0, _)) => false,
            Some((left, last)) => {
                *left -= 1;
                if *left > 0 {
                    return work();
                }
                *last
            }
        };
        if happens {
            let _ = work();
        }
        Err(crash())
    }
}

/// A database that can crash between any two calls.
struct Crashing(Box<dyn Database>, Fuse);

impl Crashing {
    fn burn<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Database) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Self(database, fuse) = self;
        fuse.through(
            || work(database.as_mut()),
            || Failure::Away("crashed".into()),
        )
    }
}

impl Database for Crashing {
    fn dialect(&self) -> &'static Dialect {
        self.0.dialect()
    }
    fn connect(&mut self) -> Result<(), Failure> {
        self.burn(|database| database.connect())
    }
    fn disconnect(&mut self) {
        self.0.disconnect();
    }
    fn begin(&mut self) -> Result<(), Failure> {
        self.burn(|database| database.begin())
    }
    fn commit(&mut self) -> Result<(), Failure> {
        self.burn(|database| database.commit())
    }
    fn rollback(&mut self) {
        self.0.rollback();
    }
    fn execute(&mut self, sql: &Arc<str>, values: &[Value]) -> Result<u64, Failure> {
        self.burn(|database| database.execute(sql, values))
    }
    fn upsert(&mut self, table: &TableSpec, rows: &[Value]) -> Result<(), Failure> {
        self.burn(|database| database.upsert(table, rows))
    }
    fn query(&mut self, sql: &Arc<str>, values: &[Value]) -> Result<Vec<Vec<Value>>, Failure> {
        self.burn(|database| database.query(sql, values))
    }
    fn columns(&mut self, table: &str) -> Result<Vec<Found>, Failure> {
        self.burn(|database| database.columns(table))
    }
}

/// Steps until there is nothing left to do.
fn drain(sink: &mut Sink) {
    drain_patiently(sink, 0);
}

/// As [`drain`], where the database may say so often that it cannot now: on a busy machine it takes
/// its time to find out that a connection is gone, and to give back what that held.
fn drain_patiently(sink: &mut Sink, retries_max: usize) {
    let mut retries = 0;
    // An hour a step, so that waits are over.
    for now in (0..10_000).map(|step| step * 3_600_000) {
        match sink.step(now).unwrap() {
            Step::Idle => return,
            Step::Wrote { .. } => {}
            Step::Retry { reason, .. } => {
                retries += 1;
                assert!(retries <= retries_max, "{reason}");
            }
            Step::Waiting => panic!("it waits for its group"),
        }
    }
    panic!("no end");
}

/// Numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
