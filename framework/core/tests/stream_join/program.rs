//! How joins sit in a program: names, repartition topics, mistakes.

use super::{
    bench::window,
    pair::{Key, LEFT, OUT, RIGHT},
};
use millstream_core::{ErrorKind, prelude::*, topology::Format};

static MAYBE: Topic<Key, Option<i64>> = Topic::new("maybe", option::<Utf8>(), option::<I64Be>());

fn joined() -> StreamJoined<Key, i64, i64> {
    StreamJoined::with("j", LEFT.key, LEFT.value, RIGHT.value)
}

fn key(name: &str) -> Key {
    Some(name.to_owned())
}

/// A program of two streams.
fn program(build: impl Fn(KStream<'_, Key, i64>, KStream<'_, Key, i64>)) -> Topology {
    let builder = StreamsBuilder::new();
    build(builder.stream(&LEFT), builder.stream(&RIGHT));
    builder.build().unwrap()
}

fn stores(topology: &Topology) -> Vec<&str> {
    topology.stores().iter().map(|s| s.name.as_str()).collect()
}

#[test]
fn stores_are_named_after_the_join() {
    let windows = window((5, 5, 0));
    let inner = program(|l, r| {
        let results =
            l.join_stream_with_key(r, windows, joined(), |k, l, r| format!("{k:?}{l}{r}"));
        results.to(&OUT);
    });
    let both = ["j-this-join-store", "j-other-join-store"];
    assert_eq!(stores(&inner), both);
    let outer = program(|l, r| {
        let results = l.outer_join_stream(r, windows, joined(), |l, r| format!("{l:?}{r:?}"));
        results.to(&OUT);
    });
    assert_eq!(
        stores(&outer),
        [
            "j-this-join-store",
            "j-other-join-store",
            "j-outer-shared-join-store"
        ]
    );
    assert_eq!(outer.subtopologies().len(), 1);
    let itself = program(|l, _| {
        l.join_stream(l, windows, joined(), |l, r| format!("{l}{r}"))
            .to(&OUT);
    });
    assert_eq!(stores(&itself), ["j-this-join-store"]);
}

#[test]
fn without_changelogs_nothing_is_logged() {
    let builder = StreamsBuilder::new();
    let (left, right) = (builder.stream(&LEFT), builder.stream(&RIGHT));
    let quiet = joined().with_logging_disabled();
    left.outer_join_stream(right, window((5, 5, 0)), quiet, |l, r| {
        format!("{l:?}{r:?}")
    })
    .to(&OUT);
    let layout = builder.build().unwrap().layout("app", |_| Some(1)).unwrap();
    assert!(layout.internal.is_empty(), "{:?}", layout.internal);
}

#[test]
fn a_side_whose_key_was_changed_goes_through_a_topic_with_its_null_keys() {
    let builder = StreamsBuilder::new();
    let right = builder
        .stream(&RIGHT)
        .select_key(|_, value| Some(format!("k{value}")));
    let left = builder.stream(&LEFT).select_key(|key, _| key.clone());
    let results = left.left_join_stream_with_key(right, window((5, 5, 0)), joined(), |k, l, r| {
        format!("{} {l} {r:?}", k.as_deref().unwrap_or("null"))
    });
    results.to(&OUT);
    let topology = builder.build().unwrap();
    let described = topology.describe(Format::Text);
    for topic in ["j-left-repartition", "j-right-repartition"] {
        assert!(described.contains(topic), "{described}");
    }
    let layout = topology
        .layout("app", |name| Some(if name == "left" { 3 } else { 5 }))
        .unwrap();
    // Joined topics get equally many partitions.
    for side in ["left", "right"] {
        let name = format!("app-j-{side}-repartition");
        let topic = layout
            .internal
            .iter()
            .find(|topic| topic.name == name)
            .unwrap();
        assert_eq!(topic.partitions, 5);
    }
    let mut driver = TopologyTestDriver::new(topology).unwrap();
    driver.pipe(&RIGHT, None, 7, 10).unwrap();
    driver.pipe(&LEFT, key("k7"), 1, 11).unwrap();
    driver.pipe(&LEFT, None, 2, 12).unwrap();
    let results = driver.read_key_values(&OUT).unwrap();
    assert_eq!(
        results,
        [
            (key("k7"), Some("k7 1 Some(7)".to_owned())),
            (None, Some("null 2 None".to_owned())),
        ]
    );
    assert_eq!(driver.dropped().null_key, 0);
}

#[test]
fn topics_of_different_width_are_refused() {
    let builder = StreamsBuilder::new();
    let (left, right) = (builder.stream(&LEFT), builder.stream(&RIGHT));
    let line = line!() + 1;
    let results = left.join_stream(right, window((5, 5, 0)), joined(), |l, r| format!("{l}{r}"));
    results.to(&OUT);
    let topology = builder.build().unwrap();
    let layout = topology.layout("app", |name| Some(if name == "left" { 3 } else { 5 }));
    let told = layout.err().unwrap().to_string();
    assert!(told.starts_with(&format!("{}:{line}:", file!())), "{told}");
    assert!(told.contains("left has 3, right has 5"), "{told}");
}

#[test]
fn an_empty_window_is_a_mistake() {
    let builder = StreamsBuilder::new();
    let (left, right) = (builder.stream(&LEFT), builder.stream(&RIGHT));
    let line = line!() + 1;
    let results = left.left_join_stream(right, window((5, -6, 0)), joined(), |l, r| {
        format!("{l}{r:?}")
    });
    results.to(&OUT);
    let error = builder.build().err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::Topology(_)));
    let told = error.to_string();
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.starts_with(&format!("{}:{line}:", file!())), "{told}");
    assert!(
        told.contains("from 5 ms before to -6 ms after a record is empty"),
        "{told}"
    );
}

#[test]
fn null_values_meet_nobody_and_are_counted() {
    let builder = StreamsBuilder::new();
    let (left, right) = (builder.stream(&MAYBE), builder.stream(&RIGHT));
    let joined = StreamJoined::with("j", MAYBE.key, MAYBE.value, RIGHT.value);
    let results = left.outer_join_stream(right, window((5, 5, 0)), joined, |l, r| {
        format!("{l:?} {r:?}")
    });
    results.to(&OUT);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    driver.pipe(&MAYBE, key("a"), None, 10).unwrap();
    driver.pipe(&RIGHT, key("a"), 2, 10).unwrap();
    driver.pipe(&MAYBE, key("a"), Some(1), 11).unwrap();
    let results = driver.read_key_values(&OUT).unwrap();
    assert_eq!(
        results,
        [(key("a"), Some("Some(Some(1)) Some(2)".to_owned()))]
    );
    assert_eq!(driver.dropped().null_key, 1);
}

#[test]
fn results_carry_the_headers_of_the_record_that_made_them_come() {
    let builder = StreamsBuilder::new();
    let (left, right) = (builder.stream(&LEFT), builder.stream(&RIGHT));
    let results = left.left_join_stream(right, window((5, 5, 0)), joined(), |l, r| {
        format!("{l} {r:?}")
    });
    results.to(&OUT);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    let mut pipe = |left: bool, name: &str, time, header: &str| {
        let mut record = Record::new(key(name), 1, time);
        record.headers.push("from", Some(header.into()));
        let topic = if left { &LEFT } else { &RIGHT };
        driver.pipe_record(topic, &record).unwrap();
    };
    pipe(true, "a", 10, "first");
    pipe(true, "b", 11, "second");
    pipe(false, "b", 16, "third");
    let headers: Vec<_> = (driver.read(&OUT).unwrap().into_iter())
        .map(|r| {
            (
                r.value,
                r.headers
                    .last("from")
                    .and_then(|h| h.value.clone())
                    .unwrap(),
            )
        })
        .collect();
    assert_eq!(
        headers,
        [
            ("1 None".to_owned(), b"third".to_vec()),
            ("1 Some(1)".to_owned(), b"third".to_vec())
        ]
    );
}
