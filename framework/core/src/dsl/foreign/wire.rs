//! What a foreign-key join writes: subscriptions, answers, and the keys of the subscription store.
//!
//! Invariant: the first byte of a value names the format of the rest, and bytes that are not in it
//! are an error, never a panic.

use crate::{
    error::{Error, Result},
    serde::{Codec, Encoded, Serde, bytes},
};
use millstream_state::SmallBytes;
use std::rc::Rc;

const FORMAT: u8 = 1;
const NOTHING: u8 = 0;
const ROW: u8 = 1;
/// A bit beside the instruction: there was no such subscription before.
const NEW: u8 = 0x80;

/// What the right side is to do with a subscription. The names are Kafka Streams'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instruction {
    /// The left row has another foreign key now, or none, or is gone.
    DeleteKeyNoPropagate = 1,
    /// Whatever the answer is, it must be told: there may be a result to take back.
    PropagateNullIfNoFkValAvailable = 2,
    /// Without a right row there was no result before either.
    PropagateOnlyIfFkValAvailable = 3,
}

impl Instruction {
    fn of(byte: u8) -> Option<Self> {
        let all = [
            Self::DeleteKeyNoPropagate,
            Self::PropagateNullIfNoFkValAvailable,
            Self::PropagateOnlyIfFkValAvailable,
        ];
        all.into_iter().find(|known| *known as u8 == byte)
    }
}

/// A left row that wants to hear of a right one; the foreign key is the record's.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) instruction: Instruction,
    /// Whether the left row had another foreign key before, or none.
    pub(super) new: bool,
    /// The hash of the left row.
    pub(super) hash: u128,
    /// The left row's key as its topic writes it.
    pub(super) key: SmallBytes,
}

/// A subscription's value: format, instruction and whether it is new, hash, left key.
pub(super) fn write_subscription(
    (instruction, new): (Instruction, bool),
    hash: u128,
    key: impl FnOnce(&mut Vec<u8>) -> Result<Encoded>,
    out: &mut Vec<u8>,
) -> Result<Encoded> {
    out.extend([FORMAT, instruction as u8 | if new { NEW } else { 0 }]);
    out.extend(hash.to_be_bytes());
    match key(out)? {
        Encoded::Bytes => Ok(Encoded::Bytes),
        Encoded::Null => Err(null("a key")),
    }
}

pub(super) fn read_subscription(value: Option<&[u8]>) -> Result<Subscription> {
    let broken = || Error::deserialization("not a subscription of a foreign-key join");
    let (instruction, hash, key) = read(value).ok_or_else(broken)?;
    let new = instruction & NEW != 0;
    let instruction = Instruction::of(instruction & !NEW).ok_or_else(broken)?;
    let key = SmallBytes::from(key);
    Ok(Subscription {
        instruction,
        new,
        hash,
        key,
    })
}

/// What the right side has for a left row.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The hash of the left row that asked.
    pub(super) hash: u128,
    /// Whether there is a right row.
    pub(super) found: bool,
    /// The right row, or the foreign key that has none; shared by all that asked.
    pub(super) bytes: Rc<[u8]>,
}

/// An answer's value: format, whether there is a row, hash, row or foreign key.
pub(super) fn write_answer(answer: &Answer, out: &mut Vec<u8>) -> Encoded {
    out.extend([FORMAT, if answer.found { ROW } else { NOTHING }]);
    out.extend(answer.hash.to_be_bytes());
    out.extend_from_slice(&answer.bytes);
    Encoded::Bytes
}

/// An answer that has come back to the left side.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Answered<V> {
    pub(super) hash: u128,
    pub(super) right: Right<V>,
}

/// What there is for a foreign key.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Right<V> {
    Row(V),
    /// Nothing, for this foreign key.
    Nothing(SmallBytes),
}

pub(super) fn read_answer<V>(row: Serde<V>, value: Option<&[u8]>) -> Result<Answered<V>> {
    let broken = || Error::deserialization("not an answer of a foreign-key join");
    let (found, hash, bytes) = read(value).ok_or_else(broken)?;
    let right = match found {
        ROW => Right::Row(row.decode(Some(bytes))?),
        NOTHING => Right::Nothing(SmallBytes::from(bytes)),
        _ => return Err(broken()),
    };
    Ok(Answered { hash, right })
}

/// The byte behind the format, the hash, and the rest.
fn read(value: Option<&[u8]>) -> Option<(u8, u128, &[u8])> {
    let ([FORMAT, byte], rest) = value?.split_first_chunk()? else {
        return None;
    };
    let (hash, rest) = rest.split_first_chunk()?;
    Some((*byte, u128::from_be_bytes(*hash), rest))
}

/// How keys in the subscription store begin that belong to one foreign key: its length, and itself.
/// With the length in front no foreign key's keys lie among those of another.
pub(super) fn write_prefix(foreign_key: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let length = u32::try_from(foreign_key.len())
        .map_err(|_| Error::serialization("a foreign key is too large"))?;
    out.extend(length.to_be_bytes());
    out.extend_from_slice(foreign_key);
    Ok(())
}

/// The key in the subscription store of a left row.
pub(super) fn write_key(foreign_key: &[u8], key: &[u8], out: &mut Vec<u8>) -> Result<()> {
    write_prefix(foreign_key, out)?;
    out.extend_from_slice(key);
    Ok(())
}

/// A key or a row that must not be null, as bytes of its own.
pub(super) fn present<T>(serde: Serde<T>, value: &T, out: &mut Vec<u8>) -> Result<()> {
    out.clear();
    match serde.encode(value, out)? {
        Encoded::Bytes => Ok(()),
        Encoded::Null => Err(null("a row")),
    }
}

#[cold]
fn null(what: &str) -> Error {
    Error::serialization(format!("{what} of a foreign-key join cannot be null"))
}

/// Bytes that are passed on as they are.
pub(super) const fn raw() -> Serde<SmallBytes> {
    Serde::new(&Raw)
}

/// A hash, as the subscription store keeps it.
pub(super) const fn hash() -> Serde<u128> {
    Serde::new(&Hash)
}

struct Raw;

impl Codec for Raw {
    type Item = SmallBytes;

    fn encode(&self, value: &SmallBytes, out: &mut Vec<u8>) -> Result<Encoded> {
        out.extend_from_slice(value);
        Ok(Encoded::Bytes)
    }

    #[inline]
    fn as_bytes<'a>(&self, value: &'a SmallBytes) -> Option<&'a [u8]> {
        Some(value)
    }

    fn decode(&self, value: Option<&[u8]>) -> Result<SmallBytes> {
        let null = || Error::deserialization("a foreign-key join has no null keys");
        value.map(SmallBytes::from).ok_or_else(null)
    }

    fn name(&self) -> String {
        bytes().codec().name()
    }

    fn to_json(&self, value: Option<&[u8]>) -> Result<serde_json::Value> {
        bytes().codec().to_json(value)
    }

    fn from_json(&self, json: &serde_json::Value, out: &mut Vec<u8>) -> Result<Encoded> {
        bytes().codec().from_json(json, out)
    }
}

struct Hash;

impl Codec for Hash {
    type Item = u128;

    fn encode(&self, hash: &u128, out: &mut Vec<u8>) -> Result<Encoded> {
        out.extend(hash.to_be_bytes());
        Ok(Encoded::Bytes)
    }

    fn decode(&self, value: Option<&[u8]>) -> Result<u128> {
        let hash = value.and_then(|value| <[u8; 16]>::try_from(value).ok());
        hash.map(u128::from_be_bytes)
            .ok_or_else(|| Error::deserialization("a hash has 16 bytes"))
    }

    fn name(&self) -> String {
        "murmur3_128".into()
    }

    fn to_json(&self, value: Option<&[u8]>) -> Result<serde_json::Value> {
        bytes().codec().to_json(value)
    }

    fn from_json(&self, json: &serde_json::Value, out: &mut Vec<u8>) -> Result<Encoded> {
        bytes().codec().from_json(json, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serde::utf8;

    #[test]
    fn subscriptions_are_read_as_they_were_written() {
        for byte in 1..=3 {
            let instruction = Instruction::of(byte).unwrap();
            let mut out = Vec::new();
            let key = |out: &mut Vec<u8>| utf8().encode(&"key".to_owned(), out);
            let new = byte == 2;
            write_subscription((instruction, new), 7, key, &mut out).unwrap();
            let read = read_subscription(Some(&out)).unwrap();
            assert_eq!(
                (read.instruction, read.new, read.hash, &*read.key),
                (instruction, new, 7, &b"key"[..])
            );
            for cut in 0..18 {
                assert!(read_subscription(Some(&out[..cut])).is_err());
            }
        }
        let mut out = Vec::new();
        let none = write_subscription(
            (Instruction::DeleteKeyNoPropagate, false),
            0,
            |_| Ok(Encoded::Null),
            &mut out,
        );
        assert!(none.is_err());
    }

    #[test]
    fn answers_are_read_as_they_were_written() {
        for (found, right) in [
            (true, Right::Row("row".to_owned())),
            (false, Right::Nothing(SmallBytes::from(&b"row"[..]))),
        ] {
            let (hash, mut out) = (u128::MAX - 1, Vec::new());
            let bytes = Rc::from(&b"row"[..]);
            write_answer(&Answer { hash, found, bytes }, &mut out);
            let read = read_answer(utf8(), Some(&out)).unwrap();
            assert!(read == Answered { hash, right });
            for cut in 0..18 {
                assert!(read_answer(utf8(), Some(&out[..cut])).is_err());
            }
        }
    }

    #[test]
    fn other_formats_are_refused() {
        let mut out = [vec![FORMAT, 9], vec![0; 16]].concat();
        assert!(read_subscription(Some(&out)).is_err());
        assert!(read_answer(utf8(), Some(&out)).is_err());
        out[..2].copy_from_slice(&[2, 1]);
        assert!(read_subscription(Some(&out)).is_err());
        assert!(read_answer(utf8(), Some(&out)).is_err());
        assert!(read_subscription(None).is_err());
        assert!(hash().decode(Some(&out)).is_err());
        assert!(raw().decode(None).is_err());
    }

    #[test]
    fn no_foreign_keys_subscriptions_lie_among_anothers() {
        let keys: [&[u8]; 6] = [b"", b"a", b"aa", b"ab", b"b", &[255]];
        for one in keys {
            for other in keys.into_iter().filter(|other| *other != one) {
                let (mut prefix, mut key) = (Vec::new(), Vec::new());
                write_prefix(one, &mut prefix).unwrap();
                write_prefix(other, &mut key).unwrap();
                key.extend_from_slice(b"aaa");
                assert!(!key.starts_with(&prefix), "{one:?} {other:?}");
            }
        }
    }
}
