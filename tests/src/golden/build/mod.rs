//! Builds a program's topology with our DSL.
//!
//! Invariant: what Kafka Streams does by looking for nulls, and we by types, is done here by hand,
//! and what that drops is counted as Kafka Streams counts it.

pub(super) mod failing;
mod groups;
mod joins;
mod keys;
mod sources;
mod tables;
mod windows;

use super::{
    Op,
    functions::{self, Map, Selector, Test},
    op::{Place, Windows},
    processing, processors,
    program::{Key, Value},
    recalling,
};
use anyhow::{Result, bail, ensure};
use millstream_core::{prelude::*, store::StoreHandle, topology::Topology};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use windows::WindowTable;

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
    /// Grouped when it is aggregated, since rows that are mapped to null have another type.
    TableGroup(Table<'b>, Selector, Map),
    /// As a table's.
    WindowGroup(WindowTable<'b>, Selector, Map),
    /// As a table's, by keys that have windows as well.
    WindowTableGroup(WindowTable<'b>, Selector, Map),
    /// Grouped when they are aggregated, as a group is.
    Cogroup(Vec<Stream<'b>>),
    /// A group with windows.
    Windowed(Stream<'b>, Windows),
    /// A cogroup with windows.
    WindowedMany(Vec<Stream<'b>>, Windows),
    WindowTable(WindowTable<'b>),
    Global(GlobalKTable<'b, Key, i64>),
    GlobalStore(GlobalStore<Key, i64>),
    ReadOnly(StoreHandle<KeyValueStore<Key, i64>>),
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
            Op::Stream { .. }
            | Op::Table { .. }
            | Op::GlobalTable { .. }
            | Op::GlobalStore { .. }
            | Op::ReadOnly { .. } => self.source_of(op, &name)?,
            Op::Filter { .. } | Op::FilterNot { .. } | Op::MapValues { .. } => {
                self.values(op, &name)?
            }
            Op::Split {
                of,
                branches,
                default,
            } => self.split(*of, branches, *default)?,
            Op::Branch { of, at } => self.branch(*of, *at)?,
            Op::Children { of } => {
                let children = processing::children(self.stream(*of)?.stream, &name);
                let rekeyed = true;
                Handle::Branches(children.map(|stream| Stream { stream, rekeyed }).into())
            }
            Op::GroupByKey { of } => Handle::Group(self.stream(*of)?),
            Op::GroupBy {
                of,
                key,
                map,
                windowed,
            } => self.group_by((*of, *windowed), key, *map)?,
            Op::Count { .. } | Op::Reduce { .. } | Op::Aggregate { .. } => {
                self.aggregate(op, &name)?
            }
            Op::ToTable { of, history } => {
                let stream = self.stream(*of)?.stream;
                Handle::Table(stream.to_table_of_rows(with_history(&name, *history)))
            }
            Op::ToStream { of } => Handle::Stream(match self.window_table(*of) {
                Some(table) => Graph::flat(table),
                None => Stream {
                    stream: self.table(*of)?.to_stream(),
                    rekeyed: false,
                },
            }),
            Op::TransformValues { .. } => self.transform_values(op, &name)?,
            Op::Window(windows) => match self.at(windows.of)? {
                Handle::Group(stream) => Handle::Windowed(*stream, windows.clone()),
                Handle::Cogroup(streams) => Handle::WindowedMany(streams.clone(), windows.clone()),
                _ => bail!("{windows:?} of node {}", windows.of),
            },
            Op::Suppress(suppression) => self.suppress(suppression, &name)?,
            Op::Cogroup { of } => self.cogrouped(of)?,
            Op::Join(joining) => self.join(joining, &name)?,
            Op::ForeignJoin { .. } => self.foreign_join(op, &name)?,
            Op::To { .. } => self.to(op)?,
            Op::Try(trying) => match self.attempt(trying)? {
                Some(stream) => Handle::Stream(stream),
                None => Handle::End,
            },
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
            Op::FlatMapValues { times, keyed, .. } => {
                let flat = if keyed {
                    stream.flat_map_values_with_key(move |k, v| {
                        let values = functions::several(v, times).into_iter();
                        let code = functions::code(k);
                        values.map(move |v| functions::keyed(v, code))
                    })
                } else {
                    stream.flat_map_values(move |v| functions::several(v, times))
                };
                (flat, rekeyed)
            }
            Op::LookUp { with, .. } => match self.at(with)? {
                Handle::ReadOnly(store) => (processors::look_up(stream, *store), rekeyed),
                Handle::GlobalStore(store) => (processing::look_up(stream, *store), rekeyed),
                _ => bail!("node {with} is no store to look up in"),
            },
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
            _ => return self.processed(op, Stream { stream, rekeyed }, name),
        };
        Ok(Stream { stream, rekeyed })
    }

    /// What a processor of the program's own makes of a stream.
    fn processed(&self, op: &Op, of: Stream<'b>, name: &str) -> Result<Stream<'b>> {
        let Stream { stream, rekeyed } = of;
        let (stream, rekeyed) = match op.clone() {
            Op::Process {
                every,
                clear,
                refuses,
                on_error,
                ..
            } => {
                let store = self.builder.store(stored(name));
                let processed = processors::process(stream, store, (&every, clear), refuses);
                (failing::answered(processed, on_error.as_ref()), true)
            }
            Op::ProcessValues {
                refuses, on_error, ..
            } => {
                let store = self.builder.store(stored(name));
                let processed = processors::process_values(stream, store, refuses);
                (failing::answered(processed, on_error.as_ref()), rekeyed)
            }
            Op::Schedules { interval, .. } => (processing::schedules(stream, interval), true),
            Op::ProcessVersions { history, back, .. } => {
                let store = self
                    .builder
                    .versioned_store(stored(name), duration(history));
                let told = processors::versions(stream, store, back, &self.dropped);
                (told, true)
            }
            Op::ProcessHeaders { kind, .. } => {
                let told = recalling::process(self.builder, stream, stored(name), kind);
                (told, true)
            }
            other => bail!("{other:?} is not supported yet"),
        };
        Ok(Stream { stream, rekeyed })
    }

    /// What streams and tables have.
    fn values(&self, op: &Op, name: &str) -> Result<Handle<'b>> {
        let of = op.reads().first().copied().unwrap_or_default();
        match self.at(of)? {
            Handle::Table(table) => {
                return Ok(Handle::Table(tables::values(op, *table, stored(name))?));
            }
            Handle::WindowTable(table) => {
                let table = tables::values(op, *table, windows::stored(name))?;
                return Ok(Handle::WindowTable(table));
            }
            _ => {}
        }
        let Stream { stream, rekeyed } = self.stream(of)?;
        let stream = match *op {
            Op::Filter { test, .. } => stream.filter(move |_, v| test.passes(*v)),
            Op::FilterNot { test, .. } => stream.filter_not(move |_, v| test.passes(*v)),
            Op::MapValues { map, keyed, .. } if keyed => stream
                .map_values_with_key(move |k, v| functions::keyed(map.of(v), functions::code(k))),
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

    fn branch(&self, of: Place, at: usize) -> Result<Handle<'b>> {
        let Handle::Branches(branches) = self.at(of)? else {
            bail!("a branch of what is not split");
        };
        match branches.get(at) {
            // So that two nodes which are the same branch are two nodes.
            Some(Stream { stream, rekeyed }) => Ok(Handle::Stream(Stream {
                stream: stream.peek(|_, _| {}),
                rekeyed: *rekeyed,
            })),
            None => bail!("there is no branch {at}"),
        }
    }

    fn group_by(
        &self,
        (of, windowed): (Place, bool),
        key: &Selector,
        map: Option<Map>,
    ) -> Result<Handle<'b>> {
        let (key, rows) = (key.clone(), map.unwrap_or(Map::Line((1, 0))));
        match self.at(of)? {
            Handle::Table(table) => return Ok(Handle::TableGroup(*table, key, rows)),
            Handle::WindowTable(table) if windowed => {
                return Ok(Handle::WindowTableGroup(*table, key, rows));
            }
            Handle::WindowTable(table) => return Ok(Handle::WindowGroup(*table, key, rows)),
            _ => {}
        }
        ensure!(
            map.is_none(),
            "a stream's values are not mapped by group_by"
        );
        let stream = self.stream(of)?.stream;
        Ok(Handle::Group(Stream {
            stream: stream.select_key(move |k, v| key.key(k, *v)),
            rekeyed: true,
        }))
    }

    fn to(&mut self, op: &Op) -> Result<Handle<'b>> {
        let Op::To {
            of,
            topic,
            by,
            refuses,
            on_error,
        } = op
        else {
            bail!("{op:?} is no sink");
        };
        let (of, policy, serde) = (
            *of,
            failing::ours(on_error.as_ref()),
            failing::numbers(*refuses),
        );
        if let Some(by) = by {
            let (by, topic) = (by.clone(), topic.to_owned());
            self.sinks
                .extend(by.all().iter().map(|key| chosen(&topic, key)));
            let choose = move |k: &Key, v: &Value| chosen(&topic, &by.key(k, *v));
            let stream = self.stream(of)?.stream;
            match policy {
                Some(policy) => stream.to_chosen_or(choose, key(), serde, policy),
                None => stream.to_chosen(choose, key(), serde),
            }
            return Ok(Handle::End);
        }
        self.sinks.insert(topic.to_owned());
        if let Handle::Table(table) = self.at(of)? {
            table.to(&Topic::new(interned(topic), key(), i64_be()));
        } else {
            let stream = self.stream(of)?.stream;
            let produced = Produced::of(&Topic::new(interned(topic), key(), serde));
            stream.to(match policy {
                Some(policy) => produced.on_error(policy),
                None => produced,
            });
        }
        Ok(Handle::End)
    }

    /// The records that have a value. The others are dropped and counted.
    fn present(&self, stream: KStream<'b, Key, Value>) -> KStream<'b, Key, i64> {
        let dropped = self.dropped.clone();
        let present = stream.filter(move |_, value| counted_if(&dropped, value.is_none()));
        present.map_values(Option::unwrap_or_default)
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

/// The topic that a record goes to by a key.
fn chosen(topic: &str, key: &Key) -> String {
    format!("{topic}-{}", key.as_deref().unwrap_or("null"))
}

/// Whether a record stays; counts it if it does not.
fn counted_if(dropped: &AtomicU64, drop: bool) -> bool {
    dropped.fetch_add(u64::from(drop), Ordering::Relaxed);
    !drop
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

fn with_history(name: &str, history: Option<Timestamp>) -> Materialized<Key, i64> {
    match history {
        Some(history) => stored(name).versioned(duration(history)),
        None => stored(name),
    }
}

fn duration(millis: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

/// A topic's name as programs have it, as a constant; each is made one only once.
pub(super) fn interned(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeMap<String, &'static str>> = Mutex::new(BTreeMap::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names
        .entry(name.to_owned())
        .or_insert_with(|| name.to_owned().leak())
}
