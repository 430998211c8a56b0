//! Dead letters: records that nobody could deal with, as they are kept in a topic of their own.
//!
//! A letter is its record, with headers behind the record's own that say where it was and why it
//! is here: those of KIP-1034, whose names begin with `__streams.errors.`. Invariant: a record that
//! the log has taken can be kept, whatever its size: where it does not fit together with what is
//! said of it, what does not fit is left out.

use crate::record::{Headers, RawRecord, wire_size};
use std::borrow::Cow;

/// What the names of all headers begin with that a letter adds.
const PREFIX: &str = "__streams.errors.";

/// What of a record is left out where it does not fit, one after the other: the largest first, and
/// last what says whose record it was. A reader who needs more has the record's place in its topic,
/// for as long as that has it.
const PARTS: [&str; 3] = ["value", "headers", "key"];

/// How long the message of an error may be: one may quote what it was about.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// A letter that fits.
///
/// ```
/// use millstream_core::{dead_letter::DeadLetter, record::{Headers, RawRecord}};
///
/// let record = RawRecord {
///     key: Some(b"k"),
///     value: Some(&[7; 1_000]),
///     timestamp: 5,
///     headers: &Headers::NONE,
/// };
/// let letter = DeadLetter::of(record, &[("topic", Some("words".into()))], 200);
/// assert_eq!(letter.raw().value, None);
/// let omitted = letter.raw().headers.last("__streams.errors.omitted").unwrap();
/// assert_eq!(omitted.value.as_deref(), Some(&b"value"[..]));
/// ```
pub struct DeadLetter<'a> {
    /// The record, as far as it is here; its headers are `headers`.
    record: RawRecord<'a>,
    headers: Headers,
    shortened: bool,
}

/// A header's name, without what all of them begin with, and its value.
pub type Said<'a> = (&'a str, Option<Cow<'a, str>>);

impl<'a> DeadLetter<'a> {
    /// The letter for a record, of at most so many bytes as [`wire_size`] reckons. What it lacks of
    /// the record is named in the header `omitted`. One that is too large without any of the record
    /// is as small as it can be.
    ///
    /// A log takes no negative timestamp, though one may be what is wrong with the record: it is 0.
    pub fn of(mut record: RawRecord<'a>, said: &[Said<'_>], bytes_max: usize) -> Self {
        record.timestamp = record.timestamp.max(0);
        let mut letter = Self::without(0, record, said);
        for parts in 1..=PARTS.len() {
            if wire_size(letter.raw()) <= bytes_max {
                break;
            }
            letter = Self::without(parts, record, said);
        }
        letter
    }

    /// As it is sent.
    pub fn raw(&self) -> RawRecord<'_> {
        RawRecord {
            headers: &self.headers,
            ..self.record
        }
    }

    /// Whether it lacks a part of its record.
    pub fn is_shortened(&self) -> bool {
        self.shortened
    }

    /// The record without so many of its [`PARTS`], and what is said of it.
    fn without(parts: usize, mut record: RawRecord<'a>, said: &[Said<'_>]) -> Self {
        let has = [
            record.value.is_some(),
            !record.headers.is_empty(),
            record.key.is_some(),
        ];
        let lacks = PARTS.iter().zip(has).take(parts).filter(|(_, has)| *has);
        let lacks: Vec<_> = lacks.map(|(part, _)| *part).collect();
        let mut headers = if parts > 1 {
            Headers::NONE
        } else {
            record.headers.clone()
        };
        record.value = record.value.filter(|_| parts < 1);
        record.key = record.key.filter(|_| parts < 3);
        let mut say = |name: &str, value: Option<&str>| {
            let value = value.map(|text| text.as_bytes().to_vec());
            headers.push(format!("{PREFIX}{name}"), value);
        };
        for (name, value) in said {
            say(name, value.as_deref());
        }
        if !lacks.is_empty() {
            say("omitted", Some(&lacks.join(",")));
        }
        Self {
            record,
            headers,
            shortened: !lacks.is_empty(),
        }
    }
}

/// As much of an error's message as a letter of so many bytes says.
pub fn message(text: &str, bytes_max: usize) -> Cow<'_, str> {
    beginning(text, MESSAGE_BYTES_MAX.min(bytes_max / 4))
}

/// The beginning of a text, up to so many bytes, and whether there was more.
fn beginning(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return text.into();
    }
    const MORE: &str = "...";
    let end = text.floor_char_boundary(bytes_max.saturating_sub(MORE.len()));
    format!("{}{MORE}", &text[..end]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_left_out_until_it_fits_and_are_named() {
        let mut headers = Headers::NONE;
        headers.push("own", Some(vec![b'x'; 300]));
        let omitted = |bytes_max| {
            let record = RawRecord {
                key: Some(b"key"),
                value: Some(&[7; 500]),
                timestamp: 5,
                headers: &headers,
            };
            let letter = DeadLetter::of(record, &[("message", Some("bad".into()))], bytes_max);
            let raw = letter.raw();
            let said = |name: &str| {
                let header = raw.headers.last(&format!("{PREFIX}{name}"))?;
                String::from_utf8(header.value.clone()?).ok()
            };
            assert_eq!(
                (raw.timestamp, said("message").as_deref()),
                (5, Some("bad"))
            );
            assert_eq!(letter.is_shortened(), said("omitted").is_some());
            (wire_size(raw), said("omitted"))
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
        let long = "ż".repeat(10_000);
        let text = message(&long, usize::MAX);
        assert!(text.len() <= MESSAGE_BYTES_MAX && text.len() > MESSAGE_BYTES_MAX - 3);
        assert!(text.ends_with("ż..."));
        assert!(message(&long, 100).len() <= 25);
        assert_eq!(beginning("whole", 5), "whole");
        assert_eq!(beginning("longer", 5), "lo...");
        assert_eq!(beginning("longer", 0), "...");
    }
}
