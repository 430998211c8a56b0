//! What becomes of records without a key at a repartition: they go nowhere, unless a left join
//! below makes something of them (KIP-962).

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::prelude::*;

type Key = Option<String>;

static IN: Topic<Key, i64> = Topic::new("in", option::<Utf8>(), i64_be());
static OUT: Topic<Key, i64> = Topic::new("out", option::<Utf8>(), i64_be());
static ROWS: Topic<Key, i64> = Topic::new("rows", option::<Utf8>(), i64_be());

fn stored(name: &str) -> Materialized<Key, i64> {
    Materialized::with(name, option::<Utf8>(), i64_be())
}

fn repartitioned<'b>(stream: KStream<'b, Key, i64>, name: &str) -> KStream<'b, Key, i64> {
    stream.repartition(Repartitioned::with(name, option::<Utf8>(), i64_be()))
}

/// The values that come out when one comes in without a key, and how many were dropped.
fn told(builder: StreamsBuilder) -> (Vec<i64>, u64) {
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    driver.pipe(&IN, None, 1, 0).unwrap();
    let told = driver.read(&OUT).unwrap().into_iter();
    (
        told.map(|record| record.value).collect(),
        driver.dropped().null_key,
    )
}

#[test]
fn a_repartition_drops_them() {
    let builder = StreamsBuilder::new();
    repartitioned(builder.stream(&IN), "through").to(&OUT);
    assert_eq!(told(builder), (vec![], 1));
}

#[test]
fn an_inner_join_below_does_not_want_them() {
    let builder = StreamsBuilder::new();
    let rows = builder.table(&ROWS, stored("rows"));
    let stream = repartitioned(builder.stream(&IN), "through");
    stream.join(rows, |n, row| n + row).to(&OUT);
    assert_eq!(told(builder), (vec![], 1));
}

#[test]
fn a_left_join_below_gets_them_through_any_number_of_repartitions() {
    let builder = StreamsBuilder::new();
    let rows = builder.table(&ROWS, stored("rows"));
    let stream = repartitioned(builder.stream(&IN), "once");
    let stream = repartitioned(stream.filter(|_, _| true), "twice");
    stream
        .left_join(rows, |n, row| n + row.unwrap_or(&9))
        .to(&OUT);
    assert_eq!(told(builder), (vec![10], 0));
}

#[test]
fn what_is_beside_a_left_join_gets_them_too_and_drops_them_itself() {
    let builder = StreamsBuilder::new();
    let rows = builder.table(&ROWS, stored("rows"));
    let stream = repartitioned(builder.stream(&IN), "through");
    stream
        .left_join(rows, |n, row| n + row.unwrap_or(&9))
        .to(&OUT);
    let group = stream.group_by_key_with(Grouped::with(option::<Utf8>(), i64_be()));
    group.reduce(stored("sums"), |a, b| a + b).to(&ROWS);
    assert_eq!(told(builder), (vec![10], 1));
}
