//! Between values and bytes: a [`Serde`] writes into the caller's buffer and reads borrowed slices.
//!
//! Invariant: decoding never panics, and never allocates more than a small multiple of the input.

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

    /// Reads a value; `None` is null.
    fn decode(&self, bytes: Option<&[u8]>) -> Result<Self::Item>;

    /// The format's name, for errors, descriptions and the check of a store's format at start.
    fn name(&self) -> String;

    /// What a person sees of the bytes: in the page, in `curl`, on the terminal.
    fn to_json(&self, bytes: Option<&[u8]>) -> Result<serde_json::Value>;

    /// The inverse of [`Codec::to_json`], so that a person can write a key or a record by hand.
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

    /// Appends the value's bytes to `out`.
    #[inline]
    pub fn encode(self, value: &T, out: &mut Vec<u8>) -> Result<Encoded> {
        self.0.encode(value, out)
    }

    /// Reads a value; `None` is null.
    #[inline]
    pub fn decode(self, bytes: Option<&[u8]>) -> Result<T> {
        self.0.decode(bytes)
    }

    /// The codec itself.
    pub fn codec(self) -> &'static dyn Codec<Item = T> {
        self.0
    }
}

impl<T> std::fmt::Debug for Serde<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Serde({})", self.0.name())
    }
}

/// Null where something must be.
#[cold]
#[allow(dead_code, reason = "the codecs below use it")]
fn null(format: &str) -> Error {
    Error::deserialization(format!(
        "null where {format} must have bytes; use option::<..>() to allow it"
    ))
}
