//! Windows at regular distances: tumbling, hopping, and the unlimited one.
//!
//! A record changes every window that holds its time and is open, the earliest first.

use super::{Node, WindowedKStream};
use crate::{
    dsl::{Change, Fun, KTable},
    error::{Error, Result},
    link::Data,
    record::Record,
    store::{At, Materialized},
    task::TaskContext,
    window::{Grid, SlidingWindows, TimeWindows, UnlimitedWindows, Window, Windowed, Windows},
};
use std::sync::Arc;

/// The kinds of windows whose places follow from times alone, and that are never merged.
#[expect(private_bounds, reason = "nobody else implements it")]
pub trait FixedWindows: Windows + Places {}
impl<W: Windows + Places> FixedWindows for W {}

/// Which windows a record changes.
pub(super) trait Places: Copy + Send + Sync + 'static {
    /// Changes them all. `value` is cloned for all windows but the last one.
    fn apply<K: Data, V: Data, A: Data>(
        self,
        ctx: &mut TaskContext,
        node: &mut Node<K, A>,
        record: Record<K, V>,
        change: &impl Fn(&K, V, &mut Option<A>) -> Result<()>,
    ) -> Result<()>;
}

impl Places for TimeWindows {
    #[inline]
    fn apply<K: Data, V: Data, A: Data>(
        self,
        ctx: &mut TaskContext,
        node: &mut Node<K, A>,
        record: Record<K, V>,
        change: &impl Fn(&K, V, &mut Option<A>) -> Result<()>,
    ) -> Result<()> {
        on_grid(self.grid(), ctx, node, record, change)
    }
}

impl Places for UnlimitedWindows {
    #[inline]
    fn apply<K: Data, V: Data, A: Data>(
        self,
        ctx: &mut TaskContext,
        node: &mut Node<K, A>,
        record: Record<K, V>,
        change: &impl Fn(&K, V, &mut Option<A>) -> Result<()>,
    ) -> Result<()> {
        on_grid(self.grid(), ctx, node, record, change)
    }
}

impl Places for SlidingWindows {
    fn apply<K: Data, V: Data, A: Data>(
        self,
        ctx: &mut TaskContext,
        node: &mut Node<K, A>,
        record: Record<K, V>,
        change: &impl Fn(&K, V, &mut Option<A>) -> Result<()>,
    ) -> Result<()> {
        super::sliding::apply(self, ctx, node, record, change)
    }
}

#[inline]
fn on_grid<K: Data, V: Data, A: Data>(
    grid: Grid,
    ctx: &mut TaskContext,
    node: &mut Node<K, A>,
    record: Record<K, V>,
    change: &impl Fn(&K, V, &mut Option<A>) -> Result<()>,
) -> Result<()> {
    let Record {
        key,
        value,
        timestamp,
        headers,
    } = record;
    let store = ctx.store(node.store);
    let mut starts = grid.starts(timestamp).peekable();
    let entered = match starts.peek() {
        // Where windows do not overlap one row is all that a record needs.
        Some(&only) if !grid.overlaps() => store.enter_at(&key, timestamp, At::time(only)),
        first => {
            let least = first.copied().unwrap_or(timestamp);
            store.enter(&key, timestamp, least)
        }
    };
    let rows = match entered {
        Ok(Some(rows)) => rows,
        Ok(None) => return ctx.drop_null_key(),
        Err(error) => return ctx.refuse(&node.name, error),
    };
    let closed = store.observed().saturating_sub(grid.grace);
    let mut value = Some(value);
    while let Some(start) = starts.next() {
        let window = Window::new(start, grid.end(start));
        if window.end <= closed {
            ctx.drop_late_record();
            continue;
        }
        let last = starts.peek().is_none();
        let given = if last { value.take() } else { value.clone() };
        let Some(given) = given else { break };
        let tells_old = node.tells_old();
        let store = ctx.store(node.store);
        let changed = store.change(rows, At::time(start), timestamp, |row| {
            let existed = row.is_some();
            let old = if tells_old { row.clone() } else { None };
            change(&key, given, row)?;
            Ok((old, existed))
        });
        match changed {
            Ok(((old, existed), new, time)) if node.tells() => {
                let new = new.clone();
                let change = (Change { old, new }, existed);
                if last {
                    return node.tell(ctx, (key, window), change, (time, headers));
                }
                let (key, headers) = (key.clone(), headers.clone());
                node.tell(ctx, (key, window), change, (time, headers))?;
            }
            Ok(_) => {}
            Err(error) => return ctx.refuse(&node.name, error),
        }
    }
    Ok(())
}

impl<'b, K: Data, V: Data, W: FixedWindows> WindowedKStream<'b, K, V, W> {
    /// How many records each key had in each window.
    #[track_caller]
    pub fn count(self, store: impl Into<Materialized<K, u64>>) -> KTable<'b, Windowed<K>, u64> {
        let count = |_: &K, (), row: &mut Option<u64>| {
            *row.get_or_insert(0) += 1;
            Ok(())
        };
        // What is only counted need not be cloned for each window.
        self.change(store, |_| (), count)
    }

    /// Folds the values of each key and window; the first one is the beginning.
    #[track_caller]
    pub fn reduce(
        self,
        store: impl Into<Materialized<K, V>>,
        fold: impl Fn(V, V) -> V + Fun,
    ) -> KTable<'b, Windowed<K>, V> {
        let change = move |_: &K, value, row: &mut Option<V>| {
            *row = Some(match row.take() {
                Some(so_far) => fold(so_far, value),
                None => value,
            });
            Ok(())
        };
        self.change(store, |value| value, change)
    }

    /// Changes the aggregate of each key and window in place with each record; `init` makes the
    /// first one.
    ///
    /// A result's timestamp is the greatest of the records in the window. Records with a null key
    /// are dropped and counted, and so are records for windows that have closed.
    #[track_caller]
    pub fn aggregate<A: Data>(
        self,
        store: impl Into<Materialized<K, A>>,
        init: impl Fn() -> A + Fun,
        add: impl Fn(&K, V, &mut A) + Fun,
    ) -> KTable<'b, Windowed<K>, A> {
        let change = move |key: &K, value, row: &mut Option<A>| {
            add(key, value, row.get_or_insert_with(&init));
            Ok(())
        };
        self.change(store, |value| value, change)
    }

    /// As [`WindowedKStream::aggregate`], with an `add` that may refuse a record: the source's
    /// error policy decides what happens then. An `add` that refuses must leave the aggregate as it
    /// was.
    #[track_caller]
    pub fn try_aggregate<A: Data, E>(
        self,
        store: impl Into<Materialized<K, A>>,
        init: impl Fn() -> A + Fun,
        add: impl Fn(&K, V, &mut A) -> std::result::Result<(), E> + Fun,
    ) -> KTable<'b, Windowed<K>, A>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let change = move |key: &K, value, row: &mut Option<A>| {
            let existed = row.is_some();
            let added = add(key, value, row.get_or_insert_with(&init)).map_err(Error::processing);
            if added.is_err() && !existed {
                *row = None;
            }
            added
        };
        self.change(store, |value| value, change)
    }

    /// `part` is what of a value goes into the aggregate.
    #[track_caller]
    fn change<A: Data, P: Data>(
        self,
        store: impl Into<Materialized<K, A>>,
        part: impl Fn(V) -> P + Fun,
        change: impl Fn(&K, P, &mut Option<A>) -> Result<()> + Fun,
    ) -> KTable<'b, Windowed<K>, A> {
        let (windows, shared) = (self.windows, Arc::new((part, change)));
        self.operator(store, move || {
            let shared = shared.clone();
            move |ctx: &mut TaskContext, node: &mut Node<K, A>, record: Record<K, V>| {
                let (part, change) = &*shared;
                let Record {
                    key,
                    value,
                    timestamp,
                    headers,
                } = record;
                let value = part(value);
                let record = Record {
                    key,
                    value,
                    timestamp,
                    headers,
                };
                windows.apply(ctx, node, record, change)
            }
        })
    }
}
