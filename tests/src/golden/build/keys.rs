//! How windowed keys are written: as Kafka Streams writes them, since changes that wait for the
//! same time are told in the order of their keys' bytes. Invariant: sizes of windows are known only
//! when a program is read, so all windows are written with both their times.

use crate::golden::program::Key;
use millstream_core::{
    Error, Result,
    serde::{Codec, ConstCodec, Encoded, Serde, Utf8, session_windowed},
    window::Windowed,
};
use serde_json::Value;

/// A key that has a window, which no null key has.
struct Present;

impl ConstCodec for Present {
    const CODEC: Self = Self;
}

impl Codec for Present {
    type Item = Key;

    fn encode(&self, key: &Key, out: &mut Vec<u8>) -> Result<Encoded> {
        let key = key.as_ref();
        let key = key.ok_or_else(|| Error::serialization("a null key has no window"))?;
        Utf8::CODEC.encode(key, out)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Key> {
        Utf8::CODEC.decode(bytes).map(Some)
    }

    fn name(&self) -> String {
        Utf8::CODEC.name()
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> Result<Value> {
        Utf8::CODEC.to_json(bytes)
    }

    fn from_json(&self, json: &Value, out: &mut Vec<u8>) -> Result<Encoded> {
        Utf8::CODEC.from_json(json, out)
    }
}

pub(super) fn windowed() -> Serde<Windowed<Key>> {
    session_windowed::<Present>()
}
