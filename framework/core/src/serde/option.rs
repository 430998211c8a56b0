//! Values that may be absent: tombstones and missing keys.
//!
//! Invariant: `None` is null and only null is `None`, so that the two can never be confused.

use super::{Beside, Codec, ConstCodec, Encoded, Serde};
use crate::{error::Result, record::Headers};
use serde_json::Value;
use std::marker::PhantomData;

/// `Some` as `C` writes it, `None` as null.
///
/// It takes the codec as a type, so that the whole remains a constant:
///
/// ```
/// use millstream_core::{serde::{Json, option, utf8}, topic::Topic};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Review { stars: u8 }
///
/// static REVIEWS: Topic<String, Option<Review>> =
///     Topic::new("reviews", utf8(), option::<Json<Review>>());
/// assert!(REVIEWS.value.decode(None)?.is_none());
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub const fn option<C: ConstCodec>() -> Serde<Option<C::Item>> {
    Serde::new(const { &Optional::<C>(PhantomData) })
}

/// The codec behind [`option`](option()). It is no [`ConstCodec`] itself: of `Option<Option<_>>`
/// the log could not tell `Some(None)` from `None`.
pub struct Optional<C>(PhantomData<fn() -> C>);

/// As [`Optional`], where the headers of values are elsewhere.
struct OptionalAlone<C>(PhantomData<fn() -> C>);

impl<C: ConstCodec> Codec for Optional<C> {
    type Item = Option<C::Item>;

    #[inline]
    fn encode(&self, value: &Option<C::Item>, out: &mut Vec<u8>) -> Result<Encoded> {
        encode(&C::CODEC, value, out)
    }

    #[inline]
    fn decode(&self, bytes: Option<&[u8]>) -> Result<Option<C::Item>> {
        bytes.map(|bytes| C::CODEC.decode(Some(bytes))).transpose()
    }

    #[inline]
    fn is_null(&self, value: &Option<C::Item>) -> bool {
        value.is_none()
    }

    fn beside(&self) -> Option<&dyn Beside<Option<C::Item>>> {
        let beside: &dyn Beside<Option<C::Item>> = self;
        C::CODEC.beside().is_some().then_some(beside)
    }

    fn name(&self) -> String {
        name(&C::CODEC)
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> Result<Value> {
        to_json(&C::CODEC, bytes)
    }

    fn from_json(&self, json: &Value, out: &mut Vec<u8>) -> Result<Encoded> {
        from_json(&C::CODEC, json, out)
    }
}

impl<C: ConstCodec> Beside<Option<C::Item>> for Optional<C> {
    fn bytes(&self) -> Serde<Option<C::Item>> {
        Serde::new(const { &OptionalAlone::<C>(PhantomData) })
    }

    fn headers<'a>(&self, value: &'a Option<C::Item>) -> Option<&'a Headers> {
        C::CODEC.beside()?.headers(value.as_ref()?)
    }

    fn put(&self, value: &mut Option<C::Item>, headers: Headers) {
        if let (Some(beside), Some(value)) = (C::CODEC.beside(), value) {
            beside.put(value, headers);
        }
    }
}

impl<C: ConstCodec> OptionalAlone<C> {
    fn ask<R>(what: impl FnOnce(&dyn Codec<Item = C::Item>) -> R) -> R {
        let codec = C::CODEC;
        match codec.beside() {
            Some(beside) => what(beside.bytes().codec()),
            None => what(&codec),
        }
    }
}

impl<C: ConstCodec> Codec for OptionalAlone<C> {
    type Item = Option<C::Item>;

    fn encode(&self, value: &Option<C::Item>, out: &mut Vec<u8>) -> Result<Encoded> {
        Self::ask(|codec| encode(codec, value, out))
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Option<C::Item>> {
        let value = bytes.map(|bytes| Self::ask(|codec| codec.decode(Some(bytes))));
        value.transpose()
    }

    fn is_null(&self, value: &Option<C::Item>) -> bool {
        value.is_none()
    }

    fn name(&self) -> String {
        Self::ask(name)
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> Result<Value> {
        Self::ask(|codec| to_json(codec, bytes))
    }

    fn from_json(&self, json: &Value, out: &mut Vec<u8>) -> Result<Encoded> {
        Self::ask(|codec| from_json(codec, json, out))
    }
}

#[inline]
fn encode<T>(
    codec: &(impl Codec<Item = T> + ?Sized),
    value: &Option<T>,
    out: &mut Vec<u8>,
) -> Result<Encoded> {
    match value {
        Some(value) => codec.encode(value, out),
        None => Ok(Encoded::Null),
    }
}

fn name<T>(codec: &(impl Codec<Item = T> + ?Sized)) -> String {
    format!("option<{}>", codec.name())
}

fn to_json<T>(codec: &(impl Codec<Item = T> + ?Sized), bytes: Option<&[u8]>) -> Result<Value> {
    bytes.map_or(Ok(Value::Null), |bytes| codec.to_json(Some(bytes)))
}

fn from_json<T>(
    codec: &(impl Codec<Item = T> + ?Sized),
    json: &Value,
    out: &mut Vec<u8>,
) -> Result<Encoded> {
    match json {
        Value::Null => Ok(Encoded::Null),
        _ => codec.from_json(json, out),
    }
}
