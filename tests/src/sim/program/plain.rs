//! Programs in which time does not matter.

use super::{OUT, SIDE, Script, Shape, TOLD, TOTALS, right, rows, sum};
use millstream_core::prelude::*;

impl Script {
    pub(super) fn plain(&self, builder: &StreamsBuilder) {
        let stream = self.left(builder);
        match self.shape {
            Shape::Count => stream
                .group_by_key()
                .count("s")
                .map_values(|_, n| n as i64)
                .to(&OUT),
            Shape::Reduce => stream.group_by_key().reduce("s", i64::max).to(&OUT),
            Shape::Table => {
                stream.to_table("s").filter(|_, v| v % 3 != 0).to(&OUT);
                rows(builder).map_values(|_, v| v + 1).to(&SIDE);
            }
            Shape::Join => stream.join(rows(builder), |v, row| v * 1000 + row).to(&OUT),
            Shape::LeftJoin => {
                let join = |v: i64, row: Option<&i64>| v * 1000 + row.copied().unwrap_or(-1);
                stream.left_join(rows(builder), join).to(&OUT);
            }
            Shape::JoinFiltered => {
                let table = rows(builder).filter(|_, v| v % 2 == 0);
                stream.join(table, |v, row| v * 1000 + row).to(&OUT);
                sum(stream.group_by_key()).to(&SIDE);
            }
            Shape::Merge => sum(stream.merge(right(builder)).group_by_key()).to(&OUT),
            Shape::Branch => {
                let split = stream.split();
                sum(split.branch(|_, v| v % 2 == 0).group_by_key()).to(&OUT);
                split.default_branch().to(&SIDE);
            }
            Shape::Processor => {
                let every = self.punctuate_every;
                let store = builder.store::<String, i64>("s");
                stream
                    .process(store, move |seen| Flush {
                        seen,
                        every,
                        due: None,
                    })
                    .to(&OUT);
            }
            Shape::Repartition => {
                let topic = Repartitioned::from("moved").partitions(self.partitions);
                let moved = stream
                    .select_key(|_, v| format!("m{}", v % 5))
                    .repartition(topic);
                sum(moved.group_by_key()).to(&OUT);
            }
            Shape::GroupBy => {
                sum(stream.group_by(|_, v| format!("g{}", v % 5))).to(&OUT);
            }
            Shape::GroupByTable => {
                stream.to(&SIDE);
                let grouped = rows(builder).group_by(|_, v| (format!("t{}", v % 3), *v));
                let add = |_: &String, v: i64, total: &mut i64| *total += v;
                let subtract = |_: &String, v: i64, total: &mut i64| *total -= v;
                grouped.aggregate("totals", || 0, add, subtract).to(&TOTALS);
            }
            Shape::Forgetting => {
                // Fewer than there are keys in most programs.
                let limit = 1 + usize::try_from(self.punctuate_every % 4).unwrap_or(0);
                let last = builder.lru_map::<String, i64>("s", limit);
                stream.process(last, Remember).to(&TOLD);
            }
            Shape::Recalling => {
                let rows = Materialized::<String, i64>::from("s").with_headers();
                stream.process(builder.store(rows), Recall).to(&TOLD);
            }
            _ => sum(stream.group_by_key()).to(&OUT),
        }
    }
}

/// Tells what is remembered of each key. Every third number only looks, and every seventh deletes,
/// so that what goes next depends on every kind of use.
struct Remember(StoreRef<LruStore<String, i64>>);

impl Processor<String, i64> for Remember {
    type Key = String;
    type Value = String;

    fn process(
        &mut self,
        record: Record<String, i64>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        let (key, number, last) = (&record.key, record.value, ctx.store(self.0));
        let before = match number {
            n if n % 7 == 0 => last.delete(key)?,
            n if n % 3 == 0 => last.get(key)?.copied(),
            n => {
                let before = last.get(key)?.copied();
                last.put(key, before.unwrap_or(0) * 3 % 1_000_003 + n)?;
                before
            }
        };
        let told = before.map_or("gone".to_owned(), |before| format!("row {before}"));
        let (key, timestamp) = (record.key, record.timestamp);
        ctx.forward(Record::new(key, told, timestamp))?;
        Ok(())
    }
}

/// Tells what the record before had, with its headers. Every seventh number deletes, and every
/// third changes the row's value and leaves its headers.
struct Recall(StoreRef<KeyValueStore<String, ValueAndHeaders<i64>>>);

impl Processor<String, i64> for Recall {
    type Key = String;
    type Value = String;

    fn process(
        &mut self,
        record: Record<String, i64>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        let (key, value, rows) = (record.key, record.value, ctx.store(self.0));
        let before = rows.get(&key)?.cloned();
        match value {
            n if n % 7 == 0 => drop(rows.delete(&key)?),
            n if n % 3 == 0 => rows.entry(&key, ValueAndHeaders::default)?.value += n,
            _ => {
                let headers = record.headers;
                rows.put(&key, ValueAndHeaders { value, headers })?;
            }
        }
        let (value, headers) = match before {
            Some(before) => (format!("row {}", before.value), before.headers),
            None => ("gone".to_owned(), Headers::NONE),
        };
        let timestamp = record.timestamp;
        Ok(ctx.forward(Record {
            key,
            value,
            timestamp,
            headers,
        })?)
    }
}

/// Sums by key, and tells and forgets all sums every so often of stream time. With an even number
/// it has a schedule only while there are sums, which after a crash it has to make anew.
struct Flush {
    seen: StoreRef<KeyValueStore<String, i64>>,
    every: i64,
    due: Option<Cancellable>,
}

impl Flush {
    fn is_lazy(&self) -> bool {
        self.every % 2 == 0
    }
}

impl Processor<String, i64> for Flush {
    type Key = String;
    type Value = i64;

    fn init(&mut self, ctx: &mut StateContext<'_>) -> ProcessResult {
        let mut sums = 0;
        ctx.store(self.seen).all(|_, _, _| {
            sums += 1;
            std::ops::ControlFlow::Break(())
        })?;
        if sums > 0 || !self.is_lazy() {
            self.due = Some(ctx.schedule(Schedule::stream_time(self.every))?);
        }
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<String, i64>,
        ctx: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        let sum = ctx.store(self.seen).entry(&record.key, || 0)?;
        *sum = (*sum * 3 + record.value) % 1_000_003;
        if self.due.is_none() {
            let next = (ctx.stream_time() / self.every + 1) * self.every;
            let schedule = Schedule::stream_time(self.every).starting_at(next);
            self.due = Some(ctx.schedule(schedule)?);
        }
        Ok(())
    }

    fn punctuate(
        &mut self,
        of: &Cancellable,
        now: Timestamp,
        ctx: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        let mut sums = Vec::new();
        ctx.store(self.seen).all(|key, sum, _| {
            sums.push((key, sum));
            std::ops::ControlFlow::Continue(())
        })?;
        for (key, sum) in sums {
            ctx.store(self.seen).delete(&key)?;
            ctx.forward(Record::new(key, sum, now))?;
        }
        if self.is_lazy() {
            of.cancel();
            self.due = None;
        }
        Ok(())
    }
}
