//! Between values and bytes: a [`Serde`] writes into the caller's buffer and reads borrowed slices.
//!
//! Invariant: decoding never panics, and never allocates more than a small multiple of the input.

mod bincode;
mod guard;
mod headers;
mod json;
mod named;
mod numbers;
mod option;
mod shape;
mod text;
pub(crate) mod windowed;

pub use self::{
    bincode::{Bincode, bincode},
    headers::{Apart, Beside, ValueAndHeaders, WithHeaders, with_headers},
    json::{Json, json},
    numbers::{
        Bool, F32Be, F64Be, I16Be, I32Be, I64Be, OrderedI64, U32Be, U64Be, bool_, f32_be, f64_be,
        i16_be, i32_be, i64_be, ordered_i64, ordered_u64, u32_be, u64_be,
    },
    option::{Optional, option},
    text::{Bytes, Unit, Utf8, bytes, unit, utf8},
    windowed::{SessionWindowed, TimeWindowed, session_windowed, time_windowed},
};

use crate::error::{Error, Result};

/// What encoding a value came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoded {
    /// Bytes were appended to the caller's buffer (perhaps none: an empty text is not null).
    Bytes,
    /// The value is null on the log: a tombstone, an absent key. Nothing was appended.
    Null,
}

/// How one type is written and read. Formats outside this crate (Avro, Protobuf) implement it too.
pub trait Codec: Sync + 'static {
    /// The type read and written.
    type Item;

    /// Appends the value's bytes to `out`.
    fn encode(&self, value: &Self::Item, out: &mut Vec<u8>) -> Result<Encoded>;

    /// What [`Codec::encode`] would append, where the value holds just these bytes: a store then
    /// looks for them where they are. `None`, which is always right, where it does not; and also
    /// where [`Codec::encode`] would say `Null`, or fail.
    #[inline]
    fn as_bytes<'a>(&self, _value: &'a Self::Item) -> Option<&'a [u8]> {
        None
    }

    /// Reads a value; `None` is null.
    fn decode(&self, bytes: Option<&[u8]>) -> Result<Self::Item>;

    /// Whether the value would be written as null; only of types that can be absent.
    fn is_null(&self, _value: &Self::Item) -> bool {
        false
    }

    /// How values are written where there is a place for headers beside their bytes, as in a record
    /// of a topic and in a row of a store; only of types that have headers, as
    /// [`with_headers`](crate::serde::with_headers()) makes them. A codec that wraps another one
    /// passes it on, or these headers lie in front of the values everywhere.
    fn beside(&self) -> Option<&dyn Beside<Self::Item>> {
        None
    }

    /// The format's name, for errors, descriptions and the check of a store's format at start: what
    /// is written otherwise must be called otherwise (`order-v2`). One that wraps another says the
    /// other's name too.
    fn name(&self) -> String;

    /// What a person sees of the bytes: in the page, in `curl`, on the terminal.
    fn to_json(&self, bytes: Option<&[u8]>) -> Result<serde_json::Value>;

    /// The inverse of [`Codec::to_json`], so that a person can write a key or a record by hand.
    #[expect(
        clippy::wrong_self_convention,
        reason = "`self` is the codec, not the JSON"
    )]
    fn from_json(&self, json: &serde_json::Value, out: &mut Vec<u8>) -> Result<Encoded>;
}

/// A codec as a plain value: two words, `Copy`, usable in a `static`.
pub struct Serde<T: 'static>(&'static dyn Codec<Item = T>);

impl<T> Clone for Serde<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Serde<T> {}

impl<T> Serde<T> {
    /// A serde of any codec, for formats that this crate does not have.
    pub const fn new(codec: &'static dyn Codec<Item = T>) -> Self {
        Self(codec)
    }

    /// A serde of a codec that is put together while a program is declared. It is never given back:
    /// a program is declared once, and what it declares lives as long as it does.
    pub fn composed(codec: impl Codec<Item = T> + Send) -> Self {
        Self(Box::leak(Box::new(codec)))
    }

    /// Appends the value's bytes to `out`.
    #[inline]
    pub fn encode(self, value: &T, out: &mut Vec<u8>) -> Result<Encoded> {
        self.0.encode(value, out)
    }

    /// What [`Serde::encode`] would append, where the value holds just these bytes.
    #[inline]
    pub fn as_bytes(self, value: &T) -> Option<&[u8]> {
        self.0.as_bytes(value)
    }

    /// Whether encoding a value comes to these bytes.
    fn writes(self, value: &T, bytes: &[u8]) -> bool {
        let mut out = Vec::new();
        matches!(self.encode(value, &mut out), Ok(Encoded::Bytes)) && out == bytes
    }

    /// Lets a store do something with a key's bytes; `None`, and nothing is done, for a null key.
    /// Bytes that the key holds are not copied into the store's buffer: to read what was written a
    /// moment ago, in other pieces, is to wait until the processor has written all before it.
    #[inline]
    pub(crate) fn with_bytes<S, R>(
        self,
        key: &T,
        (store, buffer): (&mut S, fn(&mut S) -> &mut Vec<u8>),
        act: impl FnOnce(&mut S, &[u8]) -> Result<R>,
    ) -> Result<Option<R>> {
        if let Some(bytes) = self.as_bytes(key) {
            debug_assert!(
                self.writes(key, bytes),
                "{self:?}: as_bytes is not what encode writes"
            );
            return act(store, bytes).map(Some);
        }
        let mut bytes = std::mem::take(buffer(store));
        bytes.clear();
        let done = match self.encode(key, &mut bytes) {
            Ok(Encoded::Bytes) => act(store, &bytes).map(Some),
            Ok(Encoded::Null) => Ok(None),
            Err(error) => Err(error),
        };
        *buffer(store) = bytes;
        done
    }

    /// Reads a value; `None` is null.
    #[inline]
    pub fn decode(self, bytes: Option<&[u8]>) -> Result<T> {
        self.0.decode(bytes)
    }

    /// Whether the value would be written as null.
    #[inline]
    pub fn is_null(self, value: &T) -> bool {
        self.0.is_null(value)
    }

    /// The codec itself.
    pub fn codec(self) -> &'static dyn Codec<Item = T> {
        self.0
    }
}

impl<T> std::fmt::Debug for Serde<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Serde({})", millstream_state::shown(&self.0.name()))
    }
}

/// A codec that exists as a constant and never writes null, so that [`option`](option()) can be
/// built over it, in a `static` too. Implement it for a codec of your own to have it there.
pub trait ConstCodec: Codec + Sized {
    /// The codec.
    const CODEC: Self;
}

/// The bytes, where null is not allowed.
#[inline]
fn present<'a>(bytes: Option<&'a [u8]>, format: &str) -> Result<&'a [u8]> {
    bytes.ok_or_else(|| null(format))
}

/// Null where something must be.
#[cold]
fn null(format: &str) -> Error {
    Error::deserialization(format!(
        "null where {format} must have bytes; use option::<..>() to allow it"
    ))
}

/// What was found, for an error: the length and the beginning, never a whole value.
#[cold]
fn found(bytes: &[u8]) -> String {
    const SHOWN: usize = 16;
    let dots = if bytes.len() > SHOWN { ".." } else { "" };
    let start = &bytes[..bytes.len().min(SHOWN)];
    match bytes.len() {
        0 => "no bytes".into(),
        1 => format!("1 byte {}", text::hex(start)),
        len => format!("{len} bytes {}{dots}", text::hex(start)),
    }
}

/// JSON that is not of the kind the format takes.
#[cold]
fn not_json(format: &str, expected: &str, json: &serde_json::Value) -> Error {
    invalid(format, &format_args!("expected {expected}"), json)
}

/// JSON that a person wrote and the format cannot take, with the reason.
#[cold]
fn invalid(format: &str, reason: &dyn std::fmt::Display, json: &serde_json::Value) -> Error {
    const SHOWN: usize = 60;
    let mut text = json.to_string();
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text.push_str("..");
    }
    Error::serialization(format!("{format} from JSON: {reason}, found {text}"))
}
