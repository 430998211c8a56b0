//! Foreign-key joins: exact sequences, any sequence against the join of two maps, and any order in
//! which the tasks of several partitions may run.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "foreign_join/cluster.rs"]
mod cluster;
#[path = "foreign_join/oracle.rs"]
mod oracle;
#[path = "foreign_join/placed.rs"]
mod placed;

use millstream_core::{
    ErrorKind,
    prelude::*,
    task::TaskContext,
    topology::{Format, InternalKind},
};

// Keys that are not written as a store would write them by default: they must travel as here.
static LEFT: Topic<i64, String> = Topic::new("left", i64_be(), utf8());
static RIGHT: Topic<String, String> = Topic::new("right", utf8(), utf8());
static OUT: Topic<i64, String> = Topic::new("out", i64_be(), utf8());

type Left<'b> = KTable<'b, i64, String>;
type Right<'b> = KTable<'b, String, String>;

/// Left rows are `foreign:value`; without a colon they have no foreign key.
#[expect(clippy::ptr_arg, reason = "what a join asks of its closures")]
fn foreign(_: &i64, row: &String) -> Option<String> {
    row.split_once(':').map(|(key, _)| key.to_owned())
}

fn inner<'b>(left: Left<'b>, right: Right<'b>) -> Left<'b> {
    left.foreign_key_join(right, foreign, |l, r| format!("{l}+{r}"), "fk")
}

fn left<'b>(left: Left<'b>, right: Right<'b>) -> Left<'b> {
    let join = |l: &String, r: Option<&String>| format!("{l}+{}", r.map_or("-", String::as_str));
    left.foreign_key_left_join(right, foreign, join, "fk")
}

type Join = for<'b> fn(Left<'b>, Right<'b>) -> Left<'b>;

fn tables(builder: &StreamsBuilder) -> (Left<'_>, Right<'_>) {
    (builder.table(&LEFT, "l"), builder.table(&RIGHT, "r"))
}

fn program(join: Join) -> Topology {
    let builder = StreamsBuilder::new();
    let (left, right) = tables(&builder);
    join(left, right).to(&OUT);
    builder.build().unwrap()
}

struct Driver(TopologyTestDriver);

impl Driver {
    fn new(topology: Topology) -> Self {
        Self(TopologyTestDriver::new(topology).unwrap())
    }

    /// Changes a left row, none deleting it, and shows what that told.
    fn left(&mut self, key: i64, row: &str, time: Timestamp) -> Vec<String> {
        match row {
            "" => self.0.pipe_tombstone(&LEFT, &key, time).unwrap(),
            row => self.0.pipe(&LEFT, key, row.to_owned(), time).unwrap(),
        }
        self.told()
    }

    fn right(&mut self, key: &str, row: &str, time: Timestamp) -> Vec<String> {
        let key = key.to_owned();
        match row {
            "" => self.0.pipe_tombstone(&RIGHT, &key, time).unwrap(),
            row => self.0.pipe(&RIGHT, key, row.to_owned(), time).unwrap(),
        }
        self.told()
    }

    /// `key value@time`, without a value where it is a tombstone.
    fn told(&mut self) -> Vec<String> {
        let out = self.0.read_raw("out").into_iter();
        out.map(|(key, value, time, _)| {
            let key = i64_be().decode(key.as_deref()).unwrap();
            let value = String::from_utf8(value.unwrap_or_default()).unwrap();
            format!("{key} {value}@{time}")
        })
        .collect()
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn an_inner_join_follows_both_tables() {
    let mut d = Driver::new(program(inner));
    assert_eq!(d.left(1, "x:a", 5), NOTHING);
    // What the right row triggers has its time, what the left row does the later of the two.
    assert_eq!(d.right("x", "A", 3), ["1 x:a+A@3"]);
    assert_eq!(d.left(1, "x:b", 1), ["1 x:b+A@3"]);
    assert_eq!(d.left(1, "x:b", 7), ["1 x:b+A@7"]);
    assert_eq!(d.left(2, "x:c", 8), ["2 x:c+A@8"]);
    assert_eq!(d.left(-1, "xx:d", 8), NOTHING);
    // All that name it, in the order of their keys' bytes.
    assert_eq!(d.right("x", "B", 2), ["1 x:b+B@2", "2 x:c+B@2"]);
    assert_eq!(d.right("xx", "C", 9), ["-1 xx:d+C@9"]);
    assert_eq!(d.right("x", "", 10), ["1 @10", "2 @10"]);
    assert_eq!(d.right("x", "D", 11), ["1 x:b+D@11", "2 x:c+D@11"]);
    assert_eq!(d.left(2, "", 12), ["2 @12"]);
    assert_eq!(d.left(2, "", 13), NOTHING);
    assert_eq!(d.right("x", "E", 14), ["1 x:b+E@14"]);
}

#[test]
fn a_changed_foreign_key_moves_the_row() {
    let mut d = Driver::new(program(inner));
    d.right("x", "X", 1);
    d.right("y", "Y", 2);
    assert_eq!(d.left(1, "x:a", 3), ["1 x:a+X@3"]);
    // To one that has a row: there is nothing in between.
    assert_eq!(d.left(1, "y:a", 4), ["1 y:a+Y@4"]);
    assert_eq!(d.right("x", "X2", 5), NOTHING);
    // To one that has none: the result goes, once.
    assert_eq!(d.left(1, "z:a", 6), ["1 @6"]);
    assert_eq!(d.left(1, "z:b", 7), NOTHING);
    assert_eq!(d.right("y", "Y2", 8), NOTHING);
    assert_eq!(d.right("z", "Z", 9), ["1 z:b+Z@9"]);
    assert_eq!(d.left(1, "x:b", 2), ["1 x:b+X2@5"]);
    // To none at all, and back.
    assert_eq!(d.left(1, "none", 10), ["1 @10"]);
    assert_eq!(d.0.dropped().null_key, 1);
    assert_eq!(d.left(1, "none!", 11), NOTHING);
    assert_eq!(d.right("x", "X3", 12), NOTHING);
    assert_eq!(d.left(1, "x:c", 13), ["1 x:c+X3@13"]);
    assert_eq!(d.left(1, "none", 14), ["1 @14"]);
    assert_eq!(d.left(1, "", 15), NOTHING);
    assert_eq!(d.0.dropped().null_key, 3);
}

#[test]
fn a_left_join_has_a_result_for_every_row() {
    let mut d = Driver::new(program(left));
    assert_eq!(d.left(1, "x:a", 5), ["1 x:a+-@5"]);
    assert_eq!(d.right("x", "A", 3), ["1 x:a+A@3"]);
    assert_eq!(d.left(1, "x:b", 1), ["1 x:b+A@3"]);
    assert_eq!(d.left(1, "y:c", 6), ["1 y:c+-@6"]);
    assert_eq!(d.right("x", "", 7), NOTHING);
    assert_eq!(d.left(1, "none", 8), ["1 none+-@8"]);
    assert_eq!(d.left(2, "none", 4), ["2 none+-@4"]);
    assert_eq!(d.left(1, "x:d", 9), ["1 x:d+-@9"]);
    assert_eq!(d.right("x", "B", 10), ["1 x:d+B@10"]);
    assert_eq!(d.right("x", "", 11), ["1 x:d+-@11"]);
    assert_eq!(d.left(1, "", 12), ["1 @12"]);
    assert_eq!(d.left(1, "", 13), NOTHING);
    assert_eq!(d.left(2, "", 3), ["2 @3"]);
    assert_eq!(d.right("x", "C", 14), NOTHING);
    assert_eq!(d.0.dropped().null_key, 0);
}

#[test]
fn headers_travel_there_and_back() {
    let mut d = Driver::new(program(left));
    let mut record = Record::new(1, "x:a".to_owned(), 0);
    record.headers.push("h", Some(b"v".to_vec()));
    d.0.pipe_record(&LEFT, &record).unwrap();
    assert_eq!(d.0.read_raw("out")[0].3, record.headers);
}

#[test]
fn a_table_is_joined_with_itself() {
    // Who is whose chief: rows are `chief:name`.
    static STAFF: Topic<String, String> = Topic::new("staff", utf8(), utf8());
    static CHIEFS: Topic<String, String> = Topic::new("chiefs", utf8(), utf8());
    let builder = StreamsBuilder::new();
    let staff = builder.table(&STAFF, "staff");
    let chief = |_: &String, row: &String| row.split_once(':').map(|(chief, _)| chief.to_owned());
    let chiefs = staff.foreign_key_join(staff, chief, |l, r| format!("{l}<{r}"), "chiefs");
    chiefs.to(&CHIEFS);
    let topology = builder.build().unwrap();
    assert_eq!(topology.subtopologies().len(), 1);
    let mut d = TopologyTestDriver::new(topology).unwrap();
    let mut hire = |key: &str, row: &str| {
        d.pipe(&STAFF, key.to_owned(), row.to_owned(), 0).unwrap();
        let told = d.read_key_values(&CHIEFS).unwrap();
        told.into_iter()
            .map(|(key, row)| key + "=" + &row.unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(hire("ann", "ann:Ann"), ["ann=ann:Ann<ann:Ann"]);
    assert_eq!(hire("bob", "ann:Bob"), ["bob=ann:Bob<ann:Ann"]);
    // The subscription of ann's own row is for the row before, and its answer comes to nothing.
    assert_eq!(
        hire("ann", "ann:Anna"),
        ["bob=ann:Bob<ann:Anna", "ann=ann:Anna<ann:Anna"]
    );
}

#[test]
fn tables_without_stores_are_joined_and_results_are_filtered() {
    let builder = StreamsBuilder::new();
    let left = builder
        .table(&LEFT, "l")
        .filter(|_, row| !row.contains('!'));
    let right = builder
        .table(&RIGHT, "r")
        .map_values(|_, row| row.to_lowercase());
    inner(left, right)
        .filter(|_, row| !row.contains('?'))
        .to(&OUT);
    let mut d = Driver::new(builder.build().unwrap());
    d.right("x", "A", 1);
    assert_eq!(d.left(1, "x:a", 2), ["1 x:a+a@2"]);
    // What may have been told is taken back, though the row before is not known.
    assert_eq!(d.right("x", "B?", 3), ["1 @3"]);
    assert_eq!(d.right("x", "C", 4), ["1 x:a+c@4"]);
    assert_eq!(d.left(1, "x:a!", 5), ["1 @5"]);
    assert_eq!(d.right("x", "D", 6), NOTHING);
}

#[test]
fn a_materialized_result_is_grouped_and_joined() {
    let builder = StreamsBuilder::new();
    let (left, right) = tables(&builder);
    let joined = inner(left, right).materialize("joined");
    let counts = joined.group_by(|_, row| (row.clone(), ())).count("counts");
    counts.to(&Topic::new("counts", utf8(), u64_be()));
    joined
        .join(left, |joined, row| format!("{joined},{row}"))
        .to(&OUT);
    let mut d = Driver::new(builder.build().unwrap());
    d.right("x", "A", 1);
    assert_eq!(d.left(1, "x:a", 2), ["1 x:a+A,x:a@2"]);
    d.left(1, "x:b", 3);
    let counts =
        d.0.read_key_values(&Topic::new("counts", utf8(), u64_be()))
            .unwrap();
    let shown: Vec<_> = counts
        .into_iter()
        .map(|(key, n)| (key, n.unwrap()))
        .collect();
    let (a, b) = ("x:a+A".to_owned(), "x:b+A".to_owned());
    assert_eq!(shown, [(a.clone(), 1), (a, 0), (b, 1)]);
}

#[test]
fn subscriptions_are_kept_by_foreign_key_and_deleted() {
    let mut d = Driver::new(program(inner));
    d.left(1, "x:a", 2);
    d.left(1, "y:a", 3);
    let log = d.0.changelog("fk-subscription-store");
    let key = |foreign: &[u8]| Some([&[0, 0, 0, 1], foreign, &1i64.to_be_bytes()].concat());
    let written: Vec<_> = log
        .into_iter()
        .map(|(k, v, t, _)| (k, v.map(|v| v.len()), t))
        .collect();
    let expected = [
        (key(b"x"), Some(16), 2),
        (key(b"x"), None, 3),
        (key(b"y"), Some(16), 3),
    ];
    assert_eq!(written, expected);
}

#[test]
fn aggregates_are_joined_and_keys_are_written_as_their_topics_write_them() {
    let builder = StreamsBuilder::new();
    let serdes = Grouped::with(i64_be(), utf8());
    let left = builder.stream(&LEFT).group_by_key_with(serdes);
    let left = left.reduce("l", |_, row| row);
    let right = builder.stream(&RIGHT).group_by(|key, _| key.to_uppercase());
    let right = right.count("r");
    let chosen = |_: &i64, row: &String| Some(row.clone());
    let joined = left.foreign_key_join(right, chosen, |l, r| format!("{l}{r}"), "fk");
    joined.to(&OUT);
    let mut d = Driver::new(builder.build().unwrap());
    assert_eq!(d.left(1, "X", 1), NOTHING);
    assert_eq!(d.right("x", "abc", 2), ["1 X1@2"]);
    let layout =
        d.0.topology()
            .layout("app", |topic| Some(if topic == "left" { 4 } else { 3 }));
    let internal = layout.unwrap().internal.into_iter();
    let sizes: Vec<_> = internal
        .map(|topic| (topic.name, topic.partitions))
        .collect();
    // What counts is repartitioned, so it may have as many partitions as what asks it.
    for name in ["r-repartition", "fk-subscription-registration-repartition"] {
        assert!(sizes.contains(&(format!("app-{name}"), 4)), "{sizes:?}");
    }
}

#[test]
fn topics_are_as_large_as_the_tables_they_lead_to() {
    for (lefts, rights) in [(2, 7), (7, 2)] {
        let counts = |topic: &str| Some(if topic == "left" { lefts } else { rights });
        let topology = program(left);
        let layout = topology.layout("app", counts).unwrap();
        let topics: Vec<_> = (layout.internal.iter())
            .map(|topic| (topic.name.as_str(), topic.partitions))
            .collect();
        let expected = [
            ("app-fk-subscription-registration-repartition", rights),
            ("app-fk-subscription-response-repartition", lefts),
            ("app-l-changelog", lefts),
            ("app-r-changelog", rights),
            ("app-fk-subscription-store-changelog", rights),
        ];
        assert_eq!(topics, expected);
        assert_eq!(layout.internal[1].kind, InternalKind::Repartition);
        let last = layout.tasks.iter().map(|task| task.id.partition).max();
        assert_eq!(last, Some(6));
        let inputs: Vec<_> = layout.tasks[0]
            .inputs
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            inputs,
            ["left-0", "app-fk-subscription-response-repartition-0"]
        );
    }
}

const DESCRIBED: &str = "\
Topologies:
   Sub-topology: 0
    Source: source-left (topics: [left])
      --> table-l
    Processor: table-l (stores: [l])
      --> subscribe-after-table-l
      <-- source-left
    Processor: subscribe-after-table-l (stores: [])
      --> sink-fk-subscription-registration-repartition, foreign-result-l-after-table-l
      <-- table-l
    Sink: sink-fk-subscription-registration-repartition \
                                (topic: fk-subscription-registration-repartition)
      <-- subscribe-after-table-l
    Source: source-fk-subscription-response-repartition \
                                (topics: [fk-subscription-response-repartition])
      --> foreign-result-l-after-table-l
    Processor: foreign-result-l-after-table-l (stores: [l])
      --> sink-out
      <-- subscribe-after-table-l, source-fk-subscription-response-repartition
    Sink: sink-out (topic: out)
      <-- foreign-result-l-after-table-l

  Sub-topology: 1
    Source: source-right (topics: [right])
      --> table-r
    Processor: table-r (stores: [r])
      --> foreign-join-fk-subscription-store-after-table-r
      <-- source-right
    Source: source-fk-subscription-registration-repartition \
                                (topics: [fk-subscription-registration-repartition])
      --> subscription-join-fk-subscription-store
    Processor: subscription-join-fk-subscription-store (stores: [fk-subscription-store, r])
      --> sink-fk-subscription-response-repartition
      <-- source-fk-subscription-registration-repartition
    Processor: foreign-join-fk-subscription-store-after-table-r (stores: [fk-subscription-store])
      --> sink-fk-subscription-response-repartition
      <-- table-r
    Sink: sink-fk-subscription-response-repartition (topic: fk-subscription-response-repartition)
      <-- subscription-join-fk-subscription-store, foreign-join-fk-subscription-store-after-table-r

";

#[test]
fn it_is_described_as_what_it_is() {
    assert_eq!(program(inner).describe(Format::Text), DESCRIBED);
}

#[test]
fn mistakes_are_told_where_they_are_made() {
    let told = |declare: fn(&StreamsBuilder)| {
        let builder = StreamsBuilder::new();
        declare(&builder);
        let error = builder.build().err().unwrap();
        assert!(matches!(error.kind(), ErrorKind::Topology(_)), "{error}");
        let error = error.to_string();
        assert!(error.contains("foreign_join.rs:"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    };
    let error = told(|builder| {
        let (l, r) = tables(builder);
        inner(l, r).join(l, |a, b| format!("{a}{b}")).to(&OUT);
    });
    assert!(error.contains("nowhere to be looked up"), "{error}");
    let error = told(|builder| {
        let (l, r) = tables(builder);
        let grouped = inner(l, r).group_by(|key, row| (*key, row.clone()));
        grouped.count("n").to_stream().for_each(|_, _| ());
    });
    assert!(error.contains(".materialize("), "{error}");
    let error = told(|builder| {
        let (l, r) = tables(builder);
        inner(l.join(l.filter(|_, _| true), |a, _| a.clone()), r).to(&OUT);
    });
    assert!(error.contains("behind the join"), "{error}");
    let error = told(|builder| {
        let (l, r) = tables(builder);
        inner(l, r).to(&OUT);
        inner(l, r).to(&OUT);
    });
    assert!(
        error.contains("\"fk-subscription-store\" is already used"),
        "{error}"
    );
    let error = told(|builder| {
        let push = |_: &mut TaskContext, _: Record<i64, String>| Ok(());
        let rekeyed = builder.stream(&LEFT).operator("odd", vec![], move |_| push);
        let lengths: KTable<'_, u32, String> = rekeyed.to_table("lengths");
        let key = |_: &u32, row: &String| Some(row.clone());
        let right = builder.table(&RIGHT, "r");
        let joined = lengths.foreign_key_join(right, key, |l, _| l.clone(), "fk");
        joined.to_stream().for_each(|_, _| ());
    });
    assert!(error.contains("must be the key of its topic"), "{error}");
    // Windows that the program makes are in no topic of its input.
    let error = told(|builder| {
        let windows = TimeWindows::of_size_with_no_grace(std::time::Duration::from_millis(10));
        let windowed = builder.stream(&LEFT).group_by_key().windowed_by(windows);
        let latest = windowed.reduce("latest", |_, row| row);
        let key = |_: &Windowed<i64>, row: &String| Some(row.clone());
        let right = builder.table(&RIGHT, "r");
        let joined = latest.foreign_key_join(right, key, |l, _| l.clone(), "fk");
        joined.to_stream().for_each(|_, _| ());
    });
    assert!(error.contains("must be the key of its topic"), "{error}");
}
