//! The shared load program, `kafka_load`: topics, inputs, comparisons, latencies.

use super::job::{PARTITIONS, Size};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

/// Keys of the inputs and rows of the table.
pub(super) const KEYS: u64 = 100_000;
/// Bytes of an input's value.
pub(super) const VALUE_BYTES: usize = 100;
/// Seconds of load before latency is measured: until a JVM has started, has compiled what it does
/// often, and has caught up with what came meanwhile.
const LATENCY_WARMUP_SECONDS: u64 = 20;
/// Bytes of a row of the table.
pub(super) const ROW_BYTES: usize = 50;

/// How often which key comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Uniform,
    Zipf,
    /// Each key once.
    Each,
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
            Self::Each => "each",
        }
    }
}

/// What an output topic holds: equal exactly where the outputs are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Content {
    pub(super) records: u64,
    pub(super) keys: u64,
    /// Of the records in their order, partition by partition.
    order: String,
    /// Of the records in no order.
    records_hash: String,
    /// Of the last value of each key.
    last_hash: String,
}

impl Content {
    /// Whether both said the same, in whatever order.
    pub(super) fn says_as(&self, other: &Self) -> bool {
        self.records == other.records && self.records_hash == other.records_hash
    }

    /// Whether both ended with the same values, whatever was said in between.
    pub(super) fn ends_as(&self, other: &Self) -> bool {
        self.keys == other.keys && self.last_hash == other.last_hash
    }
}

/// What a program has sent to one topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Traffic {
    pub(super) topic: String,
    pub(super) records: u64,
    /// Of a record, on average.
    pub(super) key_bytes: u64,
    pub(super) value_bytes: u64,
}

/// Latencies of one side, in milliseconds.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Latency {
    pub(super) measured: u64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// The program, and the cluster that it works on.
pub(super) struct Load {
    program: PathBuf,
    pub(super) servers: String,
}

impl Load {
    pub(super) fn new(servers: &str) -> Result<Self> {
        Ok(Self {
            program: example("kafka_load")?,
            servers: servers.to_owned(),
        })
    }

    /// Makes a topic.
    pub(super) fn topic(&self, name: &str) -> Result<()> {
        self.run("topic", name, &[]).map(drop)
    }

    /// Deletes all topics whose names begin so.
    pub(super) fn delete(&self, prefix: &str) -> Result<()> {
        self.run("delete", prefix, &[]).map(drop)
    }

    /// Makes a topic and fills it. A table has the first seed, since it is to be older than what
    /// joins it.
    pub(super) fn fill(
        &self,
        name: &str,
        (records, keys): (u64, u64),
        shape: Shape,
        (seed, value_bytes): (u64, usize),
    ) -> Result<()> {
        self.topic(name)?;
        let words = [
            format!("records={records}"),
            format!("keys={keys}"),
            format!("shape={}", shape.name()),
            format!("seed={seed}"),
            format!("value.bytes={value_bytes}"),
        ];
        self.run("fill", name, &words).map(drop)
    }

    /// Reads a topic to its end.
    pub(super) fn check(&self, name: &str) -> Result<Content> {
        let line = self.run("check", name, &[])?;
        serde_json::from_str(&line).with_context(|| line.clone())
    }

    /// What was sent to the topics whose names begin so.
    pub(super) fn traffic(&self, prefix: &str) -> Result<Vec<Traffic>> {
        let line = self.run("traffic", prefix, &[])?;
        serde_json::from_str(&line).with_context(|| line.clone())
    }

    /// Feeds `input` at a rate and takes the latencies in `output`, after a warm-up.
    pub(super) fn latency(
        &self,
        (input, output): (&str, &str),
        rate: u64,
        size: Size,
    ) -> Result<Latency> {
        let seconds = size.latency_seconds;
        let words = [
            format!("out={output}"),
            format!("rate={rate}"),
            format!("warmup={LATENCY_WARMUP_SECONDS}"),
            format!("seconds={seconds}"),
            format!("keys={KEYS}"),
            "shape=uniform".to_owned(),
            "seed=7".to_owned(),
            format!("value.bytes={VALUE_BYTES}"),
        ];
        let line = self.run("latency", input, &words)?;
        serde_json::from_str(&line).with_context(|| line.clone())
    }

    fn run(&self, verb: &str, topic: &str, words: &[String]) -> Result<String> {
        let output = Command::new(&self.program)
            .arg(verb)
            .arg(format!("bootstrap.servers={}", self.servers))
            .arg(format!("topic={topic}"))
            .arg(format!("partitions={PARTITIONS}"))
            .args(words)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("{}", self.program.display()))?;
        if !output.status.success() {
            bail!("kafka_load {verb} {topic} ended with {}", output.status);
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

/// One of the programs of `framework/kafka/benches`, which cargo puts beside this one.
pub(super) fn example(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?
        .with_file_name("examples")
        .join(name);
    if !program.exists() {
        bail!(
            "{}: build -p millstream-kafka --examples",
            program.display()
        );
    }
    Ok(program)
}
