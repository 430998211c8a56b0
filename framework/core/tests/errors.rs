//! Who answers for a bad record: the node, then its source, then the program; and what no log
//! takes.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/refusing.rs"]
mod refusing;

use millstream_core::{
    ErrorKind,
    prelude::*,
    task::{Emission, Policies, TaskConfig},
};
use refusing::{NUMBERS, TEXTS, parse, pipe, run};

static SQUARES: Topic<String, i64> = Topic::new("squares", utf8(), i64_be());
static OUT: Topic<String, String> = Topic::new("out", utf8(), utf8());

fn square(number: i64) -> Result<i64, String> {
    number.checked_mul(number).ok_or("too large".to_owned())
}

/// The values in a dead-letter topic, and one header of each.
fn letters(driver: &mut TopologyTestDriver, topic: &str, header: &str) -> Vec<(String, String)> {
    let letters = driver.read_raw(topic).into_iter();
    let show = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default()).unwrap();
    let letters = letters.map(|(_, value, _, headers)| {
        let header = headers.last(&format!("__streams.errors.{header}")).unwrap();
        (show(value), show(header.value.clone()))
    });
    letters.collect()
}

fn pair(value: &str, header: &str) -> (String, String) {
    (value.to_owned(), header.to_owned())
}

fn numbers(driver: &mut TopologyTestDriver, topic: &Topic<String, i64>) -> Vec<i64> {
    let records = driver.read(topic).unwrap();
    records.into_iter().map(|record| record.value).collect()
}

#[test]
fn the_node_answers_before_the_source_and_the_source_before_the_program() {
    let builder = StreamsBuilder::new();
    builder
        .stream(Consumed::of(&TEXTS).on_error(ErrorPolicy::DeadLetterTo("of-texts")))
        .try_map_values(parse)
        .on_error(ErrorPolicy::Skip)
        .try_map_values(square)
        .to(&SQUARES);
    builder.stream(&NUMBERS).try_map_values(square).to(&SQUARES);
    let mut driver = run(builder, ErrorPolicy::DeadLetter);
    pipe(&mut driver, &["x", "9223372036854775807", "3"]).unwrap();
    driver
        .pipe_raw("texts", Some(b"k"), Some(&[0xff]), 9)
        .unwrap();
    driver.pipe(&NUMBERS, "k".into(), i64::MIN, 10).unwrap();
    assert_eq!(numbers(&mut driver, &SQUARES), [9]);
    let of_texts = driver.read_raw("of-texts");
    let values: Vec<_> = of_texts.iter().map(|letter| letter.1.as_deref()).collect();
    assert_eq!(
        values,
        [Some(&b"9223372036854775807"[..]), Some(&[0xff][..])]
    );
    assert_eq!(driver.read_raw("dead").len(), 1, "what nobody answers for");
    let dropped = driver.dropped();
    assert_eq!((dropped.deserialization, dropped.processing), (1, 3));
    assert_eq!(dropped.dead_lettered, 3);
}

#[test]
fn a_node_may_fail_where_the_program_goes_on() {
    let builder = StreamsBuilder::new();
    let parsed = builder.stream(&TEXTS).try_map_values(parse);
    parsed
        .try_map_values(square)
        .on_error(ErrorPolicy::Fail)
        .to(&SQUARES);
    let mut driver = run(builder, ErrorPolicy::Skip);
    pipe(&mut driver, &["x", "2"]).unwrap();
    let error = pipe(&mut driver, &["9223372036854775807"]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("texts-0 offset 2") && text.contains("too large"));
    assert_eq!(numbers(&mut driver, &SQUARES), [4]);
}

#[test]
fn a_record_is_kept_once_in_each_topic_that_a_refusal_names() {
    let builder = StreamsBuilder::new();
    let words = builder.stream(&TEXTS).flat_map_values(|text| {
        let words = text.split(' ').map(str::to_owned);
        words.collect::<Vec<_>>()
    });
    let one = words.try_map_values(parse);
    one.on_error(ErrorPolicy::DeadLetterTo("a")).to(&NUMBERS);
    let two = words.try_map_values(parse);
    two.on_error(ErrorPolicy::DeadLetterTo("b")).to(&SQUARES);
    let mut driver = run(builder, ErrorPolicy::Fail);
    pipe(&mut driver, &["1 x 2 y"]).unwrap();
    assert_eq!(numbers(&mut driver, &NUMBERS), [1, 2]);
    assert_eq!(numbers(&mut driver, &SQUARES), [1, 2]);
    for topic in ["a", "b"] {
        let kept = letters(&mut driver, topic, "offset");
        assert_eq!(kept, [pair("1 x 2 y", "0")]);
    }
    let dropped = driver.dropped();
    assert_eq!((dropped.processing, dropped.dead_lettered), (4, 2));
}

/// Refuses everything, and complains of it too when the clock strikes.
struct Refusing;

impl Processor<String, String> for Refusing {
    type Key = String;
    type Value = String;

    fn process(
        &mut self,
        record: Record<String, String>,
        _: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        Err(format!("not {:?}", record.value).into())
    }
}

#[test]
fn processors_have_policies_too() {
    let builder = StreamsBuilder::new();
    let refused = builder.stream(&TEXTS).process((), |()| Refusing);
    let refused = refused.on_error(ErrorPolicy::DeadLetterTo("refused"));
    refused.to(&OUT);
    let mut driver = run(builder, ErrorPolicy::Fail);
    pipe(&mut driver, &["a"]).unwrap();
    let kept = letters(&mut driver, "refused", "message");
    assert_eq!(kept, [pair("a", "not \"a\"")]);
}

/// Sends on all it gets, and complains when the clock strikes.
struct Forwarding;

impl Processor<String, String> for Forwarding {
    type Key = String;
    type Value = String;

    fn init(&mut self, ctx: &mut StateContext<'_>) -> ProcessResult {
        ctx.schedule(Schedule::wall_clock(1000))?;
        ctx.schedule(Schedule::wall_clock(500))?;
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        Ok(ctx.forward(record)?)
    }

    fn punctuate(
        &mut self,
        _: &Cancellable,
        now: Timestamp,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        ctx.forward(Record::new("k".into(), now.to_string(), now))?;
        Err("too late".into())
    }
}

#[test]
fn what_stops_the_program_is_not_answered_again_on_its_way() {
    let builder = StreamsBuilder::new();
    let forwarded = builder.stream(&TEXTS).process((), |()| Forwarding);
    let parsed = forwarded.on_error(ErrorPolicy::Skip).try_map_values(parse);
    parsed.on_error(ErrorPolicy::Fail).to(&NUMBERS);
    let mut driver = run(builder, ErrorPolicy::Skip);
    let error = pipe(&mut driver, &["1", "x"]).unwrap_err();
    assert!(error.to_string().contains("invalid digit"), "{error}");
    assert_eq!(driver.dropped().processing, 0);
}

#[test]
fn a_punctuation_may_refuse_and_every_refusal_is_told() {
    let program = |policy: Option<ErrorPolicy>| {
        let builder = StreamsBuilder::new();
        let ticks = builder.stream(&TEXTS).process((), |()| Forwarding);
        let ticks = match policy {
            Some(policy) => ticks.on_error(policy),
            None => ticks,
        };
        ticks.to(&OUT);
        run(builder, ErrorPolicy::DeadLetter)
    };
    let mut driver = program(None);
    driver.advance_wall_clock(1000).unwrap();
    assert_eq!(
        driver.read(&OUT).unwrap().len(),
        2,
        "what it had sent stays"
    );
    let kept = letters(&mut driver, "dead", "message");
    assert_eq!(kept, [pair("", "too late"), pair("", "too late")]);
    assert_eq!(driver.dropped().processing, 2);
    let error = program(Some(ErrorPolicy::Fail)).advance_wall_clock(1000);
    assert!(error.unwrap_err().to_string().contains("too late"));
}

#[test]
fn bytes_of_a_table_that_nobody_can_read_are_kept_also_without_a_key() {
    let builder = StreamsBuilder::new();
    builder.table(&TEXTS, "texts").to_stream();
    let mut driver = run(builder, ErrorPolicy::DeadLetter);
    driver.pipe_raw("texts", None, Some(&[0xff]), 0).unwrap();
    driver.pipe_raw("texts", None, Some(b"x"), 1).unwrap();
    let dropped = driver.dropped();
    assert_eq!((dropped.deserialization, dropped.null_key), (1, 1));
    assert_eq!(driver.read_raw("dead").len(), 1);
}

#[test]
fn what_is_too_large_is_refused_before_the_log_sees_it() {
    let program = |policy: Option<ErrorPolicy>| {
        let builder = StreamsBuilder::new();
        let produced = match policy {
            Some(policy) => Produced::of(&OUT).on_error(policy),
            None => Produced::from(&OUT),
        };
        builder.stream(&TEXTS).to(produced);
        builder
    };
    // Key "k" and a value of n bytes, below 64: 82 + 2 + 1 + n + 1.
    let config = |production| TaskConfig {
        policies: Policies {
            production,
            ..Policies::default()
        },
        dead_letter_topic: Some("dead".to_owned()),
        record_bytes_max: Some(86 + 10),
        ..TaskConfig::new("app")
    };
    let (fits, exceeds) = ("x".repeat(10), "y".repeat(11));
    let script = [&*fits, &*exceeds, &*fits];
    let open = |builder: StreamsBuilder, policy| {
        TopologyTestDriver::with_config(builder.build().unwrap(), &config(policy)).unwrap()
    };

    let mut driver = open(program(None), ErrorPolicy::Fail);
    let error = pipe(&mut driver, &script).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::RecordTooLarge(_)),
        "{error}"
    );
    assert!(error.to_string().contains("97 bytes"), "{error}");

    for (own, program_wide) in [
        (None, ErrorPolicy::Skip),
        (Some(ErrorPolicy::Skip), ErrorPolicy::Fail),
    ] {
        let mut driver = open(program(own), program_wide);
        pipe(&mut driver, &script).unwrap();
        let values = driver.read(&OUT).unwrap();
        let values: Vec<_> = values.into_iter().map(|record| record.value).collect();
        assert_eq!(values, [fits.clone(), fits.clone()]);
        let dropped = driver.dropped();
        assert_eq!((dropped.production, dropped.processing), (1, 0));
    }

    // What says why has no room even without the record: what cannot be kept is not passed over.
    let mut driver = open(program(None), ErrorPolicy::DeadLetter);
    let error = pipe(&mut driver, &script).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::RecordTooLarge(_)),
        "{error}"
    );
}

#[test]
fn a_record_that_grew_too_large_is_kept_as_it_came() {
    let builder = StreamsBuilder::new();
    let doubled = builder
        .stream(&TEXTS)
        .map_values(|text| text.repeat(1_000_000));
    doubled.to(Produced::of(&OUT)
        .record_bytes_max(1000)
        .on_error(ErrorPolicy::DeadLetter));
    let mut driver = run(builder, ErrorPolicy::Fail);
    pipe(&mut driver, &["a"]).unwrap();
    let kept = letters(&mut driver, "dead", "exception");
    assert_eq!(kept, [pair("a", "RecordTooLargeException")]);
    assert_eq!(driver.dropped().dead_lettered, 1);
}

#[test]
fn topics_that_cannot_be_are_answered_by_the_sink() {
    let builder = StreamsBuilder::new();
    let policy = ErrorPolicy::DeadLetterTo("lost");
    let choose = |_: &String, text: &String| text.clone();
    let texts = builder.stream(&TEXTS);
    texts.to_chosen_or(choose, utf8(), utf8(), policy);
    let mut driver = run(builder, ErrorPolicy::Fail);
    pipe(&mut driver, &["there", "no topic"]).unwrap();
    assert_eq!(driver.read_raw("there").len(), 1);
    let kept = letters(&mut driver, "lost", "exception");
    assert_eq!(kept, [pair("no topic", "InvalidTopicException")]);
    assert_eq!(driver.dropped().production, 1);
}

/// Says "tick" and "too much for anybody" every second.
struct Ticking;

impl Processor<String, String> for Ticking {
    type Key = String;
    type Value = String;

    fn init(&mut self, ctx: &mut StateContext<'_>) -> ProcessResult {
        ctx.schedule(Schedule::wall_clock(1000))?;
        Ok(())
    }

    fn process(
        &mut self,
        _: Record<String, String>,
        _: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        Ok(())
    }

    fn punctuate(
        &mut self,
        _: &Cancellable,
        now: Timestamp,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        ctx.forward(Record::new("k".into(), "x".repeat(1000), now))?;
        Ok(ctx.forward(Record::new("k".into(), "tick".into(), now))?)
    }
}

#[test]
fn what_a_punctuation_makes_may_be_too_large_too() {
    let program = |policy| {
        let builder = StreamsBuilder::new();
        let ticks = builder.stream(&TEXTS).process((), |()| Ticking);
        let produced = Produced::of(&OUT).record_bytes_max(1000);
        ticks.to(produced.on_error(policy));
        run(builder, ErrorPolicy::Fail)
    };
    let mut driver = program(ErrorPolicy::DeadLetter);
    driver.advance_wall_clock(1000).unwrap();
    assert_eq!(driver.read(&OUT).unwrap().len(), 1);
    let (key, value, time, headers) = driver.read_raw("dead").remove(0);
    assert_eq!((key, value, time), (None, None, 1000));
    let said = |name: &str| headers.last(&format!("__streams.errors.{name}")).unwrap();
    assert_eq!(
        said("exception").value.as_deref(),
        Some(&b"RecordTooLargeException"[..])
    );
    // No record led to it: as Kafka Streams says it.
    assert_eq!(said("topic").value, None);
    for unknown in ["partition", "offset"] {
        assert_eq!(said(unknown).value.as_deref(), Some(&b"-1"[..]));
    }
    assert_eq!(driver.dropped().production, 1);
    let error = program(ErrorPolicy::Fail)
        .advance_wall_clock(1000)
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::RecordTooLarge(_)));
}

/// A policy behind it would be about nothing: that of the table is meant.
#[test]
fn a_stream_of_changes_has_no_error_policy() {
    let builder = StreamsBuilder::new();
    let counts = builder.stream(&TEXTS).group_by_key().count("counts");
    let policy = ErrorPolicy::Skip;
    (counts.to_stream().on_error(policy)).for_each(|_, _| ());
    let error = builder.build().map(drop).unwrap_err().to_string();
    assert!(error.contains("to_stream(..) refuses no record"), "{error}");
    let builder = StreamsBuilder::new();
    let counts = builder.stream(&TEXTS).group_by_key().count("counts");
    let _ = counts.on_error(policy);
    builder.build().unwrap();
}

#[test]
fn mistakes_about_policies_are_found_before_any_record() {
    let builder = StreamsBuilder::new();
    let texts = builder.stream(&TEXTS).map_values(|text| text);
    let odd = texts.on_error(ErrorPolicy::Skip).try_map_values(parse);
    odd.on_error(ErrorPolicy::DeadLetterTo("no topic"))
        .to(&NUMBERS);
    let error = builder.build().map(drop).unwrap_err().to_string();
    assert!(
        error.contains("map_values(..) refuses no record"),
        "{error}"
    );
    assert!(
        error.contains("topic name \"no topic\" may only"),
        "{error}"
    );

    let builder = StreamsBuilder::new();
    let kept = builder.stream(&TEXTS).try_map_values(parse);
    kept.on_error(ErrorPolicy::DeadLetter).to(&NUMBERS);
    let error = TopologyTestDriver::new(builder.build().unwrap()).map(drop);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("errors.dead.letter.queue.topic.name names no topic"),
        "{error}"
    );
}

#[test]
fn the_topology_knows_its_dead_letter_topics() {
    let builder = StreamsBuilder::new();
    let texts = builder.stream(Consumed::of(&TEXTS).on_error(ErrorPolicy::DeadLetterTo("z")));
    let parsed = texts.try_map_values(parse);
    let parsed = parsed.on_error(ErrorPolicy::DeadLetterTo("a"));
    parsed.to(Produced::of(&NUMBERS).on_error(ErrorPolicy::DeadLetterTo("z")));
    assert_eq!(builder.build().unwrap().dead_letter_topics(), ["a", "z"]);
}

#[test]
fn what_the_commit_brings_forth_is_judged_by_its_node_and_then_by_the_program() {
    let judged = |own: Option<ErrorPolicy>, program: ErrorPolicy| {
        let builder = StreamsBuilder::new();
        let last = builder
            .stream(&TEXTS)
            .group_by_key()
            .reduce("last", |_, new| new);
        let parsed = last
            .to_stream()
            .try_map_values(|text| parse(text.unwrap_or_default()));
        let parsed = match own {
            Some(policy) => parsed.on_error(policy),
            None => parsed,
        };
        parsed.to(&NUMBERS);
        let config = TaskConfig {
            policies: program.into(),
            dead_letter_topic: Some("dead".to_owned()),
            emission: Emission::PerCommit,
            ..TaskConfig::new("app")
        };
        let mut driver =
            TopologyTestDriver::with_config(builder.build().unwrap(), &config).unwrap();
        let piped = pipe(&mut driver, &["1", "x", "2"]).map(|()| {
            let numbers = driver.read_key_values(&NUMBERS).unwrap();
            let values: Vec<_> = numbers.into_iter().map(|(_, value)| value).collect();
            assert_eq!(values, [Some(1), Some(2)]);
            driver.dropped().processing
        });
        (piped.ok(), letters(&mut driver, "dead", "topic"))
    };
    let (skip, fail) = (ErrorPolicy::Skip, ErrorPolicy::Fail);
    assert_eq!(judged(Some(skip), fail), (Some(1), vec![]));
    assert_eq!(judged(None, skip), (Some(1), vec![]));
    assert_eq!(judged(None, fail), (None, vec![]));
    // It is no record's: the dead letter says only why, and when the row was made.
    let nobody = vec![(String::new(), String::new())];
    assert_eq!(judged(None, ErrorPolicy::DeadLetter), (Some(1), nobody));
}
