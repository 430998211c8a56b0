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

/// What comes of a left join of two repartitioned streams, and of one of them beside it.
fn joined_and_beside(
    join: impl Fn(KStream<'_, Key, i64>, KStream<'_, Key, i64>),
) -> (Vec<i64>, u64) {
    let builder = StreamsBuilder::new();
    let other = Topic::new("other", option::<Utf8>(), i64_be());
    let left = repartitioned(builder.stream(&other), "left");
    let right = repartitioned(builder.stream(&IN), "right");
    join(left, right);
    right.to(&OUT);
    told(builder)
}

fn windows() -> (JoinWindows, StreamJoined<Key, i64, i64>) {
    let minute = std::time::Duration::from_secs(60);
    (
        JoinWindows::of_time_difference_with_no_grace(minute),
        StreamJoined::with("joined", option::<Utf8>(), i64_be(), i64_be()),
    )
}

#[test]
fn a_left_join_of_streams_lets_them_through_on_both_sides() {
    let told = joined_and_beside(|left, right| {
        let (windows, joined) = windows();
        let _ = left.left_join_stream(right, windows, joined, |l, _| *l);
    });
    // The join itself drops it, since it comes from the right.
    assert_eq!(told, (vec![1], 1));
}

#[test]
fn an_inner_join_of_streams_does_not() {
    let told = joined_and_beside(|left, right| {
        let (windows, joined) = windows();
        let _ = left.join_stream(right, windows, joined, |l, _| *l);
    });
    assert_eq!(told, (vec![], 1));
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

#[test]
fn rows_of_a_table_that_a_grouping_makes_null_are_in_no_group() {
    static COUNTS: Topic<Key, u64> = Topic::new("counts", option::<Utf8>(), u64_be());
    let builder = StreamsBuilder::new();
    // Odd rows have no key, and rows above 9 are none.
    let select = |_: &Key, n: &i64| {
        let key = (n % 2 == 0).then(|| "even".to_owned());
        (key, (*n < 10).then_some(*n))
    };
    let grouped = Grouped::with(option::<Utf8>(), option::<I64Be>());
    let groups = builder
        .table(&ROWS, stored("rows"))
        .group_by_with(select, grouped);
    let counts = Materialized::with("n", option::<Utf8>(), u64_be());
    groups.count(counts).to(&COUNTS);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    for (key, row) in [("a", 2), ("b", 4), ("b", 3), ("a", 12), ("a", 6), ("c", 5)] {
        driver.pipe(&ROWS, Some(key.to_owned()), row, 0).unwrap();
    }
    let counts = driver.read_key_values(&COUNTS).unwrap();
    let counts: Vec<_> = counts.into_iter().map(|(_, count)| count).collect();
    assert_eq!(counts, [Some(1), Some(2), Some(1), Some(0), Some(1)]);
}
