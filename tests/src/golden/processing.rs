//! What only processors have: schedules that they make and cancel while they run, children by name,
//! and global stores with a processor. `tests/jvm/GoldenProcessing.java` has the same.
//!
//! Invariant: of the schedules of stream time no two are ever due together, since who is first then
//! depends in Kafka Streams on who was called last.

use super::{
    functions,
    program::{Key, Value},
};
use millstream_core::prelude::*;

/// Has a schedule in each of four slots; its values say what becomes of which. Those of stream
/// time are due at times that leave the slot as their remainder by 3.
struct Scheduling {
    interval: Timestamp,
    slots: [Option<Cancellable>; 4],
}

impl Scheduling {
    fn make(&mut self, slot: usize, start: Timestamp, ctx: &mut StateContext<'_>) -> ProcessResult {
        let schedule = match slot {
            0 => Schedule::stream_time(3 * self.interval),
            3 => Schedule::wall_clock(self.interval),
            _ => Schedule::stream_time(3 * self.interval).starting_at(start),
        };
        self.slots[slot] = Some(ctx.schedule(schedule)?);
        Ok(())
    }

    fn cancel(&self, slot: usize) {
        if let Some(made) = &self.slots[slot] {
            made.cancel();
            made.cancel();
        }
    }
}

impl Processor<Key, Value> for Scheduling {
    type Key = Key;
    type Value = Value;

    fn process(
        &mut self,
        record: Record<Key, Value>,
        ctx: &mut ProcessorContext<'_, Key, Value>,
    ) -> ProcessResult {
        match record.value {
            None => (0..self.slots.len()).for_each(|slot| self.cancel(slot)),
            Some(value) => {
                let slot = usize::try_from(value.rem_euclid(4))?;
                self.cancel(slot);
                if value.div_euclid(4).rem_euclid(3) != 1 {
                    let start = record.timestamp / 3 + value.rem_euclid(5) - 2;
                    let start = start.max(0);
                    self.make(slot, 3 * start + value.rem_euclid(4), ctx)?;
                }
            }
        }
        Ok(ctx.forward(record)?)
    }

    fn punctuate(
        &mut self,
        of: &Cancellable,
        now: Timestamp,
        ctx: &mut ProcessorContext<'_, Key, Value>,
    ) -> ProcessResult {
        let mine = |made: &Option<Cancellable>| made.as_ref() == Some(of);
        let slot = self.slots.iter().position(mine);
        let slot = slot.ok_or("a schedule that was replaced is called")?;
        ctx.forward(Record::new(Some(format!("s{slot}")), Some(now), now))?;
        match slot {
            1 => self.cancel(2),
            2 if now % 2 == 0 => {
                self.cancel(2);
                self.cancel(1);
                self.make(1, 3 * (now / 3) + 1, ctx)?;
            }
            _ => {}
        }
        Ok(())
    }
}

pub(super) fn schedules(
    stream: KStream<'_, Key, Value>,
    interval: Timestamp,
) -> KStream<'_, Key, Value> {
    stream.process((), move |()| Scheduling {
        interval,
        slots: [const { None }; 4],
    })
}

/// Sends even values on, odd ones doubled to a child, and null to both.
struct Sorting(ChildRef<Key, Value>);

impl Processor<Key, Value> for Sorting {
    type Key = Key;
    type Value = Value;

    fn process(
        &mut self,
        record: Record<Key, Value>,
        ctx: &mut ProcessorContext<'_, Key, Value>,
    ) -> ProcessResult {
        let value = record.value;
        if value.is_none_or(|value| value.rem_euclid(2) == 1) {
            let doubled = value.map(|value| value.wrapping_mul(2));
            ctx.forward_to(&self.0, record.clone().with_value(doubled))?;
        }
        if value.is_none_or(|value| value.rem_euclid(2) == 0) {
            ctx.forward(record)?;
        }
        Ok(())
    }
}

pub(super) fn children<'b>(
    stream: KStream<'b, Key, Value>,
    name: &str,
) -> [KStream<'b, Key, Value>; 2] {
    let odd = Child::new(format!("{name}-odd"));
    let (even, odd) = stream.process_to((), odd, |(), odd| Sorting(odd));
    [even, odd]
}

/// Folds values under the first letters of their keys; some delete another row.
struct Folding;

impl GlobalProcessor<Key, i64> for Folding {
    type Key = Key;
    type Value = i64;

    fn process(
        &mut self,
        record: Record<Key, Option<i64>>,
        ctx: &mut GlobalContext<'_, Key, i64>,
    ) -> ProcessResult {
        let (key, store) = (row(record.key.as_deref()), ctx.store());
        let Some(value) = record.value else {
            store.delete(&key)?;
            return Ok(());
        };
        let sum = store.get(&key)?.copied().unwrap_or(0);
        store.put(&key, functions::added(sum, Some(value), 1))?;
        if value.rem_euclid(5) == 4 {
            store.delete(&row(Some("x")))?;
        }
        Ok(())
    }
}

/// The key of a row.
fn row(key: Option<&str>) -> Key {
    let first = key.map_or(Some('n'), |key| key.chars().next());
    Some(["g".to_owned(), first.map(String::from).unwrap_or_default()].concat())
}

pub(super) fn global(
    builder: &StreamsBuilder,
    topic: &Topic<Key, i64>,
    materialized: Materialized<Key, i64>,
) -> GlobalStore<Key, i64> {
    builder
        .global_store(topic, materialized, || Folding)
        .store()
}

/// Joins values with the rows of their keys.
struct LookingUp(GlobalStore<Key, i64>);

impl FixedKeyProcessor<Key, Value> for LookingUp {
    type Value = Value;

    fn process(
        &mut self,
        key: &Key,
        value: Value,
        ctx: &mut FixedKeyContext<'_, Key, Value>,
    ) -> ProcessResult {
        let found = ctx.global(self.0, &row(key.as_deref()))?;
        let found = found.map(|(found, _)| found);
        Ok(ctx.forward(Some(functions::joined(value, found)))?)
    }
}

pub(super) fn look_up(
    stream: KStream<'_, Key, Value>,
    store: GlobalStore<Key, i64>,
) -> KStream<'_, Key, Value> {
    stream.process_values((), move |()| LookingUp(store))
}
