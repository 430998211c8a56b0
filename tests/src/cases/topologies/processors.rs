//! Processors of the user's own. Invariant: all that lasts is in stores.

use super::{MORE, NUMBERS, OUT, TEXT, TEXT_OUT};
use millstream_core::prelude::*;
use std::ops::ControlFlow;

/// Lets the first record of each key pass, twice: the second time as its negative, a second later.
struct First(StoreRef<KeyValueStore<String, i64>>);

impl Processor<String, i64> for First {
    type Key = String;
    type Value = i64;

    fn process(
        &mut self,
        record: Record<String, i64>,
        ctx: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        let seen = ctx.store(self.0).put_if_absent(&record.key, record.value)?;
        if seen.is_some() {
            return Ok(());
        }
        ctx.forward(record.clone())?;
        ctx.forward(Record {
            value: -record.value,
            timestamp: record.timestamp + 1000,
            ..record
        })?;
        Ok(())
    }
}

/// Sums by key, and tells and forgets all sums at each punctuation.
struct Sums {
    store: StoreRef<KeyValueStore<String, i64>>,
    schedule: Schedule,
}

impl Processor<String, i64> for Sums {
    type Key = String;
    type Value = i64;

    fn init(&mut self, ctx: &mut StateContext<'_>) -> ProcessResult {
        ctx.schedule(self.schedule)?;
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<String, i64>,
        ctx: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        *ctx.store(self.store).entry(&record.key, || 0)? += record.value;
        Ok(())
    }

    fn punctuate(
        &mut self,
        _: &Cancellable,
        now: Timestamp,
        ctx: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        let mut sums = Vec::new();
        ctx.store(self.store).all(|key, sum, _| {
            sums.push((key, sum));
            ControlFlow::Continue(())
        })?;
        for (key, sum) in sums {
            ctx.store(self.store).delete(&key)?;
            ctx.forward(Record::new(key, sum, now))?;
        }
        Ok(())
    }
}

/// Says how many records of its key came before.
struct Numbered(StoreRef<KeyValueStore<String, u64>>);

impl FixedKeyProcessor<String, String> for Numbered {
    type Value = String;

    fn process(
        &mut self,
        key: &String,
        value: String,
        ctx: &mut FixedKeyContext<'_, String, String>,
    ) -> ProcessResult {
        let seen = ctx.store(self.0).entry(key, || 0)?;
        *seen += 1;
        let number = *seen;
        if value.is_empty() {
            return Err("an empty text".into());
        }
        ctx.forward(format!("{number}:{value}"))?;
        Ok(())
    }
}

pub(super) fn declare(name: &str, builder: &StreamsBuilder) -> bool {
    let sums = |schedule| {
        let store = builder.store("sums");
        let made = move |store| Sums { store, schedule };
        builder.stream(&NUMBERS).process(store, made).to(&OUT);
    };
    match name {
        "process" => {
            let store = builder.store("first");
            builder.stream(&NUMBERS).process(store, First).to(&OUT);
        }
        "punctuate_stream_time" => sums(Schedule::stream_time(100)),
        "punctuate_wall_clock" => sums(Schedule::wall_clock(100)),
        "process_values" => {
            let store = builder.store("seen");
            let text = builder.stream(&TEXT);
            text.process_values(store, Numbered).to(&TEXT_OUT);
        }
        // Two inputs of one store: what one lets pass, the other has seen.
        "shared_store" => {
            let store = builder.store("first");
            builder.stream(&NUMBERS).process(store, First).to(&OUT);
            builder.stream(&MORE).process(store, First).to(&OUT);
        }
        _ => return false,
    }
    true
}
