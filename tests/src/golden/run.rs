//! Runs a program on our `TopologyTestDriver`. Invariant: it adds no behaviour of its own.

use super::{
    Answer, Output, Program, Step,
    build::{self, interned},
    program::{Key, Value},
};
use anyhow::{Context, Result};
use millstream_core::{
    driver::{RawOutput, TopologyTestDriver},
    prelude::*,
    record::Header,
};
use std::{collections::BTreeSet, sync::atomic::Ordering};

/// The only header there is.
const HEADER: &str = "h";

/// What our side makes of a program.
///
/// # Errors
/// Where the program is none, our DSL lacks an operator of it, or it fails while it runs.
pub fn run(program: &Program) -> Result<Answer> {
    let built = build::build(&program.nodes)?;
    let mut driver = TopologyTestDriver::new(built.topology)?;
    for (number, step) in program.script.iter().enumerate() {
        let done = take(step, &built.sources, &mut driver);
        done.with_context(|| format!("step {}", number + 1))?;
    }
    let mut answer = Answer::default();
    for topic in built.sinks {
        let records = driver.read_raw(&topic).into_iter();
        let records: Result<Vec<_>> = records.map(output).collect();
        answer.outputs.insert(topic, records?);
    }
    let dropped = driver.dropped();
    answer.dropped = built.dropped.load(Ordering::Relaxed) + dropped.null_key + dropped.late_record;
    Ok(answer)
}

fn take(step: &Step, sources: &BTreeSet<String>, driver: &mut TopologyTestDriver) -> Result<()> {
    let (topic, record) = match step.clone() {
        Step::Clock((now,)) => return Ok(driver.advance_wall_clock(now)?),
        Step::Record((topic, key, value, time)) => (topic, Record::new(key, value, time)),
        Step::Headed((topic, key, value, time, header)) => {
            let headers = [Header {
                name: HEADER.to_owned(),
                value: Some(header.into_bytes()),
            }];
            let record = Record {
                headers: headers.into_iter().collect(),
                ..Record::new(key, value, time)
            };
            (topic, record)
        }
    };
    if !sources.contains(&topic) {
        return Ok(());
    }
    let topic: Topic<Key, Value> =
        Topic::new(interned(&topic), option::<Utf8>(), option::<I64Be>());
    Ok(driver.pipe_record(&topic, &record)?)
}

fn output((key, value, time, headers): RawOutput) -> Result<Output> {
    let header = match headers.iter().next() {
        None => None,
        Some(header) => Some(String::from_utf8(header.value.clone().unwrap_or_default())?),
    };
    Ok(Output {
        key: option::<Utf8>().decode(key.as_deref())?,
        value: option::<I64Be>().decode(value.as_deref())?,
        time,
        header,
    })
}
