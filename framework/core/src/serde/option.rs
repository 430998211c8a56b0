//! Values that may be absent: tombstones and missing keys.
//!
//! Invariant: `None` is null and only null is `None`, so that the two can never be confused.

use super::{Codec, ConstCodec, Encoded, Serde};
use crate::error::Result;
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

impl<C: ConstCodec> Codec for Optional<C> {
    type Item = Option<C::Item>;

    #[inline]
    fn encode(&self, value: &Option<C::Item>, out: &mut Vec<u8>) -> Result<Encoded> {
        match value {
            Some(value) => C::CODEC.encode(value, out),
            None => Ok(Encoded::Null),
        }
    }

    #[inline]
    fn decode(&self, bytes: Option<&[u8]>) -> Result<Option<C::Item>> {
        bytes.map(|bytes| C::CODEC.decode(Some(bytes))).transpose()
    }

    #[inline]
    fn is_null(&self, value: &Option<C::Item>) -> bool {
        value.is_none()
    }

    fn name(&self) -> String {
        format!("option<{}>", C::CODEC.name())
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> Result<Value> {
        bytes.map_or(Ok(Value::Null), |bytes| C::CODEC.to_json(Some(bytes)))
    }

    fn from_json(&self, json: &Value, out: &mut Vec<u8>) -> Result<Encoded> {
        match json {
            Value::Null => Ok(Encoded::Null),
            _ => C::CODEC.from_json(json, out),
        }
    }
}
