//! What becomes of bad records in programs that are data, and the dead letters that some become.
//!
//! Invariant: a dead letter is compared in all that KIP-1034 defines, apart from what stands in
//! `tests/golden/differences.toml`.

use super::{Op, Program};
use millstream_core::task::{ErrorPolicy, Policies};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What becomes of a bad record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The program stops.
    #[default]
    Fail,
    /// It is dropped.
    Skip,
    /// It goes to the program's topic for dead letters, [`crate::cases::DEAD_LETTERS`].
    DeadLetter,
    /// It goes to a topic of whoever says this.
    DeadLetterTo(String),
}

impl Policy {
    /// The same as our DSL has it.
    pub fn ours(&self) -> ErrorPolicy {
        match self {
            Self::Fail => ErrorPolicy::Fail,
            Self::Skip => ErrorPolicy::Skip,
            Self::DeadLetter => ErrorPolicy::DeadLetter,
            Self::DeadLetterTo(topic) => ErrorPolicy::DeadLetterTo(super::build::interned(topic)),
        }
    }

    /// Where it keeps records, if it does.
    fn topic(&self) -> Option<&str> {
        match self {
            Self::Fail | Self::Skip => None,
            Self::DeadLetter => Some(crate::cases::DEAD_LETTERS),
            Self::DeadLetterTo(topic) => Some(topic),
        }
    }

    /// Its name, as programs have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::DeadLetter => "dead_letter",
            Self::DeadLetterTo(_) => "dead_letter_to",
        }
    }
}

/// What becomes of bad records of which no source and no node says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "they are Kafka Streams' three handlers")]
pub struct OnError {
    pub deserialization: Policy,
    pub processing: Policy,
    pub production: Policy,
}

impl OnError {
    /// Each of them, and its name.
    pub fn each(&self) -> [(&'static str, &Policy); 3] {
        [
            ("deserialization", &self.deserialization),
            ("processing", &self.processing),
            ("production", &self.production),
        ]
    }

    /// The same as our tasks have it.
    pub fn ours(&self) -> Policies {
        Policies {
            deserialization: self.deserialization.ours(),
            processing: self.processing.ours(),
            production: self.production.ours(),
        }
    }
}

/// Whether a program may go on at bytes that nobody can read.
pub fn is_lenient(nodes: &[Op], on_error: &OnError) -> bool {
    let of_sources = nodes.iter().filter(|op| op.source().is_some());
    let own = of_sources.filter_map(Op::policy);
    let mut all = own.chain([&on_error.deserialization]);
    all.any(|policy| *policy != Policy::Fail)
}

/// The topics for dead letters of a program.
pub fn topics(program: &Program) -> BTreeSet<String> {
    let own = program.nodes.iter().filter_map(Op::policy);
    let all = own.chain(program.on_error.each().map(|(_, policy)| policy));
    all.filter_map(|policy| policy.topic().map(str::to_owned))
        .collect()
}

/// What KIP-1034's headers say, without the stack trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Letter {
    /// The error's class.
    pub exception: String,
    /// What it said.
    pub message: Option<String>,
    /// The record's topic.
    pub topic: Option<String>,
    /// Its partition.
    pub partition: Option<String>,
    /// Its offset; none where that means nothing.
    pub offset: Option<String>,
    /// The value, where it is no number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
}

/// In front of the names of topics of the program's own: of ours, and of Kafka Streams'.
const INTERNAL: [&str; 2] = ["cases-", "golden-"];

/// What we call the errors that Kafka Streams calls by a class of Java's.
const CLASSES: [(&str, &str); 3] = [
    ("ProcessingException", "java.lang.IllegalStateException"),
    (
        "DeserializationException",
        "org.apache.kafka.common.errors.SerializationException",
    ),
    (
        "SerializationException",
        "org.apache.kafka.common.errors.SerializationException",
    ),
];

/// Bytes that nobody can read are told in words of the reader's own.
const UNREADABLE: &str = "DeserializationException";

impl Letter {
    /// Whether our letter gives the reason that Kafka Streams' does.
    pub fn says_why(&self, theirs: &Self) -> bool {
        let pair = (&*self.exception, &*theirs.exception);
        let message = self.exception == UNREADABLE || self.message == theirs.message;
        (self.exception == theirs.exception || CLASSES.contains(&pair)) && message
    }

    /// Whether our letter says what Kafka Streams' does.
    pub fn says(&self, theirs: &Self) -> bool {
        // Internal topics have the names and offsets that each engine gives them.
        let place = |letter: &Self| {
            let Self {
                topic, partition, ..
            } = letter.clone();
            let topic = topic.filter(|_| !letter.is_internal());
            // On a cluster offsets mean nothing, and we say none.
            let offset = letter.offset.clone();
            let offset = offset.filter(|_| topic.is_some() && self.offset.is_some());
            (letter.is_internal(), topic, partition, offset)
        };
        self.says_why(theirs) && place(self) == place(theirs)
    }

    /// Whether its record comes from a topic of the program's own, whose bytes are not compared.
    pub fn is_internal(&self) -> bool {
        let topic = self.topic.as_deref().unwrap_or_default();
        INTERNAL.iter().any(|prefix| topic.starts_with(prefix))
    }

    /// Whether both are about the same record.
    pub fn of_the_same(&self, other: &Self) -> bool {
        self.topic.is_some() && (&self.topic, &self.offset) == (&other.topic, &other.offset)
    }
}
