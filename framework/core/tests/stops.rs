//! What stops the program, whatever the policies between it and the record say.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/pass.rs"]
mod pass;

use millstream_core::{
    Error,
    batch::{RecordBatch, Records},
    prelude::*,
    record::{RawRecord, TopicPartition},
    task::{Dropped, Task, TaskConfig},
};
use millstream_state::{Backend, Column, MemoryBackend, WriteBatch};
use pass::Pass;
use std::{fmt, sync::Arc};

static TEXTS: Topic<String, String> = Topic::new("texts", utf8(), utf8());
static NUMBERS: Topic<String, i64> = Topic::new("numbers", utf8(), i64_be());

/// A driver whose program goes on after bad records.
fn run(builder: StreamsBuilder) -> TopologyTestDriver {
    TopologyTestDriver::with_config(builder.build().unwrap(), &skipping()).unwrap()
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Hands records on, and makes an error of its own of what happens downstream.
struct Explaining(fn(Error) -> BoxError);

impl Processor<String, String> for Explaining {
    type Key = String;
    type Value = String;

    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        ctx.forward(record).map_err(self.0)
    }
}

impl FixedKeyProcessor<String, String> for Explaining {
    type Value = String;

    fn process(
        &mut self,
        _: &String,
        text: String,
        ctx: &mut FixedKeyContext<'_, String, String>,
    ) -> ProcessResult {
        ctx.forward(text).map_err(self.0)
    }
}

/// Reads a store, and makes an error of its own of what happens there.
struct Reading(StoreRef<KeyValueStore<String, i64>>, fn(Error) -> BoxError);

impl Processor<String, String> for Reading {
    type Key = String;
    type Value = String;

    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        let read = ctx.store(self.0).get(&record.key).map(drop);
        read.map_err(self.1)
    }
}

/// The same for the rows of a global store.
struct ReadingRows(fn(Error) -> BoxError);

impl GlobalProcessor<String, String> for ReadingRows {
    type Key = String;
    type Value = i64;

    fn process(
        &mut self,
        record: Record<String, Option<String>>,
        ctx: &mut GlobalContext<'_, String, i64>,
    ) -> ProcessResult {
        let read = ctx.store().get(&record.key).map(drop);
        read.map_err(self.0)
    }
}

/// Puts words around an error, which is the cause of this one.
#[derive(Debug)]
struct Explained(Error);

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "while explaining: {}", self.0)
    }
}

impl std::error::Error for Explained {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Passes itself off as the error in it, as `anyhow::Error` and `#[error(transparent)]` do, so that
/// that one is not among its causes.
#[derive(Debug)]
struct Transparent(Error);

impl fmt::Display for Transparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Transparent {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

const WRAPPERS: [fn(Error) -> BoxError; 2] = [
    |error| Explained(error).into(),
    |error| Transparent(error).into(),
];

/// The program's answer to a text that is no number, with an operator above the one that fails.
fn explained(above: impl FnOnce(&StreamsBuilder)) -> String {
    let builder = StreamsBuilder::new();
    above(&builder);
    let mut driver = run(builder);
    let piped = driver.pipe(&TEXTS, "k".to_owned(), "x".to_owned(), 0);
    let error = piped.unwrap_err().to_string();
    assert_eq!(driver.dropped(), Dropped::default(), "{error}");
    error
}

/// Fails where a text is no number.
fn parse(texts: KStream<'_, String, String>) {
    let parsed = texts
        .on_error(ErrorPolicy::Skip)
        .try_map_values(|text| text.parse::<i64>());
    parsed.on_error(ErrorPolicy::Fail).to(&NUMBERS);
}

#[test]
fn words_around_an_error_do_not_make_it_one_of_the_record() {
    // Nothing but the words is left of the error by the last of them.
    let wrappers = WRAPPERS
        .into_iter()
        .chain([(|error| error.to_string().into()) as fn(Error) -> BoxError]);
    for wrap in wrappers {
        let errors = [
            explained(|builder| {
                parse(
                    builder
                        .stream(&TEXTS)
                        .process((), move |()| Explaining(wrap)),
                );
            }),
            explained(|builder| {
                let texts = builder.stream(&TEXTS);
                parse(texts.process_values((), move |()| Explaining(wrap)));
            }),
        ];
        for error in errors {
            assert!(error.contains("invalid digit"), "{error}");
        }
    }
    let error = explained(|builder| {
        parse(
            builder
                .stream(&TEXTS)
                .process((), |()| Explaining(WRAPPERS[0])),
        );
    });
    assert!(error.starts_with("while explaining: "), "{error}");
}

/// A backend of one store, in which the row of "k" is nothing that the store has written.
fn corrupt() -> Arc<dyn Backend> {
    let backend = MemoryBackend::new(&["numbers"]);
    let mut batch = WriteBatch::new();
    batch.put(Column(0), b"k", b"nonsense that is no number");
    backend.apply(&batch).unwrap();
    Arc::new(backend)
}

fn skipping() -> TaskConfig {
    TaskConfig {
        policies: ErrorPolicy::Skip.into(),
        ..TaskConfig::new("app")
    }
}

fn a_text() -> Records {
    let mut batch = RecordBatch::new();
    assert!(batch.push(0, A_TEXT));
    Records::all(Arc::new(batch))
}

const A_TEXT: RawRecord<'static> = RawRecord {
    key: Some(b"k"),
    value: Some(b"x"),
    timestamp: 0,
    headers: &Headers::NONE,
};

#[test]
fn words_around_a_failure_of_storage_do_not_make_it_one_of_the_record() {
    for wrap in WRAPPERS {
        let builder = StreamsBuilder::new();
        let numbers = builder.store(Materialized::with("numbers", utf8(), i64_be()));
        let read = builder.stream(&TEXTS);
        let read = read.process(numbers, move |numbers| Reading(numbers, wrap));
        read.on_error(ErrorPolicy::Skip).for_each(|_, _| {});
        let id = TaskId {
            subtopology: 0,
            partition: 0,
        };
        let topology = builder.build().unwrap();
        let mut task = Task::open(&topology, id, &skipping(), corrupt()).unwrap();
        task.add(0, a_text());
        let error = task.process(1).unwrap_err().to_string();
        assert!(error.contains("numbers"), "{error}");
        assert_eq!(task.dropped(), Dropped::default());
    }
}

#[test]
fn storage_that_fails_below_a_global_store_is_no_bad_record_either() {
    for wrap in WRAPPERS {
        let builder = StreamsBuilder::new();
        let rows = Materialized::with("numbers", utf8(), i64_be());
        builder.global_store(&TEXTS, rows, move || ReadingRows(wrap));
        builder.stream(&NUMBERS).for_each(|_, _| {});
        let topology = builder.build().unwrap();
        let mut writer = topology.globals()[0].writer(&corrupt(), Column(0));
        let (from, mut batch) = (TopicPartition::new("texts", 0), WriteBatch::new());
        let mut dropped = Dropped::default();
        writer.begin();
        let applied = writer.apply(
            (&from, 0, A_TEXT),
            &mut batch,
            ErrorPolicy::Skip.into(),
            &mut dropped,
        );
        let error = applied.unwrap_err().to_string();
        assert!(error.contains("numbers"), "{error}");
        assert_eq!(dropped, Dropped::default());
    }
}
#[test]
fn a_buffer_that_is_full_stops_the_program_below_a_processor_too() {
    let builder = StreamsBuilder::new();
    let forwarded = builder.stream(&TEXTS).process_values((), |()| Pass);
    let forwarded = forwarded.on_error(ErrorPolicy::Skip);
    let rows = forwarded.to_table("rows");
    let most = BufferConfig::max_records(1).shut_down_when_full();
    let limit = Suppressed::until_time_limit(std::time::Duration::from_secs(1), most);
    let _ = rows.suppress("later", limit);
    let mut driver = run(builder);
    let mut pipe = |key: &str| driver.pipe(&TEXTS, key.to_owned(), String::new(), 0);
    pipe("a").unwrap();
    let error = pipe("b").unwrap_err().to_string();
    assert!(error.contains("the buffer is full"), "{error}");
}
