//! Windowed aggregates: a grouped stream, cut into windows of event time.
//!
//! `grouped.windowed_by(..)` is a [`WindowedKStream`]; its aggregates are tables whose keys are
//! [`Windowed`]. One file each says which windows a record of a kind changes ([`time`],
//! [`sliding`], [`session`]); what they have in common is here and in [`close`]. Invariant: whether
//! a window has closed is judged by the observed time of its store, which is committed with the
//! windows, so that a restarted task judges as the one before it would have.

mod close;
mod session;
mod sliding;
mod time;

pub use time::FixedWindows;

use super::{Change, KGroupedStream, KStream, KTable, outlet::Outlet, table};
use crate::{
    error::Result,
    link::Data,
    record::{Headers, Record, Timestamp},
    serde::Serde,
    store::{Materialized, StoreHandle, StoreRef, TimedKind, TimedShape, TimedStore},
    task::TaskContext,
    window::{Span, Window, Windowed, Windows},
};
use std::{cell::RefCell, panic::Location, rc::Rc, sync::Arc, time::Duration};

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
    emit: EmitStrategy,
    idle: Option<Duration>,
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
            emit: EmitStrategy::default(),
            idle: None,
        }
    }
}

impl<'b, K: Data, V: Data, W: Windows> WindowedKStream<'b, K, V, W> {
    /// When results are told: with every update, unless this says otherwise.
    #[track_caller]
    #[must_use = "windows are counted, reduced or aggregated"]
    pub fn emit_strategy(self, emit: EmitStrategy) -> Self {
        if emit == EmitStrategy::OnWindowClose && self.windows.span().close == Timestamp::MAX {
            let text = "an unlimited window never closes, so it cannot be told on close".to_owned();
            self.grouped
                .stream
                .builder
                .mistake(Location::caller(), text);
        }
        Self { emit, ..self }
    }

    /// Closes and tells all open windows of a task when none of its records has come to them for so
    /// long by the wall clock. Without it the last windows stay open until a later record comes.
    ///
    /// It needs [`EmitStrategy::OnWindowClose`]. Records for a window that was closed so are late,
    /// though they would have been in time otherwise. Kafka Streams has no counterpart.
    #[track_caller]
    #[must_use = "windows are counted, reduced or aggregated"]
    pub fn close_when_idle(self, idle: Duration) -> Self {
        if self.emit != EmitStrategy::OnWindowClose {
            let text = "windows that are told with every update tell nothing when they close: put \
                        .emit_strategy(EmitStrategy::OnWindowClose) before close_when_idle(..)";
            let builder = self.grouped.stream.builder;
            builder.mistake(Location::caller(), text.to_owned());
        }
        Self {
            idle: Some(idle),
            ..self
        }
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
        let (at, materialized) = (Location::caller(), store.into());
        let serde = materialized.key;
        let KGroupedStream { stream, serdes } = self.grouped;
        let input = stream.by_key(&materialized.name, serdes);
        let span = self.windows.span();
        let due = (self.emit == EmitStrategy::OnWindowClose).then_some(span.close);
        let shape = shape(input, &materialized, span, at);
        let store = input.builder.add_timed_store(materialized, shape, due, at);
        let (emit, idle) = (self.emit, self.idle);
        let changes = aggregate(input, (store, serde), shape.kind, (emit, idle), make);
        input.builder.add_grace(changes.node, span.grace);
        table::windowed(changes, store, shape.kind)
    }
}

/// The store that the windows need, kept for as long as the program asks.
fn shape<K: Data, V: Data, A>(
    input: KStream<'_, K, V>,
    materialized: &Materialized<K, A>,
    span: Span,
    at: &'static Location<'static>,
) -> TimedShape {
    let asked = materialized.retention.map(|retention| {
        let millis = retention.as_millis();
        Timestamp::try_from(millis).unwrap_or(Timestamp::MAX)
    });
    if asked.is_some_and(|asked| asked < span.retention_min) {
        let text = format!(
            "the store {:?} must keep its windows for at least {} ms, which is as long as they are \
             open",
            materialized.name, span.retention_min
        );
        input.builder.mistake(at, text);
    }
    TimedShape {
        kind: span.size.map_or(TimedKind::Session, TimedKind::Window),
        retention: asked.unwrap_or_default().max(span.needed),
        wide: span.size.is_none(),
    }
}

/// An operator of windows, in a task.
struct Node<K: 'static, A: 'static> {
    down: Outlet<Windowed<K>, A>,
    store: StoreRef<TimedStore<K, A>>,
    kind: TimedKind,
    emit: EmitStrategy,
    name: String,
    /// The wall clock when the last record came.
    last: Timestamp,
}

impl<K: Data, A: Data> Node<K, A> {
    /// Whether anybody wants to know of a window's changes.
    #[inline]
    fn tells(&self) -> bool {
        self.emit == EmitStrategy::OnWindowUpdate && !self.down.is_empty()
    }

    /// Whether they also want to know what a window was before.
    #[inline]
    fn tells_old(&self) -> bool {
        self.emit == EmitStrategy::OnWindowUpdate && self.down.wants_old()
    }

    #[inline]
    fn tell(
        &mut self,
        ctx: &mut TaskContext,
        (key, window): (K, Window),
        (value, existed): (Change<A>, bool),
        (timestamp, headers): (Timestamp, Headers),
    ) -> Result<()> {
        let key = Windowed::new(key, window);
        let record = Record {
            key,
            value,
            timestamp,
            headers,
        };
        self.down.push(ctx, record, existed)
    }
}

/// Puts an operator of windows behind a stream.
#[track_caller]
fn aggregate<'b, K: Data, V: Data, A: Data, F>(
    input: KStream<'b, K, V>,
    (store, serde): (StoreHandle<TimedStore<K, A>>, Serde<K>),
    kind: TimedKind,
    (emit, idle): (EmitStrategy, Option<Duration>),
    make: impl Fn() -> F + Send + Sync + 'static,
) -> KStream<'b, Windowed<K>, Change<A>>
where
    F: FnMut(&mut TaskContext, &mut Node<K, A>, Record<K, V>) -> Result<()> + 'static,
{
    let make = Arc::new(make);
    input.operator("aggregate", vec![store.id], move |link| {
        let mut apply = make();
        let encode = move |key: &Windowed<K>, out: &mut Vec<u8>| {
            let encoded = serde.encode(&key.key, out)?;
            out.extend_from_slice(&key.window.end.to_be_bytes());
            out.extend_from_slice(&key.window.start.to_be_bytes());
            Ok(encoded)
        };
        let node = Rc::new(RefCell::new(Node {
            down: Outlet::new(link, encode),
            store: store.reference(),
            kind,
            emit,
            name: link.name().to_owned(),
            last: Timestamp::MIN,
        }));
        if let Some(idle) = idle {
            link.timers.push(close::timer(node.clone(), idle));
        }
        move |ctx: &mut TaskContext, record: Record<K, V>| {
            let node = &mut *node.borrow_mut();
            node.last = ctx.wall_clock();
            if emit == EmitStrategy::OnWindowClose {
                node.close_behind(ctx, &record)?;
            }
            apply(ctx, node, record)
        }
    })
}
