//! Dead letters that a handler writes itself: what they are, when they are written, and what they
//! count as.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/refusing.rs"]
mod refusing;

use millstream_core::{ErrorKind, prelude::*, record::Headers, task::TaskConfig};
use refusing::{NUMBERS, TEXTS, parse, pipe, run};
use std::time::Duration;

/// A handler that writes of each refusal to "told", and answers the same.
fn telling(answer: ErrorPolicy) -> ErrorHandler {
    let handler = ErrorHandler::new(move |refused| {
        refused.write_dead_letter(told(refused));
        answer
    });
    handler.with_topics(["told"])
}

fn told(refused: &ErrorHandlerContext<'_>) -> DeadLetterRecord {
    let mut headers = Headers::NONE;
    headers.push("why", Some(refused.error().to_string().into_bytes()));
    let record = refused.record();
    DeadLetterRecord {
        topic: Some("told"),
        key: Some(b"own".to_vec()),
        value: record.and_then(|raw| raw.value.map(<[u8]>::to_vec)),
        timestamp: refused.timestamp() + 100,
        headers,
    }
}

/// Values, times and names of headers of what was sent to a topic.
fn read(driver: &mut TopologyTestDriver, topic: &str) -> Vec<(String, Timestamp, Vec<String>)> {
    let letters = driver.read_raw(topic).into_iter();
    let shown = letters.map(|(_, value, time, headers)| {
        let value = String::from_utf8(value.unwrap_or_default()).unwrap();
        let names = headers.iter().map(|header| header.name.to_string());
        (value, time, names.collect())
    });
    shown.collect()
}

#[test]
fn it_is_written_as_it_is_beside_what_the_answer_keeps() {
    for (answer, kept) in [(ErrorPolicy::Skip, 0), (ErrorPolicy::DeadLetter, 1)] {
        let builder = StreamsBuilder::new();
        let numbers = builder.stream(&TEXTS).try_map_values(parse);
        numbers.on_error(telling(answer)).to(&NUMBERS);
        let mut driver = run(builder, ErrorPolicy::Fail);
        pipe(&mut driver, &["1", "x"]).unwrap();
        let letter = ("x".to_owned(), 101, vec!["why".to_owned()]);
        assert_eq!(read(&mut driver, "told"), [letter]);
        assert_eq!(read(&mut driver, "dead").len(), kept);
        let dropped = driver.dropped();
        let counted = (dropped.processing, dropped.dead_lettered);
        assert_eq!(counted, (1, 1 + kept as u64), "{answer:?}");
    }
}

#[test]
fn all_who_are_asked_may_write_and_each_refusal_is_written_of() {
    let builder = StreamsBuilder::new();
    builder.on_error(telling(ErrorPolicy::Skip));
    let first = ErrorHandler::new(|refused| {
        let letter = told(refused);
        refused.write_dead_letter(DeadLetterRecord {
            timestamp: -7,
            key: None,
            ..letter
        });
        refused.otherwise()
    });
    builder
        .stream(&TEXTS)
        .flat_map_values(|text| text.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .try_map_values(parse)
        .on_error(first.with_topics(["told"]))
        .to(&NUMBERS);
    let mut driver = run(builder, ErrorPolicy::Fail);
    pipe(&mut driver, &["x 1 y"]).unwrap();
    let told = read(&mut driver, "told");
    let times: Vec<_> = told
        .iter()
        .map(|(text, time, _)| (&**text, *time))
        .collect();
    let pair = [("x 1 y", 0), ("x 1 y", 100)];
    assert_eq!(times, [pair, pair].concat());
    let dropped = driver.dropped();
    assert_eq!((dropped.processing, dropped.dead_lettered), (2, 4));
}

#[test]
fn the_next_one_is_asked_once_and_writes_nothing_if_it_would_fail() {
    for (next, letters) in [(ErrorPolicy::Skip, 1), (ErrorPolicy::Fail, 0)] {
        let builder = StreamsBuilder::new();
        builder.on_error(telling(next));
        let first = ErrorHandler::new(move |refused| {
            assert_eq!([refused.otherwise(), refused.otherwise()], [next; 2]);
            ErrorPolicy::Skip
        });
        let numbers = builder.stream(&TEXTS).try_map_values(parse);
        numbers.on_error(first).to(&NUMBERS);
        let mut driver = run(builder, ErrorPolicy::Fail);
        pipe(&mut driver, &["x"]).unwrap();
        assert_eq!(read(&mut driver, "told").len(), letters, "{next:?}");
        assert_eq!(driver.dropped().dead_lettered, letters as u64);
    }
}

#[test]
fn it_may_go_where_dead_letters_go() {
    let program = || {
        let builder = StreamsBuilder::new();
        builder.on_error(ErrorHandler::new(|refused| {
            refused.write_dead_letter(DeadLetterRecord {
                topic: None,
                ..told(refused)
            });
            ErrorPolicy::Skip
        }));
        builder.stream(&TEXTS).try_map_values(parse).to(&NUMBERS);
        builder
    };
    let mut driver = run(program(), ErrorPolicy::Fail);
    pipe(&mut driver, &["x"]).unwrap();
    let letter = ("x".to_owned(), 100, vec!["why".to_owned()]);
    assert_eq!(read(&mut driver, "dead"), [letter]);
    // Where none do, it has no place to go.
    let mut driver = TopologyTestDriver::new(program().build().unwrap()).unwrap();
    let error = pipe(&mut driver, &["x"]).unwrap_err().to_string();
    assert!(error.contains("queue.topic.name names no topic"), "{error}");
}

#[test]
fn of_what_was_held_back_and_of_a_call_it_is_written_too() {
    let builder = StreamsBuilder::new();
    builder.on_error(telling(ErrorPolicy::Skip));
    let texts = builder.stream(&TEXTS);
    let calls = |_: String, text: String| async move { parse(text) };
    texts
        .map_async("parse", AsyncConfig::new(), calls)
        .to(&NUMBERS);
    let mut driver = run(builder, ErrorPolicy::Fail);
    pipe(&mut driver, &["1", "x"]).unwrap();
    assert_eq!(read(&mut driver, "told")[0].0, "x");

    let builder = StreamsBuilder::new();
    builder.on_error(telling(ErrorPolicy::Skip));
    let (ten, none) = (Duration::from_millis(10), Duration::ZERO);
    let last = Suppressed::until_window_closes(BufferConfig::unbounded());
    builder
        .stream(&TEXTS)
        .group_by_key()
        .windowed_by(TimeWindows::of_size_and_grace(ten, none))
        .count("counts")
        .suppress("last", last)
        .to_stream()
        .try_map(|_, _| Err::<(String, i64), _>("refused"))
        .to(&NUMBERS);
    let mut driver = run(builder, ErrorPolicy::Fail);
    for time in [3, 12] {
        driver.pipe(&TEXTS, "k".into(), "v".into(), time).unwrap();
    }
    let letter = (String::new(), 103, vec!["why".to_owned()]);
    assert_eq!(read(&mut driver, "told"), [letter]);
}

#[test]
fn one_that_is_too_large_says_what_it_lacks() {
    let builder = StreamsBuilder::new();
    let handler = ErrorHandler::new(|refused| {
        refused.write_dead_letter(DeadLetterRecord {
            value: Some(vec![b'v'; 1_000]),
            ..told(refused)
        });
        ErrorPolicy::Skip
    });
    builder.on_error(handler.with_topics(["told"]));
    builder.stream(&TEXTS).try_map_values(parse).to(&NUMBERS);
    let config = TaskConfig {
        record_bytes_max: Some(700),
        ..TaskConfig::new("app")
    };
    let mut driver = TopologyTestDriver::with_config(builder.build().unwrap(), &config).unwrap();
    pipe(&mut driver, &["x"]).unwrap();
    let names = ["why", "__streams.errors.omitted"].map(str::to_owned);
    assert_eq!(
        read(&mut driver, "told"),
        [(String::new(), 100, names.to_vec())]
    );
}

/// Complains when the clock strikes.
struct Complaining;

impl Processor<String, String> for Complaining {
    type Key = String;
    type Value = i64;

    fn init(&mut self, ctx: &mut StateContext<'_>) -> ProcessResult {
        ctx.schedule(Schedule::wall_clock(10))?;
        Ok(())
    }

    fn process(
        &mut self,
        _: Record<String, String>,
        _: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        Ok(())
    }

    fn punctuate(
        &mut self,
        _: &Cancellable,
        _: Timestamp,
        _: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        Err("too late".into())
    }
}

#[test]
fn of_a_punctuation_it_is_written_too() {
    let builder = StreamsBuilder::new();
    builder.on_error(telling(ErrorPolicy::Skip));
    let complaints = builder.stream(&TEXTS).process((), |()| Complaining);
    complaints.to(&NUMBERS);
    let mut driver = run(builder, ErrorPolicy::Fail);
    driver.advance_wall_clock(10).unwrap();
    let letter = (String::new(), 110, vec!["why".to_owned()]);
    assert_eq!(read(&mut driver, "told"), [letter]);
    assert_eq!(driver.dropped().dead_lettered, 1);
}

#[test]
fn a_topic_that_is_not_named_stops_the_thread_and_with_a_failure_nothing_is_written() {
    let builder = StreamsBuilder::new();
    builder.on_error(ErrorHandler::new(|refused| {
        refused.write_dead_letter(told(refused));
        ErrorPolicy::Skip
    }));
    builder.stream(&TEXTS).try_map_values(parse).to(&NUMBERS);
    let mut driver = run(builder, ErrorPolicy::Fail);
    let error = pipe(&mut driver, &["x"]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Topology(_)), "{error}");
    assert!(
        error.to_string().contains("with_topics([\"told\"])"),
        "{error}"
    );

    // Not even to a topic that is not named: what stops it is the refusal then.
    let builder = StreamsBuilder::new();
    builder.on_error(ErrorHandler::new(|refused| {
        refused.write_dead_letter(told(refused));
        ErrorPolicy::Fail
    }));
    builder.stream(&TEXTS).try_map_values(parse).to(&NUMBERS);
    let mut driver = run(builder, ErrorPolicy::Skip);
    let error = pipe(&mut driver, &["x"]).unwrap_err();
    assert!(error.to_string().contains("invalid digit"), "{error}");
    assert!(read(&mut driver, "told").is_empty());
    assert_eq!(driver.dropped().dead_lettered, 0);
}

#[test]
fn the_topology_names_the_topic_and_global_tables_only_count() {
    static RATES: Topic<String, i64> = Topic::new("rates", utf8(), i64_be());
    let builder = StreamsBuilder::new();
    builder.on_error(telling(ErrorPolicy::Skip));
    let rates = builder.global_table(&RATES, "rates");
    let texts = builder.stream(&TEXTS);
    let joined = texts.join_global(rates, |key, _| key.clone(), |_, rate| *rate);
    joined.to(&NUMBERS);
    let topology = builder.build().unwrap();
    assert_eq!(topology.dead_letter_topics(), ["told"]);
    let mut driver = TopologyTestDriver::new(topology).unwrap();
    let short = (Some(&b"k"[..]), Some(&b"short"[..]));
    driver.pipe_raw("rates", short.0, short.1, 4).unwrap();
    let dropped = driver.dropped();
    assert_eq!((dropped.deserialization, dropped.dead_lettered), (1, 0));
    assert!(read(&mut driver, "told").is_empty());
}
