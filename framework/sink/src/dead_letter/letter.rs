//! One dead letter: as much of its record as there is room for, and why it is one.

use crate::batch::Refusal;
use millstream_core::record::{Headers, Offset, RawRecord, TopicPartition, wire_size};

/// What the names of all headers begin with.
const HEADER_PREFIX: &str = "__streams.errors.";

/// What of a record is left out where it does not fit, one after the other: the largest first, and
/// last what says whose record it was. A reader who needs more has the record's place in its topic.
const PARTS: [&str; 3] = ["value", "headers", "key"];

/// How long a message may be: a database may quote in it what it was given.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// A dead letter that fits.
pub(super) struct Letter<'a> {
    /// The record, as far as it is here; its headers are `headers`.
    record: RawRecord<'a>,
    headers: Headers,
    shortened: bool,
}

impl<'a> Letter<'a> {
    /// The letter for a record, of at most so many bytes. What it lacks of the record is named in
    /// the header `omitted`. One that is too large without any of the record is as small as it can
    /// be.
    pub(super) fn of(
        record: RawRecord<'a>,
        from: (&TopicPartition, Offset),
        refusal: &Refusal,
        bytes_max: usize,
    ) -> Self {
        let message = shortened(&refusal.message, MESSAGE_BYTES_MAX.min(bytes_max / 4));
        let said = (refusal.exception, &*message);
        let mut letter = Self::without(0, record, from, said);
        for parts in 1..=PARTS.len() {
            if wire_size(letter.raw()) <= bytes_max {
                break;
            }
            letter = Self::without(parts, record, from, said);
        }
        letter
    }

    /// As it is sent.
    pub(super) fn raw(&self) -> RawRecord<'_> {
        RawRecord {
            headers: &self.headers,
            ..self.record
        }
    }

    /// Whether it lacks a part of its record.
    pub(super) fn is_shortened(&self) -> bool {
        self.shortened
    }

    /// The record without so many of its [`PARTS`], then where it came from and why it is here.
    fn without(
        parts: usize,
        mut record: RawRecord<'a>,
        (partition, offset): (&TopicPartition, Offset),
        (exception, message): (&str, &str),
    ) -> Self {
        let has = [
            record.value.is_some(),
            !record.headers.is_empty(),
            record.key.is_some(),
        ];
        let lacks = PARTS.iter().zip(has).take(parts);
        let lacks: Vec<_> = lacks
            .filter(|(_, has)| *has)
            .map(|(part, _)| *part)
            .collect();
        let mut headers = if parts > 1 {
            Headers::NONE
        } else {
            record.headers.clone()
        };
        record.value = record.value.filter(|_| parts < 1);
        record.key = record.key.filter(|_| parts < 3);
        let mut say = |name: &str, value: String| {
            headers.push(format!("{HEADER_PREFIX}{name}"), Some(value.into_bytes()));
        };
        say("exception", exception.to_owned());
        say("message", message.to_owned());
        say("topic", partition.topic.to_string());
        say("partition", partition.partition.to_string());
        say("offset", offset.to_string());
        if !lacks.is_empty() {
            say("omitted", lacks.join(","));
        }
        Self {
            record,
            headers,
            shortened: !lacks.is_empty(),
        }
    }
}

/// The beginning of a text, up to so many bytes, and whether there was more.
fn shortened(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    const MORE: &str = "...";
    let end = text.floor_char_boundary(bytes_max.saturating_sub(MORE.len()));
    format!("{}{MORE}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(headers: &Headers, message: &str, bytes_max: usize) -> (usize, Vec<String>) {
        let from = TopicPartition::new("words", 0);
        let refusal = Refusal {
            exception: "DataException",
            message: message.into(),
        };
        let record = RawRecord {
            key: Some(b"key"),
            value: Some(&[7; 500]),
            timestamp: 5,
            headers,
        };
        let letter = Letter::of(record, (&from, 3), &refusal, bytes_max);
        let raw = letter.raw();
        let told = raw.headers.iter();
        let told = told.map(|header| {
            let value = header.value.as_deref().unwrap_or_default();
            format!("{}={}", header.name, String::from_utf8_lossy(value))
        });
        assert_eq!(raw.timestamp, 5);
        (wire_size(raw), told.collect())
    }

    #[test]
    fn parts_are_left_out_until_it_fits_and_are_named() {
        let mut headers = Headers::NONE;
        headers.push("own", Some(vec![b'x'; 300]));
        let omitted = |bytes_max| {
            let (size, told) = letter(&headers, "bad", bytes_max);
            let name = "__streams.errors.omitted=";
            let said = told.iter().find_map(|header| header.strip_prefix(name));
            (size, said.map(str::to_owned))
        };
        let (whole, said) = omitted(usize::MAX);
        assert_eq!(said, None);
        assert_eq!(omitted(whole), (whole, None));
        let (size, said) = omitted(whole - 1);
        assert_eq!(said.as_deref(), Some("value"));
        assert!(size < whole - 400);
        let (least, said) = omitted(size - 1);
        assert_eq!(said.as_deref(), Some("value,headers"));
        assert!(least < size - 250);
        assert_eq!(omitted(least - 1).1.as_deref(), Some("value,headers,key"));
        assert_eq!(omitted(0).1.as_deref(), Some("value,headers,key"));
    }

    #[test]
    fn a_message_is_cut_between_two_characters() {
        let (_, told) = letter(&Headers::NONE, &"ż".repeat(10_000), usize::MAX);
        let said = told.iter().find(|header| header.contains("message="));
        let said = said.map(String::as_str).unwrap_or_default();
        let text = said.strip_prefix("__streams.errors.message=").unwrap();
        assert!(text.len() <= MESSAGE_BYTES_MAX && text.len() > MESSAGE_BYTES_MAX - 3);
        assert!(text.ends_with("ż...") && !text.contains('\u{fffd}'));
        assert_eq!(shortened("whole", 5), "whole");
        assert_eq!(shortened("longer", 5), "lo...");
        assert_eq!(shortened("longer", 0), "...");
    }
}
