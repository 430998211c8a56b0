//! Windowed keys as bytes, as Kafka's `TimeWindowedSerde` and `SessionWindowedSerde` write them.
//!
//! Invariant: the bytes of the key come first and its times last, so that whoever knows the width
//! of the times can cut them off without knowing the key.

use super::{Codec, ConstCodec, Encoded, Serde, found, not_json, present};
use crate::{
    error::{Error, Result},
    record::Timestamp,
    window::{Window, Windowed},
};
use serde_json::{Value, json};
use std::marker::PhantomData;

const TIME: usize = size_of::<Timestamp>();

/// The key as `C` writes it, then eight bytes of the window's start: for tumbling, hopping and
/// sliding windows, whose `SIZE` in milliseconds gives the end. Kafka's
/// `WindowedSerdes.timeWindowedSerdeFrom`.
///
/// ```
/// use millstream_core::{serde::{time_windowed, u64_be, Utf8}, topic::Topic, window::*};
///
/// static PER_MINUTE: Topic<Windowed<String>, u64> =
///     Topic::new("per-minute", time_windowed::<Utf8, 60_000>(), u64_be());
/// let key = Windowed::new("a".to_owned(), Window::new(120_000, 180_000));
/// let mut bytes = Vec::new();
/// PER_MINUTE.key.encode(&key, &mut bytes)?;
/// assert_eq!(PER_MINUTE.key.decode(Some(&bytes))?, key);
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub const fn time_windowed<C: ConstCodec, const SIZE: i64>() -> Serde<Windowed<C::Item>> {
    Serde::new(const { &TimeWindowed::<C, SIZE>(PhantomData) })
}

/// The key as `C` writes it, then eight bytes of the window's end and eight of its start: for
/// sessions. Kafka's `WindowedSerdes.sessionWindowedSerdeFrom`.
pub const fn session_windowed<C: ConstCodec>() -> Serde<Windowed<C::Item>> {
    Serde::new(const { &SessionWindowed::<C>(PhantomData) })
}

/// The codec behind [`time_windowed`].
pub struct TimeWindowed<C, const SIZE: i64>(PhantomData<fn() -> C>);

/// The codec behind [`session_windowed`].
pub struct SessionWindowed<C>(PhantomData<fn() -> C>);

impl<C: ConstCodec, const SIZE: i64> ConstCodec for TimeWindowed<C, SIZE> {
    const CODEC: Self = Self(PhantomData);
}

impl<C: ConstCodec> ConstCodec for SessionWindowed<C> {
    const CODEC: Self = Self(PhantomData);
}

/// Takes the last eight bytes as a time.
fn split_time<'a>(bytes: &'a [u8], format: &str) -> Result<(&'a [u8], Timestamp)> {
    let (rest, time) = bytes.split_last_chunk::<TIME>().ok_or_else(|| {
        Error::deserialization(format!(
            "{format}: too short for a time, found {}",
            found(bytes)
        ))
    })?;
    Ok((rest, Timestamp::from_be_bytes(*time)))
}

fn key_bytes<C: Codec>(codec: &C, key: &C::Item, out: &mut Vec<u8>) -> Result<()> {
    match codec.encode(key, out)? {
        Encoded::Bytes => Ok(()),
        Encoded::Null => Err(Error::serialization("the key of a window cannot be null")),
    }
}

/// What a person sees of a windowed key, and writes.
pub(crate) fn show(key: &Value, window: Window) -> Value {
    json!({ "key": key, "start": window.start, "end": window.end })
}

/// A field of a windowed key that a person wrote.
fn time_field(json: &Value, field: &str, format: &str) -> Result<Timestamp> {
    json.get(field)
        .and_then(Value::as_i64)
        .ok_or_else(|| not_json(format, "an object with key, start and end", json))
}

/// The key and the times that a person wrote.
pub(crate) fn read<'j>(json: &'j Value, format: &str) -> Result<(&'j Value, Timestamp, Timestamp)> {
    let key = json
        .get("key")
        .ok_or_else(|| not_json(format, "an object with key, start and end", json))?;
    let start = time_field(json, "start", format)?;
    Ok((key, start, time_field(json, "end", format)?))
}

impl<C: ConstCodec, const SIZE: i64> Codec for TimeWindowed<C, SIZE> {
    type Item = Windowed<C::Item>;

    #[inline]
    fn encode(&self, value: &Self::Item, out: &mut Vec<u8>) -> Result<Encoded> {
        key_bytes(&C::CODEC, &value.key, out)?;
        out.extend_from_slice(&value.window.start.to_be_bytes());
        Ok(Encoded::Bytes)
    }

    #[inline]
    fn decode(&self, bytes: Option<&[u8]>) -> Result<Self::Item> {
        let (key, start) = split_time(present(bytes, "time_windowed")?, "time_windowed")?;
        let window = Window::new(start, start.saturating_add(SIZE));
        Ok(Windowed::new(C::CODEC.decode(Some(key))?, window))
    }

    fn name(&self) -> String {
        format!("time_windowed<{}, {SIZE}>", C::CODEC.name())
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> Result<Value> {
        let (key, start) = split_time(present(bytes, "time_windowed")?, "time_windowed")?;
        let window = Window::new(start, start.saturating_add(SIZE));
        Ok(show(&C::CODEC.to_json(Some(key))?, window))
    }

    fn from_json(&self, json: &Value, out: &mut Vec<u8>) -> Result<Encoded> {
        let (key, start, _) = read(json, "time_windowed")?;
        C::CODEC.from_json(key, out)?;
        out.extend_from_slice(&start.to_be_bytes());
        Ok(Encoded::Bytes)
    }
}

impl<C: ConstCodec> Codec for SessionWindowed<C> {
    type Item = Windowed<C::Item>;

    #[inline]
    fn encode(&self, value: &Self::Item, out: &mut Vec<u8>) -> Result<Encoded> {
        key_bytes(&C::CODEC, &value.key, out)?;
        out.extend_from_slice(&value.window.end.to_be_bytes());
        out.extend_from_slice(&value.window.start.to_be_bytes());
        Ok(Encoded::Bytes)
    }

    #[inline]
    fn decode(&self, bytes: Option<&[u8]>) -> Result<Self::Item> {
        let (rest, start) = split_time(present(bytes, "session_windowed")?, "session_windowed")?;
        let (key, end) = split_time(rest, "session_windowed")?;
        Ok(Windowed::new(
            C::CODEC.decode(Some(key))?,
            Window::new(start, end),
        ))
    }

    fn name(&self) -> String {
        format!("session_windowed<{}>", C::CODEC.name())
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> Result<Value> {
        let (rest, start) = split_time(present(bytes, "session_windowed")?, "session_windowed")?;
        let (key, end) = split_time(rest, "session_windowed")?;
        Ok(show(&C::CODEC.to_json(Some(key))?, Window::new(start, end)))
    }

    fn from_json(&self, json: &Value, out: &mut Vec<u8>) -> Result<Encoded> {
        let (key, start, end) = read(json, "session_windowed")?;
        C::CODEC.from_json(key, out)?;
        out.extend_from_slice(&end.to_be_bytes());
        out.extend_from_slice(&start.to_be_bytes());
        Ok(Encoded::Bytes)
    }
}
