//! The handles of a windowed table: its store, its view by key, old values, and null keys.

use super::run::ms;
use millstream_core::{
    dsl::Change,
    prelude::*,
    store::{At, TimedKind},
};
use std::ops::ControlFlow;

static IN: Topic<String, i64> = Topic::new("in", utf8(), i64_be());
static MAYBE: Topic<Option<String>, i64> = Topic::new("maybe", option::<Utf8>(), i64_be());
static ASKED: Topic<Windowed<String>, i64> =
    Topic::new("asked", session_windowed::<Utf8>(), i64_be());
static OUT: Topic<Windowed<String>, i64> = Topic::new("out", session_windowed::<Utf8>(), i64_be());
static SUMS: Topic<String, i64> = Topic::new("sums", utf8(), i64_be());

const TUMBLING: TimeWindows = TimeWindows::of_size_and_grace(ms(10), ms(100));

fn key(key: &str, start: i64, end: i64) -> Windowed<String> {
    Windowed::new(key.to_owned(), Window::new(start, end))
}

fn sums<'b>(builder: &'b StreamsBuilder, store: &str) -> KTable<'b, Windowed<String>, i64> {
    let windowed = builder.stream(&IN).group_by_key().windowed_by(TUMBLING);
    windowed.reduce(store, |a, b| a + b)
}

#[test]
fn the_window_store_can_be_read() {
    let builder = StreamsBuilder::new();
    let table = sums(&builder, "sums");
    let store = table.window_store().unwrap();
    assert!(table.store().is_none());
    assert!(table.filter(|_, _| true).window_store().is_none());
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    for (name, value, time) in [("a", 1, 3), ("a", 2, 8), ("b", 4, 9), ("a", 8, 12)] {
        driver.pipe(&IN, name.to_owned(), value, time).unwrap();
    }
    let store = driver.store(store).unwrap();
    let row = store.get(&"a".to_owned(), At::time(0)).unwrap();
    assert_eq!(row, Some((&3, 8)));
    let mut found = Vec::new();
    let visit = |name, at: At, value: &i64, time| {
        found.push((name, at.time, *value, time));
        ControlFlow::Continue(())
    };
    store.all(0..=10, visit).unwrap();
    let expected = [("a", 0, 3, 8), ("a", 10, 8, 12), ("b", 0, 4, 9)];
    let expected = expected.map(|(name, at, value, time)| (name.to_owned(), at, value, time));
    assert_eq!(found, expected);
}

#[test]
fn a_windowed_table_is_looked_up_by_windowed_keys() {
    let builder = StreamsBuilder::new();
    let table = sums(&builder, "sums");
    let doubled = table.map_values(|_, sum| 2 * sum);
    let joined = builder
        .stream(&ASKED)
        .join(doubled, |asked, sum| asked + sum);
    joined.to(&OUT);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    driver.pipe(&IN, "a".to_owned(), 21, 13).unwrap();
    driver.pipe(&ASKED, key("a", 10, 20), 1000, 13).unwrap();
    driver.pipe(&ASKED, key("a", 0, 10), 1000, 13).unwrap();
    let told = driver.read_key_values(&OUT).unwrap();
    assert_eq!(told, [(key("a", 10, 20), Some(1042))]);
}

#[test]
fn sessions_are_looked_up_by_start_and_end() {
    let builder = StreamsBuilder::new();
    let windows = SessionWindows::of_inactivity_gap_and_grace(ms(10), ms(100));
    let windowed = builder.stream(&IN).group_by_key().windowed_by(windows);
    let table = windowed.reduce("sums", |a, b| a + b);
    let joined = builder
        .stream(&ASKED)
        .left_join(table, |_, sum| sum.copied().unwrap_or(-1));
    joined.to(&OUT);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    driver.pipe(&IN, "a".to_owned(), 1, 5).unwrap();
    driver.pipe(&IN, "a".to_owned(), 2, 12).unwrap();
    for (start, end) in [(5, 5), (5, 12)] {
        driver.pipe(&ASKED, key("a", start, end), 0, 12).unwrap();
    }
    let told = driver.read_key_values(&OUT).unwrap();
    assert_eq!(
        told,
        [(key("a", 5, 5), Some(-1)), (key("a", 5, 12), Some(2 + 1))]
    );
}

/// The sum over all windows of each key, kept right by the changes of the windows.
fn total(table: KTable<'_, Windowed<String>, i64>) {
    let grouped = table.group_by(|key, sum| (key.key.clone(), *sum));
    grouped
        .reduce("total", |a, b| a + b, |a, b| a - b)
        .to(&SUMS);
}

#[test]
fn an_aggregate_over_windows_follows_their_changes() {
    for kind in [0, 1, 2] {
        let builder = StreamsBuilder::new();
        let grouped = builder.stream(&IN).group_by_key();
        let session = SessionWindows::of_inactivity_gap_and_grace(ms(5), ms(100));
        let sliding = SlidingWindows::of_time_difference_and_grace(ms(5), ms(100));
        let fold = |a, b| a + b;
        total(match kind {
            0 => grouped.windowed_by(TUMBLING).reduce("windows", fold),
            1 => grouped.windowed_by(session).reduce("windows", fold),
            _ => grouped.windowed_by(sliding).reduce("windows", fold),
        });
        let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
        for (value, time) in [(1, 20), (2, 20), (4, 40), (8, 30), (16, 44), (32, 36)] {
            driver.pipe(&IN, "a".to_owned(), value, time).unwrap();
        }
        let told = driver.read_key_values(&SUMS).unwrap();
        let last = told.last().unwrap().1;
        // In sliding windows records are in several: 3 + 8 + 32 + 4, and with their neighbours in
        // reach 32 + 4 and 4 + 16; and 16.
        assert_eq!(last, Some(if kind == 2 { 47 + 36 + 20 + 16 } else { 63 }));
    }
}

#[test]
fn old_values_are_told_only_where_somebody_reads_them() {
    let builder = StreamsBuilder::new();
    let table = sums(&builder, "sums");
    let kept = table.filter(|_, sum| sum % 2 == 1);
    kept.to_stream().to(&MAYBE_OUT);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    for (value, time) in [(2, 1), (1, 2), (2, 3), (1, 4), (2, 5)] {
        driver.pipe(&IN, "a".to_owned(), value, time).unwrap();
    }
    let told = driver.read(&MAYBE_OUT).unwrap();
    let told: Vec<_> = told.into_iter().map(|record| record.value).collect();
    // 2 never was there; 6 takes 5 away, and 8 takes nothing away.
    assert_eq!(told, [Some(3), Some(5), None]);
    let _: Option<Change<i64>> = None;
}

static MAYBE_OUT: Topic<Windowed<String>, Option<i64>> =
    Topic::new("out", session_windowed::<Utf8>(), option::<I64Be>());

#[test]
fn null_keys_have_no_windows_and_no_time() {
    let windows = TimeWindows::of_size_with_no_grace(ms(10));
    let session = SessionWindows::of_inactivity_gap_with_no_grace(ms(10));
    let sliding = SlidingWindows::of_time_difference_with_no_grace(ms(10));
    let builder = StreamsBuilder::new();
    let grouped = || {
        let serdes = Grouped::with(option::<Utf8>(), i64_be());
        builder.stream(&MAYBE).group_by_key_with(serdes)
    };
    let store = |name| Materialized::with(name, option::<Utf8>(), u64_be());
    grouped().windowed_by(windows).count(store("a"));
    grouped().windowed_by(session).count(store("b"));
    grouped().windowed_by(sliding).count(store("c"));
    let close = grouped()
        .windowed_by(windows)
        .emit_strategy(EmitStrategy::OnWindowClose);
    close.count(store("d"));
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    for (name, time) in [(Some("a"), 1), (None, 1000), (Some("a"), 2)] {
        driver
            .pipe(&MAYBE, name.map(str::to_owned), 1, time)
            .unwrap();
    }
    let dropped = driver.dropped();
    assert_eq!((dropped.null_key, dropped.late_record), (4, 0));
}

#[test]
fn a_store_says_what_its_rows_are_and_how_long_it_keeps_them() {
    let builder = StreamsBuilder::new();
    sums(&builder, "sums");
    let grouped = builder.stream(&IN).group_by_key();
    let session = SessionWindows::of_inactivity_gap_with_no_grace(ms(7));
    let store = Materialized::with("sessions", utf8(), u64_be()).with_retention(ms(5000));
    grouped.windowed_by(session).count(store);
    let grouped = builder.stream(&IN).group_by_key();
    grouped.windowed_by(UnlimitedWindows::of()).count("all");
    let topology = builder.build().unwrap();
    let kept: Vec<_> = topology
        .stores()
        .iter()
        .map(|store| store.expires.map(|shape| shape.retention))
        .collect();
    assert_eq!(kept, [Some(110), Some(5000), None]);
    let window = TimedKind::Window(10).window(At::time(20));
    assert_eq!(window, Window::new(20, 30));
    let query = topology.stores()[0].query.clone().unwrap();
    let json = serde_json::json!({ "key": "a", "start": 20, "end": 30 });
    assert_eq!(query.show_key(&query.key(&json).unwrap()).unwrap(), json);
}
