//! What all aggregates of windows have in common, whatever their inputs: a store, and when its
//! windows are told.
//!
//! Invariant: a record first closes what its time closes, and only then changes windows.

use super::{EmitStrategy, close};
use crate::{
    dsl::{Change, KStream, KTable, StreamsBuilder, outlet::Outlet, table},
    error::Result,
    link::{Data, Linker},
    record::{Headers, Record, Timestamp},
    serde::Serde,
    store::{Materialized, StoreHandle, StoreRef, TimedKind, TimedShape, TimedStore},
    task::TaskContext,
    window::{Span, Window, Windowed, Windows},
};
use std::{cell::RefCell, panic::Location, rc::Rc, time::Duration};

/// When results are told, as far as the program has said.
#[derive(Clone, Copy, Default)]
pub(super) struct Telling {
    pub(super) emit: EmitStrategy,
    idle: Option<Duration>,
}

/// What an idle timeout of windows that are told with every update comes to.
const IDLE_UNTOLD: &str = "windows that are told with every update tell nothing when they close: \
                           put .emit_strategy(EmitStrategy::OnWindowClose) before \
                           close_when_idle(..), and no other one behind it";

impl Telling {
    #[track_caller]
    pub(super) fn emit(self, builder: &StreamsBuilder, span: Span, emit: EmitStrategy) -> Self {
        if emit == EmitStrategy::OnWindowClose && span.close == Timestamp::MAX {
            let text = "an unlimited window never closes, so it cannot be told on close";
            builder.mistake(Location::caller(), text.to_owned());
        }
        if emit != EmitStrategy::OnWindowClose && self.idle.is_some() {
            builder.mistake(Location::caller(), IDLE_UNTOLD.to_owned());
        }
        Self { emit, ..self }
    }

    #[track_caller]
    pub(super) fn when_idle(self, builder: &StreamsBuilder, idle: Duration) -> Self {
        if self.emit != EmitStrategy::OnWindowClose {
            builder.mistake(Location::caller(), IDLE_UNTOLD.to_owned());
        }
        let idle = Some(idle);
        Self { idle, ..self }
    }
}

/// A windowed aggregate, as it is declared.
pub(super) struct Plan<K: 'static, A: 'static> {
    pub(super) store: StoreHandle<TimedStore<K, A>>,
    key: Serde<K>,
    kind: TimedKind,
    grace: Timestamp,
    /// Whether the store has a window no longer once it has closed.
    forgetful: bool,
    telling: Telling,
}

impl<K, A> Clone for Plan<K, A> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, A> Copy for Plan<K, A> {}

impl<K: Data, A: Data> Plan<K, A> {
    /// Declares the store.
    #[track_caller]
    pub(super) fn new(
        builder: &StreamsBuilder,
        materialized: Materialized<K, A>,
        windows: impl Windows,
        telling: Telling,
    ) -> Self {
        let (at, span, key) = (Location::caller(), windows.span(), materialized.key);
        let due = (telling.emit == EmitStrategy::OnWindowClose).then_some(span.close);
        let shape = shape(builder, &materialized, span, at);
        Self {
            store: builder.add_timed_store(materialized, shape, (windows.cut(), due), at),
            key,
            kind: shape.kind,
            grace: span.grace,
            forgetful: shape.retention <= span.close,
            telling,
        }
    }

    /// The node in hand.
    pub(super) fn node(self, link: &mut Linker<'_>) -> Rc<RefCell<Node<K, A>>> {
        let encode = move |key: &Windowed<K>, out: &mut Vec<u8>| {
            let encoded = self.key.encode(&key.key, out)?;
            out.extend_from_slice(&key.window.end.to_be_bytes());
            out.extend_from_slice(&key.window.start.to_be_bytes());
            Ok(encoded)
        };
        let node = Rc::new(RefCell::new(Node {
            down: Outlet::new(link, encode),
            store: self.store.reference(),
            kind: self.kind,
            emit: self.telling.emit,
            name: link.name().to_owned(),
            last: Timestamp::MIN,
        }));
        if let Some(idle) = self.telling.idle {
            // Changes that wait for a commit above would look like quiet, and come late.
            link.want_each_above();
            link.residents.push(close::ticker(node.clone(), idle));
        }
        node
    }

    /// The table of the node's changes.
    pub(super) fn table<'b>(
        self,
        changes: KStream<'b, Windowed<K>, Change<A>>,
    ) -> KTable<'b, Windowed<K>, A> {
        changes.builder.add_grace(changes.node, self.grace);
        let last = self.telling.emit == EmitStrategy::OnWindowClose;
        table::windowed(changes, self.store, self.kind, (self.forgetful, last))
    }
}

/// The store that the windows need, kept for as long as the program asks.
fn shape<K, A>(
    builder: &StreamsBuilder,
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
        builder.mistake(at, text);
    }
    TimedShape {
        kind: span.size.map_or(TimedKind::Session, TimedKind::Window),
        retention: asked.unwrap_or_default().max(span.needed),
        wide: span.size.is_none(),
    }
}

/// An operator of windows, in a task.
pub(super) struct Node<K: 'static, A: 'static> {
    pub(super) down: Outlet<Windowed<K>, A>,
    pub(super) store: StoreRef<TimedStore<K, A>>,
    pub(super) kind: TimedKind,
    pub(super) emit: EmitStrategy,
    pub(super) name: String,
    /// The wall clock when the last record came.
    pub(super) last: Timestamp,
}

impl<K: Data, A: Data> Node<K, A> {
    /// Takes a record, which `apply` adds to its windows.
    #[inline]
    pub(super) fn take<V>(
        &mut self,
        ctx: &mut TaskContext,
        record: Record<K, V>,
        apply: impl FnOnce(&mut TaskContext, &mut Self, Record<K, V>) -> Result<()>,
    ) -> Result<()> {
        self.last = ctx.wall_clock();
        if self.emit == EmitStrategy::OnWindowClose && !self.close_behind(ctx, &record)? {
            return Ok(());
        }
        apply(ctx, self, record)
    }

    /// Whether anybody wants to know of a window's changes.
    #[inline]
    pub(super) fn tells(&self) -> bool {
        self.emit == EmitStrategy::OnWindowUpdate && !self.down.is_empty()
    }

    /// Whether they also want to know what a window was before.
    #[inline]
    pub(super) fn tells_old(&self) -> bool {
        self.emit == EmitStrategy::OnWindowUpdate && self.down.wants_old()
    }

    #[inline]
    pub(super) fn tell(
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
