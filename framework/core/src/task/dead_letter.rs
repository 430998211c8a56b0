//! Dead letters: records that could not be processed, with what was wrong, in a topic of their own.
//!
//! Invariant: a record that the log has taken is kept, whatever its size: where it does not fit
//! together with its letter's headers, which say where it is, what does not fit is left out.

use super::{TaskContext, context::OutputId, policy::Failure};
use crate::{
    error::{ErrorKind, Result},
    record::{Headers, Offset, RawRecord, TopicPartition},
};

/// What of a record is left out where it does not fit, one after the other.
const PARTS: [&str; 3] = ["value", "headers", "key"];

/// How long the message of an error may be: one may quote what it was about.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

impl TaskContext {
    /// Writes a dead letter, with as much of the record as fits.
    pub(super) fn keep(
        &mut self,
        to: OutputId,
        raw: RawRecord<'_>,
        from: Option<&(TopicPartition, Offset)>,
        failure: &Failure,
    ) -> Result<()> {
        // A log takes no negative timestamp, though one may be what is wrong with the record.
        let timestamp = raw.timestamp.max(0);
        let has = [
            raw.value.is_some(),
            !raw.headers.is_empty(),
            raw.key.is_some(),
        ];
        let mut without = 0;
        loop {
            let own = if without < 2 {
                raw.headers
            } else {
                &Headers::NONE
            };
            let mut headers = headers(own.clone(), from, failure);
            let lacks = PARTS.iter().zip(has).take(without).filter(|(_, has)| *has);
            let lacks: Vec<_> = lacks.map(|(part, _)| *part).collect();
            if !lacks.is_empty() {
                let name = format!("{PREFIX}omitted");
                headers.push(name, Some(lacks.join(",").into_bytes()));
            }
            let (key, value) = (
                raw.key.filter(|_| without < 3),
                raw.value.filter(|_| without < 1),
            );
            match self.emit_raw(to, timestamp, &headers, key, value) {
                Err(error)
                    if without < PARTS.len()
                        && matches!(error.kind(), ErrorKind::RecordTooLarge(_)) =>
                {
                    without += 1;
                }
                written => return written,
            }
        }
    }
}

/// What the names of all headers begin with.
const PREFIX: &str = "__streams.errors.";

/// KIP-1034's headers for a record that could not be processed, behind those that it had. Where
/// there is no record they are as Kafka Streams has them then: no topic, and -1 for the numbers.
fn headers(
    mut headers: Headers,
    from: Option<&(TopicPartition, Offset)>,
    failure: &Failure,
) -> Headers {
    let kind = match failure.error.kind() {
        ErrorKind::Deserialization(_) => "DeserializationException",
        ErrorKind::Serialization(_) => "SerializationException",
        ErrorKind::Processing(_) => "ProcessingException",
        ErrorKind::RecordTooLarge(_) => "RecordTooLargeException",
        ErrorKind::InvalidTopic(_) => "InvalidTopicException",
        ErrorKind::Topology(_) | ErrorKind::State(_) => "StreamsException",
    };
    let mut add = |name: &str, value: Option<String>| {
        let bytes = value.map(String::into_bytes);
        headers.push(format!("{PREFIX}{name}"), bytes);
    };
    add("exception", Some(kind.to_owned()));
    add("stacktrace", Some(format!("in {}", failure.node)));
    add("message", Some(shortened(failure.error.to_string())));
    add("topic", from.map(|(from, _)| from.topic.to_string()));
    let none = || "-1".to_owned();
    let partition = from.map_or_else(none, |(from, _)| from.partition.to_string());
    add("partition", Some(partition));
    let offset = from.map_or_else(none, |(_, offset)| offset.to_string());
    add("offset", Some(offset));
    headers
}

/// The beginning of a text that is too long.
fn shortened(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX));
        text.push_str("...");
    }
    text
}
