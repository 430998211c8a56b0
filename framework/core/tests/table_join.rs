//! Table-table joins: exact sequences, and any sequence against the join of two maps.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "table_join/oracle.rs"]
mod oracle;

use millstream_core::prelude::*;

static LEFT: Topic<String, i64> = Topic::new("left", utf8(), i64_be());
static RIGHT: Topic<String, i64> = Topic::new("right", utf8(), i64_be());
static OUT: Topic<String, String> = Topic::new("out", utf8(), utf8());
static SUMS: Topic<String, i64> = Topic::new("sums", utf8(), i64_be());

type Table<'b, V> = KTable<'b, String, V>;

fn show(left: Option<&i64>, right: Option<&i64>) -> String {
    let side = |row: Option<&i64>| row.map_or("-".to_owned(), ToString::to_string);
    format!("{}/{}", side(left), side(right))
}

fn inner<'b>(left: Table<'b, i64>, right: Table<'b, i64>) -> Table<'b, String> {
    left.join(right, |l, r| show(Some(l), Some(r)))
}

fn left<'b>(left: Table<'b, i64>, right: Table<'b, i64>) -> Table<'b, String> {
    left.left_join(right, |l, r| show(Some(l), r))
}

fn outer<'b>(left: Table<'b, i64>, right: Table<'b, i64>) -> Table<'b, String> {
    left.outer_join(right, show)
}

fn driver(declare: impl FnOnce(&StreamsBuilder)) -> TopologyTestDriver {
    let builder = StreamsBuilder::new();
    declare(&builder);
    TopologyTestDriver::new(builder.build().unwrap()).unwrap()
}

fn joined(
    join: for<'b> fn(Table<'b, i64>, Table<'b, i64>) -> Table<'b, String>,
) -> TopologyTestDriver {
    driver(|builder| {
        let left = builder.table(&LEFT, "left-rows");
        join(left, builder.table(&RIGHT, "right-rows")).to(&OUT);
    })
}

/// Changes a row, `None` deleting it, and shows what that told.
fn change(
    driver: &mut TopologyTestDriver,
    topic: &Topic<String, i64>,
    row: Option<i64>,
    time: Timestamp,
) -> Vec<String> {
    let key = "k".to_owned();
    match row {
        Some(row) => driver.pipe(topic, key, row, time).unwrap(),
        None => driver.pipe_tombstone(topic, &key, time).unwrap(),
    }
    told(driver)
}

/// `value@time`, `-@time` for a tombstone.
fn told(driver: &mut TopologyTestDriver) -> Vec<String> {
    let out = driver.read_raw("out").into_iter();
    out.map(|(_, value, time, _)| {
        let value = value.map_or("-".to_owned(), |value| String::from_utf8(value).unwrap());
        format!("{value}@{time}")
    })
    .collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn an_inner_join_tells_where_both_sides_have_a_row() {
    let d = &mut joined(inner);
    assert_eq!(change(d, &LEFT, Some(1), 5), NOTHING);
    assert_eq!(change(d, &RIGHT, Some(2), 3), ["1/2@5"]);
    // Equal updates are told, as Kafka Streams does; the later of the two times is the result's.
    assert_eq!(change(d, &RIGHT, Some(2), 9), ["1/2@9"]);
    assert_eq!(change(d, &LEFT, Some(3), 7), ["3/2@9"]);
    // Out of order: the order of offsets counts, and the row's time goes back.
    assert_eq!(change(d, &RIGHT, Some(4), 1), ["3/4@7"]);
    assert_eq!(change(d, &LEFT, Some(5), 0), ["5/4@1"]);
    assert_eq!(change(d, &LEFT, None, 8), ["-@8"]);
    assert_eq!(change(d, &LEFT, None, 9), NOTHING);
    assert_eq!(change(d, &RIGHT, None, 10), NOTHING);
    assert_eq!(change(d, &LEFT, Some(6), 11), NOTHING);
    assert_eq!(change(d, &RIGHT, Some(7), 12), ["6/7@12"]);
    assert_eq!(change(d, &RIGHT, None, 2), ["-@11"]);
    assert_eq!(change(d, &LEFT, None, 13), NOTHING);
}

#[test]
fn a_left_join_tells_where_the_left_side_has_a_row() {
    let d = &mut joined(left);
    assert_eq!(change(d, &RIGHT, Some(1), 1), NOTHING);
    assert_eq!(change(d, &RIGHT, None, 2), NOTHING);
    assert_eq!(change(d, &LEFT, Some(2), 3), ["2/-@3"]);
    assert_eq!(change(d, &LEFT, Some(2), 4), ["2/-@4"]);
    assert_eq!(change(d, &RIGHT, Some(3), 1), ["2/3@4"]);
    assert_eq!(change(d, &RIGHT, None, 9), ["2/-@9"]);
    // A deletion of what is not there is an update of the result all the same.
    assert_eq!(change(d, &RIGHT, None, 9), ["2/-@9"]);
    assert_eq!(change(d, &RIGHT, Some(4), 5), ["2/4@5"]);
    assert_eq!(change(d, &LEFT, None, 1), ["-@5"]);
    assert_eq!(change(d, &LEFT, None, 6), NOTHING);
    assert_eq!(change(d, &RIGHT, Some(5), 7), NOTHING);
    assert_eq!(change(d, &RIGHT, None, 8), NOTHING);
}

#[test]
fn an_outer_join_tells_where_either_side_has_a_row() {
    let d = &mut joined(outer);
    assert_eq!(change(d, &LEFT, None, 0), NOTHING);
    assert_eq!(change(d, &RIGHT, Some(1), 4), ["-/1@4"]);
    assert_eq!(change(d, &LEFT, Some(2), 3), ["2/1@4"]);
    assert_eq!(change(d, &RIGHT, None, 6), ["2/-@6"]);
    assert_eq!(change(d, &LEFT, None, 5), ["-@5"]);
    assert_eq!(change(d, &RIGHT, None, 7), NOTHING);
    assert_eq!(change(d, &LEFT, Some(3), 8), ["3/-@8"]);
    assert_eq!(change(d, &RIGHT, Some(4), 9), ["3/4@9"]);
    assert_eq!(change(d, &LEFT, None, 2), ["-/4@9"]);
    assert_eq!(change(d, &RIGHT, None, 10), ["-@10"]);
}

#[test]
fn rows_without_a_key_are_dropped_and_headers_stay() {
    let d = &mut joined(outer);
    d.pipe_raw("left", None, Some(&1i64.to_be_bytes()), 0)
        .unwrap();
    d.pipe_raw("right", None, None, 0).unwrap();
    assert_eq!(told(d), NOTHING);
    assert_eq!(d.dropped().null_key, 2);
    let mut record = Record::new("k".to_owned(), 1, 0);
    record.headers.push("h", Some(b"v".to_vec()));
    d.pipe_record(&RIGHT, &record).unwrap();
    assert_eq!(d.read_raw("out")[0].3, record.headers);
}

#[test]
fn tables_without_stores_are_joined() {
    let d = &mut driver(|builder| {
        let even = builder.table(&LEFT, "left-rows").filter(|_, n| n % 2 == 0);
        let tenfold = builder
            .table(&RIGHT, "right-rows")
            .map_values(|_, n| n * 10);
        outer(even, tenfold)
            .filter(|_, text| text != "2/50")
            .to(&OUT);
    });
    assert_eq!(change(d, &LEFT, Some(1), 1), NOTHING);
    assert_eq!(change(d, &RIGHT, Some(3), 2), ["-/30@2"]);
    assert_eq!(change(d, &LEFT, Some(2), 1), ["2/30@2"]);
    assert_eq!(change(d, &RIGHT, Some(5), 4), ["-@4"]);
    assert_eq!(change(d, &RIGHT, Some(6), 5), ["2/60@5"]);
    assert_eq!(change(d, &LEFT, Some(3), 6), ["-/60@6"]);
    assert_eq!(change(d, &RIGHT, None, 7), ["-@7"]);
}

#[test]
fn a_join_is_joined_and_looked_up_by_a_stream() {
    let d = &mut driver(|builder| {
        let (left, right) = (builder.table(&LEFT, "l"), builder.table(&RIGHT, "r"));
        let sum = left.join(right, |l, r| l + r);
        inner(sum, right).to(&OUT);
        let asked = builder.stream(&SUMS).left_join(sum, |ask, sum| {
            format!("{ask}?{}", sum.copied().unwrap_or(-1))
        });
        asked.to(&OUT);
    });
    assert_eq!(change(d, &LEFT, Some(1), 1), NOTHING);
    // The right side is on both sides of the second join, which therefore tells it twice.
    assert_eq!(change(d, &RIGHT, Some(2), 2), ["3/2@2", "3/2@2"]);
    assert_eq!(change(d, &LEFT, Some(5), 3), ["7/2@3"]);
    assert_eq!(change(d, &SUMS, Some(8), 4), ["8?7@4"]);
    assert_eq!(change(d, &LEFT, None, 5), ["-@5"]);
    assert_eq!(change(d, &SUMS, Some(8), 6), ["8?-1@6"]);
}

#[test]
fn a_table_joined_with_itself_tells_each_change_once() {
    for join in [inner, left, outer] {
        let d = &mut driver(|builder| {
            let rows = builder.table(&LEFT, "rows");
            join(rows, rows).to(&OUT);
        });
        assert_eq!(change(d, &LEFT, None, 1), NOTHING);
        assert_eq!(change(d, &LEFT, Some(1), 2), ["1/1@2"]);
        assert_eq!(change(d, &LEFT, Some(2), 1), ["2/2@1"]);
        assert_eq!(change(d, &LEFT, None, 3), ["-@3"]);
        assert_eq!(change(d, &LEFT, None, 4), NOTHING);
    }
}

#[test]
fn a_deletion_on_both_sides_at_once_is_told() {
    let d = &mut driver(|builder| {
        let rows = builder.table(&LEFT, "rows");
        inner(rows, rows.filter(|_, n| *n > 0)).to(&OUT);
    });
    assert_eq!(change(d, &LEFT, Some(1), 1), ["1/1@1", "1/1@1"]);
    assert_eq!(change(d, &LEFT, None, 2), ["-@2", "-@2"]);
    assert_eq!(change(d, &LEFT, Some(-1), 3), NOTHING);
}

#[test]
fn a_materialized_join_has_rows_with_times() {
    let builder = StreamsBuilder::new();
    let (l, r) = (builder.table(&LEFT, "l"), builder.table(&RIGHT, "r"));
    let table = inner(l, r).materialize("joined");
    table.to(&OUT);
    let store = table.store().unwrap();
    let d = &mut TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    change(d, &LEFT, Some(1), 7);
    assert_eq!(change(d, &RIGHT, Some(2), 3), ["1/2@7"]);
    let k = "k".to_owned();
    let row = d.store(store).unwrap().get_with_timestamp(&k).unwrap();
    assert_eq!(row, Some((&"1/2".to_owned(), 7)));
    let log = d.changelog("joined");
    assert_eq!((log.len(), log[0].2), (1, 7));
    assert_eq!(change(d, &LEFT, None, 4), ["-@4"]);
    assert_eq!(d.store(store).unwrap().get(&k).unwrap(), None);
}

#[test]
fn an_aggregate_behind_a_join_has_the_time_of_the_joins_result() {
    let d = &mut driver(|builder| {
        let (l, r) = (builder.table(&LEFT, "l"), builder.table(&RIGHT, "r"));
        let changes = inner(l, r).to_stream();
        changes
            .group_by_key()
            .count("changes")
            .to(&Topic::new("out", utf8(), u64_be()));
        changes.to_table_of_rows("rows");
    });
    change(d, &LEFT, Some(1), 7);
    d.pipe(&RIGHT, "k".to_owned(), 2, 3).unwrap();
    assert_eq!(d.read_raw("out")[0].2, 7);
    assert_eq!(d.changelog("rows")[0].2, 7);
    d.pipe(&RIGHT, "k".to_owned(), 2, 3).unwrap();
    assert_eq!(d.read_raw("out")[0].2, 7);
}
