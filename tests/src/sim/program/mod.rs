//! A random program and its random input.
//!
//! Programs are drawn so that what they must put out is determined by the input alone: tasks read
//! topics that are filled before they start, each partition of an output has one writing task, and
//! so has each repartition topic. Two shapes are different, the second aggregate of a table and the
//! join by a foreign key: they hear from several writers, and only the end of them is compared.

mod input;
mod joins;
mod plain;
mod windows;

use super::world::{APPLICATION, Contents};
use millstream_core::{Result, batch::RecordBatch, prelude::*, topology::changelog_name};
use millstream_log::Rng;
use std::{collections::BTreeMap, time::Duration};

pub(super) static LEFT: Topic<String, i64> = Topic::new("left", utf8(), i64_be());
pub(super) static RIGHT: Topic<String, i64> = Topic::new("right", utf8(), i64_be());
pub(super) static ROWS: Topic<String, i64> = Topic::new("rows", utf8(), i64_be());
pub(super) static OUT: Topic<String, i64> = Topic::new("out", utf8(), i64_be());
pub(super) static SIDE: Topic<String, i64> = Topic::new("side", utf8(), i64_be());
pub(super) static TOTALS: Topic<String, i64> = Topic::new("totals", utf8(), i64_be());
/// What came of windows and joins, in words; the first one says what it is, and is counted.
pub(super) static TOLD: Topic<String, String> = Topic::new("told", utf8(), utf8());
/// Where records that cannot be decoded go.
pub(super) const DEAD: &str = "dead";

/// The topics that programs read.
pub(super) const SOURCES: [&str; 3] = [LEFT.name, RIGHT.name, ROWS.name];
/// The topics that they write.
pub(super) const SINKS: [&str; 5] = [OUT.name, SIDE.name, TOTALS.name, TOLD.name, DEAD];

/// How time is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Tumbling,
    Hopping,
    Sliding,
    Session,
}

/// Of which sides of a join records are told that meet nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Inner,
    Left,
    Outer,
}

/// What the middle of a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Count,
    Aggregate,
    Reduce,
    Table,
    Join,
    LeftJoin,
    JoinFiltered,
    Merge,
    Branch,
    Processor,
    Repartition,
    GroupBy,
    GroupByTable,
    /// Windows, told with every update.
    Windows(Cut),
    /// Windows, told when they close.
    Closing(Cut),
    /// Windows, held back until they close.
    SuppressWindows(Cut),
    /// A table whose changes are held back for some time.
    SuppressTable,
    Cogroup,
    CogroupWindows(Cut),
    StreamJoin(Side),
    /// A stream with itself.
    SelfJoin,
    /// Rows with a history, themselves and as a stream meets them.
    VersionedJoin,
    /// The same, where the stream waits for the rows.
    GracedJoin,
    TableJoin(Side),
    ForeignJoin(Side),
    GlobalJoin,
}

impl Shape {
    /// Whether the last row of each key is the same however often changes are told.
    fn ends_alike(self) -> bool {
        let tables = [Self::Count, Self::Aggregate, Self::Reduce, Self::Cogroup];
        let moved = [Self::Merge, Self::Repartition, Self::GroupBy];
        let windows = matches!(self, Self::Windows(_) | Self::CogroupWindows(_));
        let joins = matches!(self, Self::TableJoin(_));
        tables.contains(&self) || moved.contains(&self) || windows || joins
    }
}

/// Shapes in which time does not matter.
const PLAIN: [Shape; 13] = [
    Shape::Count,
    Shape::Aggregate,
    Shape::Reduce,
    Shape::Table,
    Shape::Join,
    Shape::LeftJoin,
    Shape::JoinFiltered,
    Shape::Merge,
    Shape::Branch,
    Shape::Processor,
    Shape::Repartition,
    Shape::GroupBy,
    Shape::GroupByTable,
];

/// Shapes of windows and joins.
const TIMED: [Shape; 27] = [
    Shape::Windows(Cut::Tumbling),
    Shape::Windows(Cut::Hopping),
    Shape::Windows(Cut::Sliding),
    Shape::Windows(Cut::Session),
    Shape::Closing(Cut::Tumbling),
    Shape::Closing(Cut::Hopping),
    Shape::Closing(Cut::Sliding),
    Shape::Closing(Cut::Session),
    Shape::SuppressWindows(Cut::Tumbling),
    Shape::SuppressWindows(Cut::Hopping),
    Shape::SuppressWindows(Cut::Session),
    Shape::SuppressTable,
    Shape::Cogroup,
    Shape::CogroupWindows(Cut::Tumbling),
    Shape::CogroupWindows(Cut::Session),
    Shape::StreamJoin(Side::Inner),
    Shape::StreamJoin(Side::Left),
    Shape::StreamJoin(Side::Outer),
    Shape::SelfJoin,
    Shape::VersionedJoin,
    Shape::GracedJoin,
    Shape::TableJoin(Side::Inner),
    Shape::TableJoin(Side::Left),
    Shape::TableJoin(Side::Outer),
    Shape::ForeignJoin(Side::Inner),
    Shape::ForeignJoin(Side::Left),
    Shape::GlobalJoin,
];

/// How many shapes there are.
pub(super) const SHAPES: usize = PLAIN.len() + TIMED.len();

/// A stateless step in front of the shape.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Add(i64),
    Drop(i64),
    Twice,
}

/// How long things last, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Spans {
    /// A window, a gap between sessions, how much earlier a partner may be.
    size: i64,
    /// Between two hopping windows, and how much later a partner may be.
    advance: i64,
    grace: i64,
    /// How long changes are held back, and how many.
    wait: i64,
    held: Option<usize>,
    /// How far back versions are known.
    history: i64,
}

/// A program with its input.
pub(super) struct Script {
    pub(super) shape: Shape,
    stages: Vec<Stage>,
    /// Partitions of the program's topics; a source in front of a repartition has one.
    pub(super) partitions: u32,
    punctuate_every: i64,
    spans: Spans,
    /// Whether windows are of another key than that of the records.
    rekeyed: bool,
    /// Whether the right one of two joined tables has versions, and the result a store.
    versioned: bool,
    kept: bool,
    /// Whether tables tell changes once per key and commit, where that changes no last row.
    pub(super) per_commit: bool,
    /// By topic: records as bytes, in order.
    pub(super) input: Vec<(&'static str, RecordBatch)>,
}

/// What a store forgets: rows whose time lies `retention` or more behind the time it has observed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forgets {
    pub(super) retention: i64,
    /// Whether a row's key ends with two times, of which the first one counts, or with one.
    pub(super) wide: bool,
}

impl Script {
    /// The program of a seed. Of four seeds two are plain ones, so that those among them that were
    /// kept as cases keep their programs. No record's time is before the earliest.
    pub(super) fn of(seed: u64, earliest: i64) -> Self {
        let rng = &mut Rng::new(seed);
        let timed = seed % 4 < 2;
        let shapes: &[Shape] = if timed { &TIMED } else { &PLAIN };
        let shape = shapes[rng.index(shapes.len())];
        let stage = |rng: &mut Rng| match rng.below(3) {
            0 => Stage::Add(rng.below(10) as i64),
            1 => Stage::Drop(2 + rng.below(5) as i64),
            _ => Stage::Twice,
        };
        let stages = (0..rng.below(3)).map(|_| stage(rng)).collect();
        let mut script = Self {
            shape,
            stages,
            partitions: 1 + u32::try_from(rng.below(3)).unwrap_or(0),
            punctuate_every: 1 + rng.below(40) as i64,
            spans: Spans::default(),
            rekeyed: false,
            versioned: false,
            kept: false,
            // Seeds that were kept as cases before are not among them.
            per_commit: matches!(seed % 12, 0 | 7 | 9 | 11) && shape.ends_alike(),
            input: Vec::new(),
        };
        let pace = if timed { script.take_time(rng) } else { None };
        let keys = 1 + rng.below(8);
        let records = 10 + rng.below(60);
        let has = [true, script.has_right(), script.has_rows()];
        for (topic, has) in SOURCES.into_iter().zip(has) {
            if has {
                let tombstones = if script.is_table(topic) { 5 } else { 0 };
                // A row that is deleted and comes back equal while answers are on their way cannot
                // be told from the first one, by a foreign-key join as by Kafka Streams'.
                let bounds = (earliest, matches!(shape, Shape::ForeignJoin(_)));
                let sizes = (records, keys, tombstones);
                let batch = input::records_of(rng, sizes, pace, bounds);
                script.input.push((topic, batch));
            }
        }
        script
    }

    /// Draws what plain programs do not have, and returns the pace of time: in every other program
    /// it is so slow that stores forget nothing, in the others so fast that they must.
    fn take_time(&mut self, rng: &mut Rng) -> Option<u64> {
        let pace = [1, 3_000][rng.index(2)];
        let size = 2 + rng.below(30);
        let spans = |steps: u64| (pace * steps) as i64;
        self.spans = Spans {
            size: spans(size),
            advance: spans(1 + rng.below(size)),
            grace: spans(rng.below(25)),
            wait: spans(rng.below(25)),
            held: rng.chance(0.3).then(|| 1 + rng.index(3)),
            history: spans(25 + rng.below(30)),
        };
        self.rekeyed = rng.chance(0.3);
        self.versioned = rng.chance(0.3);
        self.kept = rng.chance(0.5);
        Some(pace)
    }

    fn has_right(&self) -> bool {
        matches!(
            self.shape,
            Shape::Merge | Shape::Cogroup | Shape::CogroupWindows(_) | Shape::StreamJoin(_)
        )
    }

    fn has_rows(&self) -> bool {
        matches!(
            self.shape,
            Shape::Join
                | Shape::LeftJoin
                | Shape::JoinFiltered
                | Shape::Table
                | Shape::GroupByTable
                | Shape::VersionedJoin
                | Shape::GracedJoin
                | Shape::TableJoin(_)
                | Shape::ForeignJoin(_)
                | Shape::GlobalJoin
        )
    }

    fn is_table(&self, topic: &str) -> bool {
        let left = matches!(self.shape, Shape::TableJoin(_) | Shape::ForeignJoin(_));
        topic == ROWS.name || (left && topic == LEFT.name)
    }

    /// Whether the stream's key is changed in front of the shape.
    fn moves(&self) -> bool {
        let windows = matches!(
            self.shape,
            Shape::Windows(_) | Shape::Closing(_) | Shape::SuppressWindows(_)
        );
        matches!(self.shape, Shape::Repartition | Shape::GroupBy) || (windows && self.rekeyed)
    }

    /// How many partitions a source topic has.
    pub(super) fn source_partitions(&self, topic: &str) -> u32 {
        if self.moves() && topic == LEFT.name {
            1
        } else {
            self.partitions
        }
    }

    /// Topics of which only each key's last value is determined.
    pub(super) fn only_the_end_matters(topic: &str) -> bool {
        topic == TOTALS.name || topic.ends_with("totals-changelog")
    }

    /// What the stores forget, by the names of their changelogs.
    pub(super) fn forgets(&self) -> Result<BTreeMap<String, Forgets>> {
        let topology = self.topology()?;
        let ids = topology.subtopologies().iter().flat_map(|sub| &sub.stores);
        let forgetful = ids.filter_map(|id| {
            let store = topology.store(*id);
            let (retention, wide) = match store.format.split('/').collect::<Vec<_>>()[..] {
                ["timed", _, wide, ..] => (store.retention?, wide == "true"),
                ["versioned", ..] => (self.spans.history, true),
                _ => return None,
            };
            let topic = changelog_name(APPLICATION, &store.name);
            Some((topic, Forgets { retention, wide }))
        });
        Ok(forgetful.collect())
    }

    /// What a run has made, by shape and kind: how many windows closed, how many pairs met.
    pub(super) fn made(&self, contents: &Contents) -> BTreeMap<String, u64> {
        let mut made = BTreeMap::new();
        for ((topic, _), records) in contents {
            for (_, value, _) in records {
                let word = if topic == TOLD.name {
                    let text = std::str::from_utf8(value.as_deref().unwrap_or_default());
                    text.unwrap_or_default().split(' ').next()
                } else {
                    [OUT.name, TOTALS.name].into_iter().find(|out| topic == out)
                };
                if let Some(word) = word {
                    *made.entry(self.in_words(word)).or_default() += 1;
                }
            }
        }
        made
    }

    pub(super) fn in_words(&self, what: &str) -> String {
        format!("{:?} {what}", self.shape)
    }

    /// The program itself.
    pub(super) fn topology(&self) -> Result<Topology> {
        let builder = StreamsBuilder::new();
        match self.shape {
            Shape::Windows(_)
            | Shape::Closing(_)
            | Shape::SuppressWindows(_)
            | Shape::SuppressTable
            | Shape::Cogroup
            | Shape::CogroupWindows(_) => self.windows(&builder),
            Shape::StreamJoin(_)
            | Shape::SelfJoin
            | Shape::VersionedJoin
            | Shape::GracedJoin
            | Shape::GlobalJoin => self.stream_joins(&builder),
            Shape::TableJoin(side) => self.table_join(&builder, side),
            Shape::ForeignJoin(side) => Self::foreign_join(&builder, side),
            _ => self.plain(&builder),
        }
        builder.build()
    }

    /// The stream that most shapes begin with.
    fn left<'b>(&self, builder: &'b StreamsBuilder) -> KStream<'b, String, i64> {
        let left = Consumed::of(&LEFT).on_error(ErrorPolicy::DeadLetter);
        self.stages
            .iter()
            .fold(builder.stream(left), |stream, stage| match *stage {
                Stage::Add(n) => stream.map_values(move |v| v + n),
                Stage::Drop(n) => stream.filter(move |_, v| v % n != 0),
                Stage::Twice => stream.flat_map_values(|v| [v, v + 1]),
            })
    }
}

impl Default for Spans {
    fn default() -> Self {
        Self {
            size: 1,
            advance: 1,
            grace: 0,
            wait: 0,
            held: None,
            history: 1,
        }
    }
}

/// Everything that programs of many seeds must have made.
pub(super) fn wanted() -> Vec<String> {
    let words = |shape: Shape| -> &[&str] {
        match shape {
            Shape::Windows(Cut::Session) | Shape::CogroupWindows(Cut::Session) => {
                &["window", "gone", "late"]
            }
            Shape::Windows(_) | Shape::CogroupWindows(_) => &["window", "late"],
            Shape::Closing(_) | Shape::SuppressWindows(_) => &["window", "late"],
            Shape::SuppressTable => &["row"],
            Shape::StreamJoin(Side::Inner) | Shape::SelfJoin => &["pair"],
            Shape::StreamJoin(Side::Left) => &["pair", "left"],
            Shape::StreamJoin(Side::Outer) => &["pair", "left", "right"],
            Shape::VersionedJoin => &["pair", "left", "late"],
            Shape::GracedJoin | Shape::GlobalJoin => &["pair", "left"],
            Shape::TableJoin(_) => &["row", "gone"],
            Shape::GroupByTable | Shape::ForeignJoin(_) => &["totals"],
            _ => &["out"],
        }
    };
    let shapes = PLAIN.into_iter().chain(TIMED);
    let all = shapes.flat_map(|shape| words(shape).iter().map(move |w| format!("{shape:?} {w}")));
    all.collect()
}

#[track_caller]
fn right(builder: &StreamsBuilder) -> KStream<'_, String, i64> {
    builder.stream(Consumed::of(&RIGHT).on_error(ErrorPolicy::DeadLetter))
}

#[track_caller]
fn rows(builder: &StreamsBuilder) -> KTable<'_, String, i64> {
    builder.table(&ROWS, "rows")
}

#[track_caller]
fn sum<'b>(grouped: KGroupedStream<'b, String, i64>) -> KTable<'b, String, i64> {
    grouped.aggregate("s", || 0, add)
}

/// The order of the values shows in the result, so that a swap would be seen.
fn add(_: &String, value: i64, sum: &mut i64) {
    *sum = (*sum * 3 + value) % 1_000_003;
}

fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}
