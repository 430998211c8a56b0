//! Text, raw bytes, and nothing at all: the formats whose bytes are the value.
//!
//! Invariant: what is decoded holds exactly the bytes that were read, in one allocation.

use super::{Codec, ConstCodec, Encoded, Serde, found, not_json, present};
use crate::error::{Error, Result};
use serde_json::Value;

/// UTF-8 text, as Kafka's `StringSerializer` writes it. Its bytes sort as its characters do, so
/// it is also a key for range scans.
///
/// ```
/// use millstream_core::serde::{Encoded, utf8};
///
/// let mut out = Vec::new();
/// assert_eq!(utf8().encode(&"größe".to_string(), &mut out)?, Encoded::Bytes);
/// assert_eq!(utf8().decode(Some(&out))?, "größe");
/// assert!(utf8().decode(Some(b"\xff")).is_err());
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub const fn utf8() -> Serde<String> {
    Serde::new(&Utf8)
}

/// Bytes as they are. A person sees and writes them as hex: `"0x00ff"`.
pub const fn bytes() -> Serde<Vec<u8>> {
    Serde::new(&Bytes)
}

/// Always null on the log: the key of a record that has none.
///
/// Reading bytes where there should be none is an error, as in Kafka's `VoidDeserializer`.
pub const fn unit() -> Serde<()> {
    Serde::new(&Unit)
}

/// The codec behind [`utf8`].
#[derive(Clone, Copy, Debug)]
pub struct Utf8;

impl ConstCodec for Utf8 {
    const CODEC: Self = Self;
}

impl Utf8 {
    fn read(bytes: Option<&[u8]>) -> Result<&str> {
        let bytes = present(bytes, "utf8")?;
        std::str::from_utf8(bytes).map_err(|cause| {
            Error::deserialization(format!("utf8: {cause}; found {}", found(bytes)))
        })
    }
}

impl Codec for Utf8 {
    type Item = String;

    #[inline]
    fn encode(&self, value: &String, out: &mut Vec<u8>) -> Result<Encoded> {
        out.extend_from_slice(value.as_bytes());
        Ok(Encoded::Bytes)
    }

    #[inline]
    fn as_bytes<'a>(&self, value: &'a String) -> Option<&'a [u8]> {
        Some(value.as_bytes())
    }

    #[inline]
    fn decode(&self, bytes: Option<&[u8]>) -> Result<String> {
        Self::read(bytes).map(str::to_owned)
    }

    fn name(&self) -> String {
        "utf8".into()
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> Result<Value> {
        Self::read(bytes).map(Value::from)
    }

    fn from_json(&self, json: &Value, out: &mut Vec<u8>) -> Result<Encoded> {
        let text = json
            .as_str()
            .ok_or_else(|| not_json("utf8", "a string", json))?;
        out.extend_from_slice(text.as_bytes());
        Ok(Encoded::Bytes)
    }
}

/// The codec behind [`bytes`].
#[derive(Clone, Copy, Debug)]
pub struct Bytes;

impl ConstCodec for Bytes {
    const CODEC: Self = Self;
}

impl Codec for Bytes {
    type Item = Vec<u8>;

    #[inline]
    fn encode(&self, value: &Vec<u8>, out: &mut Vec<u8>) -> Result<Encoded> {
        out.extend_from_slice(value);
        Ok(Encoded::Bytes)
    }

    #[inline]
    fn as_bytes<'a>(&self, value: &'a Vec<u8>) -> Option<&'a [u8]> {
        Some(value)
    }

    #[inline]
    fn decode(&self, bytes: Option<&[u8]>) -> Result<Vec<u8>> {
        present(bytes, "bytes").map(<[u8]>::to_vec)
    }

    fn name(&self) -> String {
        "bytes".into()
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> Result<Value> {
        present(bytes, "bytes").map(|bytes| Value::from(hex(bytes)))
    }

    fn from_json(&self, json: &Value, out: &mut Vec<u8>) -> Result<Encoded> {
        let start = out.len();
        let digits = json.as_str().and_then(|text| text.strip_prefix("0x"));
        if digits.is_some_and(|digits| unhex(digits, out).is_some()) {
            return Ok(Encoded::Bytes);
        }
        out.truncate(start);
        Err(not_json(
            "bytes",
            "a string of hex digits like \"0x00ff\"",
            json,
        ))
    }
}

/// Hex with `0x` in front.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('?');
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("0x");
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// Appends the bytes that pairs of hex digits stand for; `None` when they are not such.
fn unhex(digits: &str, out: &mut Vec<u8>) -> Option<()> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    for &[high, low] in pairs {
        let value = char::from(high).to_digit(16)? << 4 | char::from(low).to_digit(16)?;
        out.push(u8::try_from(value).ok()?);
    }
    rest.is_empty().then_some(())
}

/// The codec behind [`unit()`]. It is no [`ConstCodec`]: `Option<()>` would be null twice over.
#[derive(Clone, Copy, Debug)]
pub struct Unit;

impl Codec for Unit {
    type Item = ();

    #[inline]
    fn encode(&self, (): &(), _: &mut Vec<u8>) -> Result<Encoded> {
        Ok(Encoded::Null)
    }

    #[inline]
    fn decode(&self, bytes: Option<&[u8]>) -> Result<()> {
        match bytes {
            None => Ok(()),
            Some(bytes) => Err(Error::deserialization(format!(
                "unit: expected null, found {}",
                found(bytes)
            ))),
        }
    }

    fn name(&self) -> String {
        "unit".into()
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> Result<Value> {
        self.decode(bytes).map(|()| Value::Null)
    }

    fn from_json(&self, json: &Value, _: &mut Vec<u8>) -> Result<Encoded> {
        match json {
            Value::Null => Ok(Encoded::Null),
            _ => Err(not_json("unit", "null", json)),
        }
    }
}
