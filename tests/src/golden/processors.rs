//! The processors of programs that are data: the same as `tests/jvm/GoldenProcessors.java` has.

use super::{
    build::failing::refused,
    functions::{self, Test},
    op::Clock,
    program::{Key, Value},
};
use millstream_core::{
    link::Data,
    prelude::*,
    store::{Put, StoreHandle},
};
use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

type Store = KeyValueStore<Key, i64>;

/// Folds the values of each key; a punctuation tells all sums, and forgets them if told to.
struct Sums {
    store: StoreRef<Store>,
    schedules: Vec<Schedule>,
    clear: bool,
    /// Which values and times it refuses, after what it makes of them.
    refuses: Option<Test>,
}

impl Sums {
    fn judge(&self, value: Value) -> ProcessResult {
        match self.refuses {
            Some(test) => Ok(refused(test, value)?),
            None => Ok(()),
        }
    }
}

impl Processor<Key, Value> for Sums {
    type Key = Key;
    type Value = Value;

    fn init(&mut self, ctx: &mut StateContext<'_>) -> ProcessResult {
        for schedule in &self.schedules {
            ctx.schedule(*schedule)?;
        }
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<Key, Value>,
        ctx: &mut ProcessorContext<'_, Key, Value>,
    ) -> ProcessResult {
        let store = ctx.store(self.store);
        let read = record.value;
        let value = match (&record.key, read) {
            (None, value) => value,
            (Some(_), None) => {
                store.delete(&record.key)?;
                None
            }
            (Some(_), value) => {
                let sum = store.get(&record.key)?.copied().unwrap_or(0);
                let next = functions::added(sum, value, 1);
                store.put(&record.key, next)?;
                Some(next)
            }
        };
        ctx.forward(Record { value, ..record })?;
        self.judge(read)
    }

    fn punctuate(
        &mut self,
        _: &Cancellable,
        now: Timestamp,
        ctx: &mut ProcessorContext<'_, Key, Value>,
    ) -> ProcessResult {
        let mut sums = Vec::new();
        ctx.store(self.store).all(|key, sum, _| {
            sums.push((key, sum));
            ControlFlow::Continue(())
        })?;
        for (key, sum) in sums {
            if self.clear {
                ctx.store(self.store).delete(&key)?;
            }
            ctx.forward(Record::new(key, Some(sum), now))?;
        }
        self.judge(Some(now))
    }
}

pub(super) fn process<'b>(
    stream: KStream<'b, Key, Value>,
    store: StoreHandle<Store>,
    (every, clear): (&[(Clock, Timestamp)], bool),
    refuses: Option<Test>,
) -> KStream<'b, Key, Value> {
    let schedule = |(clock, interval): &(Clock, Timestamp)| match clock {
        Clock::Stream => Schedule::stream_time(*interval),
        Clock::Wall => Schedule::wall_clock(*interval),
    };
    let schedules: Vec<_> = every.iter().map(schedule).collect();
    stream.process(store, move |store| Sums {
        store,
        schedules: schedules.clone(),
        clear,
        refuses,
    })
}

/// Says how many records of its key came before; of an even value it makes two. Then it refuses
/// some.
struct Numbered(StoreRef<Store>, Option<Test>);

impl FixedKeyProcessor<Key, Value> for Numbered {
    type Value = Value;

    fn process(
        &mut self,
        key: &Key,
        value: Value,
        ctx: &mut FixedKeyContext<'_, Key, Value>,
    ) -> ProcessResult {
        if let (Some(_), Some(number)) = (key, value) {
            let seen = ctx.store(self.0).entry(key, || 0)?;
            *seen += 1;
            let told = number.wrapping_add(*seen * 1000);
            ctx.forward(Some(told))?;
            if number.rem_euclid(2) == 0 {
                ctx.forward(Some(number.wrapping_neg()))?;
            }
        } else {
            ctx.forward(value)?;
        }
        match self.1 {
            Some(test) => Ok(refused(test, value)?),
            None => Ok(()),
        }
    }
}

pub(super) fn process_values(
    stream: KStream<'_, Key, Value>,
    store: StoreHandle<Store>,
    refuses: Option<Test>,
) -> KStream<'_, Key, Value> {
    stream.process_values(store, move |store| Numbered(store, refuses))
}

/// Numbers the changes of each key, and refuses some.
struct Changes<K> {
    store: StoreRef<Store>,
    text: fn(&K) -> Key,
    refuses: Option<Test>,
}

impl<K: Data> FixedKeyProcessor<K, Value> for Changes<K> {
    type Value = Value;

    fn process(
        &mut self,
        key: &K,
        value: Value,
        ctx: &mut FixedKeyContext<'_, K, Value>,
    ) -> ProcessResult {
        let number = ctx.store(self.store).entry(&(self.text)(key), || 0)?;
        *number += 1;
        let row = functions::numbered(value, *number);
        if let Some(test) = self.refuses {
            refused(test, value)?;
        }
        Ok(ctx.forward(row)?)
    }
}

pub(super) fn transform_values<'b, K: Data>(
    table: KTable<'b, K, i64>,
    (store, text): (StoreHandle<Store>, fn(&K) -> Key),
    refuses: Option<Test>,
    materialized: Materialized<K, i64>,
) -> KTable<'b, K, i64> {
    let new = move |store| Changes {
        store,
        text,
        refuses,
    };
    table.transform_values(store, new, materialized)
}

/// Joins values with what their keys are in a store that somebody else writes.
struct LookingUp(StoreRef<Store>);

impl FixedKeyProcessor<Key, Value> for LookingUp {
    type Value = Value;

    fn process(
        &mut self,
        key: &Key,
        value: Value,
        ctx: &mut FixedKeyContext<'_, Key, Value>,
    ) -> ProcessResult {
        let row = match key {
            Some(_) => ctx.store(self.0).get(key)?.copied(),
            None => None,
        };
        Ok(ctx.forward(Some(functions::joined(value, row)))?)
    }
}

pub(super) fn look_up(
    stream: KStream<'_, Key, Value>,
    store: StoreHandle<Store>,
) -> KStream<'_, Key, Value> {
    stream.process_values(store, LookingUp)
}

type History = VersionedStore<Key, i64>;

/// Tells until when each value holds, and what its key was before.
struct Versions {
    store: StoreRef<History>,
    back: Timestamp,
    /// Kafka Streams counts what its store does not put any more.
    dropped: Arc<AtomicU64>,
}

impl Processor<Key, Value> for Versions {
    type Key = Key;
    type Value = Value;

    fn process(
        &mut self,
        record: Record<Key, Value>,
        ctx: &mut ProcessorContext<'_, Key, Value>,
    ) -> ProcessResult {
        let store = ctx.store(self.store);
        let (key, time) = (&record.key, record.timestamp);
        let put = match store.put(key, record.value, time)? {
            None => return Ok(ctx.forward(record)?),
            Some(Put::Latest) => -1,
            Some(Put::Until(until)) => until,
            Some(Put::TooOld) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                -2
            }
        };
        let was = store.get_as_of(key, time.saturating_sub(self.back).max(0))?;
        let was = was.map(|was| (*was.value, was.since));
        let value = Some(functions::versions(put, was));
        Ok(ctx.forward(Record { value, ..record })?)
    }
}

pub(super) fn versions<'b>(
    stream: KStream<'b, Key, Value>,
    store: StoreHandle<History>,
    back: Timestamp,
    dropped: &Arc<AtomicU64>,
) -> KStream<'b, Key, Value> {
    let dropped = dropped.clone();
    stream.process(store, move |store| Versions {
        store,
        back,
        dropped: dropped.clone(),
    })
}
