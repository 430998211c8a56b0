//! Runs a program on an engine of the cases: our `TopologyTestDriver`, or the runtime on a log.
//! Invariant: it adds no behaviour of its own.

use super::{
    Answer, Output, Program, Step, build, cases,
    compare::outcome,
    peer::Objection,
    policy::{self, Letter},
    program::{Key, Value},
};
use crate::cases::{Engine, Open, Raw, Settings, TestDriver};
use anyhow::Result;
use millstream_core::{
    prelude::*,
    record::{Header, Headers},
    serde::{Serde, option},
};
use std::{collections::BTreeSet, sync::atomic::Ordering};

/// The only header there is.
const HEADER: &str = "h";
/// In front of the names of KIP-1034's headers.
const OF_LETTERS: &str = "__streams.errors.";
/// What a program says that stops as it should: at a time that is none, at a limit, at a record
/// that it refuses, or at bytes that are no number.
const STOPS: [&str; 4] = [
    "invalid timestamp",
    "the buffer is full",
    "refused ",
    "found 3 bytes",
];

/// What our test driver makes of a program.
///
/// # Errors
/// Where the program is none, our DSL lacks an operator of it, or it fails while it runs.
pub fn run(program: &Program) -> Result<Answer> {
    Ok(run_on(program, &TestDriver::open)?.0)
}

/// What an engine makes of a program, before it stops too where that is asked, and the earliest
/// time that the engine can store.
///
/// # Errors
/// As of [`run`], and where the engine cannot be had.
pub fn run_on(program: &Program, open: &Open<'_>) -> Result<(Answer, Timestamp)> {
    let (mut answer, earliest) = run_once(program, open)?;
    if let Some(before) = program.before(&answer) {
        answer.before = Some(Box::new(run_once(&before, open)?.0));
    }
    Ok((answer, earliest))
}

fn run_once(program: &Program, open: &Open<'_>) -> Result<(Answer, Timestamp)> {
    let built = build::build(&program.nodes)?;
    let policies = program.on_error.ours();
    let mut engine = open(built.topology, &Settings { policies })?;
    let dense = engine.limits().dense;
    let mut answer = Answer::default();
    for (number, step) in (1..).zip(&program.script) {
        match take(step, &built.sources, &mut *engine) {
            Ok(()) => {}
            Err(error) if stops(&error) => {
                answer.failed = Some(number);
                break;
            }
            Err(error) => return Err(error.context(format!("step {number}"))),
        }
    }
    for topic in built.sinks.into_iter().chain(policy::topics(program)) {
        let records = engine.read(&topic)?;
        let records: Result<Vec<_>> = records.iter().map(|record| output(record, dense)).collect();
        answer.outputs.insert(topic, records?);
    }
    let dropped = engine.dropped();
    answer.dropped = built.dropped.load(Ordering::Relaxed)
        + dropped.null_key
        + dropped.late_record
        + dropped.invalid_timestamp
        + dropped.deserialization
        + dropped.processing
        + dropped.production;
    Ok((answer, engine.limits().earliest))
}

/// What differs, if something does, between what an engine makes of a golden program and what Kafka
/// Streams made of it. Where the engine cannot store the times of the script, it is held against
/// what our test driver makes of the earliest ones that it can.
///
/// # Errors
/// Where there is nothing to compare with.
pub fn difference_on(program: &Program, open: &Open<'_>) -> Result<Option<String>> {
    let (ours, earliest) = match run_on(program, open) {
        Ok(ran) => ran,
        Err(error) => return Ok(Some(format!("failed: {error:#}\n"))),
    };
    let possible = from(program, earliest);
    let mut theirs = if possible == *program {
        cases::answer(program)?
    } else {
        run(&possible)?
    };
    let mut before = theirs.before.take();
    for answer in before.as_deref_mut().into_iter().chain([&mut theirs]) {
        for record in answer.outputs.values_mut().flatten() {
            record.time = record.time.max(earliest);
        }
    }
    theirs.before = before;
    Ok(outcome(program, Ok(ours), &Ok::<_, Objection>(theirs)))
}

/// The program with no record before a time.
fn from(program: &Program, earliest: Timestamp) -> Program {
    let mut program = program.clone();
    for step in &mut program.script {
        if let Some(time) = step.time_mut() {
            *time = earliest.max(*time);
        }
    }
    program
}

fn stops(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    STOPS.iter().any(|known| text.contains(known))
}

fn take(step: &Step, sources: &BTreeSet<String>, engine: &mut dyn Engine) -> Result<()> {
    let mut headers = Headers::NONE;
    let (topic, key, value, timestamp) = match step.clone() {
        Step::Clock((now,)) => return engine.advance_wall_clock(now),
        Step::Record((topic, key, value, time)) => (topic, key, number(value)?, time),
        Step::Headed((topic, key, value, time, header)) => {
            headers.push(HEADER, Some(header.into_bytes()));
            (topic, key, number(value)?, time)
        }
        Step::Bad((topic, key, bytes, time)) => (topic, key, Some(bytes.into_bytes()), time),
    };
    if !sources.contains(&topic) {
        return Ok(());
    }
    let record = Raw {
        key: encoded(option::<Utf8>(), &key)?,
        value,
        timestamp,
        headers,
    };
    engine.pipe(&topic, &record)
}

fn number(value: Value) -> Result<Option<Vec<u8>>> {
    encoded(option::<I64Be>(), &value)
}

fn encoded<T>(serde: Serde<Option<T>>, value: &Option<T>) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    serde.encode(value, &mut bytes)?;
    Ok(value.is_some().then_some(bytes))
}

/// A record that was written; `dense` says whether offsets mean something.
fn output(record: &Raw, dense: bool) -> Result<Output> {
    let text = |header: &Header| {
        let value = header.value.clone();
        Ok::<_, anyhow::Error>(value.map(String::from_utf8).transpose()?)
    };
    let said = |name: &str| {
        let header = record.headers.last(&format!("{OF_LETTERS}{name}"));
        Ok::<_, anyhow::Error>(header.map(text).transpose()?.flatten())
    };
    let header = record.headers.last(HEADER).map(text).transpose()?;
    let header = header.map(Option::unwrap_or_default);
    let time = record.timestamp;
    let Some(exception) = said("exception")? else {
        let key: Key = option::<Utf8>().decode(record.key.as_deref())?;
        let value: Value = option::<I64Be>().decode(record.value.as_deref())?;
        return Ok(Output {
            key,
            value,
            time,
            header,
            letter: None,
        });
    };
    let mut letter = Letter {
        exception,
        message: said("message")?,
        topic: said("topic")?,
        partition: said("partition")?,
        offset: said("offset")?.filter(|_| dense),
        bytes: None,
    };
    let (mut key, mut value) = (None, None);
    if !letter.is_internal() {
        key = option::<Utf8>().decode(record.key.as_deref())?;
        value = option::<I64Be>()
            .decode(record.value.as_deref())
            .ok()
            .flatten();
        let bytes = record.value.as_deref().filter(|_| value.is_none());
        letter.bytes = bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    }
    Ok(Output {
        key,
        value,
        time,
        header,
        letter: Some(letter),
    })
}
