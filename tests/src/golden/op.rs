//! The operators of programs that are data, and what each reads and makes.
//!
//! Invariant: parameters that an engine could take otherwise than meant are always written out.

use super::{
    functions::{By, Fold, Map, Selector, Test},
    policy::Policy,
};
use millstream_core::record::Timestamp;
use serde::{Deserialize, Serialize};

/// The place of a node among the nodes of its program.
pub type Place = usize;

fn none<T>(value: &Option<T>) -> bool {
    value.is_none()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The kind of a store with headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recall {
    /// By key.
    Rows,
    /// By key and the window of the record's time.
    Windows,
    /// The same, in a store of sessions.
    Sessions,
}

/// One operator. `of` is what it reads, `with` the other side of a join or a merge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "fields are Kafka Streams' parameters or stand in `functions`"
)]
pub enum Op {
    /// Its records may have `time`s of their own, as may those of a table.
    Stream {
        topic: String,
        #[serde(default, skip_serializing_if = "none")]
        time: Option<Times>,
        #[serde(default, skip_serializing_if = "none")]
        on_error: Option<Policy>,
    },
    /// With a `history`, the store is a versioned one.
    Table {
        topic: String,
        #[serde(default, skip_serializing_if = "none")]
        time: Option<Times>,
        #[serde(default, skip_serializing_if = "none")]
        history: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "none")]
        on_error: Option<Policy>,
    },
    GlobalTable {
        topic: String,
    },
    /// A store that is a copy of a topic, for those who look up.
    ReadOnly {
        topic: String,
        #[serde(default, skip_serializing_if = "none")]
        on_error: Option<Policy>,
    },
    /// Rows that a processor makes of a topic, for those who look up.
    GlobalStore {
        topic: String,
    },
    /// Joins each value with what its key is in a read-only store, or with its row in a global one.
    LookUp {
        of: Place,
        with: Place,
    },
    /// Of a stream or a table, as are `filter_not` and `map_values`. A table may be `stored`, also
    /// that of a join: then it has a store of its own.
    Filter {
        of: Place,
        #[serde(rename = "if")]
        test: Test,
        #[serde(default, skip_serializing_if = "is_default")]
        stored: bool,
    },
    FilterNot {
        of: Place,
        #[serde(rename = "if")]
        test: Test,
        #[serde(default, skip_serializing_if = "is_default")]
        stored: bool,
    },
    MapValues {
        of: Place,
        map: Map,
        #[serde(default, skip_serializing_if = "is_default")]
        stored: bool,
        /// Whether the number of a stream's key is added.
        #[serde(default, skip_serializing_if = "is_default")]
        keyed: bool,
    },
    Map {
        of: Place,
        key: Selector,
        map: Map,
    },
    SelectKey {
        of: Place,
        key: Selector,
    },
    /// `keyed` as in `map_values`.
    FlatMapValues {
        of: Place,
        times: i64,
        #[serde(default, skip_serializing_if = "is_default")]
        keyed: bool,
    },
    FlatMap {
        of: Place,
        times: i64,
        key: Selector,
    },
    Peek {
        of: Place,
    },
    Try(Trying),
    /// Its branches are nodes of their own.
    Split {
        of: Place,
        branches: Vec<Test>,
        #[serde(default, skip_serializing_if = "is_default")]
        default: bool,
    },
    Branch {
        of: Place,
        at: usize,
    },
    Merge {
        of: Place,
        with: Place,
    },
    Repartition {
        of: Place,
    },
    GroupByKey {
        of: Place,
    },
    /// Of a stream, or of a table, which maps the value as well. What the key is made of is the
    /// text of a windowed one; with `windowed`, it is the key without its window, which the new one
    /// has as well.
    GroupBy {
        of: Place,
        key: Selector,
        #[serde(default, skip_serializing_if = "none")]
        map: Option<Map>,
        #[serde(default, skip_serializing_if = "is_default")]
        windowed: bool,
    },
    Cogroup {
        of: Vec<Place>,
    },
    /// Windows on a group or a cogroup.
    Window(Windows),
    /// Of any group, with windows or without.
    Count {
        of: Place,
    },
    Reduce {
        of: Place,
        fold: Fold,
    },
    Aggregate {
        of: Place,
        #[serde(default, skip_serializing_if = "is_default")]
        init: i64,
    },
    /// Of a table with windows or without.
    Suppress(Suppression),
    ToTable {
        of: Place,
        #[serde(default, skip_serializing_if = "none")]
        history: Option<Timestamp>,
    },
    /// Of a table with windows or without: numbers the changes of each key and makes rows of them
    /// ([`numbered`](super::functions::numbered)); then it may refuse them.
    TransformValues {
        of: Place,
        #[serde(default, skip_serializing_if = "none")]
        history: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "none")]
        refuses: Option<Test>,
        #[serde(default, skip_serializing_if = "none")]
        on_error: Option<Policy>,
    },
    /// Of a table; where that has windows, its keys become texts `KEY@START/END`.
    ToStream {
        of: Place,
    },
    Join(Joining),
    /// Of two tables, by a key of the other that each row of this one names.
    ForeignJoin {
        of: Place,
        with: Place,
        kind: Side,
        key: Selector,
        #[serde(default, skip_serializing_if = "is_default")]
        stored: bool,
    },
    /// Keeps a fold of each key's values; a null value forgets it. `every` is when all of them are
    /// told, and forgotten if they are to be `clear`ed. What it `refuses` by its value, or by the
    /// time when it is called, it has sent on before.
    Process {
        of: Place,
        #[serde(default, skip_serializing_if = "is_default")]
        every: Vec<(Clock, Timestamp)>,
        #[serde(default, skip_serializing_if = "is_default")]
        clear: bool,
        #[serde(default, skip_serializing_if = "none")]
        refuses: Option<Test>,
        #[serde(default, skip_serializing_if = "none")]
        on_error: Option<Policy>,
    },
    /// Adds to each value how many came before it, and negates even ones besides; then it may
    /// refuse it.
    ProcessValues {
        of: Place,
        #[serde(default, skip_serializing_if = "none")]
        refuses: Option<Test>,
        #[serde(default, skip_serializing_if = "none")]
        on_error: Option<Policy>,
    },
    /// Puts each value into a store with a history, and tells until when it holds and what its key
    /// was some time `back`.
    ProcessVersions {
        of: Place,
        history: Timestamp,
        back: Timestamp,
    },
    /// Puts each value with its headers into a store, and tells it with what its place held
    /// before, and with the headers of that.
    ProcessHeaders {
        of: Place,
        kind: Recall,
    },
    /// Makes and cancels schedules as its values say.
    Schedules {
        of: Place,
        interval: Timestamp,
    },
    /// Sends values to two outputs, which are branches to those who read them.
    Children {
        of: Place,
    },
    /// With `by`, each record of a stream goes to a topic `TOPIC-KEY` by a key made of it. Values
    /// that it `refuses` cannot be written.
    To {
        of: Place,
        topic: String,
        #[serde(default, skip_serializing_if = "none")]
        by: Option<Selector>,
        #[serde(default, skip_serializing_if = "none")]
        refuses: Option<Test>,
        #[serde(default, skip_serializing_if = "none")]
        on_error: Option<Policy>,
    },
}

/// An operator of a stream that refuses the records for which `test` holds, `refused VALUE`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the type says what they mean")]
pub struct Trying {
    pub of: Place,
    pub how: How,
    #[serde(rename = "if")]
    pub test: Test,
    #[serde(default, skip_serializing_if = "none")]
    pub on_error: Option<Policy>,
}

/// Which operator; it maps and selects as [`Trying::MAP`] and [`Trying::KEY`] say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are the operators")]
pub enum How {
    Map,
    MapValues,
    SelectKey,
    FlatMap,
    FlatMapValues,
    Filter,
    ForEach,
}

impl Trying {
    /// What becomes of a value.
    pub const MAP: Map = Map::Line((2, 1));
    /// What becomes of a key.
    pub const KEY: Selector = Selector::One((By::Code, 3));
    /// Which values stay.
    pub const KEEP: Test = Test::Remainder((2, 0));
    /// How many values a value becomes, as in `flat_map_values`.
    pub const TIMES: i64 = 3;
}

/// What time a record has, and what becomes of it if that is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Times {
    /// `[FACTOR, INVALID]`: the value times the factor; of a null value it is 0 in a stream, and
    /// that of the record in a table.
    Value((i64, Invalid)),
    /// `["record", INVALID]` or `["wall", INVALID]`.
    Given((Given, Invalid)),
}

impl Times {
    /// What becomes of a record whose time is negative.
    pub fn invalid(self) -> Invalid {
        let (Self::Value((_, invalid)) | Self::Given((_, invalid))) = self;
        invalid
    }
}

/// Times that do not depend on what a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Given {
    /// The one on the log.
    Record,
    /// The wall clock, as the driver tells it.
    Wall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are Kafka Streams' extractors")]
pub enum Invalid {
    Fail,
    Skip,
    Partition,
}

/// The windows of a group. `size` is a session's gap and a sliding window's difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "fields are Kafka Streams' parameters")]
pub struct Windows {
    pub of: Place,
    pub kind: WindowKind,
    #[serde(default, skip_serializing_if = "is_default")]
    pub size: Timestamp,
    #[serde(default, skip_serializing_if = "none")]
    pub advance: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "none")]
    pub start: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub grace: Timestamp,
    #[serde(default, skip_serializing_if = "is_default")]
    pub emit: Emit,
    /// Whether their store keeps them an hour longer, as it does where they are told on close.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kept: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are Kafka Streams' windows")]
pub enum WindowKind {
    Tumbling,
    Hopping,
    Sliding,
    Session,
    Unlimited,
}

/// When the result of a window is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Emit {
    /// Whenever it changes.
    #[default]
    Update,
    /// Once, when the window closes.
    Close,
}

/// What holds back a table's changes. A limit is `strict` where the program is to stop at it, as it
/// always does when only the final results of windows are told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "fields are Kafka Streams' parameters")]
pub struct Suppression {
    pub of: Place,
    pub until: Until,
    #[serde(default, skip_serializing_if = "is_default")]
    pub wait: Timestamp,
    #[serde(default, skip_serializing_if = "none")]
    pub max_records: Option<usize>,
    #[serde(default, skip_serializing_if = "none")]
    pub max_bytes: Option<usize>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are Kafka Streams' ways")]
pub enum Until {
    Close,
    Time,
}

/// A join by key. Two streams have `before` and `after`, and a grace; a stream and a versioned
/// table may have a grace; a stream and a global table have a key. Of a stream and a table, also a
/// global one, the number of the stream's key may be added, `keyed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "fields are Kafka Streams' parameters")]
pub struct Joining {
    pub of: Place,
    pub with: Place,
    pub kind: Side,
    #[serde(default, skip_serializing_if = "is_default")]
    pub before: Timestamp,
    #[serde(default, skip_serializing_if = "is_default")]
    pub after: Timestamp,
    #[serde(default, skip_serializing_if = "none")]
    pub grace: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "none")]
    pub key: Option<Selector>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub stored: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub keyed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are the three kinds of joins")]
pub enum Side {
    Inner,
    Left,
    Outer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are the two clocks of punctuation")]
pub enum Clock {
    Stream,
    Wall,
}
