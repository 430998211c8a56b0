//! `suppress`: a table that tells fewer changes, later.
//!
//! Changes wait in a store, under the time that decides when they are told: a window's end, or when
//! the key began to wait. Each record first takes its place there and then lets out what its time
//! lets out, in order. Invariant: what has been let out has left the store with the same commit, so
//! a restart tells nothing twice.

mod config;

pub use config::{
    BufferConfig, Eager, Strict, Suppressed, Suppression, UntilTimeLimit, UntilWindowCloses,
};

use super::{Change, KTable, StreamsBuilder, table};
use crate::{
    error::{Error, Result},
    link::{Data, Fanout},
    record::{Record, Timestamp},
    store::{Held, Materialized, Released, StoreHandle, StoreRef, SuppressStore},
    task::{TaskContext, Ticker},
    topology::StoreSpec,
};
use config::Plan;
use std::{
    cell::RefCell,
    panic::Location,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// The time of a row where it is not known, as in Kafka Streams.
const UNKNOWN: Timestamp = -1;

/// A suppression, in a task.
struct Node<K: 'static, V: 'static> {
    down: Fanout<K, Change<V>>,
    store: StoreRef<SuppressStore<K, V>>,
    plan: Plan,
    wait: Timestamp,
    name: String,
    /// The wall clock when the last change came.
    last: Timestamp,
}

impl<K: Data, V: Data> Node<K, V> {
    /// Whether the table is one of final results.
    fn is_final(&self) -> bool {
        self.plan.wait.is_none()
    }

    fn take(
        &mut self,
        ctx: &mut TaskContext,
        record: Record<K, Change<V>>,
        time: Timestamp,
    ) -> Result<()> {
        self.last = ctx.wall_clock();
        let Record {
            key,
            value: Change { old, new },
            timestamp,
            headers,
        } = record;
        let store = ctx.store(self.store);
        let observed = store.observe(timestamp);
        if self.is_final() && time <= store.closed() {
            ctx.drop_late_record();
            return Ok(());
        }
        match store.hold(&key, time, Held { old, new, headers }, timestamp) {
            Ok(true) => {}
            Ok(false) => return ctx.drop_null_key(),
            Err(error) => return ctx.refuse(&self.name, error),
        }
        self.tell_until(ctx, observed.saturating_sub(self.wait))?;
        while self.is_full(ctx) {
            if self.plan.strict {
                return Err(self.full(ctx));
            }
            self.tell_first(ctx, Timestamp::MAX)?;
        }
        Ok(())
    }

    /// Lets out what has waited until a time.
    fn tell_until(&mut self, ctx: &mut TaskContext, until: Timestamp) -> Result<()> {
        while self.tell_first(ctx, until)?.is_some() {}
        Ok(())
    }

    /// Lets the first change out if its time is not after `until`, and returns its time.
    #[inline]
    fn tell_first(&mut self, ctx: &mut TaskContext, until: Timestamp) -> Result<Option<Timestamp>> {
        let Some(released) = ctx.store(self.store).pop(until)? else {
            return Ok(None);
        };
        let Released {
            key,
            held: Held { old, new, headers },
            time,
            timestamp,
        } = released;
        // A final result that is none is not told, as in Kafka: unless a change came too late, none
        // was told before.
        if new.is_some() || !self.is_final() {
            let held = (timestamp, headers.clone());
            let record = Record {
                key,
                value: Change { old, new },
                timestamp,
                headers,
            };
            ctx.tally.suppression_emits += 1;
            ctx.telling(held, |ctx| self.down.push(ctx, record))?;
        }
        Ok(Some(time))
    }

    fn is_full(&self, ctx: &mut TaskContext) -> bool {
        let store = ctx.store(self.store);
        store.len() > self.plan.records || store.bytes() > self.plan.bytes
    }

    #[cold]
    fn full(&self, ctx: &mut TaskContext) -> Error {
        let (store, plan) = (ctx.store(self.store), self.plan);
        let part = |used: usize, most: usize, what: &str| {
            (most < usize::MAX).then(|| format!("{used} of at most {most} {what}"))
        };
        let parts = [
            part(store.len(), plan.records, "records"),
            part(store.bytes(), plan.bytes, "bytes"),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        Error::processing(format!(
            "{}: the buffer is full ({}) and may not emit early: give it more room",
            self.name,
            parts.join(", ")
        ))
        // The program said what is to happen, whatever the policies above say of bad records.
        .answered()
    }

    /// Lets everything out if no change has come for so long.
    fn tell_if_idle(
        &mut self,
        ctx: &mut TaskContext,
        now: Timestamp,
        idle: Timestamp,
    ) -> Result<bool> {
        if self.last == Timestamp::MIN || ctx.has_work() {
            // The clock begins with the task, and again while records wait to be processed.
            self.last = now;
        }
        self.last = self.last.min(now);
        if now.saturating_sub(self.last) < idle || ctx.store(self.store).is_empty() {
            return Ok(false);
        }
        while let Some(time) = self.tell_first(ctx, Timestamp::MAX)? {
            if self.is_final() {
                ctx.store(self.store).close(time);
            }
        }
        Ok(true)
    }
}

impl StreamsBuilder {
    /// The store of a `suppress`.
    fn suppress_store<K: Data, V: Data>(
        &self,
        materialized: Materialized<K, V>,
        by_key: bool,
        at: &'static Location<'static>,
    ) -> StoreHandle<SuppressStore<K, V>> {
        let Materialized {
            name,
            key,
            value,
            logging,
            history,
            retention,
        } = materialized;
        self.no_versions(&name, history, at);
        self.no_retention(&name, retention, at);
        let formats = (key.codec().name(), value.codec().name());
        let shown: Arc<str> = name.as_str().into();
        // Rows lie in the order in which they are told: of what, is a part of the format.
        let order = if by_key {
            "suppress"
        } else {
            "suppress-by-change"
        };
        self.add_store(StoreSpec {
            name,
            logging,
            format: format!("{order}/{}/{}", formats.0, formats.1),
            expires: None,
            retention: None,
            at,
            source: None,
            query: None,
            whole_commits: false,
            headers: false,
            cached: false,
            open: Arc::new(move |env| {
                let store = SuppressStore::open(shown.clone(), (key, value), by_key, env)?;
                Ok(Box::new(store))
            }),
        })
    }
}

impl<'b, K: Data, V: Data> KTable<'b, K, V> {
    /// The same table with fewer changes: what waits and for how long, `suppressed` says (KIP-328).
    ///
    /// `store` names the store in which changes wait, and its changelog. All that waits also lies
    /// in memory, whatever holds the other stores ([`BufferStore`](crate::store::BufferStore)).
    /// Changes that wait for the same time are told in the order of their keys' bytes. Who looks a
    /// key up in this table finds what was last told of it, as long as the table above has the row:
    /// a join of final results needs a store above that keeps windows for longer than until they
    /// close ([`Materialized::with_retention`]), and is a mistake that `build()` tells without one.
    /// Where rows are looked up, the table above tells each change when it is made, whatever
    /// `statestore.cache.max.bytes` says.
    ///
    /// Windows need a kind that closes, somewhere above; where several are, as in a join, the
    /// longest grace counts, and so it does behind a repartition topic, where windows have been
    /// grouped by other keys.
    ///
    /// A final result is told once as long as nothing reaches its window after it has been told.
    /// Behind a repartition topic something may, as in Kafka Streams: time passes there with the
    /// records of whichever task was first, and what a task that is behind has to add to a window
    /// comes later than the window's grace. Then the result is told again, with all that has come
    /// by then; one that there is not any more, because a filter lets it pass no longer, is not
    /// taken back.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    /// use std::time::Duration;
    ///
    /// static VISITS: Topic<String, String> = Topic::new("visits", utf8(), utf8());
    /// static PER_MINUTE: Topic<Windowed<String>, u64> =
    ///     Topic::new("visits-per-minute", time_windowed::<Utf8, 60_000>(), u64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// builder
    ///     .stream(&VISITS)
    ///     .group_by_key()
    ///     .windowed_by(TimeWindows::of_size_with_no_grace(Duration::from_secs(60)))
    ///     .count("visits-per-minute")
    ///     .suppress("final-visits", Suppressed::until_window_closes(BufferConfig::unbounded()))
    ///     .to(&PER_MINUTE);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// for time in [1_000, 59_999, 60_000] {
    ///     driver.pipe(&VISITS, "front".to_owned(), "a visitor".to_owned(), time)?;
    /// }
    /// let first = Windowed::new("front".to_owned(), Window::new(0, 60_000));
    /// assert_eq!(driver.read_key_values(&PER_MINUTE)?, [(first, Some(2))]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    ///
    /// An aggregate over the resulting table takes back what it was told of a row before. (Kafka
    /// Streams tells it the row as it was before the last change that was held back, which it may
    /// never have seen.)
    #[track_caller]
    #[must_use = "a suppressed table goes nowhere by itself"]
    pub fn suppress<S: Suppression<K>>(
        self,
        store: impl Into<Materialized<K, V>>,
        suppressed: S,
    ) -> Self {
        let (at, builder, plan) = (Location::caller(), self.changes.builder, suppressed.plan());
        let grace = builder.grace_above(self.changes.node);
        if plan.wait.is_none() && grace.is_none_or(|grace| grace == Timestamp::MAX) {
            let text = "only windows that close have final results: no aggregate of such windows \
                        is above this suppress(..)";
            builder.mistake(at, text.to_owned());
        }
        let wait = plan.wait.or(grace).unwrap_or_default();
        let store = self
            .changes
            .builder
            .suppress_store(store.into(), plan.wait.is_none(), at);
        let (parent, facts) = self.view();
        if facts.history.is_some() {
            let text = "changes of a table with versions cannot be held back, since they may be \
                        out of order";
            builder.mistake(at, text.to_owned());
        }
        let reference = store.reference();
        let lookup = move |ctx: &mut TaskContext, key: &K| {
            // What waits under another time is found by its key.
            let time = suppressed.time(key, Timestamp::MIN);
            let told = ctx.store(reference).told(key, time)?;
            match told.map(Option::<&V>::cloned) {
                // Nobody noted when that was.
                Some(told) => Ok(told.map(|row| (row, UNKNOWN))),
                None => parent.get(ctx, key),
            }
        };
        let viewed = Arc::new(AtomicBool::new(false));
        let (watched, writers) = (viewed.clone(), facts.writers());
        let changes = self
            .changes
            .operator("suppress", vec![store.id], move |link| {
                let down = link.downstream::<K, Change<V>>();
                let viewed = viewed.load(Ordering::Relaxed);
                if viewed {
                    // A change that waits for a commit above is in the parent's rows, and would be
                    // shown from there: what of a row was told is known of what waits here only.
                    link.want_each_of(writers.iter().copied());
                }
                // What a row was costs its parent a clone.
                if down.wants_old() || viewed {
                    link.want_old();
                }
                let node = Rc::new(RefCell::new(Node {
                    down,
                    store: reference,
                    plan,
                    wait,
                    name: link.name().to_owned(),
                    last: Timestamp::MIN,
                }));
                if let Some(idle) = plan.idle {
                    // Changes that wait for a commit above would look like quiet, and come late.
                    link.want_each_above();
                    let node = node.clone();
                    let fire = move |ctx: &mut TaskContext, now| {
                        node.borrow_mut().tell_if_idle(ctx, now, idle)
                    };
                    link.residents.push(Box::new(Ticker(fire)));
                }
                move |ctx: &mut TaskContext, record: Record<K, Change<V>>| {
                    let time = suppressed.time(&record.key, record.timestamp);
                    node.borrow_mut().take(ctx, record, time)
                }
            });
        let mut facts = facts.with(store.id, changes.node);
        facts.last |= plan.wait.is_none();
        let table = table::derived(changes, lookup, facts);
        builder.watch_view(table.view, watched);
        table
    }
}
