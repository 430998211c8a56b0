//! Numbers of fixed width, big end first, as Kafka's `Long`, `Integer`, `Double` serdes write them.
//!
//! Invariant: nothing is allocated, and every width but the right one is an error.

use super::{Codec, ConstCodec, Encoded, Serde, found, not_json, present};
use crate::error::{Error, Result};
use serde_json::Value;

/// The bytes as an array of exactly `N`.
#[inline]
fn array<const N: usize>(bytes: Option<&[u8]>, format: &str) -> Result<[u8; N]> {
    let bytes = present(bytes, format)?;
    bytes.try_into().map_err(|_| {
        Error::deserialization(format!(
            "{format}: expected {N} bytes, found {}",
            found(bytes)
        ))
    })
}

/// Defines a constructor and the codec behind it, from how bytes and JSON become a number.
macro_rules! number {
    ($(#[$doc:meta])* $make:ident, $codec:ident, $type:ty, $to:expr, $from:expr, $show:expr,
     $read:expr) => {
        $(#[$doc])*
        pub const fn $make() -> Serde<$type> {
            Serde::new(&$codec)
        }

        #[doc = concat!("The codec behind [`", stringify!($make), "`].")]
        #[derive(Clone, Copy, Debug)]
        pub struct $codec;

        impl ConstCodec for $codec {
            const CODEC: Self = Self;
        }

        impl Codec for $codec {
            type Item = $type;

            #[inline]
            fn encode(&self, value: &$type, out: &mut Vec<u8>) -> Result<Encoded> {
                out.extend_from_slice(&$to(*value));
                Ok(Encoded::Bytes)
            }

            #[inline]
            fn decode(&self, bytes: Option<&[u8]>) -> Result<$type> {
                array(bytes, stringify!($make)).map($from)
            }

            fn name(&self) -> String {
                stringify!($make).into()
            }

            fn to_json(&self, bytes: Option<&[u8]>) -> Result<Value> {
                self.decode(bytes).map($show)
            }

            fn from_json(&self, json: &Value, out: &mut Vec<u8>) -> Result<Encoded> {
                self.encode(&$read(json, stringify!($make))?, out)
            }
        }
    };
}

/// A number whose order is the order of its bytes where `$to` and `$from` say so.
macro_rules! integer {
    ($(#[$doc:meta])* $make:ident, $codec:ident, $type:ty) => {
        integer!(
            $(#[$doc])* $make, $codec, $type, <$type>::to_be_bytes, <$type>::from_be_bytes
        );
    };
    ($(#[$doc:meta])* $make:ident, $codec:ident, $type:ty, $to:expr, $from:expr) => {
        number!(
            $(#[$doc])* $make, $codec, $type, $to, $from, Value::from,
            |json: &Value, format| {
                <$type as ::serde::Deserialize>::deserialize(json).map_err(|_| {
                    let range = format!("a whole number in {}..={}", <$type>::MIN, <$type>::MAX);
                    not_json(format, &range, json)
                })
            }
        );
    };
}

integer!(
    /// Two bytes: Kafka's `Short`.
    i16_be, I16Be, i16
);
integer!(
    /// Four bytes: Kafka's `Integer`. As a key it sorts negative numbers last.
    i32_be, I32Be, i32
);
integer!(
    /// Eight bytes: Kafka's `Long`. As a key it sorts negative numbers last; where ranges are
    /// scanned, take [`ordered_i64`].
    ///
    /// ```
    /// use millstream_core::serde::i64_be;
    ///
    /// let mut out = Vec::new();
    /// i64_be().encode(&-2, &mut out)?;
    /// assert_eq!(out, [255, 255, 255, 255, 255, 255, 255, 254]);
    /// let error = i64_be().decode(Some(&[1, 2])).unwrap_err();
    /// assert_eq!(error.to_string(), "i64_be: expected 8 bytes, found 2 bytes 0x0102");
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    i64_be, I64Be, i64
);
integer!(
    /// Four bytes without a sign; they sort as the numbers do.
    u32_be, U32Be, u32
);
integer!(
    /// Eight bytes without a sign; they sort as the numbers do.
    u64_be, U64Be, u64
);
integer!(
    /// Eight bytes that sort as the numbers do: the sign bit is flipped, so that negative numbers
    /// come first. For keys of stores that are scanned by range; not what Kafka's `Long` writes.
    ordered_i64, OrderedI64, i64,
    |value: i64| (value ^ i64::MIN).to_be_bytes(),
    |bytes| i64::from_be_bytes(bytes) ^ i64::MIN
);

/// Eight bytes that sort as the numbers do: [`u64_be`], under the name of its purpose.
pub const fn ordered_u64() -> Serde<u64> {
    u64_be()
}

number!(
    /// Four bytes of IEEE 754: Kafka's `Float`. In JSON, what is not finite is `"NaN"`,
    /// `"Infinity"` or `"-Infinity"`.
    f32_be, F32Be, f32, f32::to_be_bytes, f32::from_be_bytes,
    |value| show_float(value.into()), read_f32
);
number!(
    /// Eight bytes of IEEE 754: Kafka's `Double`. In JSON, what is not finite is `"NaN"`,
    /// `"Infinity"` or `"-Infinity"`.
    f64_be, F64Be, f64, f64::to_be_bytes, f64::from_be_bytes, show_float, read_f64
);

/// JSON has no word for what is not finite, and null already means null.
fn show_float(value: f64) -> Value {
    if value.is_finite() {
        Value::from(value)
    } else if value.is_nan() {
        Value::from("NaN")
    } else if value > 0.0 {
        Value::from("Infinity")
    } else {
        Value::from("-Infinity")
    }
}

fn read_f64(json: &Value, format: &str) -> Result<f64> {
    let value = match json.as_str() {
        None => json.as_f64(),
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(_) => None,
    };
    value.ok_or_else(|| {
        not_json(
            format,
            "a number, \"NaN\", \"Infinity\" or \"-Infinity\"",
            json,
        )
    })
}

fn read_f32(json: &Value, format: &str) -> Result<f32> {
    let wide = read_f64(json, format)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounds; an overflow is caught below"
    )]
    let value = wide as f32;
    if value.is_infinite() && wide.is_finite() {
        return Err(not_json(format, "a number within the range of f32", json));
    }
    Ok(value)
}

/// One byte, 0 or 1, as Kafka's `BooleanSerializer` writes it.
pub const fn bool_() -> Serde<bool> {
    Serde::new(&Bool)
}

/// The codec behind [`bool_`].
#[derive(Clone, Copy, Debug)]
pub struct Bool;

impl ConstCodec for Bool {
    const CODEC: Self = Self;
}

impl Codec for Bool {
    type Item = bool;

    #[inline]
    fn encode(&self, value: &bool, out: &mut Vec<u8>) -> Result<Encoded> {
        out.push(u8::from(*value));
        Ok(Encoded::Bytes)
    }

    #[inline]
    fn decode(&self, bytes: Option<&[u8]>) -> Result<bool> {
        match present(bytes, "bool")? {
            [0] => Ok(false),
            [1] => Ok(true),
            other => Err(Error::deserialization(format!(
                "bool: expected one byte 0x00 or 0x01, found {}",
                found(other)
            ))),
        }
    }

    fn name(&self) -> String {
        "bool".into()
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> Result<Value> {
        self.decode(bytes).map(Value::from)
    }

    fn from_json(&self, json: &Value, out: &mut Vec<u8>) -> Result<Encoded> {
        let value = json
            .as_bool()
            .ok_or_else(|| not_json("bool", "true or false", json))?;
        self.encode(&value, out)
    }
}
