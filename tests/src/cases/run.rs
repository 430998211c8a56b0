//! Runs one case on any engine and compares. Invariant: every difference is told at once, in the
//! words of the case's file.

use super::{Case, DEAD_LETTERS, Engine, Expected, Open, Order, Raw, Settings, Step, topologies};
use anyhow::{Context, Result, anyhow, bail, ensure};
use millstream_core::{
    record::{Header, Headers},
    serde::{Serde, bytes},
    task::Dropped,
    topology::{Format, Topology},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The header of a dead letter that tells its record's offset (KIP-1034).
const OFFSET_HEADER: &str = "__streams.errors.offset";

/// Runs a case.
///
/// # Errors
/// Where it does not come out as told, or where the case itself is wrong.
pub fn run(case: &Case, open: &Open<'_>) -> Result<()> {
    // The topology goes to the engine; a second one is kept to read and show bytes by.
    let shown = topologies::build(&case.topology)?;
    let settings = Settings {
        policies: case.policy().into(),
    };
    let mut engine = open(topologies::build(&case.topology)?, &settings)?;
    let mut wrong = Vec::new();
    for (number, step) in case.script.iter().enumerate() {
        let at = || format!("step {}", number + 1);
        let done = take(step, &shown, &mut *engine);
        match (&step.fails, done) {
            (None, done) => done.with_context(at)?,
            (Some(text), Ok(())) => wrong.push(format!("{}: no error, but {text:?}", at())),
            (Some(text), Err(error)) if !format!("{error:#}").contains(text) => {
                wrong.push(format!("{}: another error than {text:?}: {error:#}", at()));
            }
            (Some(_), Err(_)) => {}
        }
    }
    compare_outputs(case, &shown, &mut *engine, &mut wrong)?;
    compare_stores(case, &shown, &mut *engine, &mut wrong)?;
    compare_dropped(case, engine.dropped(), &mut wrong);
    ensure!(
        wrong.is_empty(),
        "{}\n{}",
        wrong.join("\n"),
        shown.describe(Format::Text)
    );
    Ok(())
}

fn take(step: &Step, topology: &Topology, engine: &mut dyn Engine) -> Result<()> {
    let (topic, clock) = (step.to.as_deref(), step.clock);
    match (topic, clock) {
        (None, Some(now)) => engine.advance_wall_clock(now),
        (Some(topic), None) => engine.pipe(topic, &record(step, topic, topology)?),
        _ => bail!("a step has either a topic or a clock"),
    }
}

fn record(step: &Step, topic: &str, topology: &Topology) -> Result<Raw> {
    let format = (topology.formats().iter())
        .find(|format| format.topic.shown() == topic)
        .ok_or_else(|| anyhow!("the topology has no topic {topic:?}"))?;
    let side = |json: &Option<Value>, raw: &Option<String>, is_key: bool| match (json, raw) {
        (Some(json), None) if is_key => format.format.read_key(json),
        (Some(json), None) => format.format.read_value(json),
        (None, Some(hex)) => from_json(bytes(), &Value::from(hex.as_str())),
        (None, None) => Ok(None),
        _ => Err(millstream_core::Error::serialization("both JSON and raw")),
    };
    let header = |(name, value): &(String, String)| Header {
        name: name.clone(),
        value: Some(value.clone().into_bytes()),
    };
    Ok(Raw {
        key: side(&step.key, &step.raw_key, true)?,
        value: side(&step.value, &step.raw_value, false)?,
        timestamp: step.time,
        headers: step.headers.iter().map(header).collect(),
    })
}

fn from_json<T>(serde: Serde<T>, json: &Value) -> millstream_core::Result<Option<Vec<u8>>> {
    let mut out = Vec::new();
    serde.codec().from_json(json, &mut out).map(|_| Some(out))
}

fn compare_outputs(
    case: &Case,
    topology: &Topology,
    engine: &mut dyn Engine,
    wrong: &mut Vec<String>,
) -> Result<()> {
    let mut topics: BTreeSet<String> = topology.user_sinks().into_iter().collect();
    topics.extend(case.outputs.keys().cloned());
    topics.insert(DEAD_LETTERS.to_owned());
    for topic in topics {
        let mut expected = case.outputs.get(&topic).cloned().unwrap_or_default();
        let mut found = Vec::new();
        for record in engine.read(&topic)? {
            found.push(show(topology, &topic, &record)?);
        }
        if case.order == Order::PerKey {
            // A stable sort leaves each key's records in their order, and forgets that of the keys.
            found.sort_by_key(|record| record.key.to_string());
            expected.sort_by_key(|record| record.key.to_string());
        }
        let limits = engine.limits();
        for expected in &mut expected {
            expected.time = expected.time.max(limits.earliest);
        }
        if !limits.dense {
            found
                .iter_mut()
                .chain(&mut expected)
                .for_each(forget_offset);
        }
        // Headers are compared only where the case tells them.
        for (number, found) in found.iter_mut().enumerate() {
            if expected.get(number).is_none_or(|e| e.headers.is_none()) {
                found.headers = None;
            }
        }
        if found != expected {
            wrong.push(format!("{topic} holds{}", list(&found)));
            wrong.push(format!("{topic} should hold{}", list(&expected)));
        }
    }
    Ok(())
}

/// Takes out of a dead letter where its record was.
fn forget_offset(record: &mut Expected) {
    for (name, value) in record.headers.iter_mut().flatten() {
        if name == OFFSET_HEADER {
            value.clear();
        }
    }
}

/// As people see it: by the topic's serdes, else as text, else as hex.
fn show(topology: &Topology, topic: &str, record: &Raw) -> Result<Expected> {
    let known = topology.formats().iter().find(|f| f.topic.shown() == topic);
    let (key, value) = match known {
        Some(known) => (
            known.format.show_key(record.key.as_deref())?,
            known.format.show_value(record.value.as_deref())?,
        ),
        None => (
            guess(record.key.as_deref())?,
            guess(record.value.as_deref())?,
        ),
    };
    Ok(Expected {
        key,
        value,
        time: record.timestamp,
        headers: Some(texts(&record.headers)),
    })
}

fn guess(found: Option<&[u8]>) -> Result<Value> {
    Ok(match found.map(std::str::from_utf8) {
        None => Value::Null,
        Some(Ok(text)) => Value::from(text),
        Some(Err(_)) => bytes().codec().to_json(found)?,
    })
}

fn texts(headers: &Headers) -> Vec<(String, String)> {
    let text = |header: &Header| {
        let value = header.value.as_deref().unwrap_or_default();
        (
            header.name.clone(),
            String::from_utf8_lossy(value).into_owned(),
        )
    };
    headers.iter().map(text).collect()
}

/// A store is what its changelog compacts to: the last record of each key, sorted by the key's
/// bytes.
fn compare_stores(
    case: &Case,
    topology: &Topology,
    engine: &mut dyn Engine,
    wrong: &mut Vec<String>,
) -> Result<()> {
    let Some(expected) = &case.stores else {
        return Ok(());
    };
    for name in expected.keys() {
        ensure!(topology.find_store(name).is_some(), "no store {name:?}");
    }
    for store in topology.stores() {
        let mut rows = BTreeMap::new();
        for record in engine.changelog(&store.name)? {
            let key = record
                .key
                .ok_or_else(|| anyhow!("a null key in a changelog"))?;
            match record.value {
                Some(value) => drop(rows.insert(key, (value, record.timestamp))),
                None => drop(rows.remove(&key)),
            }
        }
        let query = store.query.as_ref();
        let query = query.ok_or_else(|| anyhow!("{} cannot be shown", store.name))?;
        let mut found = Vec::new();
        for (key, (value, time)) in rows {
            let (key, value) = (query.show_key(&key)?, query.show_value(&value)?);
            found.push(Expected {
                key,
                value,
                time,
                headers: None,
            });
        }
        let expected = expected.get(&store.name).cloned().unwrap_or_default();
        if found != expected {
            wrong.push(format!("store {} holds{}", store.name, list(&found)));
            wrong.push(format!(
                "store {} should hold{}",
                store.name,
                list(&expected)
            ));
        }
    }
    Ok(())
}

fn compare_dropped(case: &Case, dropped: Dropped, wrong: &mut Vec<String>) {
    let found = [
        ("deserialization", dropped.deserialization),
        ("processing", dropped.processing),
        ("production", dropped.production),
        ("null_key", dropped.null_key),
        ("invalid_timestamp", dropped.invalid_timestamp),
        ("late_record", dropped.late_record),
        ("dead_lettered", dropped.dead_lettered),
    ];
    let found: BTreeMap<_, _> = (found.into_iter())
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.to_owned(), count))
        .collect();
    if found != case.dropped {
        wrong.push(format!("dropped {found:?} instead of {:?}", case.dropped));
    }
}

fn list(records: &[Expected]) -> String {
    let line = |record: &Expected| {
        let (key, value) = (&record.key, &record.value);
        let line = json!({ "key": key, "value": value, "time": record.time });
        match &record.headers {
            Some(headers) => format!("\n  {line} {headers:?}"),
            None => format!("\n  {line}"),
        }
    };
    records.iter().map(line).collect()
}
