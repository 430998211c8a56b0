//! Sources of programs that are data, with their times and what becomes of their bad records.

use super::{Graph, Handle, Stream, failing, interned, key, nullable, stored, with_history};
use crate::golden::{
    Op,
    op::{Given, Invalid, Times},
    policy::Policy,
    processing,
    program::{Key, Value},
};
use anyhow::{Result, bail};
use millstream_core::prelude::*;

impl<'b> Graph<'b> {
    pub(super) fn source_of(&mut self, op: &Op, name: &str) -> Result<Handle<'b>> {
        Ok(match op {
            Op::Stream {
                topic,
                time,
                on_error,
            } => {
                let topic = self.source::<Value>(topic, nullable());
                let consumed = consumed(&topic, *time, Option::unwrap_or_default);
                Handle::Stream(Stream {
                    stream: self.builder.stream(answering(consumed, on_error.as_ref())),
                    rekeyed: false,
                })
            }
            Op::Table {
                topic,
                time,
                history,
                on_error,
            } => {
                let topic = self.source::<i64>(topic, i64_be());
                let consumed = consumed(&topic, *time, |value| value);
                let consumed = answering(consumed, on_error.as_ref());
                Handle::Table(self.builder.table(consumed, with_history(name, *history)))
            }
            Op::GlobalTable { topic } => {
                let topic = self.source(topic, i64_be());
                Handle::Global(self.builder.global_table(&topic, stored(name)))
            }
            Op::GlobalStore { topic } => {
                let topic = self.source(topic, i64_be());
                Handle::GlobalStore(processing::global(self.builder, &topic, stored(name)))
            }
            Op::ReadOnly { topic, on_error } => {
                let topic = self.source(topic, i64_be());
                let consumed = answering(Consumed::of(&topic), on_error.as_ref());
                Handle::ReadOnly(self.builder.read_only_store(consumed, name))
            }
            _ => bail!("{op:?} is no source"),
        })
    }

    fn source<V>(&mut self, topic: &str, value: Serde<V>) -> Topic<Key, V> {
        self.sources.insert(topic.to_owned());
        Topic::new(interned(topic), key(), value)
    }
}

fn consumed<V: Copy + Send + Sync + 'static>(
    topic: &Topic<Key, V>,
    times: Option<Times>,
    number: impl Fn(V) -> i64 + Send + Sync + 'static,
) -> Consumed<Key, V> {
    let consumed = Consumed::of(topic);
    let Some(times) = times else {
        return consumed;
    };
    let invalid = match times.invalid() {
        Invalid::Fail => InvalidTimestamp::Fail,
        Invalid::Skip => InvalidTimestamp::Skip,
        Invalid::Partition => InvalidTimestamp::UsePartitionTime,
    };
    let extractor = match times {
        Times::Value((factor, _)) => TimestampExtractor::from_fn(move |_: &Key, value: &V| {
            number(*value).wrapping_mul(factor)
        }),
        Times::Given((Given::Record, _)) => TimestampExtractor::from_record(),
        Times::Given((Given::Wall, _)) => TimestampExtractor::wall_clock(),
    };
    consumed.with_timestamp(extractor.on_invalid(invalid))
}

/// The source, with what it says itself of bad records.
fn answering<V>(consumed: Consumed<Key, V>, policy: Option<&Policy>) -> Consumed<Key, V> {
    match failing::ours(policy) {
        Some(policy) => consumed.on_error(policy),
        None => consumed,
    }
}
