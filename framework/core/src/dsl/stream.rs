//! `KStream`: a stream of records, and the stateless operators on it.

use super::{
    Fun, Grouped, KGroupedStream, Repartitioned, StreamsBuilder,
    partitioned::{Partitioner, of_streams},
};
use crate::{
    link::{Data, Linker, Push},
    record::Record,
    store::Storable,
    task::TaskContext,
    topology::{NodeId, NodeKind, StoreId, formats::Role},
};
use std::{marker::PhantomData, panic::Location, sync::Arc};

/// A stream of records: a handle to copy around while the program is built.
pub struct KStream<'b, K, V> {
    pub(crate) builder: &'b StreamsBuilder,
    pub(crate) node: NodeId,
    /// Where the key was changed since the last repartition, if it was.
    pub(crate) rekeyed: Option<&'static Location<'static>>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for KStream<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for KStream<'_, K, V> {}

pub(crate) fn handle<'b, K, V>(
    builder: &'b StreamsBuilder,
    node: NodeId,
    rekeyed: Option<&'static Location<'static>>,
) -> KStream<'b, K, V> {
    KStream {
        builder,
        node,
        rekeyed,
        types: PhantomData,
    }
}

impl<'b, K: Data, V: Data> KStream<'b, K, V> {
    /// The builder of the program that the stream is part of.
    pub fn builder(self) -> &'b StreamsBuilder {
        self.builder
    }

    /// Says what the operator before this is called (Kafka's `Named`) in descriptions, errors and
    /// dead letters. What is below it, and has no store or topic to be named after, is named after
    /// that.
    ///
    /// Without it operators are called after their stores and topics, and others after their kind
    /// and what is above them: names that stay when operators come or go elsewhere in the program.
    /// Only equal operators at one place are numbered, which a name of their own saves them from.
    /// Names are unique and of the characters that topics have. A sink is named where it is
    /// declared ([`Produced::named`](super::Produced::named)).
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static LINES: Topic<String, String> = Topic::new("lines", utf8(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// let full = builder.stream(&LINES).filter(|_, line| !line.is_empty()).named("not-empty");
    /// full.peek(|_, line| println!("{line}"));
    /// full.group_by_key().count("counts");
    /// let topology = builder.build()?;
    /// let names: Vec<_> = topology.nodes().iter().map(|node| node.name.as_str()).collect();
    /// let expected = ["source-lines", "not-empty", "peek-after-not-empty", "aggregate-counts"];
    /// assert_eq!(names, expected);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    pub fn named(self, name: &str) -> Self {
        self.builder.rename(self.node, name, Location::caller());
        self
    }

    /// The one primitive that every operator is written in: a closure that, given the linker, takes
    /// what lies downstream and becomes what to do with a record. Extensions of the DSL use it too.
    #[track_caller]
    pub fn operator<K2: Data, V2: Data, P: Push<K, V> + 'static>(
        self,
        label: &'static str,
        stores: Vec<StoreId>,
        make: impl Fn(&mut Linker<'_>) -> P + Fun,
    ) -> KStream<'b, K2, V2> {
        let parents = vec![self.node];
        let node = self
            .builder
            .add(label, NodeKind::Operator, parents, stores, move |link| {
                let push = make(link);
                link.upstream(push);
            });
        handle(self.builder, node, self.rekeyed)
    }

    /// Remembers that the key is another one now, and where that happened.
    #[track_caller]
    pub(crate) fn with_new_key(self) -> Self {
        Self {
            rekeyed: Some(Location::caller()),
            ..self
        }
    }

    /// Keeps the records for which `keep` holds.
    #[track_caller]
    #[must_use = "a filtered stream goes nowhere by itself"]
    pub fn filter(self, keep: impl Fn(&K, &V) -> bool + Fun) -> Self {
        let keep = Arc::new(keep);
        self.operator("filter", vec![], move |link| {
            let (keep, mut down) = (keep.clone(), link.downstream());
            move |ctx: &mut TaskContext, record: Record<K, V>| {
                if keep(&record.key, &record.value) {
                    down.push(ctx, record)
                } else {
                    Ok(())
                }
            }
        })
    }

    /// Keeps the records for which `drop` does not hold.
    #[track_caller]
    #[must_use = "a filtered stream goes nowhere by itself"]
    pub fn filter_not(self, drop: impl Fn(&K, &V) -> bool + Fun) -> Self {
        self.filter(move |key, value| !drop(key, value))
    }

    /// Makes another value of each value. Key, timestamp and headers stay.
    #[track_caller]
    #[must_use = "a mapped stream goes nowhere by itself"]
    pub fn map_values<V2: Data>(self, map: impl Fn(V) -> V2 + Fun) -> KStream<'b, K, V2> {
        self.map_values_with_key(move |_, value| map(value))
    }

    /// As [`KStream::map_values`], seeing the key too; it stays as it is, so nothing repartitions.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static NAMES: Topic<String, String> = Topic::new("names", utf8(), utf8());
    /// static GREETINGS: Topic<String, String> = Topic::new("greetings", utf8(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// let names = builder.stream(&NAMES);
    /// names.map_values_with_key(|id, name| format!("{name} ({id})")).to(&GREETINGS);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&NAMES, "7".to_owned(), "Ann".to_owned(), 0)?;
    /// let greetings = driver.read_key_values(&GREETINGS)?;
    /// assert_eq!(greetings, [("7".to_owned(), Some("Ann (7)".to_owned()))]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    #[must_use = "a mapped stream goes nowhere by itself"]
    pub fn map_values_with_key<V2: Data>(
        self,
        map: impl Fn(&K, V) -> V2 + Fun,
    ) -> KStream<'b, K, V2> {
        let map = Arc::new(map);
        self.operator("map_values", vec![], move |link| {
            let (map, mut down) = (map.clone(), link.downstream());
            move |ctx: &mut TaskContext, record: Record<K, V>| {
                let Record {
                    key,
                    value,
                    timestamp,
                    headers,
                } = record;
                let value = map(&key, value);
                down.push(
                    ctx,
                    Record {
                        key,
                        value,
                        timestamp,
                        headers,
                    },
                )
            }
        })
    }

    /// Makes another key and value of each record. What needs the key next repartitions.
    #[track_caller]
    #[must_use = "a mapped stream goes nowhere by itself"]
    pub fn map<K2: Data, V2: Data>(
        self,
        map: impl Fn(K, V) -> (K2, V2) + Fun,
    ) -> KStream<'b, K2, V2> {
        let map = Arc::new(map);
        let mapped = self.operator("map", vec![], move |link| {
            let (map, mut down) = (map.clone(), link.downstream());
            move |ctx: &mut TaskContext, record: Record<K, V>| {
                let (key, value) = map(record.key, record.value);
                let (timestamp, headers) = (record.timestamp, record.headers);
                down.push(
                    ctx,
                    Record {
                        key,
                        value,
                        timestamp,
                        headers,
                    },
                )
            }
        });
        mapped.with_new_key()
    }

    /// Makes any number of values of each value.
    #[track_caller]
    #[must_use = "a mapped stream goes nowhere by itself"]
    pub fn flat_map_values<I: IntoIterator<Item: Data>>(
        self,
        map: impl Fn(V) -> I + Fun,
    ) -> KStream<'b, K, I::Item> {
        self.flat_map_values_with_key(move |_, value| map(value))
    }

    /// As [`KStream::flat_map_values`], seeing the key too.
    #[track_caller]
    #[must_use = "a mapped stream goes nowhere by itself"]
    pub fn flat_map_values_with_key<I: IntoIterator<Item: Data>>(
        self,
        map: impl Fn(&K, V) -> I + Fun,
    ) -> KStream<'b, K, I::Item> {
        let map = Arc::new(map);
        self.operator("flat_map_values", vec![], move |link| {
            let (map, mut down) = (map.clone(), link.downstream());
            move |ctx: &mut TaskContext, record: Record<K, V>| {
                let Record {
                    key,
                    value,
                    timestamp,
                    headers,
                } = record;
                for value in map(&key, value) {
                    let (key, headers) = (key.clone(), headers.clone());
                    down.push(
                        ctx,
                        Record {
                            key,
                            value,
                            timestamp,
                            headers,
                        },
                    )?;
                }
                Ok(())
            }
        })
    }

    /// Makes any number of records of each record.
    #[track_caller]
    #[must_use = "a mapped stream goes nowhere by itself"]
    pub fn flat_map<K2: Data, V2: Data, I: IntoIterator<Item = (K2, V2)>>(
        self,
        map: impl Fn(K, V) -> I + Fun,
    ) -> KStream<'b, K2, V2> {
        let map = Arc::new(map);
        let mapped = self.operator("flat_map", vec![], move |link| {
            let (map, mut down) = (map.clone(), link.downstream());
            move |ctx: &mut TaskContext, record: Record<K, V>| {
                let (timestamp, headers) = (record.timestamp, record.headers);
                for (key, value) in map(record.key, record.value) {
                    let headers = headers.clone();
                    down.push(
                        ctx,
                        Record {
                            key,
                            value,
                            timestamp,
                            headers,
                        },
                    )?;
                }
                Ok(())
            }
        });
        mapped.with_new_key()
    }

    /// Gives each record another key. What needs the key next repartitions.
    #[track_caller]
    #[must_use = "a rekeyed stream goes nowhere by itself"]
    pub fn select_key<K2: Data>(self, select: impl Fn(&K, &V) -> K2 + Fun) -> KStream<'b, K2, V> {
        let select = Arc::new(select);
        let selected = self.operator("key_select", vec![], move |link| {
            let (select, mut down) = (select.clone(), link.downstream());
            move |ctx: &mut TaskContext, record: Record<K, V>| {
                let key = select(&record.key, &record.value);
                down.push(ctx, record.with_key(key))
            }
        });
        selected.with_new_key()
    }

    /// Looks at each record as it passes. What `look` does outside is not part of the commit.
    #[track_caller]
    #[must_use = "to end a stream here, use for_each"]
    pub fn peek(self, look: impl Fn(&K, &V) + Fun) -> Self {
        let look = Arc::new(look);
        self.operator("peek", vec![], move |link| {
            let (look, mut down) = (look.clone(), link.downstream());
            move |ctx: &mut TaskContext, record: Record<K, V>| {
                look(&record.key, &record.value);
                down.push(ctx, record)
            }
        })
    }

    /// Ends the stream in a side effect, which is not part of the commit.
    #[track_caller]
    pub fn for_each(self, act: impl Fn(K, V) + Fun) {
        let act = Arc::new(act);
        self.operator::<K, V, _>("foreach", vec![], move |_| {
            let act = act.clone();
            move |_: &mut TaskContext, record: Record<K, V>| {
                act(record.key, record.value);
                Ok(())
            }
        });
    }

    /// Both streams as one, in no order between them. A stream that is merged with itself comes
    /// twice.
    #[track_caller]
    #[must_use = "a merged stream goes nowhere by itself"]
    pub fn merge(self, other: Self) -> Self {
        self.builder.must_be(other.builder);
        let parents = vec![self.node, other.node];
        let node = self
            .builder
            .add("merge", NodeKind::Operator, parents, vec![], |link| {
                let mut down = link.downstream();
                link.upstream(move |ctx: &mut TaskContext, record: Record<K, V>| {
                    down.push(ctx, record)
                });
            });
        handle(self.builder, node, self.rekeyed.or(other.rekeyed))
    }

    /// Sends the records through a topic of the program's own, so that equal keys meet in one task.
    ///
    /// Records with a null key have nowhere to go: they are dropped and counted, unless a left or
    /// an outer join below makes something of them (KIP-962).
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static ORDERS: Topic<u64, String> = Topic::new("orders", u64_be(), utf8());
    /// static MAILS: Topic<String, String> = Topic::new("mails", utf8(), utf8());
    /// static LETTERS: Topic<String, String> = Topic::new("letters", utf8(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// let mails = builder.table(&MAILS, "mails");
    /// let by_buyer = builder.stream(&ORDERS).select_key(|_, buyer| buyer.clone());
    /// // Now an order is where its buyer's row is.
    /// let placed = by_buyer.repartition("orders-by-buyer");
    /// placed.join(mails, |buyer, mail| format!("{buyer} <{mail}>")).to(&LETTERS);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&MAILS, "ann".to_owned(), "ann@a.example".to_owned(), 0)?;
    /// driver.pipe(&ORDERS, 7, "ann".to_owned(), 1)?;
    /// let letters = driver.read_key_values(&LETTERS)?;
    /// assert_eq!(letters, [("ann".to_owned(), Some("ann <ann@a.example>".to_owned()))]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    #[must_use = "a repartitioned stream goes nowhere by itself"]
    pub fn repartition(self, topic: impl Into<Repartitioned<K, V>>) -> Self {
        let Repartitioned {
            name,
            serdes,
            partitions,
            partitioner,
        } = topic.into();
        if partitions == Some(0) {
            let text = format!("the repartition topic {name:?} would have no partition");
            self.builder.mistake(Location::caller(), text);
        }
        self.through(&name, serdes, partitions, partitioner)
    }

    #[track_caller]
    pub(crate) fn through(
        self,
        name: &str,
        serdes: Grouped<K, V>,
        partitions: Option<u32>,
        partitioner: Option<Partitioner<K, V>>,
    ) -> Self {
        let Grouped { key, value, .. } = serdes;
        let format = format!("{}/{}", key.codec().name(), value.codec().name());
        let at = Location::caller();
        let spread = (partitions, partitioner.is_some());
        let topic = self.builder.add_repartition(name, spread, format, at);
        self.builder.add_format(&topic, (key, value), Role::Stream);
        let encode = move |v: &V, out: &mut Vec<u8>| value.encode(v, out);
        self.sink(topic.clone(), key, encode, partitioner.map(of_streams));
        self.builder
            .read_back(topic, key, move |bytes| value.decode(bytes))
    }

    /// The stream through a repartition topic if its key was changed, else as it is. The topic is
    /// named after the store behind it, unless it has a name of its own.
    #[track_caller]
    pub(crate) fn by_key(self, store: &str, serdes: Grouped<K, V>) -> Self {
        if self.rekeyed.is_some() {
            self.through(serdes.name_or(store), serdes, None, None)
        } else {
            self
        }
    }

    /// Groups by the key there is. Repartitions only if the key was changed before.
    pub fn group_by_key(self) -> KGroupedStream<'b, K, V>
    where
        K: Storable,
        V: Storable,
    {
        self.group_by_key_with(Grouped::by_default())
    }

    /// Groups by the key there is, with serdes for the repartition that a changed key needs.
    pub fn group_by_key_with(self, grouped: Grouped<K, V>) -> KGroupedStream<'b, K, V> {
        KGroupedStream {
            stream: self,
            serdes: grouped,
        }
    }

    /// Groups by a new key, through a repartition topic named after the store that follows.
    /// Records whose new key is null are in no group: they are dropped there and counted.
    #[track_caller]
    pub fn group_by<K2: Storable>(
        self,
        select: impl Fn(&K, &V) -> K2 + Fun,
    ) -> KGroupedStream<'b, K2, V>
    where
        V: Storable,
    {
        self.group_by_with(select, Grouped::by_default())
    }

    /// Groups by a new key, with serdes for the repartition topic.
    #[track_caller]
    pub fn group_by_with<K2: Data>(
        self,
        select: impl Fn(&K, &V) -> K2 + Fun,
        grouped: Grouped<K2, V>,
    ) -> KGroupedStream<'b, K2, V> {
        KGroupedStream {
            stream: self.select_key(select),
            serdes: grouped,
        }
    }
}
