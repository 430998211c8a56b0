//! Where a source's records have their times from, and what that changes: the order in which they
//! are processed, stream time, and what becomes of those that have none.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::{
    ErrorKind, Result,
    batch::{RecordBatch, Records},
    prelude::*,
    record::TaskId,
    serde::{Codec, Encoded, Serde},
    task::{Place, Supply, Task, TaskConfig},
};
use millstream_state::{Backend, MemoryBackend};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A reading says itself when it was measured.
type Reading = (i64, String);

static A: Topic<String, Reading> = Topic::new("a", utf8(), json());
static B: Topic<String, Reading> = Topic::new("b", utf8(), json());
static OUT: Topic<String, String> = Topic::new("out", utf8(), utf8());

fn measured() -> TimestampExtractor<String, Reading> {
    TimestampExtractor::from_fn(|_, reading: &Reading| reading.0)
}

fn reading(time: i64, text: &str) -> Reading {
    (time, text.to_owned())
}

fn program(times: TimestampExtractor<String, Reading>, policy: ErrorPolicy) -> TopologyTestDriver {
    let builder = StreamsBuilder::new();
    let consumed = Consumed::of(&A).with_timestamp(times).on_error(policy);
    builder
        .stream(consumed)
        .map_values(|(_, text)| text)
        .to(&OUT);
    TopologyTestDriver::new(builder.build().unwrap()).unwrap()
}

/// Feeds readings with these times, all of them with 500 on the log; what came out and when.
fn run(driver: &mut TopologyTestDriver, times: &[i64]) -> Result<Vec<(String, Timestamp)>> {
    for (number, time) in times.iter().enumerate() {
        let reading = reading(*time, &number.to_string());
        driver.pipe(&A, "k".to_owned(), reading, 500)?;
    }
    let records = driver.read(&OUT)?;
    Ok(records
        .into_iter()
        .map(|r| (r.value, r.timestamp))
        .collect())
}

fn said(results: &[(&str, Timestamp)]) -> Vec<(String, Timestamp)> {
    results
        .iter()
        .map(|(text, time)| ((*text).to_owned(), *time))
        .collect()
}

#[test]
fn a_record_says_itself_when_it_was() {
    let mut driver = program(measured(), ErrorPolicy::Fail);
    let results = run(&mut driver, &[7, 3, 9]).unwrap();
    assert_eq!(results, said(&[("0", 7), ("1", 3), ("2", 9)]));
    let mut driver = program(TimestampExtractor::from_record(), ErrorPolicy::Fail);
    assert_eq!(run(&mut driver, &[7]).unwrap(), said(&[("0", 500)]));
}

#[test]
fn a_record_has_the_time_at_which_it_is_processed() {
    let mut driver = program(TimestampExtractor::wall_clock(), ErrorPolicy::Fail);
    driver.advance_wall_clock(1_000).unwrap();
    assert_eq!(run(&mut driver, &[7]).unwrap(), said(&[("0", 1_000)]));
    driver.advance_wall_clock(1_500).unwrap();
    assert_eq!(
        run(&mut driver, &[7, 7]).unwrap(),
        said(&[("0", 1_500), ("1", 1_500)])
    );
}

#[test]
fn an_invalid_time_is_answered_as_the_source_says() {
    let times = [7, -1, 3, -5, 9];
    let mut skipping = program(
        measured().on_invalid(InvalidTimestamp::Skip),
        ErrorPolicy::Fail,
    );
    let results = run(&mut skipping, &times).unwrap();
    assert_eq!(results, said(&[("0", 7), ("2", 3), ("4", 9)]));
    assert_eq!(skipping.dropped().invalid_timestamp, 2);

    let lent = measured().on_invalid(InvalidTimestamp::UsePartitionTime);
    let results = run(&mut program(lent, ErrorPolicy::Fail), &times).unwrap();
    assert_eq!(
        results,
        said(&[("0", 7), ("1", 7), ("2", 3), ("3", 7), ("4", 9)])
    );

    // Where nobody says anything it is as with bytes that nobody can read.
    let mut lenient = program(measured(), ErrorPolicy::Skip);
    assert_eq!(run(&mut lenient, &times).unwrap().len(), 3);
    assert_eq!(lenient.dropped().invalid_timestamp, 2);
    let error = run(&mut program(measured(), ErrorPolicy::Fail), &times)
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "a-0 offset 1, source-a: invalid timestamp -1"
    );
}

#[test]
fn to_fail_is_to_fail_also_where_other_bad_records_are_dropped() {
    let failing = measured().on_invalid(InvalidTimestamp::Fail);
    let error = run(&mut program(failing, ErrorPolicy::Skip), &[7, -1])
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "a-0 offset 1, source-a: invalid timestamp -1"
    );
    // A first record has no partition time to take.
    let lent = measured().on_invalid(InvalidTimestamp::UsePartitionTime);
    let error = run(&mut program(lent, ErrorPolicy::Skip), &[-1])
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "a-0 offset 0, source-a: invalid timestamp -1"
    );
}

/// What goes wrong before any operator has seen the record is not for one to answer.
#[test]
fn an_operator_that_is_called_source_answers_for_itself_alone() {
    for times in [TimestampExtractor::from_record(), measured()] {
        let builder = StreamsBuilder::new();
        let named = Produced::of(&OUT)
            .named("source")
            .on_error(ErrorPolicy::Skip);
        let texts = builder.stream(Consumed::of(&A).with_timestamp(times));
        texts.map_values(|(_, text)| text).to(named);
        let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
        let piped = driver.pipe(&A, "k".to_owned(), reading(-1, ""), -1);
        let error = piped.unwrap_err().to_string();
        assert_eq!(error, "a-0 offset 0, source-a: invalid timestamp -1");
        let piped = driver.pipe_raw("a", Some(b"k"), Some(b"no json"), 0);
        let error = piped.unwrap_err().to_string();
        assert!(error.contains(", source-a: "), "{error}");
    }
}

#[test]
fn bytes_without_a_time_are_dropped_and_move_no_clock() {
    let mut driver = program(measured(), ErrorPolicy::Skip);
    driver
        .pipe_raw("a", Some(b"k"), Some(b"no json"), 900)
        .unwrap();
    let results = run(&mut driver, &[7, -1]).unwrap();
    assert_eq!(results, said(&[("0", 7)]));
    assert_eq!(
        (
            driver.dropped().deserialization,
            driver.dropped().invalid_timestamp
        ),
        (1, 1)
    );
    let error = program(measured(), ErrorPolicy::Fail)
        .pipe_raw("a", Some(b"k"), Some(b"no json"), 900)
        .err()
        .unwrap();
    assert!(
        matches!(error.kind(), ErrorKind::Deserialization(_)),
        "{error}"
    );
}

#[test]
fn bytes_that_nobody_can_read_move_no_clock_either_by_the_time_of_the_log() {
    let builder = StreamsBuilder::new();
    let size = std::time::Duration::from_millis(10);
    let windows = TimeWindows::of_size_and_grace(size, std::time::Duration::ZERO);
    let counts = builder
        .stream(&A)
        .group_by_key()
        .windowed_by(windows)
        .count("counts");
    counts
        .to_stream()
        .map(|windowed, count| (windowed.key, format!("{count:?}")))
        .to(&OUT);
    let config = TaskConfig {
        policies: ErrorPolicy::Skip.into(),
        ..TaskConfig::new("test")
    };
    let mut driver = TopologyTestDriver::with_config(builder.build().unwrap(), &config).unwrap();
    driver.pipe(&A, "k".to_owned(), reading(0, ""), 0).unwrap();
    driver
        .pipe_raw("a", Some(b"k"), Some(b"no json"), 900)
        .unwrap();
    driver.pipe(&A, "k".to_owned(), reading(0, ""), 1).unwrap();
    assert_eq!(driver.read(&OUT).unwrap().len(), 2);
    let dropped = driver.dropped();
    assert_eq!((dropped.deserialization, dropped.late_record), (1, 0));
}

#[test]
fn rows_of_tables_have_times_and_tombstones_those_of_the_log() {
    let builder = StreamsBuilder::new();
    let consumed = Consumed::of(&A).with_timestamp(measured());
    let rows = builder.table(consumed, "rows").to_stream();
    rows.map_values(|row| row.map_or("gone".to_owned(), |row| row.1))
        .to(&OUT);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    driver
        .pipe(&A, "k".to_owned(), reading(7, "here"), 500)
        .unwrap();
    driver.pipe_tombstone(&A, &"k".to_owned(), 600).unwrap();
    driver.pipe_raw("a", None, Some(b"[1,\"x\"]"), 700).unwrap();
    let results: Vec<_> = driver.read(&OUT).unwrap();
    let results: Vec<_> = results
        .into_iter()
        .map(|r| (r.value, r.timestamp))
        .collect();
    assert_eq!(results, said(&[("here", 7), ("gone", 600)]));
    assert_eq!(driver.dropped().null_key, 1);
}

/// A task that reads `a` by its own times and `b` by those of the log.
fn task() -> Task {
    let builder = StreamsBuilder::new();
    let a = builder.stream(Consumed::of(&A).with_timestamp(measured()));
    a.merge(builder.stream(&B))
        .map_values(|(_, text)| text)
        .to(&OUT);
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new::<&str>(&[]));
    let (subtopology, partition) = (0, 0);
    let id = TaskId {
        subtopology,
        partition,
    };
    Task::open(
        &builder.build().unwrap(),
        id,
        &TaskConfig::new("test"),
        backend,
    )
    .unwrap()
}

/// A batch of readings: their own time and that of the log.
fn batch(topic: &Topic<String, Reading>, times: &[(i64, i64)]) -> Records {
    let mut batch = RecordBatch::new();
    for (own, log) in times {
        let value = reading(*own, &format!("{}{own}", topic.name));
        let written = batch.encode(
            *log,
            &Headers::NONE,
            |out| topic.key.encode(&"k".to_owned(), out),
            |out| topic.value.encode(&value, out),
        );
        written.unwrap();
    }
    batch.rebase(0);
    Records::all(Arc::new(batch))
}

fn texts(task: &mut Task) -> Vec<String> {
    let output = &mut task.outputs()[0];
    let texts = output
        .records
        .iter()
        .map(|(_, record)| record.value.unwrap_or_default().to_vec());
    let texts = texts
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .collect();
    output.records.clear();
    texts
}

#[test]
fn the_least_of_the_extracted_times_goes_first() {
    let mut task = task();
    task.add(0, batch(&A, &[(5, 900), (30, 0), (20, 0)]));
    task.add(1, batch(&B, &[(0, 10), (1, 25), (2, 40)]));
    task.set_supply(0, Supply::Exhausted);
    task.set_supply(1, Supply::Exhausted);
    assert_eq!(task.process(10).unwrap(), 6);
    assert_eq!(texts(&mut task), ["a5", "b0", "b1", "a30", "a20", "b2"]);
    assert_eq!(task.stream_time(), 40);
    let places = &task.prepare_commit().unwrap().places;
    let time = |input: usize| places[input].1.partition_time;
    assert_eq!((time(0), time(1)), (30, 40));
}

#[test]
fn a_task_that_goes_back_extracts_anew() {
    let mut task = task();
    task.add(0, batch(&A, &[(5, 900), (30, 0)]));
    task.add(1, batch(&B, &[(0, 10)]));
    // The first of `a` is looked at and not processed: `b` might have an older one.
    task.set_supply(0, Supply::Exhausted);
    assert_eq!(task.process(1).unwrap(), 1);
    task.abort().unwrap();
    task.resume(0, Place::start(1));
    task.resume(1, Place::start(0));
    task.add(0, batch(&A, &[(5, 900), (30, 0)]));
    task.set_supply(0, Supply::Exhausted);
    task.set_supply(1, Supply::Exhausted);
    assert_eq!(task.process(10).unwrap(), 1);
    assert_eq!(texts(&mut task), ["a30"]);
}

/// A number that knows how often it was read.
struct Counted;
static DECODED: AtomicUsize = AtomicUsize::new(0);

impl Codec for Counted {
    type Item = i64;

    fn encode(&self, value: &i64, out: &mut Vec<u8>) -> Result<Encoded> {
        i64_be().encode(value, out)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<i64> {
        DECODED.fetch_add(1, Ordering::Relaxed);
        i64_be().decode(bytes)
    }

    fn name(&self) -> String {
        "counted".to_owned()
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> Result<serde_json::Value> {
        i64_be().codec().to_json(bytes)
    }

    fn from_json(&self, json: &serde_json::Value, out: &mut Vec<u8>) -> Result<Encoded> {
        i64_be().codec().from_json(json, out)
    }
}

#[test]
fn a_record_is_decoded_once() {
    static COUNTED: Topic<String, i64> = Topic::new("counted", utf8(), Serde::new(&Counted));
    static TIMES: Topic<String, i64> = Topic::new("times", utf8(), i64_be());
    let builder = StreamsBuilder::new();
    let times = TimestampExtractor::from_fn(|_, time: &i64| *time);
    builder
        .stream(Consumed::of(&COUNTED).with_timestamp(times))
        .to(&TIMES);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    for time in [3, 1, 2] {
        driver.pipe(&COUNTED, "k".to_owned(), time, 0).unwrap();
    }
    assert_eq!(driver.read(&TIMES).unwrap().len(), 3);
    assert_eq!(DECODED.load(Ordering::Relaxed), 3);
}

#[test]
fn a_topic_that_is_read_twice_has_the_times_of_the_log() {
    let builder = StreamsBuilder::new();
    let first = line!() + 1;
    let own = builder.stream(Consumed::of(&A).with_timestamp(measured()));
    let second = line!() + 1;
    let plain = builder.stream(&A);
    own.merge(plain).map_values(|(_, text)| text).to(&OUT);
    let told = builder.build().err().unwrap().to_string();
    assert_eq!(
        told,
        format!(
            "{file}:{second}:25: the topic \"a\" is read with times of its own at \
             {file}:{first}:23: read it once and use the stream or table twice",
            file = file!()
        )
    );
}
