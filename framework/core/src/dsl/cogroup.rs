//! `CogroupedKStream`: one aggregate over several grouped streams, whatever their values are.
//!
//! Invariant: a record of any input is one change of its key's row in the one store, made in the
//! order in which the task takes the records.

use super::{
    Fun, KGroupedStream, KTable, StreamsBuilder, aggregate::Aggregate, stream::handle,
    table::stored,
};
use crate::{
    error::Result,
    link::{Data, Linker},
    record::Record,
    store::Materialized,
    task::TaskContext,
    topology::{NodeId, NodeKind},
};
use std::{cell::RefCell, panic::Location, rc::Rc, sync::Arc};

/// Several grouped streams, each with how its records change the aggregate, waiting to be
/// aggregated (KIP-150).
///
/// ```
/// use millstream_core::prelude::*;
///
/// static CLICKS: Topic<String, ()> = Topic::new("clicks", utf8(), bincode());
/// static BOUGHT: Topic<String, u64> = Topic::new("bought", utf8(), u64_be());
/// static SEEN: Topic<String, (u64, u64)> = Topic::new("seen", utf8(), bincode());
///
/// let builder = StreamsBuilder::new();
/// let clicks = builder.stream(&CLICKS).group_by_key();
/// clicks
///     .cogroup(|_, (), seen: &mut (u64, u64)| seen.0 += 1)
///     .cogroup(builder.stream(&BOUGHT).group_by_key(), |_, price, seen| seen.1 += price)
///     .aggregate("seen", || (0, 0))
///     .to(&SEEN);
///
/// let mut driver = TopologyTestDriver::new(builder.build()?)?;
/// driver.pipe(&CLICKS, "ann".to_owned(), (), 0)?;
/// driver.pipe(&BOUGHT, "ann".to_owned(), 30, 1)?;
/// let seen = driver.read_key_values(&SEEN)?;
/// assert_eq!(seen.last(), Some(&("ann".to_owned(), Some((1, 30)))));
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub struct CogroupedKStream<'b, K: 'static, A: 'static> {
    pub(super) builder: &'b StreamsBuilder,
    inputs: Vec<Input<'b, K, A>>,
}

/// One of the grouped streams, with the type of its values forgotten.
struct Input<'b, K: 'static, A: 'static> {
    /// Whether its key was changed, so that it needs a repartition topic.
    moved: bool,
    /// The topic's own name.
    topic: Option<&'static str>,
    /// The node from which its records come, behind that topic, for a store of this name.
    place: Box<dyn FnOnce(&str) -> NodeId + 'b>,
    attach: Attach<K, A>,
}

/// Adds a record's value to an aggregate. For all calls but the last one of a record the flag says
/// that there will be another: then the value is cloned.
pub(crate) type Add<'a, K, A> = &'a mut dyn FnMut(&K, &mut A, bool);

/// What a kind of aggregate does with a record of any input: finds the rows that it changes, and
/// has its value added to each.
pub(crate) type Apply<K, A> =
    dyn FnMut(&mut TaskContext, Record<K, ()>, Add<'_, K, A>) -> Result<()>;

/// Puts an aggregate below an input, given the place of the input's node among the parents.
pub(crate) type Attach<K, A> =
    Arc<dyn Fn(&mut Linker<'_>, usize, Rc<RefCell<Apply<K, A>>>) + Send + Sync>;

/// The inputs in their places: what an aggregate of any kind begins with.
pub(crate) struct Placed<'b, K: 'static, A: 'static> {
    pub(crate) builder: &'b StreamsBuilder,
    pub(crate) parents: Vec<NodeId>,
    attaches: Vec<Attach<K, A>>,
}

impl<K: 'static, A: 'static> Placed<'_, K, A> {
    /// What puts an aggregate below all inputs, when the node is linked.
    pub(crate) fn attach(
        &self,
    ) -> impl Fn(&mut Linker<'_>, Rc<RefCell<Apply<K, A>>>) + Fun + use<K, A> {
        let attaches = self.attaches.clone();
        move |link, apply| {
            for (parent, attach) in attaches.iter().enumerate().rev() {
                attach(link, parent, apply.clone());
            }
        }
    }
}

impl<'b, K: Data, V: Data> KGroupedStream<'b, K, V> {
    /// Begins an aggregate over several grouped streams: `add` says what this one's records do to
    /// it.
    pub fn cogroup<A: Data>(self, add: impl Fn(&K, V, &mut A) + Fun) -> CogroupedKStream<'b, K, A> {
        CogroupedKStream {
            builder: self.stream.builder,
            inputs: vec![Input::new(self, add)],
        }
    }
}

impl<'b, K: Data, A: Data> CogroupedKStream<'b, K, A> {
    /// Adds another grouped stream, of values of its own type.
    #[track_caller]
    #[must_use = "a cogrouped stream goes nowhere by itself"]
    pub fn cogroup<V: Data>(
        mut self,
        other: KGroupedStream<'b, K, V>,
        add: impl Fn(&K, V, &mut A) + Fun,
    ) -> Self {
        self.builder.must_be(other.stream.builder);
        self.inputs.push(Input::new(other, add));
        self
    }

    /// Changes an aggregate in place with each record of its key, from whichever input; `init`
    /// makes the first one. All inputs must be partitioned alike.
    ///
    /// Times and null keys are treated as in [`KGroupedStream::aggregate`]. An input whose key was
    /// changed goes through a repartition topic, named after the store; where more than one does,
    /// the others need names, given with [`Grouped::named`](super::Grouped::named).
    #[track_caller]
    pub fn aggregate(
        self,
        store: impl Into<Materialized<K, A>>,
        init: impl Fn() -> A + Fun,
    ) -> KTable<'b, K, A> {
        let materialized = store.into();
        let placed = self.place(&materialized.name);
        let (builder, attach) = (placed.builder, placed.attach());
        let serde = materialized.key;
        let store = builder.store(materialized);
        let (init, operator) = (Arc::new(init), NodeKind::Operator);
        let node = builder.add(
            "cogroup",
            operator,
            placed.parents,
            vec![store.id],
            move |link| {
                let (init, mut aggregate) = (init.clone(), Aggregate::new(link, store, serde));
                let apply =
                    move |ctx: &mut TaskContext, record: Record<K, ()>, add: Add<'_, K, A>| {
                        aggregate.update(ctx, record, |key, (), row| {
                            add(key, row.get_or_insert_with(&*init), false);
                            Ok(())
                        })
                    };
                attach(link, Rc::new(RefCell::new(apply)));
            },
        );
        stored(handle(builder, node, None), store)
    }

    /// Sends the inputs whose keys were changed through their repartition topics.
    #[track_caller]
    pub(crate) fn place(self, store: &str) -> Placed<'b, K, A> {
        let (builder, at) = (self.builder, Location::caller());
        let (mut topics, mut parents, mut attaches) = (Vec::new(), Vec::new(), Vec::new());
        for input in self.inputs {
            if input.moved {
                let topic = input.topic.unwrap_or(store);
                if topics.contains(&topic) {
                    builder.mistake(
                        at,
                        format!(
                            "two inputs would be repartitioned through {topic:?}: name the topic \
                             of one with Grouped::named, or put .repartition(\"a-name\") before \
                             its group"
                        ),
                    );
                    continue;
                }
                topics.push(topic);
            }
            parents.push(builder.declared_at(at, || (input.place)(store)));
            attaches.push(input.attach);
        }
        for other in parents.iter().skip(1) {
            builder.must_be_copartitioned(parents[0], *other, at);
        }
        Placed {
            builder,
            parents,
            attaches,
        }
    }
}

impl<'b, K: Data, A: Data> Input<'b, K, A> {
    fn new<V: Data>(grouped: KGroupedStream<'b, K, V>, add: impl Fn(&K, V, &mut A) + Fun) -> Self {
        let KGroupedStream { stream, serdes } = grouped;
        let add = Arc::new(add);
        let attach = move |link: &mut Linker<'_>, parent, apply: Rc<RefCell<Apply<K, A>>>| {
            let add = add.clone();
            link.upstream_of(
                parent,
                move |ctx: &mut TaskContext, record: Record<K, V>| {
                    let Record {
                        key,
                        value,
                        timestamp,
                        headers,
                    } = record;
                    let mut value = Some(value);
                    let record = Record {
                        key,
                        value: (),
                        timestamp,
                        headers,
                    };
                    apply.borrow_mut()(ctx, record, &mut |key, aggregate, again| {
                        let value = if again { value.clone() } else { value.take() };
                        if let Some(value) = value {
                            add(key, value, aggregate);
                        }
                    })
                },
            );
        };
        Self {
            moved: stream.rekeyed.is_some(),
            topic: serdes.name,
            place: Box::new(move |store| stream.by_key(store, serdes).node),
            attach: Arc::new(attach),
        }
    }
}
