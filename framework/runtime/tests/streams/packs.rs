//! What goes from one task to another as packs: all of it, once, in order, in few records.

use super::harness::*;
use millstream_core::{pack, prelude::*, record::TopicPartition};
use millstream_log::{EmbeddedLog, Limits, Log};
use millstream_runtime::streams::State;

const PARTITIONS: u32 = 3;
const RECORDS: i64 = 3_000;
/// Longer than a pack.
const LARGE: usize = 40 << 10;

static TEXTS: Topic<Option<String>, String> = Topic::new("in", option::<Utf8>(), utf8());
static ROWS: Topic<Option<String>, String> = Topic::new("rows", option::<Utf8>(), utf8());
static TEXTS_OUT: Topic<Option<String>, String> = Topic::new("out", option::<Utf8>(), utf8());

/// What the partitions of a topic hold: how many records of the log, and the records in them.
fn held(world: &World, topic: &str) -> (i64, Vec<(u32, Option<String>, String)>) {
    let (mut ends, mut all) = (0, Vec::new());
    let mut client = world.log.client();
    for partition in 0..PARTITIONS {
        let at = TopicPartition::new(topic, partition);
        let end = client.end(&at).unwrap();
        ends += end;
        let mut from = 0;
        while from < end {
            let page = client.read(&at, from, usize::MAX).unwrap();
            for (_, record) in pack::unpack(page.records).iter() {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                all.push((partition, record.key.map(text), text(record.value.unwrap())));
            }
            from = page.next;
        }
    }
    (ends, all)
}

/// Runs texts through a repartition topic; the last return value is what was in that.
fn run(topology: Topology, texts: Vec<(String, Vec<u8>)>) -> (World, i64) {
    run_on(EmbeddedLog::in_memory(), topology, texts)
}

/// As [`run`], on this log.
fn run_on(log: EmbeddedLog, topology: Topology, texts: Vec<(String, Vec<u8>)>) -> (World, i64) {
    let world = World::on(log, PARTITIONS);
    create(&world.log, ROWS.name, PARTITIONS);
    let records = texts.len();
    world.feed_bytes(texts);
    let streams = world.streams(topology, config("a"));
    start(&streams);
    world.until("outputs", || held(&world, "out").1.len() >= records);
    let between = held(&world, "app-between-repartition").0;
    assert_eq!(streams.close(), State::NotRunning);
    (world, between)
}

#[test]
fn few_records_of_the_log_take_many_and_each_comes_where_its_key_lies() {
    let builder = StreamsBuilder::new();
    let spread = Repartitioned::with("between", option::<Utf8>(), utf8());
    let sums = builder.stream(&TEXTS).select_key(|_, text| {
        let number: i64 = text.parse().unwrap_or_default();
        Some(format!("key-{}", number % 10))
    });
    sums.repartition(spread).to(&TEXTS_OUT);
    // Of one key, so that they have an order.
    let texts = (0..RECORDS).map(|n| ("one".to_owned(), n.to_string().into_bytes()));
    let (world, between) = run(builder.build().unwrap(), texts.collect());
    assert!(between <= RECORDS / 50, "{between}");
    let (_, mut out) = held(&world, "out");
    assert_eq!(out.len(), 3_000);
    for (partition, key, _) in &out {
        let of_key =
            millstream_log::murmur2::partition(key.as_ref().unwrap().as_bytes(), PARTITIONS);
        assert_eq!(*partition, of_key);
    }
    // Stable, so the order within each key is that of the topic.
    out.sort_by(|one, other| one.1.cmp(&other.1));
    let numbers: Vec<i64> = out.iter().map(|(.., text)| text.parse().unwrap()).collect();
    let expected = (0..10).flat_map(|rest| (rest..RECORDS).step_by(10));
    assert_eq!(numbers, expected.collect::<Vec<_>>());
}

#[test]
fn records_without_a_key_and_large_ones_come_too() {
    let builder = StreamsBuilder::new();
    let spread = Repartitioned::with("between", option::<Utf8>(), utf8());
    let keyless = builder.stream(&TEXTS).select_key(|_, _| None);
    // A left join makes something of them (KIP-962); otherwise they would be dropped.
    let rows = Materialized::with("rows", option::<Utf8>(), utf8());
    let joined =
        (keyless.repartition(spread)).left_join(builder.table(&ROWS, rows), |text, _| text.clone());
    joined.to(&TEXTS_OUT);
    let texts: Vec<_> = (0..300)
        .map(|n| {
            let length = if n % 100 == 7 { LARGE } else { 5 };
            ("one".to_owned(), format!("{n:0length$}").into_bytes())
        })
        .collect();
    let mut expected: Vec<_> = texts.iter().map(|(_, text)| text.clone()).collect();
    let (world, between) = run(builder.build().unwrap(), texts);
    let (_, out) = held(&world, "out");
    assert!(out.iter().all(|(_, key, _)| key.is_none()));
    let mut texts: Vec<_> = out
        .into_iter()
        .map(|(.., text)| text.into_bytes())
        .collect();
    texts.sort();
    expected.sort();
    assert_eq!(texts, expected);
    assert!(between < 100, "{between}");
}

#[test]
fn no_pack_is_larger_than_the_log_takes() {
    let builder = StreamsBuilder::new();
    let spread = Repartitioned::with("between", option::<Utf8>(), utf8());
    builder.stream(&TEXTS).repartition(spread).to(&TEXTS_OUT);
    // Several times that together, and hardly less alone.
    let texts = (0..600).map(|n| {
        let length = if n % 100 == 7 { 900 } else { 20 };
        (format!("key-{n}"), format!("{n:0length$}").into_bytes())
    });
    let log = EmbeddedLog::in_memory_with(Limits {
        record_bytes_max: 1 << 10,
        ..Limits::default()
    });
    let (world, between) = run_on(log, builder.build().unwrap(), texts.collect());
    assert_eq!(held(&world, "out").1.len(), 600);
    assert!(between < 300, "{between}");
}
