//! Tasks, repartition topics and changelogs, for the partition counts that a log has.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::{
    prelude::*,
    topology::{InternalKind, TaskLayout},
};

static LEFT: Topic<String, i64> = Topic::new("left", utf8(), i64_be());
static RIGHT: Topic<String, i64> = Topic::new("right", utf8(), i64_be());
static OUT: Topic<String, i64> = Topic::new("out", utf8(), i64_be());

type Table<'b> = KTable<'b, String, i64>;

fn layout(builder: StreamsBuilder, left: u32, right: u32) -> Result<TaskLayout, String> {
    let topology = builder.build().unwrap();
    let counts = |topic: &str| match topic {
        "left" => Some(left),
        "right" => Some(right),
        _ => None,
    };
    topology
        .layout("app", counts)
        .map_err(|error| error.to_string())
}

fn internal(layout: &TaskLayout) -> Vec<(&str, u32)> {
    let topics = layout.internal.iter();
    topics
        .map(|topic| (topic.name.as_str(), topic.partitions))
        .collect()
}

fn tasks(layout: &TaskLayout) -> Vec<String> {
    let task = |task: &millstream_core::topology::TaskSpec| {
        let inputs: Vec<_> = task.inputs.iter().map(ToString::to_string).collect();
        let state = if task.stateful { " with state" } else { "" };
        format!("{}: {}{state}", task.id, inputs.join(" "))
    };
    layout.tasks.iter().map(task).collect()
}

#[test]
fn a_task_per_partition_and_repartition_topics_as_large_as_what_feeds_them() {
    let builder = StreamsBuilder::new();
    let by_number = builder.stream(&LEFT).group_by(|_, n| n.to_string());
    by_number.count("counts").to_stream().for_each(|_, _| ());
    let layout = layout(builder, 2, 9).unwrap();
    assert_eq!(
        tasks(&layout),
        [
            "0_0: left-0",
            "0_1: left-1",
            "1_0: app-counts-repartition-0 with state",
            "1_1: app-counts-repartition-1 with state",
        ]
    );
    let expected = [("app-counts-repartition", 2), ("app-counts-changelog", 2)];
    assert_eq!(internal(&layout), expected);
    let kinds: Vec<_> = layout.internal.iter().map(|topic| topic.kind).collect();
    assert_eq!(kinds, [InternalKind::Repartition, InternalKind::Changelog]);
}

#[test]
fn repartitions_grow_through_a_chain_unless_the_program_says_a_number() {
    let builder = StreamsBuilder::new();
    let first = builder
        .stream(&LEFT)
        .repartition("first")
        .repartition("second");
    let fixed = Repartitioned::with("fixed", utf8(), i64_be()).partitions(3);
    first.repartition(fixed).repartition("last").to(&OUT);
    let layout = layout(builder, 5, 1).unwrap();
    let expected = [
        ("app-first-repartition", 5),
        ("app-second-repartition", 5),
        ("app-fixed-repartition", 3),
        ("app-last-repartition", 3),
    ];
    assert_eq!(internal(&layout), expected);
}

#[test]
fn tasks_of_high_partitions_read_fewer_topics() {
    let builder = StreamsBuilder::new();
    builder.stream(&LEFT).merge(builder.stream(&RIGHT)).to(&OUT);
    let layout = layout(builder, 1, 3).unwrap();
    let expected = ["0_0: left-0 right-0", "0_1: right-1", "0_2: right-2"];
    assert_eq!(tasks(&layout), expected);
    assert!(layout.internal.is_empty());
}

#[test]
fn joined_topics_must_have_equally_many_partitions() {
    let joined = || {
        let builder = StreamsBuilder::new();
        let rows = builder.table(&RIGHT, "rows");
        let line = line!() + 1;
        builder.stream(&LEFT).join(rows, |n, row| n + row).to(&OUT);
        (builder, line)
    };
    assert!(layout(joined().0, 3, 3).is_ok());
    let (builder, line) = joined();
    let error = layout(builder, 2, 3).unwrap_err();
    assert!(
        error.starts_with(&format!("{}:{line}:", file!())),
        "{error}"
    );
    assert!(error.contains("left has 2, right has 3"), "{error}");
    assert!(error.contains("repartition(..)"), "{error}");
}

#[test]
fn a_repartition_before_a_join_takes_the_tables_number() {
    let repartitioned = |fixed: Option<u32>| {
        let builder = StreamsBuilder::new();
        let rows = builder.table(&RIGHT, "rows").filter(|_, _| true);
        let topic = Repartitioned::with("moved", utf8(), i64_be());
        let topic = match fixed {
            Some(number) => topic.partitions(number),
            None => topic,
        };
        let moved = builder.stream(&LEFT).repartition(topic);
        moved.join(rows, |n, row| n + row).to(&OUT);
        builder
    };
    let free = layout(repartitioned(None), 2, 7).unwrap();
    assert_eq!(
        internal(&free),
        [("app-moved-repartition", 7), ("app-rows-changelog", 7)]
    );
    assert!(layout(repartitioned(Some(7)), 2, 7).is_ok());
    let error = layout(repartitioned(Some(4)), 2, 7).unwrap_err();
    assert!(
        error.contains("right has 7, moved-repartition has 4"),
        "{error}"
    );
    // Whatever feeds it: the table's topic is the user's and cannot follow.
    let fed = layout(repartitioned(None), 9, 7).unwrap();
    assert_eq!(internal(&fed)[0], ("app-moved-repartition", 7));
}

#[test]
fn a_number_passes_from_join_to_join() {
    let builder = StreamsBuilder::new();
    let move_to = |name: &str| {
        let moved = builder.stream(&LEFT).repartition(name);
        moved.to_table(format!("{name}-rows").as_str())
    };
    let (a, b, c, d) = (move_to("a"), move_to("b"), move_to("c"), move_to("d"));
    let sum = |l: &i64, r: &i64| l + r;
    // The only one that is joined with the user's topic comes last.
    a.join(b, sum).join(c, sum).to(&OUT);
    c.join(builder.table(&RIGHT, "right-rows"), sum).to(&OUT);
    d.to(&OUT);
    let layout = layout(builder, 5, 3).unwrap();
    let repartitions: Vec<_> = internal(&layout).into_iter().take(4).collect();
    let expected = [("app-a-repartition", 3), ("app-b-repartition", 3)];
    assert_eq!(repartitions[..2], expected);
    let expected = [("app-c-repartition", 3), ("app-d-repartition", 5)];
    assert_eq!(repartitions[2..], expected);
}

#[test]
fn joined_tables_must_have_equally_many_partitions() {
    type Join = for<'b> fn(Table<'b>, Table<'b>) -> Table<'b>;
    let joins: [Join; 3] = [
        |l, r| l.join(r, |l, r| l + r),
        |l, r| l.left_join(r, |l, _| *l),
        |l, r| l.outer_join(r, |_, _| 0),
    ];
    for join in joins {
        let joined = || {
            let builder = StreamsBuilder::new();
            let rows = builder.table(&RIGHT, "rows").filter(|_, _| true);
            join(builder.table(&LEFT, "left"), rows).to(&OUT);
            builder
        };
        let error = layout(joined(), 2, 3).unwrap_err();
        assert!(error.contains("left has 2, right has 3"), "{error}");
        // One task reads both sides and has both stores.
        let layout = layout(joined(), 2, 2).unwrap();
        let both = |n| format!("0_{n}: left-{n} right-{n} with state");
        assert_eq!(tasks(&layout), [both(0), both(1)]);
    }
}

#[test]
fn sources_must_exist() {
    let builder = StreamsBuilder::new();
    builder.stream(&LEFT).merge(builder.stream(&RIGHT)).to(&OUT);
    let error = layout(builder, 1, 0).unwrap_err();
    assert!(error.contains("\"right\" does not exist"), "{error}");
}

#[test]
fn stores_without_a_changelog_need_no_topic_and_no_standby() {
    let builder = StreamsBuilder::new();
    let store = Materialized::with("counts", utf8(), u64_be()).with_logging_disabled();
    let counts = builder.stream(&LEFT).group_by_key().count(store);
    counts.to_stream().for_each(|_, _| ());
    let layout = layout(builder, 1, 1).unwrap();
    assert_eq!(tasks(&layout), ["0_0: left-0"]);
    assert!(layout.internal.is_empty());
}

#[test]
fn a_reset_deletes_what_a_store_logged_when_it_still_was() {
    let builder = StreamsBuilder::new();
    let store = Materialized::with("counts", utf8(), u64_be()).with_logging_disabled();
    let _ = builder.stream(&LEFT).group_by_key().count(store);
    let names = builder.build().unwrap().internal_names("app");
    assert_eq!(names, ["app-counts-changelog"]);
}

#[test]
fn a_shared_store_or_topic_joins_subtopologies() {
    let builder = StreamsBuilder::new();
    builder.stream(&LEFT).to(&OUT);
    builder.stream(&RIGHT).to(&OUT);
    assert_eq!(builder.build().unwrap().subtopologies().len(), 2);
    let builder = StreamsBuilder::new();
    builder.stream(&LEFT).to(&OUT);
    builder.stream(&LEFT).to(&OUT);
    assert_eq!(builder.build().unwrap().subtopologies().len(), 1);
    let builder = StreamsBuilder::new();
    let rows = builder.table(&RIGHT, "rows");
    builder.stream(&LEFT).left_join(rows, |n, _| n).to(&OUT);
    assert_eq!(builder.build().unwrap().subtopologies().len(), 1);
}

#[test]
fn many_diamonds_are_no_burden() {
    let builder = StreamsBuilder::new();
    let rows = builder.table(&RIGHT, "rows");
    let mut stream = builder.stream(&LEFT);
    for _ in 0..64 {
        stream = stream.map_values(|n| n).merge(stream.map_values(|n| n));
    }
    stream.join(rows, |n, _| n).to(&OUT);
    assert!(builder.build().is_ok());
}
