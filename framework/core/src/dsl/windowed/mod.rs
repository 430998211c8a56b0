//! Windowed aggregates: a grouped stream, cut into windows of event time.
//!
//! `grouped.windowed_by(..)` is a [`WindowedKStream`]; its aggregates are tables whose keys are
//! [`Windowed`]. One file each says which windows a record of a kind changes ([`time`],
//! [`sliding`], [`session`]); what they have in common is here and in [`close`]. Invariant: whether
//! a window has closed is judged by the observed time of its store, which is committed with the
//! windows, so that a restarted task judges as the one before it would have.

mod close;
mod cogroup;
mod plan;
mod session;
mod sliding;
mod time;

pub use cogroup::WindowedCogroupedKStream;
pub use time::FixedWindows;

use super::{KGroupedStream, KTable};
use crate::{
    error::Result,
    link::Data,
    record::Record,
    store::Materialized,
    task::TaskContext,
    window::{Windowed, Windows},
};
use plan::{Node, Plan, Telling};
use std::{panic::Location, time::Duration};

/// When windowed aggregates tell their results (KIP-825).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmitStrategy {
    /// With every record that changes a window: its aggregate so far.
    #[default]
    OnWindowUpdate,
    /// Once, when the window has closed: its final aggregate. Windows that close together are told
    /// in the order of their starts (sessions: of their ends), then of their keys.
    OnWindowClose,
}

/// A grouped stream cut into windows, waiting to be aggregated.
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
///     .emit_strategy(EmitStrategy::OnWindowClose)
///     .count("visits-per-minute")
///     .to(&PER_MINUTE);
///
/// let mut driver = TopologyTestDriver::new(builder.build()?)?;
/// for time in [1_000, 59_999, 60_000] {
///     driver.pipe(&VISITS, "front".to_owned(), "a visitor".to_owned(), time)?;
/// }
/// // The first minute has closed with two visits; the second one goes on.
/// let first = Windowed::new("front".to_owned(), Window::new(0, 60_000));
/// assert_eq!(driver.read_key_values(&PER_MINUTE)?, [(first, Some(2))]);
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub struct WindowedKStream<'b, K: 'static, V: 'static, W> {
    grouped: KGroupedStream<'b, K, V>,
    windows: W,
    telling: Telling,
}

impl<'b, K: Data, V: Data> KGroupedStream<'b, K, V> {
    /// Cuts the stream into windows: [`TimeWindows`](crate::window::TimeWindows),
    /// [`SlidingWindows`](crate::window::SlidingWindows),
    /// [`SessionWindows`](crate::window::SessionWindows) or
    /// [`UnlimitedWindows`](crate::window::UnlimitedWindows).
    #[track_caller]
    pub fn windowed_by<W: Windows>(self, windows: W) -> WindowedKStream<'b, K, V, W> {
        if let Some(text) = windows.mistake() {
            self.stream.builder.mistake(Location::caller(), text);
        }
        WindowedKStream {
            grouped: self,
            windows,
            telling: Telling::default(),
        }
    }
}

impl<'b, K: Data, V: Data, W: Windows> WindowedKStream<'b, K, V, W> {
    /// When results are told: with every update, unless this says otherwise.
    #[track_caller]
    #[must_use = "windows are counted, reduced or aggregated"]
    pub fn emit_strategy(self, emit: EmitStrategy) -> Self {
        let builder = self.grouped.stream.builder;
        let telling = self.telling.emit(builder, self.windows.span(), emit);
        Self { telling, ..self }
    }

    /// Closes and tells all open windows of a task when none of its records has come to them for so
    /// long by the wall clock. Without it the last windows stay open until a later record comes.
    /// The clock stands while records of the task wait to be processed, as after a pause.
    ///
    /// It needs [`EmitStrategy::OnWindowClose`]. Records for a window that was closed so are late,
    /// though they would have been in time otherwise. Kafka Streams has no counterpart.
    ///
    /// What is above in the same subtopology then tells every change when it is made, whatever
    /// `statestore.cache.max.bytes` says. Records that come through a repartition topic come with
    /// the commits of the tasks before it: wait longer than `commit.interval.ms` for them.
    #[track_caller]
    #[must_use = "windows are counted, reduced or aggregated"]
    pub fn close_when_idle(self, idle: Duration) -> Self {
        let builder = self.grouped.stream.builder;
        let telling = self.telling.when_idle(builder, idle);
        Self { telling, ..self }
    }

    /// The one way in which windows change their store. `make` gives each task its own `apply`.
    #[track_caller]
    fn operator<A: Data, F>(
        self,
        store: impl Into<Materialized<K, A>>,
        make: impl Fn() -> F + Send + Sync + 'static,
    ) -> KTable<'b, Windowed<K>, A>
    where
        F: FnMut(&mut TaskContext, &mut Node<K, A>, Record<K, V>) -> Result<()> + 'static,
    {
        let materialized = store.into();
        let KGroupedStream { stream, serdes } = self.grouped;
        let input = stream.by_key(&materialized.name, serdes);
        let plan = Plan::new(input.builder, materialized, self.windows, self.telling);
        let changes = input.operator("aggregate", vec![plan.store.id], move |link| {
            let (node, mut apply) = (plan.node(link), make());
            move |ctx: &mut TaskContext, record: Record<K, V>| {
                node.borrow_mut().take(ctx, record, &mut apply)
            }
        });
        plan.table(changes)
    }
}
