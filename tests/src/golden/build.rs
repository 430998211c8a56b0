//! Builds a program's topology with our DSL.
//!
//! Invariant: what Kafka Streams does by looking for nulls, and we by types, is done here by hand,
//! and what that drops is counted as Kafka Streams counts it.

use super::{
    Op,
    functions::{self, Fold, Map, Selector, Test},
    op::{Joining, Place, Side},
    processors,
    program::{Key, Value},
};
use anyhow::{Result, bail, ensure};
use millstream_core::{prelude::*, topology::Topology};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// A stream, and whether its key was changed since the last repartition.
#[derive(Clone, Copy)]
struct Stream<'b> {
    stream: KStream<'b, Key, Value>,
    rekeyed: bool,
}

type Table<'b> = KTable<'b, Key, i64>;

/// What a node has become.
enum Handle<'b> {
    Stream(Stream<'b>),
    Branches(Vec<Stream<'b>>),
    /// Grouped when it is aggregated, since what becomes of null values depends on how.
    Group(Stream<'b>),
    Table(Table<'b>),
    TableGroup(Table<'b>, Selector, Map),
    End,
}

/// A program's topology.
pub struct Built {
    /// The topology.
    pub topology: Topology,
    /// The topics that it reads.
    pub sources: BTreeSet<String>,
    /// The topics that it writes.
    pub sinks: BTreeSet<String>,
    /// How many records were dropped by hand.
    pub dropped: Arc<AtomicU64>,
}

/// The topology of a program.
///
/// # Errors
/// Where the program is none: an operator reads what it cannot, or is one that our DSL lacks.
pub fn build(nodes: &[Op]) -> Result<Built> {
    let builder = StreamsBuilder::new();
    let mut graph = Graph {
        builder: &builder,
        handles: Vec::new(),
        sources: BTreeSet::new(),
        sinks: BTreeSet::new(),
        dropped: Arc::default(),
    };
    for op in nodes {
        let handle = graph.handle(op)?;
        graph.handles.push(handle);
    }
    let Graph {
        sources,
        sinks,
        dropped,
        ..
    } = graph;
    Ok(Built {
        topology: builder.build()?,
        sources,
        sinks,
        dropped,
    })
}

struct Graph<'b> {
    builder: &'b StreamsBuilder,
    handles: Vec<Handle<'b>>,
    sources: BTreeSet<String>,
    sinks: BTreeSet<String>,
    dropped: Arc<AtomicU64>,
}

impl<'b> Graph<'b> {
    fn handle(&mut self, op: &Op) -> Result<Handle<'b>> {
        let name = format!("n{}", self.handles.len());
        Ok(match op {
            Op::Stream { topic } => Handle::Stream(Stream {
                stream: self
                    .builder
                    .stream(&self.source::<Value>(topic, nullable())),
                rekeyed: false,
            }),
            Op::Table {
                topic,
                history: None,
            } => {
                let topic = self.source(topic, i64_be());
                Handle::Table(self.builder.table(&topic, stored(&name)))
            }
            Op::Filter { .. } | Op::FilterNot { .. } | Op::MapValues { .. } => self.values(op)?,
            Op::Split {
                of,
                branches,
                default,
            } => self.split(*of, branches, *default)?,
            Op::Branch { of, at } => match self.at(*of)? {
                Handle::Branches(branches) => match branches.get(*at) {
                    Some(branch) => Handle::Stream(*branch),
                    None => bail!("there is no branch {at}"),
                },
                _ => bail!("a branch of what is not split"),
            },
            Op::GroupByKey { of } => Handle::Group(self.stream(*of)?),
            Op::GroupBy { of, key, map } => self.group_by(*of, key, *map)?,
            Op::Count { .. } | Op::Reduce { .. } | Op::Aggregate { .. } => {
                self.aggregate(op, &name)?
            }
            Op::ToTable { of, history: None } => {
                let stream = self.stream(*of)?.stream;
                Handle::Table(stream.to_table_of_rows(stored(&name)))
            }
            Op::ToStream { of } => Handle::Stream(Stream {
                stream: self.table(*of)?.to_stream(),
                rekeyed: false,
            }),
            Op::Join(joining) => self.join(joining, &name)?,
            Op::To { of, topic } => self.to(*of, topic)?,
            _ => Handle::Stream(self.on_stream(op, &name)?),
        })
    }

    /// What only streams have.
    fn on_stream(&self, op: &Op, name: &str) -> Result<Stream<'b>> {
        let Some(&of) = op.reads().first() else {
            bail!("{op:?} is not supported yet");
        };
        let Stream { stream, rekeyed } = self.stream(of)?;
        let (stream, rekeyed) = match op.clone() {
            Op::Map { key, map, .. } => {
                let mapped = stream.map(move |k, v| (key.key(&k, v), map.of(v)));
                (mapped, true)
            }
            Op::SelectKey { key, .. } => (stream.select_key(move |k, v| key.key(k, *v)), true),
            Op::FlatMapValues { times, .. } => {
                let flat = stream.flat_map_values(move |v| functions::several(v, times));
                (flat, rekeyed)
            }
            Op::FlatMap { times, key, .. } => {
                let flat = stream.flat_map(move |k, v| {
                    let values = functions::several(v, times).into_iter();
                    let records = values.map(|v| (key.key(&k, v), v));
                    records.collect::<Vec<_>>()
                });
                (flat, true)
            }
            Op::Peek { .. } => (stream.peek(|_, _| {}), rekeyed),
            Op::Merge { with, .. } => {
                let other = self.stream(with)?;
                (stream.merge(other.stream), rekeyed || other.rekeyed)
            }
            Op::Repartition { .. } => (repartitioned(stream, name), false),
            Op::Process { every, clear, .. } => {
                let store = self.builder.store(stored(name));
                (processors::process(stream, store, &every, clear), true)
            }
            Op::ProcessValues { .. } => {
                let store = self.builder.store(stored(name));
                (processors::process_values(stream, store), rekeyed)
            }
            other => bail!("{other:?} is not supported yet"),
        };
        Ok(Stream { stream, rekeyed })
    }

    /// What streams and tables have.
    fn values(&self, op: &Op) -> Result<Handle<'b>> {
        let of = op.reads().first().copied().unwrap_or_default();
        if let Handle::Table(table) = self.at(of)? {
            return Ok(Handle::Table(match *op {
                Op::Filter { test, .. } => table.filter(move |_, v| test.passes(Some(*v))),
                Op::FilterNot { test, .. } => table.filter_not(move |_, v| test.passes(Some(*v))),
                Op::MapValues { map, .. } => {
                    ensure!(matches!(map, Map::Line(_)), "a row cannot become null");
                    table.map_values(move |_, v| map.of(Some(v)).unwrap_or_default())
                }
                _ => bail!("{op:?} of a table"),
            }));
        }
        let Stream { stream, rekeyed } = self.stream(of)?;
        let stream = match *op {
            Op::Filter { test, .. } => stream.filter(move |_, v| test.passes(*v)),
            Op::FilterNot { test, .. } => stream.filter_not(move |_, v| test.passes(*v)),
            Op::MapValues { map, .. } => stream.map_values(move |v| map.of(v)),
            _ => bail!("{op:?} of a stream"),
        };
        Ok(Handle::Stream(Stream { stream, rekeyed }))
    }

    fn split(&self, of: Place, branches: &[Test], default: bool) -> Result<Handle<'b>> {
        let Stream { stream, rekeyed } = self.stream(of)?;
        let split = stream.split();
        let mut streams = Vec::new();
        for test in branches.iter().copied() {
            streams.push(split.branch(move |_, v| test.passes(*v)));
        }
        if default {
            streams.push(split.default_branch());
        }
        let streams = streams.into_iter();
        let branches = streams.map(|stream| Stream { stream, rekeyed });
        Ok(Handle::Branches(branches.collect()))
    }

    fn group_by(&self, of: Place, key: &Selector, map: Option<Map>) -> Result<Handle<'b>> {
        if let Handle::Table(table) = self.at(of)? {
            let map = map.unwrap_or(Map::Line((1, 0)));
            ensure!(matches!(map, Map::Line(_)), "a row cannot become null");
            return Ok(Handle::TableGroup(*table, key.clone(), map));
        }
        ensure!(
            map.is_none(),
            "a stream's values are not mapped by group_by"
        );
        let key = key.clone();
        let stream = self.stream(of)?.stream;
        Ok(Handle::Group(Stream {
            stream: stream.select_key(move |k, v| key.key(k, *v)),
            rekeyed: true,
        }))
    }

    fn aggregate(&self, op: &Op, name: &str) -> Result<Handle<'b>> {
        let of = op.reads().first().copied().unwrap_or_default();
        let store = stored(name);
        let counts = || Materialized::with(name, key(), u64_be());
        let table = match self.at(of)? {
            Handle::Group(stream) => {
                let group = self.present(stream.stream);
                let group = group.group_by_key_with(Grouped::with(key(), i64_be()));
                match *op {
                    Op::Count { .. } => counted(group.count(counts())),
                    Op::Reduce { fold, .. } => group.reduce(store, move |a, b| fold.of(a, b)),
                    Op::Aggregate { init, .. } => group.aggregate(
                        store,
                        move || init,
                        |_, v, sum| *sum = functions::added(*sum, Some(v), 1),
                    ),
                    _ => bail!("{op:?} of a group"),
                }
            }
            Handle::TableGroup(table, key, map) => {
                let (key, map) = (key.clone(), *map);
                let mapped = move |v: &i64| map.of(Some(*v)).unwrap_or_default();
                let group = table.group_by(move |k, v| (key.key(k, Some(*v)), mapped(v)));
                match *op {
                    Op::Count { .. } => counted(group.count(counts())),
                    Op::Reduce { fold, .. } => reduced(group, store, fold),
                    Op::Aggregate { init, .. } => group.aggregate(
                        store,
                        move || init,
                        |_, v, sum| *sum = functions::added(*sum, Some(v), 1),
                        |_, v, sum| *sum = functions::subtracted(*sum, v),
                    ),
                    _ => bail!("{op:?} of a group"),
                }
            }
            _ => bail!("{op:?} is not supported yet"),
        };
        Ok(Handle::Table(table))
    }

    fn join(&self, joining: &Joining, name: &str) -> Result<Handle<'b>> {
        let Stream { stream, rekeyed } = self.stream(joining.of)?;
        let Handle::Table(table) = self.at(joining.with)? else {
            bail!("{joining:?} is not supported yet");
        };
        ensure!(joining.grace.is_none(), "{joining:?} is not supported yet");
        // Kafka Streams does so without being asked.
        let stream = if rekeyed {
            repartitioned(stream, name)
        } else {
            stream
        };
        let table = *table;
        let stream = match joining.kind {
            // A null value is dropped by either kind of join.
            Side::Inner => {
                let stream = self.present(self.with_key(stream));
                stream.join(table, |l, r| Some(functions::joined(Some(l), Some(*r))))
            }
            Side::Left => {
                let stream = self.present(stream);
                stream.left_join(table, |l, r| Some(functions::joined(Some(l), r.copied())))
            }
            Side::Outer => bail!("a stream and a table have no outer join"),
        };
        Ok(Handle::Stream(Stream {
            stream,
            rekeyed: false,
        }))
    }

    fn to(&mut self, of: Place, topic: &str) -> Result<Handle<'b>> {
        self.sinks.insert(topic.to_owned());
        if let Handle::Table(table) = self.at(of)? {
            table.to(&Topic::new(interned(topic), key(), i64_be()));
        } else {
            let stream = self.stream(of)?.stream;
            stream.to(&Topic::new(interned(topic), key(), nullable()));
        }
        Ok(Handle::End)
    }

    /// The records that have a value. The others are dropped and counted.
    fn present(&self, stream: KStream<'b, Key, Value>) -> KStream<'b, Key, i64> {
        let dropped = self.dropped.clone();
        let present = stream.filter(move |_, value| counted_if(&dropped, value.is_none()));
        present.map_values(Option::unwrap_or_default)
    }

    /// The records that have a key. The others are dropped and counted.
    fn with_key(&self, stream: KStream<'b, Key, Value>) -> KStream<'b, Key, Value> {
        let dropped = self.dropped.clone();
        stream.filter(move |key, _| counted_if(&dropped, key.is_none()))
    }

    fn source<V>(&mut self, topic: &str, value: Serde<V>) -> Topic<Key, V> {
        self.sources.insert(topic.to_owned());
        Topic::new(interned(topic), key(), value)
    }

    fn at(&self, place: Place) -> Result<&Handle<'b>> {
        match self.handles.get(place) {
            Some(handle) => Ok(handle),
            None => bail!("there is no node {place} yet"),
        }
    }

    fn stream(&self, place: Place) -> Result<Stream<'b>> {
        match self.at(place)? {
            Handle::Stream(stream) => Ok(*stream),
            _ => bail!("node {place} is no stream"),
        }
    }

    fn table(&self, place: Place) -> Result<Table<'b>> {
        match self.at(place)? {
            Handle::Table(table) => Ok(*table),
            _ => bail!("node {place} is no table"),
        }
    }
}

/// Whether a record stays; counts it if it does not.
fn counted_if(dropped: &AtomicU64, drop: bool) -> bool {
    dropped.fetch_add(u64::from(drop), Ordering::Relaxed);
    !drop
}

fn reduced<'b>(
    group: KGroupedTable<'b, Key, i64>,
    store: Materialized<Key, i64>,
    fold: Fold,
) -> Table<'b> {
    group.reduce(
        store,
        move |a, b| fold.of(a, b),
        move |a, b| fold.taken_back(a, b),
    )
}

/// Counts as the numbers that all values are.
fn counted(counts: KTable<'_, Key, u64>) -> Table<'_> {
    counts.map_values(|_, count| i64::try_from(count).unwrap_or(i64::MAX))
}

fn repartitioned<'b>(stream: KStream<'b, Key, Value>, name: &str) -> KStream<'b, Key, Value> {
    stream.repartition(Repartitioned::with(name, key(), nullable()))
}

fn key() -> Serde<Key> {
    option::<Utf8>()
}

fn nullable() -> Serde<Value> {
    option::<I64Be>()
}

fn stored(name: &str) -> Materialized<Key, i64> {
    Materialized::with(name, key(), i64_be())
}

/// A topic's name as programs have it, as a constant; each is made one only once.
pub(super) fn interned(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeMap<String, &'static str>> = Mutex::new(BTreeMap::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names
        .entry(name.to_owned())
        .or_insert_with(|| name.to_owned().leak())
}
