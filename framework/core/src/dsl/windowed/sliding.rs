//! Sliding windows: where the set of records within reach of each other changes, there is a window.
//!
//! For each timestamp of a key there is the *left* window, which ends there, and, if anything
//! follows within reach, the *right* one, which begins just behind it. A record changes the windows
//! that hold its time, and makes the windows that its own timestamp brings: left and right ones,
//! and the right one of the record before it, which had nothing on its right so far. A new window
//! begins as the aggregate of one that holds just the other records. Invariant: a row's timestamp
//! is the greatest one in its window, from which the record before another one is known.

use super::Node;
use crate::{
    dsl::Change,
    error::{Error, Result},
    link::Data,
    record::{Headers, Record, Timestamp},
    store::{At, KeyRows},
    task::TaskContext,
    window::{SlidingWindows, Window},
};

/// A record on its way through the windows of its key.
struct Step<'a, K: 'static, V, A: 'static, F> {
    node: &'a mut Node<K, A>,
    rows: KeyRows,
    key: K,
    value: V,
    time: Timestamp,
    headers: Headers,
    difference: Timestamp,
    closed: Timestamp,
    change: &'a F,
}

/// What a record is added to.
enum Begin<A> {
    /// To what is there, or to nothing.
    AsItIs,
    /// To a copy of another window, or to nothing, whatever is there.
    Anew(Option<A>),
}

/// Whether to go on with a record: not behind a refusal.
type Go = Result<bool>;

pub(super) fn apply<K: Data, V: Data, A: Data>(
    windows: SlidingWindows,
    ctx: &mut TaskContext,
    node: &mut Node<K, A>,
    record: Record<K, V>,
    change: &impl Fn(&K, V, &mut Option<A>) -> Result<()>,
) -> Result<()> {
    let Record {
        key,
        value,
        timestamp: time,
        headers,
    } = record;
    if time < 0 {
        let text = format!("sliding windows take no record before 1970, at {time}");
        return ctx.refuse(&node.name, Error::processing(text));
    }
    let store = ctx.store(node.store);
    let rows = match store.enter(&key, time, Timestamp::MIN) {
        Ok(Some(rows)) => rows,
        Ok(None) => return ctx.drop_null_key(),
        Err(error) => return ctx.refuse(&node.name, error),
    };
    let closed = store.observed().saturating_sub(windows.grace);
    let difference = windows.difference;
    if time.saturating_add(difference) < closed {
        ctx.drop_late_record();
        return Ok(());
    }
    let mut step = Step {
        node,
        rows,
        key,
        value,
        time,
        headers,
        difference,
        closed,
        change,
    };
    // Windows do not begin before 1970; what would, is put into the one that begins then.
    let done = if time < difference {
        step.early(ctx)
    } else {
        step.late_enough(ctx)
    };
    done.map(|_| ())
}

impl<K: Data, V: Data, A: Data, F> Step<'_, K, V, A, F>
where
    F: Fn(&K, V, &mut Option<A>) -> Result<()>,
{
    /// Windows whose starts are not before 1970: the latest first, as Kafka Streams tells them.
    fn late_enough(&mut self, ctx: &mut TaskContext) -> Go {
        let (time, difference) = (self.time, self.difference);
        let earliest = time.saturating_sub(difference.saturating_mul(2)).max(0);
        let mut right = None;
        let (mut met_right, mut left_exists) = (self.right_exists(ctx), false);
        let (mut left, mut before) = (None, None);
        let mut cursor = At::time(time);
        while let Some((at, latest)) = ctx.store(self.node.store).last_to(self.rows, cursor) {
            if at.time < earliest {
                break;
            }
            let end = at.time.saturating_add(difference);
            if end < time {
                (left, before) = (Some(at), Some(latest));
                break;
            }
            if end > time && !met_right {
                right = self.copy_right(ctx, at);
                met_right = true;
            }
            if !self.update(ctx, at, Begin::AsItIs)? {
                return Ok(false);
            }
            if end == time {
                left_exists = true;
                if latest >= time {
                    // A record of this very time has made all windows.
                    return Ok(true);
                }
                before = Some(latest);
            }
            cursor = At::last(at.time - 1);
        }
        if let Some(before) = before {
            let start = At::time(before.saturating_add(1));
            let reaches = start.time.saturating_add(difference) >= time;
            if reaches && !self.exists(ctx, start) && !self.update(ctx, start, Begin::AsItIs)? {
                return Ok(false);
            }
        }
        if !left_exists {
            // Where the record before is just out of reach, this is the window that was made for
            // it: Kafka Streams makes it, and tells it, twice.
            let within = before.is_some_and(|before| time - difference <= before);
            let begun = left.filter(|_| within);
            let begun = begun
                .and_then(|at| self.copy(ctx, at))
                .map(|(value, _)| value);
            if !self.update(ctx, At::time(time - difference), Begin::Anew(begun))? {
                return Ok(false);
            }
        }
        self.make_right(ctx, right)
    }

    /// A record so early that the window ending at it would begin before 1970: it goes into the
    /// first window there is.
    fn early(&mut self, ctx: &mut TaskContext) -> Go {
        let (time, first) = (self.time, At::time(0));
        let combined = ctx.store(self.node.store).value(self.rows, first);
        let latest = combined.map(|(_, latest)| latest);
        let right_exists = self.right_exists(ctx);
        let last = ctx
            .store(self.node.store)
            .last_to(self.rows, At::time(time));
        let last = last.map(|(at, _)| at).filter(|at| *at > first);
        let right = match (right_exists, last) {
            (true, _) => None,
            (false, Some(at)) => self.copy_right(ctx, at),
            (false, None) => self.copy_right(ctx, first),
        };
        let mut cursor = At::first(1);
        while let Some((at, _)) = ctx.store(self.node.store).first_from(self.rows, cursor) {
            if at.time > time {
                break;
            }
            if !self.update(ctx, at, Begin::AsItIs)? {
                return Ok(false);
            }
            cursor = At::first(at.time + 1);
        }
        if !self.make_right(ctx, right)? {
            return Ok(false);
        }
        if let Some(before) = latest.filter(|latest| *latest < time) {
            let start = At::time(before.saturating_add(1));
            if !self.exists(ctx, start) && !self.update(ctx, start, Begin::AsItIs)? {
                return Ok(false);
            }
        }
        self.update(ctx, first, Begin::AsItIs)
    }

    fn exists(&self, ctx: &mut TaskContext, at: At) -> bool {
        ctx.store(self.node.store).value(self.rows, at).is_some()
    }

    fn right_exists(&self, ctx: &mut TaskContext) -> bool {
        self.exists(ctx, At::time(self.time.saturating_add(1)))
    }

    fn copy(&self, ctx: &mut TaskContext, at: At) -> Option<(A, Timestamp)> {
        let found = ctx.store(self.node.store).value(self.rows, at);
        found.map(|(value, latest)| (value.clone(), latest))
    }

    /// What the record's right window begins as, if anything lies on its right: a window that holds
    /// just that, before the record changes it.
    fn copy_right(&self, ctx: &mut TaskContext, at: At) -> Option<(A, Timestamp)> {
        let (_, latest) = ctx.store(self.node.store).value(self.rows, at)?;
        if latest > self.time {
            self.copy(ctx, at)
        } else {
            None
        }
    }

    fn window(&self, at: At) -> Window {
        Window::new(at.time, at.time.saturating_add(self.difference))
    }

    /// Adds the record to a window.
    fn update(&mut self, ctx: &mut TaskContext, at: At, begin: Begin<A>) -> Go {
        let window = self.window(at);
        if window.end < self.closed {
            ctx.drop_late_record();
            return Ok(true);
        }
        let (tells_old, value) = (self.node.tells_old(), self.value.clone());
        let store = ctx.store(self.node.store);
        let changed = store.change(self.rows, at, self.time, |row| {
            let existed = row.is_some();
            let old = if tells_old { row.clone() } else { None };
            if let Begin::Anew(begun) = begin {
                *row = begun;
            }
            (self.change)(&self.key, value, row)?;
            Ok((old, existed))
        });
        match changed {
            Ok(((old, existed), new, time)) if self.node.tells() => {
                let new = new.clone();
                self.tell(ctx, window, (Change { old, new }, existed), time)?;
                Ok(true)
            }
            Ok(_) => Ok(true),
            Err(error) => {
                ctx.refuse(&self.node.name, error)?;
                Ok(false)
            }
        }
    }

    fn make_right(&mut self, ctx: &mut TaskContext, right: Option<(A, Timestamp)>) -> Go {
        let Some((value, latest)) = right else {
            return Ok(true);
        };
        let at = At::time(self.time.saturating_add(1));
        let told = self.node.tells().then(|| value.clone());
        let store = ctx.store(self.node.store);
        store.set(self.rows, at, Some(value), latest);
        if let Some(value) = told {
            let change = Change {
                old: None,
                new: Some(value),
            };
            self.tell(ctx, self.window(at), (change, false), latest)?;
        }
        Ok(true)
    }

    fn tell(
        &mut self,
        ctx: &mut TaskContext,
        window: Window,
        change: (Change<A>, bool),
        time: Timestamp,
    ) -> Result<()> {
        let (key, headers) = (self.key.clone(), self.headers.clone());
        self.node.tell(ctx, (key, window), change, (time, headers))
    }
}
