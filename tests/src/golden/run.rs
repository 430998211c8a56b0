//! Runs a program on an engine of the cases: our `TopologyTestDriver`, or the runtime on a log.
//! Invariant: it adds no behaviour of its own.

use super::{
    Answer, Output, Program, Step, build, cases,
    compare::outcome,
    peer::Objection,
    program::{Key, Value},
};
use crate::cases::{Engine, Open, Raw, Settings, TestDriver};
use anyhow::Result;
use millstream_core::{
    prelude::*,
    record::Header,
    serde::{Serde, option},
    task::ErrorPolicy,
};
use std::{collections::BTreeSet, sync::atomic::Ordering};

/// The only header there is.
const HEADER: &str = "h";
/// What a program says that stops as it should: at a time that is none, or at a limit.
const STOPS: [&str; 2] = ["invalid timestamp", "the buffer is full"];

/// What our test driver makes of a program.
///
/// # Errors
/// Where the program is none, our DSL lacks an operator of it, or it fails while it runs.
pub fn run(program: &Program) -> Result<Answer> {
    Ok(run_on(program, &TestDriver::open)?.0)
}

/// What an engine makes of a program, and the earliest time that the engine can store.
///
/// # Errors
/// As of [`run`], and where the engine cannot be had.
pub fn run_on(program: &Program, open: &Open<'_>) -> Result<(Answer, Timestamp)> {
    let built = build::build(&program.nodes)?;
    let policy = ErrorPolicy::Fail;
    let mut engine = open(built.topology, &Settings { policy })?;
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
    for topic in built.sinks {
        let records = engine.read(&topic)?;
        let records: Result<Vec<_>> = records.iter().map(output).collect();
        answer.outputs.insert(topic, records?);
    }
    let dropped = engine.dropped();
    answer.dropped = built.dropped.load(Ordering::Relaxed)
        + dropped.null_key
        + dropped.late_record
        + dropped.invalid_timestamp;
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
    for record in theirs.outputs.values_mut().flatten() {
        record.time = record.time.max(earliest);
    }
    Ok(outcome(program, Ok(ours), &Ok::<_, Objection>(theirs)))
}

/// The program with no record before a time.
fn from(program: &Program, earliest: Timestamp) -> Program {
    let mut program = program.clone();
    for step in &mut program.script {
        if let Step::Record((.., time)) | Step::Headed((.., time, _)) = step {
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
    let (topic, key, value, timestamp, header) = match step.clone() {
        Step::Clock((now,)) => return engine.advance_wall_clock(now),
        Step::Record((topic, key, value, time)) => (topic, key, value, time, None),
        Step::Headed((topic, key, value, time, header)) => (topic, key, value, time, Some(header)),
    };
    if !sources.contains(&topic) {
        return Ok(());
    }
    let header = header.map(|value| Header {
        name: HEADER.to_owned(),
        value: Some(value.into_bytes()),
    });
    let record = Raw {
        key: encoded(option::<Utf8>(), &key)?,
        value: encoded(option::<I64Be>(), &value)?,
        timestamp,
        headers: header.into_iter().collect(),
    };
    engine.pipe(&topic, &record)
}

fn encoded<T>(serde: Serde<Option<T>>, value: &Option<T>) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    serde.encode(value, &mut bytes)?;
    Ok(value.is_some().then_some(bytes))
}

fn output(record: &Raw) -> Result<Output> {
    let header = match record.headers.iter().next() {
        None => None,
        Some(header) => Some(String::from_utf8(header.value.clone().unwrap_or_default())?),
    };
    let key: Key = option::<Utf8>().decode(record.key.as_deref())?;
    let value: Value = option::<I64Be>().decode(record.value.as_deref())?;
    Ok(Output {
        key,
        value,
        time: record.timestamp,
        header,
    })
}
