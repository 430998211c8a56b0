//! Code that answers for bad records, where a fixed policy would not do.
//!
//! Invariant: a handler is asked once for each refusal, before anything of it is counted or kept,
//! and what it answers is carried out as the same policy would be that had been there all along.

use super::{ErrorPolicy, ErrorReason, Policies, RecordMetadata};
use crate::{
    error::{Error, Result},
    record::{Headers, RawRecord, TaskId, Timestamp},
};
use std::{
    cell::{Cell, RefCell},
    fmt,
    sync::Arc,
};

type Ask = dyn Fn(&ErrorHandlerContext<'_>) -> ErrorPolicy + Send + Sync;

/// What becomes of bad records: always the same, or what code says of each. A plain
/// [`ErrorPolicy`] is the former.
///
/// Kafka's exception handlers (`DeserializationExceptionHandler`, `ProcessingExceptionHandler` of
/// KIP-1033, `ProductionExceptionHandler`) are one function here, since
/// [`reason`](ErrorHandlerContext::reason) tells them apart; and it may stand at a node or a source
/// as well as in front of the whole program ([`StreamsBuilder::on_error`]).
///
/// ```
/// use millstream_core::prelude::*;
///
/// static TEXTS: Topic<String, String> = Topic::new("texts", utf8(), utf8());
/// static NUMBERS: Topic<String, i64> = Topic::new("numbers", utf8(), i64_be());
///
/// let builder = StreamsBuilder::new();
/// // Empty texts are nothing to look at; of others somebody wants to know.
/// let answer = ErrorHandler::new(|refused| match refused.record() {
///     Some(record) if record.value == Some(b"") => ErrorPolicy::Skip,
///     _ => ErrorPolicy::DeadLetterTo("no-numbers"),
/// });
/// builder
///     .stream(&TEXTS)
///     .try_map_values(|text| text.parse::<i64>())
///     .on_error(answer.with_topics(["no-numbers"]))
///     .to(&NUMBERS);
///
/// let mut driver = TopologyTestDriver::new(builder.build()?)?;
/// for text in ["", "seven", "7"] {
///     driver.pipe(&TEXTS, "a".to_owned(), text.to_owned(), 0)?;
/// }
/// assert_eq!(driver.read_key_values(&NUMBERS)?, [("a".to_owned(), Some(7))]);
/// assert_eq!(driver.read_raw("no-numbers").len(), 1);
/// assert_eq!(driver.dropped().processing, 2);
/// # Ok::<(), millstream_core::Error>(())
/// ```
///
/// [`StreamsBuilder::on_error`]: crate::dsl::StreamsBuilder::on_error
#[derive(Clone)]
pub struct ErrorHandler(Answer);

#[derive(Clone)]
enum Answer {
    Always(ErrorPolicy),
    Ask {
        ask: Arc<Ask>,
        topics: Vec<&'static str>,
    },
}

impl ErrorHandler {
    /// Asks this code. It is called on the stream thread, and not for what no policy could answer:
    /// failing storage and mistakes of the program.
    pub fn new(
        ask: impl Fn(&ErrorHandlerContext<'_>) -> ErrorPolicy + Send + Sync + 'static,
    ) -> Self {
        Self(Answer::Ask {
            ask: Arc::new(ask),
            topics: Vec::new(),
        })
    }

    /// Names the topics that the code may answer with ([`ErrorPolicy::DeadLetterTo`]) or write to
    /// ([`ErrorHandlerContext::write_dead_letter`]): like any topic that the program writes they
    /// must be there when it starts. Another one in an answer stops the thread.
    #[must_use]
    pub fn with_topics(mut self, names: impl IntoIterator<Item = &'static str>) -> Self {
        if let Answer::Ask { topics, .. } = &mut self.0 {
            topics.extend(names);
        }
        self
    }

    /// The topics for what is refused, as far as they are named here.
    pub fn own_topics(&self) -> impl Iterator<Item = &'static str> {
        let (always, declared) = match &self.0 {
            Answer::Always(policy) => (policy.own_topic(), &[][..]),
            Answer::Ask { topics, .. } => (None, &topics[..]),
        };
        always.into_iter().chain(declared.iter().copied())
    }

    /// The policy, where it is always the same.
    pub(crate) fn always(&self) -> Option<ErrorPolicy> {
        match &self.0 {
            Answer::Always(policy) => Some(*policy),
            Answer::Ask { .. } => None,
        }
    }

    /// What it answers to a refusal.
    fn answer(&self, refused: &ErrorHandlerContext<'_>) -> ErrorPolicy {
        match &self.0 {
            Answer::Always(policy) => *policy,
            Answer::Ask { ask, .. } => ask(refused),
        }
    }
}

impl From<ErrorPolicy> for ErrorHandler {
    fn from(policy: ErrorPolicy) -> Self {
        Self(Answer::Always(policy))
    }
}

impl PartialEq for ErrorHandler {
    /// Code is the same where it is the same value, cloned.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Answer::Always(one), Answer::Always(two)) => one == two,
            (
                Answer::Ask { ask, topics },
                Answer::Ask {
                    ask: other,
                    topics: others,
                },
            ) => Arc::ptr_eq(ask, other) && topics == others,
            _ => false,
        }
    }
}

impl fmt::Debug for ErrorHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Answer::Always(policy) => policy.fmt(f),
            Answer::Ask { topics, .. } => {
                let mut shown = f.debug_struct("ErrorHandler");
                shown.field("topics", topics).finish_non_exhaustive()
            }
        }
    }
}

/// A refusal, as a handler sees it: Kafka's `ErrorHandlerContext`, and the error.
pub struct ErrorHandlerContext<'a> {
    pub(crate) reason: ErrorReason,
    pub(crate) error: &'a Error,
    pub(crate) node: &'a str,
    pub(crate) task: Option<TaskId>,
    pub(crate) timestamp: Timestamp,
    pub(crate) headers: &'a Headers,
    pub(crate) from: Option<&'a RecordMetadata>,
    pub(crate) record: Option<RawRecord<'a>>,
    /// Who else would be asked, from the nearest on, and what is configured.
    pub(crate) others: &'a [ErrorHandler],
    pub(crate) configured: Policies,
    /// What those who were asked have written.
    pub(crate) written: &'a RefCell<Vec<DeadLetterRecord>>,
    /// What the next one has answered, once it was asked.
    pub(crate) next: Cell<Option<ErrorPolicy>>,
}

/// A record for a dead-letter topic, as a handler makes it:
/// [`write_dead_letter`](ErrorHandlerContext::write_dead_letter).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterRecord {
    /// The topic, one of [`ErrorHandler::with_topics`]; `None` is the program's, which
    /// `errors.dead.letter.queue.topic.name` names. The key chooses the partition.
    pub topic: Option<&'static str>,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes.
    pub value: Option<Vec<u8>>,
    /// The time, in milliseconds; no log takes one before 1970, which is 0 then.
    pub timestamp: Timestamp,
    /// The headers, all of them: nothing is added of why the record is there.
    pub headers: Headers,
}

impl ErrorHandlerContext<'_> {
    /// What kind of refusal it is.
    pub fn reason(&self) -> ErrorReason {
        self.reason
    }

    /// What the serde, the program's code or the sink said.
    pub fn error(&self) -> &Error {
        self.error
    }

    /// The operator that refused, by its name in the topology; of a global table, its store.
    pub fn processor_node_id(&self) -> &str {
        self.node
    }

    /// The task; `None` for a global table's records, which no task reads.
    pub fn task_id(&self) -> Option<TaskId> {
        self.task
    }

    /// The time of the record in hand, of the result that had been held back, or of the
    /// punctuation.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The headers of the record as the task read it, or of the result that had been held back.
    pub fn headers(&self) -> &Headers {
        self.headers
    }

    /// Where the record in hand comes from; `None` where a punctuation or the commit made what was
    /// refused, and for what had been held back.
    pub fn record_metadata(&self) -> Option<&RecordMetadata> {
        self.from
    }

    /// The record as the task read it, whatever had become of it when it was refused: Kafka's
    /// `sourceRawKey` and `sourceRawValue`. `None` as for
    /// [`record_metadata`](Self::record_metadata).
    pub fn record(&self) -> Option<RawRecord<'_>> {
        self.record
    }

    /// Writes a dead letter of the handler's own making, in the same commit as what else comes of
    /// the record: Kafka's `Response.resume(deadLetterQueueRecords)` (KIP-1034). It is counted as a
    /// dead letter, beside the one that [`ErrorPolicy::DeadLetter`] keeps if that is the answer.
    /// While that one is kept once however often its record is refused, each refusal has what is
    /// written of it. One that is too large for its topic goes
    /// without its value, then without its headers, then without its key, and says so in the header
    /// `__streams.errors.omitted`.
    ///
    /// With [`ErrorPolicy::Fail`] nothing is written, as nothing is committed; and of a global
    /// table's records nothing is either, since no transaction is there that it could be part of.
    ///
    /// ```
    /// use millstream_core::{prelude::*, record::Headers};
    ///
    /// static TEXTS: Topic<String, String> = Topic::new("texts", utf8(), utf8());
    /// static NUMBERS: Topic<String, i64> = Topic::new("numbers", utf8(), i64_be());
    /// static COMPLAINTS: Topic<String, String> = Topic::new("complaints", utf8(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// let complain = ErrorHandler::new(|refused| {
    ///     refused.write_dead_letter(DeadLetterRecord {
    ///         topic: Some("complaints"),
    ///         key: refused.record().and_then(|record| record.key.map(<[u8]>::to_vec)),
    ///         value: Some(refused.error().to_string().into_bytes()),
    ///         timestamp: refused.timestamp(),
    ///         headers: Headers::NONE,
    ///     });
    ///     ErrorPolicy::Skip
    /// });
    /// builder
    ///     .stream(&TEXTS)
    ///     .try_map_values(|text| text.parse::<i64>())
    ///     .on_error(complain.with_topics(["complaints"]))
    ///     .to(&NUMBERS);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&TEXTS, "a".to_owned(), "seven".to_owned(), 0)?;
    /// let told = driver.read_key_values(&COMPLAINTS)?;
    /// assert_eq!(told, [("a".to_owned(), Some("invalid digit found in string".to_owned()))]);
    /// assert_eq!(driver.dropped().dead_lettered, 1);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    pub fn write_dead_letter(&self, record: DeadLetterRecord) {
        self.written.borrow_mut().push(record);
    }

    /// What would become of it without this handler: what the record's source says, or else the
    /// program, or else the configuration. A handler that is asked so may write dead letters, which
    /// stay unless it answers to fail; it is asked once, however often this is called.
    pub fn otherwise(&self) -> ErrorPolicy {
        let answer = self.next.get().unwrap_or_else(|| self.ask_next());
        self.next.set(Some(answer));
        answer
    }

    fn ask_next(&self) -> ErrorPolicy {
        let Some((next, others)) = self.others.split_first() else {
            return self.configured.of(self.reason);
        };
        let written = self.written.borrow().len();
        let answer = next.answer(&ErrorHandlerContext {
            others,
            next: Cell::new(None),
            ..*self
        });
        if answer == ErrorPolicy::Fail {
            self.written.borrow_mut().truncate(written);
        }
        answer
    }
}

/// What those say who are to be asked, the nearest first.
///
/// # Errors
/// Where the answer is a topic that nobody declared, or one is written to: it may not be there, and
/// a record sent to it would be lost.
pub(crate) fn judge(refused: &ErrorHandlerContext<'_>) -> Result<ErrorPolicy> {
    let answer = refused.otherwise();
    if answer == ErrorPolicy::Fail {
        // Nothing is written then, and the refusal is what there is to tell.
        return Ok(answer);
    }
    let configured = refused.configured.all().map(ErrorPolicy::own_topic);
    let is_known = |topic: &str| {
        let mut declared = refused.others.iter().flat_map(ErrorHandler::own_topics);
        declared.any(|known| known == topic) || configured.contains(&Some(topic))
    };
    let written = refused.written.borrow();
    let written = written.iter().filter_map(|letter| letter.topic);
    let mut named = answer.own_topic().into_iter().chain(written);
    match named.find(|topic| !is_known(topic)) {
        Some(topic) => Err(Error::topology(format!(
            "the error handler for {} answers with the topic {topic:?}, or writes to it, and does \
             not name it: say ErrorHandler::with_topics([{topic:?}])",
            refused.node
        ))),
        None => Ok(answer),
    }
}
