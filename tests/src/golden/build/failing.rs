//! Operators and sinks of programs that are data which refuse some records.

use super::{Graph, Stream};
use crate::golden::{
    functions::{self, Test},
    op::{How, Trying},
    policy::Policy,
    program::{Key, Value},
};
use anyhow::Result;
use millstream_core::{
    Error, Result as CoreResult,
    dsl::KStream,
    serde::{Codec, Encoded, I64Be, Serde, option},
    task::ErrorPolicy,
};
use serde_json::Value as Json;

impl<'b> Graph<'b> {
    /// `None` where the stream ends there.
    pub(super) fn attempt(&self, op: &Trying) -> Result<Option<Stream<'b>>> {
        let Stream { stream, rekeyed } = self.stream(op.of)?;
        let test = op.test;
        let mapped = |v: Value| Trying::MAP.of(v);
        let rekeyed_to = |k: &Key, v: Value| Trying::KEY.key(k, v);
        let (stream, rekeyed) = match op.how {
            How::Map => {
                let map =
                    move |k: Key, v| refused(test, v).map(|()| (rekeyed_to(&k, v), mapped(v)));
                (stream.try_map(map), true)
            }
            How::MapValues => {
                let map = move |v| refused(test, v).map(|()| mapped(v));
                (stream.try_map_values(map), rekeyed)
            }
            How::SelectKey => {
                let select =
                    move |k: &Key, v: &Value| refused(test, *v).map(|()| rekeyed_to(k, *v));
                (stream.try_select_key(select), true)
            }
            How::FlatMap => {
                let map = move |k: Key, v| {
                    let values = refused(test, v).map(|()| functions::several(v, Trying::TIMES));
                    values.map(|values| values.into_iter().map(move |v| (rekeyed_to(&k, v), v)))
                };
                (stream.try_flat_map(map), true)
            }
            How::FlatMapValues => {
                let map = move |v| refused(test, v).map(|()| functions::several(v, Trying::TIMES));
                (stream.try_flat_map_values(map), rekeyed)
            }
            How::Filter => {
                let keep =
                    move |_: &Key, v: &Value| refused(test, *v).map(|()| Trying::KEEP.passes(*v));
                (stream.try_filter(keep), rekeyed)
            }
            How::ForEach if op.on_error.is_none() => {
                stream.try_for_each(move |_, v| refused(test, v));
                return Ok(None);
            }
            How::ForEach => {
                let keep = move |_: &Key, v: &Value| refused(test, *v).map(|()| false);
                answered(stream.try_filter(keep), op.on_error.as_ref());
                return Ok(None);
            }
        };
        let stream = answered(stream, op.on_error.as_ref());
        Ok(Some(Stream { stream, rekeyed }))
    }
}

/// The stream, whose last operator says what becomes of what it refuses, if it does.
pub(super) fn answered<'b>(
    stream: KStream<'b, Key, Value>,
    policy: Option<&Policy>,
) -> KStream<'b, Key, Value> {
    match policy {
        Some(policy) => stream.on_error(policy.ours()),
        None => stream,
    }
}

/// What a source or a sink says itself.
pub(super) fn ours(policy: Option<&Policy>) -> Option<ErrorPolicy> {
    policy.map(Policy::ours)
}

/// Says no where the test holds.
pub(crate) fn refused(test: Test, value: Value) -> Result<(), String> {
    if test.passes(value) {
        Err(text(value))
    } else {
        Ok(())
    }
}

fn text(value: Value) -> String {
    let value = value.map_or("null".to_owned(), |value| value.to_string());
    format!("refused {value}")
}

/// Numbers and nulls, of which some cannot be written.
struct Refusing {
    test: Test,
    numbers: Serde<Value>,
}

impl Codec for Refusing {
    type Item = Value;

    fn encode(&self, value: &Value, out: &mut Vec<u8>) -> CoreResult<Encoded> {
        refused(self.test, *value).map_err(Error::serialization)?;
        self.numbers.encode(value, out)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> CoreResult<Value> {
        self.numbers.decode(bytes)
    }

    fn is_null(&self, value: &Value) -> bool {
        self.numbers.is_null(value)
    }

    fn name(&self) -> String {
        self.numbers.codec().name()
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> CoreResult<Json> {
        self.numbers.codec().to_json(bytes)
    }

    fn from_json(&self, json: &Json, out: &mut Vec<u8>) -> CoreResult<Encoded> {
        self.numbers.codec().from_json(json, out)
    }
}

/// The serde of a sink that refuses what the test holds for, if there is one.
pub(super) fn numbers(refuses: Option<Test>) -> Serde<Value> {
    let numbers = option::<I64Be>();
    match refuses {
        Some(test) => Serde::composed(Refusing { test, numbers }),
        None => numbers,
    }
}
