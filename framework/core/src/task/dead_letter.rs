//! What a task says of a record that it could not process.

use super::{DeadLetterRecord, OutputId, RecordMetadata, TaskContext, refusal::Failure};
use crate::{
    dead_letter::{DeadLetter, message},
    error::{ErrorKind, Result},
    record::RawRecord,
};

impl TaskContext {
    /// Writes a dead letter, with as much of the record as fits.
    ///
    /// Where there is no record its headers are as Kafka Streams has them then: no topic, and -1
    /// for the numbers.
    pub(super) fn keep(
        &mut self,
        to: OutputId,
        raw: RawRecord<'_>,
        from: Option<&RecordMetadata>,
        failure: &Failure,
    ) -> Result<()> {
        let bytes_max = self.bytes_max(to);
        let text = failure.error.to_string();
        let of = |told: Option<String>| Some(told.unwrap_or_else(|| "-1".to_owned()).into());
        let said = [
            ("exception", Some(exception(failure.error.kind()).into())),
            ("stacktrace", Some(format!("in {}", failure.node).into())),
            ("message", Some(message(&text, bytes_max))),
            (
                "topic",
                from.map(|from| from.partition.topic.as_ref().into()),
            ),
            (
                "partition",
                of(from.map(|from| from.partition.partition.to_string())),
            ),
            ("offset", of(from.map(|from| from.offset.to_string()))),
            ("index", of(from.map(|from| from.index.to_string()))),
        ];
        // Kafka Streams has no such header, and only records of a pack need it.
        let needed = from.is_some_and(|from| from.index > 0);
        let said = &said[..said.len() - usize::from(!needed)];
        self.emit_letter(to, &DeadLetter::of(raw, said, bytes_max))
    }

    /// Writes a dead letter of a handler's, with as much of it as fits.
    pub(super) fn keep_written(&mut self, to: OutputId, letter: &DeadLetterRecord) -> Result<()> {
        let raw = RawRecord {
            key: letter.key.as_deref(),
            value: letter.value.as_deref(),
            timestamp: letter.timestamp,
            headers: &letter.headers,
        };
        self.emit_letter(to, &DeadLetter::of(raw, &[], self.bytes_max(to)))
    }

    fn emit_letter(&mut self, to: OutputId, letter: &DeadLetter<'_>) -> Result<()> {
        let raw = letter.raw();
        self.emit_raw(to, raw.timestamp, raw.headers, raw.key, raw.value)
    }
}

/// The exception that Kafka Streams would name.
fn exception(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Deserialization(_) => "DeserializationException",
        ErrorKind::Serialization(_) => "SerializationException",
        ErrorKind::Processing(_) => "ProcessingException",
        ErrorKind::RecordTooLarge(_) => "RecordTooLargeException",
        ErrorKind::InvalidTopic(_) => "InvalidTopicException",
        ErrorKind::Topology(_) | ErrorKind::State(_) => "StreamsException",
    }
}
