//! A program as data, and what an engine makes of it. Invariant: what is read and written again is
//! the same line.

use super::{
    Op,
    parts::parts,
    policy::{Letter, OnError},
};
use anyhow::{Context, Result};
use millstream_core::record::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, path::Path};

fn none(on_error: &OnError) -> bool {
    *on_error == OnError::default()
}

/// A program with its script, and Kafka Streams' answer where that was captured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// What the program is about; a fuzzed one has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The operators, each after those that it reads from.
    pub nodes: Vec<Op>,
    /// What becomes of bad records where no node says it.
    #[serde(default, skip_serializing_if = "none")]
    pub on_error: OnError,
    /// What happens, in order.
    pub script: Vec<Step>,
    /// What Kafka Streams wrote, by topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<BTreeMap<String, Vec<Output>>>,
    /// How many records Kafka Streams dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u64>,
    /// At which step Kafka Streams stopped, the first one being 1, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<usize>,
    /// What Kafka Streams had made by then, where [`Program::before`] asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Answer>>,
}

/// A key: null or a text.
pub type Key = Option<String>;
/// A value: null or a number.
pub type Value = Option<i64>;

/// One thing that happens to a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Step {
    /// The wall clock moves to a time.
    Clock((Timestamp,)),
    /// A record arrives. One for a topic that the program does not read is passed over, so that
    /// a program stays one when nodes are taken out of it.
    Record((String, Key, Value, Timestamp)),
    /// A record with a header arrives.
    Headed((String, Key, Value, Timestamp, String)),
    /// A record arrives whose value is these bytes, which are no number.
    Bad((String, Key, String, Timestamp)),
}

impl Step {
    /// The time of the record, if it is one.
    pub fn time_mut(&mut self) -> Option<&mut Timestamp> {
        match self {
            Self::Clock(_) => None,
            Self::Record((.., time)) | Self::Headed((.., time, _)) | Self::Bad((.., time)) => {
                Some(time)
            }
        }
    }
}

/// A record that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Line", into = "Line")]
pub struct Output {
    /// Its key.
    pub key: Key,
    /// Its value.
    pub value: Value,
    /// Its time.
    pub time: Timestamp,
    /// The value of its header `h`, if it has that.
    pub header: Option<String>,
    /// What its headers say if it is a dead letter.
    pub letter: Option<Letter>,
}

/// A record as files have it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Plain((Key, Value, Timestamp)),
    Headed((Key, Value, Timestamp, String)),
    Letter((Key, Value, Timestamp, Letter)),
    HeadedLetter((Key, Value, Timestamp, String, Letter)),
}

impl From<Line> for Output {
    fn from(line: Line) -> Self {
        let ((key, value, time), header, letter) = match line {
            Line::Plain(plain) => (plain, None, None),
            Line::Headed((k, v, t, header)) => ((k, v, t), Some(header), None),
            Line::Letter((k, v, t, letter)) => ((k, v, t), None, Some(letter)),
            Line::HeadedLetter((k, v, t, header, letter)) => {
                ((k, v, t), Some(header), Some(letter))
            }
        };
        Self {
            key,
            value,
            time,
            header,
            letter,
        }
    }
}

impl From<Output> for Line {
    fn from(output: Output) -> Self {
        let (k, v, t) = (output.key, output.value, output.time);
        match (output.header, output.letter) {
            (None, None) => Self::Plain((k, v, t)),
            (Some(header), None) => Self::Headed((k, v, t, header)),
            (None, Some(letter)) => Self::Letter((k, v, t, letter)),
            (Some(header), Some(letter)) => Self::HeadedLetter((k, v, t, header, letter)),
        }
    }
}

/// What an engine made of a program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// What was written, by topic, in order.
    pub outputs: BTreeMap<String, Vec<Output>>,
    /// How many records were dropped, whatever the reason.
    pub dropped: u64,
    /// The step at which the program stopped as it should: because of a time or a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<usize>,
    /// What was made before that step, where [`Program::before`] asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Self>>,
}

impl Program {
    /// The line that this program is, without an answer.
    ///
    /// # Errors
    /// None that a program has.
    pub fn question(&self) -> Result<String> {
        Ok(serde_json::to_string(&self.unanswered())?)
    }

    fn unanswered(&self) -> Self {
        Self {
            outputs: None,
            dropped: None,
            failed: None,
            before: None,
            ..self.clone()
        }
    }

    /// The program without the step at which it stopped and what is behind that, where this says
    /// more than its answer does: where it has internal topics, so that how much of that step was
    /// committed is up to several tasks.
    pub fn before(&self, answer: &Answer) -> Option<Self> {
        let steps = answer.failed?.checked_sub(1)?;
        let internal = parts(&self.nodes).is_ok_and(|parts| parts.internal);
        internal.then(|| {
            let mut before = self.unanswered();
            before.script.truncate(steps);
            before
        })
    }

    /// The answer that was captured with the program.
    pub fn answer(&self) -> Option<Answer> {
        Some(Answer {
            outputs: self.outputs.clone()?,
            dropped: self.dropped?,
            failed: self.failed,
            before: self.before.clone(),
        })
    }

    /// The same program with an answer.
    #[must_use]
    pub fn answered(self, answer: Answer) -> Self {
        Self {
            outputs: Some(answer.outputs),
            dropped: Some(answer.dropped),
            failed: answer.failed,
            before: answer.before,
            ..self
        }
    }
}

/// The programs of a file, one a line.
///
/// # Errors
/// Where it cannot be read, or a line is no program; which one is told.
pub fn load(path: &Path) -> Result<Vec<Program>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let lines = text.lines().enumerate();
    lines
        .map(|(number, line)| {
            let place = || format!("{}:{}", path.display(), number + 1);
            serde_json::from_str(line).with_context(place)
        })
        .collect()
}
