//! Values with headers on their way through programs: what they pass takes none of them away.

use super::{trace, traced};
use millstream_core::{
    prelude::*,
    topology::{Evolution, Format, TopicName, Verdict},
};
use std::time::Duration;

type Traced = ValueAndHeaders<i64>;
type Key = String;

static ONE: Topic<Key, Traced> = Topic::new("one", utf8(), with_headers::<I64Be>());
static OTHER: Topic<Key, Traced> = Topic::new("other", utf8(), with_headers::<I64Be>());
static ROWS_AGAIN: Topic<Key, Option<Traced>> =
    Topic::new("rows-again", utf8(), option::<WithHeaders<I64Be>>());
static PLAIN_OUT: Topic<Key, i64> = Topic::new("out", utf8(), i64_be());
static OUT: Topic<Key, Traced> = Topic::new("out", utf8(), with_headers::<I64Be>());
/// Rows, and deletions of some.
static ROWS: Topic<Key, Option<Traced>> =
    Topic::new("rows", utf8(), option::<WithHeaders<I64Be>>());
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
    let outer = |b: &StreamsBuilder| {
        let windows = JoinWindows::of_time_difference_with_no_grace(Duration::from_millis(5));
        let stores = StreamJoined::with("joined", utf8(), traced(), traced());
        let (one, other) = (b.stream(&ONE), b.stream(&OTHER));
        let either = |one: Option<&Traced>, other: Option<&Traced>| {
            one.or(other).cloned().unwrap_or_default()
        };
        one.outer_join_stream(other, windows, stores, either)
            .to(&OUT);
    };
    let topics = [&ONE, &OTHER, &ONE];
    assert_eq!(told(outer, &topics), [value(1, "t1"), value(2, "t2")]);
    let waits = |b: &StreamsBuilder| {
        let second = Duration::from_secs(1);
        let others = b.table(&OTHER, rows("others").versioned(second));
        let waits = Joined::with("waits", utf8(), traced());
        let waits = waits.with_grace_period(Duration::from_millis(5));
        b.stream(&ONE)
            .join_with(others, waits, |one, _| one)
            .to(&OUT);
    };
    let topics = [&OTHER, &ONE, &ONE];
    assert_eq!(told(waits, &topics), [value(2, "t2")]);
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
fn a_row_is_known_by_its_value_whether_it_has_headers_or_not() {
    static PLAIN: Topic<Key, i64> = Topic::new("other", utf8(), i64_be());
    let subscriptions = |mut driver: TopologyTestDriver| {
        driver.pipe(&BARE, key(), 7, 1).unwrap();
        let store = driver.changelog("joined-subscription-store");
        let hashes = store.iter().map(|(_, hash, ..)| hash.clone());
        hashes.collect::<Vec<_>>()
    };
    let plain = driver(|b| {
        let rows = |name: &str| Materialized::<Key, i64>::with(name, utf8(), i64_be());
        let (one, other) = (
            b.table(&BARE, rows("ones")),
            b.table(&PLAIN, rows("others")),
        );
        let joined = TableJoined::with("joined", i64_be(), i64_be());
        one.foreign_key_join(other, |key, _| Some(key.clone()), |one, _| *one, joined)
            .to(&PLAIN_OUT);
    });
    let aware = driver(|b| {
        let (one, other) = (b.table(&ONE, rows("ones")), b.table(&OTHER, rows("others")));
        let joined = TableJoined::with("joined", traced(), traced());
        one.foreign_key_join(other, |key, _| Some(key.clone()), first, joined)
            .to(&OUT);
    });
    let known = subscriptions(plain);
    assert_eq!(known.len(), 1);
    assert_eq!(subscriptions(aware), known);
}

#[test]
fn a_null_deletes_whatever_headers_it_has() {
    let serde = option::<I64Be>().with_headers();
    let (maybe, out) = (
        Topic::new("maybe", utf8(), serde),
        Topic::new("told", utf8(), serde),
    );
    for rekeyed in [false, true] {
        let mut driver = driver(|b| {
            let rows = Materialized::with("rows", utf8(), serde);
            let stream = b.stream(&maybe);
            let stream = if rekeyed {
                stream.select_key(|key, _| key.clone())
            } else {
                stream
            };
            stream.to_table(rows).to(&out);
        });
        let headers = trace("x");
        let value = Some(7);
        driver
            .pipe(&maybe, key(), ValueAndHeaders { value, headers }, 1)
            .unwrap();
        let (value, headers) = (None, trace("y"));
        driver
            .pipe(&maybe, key(), ValueAndHeaders { value, headers }, 2)
            .unwrap();
        let told = driver.read_raw("told");
        let told: Vec<_> = told.iter().map(|(_, value, ..)| value.is_some()).collect();
        assert_eq!(told, [true, false], "rekeyed: {rekeyed}");
    }
}

#[test]
fn rows_that_may_be_gone_have_headers_and_deletions_those_of_their_record() {
    let mut driver = driver(|b| b.table(&ONE, rows("ones")).to_stream().to(&ROWS));
    driver.pipe(&ONE, key(), value(1, "x"), 1).unwrap();
    driver.pipe_tombstone(&ONE, &key(), 2).unwrap();
    let raw = driver.read_raw("rows");
    assert_eq!(raw[0].1.as_deref(), Some(&1_i64.to_be_bytes()[..]));
    assert_eq!((raw[1].1.as_deref(), &raw[1].3), (None, &Headers::NONE));
    assert_eq!(raw[0].3, trace("x"));
    let mut driver = driver_of_rows();
    driver.pipe(&ROWS, key(), Some(value(1, "x")), 1).unwrap();
    let mut gone = Record::new(key(), None, 2);
    gone.headers = trace("gone");
    driver.pipe_record(&ROWS, &gone).unwrap();
    let read = driver.read(&ROWS_AGAIN).unwrap();
    assert_eq!(
        (&read[0].value, &read[0].headers),
        (&Some(value(1, "x")), &trace("x"))
    );
    assert_eq!((&read[1].value, &read[1].headers), (&None, &trace("gone")));
}

fn driver_of_rows() -> TopologyTestDriver {
    driver(|b| b.stream(&ROWS).to(&ROWS_AGAIN))
}

#[test]
fn people_see_values_without_their_headers_in_every_topic() {
    let builder = StreamsBuilder::new();
    builder
        .stream(&ONE)
        .repartition(Repartitioned::with("again", utf8(), traced()))
        .to(&OUT);
    let topology = builder.build().unwrap();
    let mut beside = Vec::new();
    traced()
        .apart()
        .encode(&value(7, "x"), &mut beside)
        .unwrap();
    let mut in_front = Vec::new();
    traced().encode(&value(7, "x"), &mut in_front).unwrap();
    for known in topology.formats() {
        let bytes = match known.topic {
            TopicName::Repartition(_) => &in_front,
            _ => &beside,
        };
        let shown = known.format.show_value(Some(bytes)).unwrap();
        assert_eq!(shown, 7, "{}", known.topic.shown());
    }
    assert_eq!(topology.formats().len(), 3);
}

/// Tells the row of a key as a store of its topic has it.
struct LookUp(StoreRef<KeyValueStore<Key, Traced>>);

impl FixedKeyProcessor<Key, Traced> for LookUp {
    type Value = Traced;

    fn process(
        &mut self,
        key: &Key,
        _: Traced,
        ctx: &mut FixedKeyContext<'_, Key, Traced>,
    ) -> ProcessResult {
        let row = ctx.store(self.0).get(key)?.cloned();
        Ok(ctx.forward(row.unwrap_or_default())?)
    }
}

#[test]
fn copies_of_a_topic_and_topics_by_choice_have_the_headers() {
    let copied = |b: &StreamsBuilder| {
        let store = b.read_only_store(&OTHER, "others");
        b.stream(&ONE).process_values(store, LookUp).to(&OUT);
    };
    assert_eq!(told(copied, &[&OTHER, &ONE]), [value(1, "t1")]);
    let chosen = |b: &StreamsBuilder| {
        b.stream(&ONE)
            .to_chosen(|_, _| "out".to_owned(), utf8(), traced());
    };
    assert_eq!(told(chosen, &[&ONE]), [value(1, "t1")]);
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
