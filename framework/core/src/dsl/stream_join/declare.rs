//! How a join is declared: its stores, its repartition topics and the operators of its sides.

use super::{
    JoinWindows, StreamJoined,
    itself::Both,
    side::{Alone, LEFT, Outer, RIGHT, Side, Tell},
};
use crate::{
    dsl::{Fun, Grouped, KStream, stream::handle},
    link::Data,
    record::Record,
    serde::Serde,
    store::{Due, Materialized, StoreHandle, TimedKind, TimedShape, TimedStore, WaitingStore},
    task::TaskContext,
    topology::StoreSpec,
};
use std::{marker::PhantomData, panic::Location, sync::Arc};

/// A join being declared.
pub(super) struct Draft<'b, K: 'static, L: 'static, R: 'static> {
    left: KStream<'b, K, L>,
    right: KStream<'b, K, R>,
    windows: JoinWindows,
    joined: StreamJoined<K, L, R>,
    itself: bool,
}

/// Where the two sides keep their records.
type Stores<K, L, R> = (StoreHandle<TimedStore<K, L>>, StoreHandle<TimedStore<K, R>>);

/// What a left or outer join does with records that meet nothing.
struct Outers<K: 'static, L: 'static, R: 'static, W> {
    waiting: StoreHandle<WaitingStore>,
    left: Option<Alone<K, L, W>>,
    right: Option<Alone<K, R, W>>,
    tell: Tell<K, W>,
}

impl<'b, K: Data, L: Data, R: Data> Draft<'b, K, L, R> {
    /// Brings the two sides together where their keys are equal.
    #[track_caller]
    pub(super) fn new(
        (left, right): (KStream<'b, K, L>, KStream<'b, K, R>),
        windows: JoinWindows,
        joined: StreamJoined<K, L, R>,
    ) -> Self {
        let (builder, at) = (left.builder, Location::caller());
        let same_builder = builder.must_be(right.builder);
        if let Some(text) = windows.mistake() {
            builder.mistake(at, text);
        }
        let StreamJoined { name, key, .. } = &joined;
        let itself = same_builder && left.node == right.node;
        let serdes = Grouped::with(*key, joined.left);
        let left = left.by_key(&format!("{name}-left"), serdes);
        let right = if itself {
            handle(builder, left.node, left.rekeyed)
        } else {
            let serdes = Grouped::with(*key, joined.right);
            right.by_key(&format!("{name}-right"), serdes)
        };
        builder.must_be_copartitioned(left.node, right.node, at);
        Self {
            left,
            right,
            windows,
            joined,
            itself,
        }
    }

    #[track_caller]
    pub(super) fn inner<W: Data>(self, join: impl Fn(&K, &L, &R) -> W + Fun) -> KStream<'b, K, W> {
        if self.itself {
            self.with_itself(join)
        } else {
            let stores = self.stores();
            self.sides(stores, join, None)
        }
    }

    #[track_caller]
    pub(super) fn outer<W: Data>(
        self,
        join: impl Fn(&K, &L, &R) -> W + Fun,
        left: Alone<K, L, W>,
        right: Option<Alone<K, R, W>>,
    ) -> KStream<'b, K, W> {
        let StreamJoined {
            key,
            left: left_serde,
            right: right_serde,
            ..
        } = self.joined;
        let (one, other) = (left.clone(), right.clone());
        let tell: Tell<K, W> = Arc::new(move |due: &Due| {
            let (k, value) = (key.decode(Some(&due.key))?, Some(&due.value[..]));
            let result = match &other {
                Some(other) if due.side == RIGHT => other(&k, &right_serde.decode(value)?),
                _ => one(&k, &left_serde.decode(value)?),
            };
            Ok((k, result))
        });
        let stores = self.stores();
        let outers = Outers {
            waiting: self.waiting(),
            left: Some(left),
            right,
            tell,
        };
        self.sides(stores, join, Some(outers))
    }

    /// Two operators that look into each other's stores, and their results as one stream.
    #[track_caller]
    fn sides<W: Data>(
        self,
        (this, other): Stores<K, L, R>,
        join: impl Fn(&K, &L, &R) -> W + Fun,
        outers: Option<Outers<K, L, R, W>>,
    ) -> KStream<'b, K, W> {
        let mut stores = vec![this.id, other.id];
        stores.extend(outers.as_ref().map(|outers| outers.waiting.id));
        let null_keys = outers.is_some();
        let (windows, join, outers) = (self.windows, Arc::new(join), Arc::new(outers));
        let JoinWindows { before, after, .. } = windows;
        let (serde, joiner, shared) = (self.joined.left, join.clone(), outers.clone());
        let first = self
            .left
            .operator("join_this", stores.clone(), move |link| {
                let joiner = joiner.clone();
                let outer = shared.as_ref().as_ref();
                let mut side = Side {
                    name: link.name().to_owned(),
                    this: this.reference(),
                    other: other.reference(),
                    before,
                    after,
                    value: serde,
                    join: Arc::new(move |k: &K, l: &L, r: &R| joiner(k, l, r)),
                    outer: outer.map(|o| o.of(LEFT, windows, o.left.clone())),
                    results: Vec::new(),
                    down: link.downstream::<K, W>(),
                };
                move |ctx: &mut TaskContext, record: Record<K, L>| side.take(ctx, record)
            });
        let serde = self.joined.right;
        let second = self.right.operator("join_other", stores, move |link| {
            let join = join.clone();
            let outer = outers.as_ref().as_ref();
            let mut side = Side {
                name: link.name().to_owned(),
                this: other.reference(),
                other: this.reference(),
                before: after,
                after: before,
                value: serde,
                join: Arc::new(move |k: &K, r: &R, l: &L| join(k, l, r)),
                outer: outer.map(|o| o.of(RIGHT, windows, o.right.clone())),
                results: Vec::new(),
                down: link.downstream::<K, W>(),
            };
            move |ctx: &mut TaskContext, record: Record<K, R>| side.take(ctx, record)
        });
        // Both, as in Kafka Streams: whatever else reads the right side of a left join gets them.
        for node in [first.node, second.node].into_iter().filter(|_| null_keys) {
            self.left.builder.takes_null_keys(node);
        }
        first.merge(second)
    }

    #[track_caller]
    fn with_itself<W: Data>(self, join: impl Fn(&K, &L, &R) -> W + Fun) -> KStream<'b, K, W> {
        let store = self.store("this", self.joined.left);
        let as_right: StoreHandle<TimedStore<K, R>> = StoreHandle {
            id: store.id,
            shape: PhantomData,
        };
        let (windows, value, join) = (self.windows, self.joined.left, Arc::new(join));
        self.left
            .operator("join_itself", vec![store.id], move |link| {
                let mut both = Both {
                    name: link.name().to_owned(),
                    left: store.reference(),
                    right: as_right.reference(),
                    windows,
                    value,
                    join: join.clone(),
                    results: Vec::new(),
                    down: link.downstream::<K, W>(),
                };
                move |ctx: &mut TaskContext, record: Record<K, L>| both.take(ctx, record)
            })
    }

    #[track_caller]
    fn stores(&self) -> Stores<K, L, R> {
        let this = self.store("this", self.joined.left);
        (this, self.store("other", self.joined.right))
    }

    #[track_caller]
    fn store<T: Data>(&self, side: &str, value: Serde<T>) -> StoreHandle<TimedStore<K, T>> {
        let name = format!("{}-{side}-join-store", self.joined.name);
        let mut materialized = Materialized::with(name, self.joined.key, value);
        materialized.logging = self.joined.logging;
        let shape = TimedShape {
            kind: TimedKind::Instant,
            retention: self.windows.retention(),
            wide: true,
        };
        self.left.builder.timed_store(materialized, shape)
    }

    #[track_caller]
    fn waiting(&self) -> StoreHandle<WaitingStore> {
        let StreamJoined {
            name,
            key,
            left,
            right,
            logging,
        } = &self.joined;
        let formats = (
            key.codec().name(),
            left.codec().name(),
            right.codec().name(),
        );
        let mut spec = StoreSpec::custom(
            format!("{name}-outer-shared-join-store"),
            format!("unmatched/{}/{}/{}", formats.0, formats.1, formats.2),
            |env| Ok(Box::new(WaitingStore::open(env)?)),
        );
        spec.logging = *logging;
        self.left.builder.add_store(spec)
    }
}

impl<K, L, R, W> Outers<K, L, R, W> {
    fn of<T>(
        &self,
        side: u8,
        windows: JoinWindows,
        alone: Option<Alone<K, T, W>>,
    ) -> Outer<K, T, W> {
        Outer {
            waiting: self.waiting.reference(),
            windows,
            side,
            alone,
            tell: self.tell.clone(),
            key: Vec::new(),
            times: Vec::new(),
        }
    }
}
