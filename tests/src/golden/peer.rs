//! Kafka Streams' own test driver, on a JVM beside the test: `tests/jvm/Golden.java`.
//!
//! Invariant: it ends with the test, since it ends when its standard input does.

use super::{Answer, Program};
use crate::servers;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::{
    fmt,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    thread,
};

/// The JVM's program.
const SOURCES: [(&str, &str); 12] = [
    ("Golden.java", include_str!("../../jvm/Golden.java")),
    (
        "GoldenErrors.java",
        include_str!("../../jvm/GoldenErrors.java"),
    ),
    (
        "GoldenFunctions.java",
        include_str!("../../jvm/GoldenFunctions.java"),
    ),
    (
        "GoldenHeaders.java",
        include_str!("../../jvm/GoldenHeaders.java"),
    ),
    (
        "GoldenGraph.java",
        include_str!("../../jvm/GoldenGraph.java"),
    ),
    (
        "GoldenJoins.java",
        include_str!("../../jvm/GoldenJoins.java"),
    ),
    (
        "GoldenLetters.java",
        include_str!("../../jvm/GoldenLetters.java"),
    ),
    (
        "GoldenProcessors.java",
        include_str!("../../jvm/GoldenProcessors.java"),
    ),
    (
        "GoldenProcessing.java",
        include_str!("../../jvm/GoldenProcessing.java"),
    ),
    (
        "GoldenReadOnly.java",
        include_str!("../../jvm/GoldenReadOnly.java"),
    ),
    (
        "GoldenWindowTables.java",
        include_str!("../../jvm/GoldenWindowTables.java"),
    ),
    (
        "GoldenWindows.java",
        include_str!("../../jvm/GoldenWindows.java"),
    ),
];
/// Small, and silent: what Kafka Streams logs of a program that fails is in the answer as well.
const JVM: [&str; 3] = ["-Xmx512m", "-XX:+UseSerialGC", "-Dlog4j2.level=OFF"];

/// Where Kafka Streams keeps the state of its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stores {
    /// In memory, where it has such stores: quick.
    Memory,
    /// In RocksDB, as by default.
    RocksDb,
}

/// A JVM that answers.
pub struct Peer {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// What Kafka Streams says to a program of which it makes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// It does not build it.
    Refused(String),
    /// It fails while it runs it.
    Failed(String),
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) => write!(f, "Kafka Streams refused: {text}"),
            Self::Failed(text) => write!(f, "Kafka Streams failed: {text}"),
        }
    }
}

/// What Kafka Streams makes of a program.
pub type Said = std::result::Result<Answer, Objection>;

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Answer(Answer),
    Refused { refused: String },
    Failed { error: String },
}

impl Peer {
    /// Starts it; the first time, compiles it.
    ///
    /// # Errors
    /// Where Kafka or a JDK is missing.
    pub fn start(stores: Stores) -> Result<Self> {
        let classes = servers::kafka::compiled("golden", &SOURCES)?;
        let mut java = servers::kafka::program(&classes)?;
        let stores = match stores {
            Stores::Memory => "memory",
            Stores::RocksDb => "rocksdb",
        };
        let mut child = java
            .args(JVM)
            .args(["Golden", stores])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("java")?;
        let questions = child.stdin.take();
        let answers = child.stdout.take().context("the JVM's output")?;
        Ok(Self {
            child,
            questions,
            answers: BufReader::new(answers),
        })
    }

    /// What Kafka Streams makes of some programs, of each one, before it stops too where that is
    /// asked.
    ///
    /// # Errors
    /// Where the JVM does not answer.
    pub fn ask(&mut self, programs: &[Program]) -> Result<Vec<Said>> {
        let mut all = self.ask_once(programs)?;
        let stopped = programs.iter().zip(&mut all).filter_map(|(program, said)| {
            let before = program.before(said.as_ref().ok()?)?;
            Some((before, said))
        });
        let (before, stopped): (Vec<_>, Vec<_>) = stopped.unzip();
        for (said, before) in stopped.into_iter().zip(self.ask_once(&before)?) {
            match (&mut *said, before) {
                (Ok(answer), Ok(before)) => answer.before = Some(Box::new(before)),
                (_, before) => *said = before,
            }
        }
        Ok(all)
    }

    fn ask_once(&mut self, programs: &[Program]) -> Result<Vec<Said>> {
        let mut questions = String::new();
        for program in programs {
            questions += &program.question()?;
            questions.push('\n');
        }
        let input = self.questions.as_mut().context("the JVM's input")?;
        thread::scope(|scope| {
            // Both pipes are short: who only wrote would wait for a JVM that waits to be read.
            let asked = scope.spawn(move || {
                input.write_all(questions.as_bytes())?;
                input.flush()
            });
            let mut answers = Vec::new();
            for _ in programs {
                let mut line = String::new();
                let read = self.answers.read_line(&mut line)?;
                ensure!(
                    read > 0,
                    "the JVM has ended after {} answers",
                    answers.len()
                );
                answers.push(match serde_json::from_str(&line).context(line)? {
                    Line::Answer(answer) => Ok(answer),
                    Line::Refused { refused } => Err(Objection::Refused(refused)),
                    Line::Failed { error } => Err(Objection::Failed(error)),
                });
            }
            match asked.join() {
                Ok(written) => written?,
                Err(_) => bail!("asking has panicked"),
            }
            Ok(answers)
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.questions.take());
        // It has nothing left to do, and cannot be stuck in what it does.
        drop(self.child.wait());
    }
}
