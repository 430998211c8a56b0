//! JSON through serde: what other programs, and people, can read.
//!
//! Invariant: serde_json bounds the depth (128) and grows no collection ahead of its input.

use super::{Codec, ConstCodec, Encoded, Serde, found, invalid, present};
use crate::error::{Error, Result};
use ::serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::marker::PhantomData;

/// One JSON text per value, without white space.
///
/// Floats come back bit for bit, but JSON has no NaN and no infinities: they are written as `null`
/// and then refuse to be read as a number. Use [`bincode`](super::bincode()) or `Option<f64>`
/// where they can occur. A key should be of a type whose fields have one order (no `HashMap`),
/// because equal keys must have equal bytes.
///
/// The format's name does not tell the type, as that of [`bincode`](super::bincode()) does: fields
/// have names here, so they may change places, and one that has a default or is an option may be
/// missing in old bytes, one that is gone is skipped. A change that old bytes do not survive is
/// told by an error for each of them; to have it refused at start, name the format
/// ([`Serde::named`]), and give it another name then.
///
/// ```
/// use millstream_core::{serde::{json, utf8}, topic::Topic};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Review { stars: u8 }
///
/// static REVIEWS: Topic<String, Review> = Topic::new("reviews", utf8(), json());
/// assert_eq!(REVIEWS.value.decode(Some(br#"{"stars":5}"#))?.stars, 5);
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub const fn json<T: Serialize + DeserializeOwned + 'static>() -> Serde<T> {
    Serde::new(const { &Json::<T>::CODEC })
}

/// The codec behind [`json`](json()); a type parameter for [`option`](super::option()).
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T: Serialize + DeserializeOwned + 'static> ConstCodec for Json<T> {
    const CODEC: Self = Self(PhantomData);
}

impl<T: Serialize + DeserializeOwned + 'static> Codec for Json<T> {
    type Item = T;

    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<Encoded> {
        let start = out.len();
        match serde_json::to_writer(&mut *out, value) {
            Ok(()) => Ok(Encoded::Bytes),
            Err(cause) => {
                out.truncate(start);
                Err(Error::serialization(format!("json: {cause}")))
            }
        }
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<T> {
        parse(bytes)
    }

    fn name(&self) -> String {
        "json".into()
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> Result<Value> {
        // Not through `T`: a person who looks wants to see what is there, most of all when it is
        // not a `T`.
        parse(bytes)
    }

    fn from_json(&self, json: &Value, out: &mut Vec<u8>) -> Result<Encoded> {
        let value = T::deserialize(json).map_err(|cause| invalid("json", &cause, json))?;
        self.encode(&value, out)
    }
}

fn parse<T: DeserializeOwned>(bytes: Option<&[u8]>) -> Result<T> {
    let bytes = present(bytes, "json")?;
    serde_json::from_slice(bytes)
        .map_err(|cause| Error::deserialization(format!("json: {cause}; found {}", found(bytes))))
}
