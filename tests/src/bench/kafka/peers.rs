//! The sides as processes: each gets a job, and tells its figures in one line of JSON.
//!
//! Invariant: a side is killed when its run is dropped, and ends by itself when this process does,
//! since then its standard input ends.

use super::{
    super::{CHILD, Figures, embedded::CACHE_BYTES, meter::settle, workloads::Workload},
    job::{COMMIT_INTERVAL_MS, Job, PARTITIONS, SECONDS_MAX, Stage},
    load::{Traffic, example},
};
use crate::servers;
use anyhow::{Context, Result, bail};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// The JVM's heap and collector.
const JVM: [&str; 3] = ["-Xms512m", "-Xmx512m", "-XX:+UseG1GC"];
const STREAMS_BENCH: &str = include_str!("../../../jvm/StreamsBench.java");

/// Who does a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Ours,
    /// Ours, on an embedded log on disk.
    Embedded,
    /// With its cache of records, or without.
    KafkaStreams {
        cached: bool,
    },
    RawLoop,
}

impl Side {
    /// Its name, in figures and topics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Embedded => "embedded",
            Self::KafkaStreams { cached: true } => "kafka_streams_cached",
            Self::KafkaStreams { cached: false } => "kafka_streams",
            Self::RawLoop => "raw",
        }
    }

    /// Starts it on a job; on one that is measured, once the machine is quiet.
    pub(super) fn start(self, bench: &str, job: &Job) -> Result<Running> {
        if matches!(job.stage, Stage::OnCluster | Stage::Embedded) {
            settle()?;
        }
        let mut command = match self {
            Self::Ours | Self::Embedded => {
                let mut command = Command::new(std::env::current_exe()?);
                let job = serde_json::to_string(job)?;
                command.args([CHILD, bench, &job, "."]);
                command
            }
            Self::KafkaStreams { cached } => kafka_streams(job, cached)?,
            Self::RawLoop => raw_loop(job)?,
        };
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        Ok(Running(child))
    }

    /// Runs it to the end of its job.
    pub(super) fn run(self, bench: &str, job: &Job) -> Result<Figures> {
        let run = |stage| {
            let job = Job {
                stage,
                ..job.clone()
            };
            let running = self.start(bench, &job)?;
            (running.figures()).with_context(|| format!("{} on {job:?}", self.name()))
        };
        if self != Self::Embedded {
            return run(Stage::OnCluster);
        }
        run(Stage::CarryIn)?;
        let figures = run(Stage::Embedded)?;
        run(Stage::CarryOut)?;
        Ok(figures)
    }
}

/// What both peers are told alike.
fn common(job: &Job) -> Vec<String> {
    vec![
        format!("bootstrap.servers={}", job.servers),
        format!("in={}", job.topics.input),
        format!("out={}", job.topics.output),
        format!("records={}", job.records),
        format!("warmup={}", job.warmup),
        format!("commit.interval.ms={COMMIT_INTERVAL_MS}"),
        format!("seconds.max={SECONDS_MAX}"),
    ]
}

/// The loop that does the work itself, or only sends what was sent by a program that does it.
fn raw_loop(job: &Job) -> Result<Command> {
    let mut command = Command::new(example("raw_loop")?);
    let mut job = job.clone();
    if job.workload == Workload::StreamJoin {
        job.topics.input = format!("{},{}", job.topics.input, job.topics.table);
    }
    command.args(common(&job)).args([
        format!("partitions={PARTITIONS}"),
        format!("group={}", job.application_id),
    ]);
    if job.traffic.is_empty() {
        return Ok(command);
    }
    let sends = job.traffic.iter().map(|sent| {
        let Traffic {
            topic,
            key_bytes,
            value_bytes,
            records,
        } = sent;
        // What a task sends to another one comes back to the program; a changelog does not.
        let whither = match *topic == job.topics.output || topic.ends_with("-changelog") {
            true => "sent",
            false => "read",
        };
        format!("{topic}:{key_bytes}:{value_bytes}:{records}:{whither}")
    });
    let sends = sends.collect::<Vec<_>>().join(",");
    command.arg(format!("sends={sends}"));
    Ok(command)
}

fn kafka_streams(job: &Job, cached: bool) -> Result<Command> {
    let sources = [
        ("StreamsBench.java", STREAMS_BENCH),
        ("log4j2.properties", LOGGING),
    ];
    let classes = servers::kafka::compiled("bench", &sources)?;
    let mut command = servers::kafka::program(&classes)?;
    command
        .args(JVM)
        .arg(format!(
            "-Dlog4j2.configurationFile=file:{}",
            classes.join("log4j2.properties").display()
        ))
        .arg("StreamsBench")
        .arg(job.workload.name())
        .args(common(job))
        .arg(format!("table={}", job.topics.table))
        .arg(format!("application.id={}", job.application_id))
        .arg(format!("state.dir={}", job.state.display()))
        .arg(format!("cache={}", if cached { CACHE_BYTES } else { 0 }));
    if job.restored > 0 {
        command.arg(format!("restored={}", job.restored));
    }
    Ok(command)
}

/// Errors only: its warnings are of no use here, and writing them takes time.
const LOGGING: &str = "\
status = ERROR
appender.c.type = Console
appender.c.name = C
appender.c.target = SYSTEM_ERR
appender.c.layout.type = PatternLayout
appender.c.layout.pattern = %p %m (%c)%n
rootLogger.level = ERROR
rootLogger.appenderRef.c.ref = C
";

/// A side at work. Dropping it kills it.
pub(super) struct Running(Child);

impl Running {
    /// Waits for its end; what it told.
    fn figures(mut self) -> Result<Figures> {
        let stdout = self.0.stdout.take().context("a side's output")?;
        let mut last = None;
        for line in BufReader::new(stdout).lines() {
            last = Some(line?);
        }
        let status = self.0.wait()?;
        if !status.success() {
            bail!("ended with {status}");
        }
        let last = last.context("it told nothing")?;
        serde_json::from_str(&last).with_context(|| format!("it said {last:?}"))
    }

    /// Ends its work, and waits until it is committed.
    pub(super) fn end(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        self.figures().map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended cannot be killed, which is as good.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
