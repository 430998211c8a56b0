//! The trait by which a program lets itself be looked at, and the shapes of its answers.
//!
//! Invariant: these are views for people and tools. Keys and values are decoded already, numbers
//! are plain, and nothing here hands out the program's own structures or locks.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A running program as the server sees it.
///
/// All calls may block for a while and come from several threads at once; each answer should show
/// one consistent, committed state. A call that panics is answered with status 500.
pub trait Introspect: Send + Sync {
    /// The client's state and its tasks. Called about once a second for the page: keep it cheap.
    fn status(&self) -> Status;

    /// Whether the process should go on living; the reasons when not. A lag, a restore or a broker
    /// that is away are no reasons: a restart would not help.
    fn liveness(&self) -> Result<(), Vec<String>>;

    /// Whether queries can be answered; the reasons when not.
    fn readiness(&self) -> Result<(), Vec<String>>;

    /// The topology, written down. Its JSON is `{"subtopologies":[{"id","nodes":[{"name","kind",
    /// "label","topic","stores","successors"}],"stores":[{"name","changelog"}]}]}`.
    fn topology(&self, format: TopologyFormat) -> String;

    /// The instances of the program, this one among them, as far as it has heard of them.
    fn instances(&self) -> Vec<InstanceStatus>;

    /// The stores that can be asked, in order.
    fn stores(&self) -> Vec<StoreStatus>;

    /// One value of a store, by its key as people write it.
    fn get(&self, store: &str, key: &str) -> Result<Option<Value>, QueryError>;

    /// Entries of a store, at most `range.limit`: partition after partition, in the order of the
    /// keys' bytes within each.
    fn range(&self, store: &str, range: &Range) -> Result<RangePage, QueryError>;

    /// The program's topics, in order: those that it reads, writes and makes for itself, and those
    /// of its dead letters. A log may have thousands of others.
    ///
    /// # Errors
    /// [`QueryError::NotReady`] while the log does not answer.
    fn topics(&self) -> Result<Vec<TopicStatus>, QueryError>;

    /// How many partitions a topic has, the program's or any other of its log.
    ///
    /// # Errors
    /// [`QueryError::UnknownTopic`] for one that is not there, and [`QueryError::NotReady`] while
    /// the log does not answer.
    fn partitions(&self, topic: &str) -> Result<u32, QueryError>;

    /// Appends records to a topic, all or none, and returns their places in the same order.
    fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<Appended>, QueryError>;

    /// Committed records of a partition, at most `limit`, but that one who reads from an offset on
    /// gets a pack of a repartition topic whole. Does not wait for new ones.
    fn read(
        &self,
        topic: &str,
        partition: u32,
        from: ReadFrom,
        limit: usize,
    ) -> Result<RecordPage, QueryError>;

    /// The models and their grades, in order. Called about once a second for the page.
    fn models(&self) -> Vec<ModelStatus>;
}

/// A way to write a topology down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TopologyFormat {
    /// Kafka Streams' own.
    #[default]
    Text,
    /// For the page and for programs.
    Json,
    /// Graphviz.
    Dot,
    /// Mermaid's flowchart.
    Mermaid,
}

/// The client and its tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    /// The program's `application.id`.
    pub application_id: String,
    /// The program's version.
    pub version: String,
    /// Kafka Streams' word for the client's state: `CREATED`, `REBALANCING`, `RUNNING`,
    /// `PENDING_SHUTDOWN`, `NOT_RUNNING`, `PENDING_ERROR` or `ERROR`.
    pub state: String,
    /// The topic whose records are predictions, if the program has one: the page shows its tail.
    pub predictions_topic: Option<String>,
    /// The tasks here, in order.
    pub tasks: Vec<TaskStatus>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskStatus {
    /// Subtopology and partition, as in `0_1`.
    pub id: String,
    /// Whether it processes or stands by.
    pub role: Role,
    /// `RESTORING` until its stores are what their changelogs say, then `RUNNING`; one that stands
    /// by is `RUNNING`.
    pub state: String,
    /// Input records that are committed but not yet processed, when known; packs of a repartition
    /// topic count as one each.
    pub lag: Option<u64>,
    /// How far each of its stores is restored; empty when none is being restored.
    pub restore: Vec<RestoreProgress>,
}

/// An instance of the program, and what it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InstanceStatus {
    /// Where it can be asked, as `host:port`, if it says so.
    pub server: Option<String>,
    /// Whether it is the one that answers.
    pub ours: bool,
    /// The tasks that it runs, in order.
    pub active: Vec<String>,
    /// The tasks that it has replicas of, in order.
    pub standby: Vec<String>,
}

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It processes its partitions.
    Active,
    /// It keeps a replica of another instance's stores.
    Standby,
}

/// How far a store is restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestoreProgress {
    /// The store.
    pub store: String,
    /// Changelog records read so far.
    pub restored: u64,
    /// Changelog records to read in all.
    pub total: u64,
    /// Bytes of keys and values read so far.
    pub bytes: u64,
    /// Records read in a second, once there is something to go by.
    pub records_per_second: Option<u64>,
    /// Seconds that it may still take, once there is something to go by.
    pub seconds_left: Option<u64>,
    /// Why the store is restored from the first record on, if it is.
    pub why: Option<String>,
}

/// A store that can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreStatus {
    /// Its name.
    pub name: String,
    /// What it is: `key-value`, `timed` (of windows, sessions or joins), `versioned`, `suppress`,
    /// `buffer`, `lru`, `waiting` (records until a join's grace period is over), `unmatched`
    /// (records of a left or outer join of streams that may yet meet one), `weights` (a model),
    /// `global`, or what a program's own store says.
    pub kind: String,
    /// How many keys it holds here, about; null where the program does not know.
    pub keys: Option<u64>,
}

/// A topic of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicStatus {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
}

/// A stretch of a store's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first key, or from the start.
    pub from: Option<String>,
    /// The last key, included, or to the end.
    pub to: Option<String>,
    /// Where to go on: the [`RangePage::next`] of the page before.
    pub cursor: Option<String>,
    /// The most entries wanted.
    pub limit: usize,
}

/// Entries of a store.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RangePage {
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// What to ask with as `cursor` for the next page of the same range, when it holds more. What
    /// is in it is the program's own business: a place in one of the store's partitions.
    pub next: Option<String>,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// The key as people write it: [`Introspect::get`] takes it.
    pub key: String,
    /// The value; null where the entry cannot be read.
    pub value: Value,
    /// Why the entry cannot be read, if so; left out otherwise. Its key may then be none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A record to be appended.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRecord {
    /// Its key; null for none.
    #[serde(default)]
    pub key: Value,
    /// Its value; null for a tombstone.
    #[serde(default)]
    pub value: Value,
    /// Milliseconds since 1970 UTC; the time of arrival when absent.
    pub timestamp: Option<i64>,
    /// Its partition. Where it is absent the key chooses as Kafka's producers do, and records
    /// without a key go round.
    pub partition: Option<u32>,
}

/// Where an appended record went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Appended {
    /// The partition.
    pub partition: u32,
    /// The place in it.
    pub offset: i64,
}

/// Where a read of a partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// At this offset, or at the first one after it that still exists.
    Offset(i64),
    /// At most this many records before the end, the newest of all among them; with 0 the page
    /// tells only where the end is.
    Last(usize),
}

/// Records of a partition.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RecordPage {
    /// The records, in order.
    pub records: Vec<RecordView>,
    /// The offset to read on from.
    pub next: i64,
    /// The first offset there is.
    pub start: i64,
    /// The offset after the last committed record.
    pub end: i64,
}

/// A record, decoded for people. Bytes that are no text and no JSON come as the program sees fit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecordView {
    /// Its partition.
    pub partition: u32,
    /// Its place there.
    pub offset: i64,
    /// Which of the records with that offset it is: those of a repartition topic may share one.
    /// What is 0 is not told.
    #[serde(skip_serializing_if = "is_zero")]
    pub index: u32,
    /// Milliseconds since 1970 UTC.
    pub timestamp: i64,
    /// Its key.
    pub key: Value,
    /// Its value.
    pub value: Value,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(index: &u32) -> bool {
    *index == 0
}

/// A model and how good it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelStatus {
    /// Its name.
    pub name: String,
    /// What learner it is.
    pub kind: String,
    /// The version that predicts now: of its code, settings and format, say. It becomes a label of
    /// the metric `streams_model_info`, where each new one is a new time series, so it must not be
    /// something that counts; how much the model has learned is [`ModelStatus::learned`].
    pub version: String,
    /// Predictions made.
    pub predictions: u64,
    /// Labelled examples learned from.
    pub learned: u64,
    /// What of both is of which partition that this instance has. Metrics tell these: a sum over
    /// partitions that come and go does not only grow.
    pub partitions: Vec<ModelPart>,
    /// Its grades, in the order to be shown.
    pub quality: Vec<Quality>,
}

/// What the model of one partition has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ModelPart {
    /// The partition.
    pub partition: u32,
    /// Predictions made since the partition came to this instance.
    pub predictions: u64,
    /// Labelled examples learned from, as of the last commit.
    pub learned: u64,
}

/// One grade of a model's predictions, each made before the model learned the label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// Which: `accuracy`, `log_loss`, `auc` and so on.
    pub metric: String,
    /// Over what: `all`, `rolling-1000`, `fading-0.999` and so on.
    pub window: String,
    /// The grade; what is no number is shown as unknown.
    pub value: f64,
}

/// Why a program could not answer, by whose fault it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// There is no such store. Status 404.
    #[error("no store {0:?}")]
    UnknownStore(String),
    /// There is no such topic. Status 404.
    #[error("no topic {0:?}")]
    UnknownTopic(String),
    /// The topic has no such partition. Status 404.
    #[error("no partition {partition} in topic {topic:?}")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: u32,
    },
    /// The key is not what the store's keys look like. Status 400.
    #[error("bad key: {0}")]
    BadKey(String),
    /// The cursor is of no page. Status 400.
    #[error("bad cursor: {0}")]
    BadCursor(String),
    /// A record is not what the topic's serdes take. Status 400.
    #[error("bad record: {0}")]
    BadRecord(String),
    /// The program does not allow this, as writing to a changelog. Status 403.
    #[error("refused: {0}")]
    Refused(String),
    /// Not now: restoring, rebalancing, or owned by nobody who is known. Status 503.
    #[error("not ready: {0}")]
    NotReady(String),
    /// The log did not say what became of an append: it may have been made. Status 504.
    #[error("what was asked for may have been done: {0}")]
    UnknownOutcome(String),
    /// Another instance has it. Status 421, with the place to ask instead where that is known.
    #[error("another instance has it: {why}")]
    Elsewhere {
        /// Why it is not here.
        why: String,
        /// Where the other one can be asked, as `host:port`.
        server: Option<String>,
    },
    /// The program failed. Status 500.
    #[error("{0}")]
    Internal(String),
}
