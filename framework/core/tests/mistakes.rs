//! A mistake in a program is told at `build()`, with the line of the program that makes it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::{
    ErrorKind,
    prelude::*,
    store::{TimedKind, TimedShape},
};

static IN: Topic<String, i64> = Topic::new("in", utf8(), i64_be());
static ROWS: Topic<String, i64> = Topic::new("rows", utf8(), i64_be());
static OUT: Topic<String, i64> = Topic::new("out", utf8(), i64_be());
static MAYBE: Topic<String, Option<i64>> = Topic::new("maybe", utf8(), option::<I64Be>());

/// What `build()` says, line by line.
fn mistakes(builder: StreamsBuilder) -> Vec<String> {
    let error = builder.build().err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::Topology(_)));
    error.to_string().lines().map(str::to_owned).collect()
}

/// Whether a mistake was made in this file and line.
#[track_caller]
fn told_at(mistake: &str, line: u32, text: &str) {
    let place = format!("{}:{line}:", file!());
    assert!(
        mistake.starts_with(&place),
        "{place} is not where {mistake}"
    );
    assert!(mistake.contains(text), "{mistake} does not say {text:?}");
}

#[test]
fn a_store_name_used_twice_is_told_once_with_both_places() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream(&IN);
    let (up, down) = (stream.group_by(|_, n| *n), stream.group_by(|_, n| -n));
    let first = line!() + 1;
    up.count("counts");
    let second = line!() + 1;
    down.count("counts");
    let told = mistakes(builder);
    assert_eq!(told.len(), 1, "{told:?}");
    told_at(
        &told[0],
        second,
        "the store name \"counts\" is already used at",
    );
    assert!(
        told[0].contains(&format!("{}:{first}:", file!())),
        "{}",
        told[0]
    );
}

#[test]
fn a_topic_has_a_partition() {
    let builder = StreamsBuilder::new();
    let none = Repartitioned::with("none", utf8(), i64_be()).partitions(0);
    let line = line!() + 1;
    builder.stream(&IN).repartition(none).to(&OUT);
    let told = mistakes(builder);
    told_at(&told[0], line, "\"none\" would have no partition");
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_repartition_may_not_take_the_name_that_a_grouping_has() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream(&IN).map(|k, n| (k, n));
    stream.repartition("counts").to(&OUT);
    let grouped = stream.group_by_key();
    let line = line!() + 1;
    grouped.count("counts");
    let told = mistakes(builder);
    assert_eq!(told.len(), 1, "{told:?}");
    told_at(
        &told[0],
        line,
        "the repartition name \"counts\" is already used at",
    );
}

#[test]
fn illegal_names_are_told_with_what_is_wrong() {
    let long = "x".repeat(151);
    let names = [
        ("", "is empty"),
        (".", "would be a directory"),
        ("..", "would be a directory"),
        ("größe", "may only hold ASCII letters"),
        ("a/b", "may only hold ASCII letters"),
        ("a b", "may only hold ASCII letters"),
        (long.as_str(), "is longer than 150 characters"),
    ];
    for (name, why) in names {
        let builder = StreamsBuilder::new();
        let grouped = builder.stream(&IN).group_by_key();
        let line = line!() + 1;
        grouped.count(name);
        let told = mistakes(builder);
        assert_eq!(told.len(), 1, "{told:?}");
        told_at(&told[0], line, why);
        let builder = StreamsBuilder::new();
        let line = line!() + 1;
        builder.stream(&IN).repartition(name).to(&OUT);
        told_at(&mistakes(builder)[0], line, why);
    }
}

#[test]
fn topics_may_be_as_long_as_kafka_allows() {
    let named = |length: usize| {
        let name: &'static str = "x".repeat(length).leak();
        let builder = StreamsBuilder::new();
        builder.stream(&Topic::new(name, utf8(), i64_be())).to(&OUT);
        builder.build()
    };
    assert!(named(249).is_ok());
    let error = named(250).err().unwrap().to_string();
    assert!(error.contains("is longer than 249 characters"), "{error}");
}

#[test]
fn a_join_after_a_change_of_key_is_told_with_both_places() {
    let builder = StreamsBuilder::new();
    let rows = builder.table(&ROWS, "rows");
    let changed = line!() + 1;
    let rekeyed = builder.stream(&IN).select_key(|_, n| n.to_string());
    let values = rekeyed.map_values(|n| n + 1);
    let joined = line!() + 1;
    values.join(rows, |n, row| n + row).to(&OUT);
    let left = line!() + 1;
    values.left_join(rows, |n, _| n).to(&OUT);
    let told = mistakes(builder);
    assert_eq!(told.len(), 2, "{told:?}");
    told_at(
        &told[0],
        joined,
        "put .repartition(\"a-name\") before the join",
    );
    told_at(
        &told[1],
        left,
        "put .repartition(\"a-name\") before the join",
    );
    assert!(
        told[0].contains(&format!("changed at {}:{changed}:", file!())),
        "{}",
        told[0]
    );
}

#[test]
fn all_that_change_the_key_are_remembered() {
    type Change = for<'b> fn(KStream<'b, String, i64>) -> KStream<'b, String, i64>;
    let changes: [Change; 8] = [
        |s| s.map(|k, n| (k, n)),
        |s| s.flat_map(|k, n| [(k, n)]),
        |s| s.select_key(|k, _| k.clone()),
        |s| s.try_map(|k, n| Ok::<_, String>((k, n))),
        |s| s.try_flat_map(|k, n| Ok::<_, String>([(k, n)])),
        |s| s.try_select_key(|k, _| Ok::<_, String>(k.clone())),
        |s| s.process((), |()| Pass),
        // A merge inherits it from either side, a branch from what is split.
        |s| s.merge(s.map(|k, n| (k, n))).split().branch(|_, _| true),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let builder = StreamsBuilder::new();
        let rows = builder.table(&ROWS, "rows");
        change(builder.stream(&IN))
            .join(rows, |n, row| n + row)
            .to(&OUT);
        assert_eq!(mistakes(builder).len(), 1, "change {number}");
    }
    let keeps: [Change; 7] = [
        |s| {
            s.filter(|_, _| true)
                .filter_not(|_, _| false)
                .peek(|_, _| ())
        },
        |s| s.map_values(|n| n),
        |s| s.flat_map_values(|n| [n]),
        |s| s.try_filter(|_, _| Ok::<_, String>(true)),
        |s| s.try_map_values(Ok::<_, String>),
        |s| s.fused(|pipe| pipe.map_values(|n| n)),
        |s| s.map(|k, n| (k, n)).repartition("again"),
    ];
    for (number, keep) in keeps.into_iter().enumerate() {
        let builder = StreamsBuilder::new();
        let rows = builder.table(&ROWS, "rows");
        keep(builder.stream(&IN))
            .join(rows, |n, row| n + row)
            .to(&OUT);
        assert!(builder.build().is_ok(), "keep {number}");
    }
}

#[test]
fn several_mistakes_are_told_at_once() {
    let builder = StreamsBuilder::new();
    let rows = builder.table(&ROWS, "no name");
    builder
        .stream(&IN)
        .map(|k, n| (k, n))
        .join(rows, |n, _| n)
        .to(&OUT);
    let told = mistakes(builder);
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn rows_that_may_not_be_those_that_were_told_cannot_be_grouped() {
    let declare = |fix: for<'b> fn(KTable<'b, String, i64>) -> KTable<'b, String, i64>| {
        let builder = StreamsBuilder::new();
        let rows = builder.table(&ROWS, "rows");
        // A record of the topic changes both sides.
        let joined = rows.join(rows.filter(|_, n| *n > 0), |a, b| a + b);
        let joined = fix(joined.map_values(|_, n| n));
        let line = line!() + 1;
        let grouped = joined.group_by(|_, n| (n.to_string(), *n));
        grouped.count("counts").to_stream().for_each(|_, _| ());
        (builder, line)
    };
    let (builder, line) = declare(|table| table);
    let told = mistakes(builder);
    assert_eq!(told.len(), 1, "{told:?}");
    told_at(
        &told[0],
        line,
        "put .materialize(\"a-name\") behind the join",
    );
    assert!(
        declare(|table| table.materialize("stored"))
            .0
            .build()
            .is_ok()
    );
}

#[test]
fn a_program_without_a_source_is_a_mistake() {
    assert!(mistakes(StreamsBuilder::new())[0].contains("reads no topic"));
}

#[test]
fn handles_of_another_builder_are_told() {
    let (other, builder) = (StreamsBuilder::new(), StreamsBuilder::new());
    let (foreign, rows) = (other.stream(&IN), other.table(&ROWS, "rows"));
    let store = other.store::<String, i64>("elsewhere");
    let stream = builder.stream(&IN);
    let merged = line!() + 1;
    stream.merge(foreign).to(&OUT);
    let joined = line!() + 1;
    stream.join(rows, |n, row| n + row).to(&OUT);
    let processed = line!() + 1;
    stream.process(store, |_| Pass).to(&OUT);
    let own = builder.table(&ROWS, "own");
    let tables = line!() + 1;
    own.join(rows, |a, b| a + b).to(&OUT);
    let told = mistakes(builder);
    told_at(&told[0], merged, "different StreamsBuilders");
    told_at(&told[1], joined, "different StreamsBuilders");
    told_at(&told[2], tables, "different StreamsBuilders");
    assert!(
        told.iter().any(|m| m.contains(&format!(":{processed}:"))),
        "{told:?}"
    );
}

#[test]
fn one_topic_has_one_error_policy() {
    let builder = StreamsBuilder::new();
    builder
        .stream(Consumed::of(&IN).on_error(ErrorPolicy::Skip))
        .to(&OUT);
    builder.stream(&IN).to(&OUT);
    // A source that says nothing does not undo what another one says.
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    driver
        .pipe_raw("in", Some(b"a"), Some(b"short"), 0)
        .unwrap();
    assert!(driver.dropped().deserialization > 0);

    let builder = StreamsBuilder::new();
    builder
        .stream(Consumed::of(&IN).on_error(ErrorPolicy::Skip))
        .to(&OUT);
    let consumed = Consumed::of(&IN).on_error(ErrorPolicy::Fail);
    let line = line!() + 1;
    builder.stream(consumed).to(&OUT);
    told_at(
        &mistakes(builder)[0],
        line,
        "read with another error policy at",
    );
}

struct Pass;

impl Processor<String, i64> for Pass {
    type Key = String;
    type Value = i64;

    fn process(
        &mut self,
        record: Record<String, i64>,
        ctx: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        Ok(ctx.forward(record)?)
    }
}

impl FixedKeyProcessor<String, i64> for Pass {
    type Value = i64;

    fn process(
        &mut self,
        _: &String,
        value: i64,
        ctx: &mut FixedKeyContext<'_, String, i64>,
    ) -> ProcessResult {
        Ok(ctx.forward(value)?)
    }
}

/// Every operator that needs no store; all but `to` and the like.
fn declare_stateless(builder: &StreamsBuilder) -> KStream<'_, String, i64> {
    let rows = builder.table(&ROWS, "rows");
    let stream = builder.stream(&IN);
    let s = stream.filter(|_, _| true).filter_not(|_, _| false);
    let s = s.peek(|_, _| ()).map_values(|n| n).flat_map_values(|n| [n]);
    let s = s.join(rows, |n, _| n).left_join(rows, |n, _| n);
    let s = s.map(|k, n| (k, n)).flat_map(|k, n| [(k, n)]);
    let s = s.select_key(|k, _| k.clone());
    let s = s.try_map(|k, n| Ok::<_, String>((k, n)));
    let s = s.try_filter(|_, _| Ok::<_, String>(true));
    let s = s.try_flat_map(|k, n| Ok::<_, String>([(k, n)]));
    let s = s.try_map_values(Ok::<_, String>);
    let s = s.try_flat_map_values(|n| Ok::<_, String>([n]));
    let s = s.try_select_key(|k, _| Ok::<_, String>(k.clone()));
    let s = s.fused(|pipe| pipe.map_values(|n| n));
    let s = s.merge(stream).repartition("again");
    let store = builder.store::<String, i64>("mine");
    let s = s.process(store, |_| Pass).process_values((), |()| Pass);
    let split = s.split();
    split.branch(|_, _| true).for_each(|_, _| ());
    split
        .default_branch()
        .try_for_each(|_, _| Ok::<_, String>(()));
    s.to(&OUT);
    s.to_chosen(|k, _| k.clone(), utf8(), i64_be());
    s
}

/// Every aggregate and table.
fn declare_stateful(builder: &StreamsBuilder, s: KStream<'_, String, i64>) {
    let counts = s.group_by(|_, n| *n).count("by-number");
    counts.to_stream().for_each(|_, _| ());
    s.group_by_key().reduce("reduced", |a, _| a).to(&OUT);
    let serdes = Grouped::with(utf8(), i64_be());
    let grouped = s.group_by_with(|k, _| k.clone(), serdes);
    grouped.aggregate("sum", || 0, |_, n, a| *a += n).to(&OUT);
    let grouped = s.group_by_key_with(serdes);
    let tried = grouped.try_aggregate("try", || 0, |_, _, _| Ok::<_, String>(()));
    tried.filter(|_, _| true).filter_not(|_, _| false).to(&OUT);
    let by_number = s.group_by_with(|_, n| n.to_string(), serdes.named("by-name"));
    let cogrouped = s.group_by_key().cogroup(|_, n, sum| *sum += n);
    let cogrouped = cogrouped.cogroup(by_number, |_, n, sum| *sum += n);
    cogrouped.aggregate("cogrouped", || 0).to(&OUT);
    s.to_table("table").to(&OUT);
    let of_rows = builder.stream(&MAYBE).to_table_of_rows("of-rows");
    let sides = (builder.table(&IN, "a"), builder.table(&IN, "b"));
    let joined = sides.0.join(sides.1, |a, b| a + b);
    let joined = joined.left_join(sides.0, |a, _| *a).materialize("joined");
    joined.outer_join(sides.1, |_, _| 0).to(&OUT);
    joined.join(joined, |a, b| a + b).to(&OUT);
    let key = |_: &String, n: &i64| Some(n.to_string());
    let inner = joined.foreign_key_join(sides.0, key, |a, b| a + b, "fk-inner");
    let inner = inner.filter(|_, _| true).materialize("fk-rows");
    let left = inner.foreign_key_left_join(sides.1, key, |a, _| *a, "fk-left");
    left.to(&OUT);
    let grouped = || {
        of_rows
            .map_values(|_, n| n)
            .group_by(|k, n| (k.clone(), *n))
    };
    grouped().count("table-count");
    grouped().reduce("table-reduce", |a, _| a, |a, _| a);
    grouped().aggregate("table-aggregate", || 0, |_, _, _| (), |_, _, _| ());
}

/// Every aggregate of windows, and what holds its changes back.
fn declare_windowed(builder: &StreamsBuilder, s: KStream<'_, String, i64>) {
    let ms = std::time::Duration::from_millis;
    let times = || {
        let windows = TimeWindows::of_size_with_no_grace(ms(10));
        s.group_by(|_, n| *n).windowed_by(windows)
    };
    let sessions = || {
        let windows = SessionWindows::of_inactivity_gap_with_no_grace(ms(10));
        s.group_by(|_, n| *n).windowed_by(windows)
    };
    let refuse = |_: &i64, _, _: &mut i64| Ok::<_, String>(());
    times().count("w-count");
    times().reduce("w-reduce", |a, _| a);
    times().aggregate("w-aggregate", || 0, |_, n, a| *a += n);
    times().try_aggregate("w-try", || 0, refuse);
    sessions().count("s-count");
    sessions().reduce("s-reduce", |a, _| a);
    sessions().aggregate("s-aggregate", || 0, |_, n, a| *a += n, |_, a, b| *a += b);
    let table = sessions().try_aggregate("s-try", || 0, refuse, |_, a, b| *a += b);
    let cogrouped = || {
        s.group_by(|_, n| *n)
            .cogroup(|_, n, sum: &mut i64| *sum += n)
    };
    let windows = TimeWindows::of_size_with_no_grace(ms(10));
    cogrouped().windowed_by(windows).aggregate("c-times", || 0);
    let windows = SessionWindows::of_inactivity_gap_with_no_grace(ms(10));
    let cogrouped = cogrouped().windowed_by(windows);
    cogrouped.aggregate("c-sessions", || 0, |_, a, b| *a += b);
    let finals = Suppressed::until_window_closes(BufferConfig::unbounded());
    let later = Suppressed::until_time_limit(ms(1), BufferConfig::max_records(1));
    let _ = table.suppress("finals", finals).suppress("later", later);
    let shape = TimedShape {
        kind: TimedKind::Instant,
        retention: 10,
        wide: true,
    };
    let timed = builder.timed_store::<String, i64>("timed", shape);
    let buffer = builder.buffer_store("buffer", i64_be());
    s.process((timed, buffer), |_| Pass).for_each(|_, _| ());
}

#[test]
fn every_method_reports_the_line_that_calls_it() {
    let builder = StreamsBuilder::new();
    let stream = declare_stateless(&builder);
    declare_stateful(&builder, stream);
    declare_windowed(&builder, stream);
    let topology = builder.build().unwrap();
    let nodes = topology.nodes().iter().map(|node| (&node.name, node.at));
    let stores = topology
        .stores()
        .iter()
        .map(|store| (&store.name, store.at));
    for (name, at) in nodes.chain(stores) {
        assert_eq!(at.file(), file!(), "{name} is said to be at {at}");
    }
    assert!(topology.nodes().len() > 60, "{}", topology.nodes().len());
}
