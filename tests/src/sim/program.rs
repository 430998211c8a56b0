//! A random program and its random input.
//!
//! Programs are drawn so that what they must put out is determined by the input alone: tasks read
//! topics that are filled before they start, and repartition topics have one writing task. Only the
//! second aggregate of a table hears from several writers; of it only the end is compared.

use millstream_core::{
    Result, batch::RecordBatch, prelude::*, record::Headers, task::PunctuationType,
};
use millstream_log::Rng;

pub(super) static LEFT: Topic<String, i64> = Topic::new("left", utf8(), i64_be());
pub(super) static RIGHT: Topic<String, i64> = Topic::new("right", utf8(), i64_be());
pub(super) static ROWS: Topic<String, i64> = Topic::new("rows", utf8(), i64_be());
pub(super) static OUT: Topic<String, i64> = Topic::new("out", utf8(), i64_be());
pub(super) static SIDE: Topic<String, i64> = Topic::new("side", utf8(), i64_be());
pub(super) static TOTALS: Topic<String, i64> = Topic::new("totals", utf8(), i64_be());
/// Where records that cannot be decoded go.
pub(super) const DEAD: &str = "dead";

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
}

const SHAPES: [Shape; 13] = [
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

/// A stateless step in front of the shape.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Add(i64),
    Drop(i64),
    Twice,
}

/// A program with its input.
pub(super) struct Script {
    pub(super) shape: Shape,
    stages: Vec<Stage>,
    /// Partitions of the program's topics; the source of a repartition has one.
    pub(super) partitions: u32,
    punctuate_every: i64,
    /// By topic: records as bytes, in order.
    pub(super) input: Vec<(&'static str, RecordBatch)>,
}

impl Script {
    pub(super) fn random(rng: &mut Rng) -> Self {
        let shape = SHAPES[rng.index(SHAPES.len())];
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
            input: Vec::new(),
        };
        let keys = 1 + rng.below(8);
        let records = 10 + rng.below(60);
        script
            .input
            .push((LEFT.name, records_of(rng, records, keys, 0)));
        if shape == Shape::Merge {
            script
                .input
                .push((RIGHT.name, records_of(rng, records, keys, 0)));
        }
        if script.has_rows() {
            script
                .input
                .push((ROWS.name, records_of(rng, records, keys, 5)));
        }
        script
    }

    pub(super) fn has_rows(&self) -> bool {
        matches!(
            self.shape,
            Shape::Join
                | Shape::LeftJoin
                | Shape::JoinFiltered
                | Shape::Table
                | Shape::GroupByTable
        )
    }

    /// How many partitions a source topic has.
    pub(super) fn source_partitions(&self, topic: &str) -> u32 {
        let one_writer = matches!(self.shape, Shape::Repartition | Shape::GroupBy);
        if one_writer && topic == LEFT.name {
            1
        } else {
            self.partitions
        }
    }

    /// Topics of which only each key's last value is determined.
    pub(super) fn only_the_end_matters(topic: &str) -> bool {
        topic == TOTALS.name || topic.ends_with("totals-changelog")
    }

    /// The program itself.
    pub(super) fn topology(&self) -> Result<Topology> {
        let builder = StreamsBuilder::new();
        let left = Consumed::of(&LEFT).on_error(ErrorPolicy::DeadLetter);
        let stream = self
            .stages
            .iter()
            .fold(builder.stream(left), |stream, stage| match *stage {
                Stage::Add(n) => stream.map_values(move |v| v + n),
                Stage::Drop(n) => stream.filter(move |_, v| v % n != 0),
                Stage::Twice => stream.flat_map_values(|v| [v, v + 1]),
            });
        match self.shape {
            Shape::Count => stream
                .group_by_key()
                .count("s")
                .map_values(|_, n| n as i64)
                .to(&OUT),
            Shape::Aggregate => sum(stream.group_by_key()).to(&OUT),
            Shape::Reduce => stream.group_by_key().reduce("s", i64::max).to(&OUT),
            Shape::Table => {
                stream.to_table("s").filter(|_, v| v % 3 != 0).to(&OUT);
                rows(&builder).map_values(|_, v| v + 1).to(&SIDE);
            }
            Shape::Join => stream
                .join(rows(&builder), |v, row| v * 1000 + row)
                .to(&OUT),
            Shape::LeftJoin => {
                let join = |v: i64, row: Option<&i64>| v * 1000 + row.copied().unwrap_or(-1);
                stream.left_join(rows(&builder), join).to(&OUT);
            }
            Shape::JoinFiltered => {
                let table = rows(&builder).filter(|_, v| v % 2 == 0);
                stream.join(table, |v, row| v * 1000 + row).to(&OUT);
                sum(stream.group_by_key()).to(&SIDE);
            }
            Shape::Merge => {
                let right = Consumed::of(&RIGHT).on_error(ErrorPolicy::DeadLetter);
                let right = builder.stream(right);
                sum(stream.merge(right).group_by_key()).to(&OUT);
            }
            Shape::Branch => {
                let split = stream.split();
                sum(split.branch(|_, v| v % 2 == 0).group_by_key()).to(&OUT);
                split.default_branch().to(&SIDE);
            }
            Shape::Processor => {
                let every = self.punctuate_every;
                let store = builder.store::<String, i64>("s");
                stream
                    .process(store, move |seen| Flush { seen, every })
                    .to(&OUT);
            }
            Shape::Repartition => {
                let topic = Repartitioned::from("moved").partitions(self.partitions);
                let moved = stream
                    .select_key(|_, v| format!("m{}", v % 5))
                    .repartition(topic);
                sum(moved.group_by_key()).to(&OUT);
            }
            Shape::GroupBy => {
                sum(stream.group_by(|_, v| format!("g{}", v % 5))).to(&OUT);
            }
            Shape::GroupByTable => {
                stream.to(&SIDE);
                let grouped = rows(&builder).group_by(|_, v| (format!("t{}", v % 3), *v));
                let add = |_: &String, v: i64, total: &mut i64| *total += v;
                let subtract = |_: &String, v: i64, total: &mut i64| *total -= v;
                grouped.aggregate("totals", || 0, add, subtract).to(&TOTALS);
            }
        }
        builder.build()
    }
}

#[track_caller]
fn rows(builder: &StreamsBuilder) -> KTable<'_, String, i64> {
    builder.table(&ROWS, "rows")
}

#[track_caller]
fn sum<'b>(grouped: KGroupedStream<'b, String, i64>) -> KTable<'b, String, i64> {
    // The order of the values shows in the result, so that a swap would be seen.
    grouped.aggregate(
        "s",
        || 0,
        |_, v, sum: &mut i64| *sum = (*sum * 3 + v) % 1_000_003,
    )
}

/// Sums by key, and tells and forgets all sums every so often of stream time.
struct Flush {
    seen: StoreRef<KeyValueStore<String, i64>>,
    every: i64,
}

impl Processor<String, i64> for Flush {
    type Key = String;
    type Value = i64;

    fn schedules(&self) -> Vec<Schedule> {
        vec![Schedule::stream_time(self.every)]
    }

    fn process(
        &mut self,
        record: Record<String, i64>,
        ctx: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        let sum = ctx.store(self.seen).entry(&record.key, || 0)?;
        *sum = (*sum * 3 + record.value) % 1_000_003;
        Ok(())
    }

    fn punctuate(
        &mut self,
        _: PunctuationType,
        now: Timestamp,
        ctx: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        let mut sums = Vec::new();
        ctx.store(self.seen).all(|key, sum, _| {
            sums.push((key, sum));
            std::ops::ControlFlow::Continue(())
        })?;
        for (key, sum) in sums {
            ctx.store(self.seen).delete(&key)?;
            ctx.forward(Record::new(key, sum, now))?;
        }
        Ok(())
    }
}

/// Random records: times mostly forwards, some values that are no number, and tombstones in
/// `tombstones` of ten where the topic is a table.
fn records_of(rng: &mut Rng, records: u64, keys: u64, tombstones: u64) -> RecordBatch {
    let mut batch = RecordBatch::new();
    let mut time = 0i64;
    for _ in 0..records {
        time += rng.below(10) as i64;
        let timestamp = (time - rng.below(25) as i64).max(0);
        let key = format!("k{}", rng.below(keys));
        let number = (rng.below(100) as i64).to_be_bytes();
        let bad: &[u8] = b"no number";
        let value = match rng.below(20) {
            n if n < tombstones => None,
            19 if tombstones == 0 => Some(bad),
            _ => Some(&number[..]),
        };
        let headers = Headers::NONE;
        let key = Some(key.as_bytes());
        let taken = batch.push(
            batch.len() as i64,
            millstream_core::record::RawRecord {
                key,
                value,
                timestamp,
                headers: &headers,
            },
        );
        assert!(taken, "a simulation's input is small");
    }
    batch
}
