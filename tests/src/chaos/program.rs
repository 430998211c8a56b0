//! The program under the storm: an echo by way of calls that take their time, running values by
//! key, windows and their final results, a repartition, and a model.
//!
//! Invariant: what each output partition must hold follows from the records of one input partition
//! in their order, so that whoever reads the input can tell what should have come out. Only the
//! groups hear from all partitions; their records carry what they were made from.

use millstream::{
    learn::{
        Example, LearnExt, Scored, TextClassifier, features::TextOptions, grades::BinaryGrades,
    },
    prelude::*,
    sink::{RecordMeta, Table, row},
};
use serde::{Deserialize, Serialize};
use std::{convert::Infallible, time::Duration};

/// `application.id`: the group, and the start of the names of internal topics.
pub(super) const APPLICATION: &str = "chaos";
/// The model's store.
pub(super) const MODEL: &str = "model";
/// The table of predictions, which is the sink's name too.
pub(super) const PREDICTED: &str = "predicted";

/// A record's number takes so many of its value's low bits; above them is what it weighs.
const NUMBER_BITS: u32 = 40;
/// What a record weighs is below this, so that a minimum is soon met again and again.
const WEIGHTS: u64 = 64;
/// Keys, groups, and features of a text: few, so that each is changed often.
const KEYS: u64 = 101;
/// Records from this number on have a million keys, for a state of some size.
pub(super) const MANY_KEYS: u64 = 1 << 32;
const GROUPS_MAX: u64 = 23;
const FEATURE_BITS: u32 = 12;
/// How many calls are out at once, and one in so many takes its time, which is this much.
const CALLS: usize = 64;
const SLOW: u64 = 8;
const CALL: Duration = Duration::from_millis(5);
/// The store of windows.
pub(super) const COUNTS: &str = "counts";
/// The size of windows and their grace, in the records' own time, of which a second has less than
/// half: many open, close and expire while a storm blows.
pub(super) const WINDOW: Timestamp = 500;
pub(super) const GRACE: Timestamp = 200;
/// Over how many records the model's rolling grades go.
const ROLLING: usize = 100;

pub(super) static INPUT: Topic<String, i64> = Topic::new("input", utf8(), i64_be());
pub(super) static ECHO: Topic<String, i64> = Topic::new("echo", utf8(), i64_be());
pub(super) static MINIMA: Topic<String, i64> = Topic::new("minima", utf8(), i64_be());
pub(super) static SUMS: Topic<String, i64> = Topic::new("sums", utf8(), i64_be());
pub(super) static GROUPS: Topic<String, Group> = Topic::new("groups", utf8(), bincode());
pub(super) static PREDICTIONS: Topic<String, Judged> = Topic::new("predictions", utf8(), bincode());

pub(super) static CHANGES: Topic<String, Counted> = Topic::new("changes", utf8(), bincode());
pub(super) static FINALS: Topic<String, Counted> = Topic::new("finals", utf8(), bincode());

/// All topics that are not the program's own to make.
pub(super) const TOPICS: [&str; 8] = [
    "input",
    "echo",
    "minima",
    "sums",
    "groups",
    "predictions",
    "changes",
    "finals",
];

/// The start of a window of a key, and how many records it has.
pub(super) type Counted = (Timestamp, u64);

/// What a group of records from all partitions comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) count: u64,
    pub(super) max: i64,
    /// The record that was added last: it says from which one this state was made.
    pub(super) last: i64,
}

impl Group {
    /// Adds a record.
    pub(super) fn add(&mut self, value: i64) {
        self.count += 1;
        self.max = self.max.max(value);
        self.last = value;
    }
}

pub(super) type Judged = Scored<f64, bool>;

/// The key and the value of the record of that number. No two numbers have the same value.
pub(super) fn record(number: u64) -> (String, i64) {
    // Spread, so that neighbours have nothing in common.
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let value = (mixed % WEIGHTS) << NUMBER_BITS | number & ((1 << NUMBER_BITS) - 1);
    let keys = if number < MANY_KEYS { KEYS } else { 1 << 20 };
    let key = format!("key-{}", (mixed / WEIGHTS) % keys);
    (key, i64::try_from(value).unwrap_or_default())
}

/// To which group a record belongs.
pub(super) fn group(value: i64) -> String {
    format!("group-{}", value.unsigned_abs() % GROUPS_MAX)
}

/// What the model is to judge: heavy or not, with some noise, and sometimes nobody has said.
pub(super) fn example(value: i64) -> Example<String, bool> {
    let (weight, number) = (value >> NUMBER_BITS, value & ((1 << NUMBER_BITS) - 1));
    let text = format!("weight{weight} tens{} odd{}", weight / 10, number % 13);
    Example {
        input: text,
        label: (number % 10 != 0).then_some((weight >= 32) != (number % 17 == 0)),
    }
}

/// A model that has seen nothing.
pub(super) fn fresh() -> TextClassifier {
    let options = TextOptions {
        bits: FEATURE_BITS,
        ..TextOptions::default()
    };
    TextClassifier::new(MODEL, options, BinaryGrades::new(ROLLING))
}

/// What is asked outside about each record. Answers come in another order than the questions; those
/// about records that are there for the size of their state do not keep anybody waiting.
async fn call(_: String, value: i64) -> Result<i64, Infallible> {
    let number = value.unsigned_abs() & ((1 << NUMBER_BITS) - 1);
    if number < MANY_KEYS && number.is_multiple_of(SLOW) {
        tokio::time::sleep(CALL).await;
    }
    Ok(value)
}

/// The program. Its first subtopology has the echo, the minima, the sums, the windows and the
/// model, the second the groups.
pub(super) fn topology() -> millstream::Result<Topology> {
    let builder = StreamsBuilder::new();
    let input = builder.stream(&INPUT);
    let calls = AsyncConfig::new().concurrency(CALLS);
    input.map_async("call", calls, call).to(&ECHO);
    input.group_by_key().reduce("minima", i64::min).to(&MINIMA);
    let add = |_: &String, value: i64, sum: &mut i64| *sum = sum.wrapping_add(value);
    input.group_by_key().aggregate("sums", || 0, add).to(&SUMS);
    windows(input);
    let add = |_: &String, value: i64, group: &mut Group| group.add(value);
    let groups = input.group_by(|_, value| group(*value));
    groups.aggregate("groups", Group::default, add).to(&GROUPS);
    let examples = input.map_values(example);
    examples.learn(MODEL, fresh).to(&PREDICTIONS);
    builder.build()
}

/// Counts each key in windows of time, and tells every change and each final result; these stay in
/// the partition of the key.
fn windows(input: KStream<'_, String, i64>) {
    let millis = |time: Timestamp| Duration::from_millis(time.unsigned_abs());
    let windows = TimeWindows::of_size_and_grace(millis(WINDOW), millis(GRACE));
    let counts = input.group_by_key().windowed_by(windows).count(COUNTS);
    let unbounded = Suppressed::until_window_closes(BufferConfig::unbounded());
    let finals = counts.suppress("held", unbounded);
    for (table, topic) in [(counts, &CHANGES), (finals, &FINALS)] {
        let told = table.to_stream().map_values(Option::unwrap_or_default);
        let told = told.map(|key, count: u64| (key.key, (key.window.start, count)));
        told.to(topic);
    }
}

/// A row of the table. Its key is the prediction's place in its topic, which every table without
/// key columns has.
pub(super) struct Predicted {
    input_partition: i64,
    input_offset: i64,
    version: i64,
    probability: f64,
}

row!(Predicted {
    input_partition,
    input_offset,
    version,
    probability,
});

pub(super) static TABLE: Table<Predicted> = Table::new(PREDICTED);

/// The row that a prediction becomes.
pub(super) fn to_row(_: &String, judged: &Judged, _: &RecordMeta<'_>) -> Predicted {
    Predicted {
        input_partition: i64::from(judged.partition),
        input_offset: judged.offset,
        version: i64::try_from(judged.prediction.version).unwrap_or(i64::MAX),
        probability: judged.prediction.output,
    }
}
