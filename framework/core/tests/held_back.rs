//! Dead letters of results that were held back: they are about these results, and not about the
//! records that let them out.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::{
    dsl::{JoinWindows, Joined, StreamJoined},
    prelude::*,
    record::{Header, Headers},
    task::TaskConfig,
};
use std::time::Duration;

static IN: Topic<String, i64> = Topic::new("in", utf8(), i64_be());
static OTHER: Topic<String, i64> = Topic::new("other", utf8(), i64_be());
static OUT: Topic<String, i64> = Topic::new("out", utf8(), i64_be());

/// Of a dead letter: key, value, time, topic, offset, message.
type Letter = (
    Option<String>,
    Option<i64>,
    Timestamp,
    Option<String>,
    String,
    String,
);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn run(builder: StreamsBuilder) -> TopologyTestDriver {
    let config = TaskConfig {
        policies: ErrorPolicy::DeadLetter.into(),
        dead_letter_topic: Some("dead".to_owned()),
        ..TaskConfig::new("app")
    };
    TopologyTestDriver::with_config(builder.build().unwrap(), &config).unwrap()
}

/// Refuses every value.
fn refuse(value: i64) -> Result<i64, String> {
    Err(format!("refused {value}"))
}

fn letters(driver: &mut TopologyTestDriver) -> Vec<Letter> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let letters = driver.read_raw("dead").into_iter();
    let told = letters.map(|(key, value, time, headers)| {
        let said = |name: &str| {
            let header = headers.last(&format!("__streams.errors.{name}")).unwrap();
            header.value.as_deref().map(text)
        };
        let value = value.map(|value| i64::from_be_bytes(value.try_into().unwrap()));
        let (offset, message) = (said("offset").unwrap(), said("message").unwrap());
        (
            key.as_deref().map(text),
            value,
            time,
            said("topic"),
            offset,
            message,
        )
    });
    told.collect()
}

/// What is known of a result that was held back.
fn held_back(time: Timestamp, message: &str) -> Letter {
    (None, None, time, None, "-1".to_owned(), message.to_owned())
}

/// What is known of a record.
fn of(topic: &str, offset: &str, (value, time): (i64, Timestamp), message: &str) -> Letter {
    let (topic, offset) = (topic.to_owned(), offset.to_owned());
    let key = Some("k".to_owned());
    (
        key,
        Some(value),
        time,
        Some(topic),
        offset,
        message.to_owned(),
    )
}

fn pipe(driver: &mut TopologyTestDriver, topic: &Topic<String, i64>, records: &[(i64, i64)]) {
    for (value, time) in records {
        driver.pipe(topic, "k".to_owned(), *value, *time).unwrap();
    }
}

#[test]
fn what_a_join_with_a_grace_period_held_back() {
    let builder = StreamsBuilder::new();
    let rows = Materialized::with("rows", utf8(), i64_be()).versioned(ms(100));
    let table = builder.table(&OTHER, rows);
    let joined = Joined::with("join", utf8(), i64_be()).with_grace_period(ms(10));
    let waited = builder
        .stream(&IN)
        .left_join_with(table, joined, |value, _| value);
    let _ = waited.try_map_values(refuse);
    let mut driver = run(builder);
    let headers = Headers::from_iter([Header {
        name: "h".to_owned(),
        value: Some(b"x".to_vec()),
    }]);
    let record = Record {
        key: "k".to_owned(),
        value: 1,
        timestamp: 0,
        headers,
    };
    driver.pipe_record(&IN, &record).unwrap();
    pipe(&mut driver, &IN, &[(2, 20), (3, 5)]);
    // The last one is late, and so was not held back.
    let expected = [
        held_back(0, "refused 1"),
        of("in", "2", (3, 5), "refused 3"),
    ];
    assert_eq!(letters(&mut driver), expected);
    assert_eq!(driver.dropped().processing, 2);
}

#[test]
fn what_suppress_held_back() {
    let builder = StreamsBuilder::new();
    let until = Suppressed::until_time_limit(ms(10), BufferConfig::unbounded());
    let held = builder.table(&IN, "rows").suppress("held", until);
    let told = held.to_stream().map_values(Option::unwrap_or_default);
    let _ = told.try_map_values(refuse);
    let mut driver = run(builder);
    pipe(&mut driver, &IN, &[(1, 0), (2, 3), (3, 15)]);
    assert_eq!(letters(&mut driver), [held_back(15, "refused 3")]);
}

#[test]
fn what_an_outer_join_told_when_its_window_had_closed() {
    let builder = StreamsBuilder::new();
    let windows = JoinWindows::of_time_difference_and_grace(ms(5), Duration::ZERO);
    let joined = StreamJoined::with("join", utf8(), i64_be(), i64_be());
    let (left, right) = (builder.stream(&IN), builder.stream(&OTHER));
    let sum = |l: Option<&i64>, r: Option<&i64>| l.unwrap_or(&100) + r.unwrap_or(&200);
    let told = left.outer_join_stream(right, windows, joined, sum);
    let _ = told.try_map_values(refuse);
    let mut driver = run(builder);
    pipe(&mut driver, &IN, &[(1, 0), (2, 20)]);
    pipe(&mut driver, &OTHER, &[(3, 20)]);
    let expected = [
        held_back(0, "refused 201"),
        of("other", "0", (3, 20), "refused 5"),
    ];
    assert_eq!(letters(&mut driver), expected);
}

#[test]
fn what_windows_told_when_they_closed() {
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_with_no_grace(ms(10));
    let counts = builder.stream(&IN).group_by_key().windowed_by(windows);
    let closed = counts
        .emit_strategy(EmitStrategy::OnWindowClose)
        .count("counts");
    let told = closed
        .to_stream()
        .map_values(|count| count.map_or(0, |count| count as i64));
    let _ = told.try_map_values(refuse);
    let mut driver = run(builder);
    pipe(&mut driver, &IN, &[(1, 1), (2, 2), (3, 30)]);
    assert_eq!(letters(&mut driver), [held_back(2, "refused 2")]);
}

#[test]
fn an_error_that_stops_the_program_does_not_blame_the_record_in_hand() {
    let builder = StreamsBuilder::new();
    let until = Suppressed::until_time_limit(ms(10), BufferConfig::unbounded());
    let held = builder.table(&IN, "rows").suppress("held", until);
    let told = held.to_stream().map_values(Option::unwrap_or_default);
    told.try_map_values(refuse).on_error(ErrorPolicy::Fail);
    let mut driver = run(builder);
    driver.pipe(&IN, "a".to_owned(), 1, 0).unwrap();
    let error = driver
        .pipe(&IN, "b".to_owned(), 2, 10)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("what was held back at 0, "), "{error}");
    assert!(error.ends_with("refused 1"), "{error}");
}

/// Two rows, the first of which has a header and is let out by the second; then it goes to
/// somebody who is to answer, and refuses.
fn asked_later(own: Option<ErrorPolicy>, program: ErrorPolicy) -> (TopologyTestDriver, String) {
    let builder = StreamsBuilder::new();
    let until = Suppressed::until_time_limit(ms(10), BufferConfig::unbounded());
    let consumed = match own {
        Some(policy) => Consumed::of(&IN).on_error(policy),
        None => Consumed::of(&IN),
    };
    let held = builder.table(consumed, "rows").suppress("held", until);
    let told = held.to_stream().map_values(Option::unwrap_or_default);
    let ask = |_, value| async move { refuse(value) };
    let asked = told.map_async("ask", AsyncConfig::new(), ask);
    let others = builder.stream(&OTHER).try_map_values(refuse);
    asked.merge(others).to(&OUT);
    let config = TaskConfig {
        policies: program.into(),
        dead_letter_topic: Some("dead".to_owned()),
        ..TaskConfig::new("app")
    };
    let mut driver = TopologyTestDriver::with_config(builder.build().unwrap(), &config).unwrap();
    let headers = Headers::from_iter([Header {
        name: "h".to_owned(),
        value: Some(b"x".to_vec()),
    }]);
    let record = Record {
        headers,
        ..Record::new("a".to_owned(), 1, 0)
    };
    driver.pipe_record(&IN, &record).unwrap();
    let let_out = driver.pipe(&IN, "b".to_owned(), 2, 10);
    let error = let_out.err().map(|error| error.to_string());
    (driver, error.unwrap_or_default())
}

#[test]
fn what_was_held_back_is_answered_for_by_its_source_after_a_call_too() {
    let (driver, error) = asked_later(Some(ErrorPolicy::Skip), ErrorPolicy::Fail);
    assert_eq!((&*error, driver.dropped().processing), ("", 1));
    let (_, error) = asked_later(Some(ErrorPolicy::Fail), ErrorPolicy::Skip);
    assert_eq!(error, "what was held back at 0, ask: refused 1");
}

#[test]
fn what_was_held_back_has_its_headers_after_a_call_too() {
    for own in [None, Some(ErrorPolicy::DeadLetter)] {
        let (mut driver, error) = asked_later(own, ErrorPolicy::DeadLetter);
        assert_eq!((&*error, driver.dropped().dead_lettered), ("", 1));
        let headers = driver.read_raw("dead").remove(0).3;
        let own = headers.last("h").and_then(|header| header.value.clone());
        assert_eq!(own.as_deref(), Some(&b"x"[..]));
        // A record that comes after it is none that was held back.
        pipe(&mut driver, &OTHER, &[(3, 11)]);
        assert_eq!(
            letters(&mut driver),
            [of("other", "0", (3, 11), "refused 3")]
        );
    }
}

/// Numbers that a store takes: none above a hundred.
struct Small;

impl Codec for Small {
    type Item = i64;

    fn encode(&self, value: &i64, out: &mut Vec<u8>) -> millstream_core::Result<Encoded> {
        match value {
            ..=100 => i64_be().encode(value, out),
            _ => Err(millstream_core::Error::processing("too much")),
        }
    }

    fn decode(&self, bytes: Option<&[u8]>) -> millstream_core::Result<i64> {
        i64_be().decode(bytes)
    }

    fn name(&self) -> String {
        "small".to_owned()
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> millstream_core::Result<serde_json::Value> {
        i64_be().codec().to_json(bytes)
    }

    fn from_json(
        &self,
        json: &serde_json::Value,
        out: &mut Vec<u8>,
    ) -> millstream_core::Result<Encoded> {
        i64_be().codec().from_json(json, out)
    }
}

#[test]
fn what_could_not_be_held_back_does_not_hurry_what_comes_after_it() {
    let builder = StreamsBuilder::new();
    let until = Suppressed::until_time_limit(ms(10), BufferConfig::unbounded());
    let store = Materialized::with("held", utf8(), Serde::new(&Small));
    let held = builder.table(&IN, "rows").suppress(store, until);
    let told = held.to_stream().map_values(Option::unwrap_or_default);
    told.to(&OTHER);
    let mut driver = run(builder);
    for (key, number, time) in [("a", 101, 0), ("a", 1, 5), ("b", 2, 14), ("b", 3, 15)] {
        driver.pipe(&IN, key.to_owned(), number, time).unwrap();
        let told = driver.read(&OTHER).unwrap().len();
        assert_eq!(told, usize::from(time == 15), "at {time}");
    }
    assert_eq!(driver.dropped().processing, 1);
}

#[test]
fn a_record_whose_key_the_windows_cannot_take_is_refused_once_and_closes_none() {
    static NUMBERED: Topic<i64, i64> = Topic::new("numbered", i64_be(), i64_be());
    static COUNTS: Topic<i64, i64> = Topic::new("counts", i64_be(), i64_be());
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_with_no_grace(ms(10));
    let counts = builder
        .stream(&NUMBERED)
        .group_by_key()
        .windowed_by(windows);
    let closed = counts.emit_strategy(EmitStrategy::OnWindowClose);
    let store = Materialized::with("counts", Serde::new(&Small), u64_be());
    let told = closed.count(store).to_stream();
    let told = told.map(|window, count| (window.key, count.map_or(0, |count| count as i64)));
    told.to(&COUNTS);
    let mut driver = run(builder);
    // The second one has the time for it.
    for (refused, (key, time)) in (0..).zip([(1, 1), (101, 30), (101, 31)]) {
        driver.pipe(&NUMBERED, key, 0, time).unwrap();
        assert_eq!(driver.dropped().processing, refused);
    }
    assert_eq!(driver.dropped().dead_lettered, 2);
    assert_eq!(driver.read(&COUNTS).unwrap().len(), 0);
    driver.pipe(&NUMBERED, 2, 0, 32).unwrap();
    assert_eq!(driver.read_key_values(&COUNTS).unwrap(), [(1, Some(1))]);
}
