//! Bincode behind a format byte: the compact format of what only this program reads back.
//!
//! Invariant: the first byte names the format of the rest, so that a later format can be told
//! from this one; and decoding works within limits that depend on the input's length alone.

use super::{Codec, ConstCodec, Encoded, Serde, found, guard, invalid, present, shape};
use crate::error::{Error, Result};
use ::bincode::{
    config::{self, Configuration, Fixint, LittleEndian},
    enc::write::Writer,
    error::{DecodeError, EncodeError},
};
use ::serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::marker::PhantomData;

/// The format byte: bincode 2 with `config::legacy()`, which writes the bytes of bincode 1:
/// little-endian integers of their own width, lengths in 8 bytes, enum variants in 4.
const LEGACY: u8 = 1;

/// No value may be longer, written or read: far above what a log takes as one record.
const MAX_BYTES: usize = 64 << 20;

const CONFIG: Configuration<LittleEndian, Fixint> = config::legacy();

/// Compact bytes for values that only this program reads: stores, changelogs, repartitioning.
///
/// The format does not describe itself: a changed type is a changed format. Fields that serde
/// may skip (`skip_serializing_if`), untagged enums and `serde_json::Value` do not survive it.
///
/// So the format's name tells the type's *shape*, what is read one after the other: a store whose
/// type has another shape than its rows were written with is refused at start, and
/// `topology diff` says so before. Names are not written and not in it; parts of parts stand beside
/// the others, so that to take fields out into a struct of their own changes nothing.
///
/// | in the shape | what it is |
/// |---|---|
/// | `u64`, `str`, `(a,b)`, `a*4` | a plain value, parts, four times the same |
/// | `?a`, `[a]`, `{k:v}` | an option, a list, a map |
/// | `<a\|b>` | an enum with its variants; one more at the end leaves old rows readable |
/// | `@1(..^1..)` | a type that contains itself |
/// | `..` | not known, fits all: the type refused the values its `Deserialize` was tried with |
/// | `#0123456789abcdef` | the hash of a shape of more than 64 KiB, in place of `(..)` |
///
/// To find it, a type's `Deserialize` is run with a few small values while a program is declared.
/// Where it panics at one, another is tried; that holds where panics unwind, and with
/// `panic = "abort"` such a type ends the process.
/// The shape is of what is read: where a `Serialize` or `Deserialize` written by hand is changed,
/// or a field comes to mean something else, give the format another name ([`Serde::named`]).
///
/// Three limits make hostile bytes harmless, and bind what can be read back: a value is at most
/// 64 MiB long and 256 levels deep, and at most 1024 elements of its collections occupy no bytes.
///
/// ```
/// use millstream_core::serde::bincode;
///
/// let pairs = bincode::<(u16, String)>();
/// let mut out = Vec::new();
/// pairs.encode(&(7, "ab".into()), &mut out)?;
/// assert_eq!(out, b"\x01\x07\x00\x02\x00\x00\x00\x00\x00\x00\x00ab");
/// assert_eq!(pairs.decode(Some(&out))?, (7, "ab".into()));
/// assert_eq!(pairs.codec().name(), "bincode(u16,str)");
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub const fn bincode<T: Serialize + DeserializeOwned + 'static>() -> Serde<T> {
    Serde::new(const { &Bincode::<T>::CODEC })
}

/// The codec behind [`bincode`](bincode()); a type parameter for [`option`](super::option()).
pub struct Bincode<T>(PhantomData<fn() -> T>);

impl<T: Serialize + DeserializeOwned + 'static> ConstCodec for Bincode<T> {
    const CODEC: Self = Self(PhantomData);
}

impl<T: Serialize + DeserializeOwned + 'static> Codec for Bincode<T> {
    type Item = T;

    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<Encoded> {
        let start = out.len();
        out.push(LEGACY);
        let writer = Append {
            left: MAX_BYTES - 1,
            out,
        };
        match ::bincode::serde::encode_into_writer(value, writer, CONFIG) {
            Ok(()) => Ok(Encoded::Bytes),
            Err(cause) => {
                out.truncate(start);
                let cause = match cause {
                    EncodeError::OtherString(text) => text,
                    other => other.to_string(),
                };
                Err(Error::serialization(format!("bincode: {cause}")))
            }
        }
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<T> {
        let bytes = present(bytes, "bincode")?;
        read(bytes).map_err(|cause| {
            Error::deserialization(format!("bincode: {cause}; found {}", found(bytes)))
        })
    }

    fn name(&self) -> String {
        format!("bincode{}", shape::suffix::<T>())
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> Result<Value> {
        serde_json::to_value(self.decode(bytes)?)
            .map_err(|cause| Error::deserialization(format!("bincode, shown as JSON: {cause}")))
    }

    fn from_json(&self, json: &Value, out: &mut Vec<u8>) -> Result<Encoded> {
        let value = T::deserialize(json).map_err(|cause| invalid("bincode", &cause, json))?;
        self.encode(&value, out)
    }
}

/// Reads one whole value, or says what is wrong.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> std::result::Result<T, String> {
    let body = match bytes {
        [LEGACY, body @ ..] if bytes.len() <= MAX_BYTES => body,
        [LEGACY, ..] => return Err(format!("longer than {MAX_BYTES} bytes")),
        [other, ..] => return Err(format!("format byte {other}, expected {LEGACY}")),
        [] => return Err("no format byte".into()),
    };
    let limits = guard::Limits::of(body.len());
    let (value, used) =
        ::bincode::serde::seed_decode_from_slice(guard::root::<T>(&limits), body, CONFIG).map_err(
            |cause| match cause {
                DecodeError::OtherString(text) => text,
                other => other.to_string(),
            },
        )?;
    match body.len() - used {
        0 => Ok(value),
        left => Err(format!("{left} bytes left after the value")),
    }
}

/// Writes at the end of the caller's buffer, up to a limit.
struct Append<'a> {
    out: &'a mut Vec<u8>,
    left: usize,
}

impl Writer for Append<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> std::result::Result<(), EncodeError> {
        let Some(left) = self.left.checked_sub(bytes.len()) else {
            return Err(EncodeError::OtherString(format!(
                "longer than {MAX_BYTES} bytes"
            )));
        };
        self.left = left;
        self.out.extend_from_slice(bytes);
        Ok(())
    }
}
