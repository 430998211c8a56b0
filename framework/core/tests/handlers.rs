//! Code that answers for bad records: when it is asked, what it is shown, and what its answers do.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/refusing.rs"]
mod refusing;

use millstream_core::{
    ErrorKind,
    prelude::*,
    record::Header,
    task::{Policies, TaskConfig},
};
use refusing::{NUMBERS, TEXTS, parse, pipe, run};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// What handlers were shown, in order, each as a text.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    /// A handler that notes who was asked about what, and answers as the next one.
    fn watch(&self, whose: &'static str) -> ErrorHandler {
        let seen = self.0.clone();
        ErrorHandler::new(move |refused| {
            let node = refused.processor_node_id();
            let reason = refused.reason();
            seen.lock()
                .unwrap()
                .push(format!("{whose}: {reason:?} at {node}"));
            refused.otherwise()
        })
    }

    /// A handler that notes all that it is shown, and lets the record go.
    fn describe(&self) -> ErrorHandler {
        let seen = self.0.clone();
        ErrorHandler::new(move |refused| {
            let from = refused.record_metadata();
            let from = from.map(|from| format!("{}@{}", from.partition, from.offset));
            let text =
                |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8_lossy(b).into_owned());
            let record = refused.record();
            let record = record.map(|raw| (text(raw.key), text(raw.value), raw.timestamp));
            let header = refused.headers().last("h").and_then(|h| h.value.clone());
            let (task, time) = (
                refused.task_id().map(|id| id.to_string()),
                refused.timestamp(),
            );
            let (reason, error) = (refused.reason(), refused.error());
            let line = format!(
                "{reason:?} {error} | {from:?} {record:?} h={:?} task {task:?} at {time}",
                text(header.as_deref())
            );
            seen.lock().unwrap().push(line);
            ErrorPolicy::Skip
        })
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// The values of dead letters.
fn letters(driver: &mut TopologyTestDriver, topic: &str) -> Vec<String> {
    let letters = driver.read_raw(topic).into_iter();
    let show = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default()).unwrap();
    letters.map(|(_, value, _, _)| show(value)).collect()
}

#[test]
fn each_may_leave_it_to_the_next_and_the_last_to_the_configuration() {
    let seen = Seen::default();
    let builder = StreamsBuilder::new();
    builder.on_error(seen.watch("program"));
    builder
        .stream(Consumed::of(&TEXTS).on_error(seen.watch("source")))
        .try_map_values(parse)
        .on_error(seen.watch("node"))
        .to(&NUMBERS);
    let mut driver = run(
        builder,
        Policies {
            deserialization: ErrorPolicy::DeadLetter,
            processing: ErrorPolicy::Skip,
            production: ErrorPolicy::Fail,
        },
    );
    pipe(&mut driver, &["x", "1"]).unwrap();
    let asked = ["node", "source", "program"]
        .map(|whose| format!("{whose}: Processing at try-map-values-after-source-texts"));
    assert_eq!(seen.take(), asked);
    driver.pipe_raw("texts", None, Some(&[0xff]), 7).unwrap();
    let asked =
        ["source", "program"].map(|whose| format!("{whose}: Deserialization at source-texts"));
    assert_eq!(seen.take(), asked);
    let dropped = driver.dropped();
    let counted = (
        dropped.processing,
        dropped.deserialization,
        dropped.dead_lettered,
    );
    assert_eq!(counted, (1, 1, 1));
    assert_eq!(driver.read_raw("dead").len(), 1);
    assert_eq!(driver.read(&NUMBERS).unwrap().len(), 1);
}

#[test]
fn a_handler_is_shown_the_record_as_the_task_read_it() {
    let seen = Seen::default();
    let builder = StreamsBuilder::new();
    builder.on_error(seen.describe());
    let numbers = Produced::of(&NUMBERS).record_bytes_max(120);
    let long = |text: String| Ok::<_, String>(text.repeat(200));
    let texts = builder.stream(&TEXTS).try_map_values(long);
    let chosen = texts.map(|key, text| (key + &text, 5));
    chosen.to(numbers);
    let keyed = builder.stream(&TEXTS).map_values(|text| text + "!");
    keyed.try_map_values(parse).to(&NUMBERS);
    let mut driver = run(builder, ErrorPolicy::Fail);

    let mut record = Record::new("k".to_owned(), "x".to_owned(), 11);
    let header = Header {
        name: "h".to_owned(),
        value: Some(b"v".to_vec()),
    };
    record.headers = [header].into_iter().collect();
    driver.pipe_record(&TEXTS, &record).unwrap();
    let of = "Some(\"texts-0@0\") Some((Some(\"k\"), Some(\"x\"), 11)) h=Some(\"v\") \
              task Some(\"0_0\") at 11";
    let told = seen.take();
    assert_eq!(told.len(), 2, "{told:?}");
    let large = "Production the record for numbers has ";
    assert!(
        told[0].starts_with(large) && told[0].ends_with(of),
        "{}",
        told[0]
    );
    let digit = "Processing invalid digit found in string | ";
    assert_eq!(told[1], format!("{digit}{of}"));

    driver.pipe_raw("texts", Some(b"k"), None, -5).unwrap();
    let told = seen.take();
    assert!(told[0].starts_with("InvalidTimestamp "), "{told:?}");
    assert!(
        told[0].ends_with("None, -5)) h=None task Some(\"0_0\") at -5"),
        "{told:?}"
    );
    let dropped = driver.dropped();
    let counted = (
        dropped.production,
        dropped.processing,
        dropped.invalid_timestamp,
    );
    assert_eq!(counted, (1, 1, 1));
}

#[test]
fn of_what_was_held_back_a_handler_is_shown_only_its_time() {
    let seen = Seen::default();
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_and_grace(Duration::from_millis(10), Duration::ZERO);
    builder
        .stream(Consumed::of(&TEXTS).on_error(seen.describe()))
        .group_by_key()
        .windowed_by(windows)
        .count("counts")
        .suppress(
            "last",
            Suppressed::until_window_closes(BufferConfig::unbounded()),
        )
        .to_stream()
        .try_map(|window, _| Err::<(String, i64), _>(format!("refused {}", window.window.start)))
        .to(&NUMBERS);
    let mut driver = run(builder, ErrorPolicy::Fail);
    for time in [3, 12] {
        driver
            .pipe(&TEXTS, "k".to_owned(), String::new(), time)
            .unwrap();
    }
    let told = ["Processing refused 0 | None None h=None task Some(\"0_0\") at 3"];
    assert_eq!(seen.take(), told);
    assert_eq!(driver.dropped().processing, 1);
}

#[test]
fn each_refusal_is_asked_about_and_a_record_is_kept_once() {
    let builder = StreamsBuilder::new();
    let answer = ErrorHandler::new(|refused| match refused.error().to_string().as_str() {
        "skip" => ErrorPolicy::Skip,
        "a" => ErrorPolicy::DeadLetterTo("a"),
        _ => ErrorPolicy::DeadLetter,
    });
    builder
        .stream(&TEXTS)
        .flat_map_values(|text| text.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .try_map_values(Err::<i64, _>)
        .on_error(answer.with_topics(["a"]))
        .to(&NUMBERS);
    let mut driver = run(builder, ErrorPolicy::Fail);
    pipe(&mut driver, &["skip a a b", "skip", "b b"]).unwrap();
    assert_eq!(letters(&mut driver, "a"), ["skip a a b"]);
    assert_eq!(letters(&mut driver, "dead"), ["skip a a b", "b b"]);
    let dropped = driver.dropped();
    assert_eq!((dropped.processing, dropped.dead_lettered), (7, 3));
}

#[test]
fn a_handler_that_fails_stops_the_thread_at_the_record() {
    let builder = StreamsBuilder::new();
    let answer = ErrorHandler::new(|refused| match refused.error().kind() {
        ErrorKind::Processing(cause) if cause.is::<std::num::ParseIntError>() => ErrorPolicy::Fail,
        _ => ErrorPolicy::Skip,
    });
    let texts = builder.stream(&TEXTS);
    texts.try_map_values(parse).on_error(answer).to(&NUMBERS);
    let mut driver = run(builder, ErrorPolicy::Skip);
    let error = pipe(&mut driver, &["1", "x"]).unwrap_err().to_string();
    let place = "texts-0 offset 1, try-map-values-after-source-texts: invalid digit";
    assert!(error.contains(place), "{error}");
    assert_eq!(driver.dropped().processing, 0);
}

#[test]
fn an_answer_that_cannot_be_carried_out_stops_the_thread() {
    let answer = |policy: ErrorPolicy, config: &TaskConfig| {
        let builder = StreamsBuilder::new();
        builder.on_error(ErrorHandler::new(move |_| policy));
        builder.stream(&TEXTS).try_map_values(parse).to(&NUMBERS);
        let topology = builder.build().unwrap();
        let mut driver = TopologyTestDriver::with_config(topology, config).unwrap();
        let error = pipe(&mut driver, &["x"]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Topology(_)), "{error}");
        error.to_string()
    };
    let config = TaskConfig::new("app");
    let error = answer(ErrorPolicy::DeadLetter, &config);
    assert!(error.contains("queue.topic.name names no topic"), "{error}");
    let error = answer(ErrorPolicy::DeadLetterTo("other"), &config);
    assert!(error.contains("with_topics([\"other\"])"), "{error}");
    // What is configured is declared by that.
    let config = TaskConfig {
        policies: ErrorPolicy::DeadLetterTo("other").into(),
        ..config
    };
    let builder = StreamsBuilder::new();
    builder.on_error(ErrorHandler::new(|refused| refused.otherwise()));
    builder.stream(&TEXTS).try_map_values(parse).to(&NUMBERS);
    let topology = builder.build().unwrap();
    let mut driver = TopologyTestDriver::with_config(topology, &config).unwrap();
    pipe(&mut driver, &["x"]).unwrap();
    assert_eq!(letters(&mut driver, "other"), ["x"]);
}

#[test]
fn the_topology_knows_the_topics_of_handlers_and_refuses_bad_ones() {
    let handler =
        |topics: [&'static str; 2]| ErrorHandler::new(|_| ErrorPolicy::Skip).with_topics(topics);
    let builder = StreamsBuilder::new();
    builder.on_error(handler(["z", "b"]));
    let texts = builder.stream(&TEXTS).try_map_values(parse);
    texts.on_error(handler(["a", "b"])).to(&NUMBERS);
    assert_eq!(
        builder.build().unwrap().dead_letter_topics(),
        ["a", "b", "z"]
    );

    let builder = StreamsBuilder::new();
    builder.on_error(ErrorPolicy::Skip);
    builder.on_error(handler(["z", "no topic"]));
    let one = handler(["a", "b"]);
    builder
        .stream(Consumed::of(&TEXTS).on_error(one.clone()))
        .to(&TEXTS);
    builder
        .stream(Consumed::of(&TEXTS).on_error(one))
        .to(&TEXTS);
    builder
        .stream(Consumed::of(&TEXTS).on_error(handler(["a", "b"])))
        .to(&TEXTS);
    let error = builder.build().map(drop).unwrap_err().to_string();
    assert!(error.contains("\"no topic\" may only"), "{error}");
    assert!(
        error.contains("already what becomes of bad records"),
        "{error}"
    );
    assert_eq!(error.matches("another error policy").count(), 1, "{error}");
}

#[test]
fn global_tables_ask_their_own_handler_and_then_the_programs() {
    static RATES: Topic<String, i64> = Topic::new("rates", utf8(), i64_be());
    let seen = Seen::default();
    let builder = StreamsBuilder::new();
    builder.on_error(seen.describe());
    let rates = Consumed::of(&RATES).on_error(seen.watch("table"));
    let rates = builder.global_table(rates, "rates");
    let texts = builder.stream(&TEXTS);
    let joined = texts.join_global(rates, |key, _| key.clone(), |_, rate| *rate);
    joined.to(&NUMBERS);
    let mut driver = run(builder, ErrorPolicy::Fail);
    driver
        .pipe_raw("rates", Some(b"k"), Some(b"short"), 4)
        .unwrap();
    let told = seen.take();
    assert_eq!(told[0], "table: Deserialization at rates");
    let of = "Some(\"rates-0@0\") Some((Some(\"k\"), Some(\"short\"), 4)) h=None task None at 4";
    assert!(told[1].ends_with(of), "{told:?}");
    assert_eq!(driver.dropped().deserialization, 1);
}

#[test]
fn what_an_asynchronous_operator_refuses_is_shown_with_its_own_record() {
    let seen = Seen::default();
    let builder = StreamsBuilder::new();
    let config = AsyncConfig::new();
    builder
        .stream(Consumed::of(&TEXTS).on_error(seen.describe()))
        .map_async("parse", config, |_, text| async move { parse(text) })
        .to(&NUMBERS);
    let mut driver = run(builder, ErrorPolicy::Fail);
    pipe(&mut driver, &["1", "x", "2"]).unwrap();
    let told = [
        "Processing invalid digit found in string | Some(\"texts-0@1\") \
                 Some((Some(\"k\"), Some(\"x\"), 1)) h=None task Some(\"0_0\") at 1",
    ];
    assert_eq!(seen.take(), told);
    assert_eq!(driver.read(&NUMBERS).unwrap().len(), 2);
}
