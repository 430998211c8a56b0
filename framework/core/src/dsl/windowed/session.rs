//! Sessions: a record makes one, lengthens one, or makes one of several.
//!
//! A session's place is its end, then its start, so that a longer one is another row: the rows that
//! it is made of are deleted, and told as deleted before it is told itself. Invariant: the sessions
//! of a key lie further apart than the gap, as far as they have not expired.

use super::{Node, WindowedKStream};
use crate::{
    dsl::{Change, Fun, KTable},
    error::{Error, Result},
    link::Data,
    record::{Headers, Record, Timestamp},
    store::{At, KeyRows, Materialized, TimedStore},
    task::TaskContext,
    window::{SessionWindows, Window, Windowed},
};
use std::sync::Arc;

/// What a program does with sessions; a closure type each, known to the compiler.
pub(super) struct Actions<I, F, M> {
    pub(super) init: I,
    pub(super) add: F,
    /// Puts the second aggregate into the first.
    pub(super) merge: M,
    /// Whether `add` may refuse a record, so that what it needs must not be lost before.
    pub(super) may_refuse: bool,
}

/// A session that becomes part of another: its place, and what it was, where that is told.
pub(super) type Part<A> = (At, Option<A>);

impl SessionWindows {
    /// The session that a record makes of those within its reach.
    fn merged<K, A>(self, store: &TimedStore<K, A>, rows: KeyRows, time: Timestamp) -> Window {
        let mut merged = Window::new(time, time);
        self.each(
            time,
            |at| store.first_from(rows, at),
            |at| {
                merged.start = merged.start.min(at.second);
                merged.end = merged.end.max(at.time);
            },
        );
        merged
    }

    /// Visits the sessions within reach of a time, in order.
    fn each(
        self,
        time: Timestamp,
        first_from: impl Fn(At) -> Option<(At, Timestamp)>,
        mut visit: impl FnMut(At),
    ) {
        let latest_start = time.saturating_add(self.gap);
        let mut cursor = Some(At::first(time.saturating_sub(self.gap)));
        while let Some((at, _)) = cursor.and_then(&first_from) {
            if at.second > latest_start {
                return;
            }
            visit(at);
            cursor = at.next();
        }
    }

    /// Takes all that become part of a session out of the store, and returns what they make
    /// together. Where the record may yet be refused they are left there for the time being.
    fn gather<K, V, A: Data, I, F, M>(
        self,
        (store, rows): (&mut TimedStore<K, A>, KeyRows),
        (key, time): (&K, Timestamp),
        actions: &Actions<I, F, M>,
        (parts, keep): (&mut Vec<Part<A>>, bool),
    ) -> Option<A>
    where
        I: Fn() -> Option<A>,
        F: Fn(&K, V, &mut Option<A>) -> Result<()>,
        M: Fn(&K, &mut Option<A>, A),
    {
        let mut sum = (actions.init)();
        parts.clear();
        self.each(
            time,
            |at| store.first_from(rows, at),
            |at| parts.push((at, None)),
        );
        for (at, old) in parts {
            let value = if actions.may_refuse {
                store.value(rows, *at).map(|(value, _)| value.clone())
            } else {
                store.remove(rows, *at)
            };
            let Some(value) = value else { continue };
            if keep {
                *old = Some(value.clone());
            }
            (actions.merge)(key, &mut sum, value);
        }
        sum
    }

    pub(super) fn apply<K: Data, V: Data, A: Data, I, F, M>(
        self,
        ctx: &mut TaskContext,
        node: &mut Node<K, A>,
        record: Record<K, V>,
        actions: &Actions<I, F, M>,
        parts: &mut Vec<Part<A>>,
    ) -> Result<()>
    where
        I: Fn() -> Option<A>,
        F: Fn(&K, V, &mut Option<A>) -> Result<()>,
        M: Fn(&K, &mut Option<A>, A),
    {
        let Record {
            key,
            value,
            timestamp: time,
            ..
        } = record;
        let store = ctx.store(node.store);
        // Sessions lie at their ends.
        let least = time.saturating_sub(self.gap);
        let rows = match store.enter(&key, time, least) {
            Ok(Some(rows)) => rows,
            Ok(None) => return ctx.drop_null_key(),
            Err(error) => return ctx.refuse(&node.name, error),
        };
        let merged = self.merged(store, rows, time);
        if merged.end < store.observed().saturating_sub(self.open()) {
            ctx.drop_late_record();
            return Ok(());
        }
        let (tells, keep) = (node.tells(), node.tells_old());
        let mut sum = self.gather((store, rows), (&key, time), actions, (parts, keep));
        if let Err(error) = (actions.add)(&key, value, &mut sum) {
            return ctx.refuse(&node.name, error);
        }
        // The store is as it will be before anybody downstream may look.
        for (at, _) in parts.iter() {
            store.remove(rows, *at);
        }
        let new = if tells { sum.clone() } else { None };
        store.set(rows, At::new(merged.end, merged.start), sum, merged.end);
        if tells {
            tell(ctx, node, key, (merged, new), parts, time)
        } else {
            Ok(())
        }
    }
}

/// Tells the ends of the sessions that became one, and then the one. Their time is their end, and
/// they have no headers: they are not about one record.
fn tell<K: Data, A: Data>(
    ctx: &mut TaskContext,
    node: &mut Node<K, A>,
    key: K,
    (merged, new): (Window, Option<A>),
    parts: &mut Vec<Part<A>>,
    time: Timestamp,
) -> Result<()> {
    let mut before = None;
    // A record at the time of a session of one time changes it, and ends none.
    let same = merged == Window::new(time, time);
    let existed = same && !parts.is_empty();
    for (at, old) in parts.drain(..) {
        if same {
            before = old;
            continue;
        }
        let (window, change) = (Window::new(at.second, at.time), Change { old, new: None });
        let at = (window.end, Headers::NONE);
        node.tell(ctx, (key.clone(), window), (change, true), at)?;
    }
    let change = (Change { old: before, new }, existed);
    node.tell(ctx, (key, merged), change, (merged.end, Headers::NONE))
}

impl<'b, K: Data, V: Data> WindowedKStream<'b, K, V, SessionWindows> {
    /// How many records each session had.
    #[track_caller]
    pub fn count(self, store: impl Into<Materialized<K, u64>>) -> KTable<'b, Windowed<K>, u64> {
        self.aggregate(store, || 0, |_, _, n| *n += 1, |_, sum, n| *sum += n)
    }

    /// Folds the values of each session; the first one is the beginning. Sessions that become one
    /// are folded, the earlier one first.
    #[track_caller]
    pub fn reduce(
        self,
        store: impl Into<Materialized<K, V>>,
        fold: impl Fn(V, V) -> V + Fun,
    ) -> KTable<'b, Windowed<K>, V> {
        let fold = Arc::new(fold);
        let merge = fold.clone();
        self.change(
            store,
            Actions {
                init: || None,
                add: move |_: &K, value, row: &mut Option<V>| {
                    *row = Some(match row.take() {
                        Some(so_far) => fold(so_far, value),
                        None => value,
                    });
                    Ok(())
                },
                merge: move |_: &K, sum: &mut Option<V>, value| {
                    *sum = Some(match sum.take() {
                        Some(so_far) => merge(so_far, value),
                        None => value,
                    });
                },
                may_refuse: false,
            },
        )
    }

    /// Changes the aggregate of each session in place with each record.
    ///
    /// For each record `init` makes an aggregate, into which `merge` puts those of the sessions
    /// within its reach, the earliest first; then `add` adds the record. Sessions that became part
    /// of another are told as deleted before it is told. A result's timestamp is the session's end.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    /// use std::time::Duration;
    ///
    /// static CLICKS: Topic<String, String> = Topic::new("clicks", utf8(), utf8());
    /// static PATHS: Topic<Windowed<String>, String> =
    ///     Topic::new("paths", session_windowed::<Utf8>(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// let (gap, grace) = (Duration::from_millis(20), Duration::from_millis(20));
    /// let windows = SessionWindows::of_inactivity_gap_and_grace(gap, grace);
    /// let sessions = builder.stream(&CLICKS).group_by_key().windowed_by(windows);
    /// let add = |_: &String, page: String, path: &mut String| *path += &page;
    /// let merge = |_: &String, path: &mut String, other: String| *path += &other;
    /// sessions.aggregate("paths", String::new, add, merge).to(&PATHS);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// for (page, time) in [("a", 0), ("b", 30), ("c", 15)] {
    ///     driver.pipe(&CLICKS, "ann".to_owned(), page.to_owned(), time)?;
    /// }
    /// let session = |start, end| Windowed::new("ann".to_owned(), Window::new(start, end));
    /// let expected = [
    ///     (session(0, 0), Some("a".to_owned())),
    ///     (session(30, 30), Some("b".to_owned())),
    ///     // The third one makes a single session of the two.
    ///     (session(0, 0), None),
    ///     (session(30, 30), None),
    ///     (session(0, 30), Some("abc".to_owned())),
    /// ];
    /// assert_eq!(driver.read_key_values(&PATHS)?, expected);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    pub fn aggregate<A: Data>(
        self,
        store: impl Into<Materialized<K, A>>,
        init: impl Fn() -> A + Fun,
        add: impl Fn(&K, V, &mut A) + Fun,
        merge: impl Fn(&K, &mut A, A) + Fun,
    ) -> KTable<'b, Windowed<K>, A> {
        let add = move |key: &K, value, sum: &mut A| {
            add(key, value, sum);
            Ok(())
        };
        self.in_place(store, false, init, add, merge)
    }

    /// As the other `aggregate`, with an `add` that may refuse a record: the source's error policy
    /// decides what happens then, and the sessions stay as they were.
    #[track_caller]
    pub fn try_aggregate<A: Data, E>(
        self,
        store: impl Into<Materialized<K, A>>,
        init: impl Fn() -> A + Fun,
        add: impl Fn(&K, V, &mut A) -> std::result::Result<(), E> + Fun,
        merge: impl Fn(&K, &mut A, A) + Fun,
    ) -> KTable<'b, Windowed<K>, A>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let add =
            move |key: &K, value, sum: &mut A| add(key, value, sum).map_err(Error::processing);
        self.in_place(store, true, init, add, merge)
    }

    /// With an aggregate that there always is.
    #[track_caller]
    fn in_place<A: Data>(
        self,
        store: impl Into<Materialized<K, A>>,
        may_refuse: bool,
        init: impl Fn() -> A + Fun,
        add: impl Fn(&K, V, &mut A) -> Result<()> + Fun,
        merge: impl Fn(&K, &mut A, A) + Fun,
    ) -> KTable<'b, Windowed<K>, A> {
        let actions = Actions {
            init: move || Some(init()),
            add: move |key: &K, value, row: &mut Option<A>| match row {
                Some(sum) => add(key, value, sum),
                None => Ok(()),
            },
            merge: move |key: &K, row: &mut Option<A>, value| {
                if let Some(sum) = row {
                    merge(key, sum, value);
                }
            },
            may_refuse,
        };
        self.change(store, actions)
    }

    #[track_caller]
    fn change<A: Data, I, F, M>(
        self,
        store: impl Into<Materialized<K, A>>,
        actions: Actions<I, F, M>,
    ) -> KTable<'b, Windowed<K>, A>
    where
        I: Fn() -> Option<A> + Fun,
        F: Fn(&K, V, &mut Option<A>) -> Result<()> + Fun,
        M: Fn(&K, &mut Option<A>, A) + Fun,
    {
        let (windows, actions) = (self.windows, Arc::new(actions));
        self.operator(store, move || {
            let (actions, mut parts) = (actions.clone(), Vec::new());
            move |ctx: &mut TaskContext, node: &mut Node<K, A>, record: Record<K, V>| {
                windows.apply(ctx, node, record, &*actions, &mut parts)
            }
        })
    }
}
