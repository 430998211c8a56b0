//! One side of a stream-stream join: what it does with each record.
//!
//! A record first lets results go whose windows have closed, then meets the other side's records in
//! the order of their times, and is then kept for those to come. Invariants: each store is searched
//! once per record; what the stores refuse is settled before anything of the record goes
//! downstream.

use super::JoinWindows;
use crate::{
    error::Result,
    link::{Data, Fanout},
    record::{Headers, Record, Timestamp},
    serde::Serde,
    store::{At, Due, KeyRows, Look, Place, StoreRef, TimedStore, WaitingStore},
    task::TaskContext,
};
use std::sync::Arc;

/// The sides as they are ordered where records of both wait: Kafka tells the right ones first.
pub(super) const RIGHT: u8 = 0;
pub(super) const LEFT: u8 = 1;

/// What becomes of a record of one side that met nothing.
pub(super) type Alone<K, T, W> = Arc<dyn Fn(&K, &T) -> W + Send + Sync>;
/// What becomes of one that has waited in vain.
pub(super) type Tell<K, W> = Arc<dyn Fn(&Due) -> Result<(K, W)> + Send + Sync>;

/// Where a side finds its own records and the other's, and how it joins them.
pub(super) struct Side<K: 'static, T: 'static, O: 'static, W, J> {
    pub(super) name: String,
    pub(super) this: StoreRef<TimedStore<K, T>>,
    pub(super) other: StoreRef<TimedStore<K, O>>,
    /// How much earlier and later than its own the other side's records may be.
    pub(super) before: Timestamp,
    pub(super) after: Timestamp,
    pub(super) value: Serde<T>,
    pub(super) join: Arc<J>,
    pub(super) outer: Option<Outer<K, T, W>>,
    /// The results for the record in hand, with their times.
    pub(super) results: Vec<(W, Timestamp)>,
    pub(super) down: Fanout<K, W>,
}

/// What a left or outer join does besides.
pub(super) struct Outer<K: 'static, T: 'static, W> {
    pub(super) waiting: StoreRef<WaitingStore>,
    pub(super) windows: JoinWindows,
    pub(super) side: u8,
    /// `None` where records of this side go nowhere by themselves.
    pub(super) alone: Option<Alone<K, T, W>>,
    pub(super) tell: Tell<K, W>,
    /// The bytes of the key in hand, and the times of those that it meets.
    pub(super) key: Vec<u8>,
    pub(super) times: Vec<Timestamp>,
}

impl<K, T, O, W, J> Side<K, T, O, W, J>
where
    K: Data,
    T: Data,
    O: Data,
    W: Data,
    J: Fn(&K, &T, &O) -> W,
{
    pub(super) fn take(&mut self, ctx: &mut TaskContext, record: Record<K, T>) -> Result<()> {
        let time = record.timestamp;
        let stream_time = (self.outer.as_ref()).map(|outer| ctx.store(outer.waiting).observe(time));
        if self.value.is_null(&record.value) {
            return ctx.drop_null_key();
        }
        let least = time.saturating_sub(self.before).max(0);
        let (met, own) = match self.find(ctx, &record.key, (least, time)) {
            Ok(Some(rows)) => rows,
            Ok(None) => return self.without_key(ctx, record),
            Err(error) => return ctx.refuse(&self.name, error),
        };
        if stream_time == Some(time) {
            self.tell_closed(ctx, time, &record.headers)?;
        }
        let logged = match ctx.store(self.this).log(own, time, &record.value) {
            Ok(logged) => logged,
            Err(error) => return ctx.refuse(&self.name, error),
        };
        if let Err(error) = self.meet(ctx, (met, own), &record) {
            self.results.clear();
            if logged.is_some() {
                ctx.store(self.this).unlog();
            }
            return ctx.refuse(&self.name, error);
        }
        let Record {
            key,
            value,
            headers,
            ..
        } = record;
        let this = ctx.store(self.this);
        this.observe(time);
        match logged {
            Some(at) => this.hold(own, at, value),
            None => ctx.drop_late_record(),
        }
        send(&mut self.down, ctx, &mut self.results, (key, headers))
    }

    /// Where the other side's rows of a key are from one time on, and this side's from another;
    /// `None` for a null key. Both are looked for at once, so that the processor waits for the
    /// memory of both together.
    fn find(
        &self,
        ctx: &mut TaskContext,
        key: &K,
        (theirs, own): (Timestamp, Timestamp),
    ) -> Result<Option<(KeyRows, KeyRows)>> {
        let met = ctx.store(self.other).rows_to_read(key, theirs)?;
        let own = ctx.store(self.this).rows_from(key, own)?;
        Ok(met.zip(own))
    }

    /// A null key equals no other: the record is alone from the beginning (KIP-962).
    fn without_key(&mut self, ctx: &mut TaskContext, record: Record<K, T>) -> Result<()> {
        match self.outer.as_ref().and_then(|outer| outer.alone.as_ref()) {
            Some(alone) => {
                let result = alone(&record.key, &record.value);
                self.down.push(ctx, record.with_value(result))
            }
            None => ctx.drop_null_key(),
        }
    }

    /// Fills in the results of a record with those that the other side has for it.
    fn meet(
        &mut self,
        ctx: &mut TaskContext,
        (rows, own): (KeyRows, KeyRows),
        record: &Record<K, T>,
    ) -> Result<()> {
        let Self {
            join,
            results,
            value: serde,
            ..
        } = self;
        let (key, value, time) = (&record.key, &record.value, record.timestamp);
        let from = time.saturating_sub(self.before).max(0);
        let to = time.saturating_add(self.after).max(0);
        let other = ctx.store(self.other);
        let found = other.between(rows, At::first(from)..=At::last(to));
        match &mut self.outer {
            None => {
                results
                    .extend(found.map(|(at, met, _)| (join(key, value, met), time.max(at.time))));
                Ok(())
            }
            Some(outer) => {
                outer.times.clear();
                for (at, met, _) in found {
                    results.push((join(key, value, met), time.max(at.time)));
                    if outer.times.last() != Some(&at.time) {
                        outer.times.push(at.time);
                    }
                }
                outer.key.clear();
                (outer.key).extend_from_slice(ctx.store(self.this).key_bytes(own));
                if outer.times.is_empty() {
                    outer.met_nobody(ctx, record, (*serde, to), results)
                } else {
                    outer.met(ctx);
                    Ok(())
                }
            }
        }
    }

    /// Sends on the results of records that waited until their windows closed. They carry the
    /// headers of the record that brought the time, as in Kafka Streams.
    fn tell_closed(
        &mut self,
        ctx: &mut TaskContext,
        stream_time: Timestamp,
        headers: &Headers,
    ) -> Result<()> {
        let Some(outer) = &self.outer else {
            return Ok(());
        };
        let waiting = ctx.store(outer.waiting);
        // Kafka looks from this side only whether it is worth a search.
        let worth = self.after.saturating_add(outer.windows.grace);
        if waiting.least().saturating_add(worth) >= stream_time {
            return Ok(());
        }
        let told = waiting
            .take(outer.windows.closed_by(stream_time))
            .and_then(|due| {
                let tell = |due: &Due| {
                    let told = (outer.tell)(due).map_err(|cause| waiting.unreadable(&cause));
                    told.map(|told| (told, due.time))
                };
                due.iter().map(tell).collect::<Result<Vec<_>>>()
            })?;
        for ((key, value), timestamp) in told {
            let headers = headers.clone();
            let record = Record {
                key,
                value,
                timestamp,
                headers,
            };
            let held = (timestamp, Headers::NONE);
            ctx.telling(held, |ctx| self.down.push(ctx, record))?;
        }
        Ok(())
    }
}

impl<K, T, W> Outer<K, T, W> {
    /// The other side's records of those times have met somebody.
    fn met(&self, ctx: &mut TaskContext) {
        let waiting = ctx.store(self.waiting);
        for &time in &self.times {
            let side = LEFT + RIGHT - self.side;
            let key = &self.key;
            waiting.remove(Place { time, side, key });
        }
    }

    /// The record waits until its window closes, if that is still to come.
    fn met_nobody(
        &mut self,
        ctx: &mut TaskContext,
        record: &Record<K, T>,
        (serde, end): (Serde<T>, Timestamp),
        results: &mut Vec<(W, Timestamp)>,
    ) -> Result<()> {
        let Some(alone) = &self.alone else {
            return Ok(());
        };
        let (time, side, key) = (record.timestamp, self.side, &self.key[..]);
        let waiting = ctx.store(self.waiting);
        // Without the grace period, as in Kafka Streams: who is so late waits no longer, even
        // though a partner may still come.
        if end < waiting.observe(time) {
            results.push((alone(&record.key, &record.value), time));
            return Ok(());
        }
        let mut bytes = Vec::new();
        serde.encode(&record.value, &mut bytes)?;
        waiting.push(Place { time, side, key }, bytes)
    }
}

impl JoinWindows {
    /// What of the waiting records is due. Once one of each side is not, none behind them is.
    fn closed_by(self, stream_time: Timestamp) -> impl FnMut(Timestamp, u8) -> Look {
        let mut open = [false; 2];
        move |time, side| {
            if open == [true; 2] {
                return Look::Stop;
            }
            let reach = if side == LEFT {
                self.after
            } else {
                self.before
            };
            let end = time.saturating_add(reach).saturating_add(self.grace);
            if end < stream_time {
                return Look::Take;
            }
            open[usize::from(side == LEFT)] = true;
            Look::Leave
        }
    }
}

/// Sends results downstream under one key.
pub(super) fn send<K: Data, W: Data>(
    down: &mut Fanout<K, W>,
    ctx: &mut TaskContext,
    results: &mut Vec<(W, Timestamp)>,
    (key, headers): (K, Headers),
) -> Result<()> {
    let last = results.pop();
    for (value, timestamp) in results.drain(..) {
        let (key, headers) = (key.clone(), headers.clone());
        down.push(
            ctx,
            Record {
                key,
                value,
                timestamp,
                headers,
            },
        )?;
    }
    match last {
        Some((value, timestamp)) => down.push(
            ctx,
            Record {
                key,
                value,
                timestamp,
                headers,
            },
        ),
        None => Ok(()),
    }
}
