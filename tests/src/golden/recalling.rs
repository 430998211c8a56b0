//! Header-aware stores (KIP-1271) of programs that are data: the same as
//! `tests/jvm/GoldenHeaders.java` has.

use super::{
    functions,
    op::Recall,
    program::{Key, Value},
};
use millstream_core::{
    prelude::*,
    store::{At, TimedKind, TimedShape, TimedStore},
};

const SIZE: Timestamp = 20;
/// Nothing expires here: how rows do is known of stores without headers.
const RETENTION: Timestamp = 86_400_000;

type Held = ValueAndHeaders<i64>;

#[derive(Clone, Copy)]
enum Store {
    Rows(StoreRef<KeyValueStore<Key, Held>>),
    Windows(StoreRef<TimedStore<Key, Held>>),
    Sessions(StoreRef<TimedStore<Key, Held>>),
}

/// Puts each value with its headers, and tells it with what its place held before, and with the
/// headers of that.
struct Recalling(Store);

impl Processor<Key, Value> for Recalling {
    type Key = Key;
    type Value = Value;

    fn process(
        &mut self,
        record: Record<Key, Value>,
        ctx: &mut ProcessorContext<'_, Key, Value>,
    ) -> ProcessResult {
        if record.key.is_none() {
            return Ok(ctx.forward(record)?);
        }
        let Record {
            key,
            value,
            timestamp,
            headers,
        } = record;
        let new = value.map(|value| Held { value, headers });
        let start = timestamp - timestamp.rem_euclid(SIZE);
        let before = match self.0 {
            Store::Rows(store) => {
                let store = ctx.store(store);
                let before = store.get(&key)?.cloned();
                match new {
                    Some(new) => store.put(&key, new)?,
                    None => drop(store.delete(&key)?),
                }
                before
            }
            Store::Windows(store) => put(ctx.store(store), &key, At::time(start), new)?,
            Store::Sessions(store) => {
                let at = At::new(start + SIZE - 1, start);
                put(ctx.store(store), &key, at, new)?
            }
        };
        let (before, headers) = match before {
            Some(before) => (Some(before.value), before.headers),
            None => (None, Headers::NONE),
        };
        Ok(ctx.forward(Record {
            key,
            value: Some(functions::joined(value, before)),
            timestamp,
            headers,
        })?)
    }
}

fn put(
    store: &mut TimedStore<Key, Held>,
    key: &Key,
    at: At,
    new: Option<Held>,
) -> millstream_core::Result<Option<Held>> {
    let before = store.get(key, at)?.map(|(before, _)| before.clone());
    store.put(key, at, new)?;
    Ok(before)
}

pub(super) fn process<'b>(
    builder: &'b StreamsBuilder,
    stream: KStream<'b, Key, Value>,
    materialized: Materialized<Key, i64>,
    kind: Recall,
) -> KStream<'b, Key, Value> {
    let materialized = materialized.with_headers();
    let shape = |kind, wide| TimedShape {
        kind,
        retention: RETENTION,
        wide,
    };
    match kind {
        Recall::Rows => {
            let store = builder.store(materialized);
            stream.process(store, |store| Recalling(Store::Rows(store)))
        }
        Recall::Windows => {
            let store = builder.timed_store(materialized, shape(TimedKind::Window(SIZE), false));
            stream.process(store, |store| Recalling(Store::Windows(store)))
        }
        Recall::Sessions => {
            let store = builder.timed_store(materialized, shape(TimedKind::Session, true));
            stream.process(store, |store| Recalling(Store::Sessions(store)))
        }
    }
}
