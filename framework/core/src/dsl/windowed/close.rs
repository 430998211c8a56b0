//! Final results: windows that have closed are told, once each.
//!
//! A record first closes what its time closes and is counted then; it cannot be in what it closes.
//! Invariant: what has closed by the observed time has been told, so a restarted task need not
//! remember what was.

use super::{EmitStrategy, Node};
use crate::{
    dsl::Change,
    error::Result,
    link::Data,
    record::{Headers, Record, Timestamp},
    task::{Resident, TaskContext, Ticker},
    window::Windowed,
};
use std::{cell::RefCell, rc::Rc, time::Duration};

impl<K: Data, A: Data> Node<K, A> {
    /// Closes and tells what lies behind a record's time. A record without a key has no time. Says
    /// whether the record may go on: one whose key the store cannot take has been refused.
    #[inline]
    pub(super) fn close_behind<V>(
        &mut self,
        ctx: &mut TaskContext,
        record: &Record<K, V>,
    ) -> Result<bool> {
        let store = ctx.store(self.store);
        if !store.is_due(record.timestamp) {
            return Ok(true);
        }
        match store.is_null(&record.key) {
            Ok(true) => {}
            Ok(false) => self.close(ctx, record.timestamp, &record.headers)?,
            Err(error) => return ctx.refuse(&self.name, error).map(|()| false),
        }
        Ok(true)
    }

    /// Closes and tells all windows that have closed when the observed time is `now`.
    fn close(&mut self, ctx: &mut TaskContext, now: Timestamp, headers: &Headers) -> Result<()> {
        while let Some((key, at, value, timestamp)) = ctx.store(self.store).next_due(now)? {
            let window = self.kind.window(at);
            let change = Change {
                old: None,
                new: Some(value),
            };
            let record = Record {
                key: Windowed::new(key, window),
                value: change,
                timestamp,
                headers: headers.clone(),
            };
            let held = (timestamp, Headers::NONE);
            ctx.tally.final_emits += 1;
            ctx.telling(held, |ctx| self.down.push_now(ctx, record))?;
        }
        ctx.store(self.store).observe(now);
        Ok(())
    }

    /// Closes everything if no record has come for so long.
    fn close_if_idle(
        &mut self,
        ctx: &mut TaskContext,
        now: Timestamp,
        idle: Timestamp,
    ) -> Result<bool> {
        if self.last == Timestamp::MIN || ctx.has_work() {
            // The clock begins with the task, and again while records wait: a task that was paused
            // or held up was not without them, and they may belong to what is open.
            self.last = now;
        }
        self.last = self.last.min(now);
        if self.emit != EmitStrategy::OnWindowClose || now.saturating_sub(self.last) < idle {
            return Ok(false);
        }
        match ctx.store(self.store).all_due() {
            Some(then) => self.close(ctx, then, &Headers::NONE).map(|()| true),
            None => Ok(false),
        }
    }
}

/// Looks at the wall clock for a node of windows.
pub(super) fn ticker<K: Data, A: Data>(
    node: Rc<RefCell<Node<K, A>>>,
    idle: Duration,
) -> Box<dyn Resident> {
    let idle = Timestamp::try_from(idle.as_millis()).unwrap_or(Timestamp::MAX);
    let fire =
        move |ctx: &mut TaskContext, now| node.borrow_mut().close_if_idle(ctx, now, idle.max(1));
    Box::new(Ticker(fire))
}
