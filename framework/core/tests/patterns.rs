//! Sources of all topics that match a pattern: which topics those are, what tasks they come to, and
//! what is refused.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::{
    ErrorKind,
    prelude::*,
    record::TaskId,
    topology::{Evolution, Format, TaskLayout, Verdict},
};

static SALES: Topic<String, i64> = Topic::new("sales-.*", utf8(), i64_be());
static OSLO: Topic<String, i64> = Topic::new("sales-oslo", utf8(), i64_be());
static TOKYO: Topic<String, i64> = Topic::new("sales-tokyo", utf8(), i64_be());
static STOCK: Topic<String, i64> = Topic::new("stock", utf8(), i64_be());
static OUT: Topic<String, i64> = Topic::new("out", utf8(), i64_be());

fn sums() -> Topology {
    let builder = StreamsBuilder::new();
    let sales = builder.stream_matching(&SALES).group_by_key();
    sales
        .aggregate("sums", || 0, |_, n, sum: &mut i64| *sum += n)
        .to(&OUT);
    builder.build().unwrap()
}

/// Topics and their partitions.
type There<'t> = &'t [(&'t str, u32)];

fn laid_out(topology: &Topology, there: There<'_>) -> millstream_core::Result<TaskLayout> {
    let program = topology.matching("app", None, there.iter().map(|(name, _)| *name))?;
    let count = |name: &str| {
        there
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, count)| *count)
    };
    program.layout("app", count)
}

fn matched(pattern: &'static str, there: &[&str]) -> Vec<String> {
    let builder = StreamsBuilder::new();
    let _ = builder.stream_matching(&Topic::new(pattern, utf8(), i64_be()));
    let program = builder
        .build()
        .unwrap()
        .matching("app", None, there.iter().copied());
    program.unwrap().user_sources()
}

#[test]
fn a_pattern_matches_whole_names() {
    let there = ["b", "ab", "abc", "a.b", "aXb", "xab"];
    assert_eq!(matched("ab", &there), ["ab"]);
    assert_eq!(matched("a.b", &there), ["a.b", "aXb"]);
    assert_eq!(matched("a|b", &there), ["b"]);
    assert_eq!(matched("ab?c?|x.*", &there), ["ab", "abc", "xab"]);
    assert_eq!(matched("q.*", &there), [""; 0]);
}

#[test]
fn what_the_program_and_the_cluster_keep_for_themselves_matches_nothing() {
    let there = [
        "app-sums-changelog",
        "app-sums-repartition",
        "__consumer_offsets",
        "app-sales",
        "other-sums-changelog",
        "orders-changelog",
    ];
    let found = ["app-sales", "orders-changelog", "other-sums-changelog"];
    assert_eq!(matched(".*", &there), found);
}

#[test]
fn dead_letters_of_a_source_match_nothing() {
    let builder = StreamsBuilder::new();
    let sales = Consumed::of(&SALES).on_error(ErrorPolicy::DeadLetterTo("sales-dead"));
    builder.stream_matching(sales).to(&OUT);
    let program = builder.build().unwrap();
    let program = program
        .matching("app", None, ["sales-dead", "sales-oslo"])
        .unwrap();
    assert_eq!(program.user_sources(), ["sales-oslo"]);
}

#[test]
fn internal_topics_are_known_while_nothing_matches() {
    let names = sums().internal_names("app");
    assert_eq!(names, ["app-sums-changelog"]);
}

#[test]
fn all_partitions_of_all_topics_are_read() {
    let topology = sums();
    let there = [("sales-oslo", 2), ("stock", 9), ("sales-tokyo", 3)];
    let layout = laid_out(&topology, &there).unwrap();
    let inputs = layout.tasks.iter().map(|task| {
        let inputs = task.inputs.iter().map(ToString::to_string);
        inputs.collect::<Vec<_>>().join(" ")
    });
    let inputs: Vec<_> = inputs.collect();
    assert_eq!(
        inputs,
        [
            "sales-oslo-0 sales-tokyo-0",
            "sales-oslo-1 sales-tokyo-1",
            "sales-tokyo-2"
        ]
    );
    assert_eq!(
        (layout.internal.len(), layout.internal[0].partitions),
        (1, 3)
    );
}

#[test]
fn while_nothing_matches_there_is_nothing_to_do() {
    let builder = StreamsBuilder::new();
    let sales = builder.stream_matching(&SALES);
    sales.group_by(|_, n| n.to_string()).count("by-number");
    sales.group_by_key().count("by-key");
    builder.stream(&STOCK).group_by_key().count("stock");
    let topology = builder.build().unwrap();
    let layout = laid_out(&topology, &[("stock", 2)]).unwrap();
    let ids: Vec<_> = layout
        .tasks
        .iter()
        .map(|task| task.id.to_string())
        .collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
    let names: Vec<_> = layout.internal.iter().map(|topic| &*topic.name).collect();
    assert_eq!(names, ["app-stock-changelog"]);
    // What waits behind the repartition comes with the first topic, as wide as that.
    let layout = laid_out(&topology, &[("stock", 2), ("sales-a", 3)]).unwrap();
    assert_eq!(layout.tasks.len(), 2 + 3 + 3);
    assert!(
        layout
            .internal
            .iter()
            .all(|topic| topic.partitions == 2 || topic.partitions == 3)
    );
}

#[test]
fn a_program_is_not_laid_out_before_its_topics_are_known() {
    let error = sums().layout("app", |_| Some(1)).unwrap_err();
    assert!(error.to_string().contains("by patterns"), "{error}");
}

#[test]
fn joined_topics_of_a_pattern_must_be_as_wide_as_the_table() {
    let builder = StreamsBuilder::new();
    let stock = builder.table(&STOCK, "stock");
    builder
        .stream_matching(&SALES)
        .join(stock, |n, row| n * row)
        .to(&OUT);
    let topology = builder.build().unwrap();
    laid_out(&topology, &[("stock", 2)]).unwrap();
    laid_out(&topology, &[("stock", 2), ("sales-a", 2), ("sales-b", 2)]).unwrap();
    let wide = [("stock", 2), ("sales-a", 2), ("sales-b", 3)];
    let error = laid_out(&topology, &wide).unwrap_err().to_string();
    assert!(error.contains("sales-b has 3"), "{error}");
}

/// What `build()` says of a program.
fn mistakes(declare: impl FnOnce(&StreamsBuilder)) -> Vec<String> {
    let builder = StreamsBuilder::new();
    declare(&builder);
    let error = builder.build().err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::Topology(_)));
    error.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn a_topic_has_one_source() {
    let named = mistakes(|builder| {
        let _ = builder.stream(&OSLO);
        let _ = builder.stream_matching(&SALES);
    });
    assert!(
        named[0].contains("matches the topic \"sales-oslo\""),
        "{named:?}"
    );
    let global = mistakes(|builder| {
        let _ = builder.stream_matching(&SALES);
        builder.global_table(&OSLO, "oslo");
    });
    assert!(
        global[0].contains("matches the topic \"sales-oslo\""),
        "{global:?}"
    );
    let twice = mistakes(|builder| {
        let _ = builder.stream_matching(&SALES);
        let _ = builder.stream_matching(&SALES);
    });
    assert!(twice[0].contains("is already read at"), "{twice:?}");
    assert!(
        twice
            .iter()
            .chain(&named)
            .chain(&global)
            .all(|text| text.starts_with(file!()))
    );

    let builder = StreamsBuilder::new();
    let _ = builder.stream_matching(&SALES);
    let _ = builder.stream_matching(&Topic::new(".*-oslo", utf8(), i64_be()));
    let topology = builder.build().unwrap();
    topology
        .matching("app", None, ["sales-tokyo", "stock-oslo"])
        .unwrap();
    let error = topology
        .matching("app", None, ["sales-oslo"])
        .err()
        .unwrap()
        .to_string();
    for part in [file!(), "\"sales-oslo\"", "\"sales-.*\"", "\".*-oslo\""] {
        assert!(error.contains(part), "{error} does not say {part}");
    }
}

#[test]
fn what_is_no_pattern_is_told_with_its_line() {
    for (pattern, why) in [
        ("", "is empty"),
        ("a(", "cannot be read"),
        ("(?=a)b", "cannot be read"),
    ] {
        let topic: Topic<String, i64> = Topic::new(pattern, utf8(), i64_be());
        let line = line!() + 2;
        let told = mistakes(|builder| {
            let _ = builder.stream_matching(&topic);
        });
        assert!(
            told[0].starts_with(&format!("{}:{line}:", file!())),
            "{told:?}"
        );
        assert!(told[0].contains(why), "{told:?}");
    }
}

#[test]
fn a_driver_takes_topics_up_as_they_come() {
    let mut driver = TopologyTestDriver::new(sums()).unwrap();
    let tea = || "tea".to_owned();
    driver.pipe(&OSLO, tea(), 1, 0).unwrap();
    driver.pipe(&OSLO, tea(), 2, 1).unwrap();
    driver.pipe(&TOKYO, tea(), 10, 2).unwrap();
    driver.pipe(&OSLO, tea(), 100, 3).unwrap();
    let sums: Vec<_> = driver.read_key_values(&OUT).unwrap();
    let sums: Vec<_> = sums.into_iter().map(|(_, sum)| sum.unwrap()).collect();
    assert_eq!(sums, [1, 3, 13, 113]);
    let error = driver.pipe(&STOCK, tea(), 1, 0).unwrap_err();
    assert!(error.to_string().contains("does not read"), "{error}");
    assert_eq!(
        driver.topology().user_sources(),
        ["sales-oslo", "sales-tokyo"]
    );
}

/// Tells stream time, which a new topic must not turn back, and where each record comes from.
struct Where;

impl Processor<String, i64> for Where {
    type Key = String;
    type Value = i64;

    fn process(
        &mut self,
        record: Record<String, i64>,
        ctx: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        let place = ctx.record_metadata().unwrap();
        let (key, value) = (place.partition.topic.to_string(), ctx.stream_time());
        ctx.forward(Record::new(key, value, record.timestamp))?;
        Ok(())
    }
}

#[test]
fn records_know_their_topics_and_their_own_times() {
    let builder = StreamsBuilder::new();
    let times = TimestampExtractor::from_fn(|_: &String, n: &i64| *n);
    let sales = Consumed::of(&SALES)
        .with_timestamp(times)
        .on_error(ErrorPolicy::Skip);
    builder
        .stream_matching(sales)
        .process((), |()| Where)
        .to(&OUT);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    for (topic, time) in [(&OSLO, 7), (&TOKYO, 5), (&OSLO, 9), (&TOKYO, 8)] {
        driver.pipe(topic, String::new(), time, 0).unwrap();
    }
    driver
        .pipe_raw(OSLO.name, Some(b""), Some(b"no number"), 0)
        .unwrap();
    let told: Vec<_> = driver.read(&OUT).unwrap();
    let told: Vec<_> = told
        .iter()
        .map(|r| (&*r.key, r.value, r.timestamp))
        .collect();
    let (oslo, tokyo) = (OSLO.name, TOKYO.name);
    assert_eq!(
        told,
        [(oslo, 7, 7), (tokyo, 7, 5), (oslo, 9, 9), (tokyo, 9, 8)]
    );
    assert_eq!(driver.dropped().deserialization, 1);
}

#[test]
fn a_pattern_is_described_as_one_and_compared_by_its_text() {
    let text = sums().describe(Format::Text);
    assert!(
        text.contains("Source: source-sales-.- (topics: sales-.*)"),
        "{text}"
    );
    let wide = sums().matching("app", None, ["sales-oslo"]).unwrap();
    for format in [Format::Text, Format::Json, Format::Dot, Format::Mermaid] {
        assert_eq!(wide.describe(format), sums().describe(format));
    }
    let told = Evolution::between(&sums().describe(Format::Json), &wide.describe(Format::Json));
    assert_eq!(told.unwrap().verdict(), Verdict::Compatible);
    let formats: Vec<_> = wide
        .formats()
        .iter()
        .map(|known| known.topic.shown())
        .collect();
    assert!(formats.contains(&OSLO.name.to_owned()), "{formats:?}");
    let id = TaskId {
        subtopology: 0,
        partition: 0,
    };
    assert_eq!(
        laid_out(&sums(), &[("sales-oslo", 1)]).unwrap().tasks[0].id,
        id
    );
}
