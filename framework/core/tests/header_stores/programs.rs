//! Values with headers on their way through programs: none of them loses its headers, whatever it
//! passes.

use super::{trace, traced};
use millstream_core::{
    prelude::*,
    topology::{Evolution, Format, Verdict},
};
use std::time::Duration;

type Traced = ValueAndHeaders<i64>;
type Key = String;

static ONE: Topic<Key, Traced> = Topic::new("one", utf8(), with_headers::<I64Be>());
static OTHER: Topic<Key, Traced> = Topic::new("other", utf8(), with_headers::<I64Be>());
static OUT: Topic<Key, Traced> = Topic::new("out", utf8(), with_headers::<I64Be>());
/// The same topic for those who do not know that its values have headers.
static BARE: Topic<Key, i64> = Topic::new("one", utf8(), i64_be());

fn key() -> Key {
    "a".to_owned()
}

fn value(value: i64, text: &str) -> Traced {
    let headers = trace(text);
    Traced { value, headers }
}

fn driver(declare: impl Fn(&StreamsBuilder)) -> TopologyTestDriver {
    let builder = StreamsBuilder::new();
    declare(&builder);
    TopologyTestDriver::new(builder.build().unwrap()).unwrap()
}

/// What comes out where one record goes in on each of the topics.
fn told(declare: impl Fn(&StreamsBuilder), topics: &[&Topic<Key, Traced>]) -> Vec<Traced> {
    let mut driver = driver(declare);
    for (number, topic) in (1..).zip(topics) {
        let text = format!("t{number}");
        driver
            .pipe(topic, key(), value(number, &text), 10 * number)
            .unwrap();
    }
    let out = driver.read(&OUT).unwrap();
    // Who writes a value with headers writes these and no others.
    assert!(
        out.iter()
            .all(|record| record.headers == record.value.headers)
    );
    out.into_iter().map(|record| record.value).collect()
}

fn rows(name: &str) -> Materialized<Key, Traced> {
    Materialized::with(name, utf8(), i64_be()).with_headers()
}

fn first(one: &Traced, _: &Traced) -> Traced {
    one.clone()
}

#[test]
fn a_record_says_with_its_own_headers_what_its_value_says() {
    let mut driver = driver(|builder| builder.stream(&ONE).to(&OUT));
    let mut record = Record::new(key(), 7, 1);
    record.headers = trace("x");
    driver.pipe_record(&BARE, &record).unwrap();
    let raw = driver.read_raw("out");
    let (_, bytes, _, headers) = &raw[0];
    assert_eq!(bytes.as_deref(), Some(&7_i64.to_be_bytes()[..]));
    assert_eq!(*headers, trace("x"));
}

#[test]
fn what_changes_the_headers_of_a_value_changes_those_of_the_record() {
    let rename = |one: Traced| value(one.value, "new");
    let out = told(|b| b.stream(&ONE).map_values(rename).to(&OUT), &[&ONE]);
    assert_eq!(out, [value(1, "new")]);
}

#[test]
fn values_keep_their_headers_on_the_way_through_topics_of_the_program() {
    let rekeyed = |b: &StreamsBuilder| {
        b.stream(&ONE)
            .repartition(Repartitioned::with("again", utf8(), traced()))
            .to(&OUT)
    };
    assert_eq!(told(rekeyed, &[&ONE]), [value(1, "t1")]);
    let grouped = |b: &StreamsBuilder| {
        let serdes = Grouped::with(utf8(), traced());
        let table = b.table(&ONE, rows("ones"));
        let grouped = table.group_by_with(|k, v| (k.clone(), v.clone()), serdes);
        let keep = |_: &Key, one: Traced, kept: &mut Traced| *kept = one;
        let none = |_: &Key, _: Traced, _: &mut Traced| {};
        grouped
            .aggregate(rows("kept"), Traced::default, keep, none)
            .to(&OUT);
    };
    assert_eq!(told(grouped, &[&ONE]), [value(1, "t1")]);
}

#[test]
fn values_keep_their_headers_in_joins_and_while_they_wait() {
    let streams = |b: &StreamsBuilder| {
        let windows = JoinWindows::of_time_difference_with_no_grace(Duration::from_secs(1));
        let other = b.stream(&OTHER);
        let stores = StreamJoined::with("joined", utf8(), traced(), traced());
        b.stream(&ONE)
            .join_stream(other, windows, stores, first)
            .to(&OUT);
    };
    assert_eq!(told(streams, &[&ONE, &OTHER]), [value(1, "t1")]);
    let tables = |b: &StreamsBuilder| {
        let (one, other) = (b.table(&ONE, rows("ones")), b.table(&OTHER, rows("others")));
        one.join(other, first).to(&OUT);
    };
    assert_eq!(told(tables, &[&ONE, &OTHER]), [value(1, "t1")]);
    let global = |b: &StreamsBuilder| {
        let others = b.global_table(&OTHER, rows("others"));
        let second = |_: Traced, other: &Traced| other.clone();
        b.stream(&ONE)
            .join_global(others, |k, _| k.clone(), second)
            .to(&OUT);
    };
    assert_eq!(told(global, &[&OTHER, &ONE]), [value(1, "t1")]);
    let held = |b: &StreamsBuilder| {
        let limit =
            Suppressed::until_time_limit(Duration::from_millis(5), BufferConfig::unbounded());
        b.table(&ONE, rows("ones"))
            .suppress(rows("held"), limit)
            .to(&OUT);
    };
    assert_eq!(told(held, &[&ONE, &ONE]), [value(2, "t2")]);
}

#[test]
fn values_keep_their_headers_on_the_way_to_a_row_of_another_key_and_back() {
    let foreign = |b: &StreamsBuilder| {
        let (one, other) = (b.table(&ONE, rows("ones")), b.table(&OTHER, rows("others")));
        let joined = TableJoined::with("joined", traced(), traced());
        let both = |one: &Traced, other: &Traced| {
            let text = [one, other].map(|side| side.headers.last("trace").cloned());
            let [one, other] = text.map(|header| header.and_then(|header| header.value));
            let joined = [one.unwrap_or_default(), other.unwrap_or_default()].concat();
            value(3, &String::from_utf8_lossy(&joined))
        };
        one.foreign_key_join(other, |key, _| Some(key.clone()), both, joined)
            .to(&OUT);
    };
    assert_eq!(told(foreign, &[&ONE, &OTHER]), [value(3, "t1t2")]);
}

#[test]
fn a_store_that_comes_to_have_headers_keeps_its_rows_and_says_so() {
    let described = |rows: &dyn Fn(&StreamsBuilder)| {
        let builder = StreamsBuilder::new();
        rows(&builder);
        builder.build().unwrap().describe(Format::Json)
    };
    let aware = |builder: &StreamsBuilder| {
        let _ = builder.table(&ONE, rows("rows"));
    };
    let aware = described(&aware);
    let plain = |builder: &StreamsBuilder| {
        let _ = builder.table(&BARE, Materialized::with("rows", utf8(), i64_be()));
    };
    let plain = described(&plain);
    for (old, new, what) in [
        (&plain, &aware, "have none until they are written anew"),
        (&aware, &plain, "are passed over"),
    ] {
        let evolution = Evolution::between(old, new).unwrap();
        assert_eq!(evolution.verdict(), Verdict::Compatible);
        let told = evolution
            .findings
            .iter()
            .filter(|finding| finding.name == "rows");
        let told: Vec<_> = told.map(|finding| &*finding.why).collect();
        assert!(told[0].contains(what), "{told:?}");
    }
}
