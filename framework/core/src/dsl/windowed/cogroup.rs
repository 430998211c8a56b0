//! Windowed cogroups: one aggregate of each window over several grouped streams.
//!
//! Invariant: time is one for all inputs. A record is late if any of them has come so far, since
//! what has closed is forgotten.

use super::{
    EmitStrategy,
    plan::{Plan, Telling},
    session::Actions,
    time::FixedWindows,
};
use crate::{
    dsl::{CogroupedKStream, Fun, KTable, cogroup::Add, stream::handle},
    error::Result,
    link::Data,
    record::Record,
    store::Materialized,
    task::TaskContext,
    topology::NodeKind,
    window::{SessionWindows, Windowed, Windows},
};
use std::{cell::RefCell, panic::Location, rc::Rc, sync::Arc, time::Duration};

/// Several grouped streams cut into windows, waiting to be aggregated.
///
/// Time is one for all of them: a record is late if the others have passed its windows.
///
/// ```
/// use millstream_core::prelude::*;
/// use std::time::Duration;
///
/// static CLICKS: Topic<String, ()> = Topic::new("clicks", utf8(), bincode());
/// static BOUGHT: Topic<String, u64> = Topic::new("bought", utf8(), u64_be());
/// static SEEN: Topic<Windowed<String>, (u64, u64)> =
///     Topic::new("seen", time_windowed::<Utf8, 60_000>(), bincode());
///
/// let builder = StreamsBuilder::new();
/// let clicks = builder.stream(&CLICKS).group_by_key();
/// clicks
///     .cogroup(|_, (), seen: &mut (u64, u64)| seen.0 += 1)
///     .cogroup(builder.stream(&BOUGHT).group_by_key(), |_, price, seen| seen.1 += price)
///     .windowed_by(TimeWindows::of_size_with_no_grace(Duration::from_secs(60)))
///     .aggregate("seen", || (0, 0))
///     .to(&SEEN);
///
/// let mut driver = TopologyTestDriver::new(builder.build()?)?;
/// driver.pipe(&CLICKS, "ann".to_owned(), (), 1_000)?;
/// driver.pipe(&BOUGHT, "ann".to_owned(), 30, 59_000)?;
/// let minute = Windowed::new("ann".to_owned(), Window::new(0, 60_000));
/// assert_eq!(driver.read_key_values(&SEEN)?.last(), Some(&(minute, Some((1, 30)))));
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub struct WindowedCogroupedKStream<'b, K: 'static, A: 'static, W> {
    cogrouped: CogroupedKStream<'b, K, A>,
    windows: W,
    telling: Telling,
}

impl<'b, K: Data, A: Data> CogroupedKStream<'b, K, A> {
    /// Cuts the streams into windows, as
    /// [`KGroupedStream::windowed_by`](crate::dsl::KGroupedStream::windowed_by) does with one.
    #[track_caller]
    pub fn windowed_by<W: Windows>(self, windows: W) -> WindowedCogroupedKStream<'b, K, A, W> {
        if let Some(text) = windows.mistake() {
            self.builder.mistake(Location::caller(), text);
        }
        WindowedCogroupedKStream {
            cogrouped: self,
            windows,
            telling: Telling::default(),
        }
    }
}

/// What stands for a record's value on its way to its windows: where it is cloned, the value will
/// be wanted again.
struct Turn {
    again: bool,
}

impl Clone for Turn {
    fn clone(&self) -> Self {
        Self { again: true }
    }
}

fn last_turn<K>(record: Record<K, ()>) -> Record<K, Turn> {
    record.with_value(Turn { again: false })
}

impl<'b, K: Data, A: Data, W: Windows> WindowedCogroupedKStream<'b, K, A, W> {
    /// As [`WindowedKStream::emit_strategy`](crate::dsl::WindowedKStream::emit_strategy).
    #[track_caller]
    #[must_use = "windows are aggregated"]
    pub fn emit_strategy(self, emit: EmitStrategy) -> Self {
        let telling = self.telling;
        let telling = telling.emit(self.cogrouped.builder, self.windows.span(), emit);
        Self { telling, ..self }
    }

    /// As [`WindowedKStream::close_when_idle`](crate::dsl::WindowedKStream::close_when_idle).
    #[track_caller]
    #[must_use = "windows are aggregated"]
    pub fn close_when_idle(self, idle: Duration) -> Self {
        let telling = self.telling.when_idle(self.cogrouped.builder, idle);
        Self { telling, ..self }
    }

    /// The one way in which windows of several inputs change their store. `make` gives each task
    /// its own `apply`.
    #[track_caller]
    fn operator<F>(
        self,
        store: impl Into<Materialized<K, A>>,
        make: impl Fn() -> F + Fun,
    ) -> KTable<'b, Windowed<K>, A>
    where
        F: FnMut(
                &mut TaskContext,
                &mut super::Node<K, A>,
                Record<K, Turn>,
                &RefCell<Add<'_, K, A>>,
            ) -> Result<()>
            + 'static,
    {
        let materialized = store.into();
        let placed = self.cogrouped.place(&materialized.name);
        let (builder, attach) = (placed.builder, placed.attach());
        let plan = Plan::new(builder, materialized, self.windows, self.telling);
        let (parents, stores) = (placed.parents, vec![plan.store.id]);
        let node = builder.add(
            "cogroup",
            NodeKind::Operator,
            parents,
            stores,
            move |link| {
                let (node, mut apply) = (plan.node(link), make());
                let take =
                    move |ctx: &mut TaskContext, record: Record<K, ()>, add: Add<'_, K, A>| {
                        let (record, add) = (last_turn(record), RefCell::new(add));
                        node.borrow_mut().take(ctx, record, |ctx, node, record| {
                            apply(ctx, node, record, &add)
                        })
                    };
                attach(link, Rc::new(RefCell::new(take)));
            },
        );
        plan.table(handle(builder, node, None))
    }
}

impl<'b, K: Data, A: Data, W: FixedWindows> WindowedCogroupedKStream<'b, K, A, W> {
    /// Changes the aggregate of each key and window in place with each record, from whichever
    /// input; `init` makes the first one.
    #[track_caller]
    pub fn aggregate(
        self,
        store: impl Into<Materialized<K, A>>,
        init: impl Fn() -> A + Fun,
    ) -> KTable<'b, Windowed<K>, A> {
        let (windows, init) = (self.windows, Arc::new(init));
        self.operator(store, move || {
            let init = init.clone();
            move |ctx: &mut TaskContext,
                  node: &mut super::Node<K, A>,
                  record,
                  add: &RefCell<Add<'_, K, A>>| {
                let change = |key: &K, turn: Turn, row: &mut Option<A>| {
                    add.borrow_mut()(key, row.get_or_insert_with(&*init), turn.again);
                    Ok(())
                };
                windows.apply(ctx, node, record, &change)
            }
        })
    }
}

impl<'b, K: Data, A: Data> WindowedCogroupedKStream<'b, K, A, SessionWindows> {
    /// Changes the aggregate of each session in place with each record, from whichever input;
    /// `init` and `merge` are as in
    /// [`WindowedKStream::aggregate`](crate::dsl::WindowedKStream::aggregate).
    #[track_caller]
    pub fn aggregate(
        self,
        store: impl Into<Materialized<K, A>>,
        init: impl Fn() -> A + Fun,
        merge: impl Fn(&K, &mut A, A) + Fun,
    ) -> KTable<'b, Windowed<K>, A> {
        let (windows, shared) = (self.windows, Arc::new((init, merge)));
        self.operator(store, move || {
            let (shared, mut parts) = (shared.clone(), Vec::new());
            move |ctx: &mut TaskContext,
                  node: &mut super::Node<K, A>,
                  record,
                  add: &RefCell<Add<'_, K, A>>| {
                let (init, merge) = &*shared;
                let actions = Actions {
                    init: || Some(init()),
                    add: |key: &K, turn: Turn, row: &mut Option<A>| {
                        if let Some(sum) = row {
                            add.borrow_mut()(key, sum, turn.again);
                        }
                        Ok(())
                    },
                    merge: |key: &K, row: &mut Option<A>, value| {
                        if let Some(sum) = row {
                            merge(key, sum, value);
                        }
                    },
                    may_refuse: false,
                };
                windows.apply(ctx, node, record, &actions, &mut parts)
            }
        })
    }
}
