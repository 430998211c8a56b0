//! The builder: collects nodes and stores, and becomes a checked topology.

use super::{Consumed, Fun, KStream, source::Reading, view::Table};
use crate::{
    error::Result,
    link::{Data, Linker},
    record::Timestamp,
    serde::Serde,
    store::{
        BufferStore, KeyValueStore, Materialized, StoreHandle, TimedFormats, TimedShape,
        TimedStore, VersionedFormats, VersionedStore, versions_of,
    },
    topology::{
        Draft, GlobalSpec, Mistake, Node, NodeId, NodeKind, Repartition, SourceCopy, StoreId,
        StoreSpec, TopicFormat, TopicName, Topology,
        formats::{Formats, Role},
    },
};
use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::BTreeMap,
    marker::PhantomData,
    panic::Location,
    sync::Arc,
    time::Duration,
};

/// Where a program declares its streams, tables and stores.
///
/// ```
/// use millstream_core::prelude::*;
///
/// static LINES: Topic<(), String> = Topic::new("lines", unit(), utf8());
/// static COUNTS: Topic<String, u64> = Topic::new("counts", utf8(), u64_be());
///
/// let builder = StreamsBuilder::new();
/// builder
///     .stream(&LINES)
///     .flat_map_values(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
///     .group_by(|_, word| word.clone())
///     .count("word-counts")
///     .to(&COUNTS);
///
/// let mut driver = TopologyTestDriver::new(builder.build()?)?;
/// driver.pipe(&LINES, (), "to be or not to be".to_owned(), 0)?;
/// let counts = driver.read_key_values(&COUNTS)?;
/// assert_eq!(counts.last(), Some(&("be".to_owned(), Some(2))));
/// # Ok::<(), millstream_core::Error>(())
/// ```
#[derive(Default)]
pub struct StreamsBuilder {
    pub(super) draft: RefCell<Draft>,
    /// How tables are read by key.
    pub(super) tables: RefCell<Vec<Table>>,
    /// How the keys of each source topic are written.
    keys: RefCell<BTreeMap<TopicName, Arc<dyn Any + Send + Sync>>>,
    /// Where the program declares what is being declared, where that is not who calls.
    place: Cell<Option<&'static Location<'static>>>,
}

impl StreamsBuilder {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks the program.
    ///
    /// # Errors
    /// `Topology`, with one line per mistake: file, line, and what to do.
    pub fn build(self) -> Result<Topology> {
        self.draft.into_inner().build()
    }

    /// Reads a topic as a stream: every record is an event.
    #[track_caller]
    pub fn stream<K: Data, V: Data>(&self, topic: impl Into<Consumed<K, V>>) -> KStream<'_, K, V> {
        let consumed = topic.into();
        self.read_events(TopicName::User(consumed.topic.name.to_owned()), consumed)
    }

    /// Declares a store for `process(..)`.
    #[track_caller]
    pub fn store<K: Data, V: Data>(
        &self,
        materialized: impl Into<Materialized<K, V>>,
    ) -> StoreHandle<KeyValueStore<K, V>> {
        self.add_key_value(materialized.into(), true, Location::caller())
    }

    /// As [`StreamsBuilder::store`]. One that is only written and scanned needs no cache.
    pub(crate) fn add_key_value<K: Data, V: Data>(
        &self,
        materialized: Materialized<K, V>,
        cached: bool,
        at: &'static Location<'static>,
    ) -> StoreHandle<KeyValueStore<K, V>> {
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
        let apart = value.apart();
        let format = format!("key-value/{}/{}", key.codec().name(), apart.name());
        self.add_store(StoreSpec {
            name,
            logging,
            format,
            expires: None,
            retention: None,
            at,
            source: None,
            query: Some(Arc::new(Formats {
                key,
                value: apart.bytes,
            })),
            whole_commits: false,
            headers: apart.has_headers(),
            cached,
            open: Arc::new(move |env| Ok(Box::new(KeyValueStore::new(key, value, env)))),
        })
    }

    /// Declares a store of rows by key and time for `process(..)`: a window store, a session store,
    /// a history.
    ///
    /// ```
    /// use millstream_core::{prelude::*, store::{At, TimedKind, TimedShape}};
    ///
    /// let builder = StreamsBuilder::new();
    /// let kind = TimedKind::Window(60_000);
    /// // A window is kept while it is open, and for an hour after.
    /// let shape = TimedShape { kind, retention: 3_660_000, wide: false };
    /// let counts = builder.timed_store::<String, u64>("counts-per-minute", shape);
    /// # let _ = (counts, At::time(0));
    /// ```
    #[track_caller]
    pub fn timed_store<K: Data, V: Data>(
        &self,
        materialized: impl Into<Materialized<K, V>>,
        shape: TimedShape,
    ) -> StoreHandle<TimedStore<K, V>> {
        let cut = (String::new(), None);
        self.add_timed_store(materialized.into(), shape, cut, Location::caller())
    }

    /// A timed store that tells which rows have come to be `due` behind its time, where that is
    /// asked for; `cut` tells what its rows are from others of that kind.
    pub(crate) fn add_timed_store<K: Data, V: Data>(
        &self,
        materialized: Materialized<K, V>,
        mut shape: TimedShape,
        (cut, due): (String, Option<Timestamp>),
        at: &'static Location<'static>,
    ) -> StoreHandle<TimedStore<K, V>> {
        let Materialized {
            name,
            key,
            value,
            logging,
            history,
            retention,
        } = materialized;
        self.no_versions(&name, history, at);
        let asked = retention.map_or(0, |retention| {
            Timestamp::try_from(retention.as_millis()).unwrap_or(Timestamp::MAX)
        });
        shape.retention = shape.retention.max(asked);
        let TimedShape {
            kind,
            wide,
            retention,
        } = shape;
        let apart = value.apart();
        let formats = (key.codec().name(), apart.name());
        let expires = (retention < Timestamp::MAX).then_some(shape);
        self.add_store(StoreSpec {
            name,
            logging,
            format: format!("timed/{kind:?}{cut}/{wide}/{}/{}", formats.0, formats.1),
            expires,
            retention: expires.map(|shape| shape.retention),
            at,
            source: None,
            query: Some(Arc::new(TimedFormats {
                key,
                value: apart.bytes,
                shape,
            })),
            whole_commits: false,
            headers: apart.has_headers(),
            cached: true,
            open: Arc::new(move |env| {
                let store = TimedStore::open(key, value, shape, env)?;
                Ok(Box::new(match due {
                    Some(due) => store.telling_due(due)?,
                    None => store,
                }))
            }),
        })
    }

    /// Declares a store that keeps what its keys were, for `process(..)`: as far back as
    /// `history_retention` behind the greatest time put.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    /// use std::time::Duration;
    ///
    /// let builder = StreamsBuilder::new();
    /// let hour = Duration::from_secs(3_600);
    /// let rates = builder.versioned_store::<String, f64>("rates", hour);
    /// # let _ = rates;
    /// ```
    #[track_caller]
    pub fn versioned_store<K: Data, V: Data>(
        &self,
        materialized: impl Into<Materialized<K, V>>,
        history_retention: Duration,
    ) -> StoreHandle<VersionedStore<K, V>> {
        let Materialized {
            name,
            key,
            value,
            logging,
            history,
            retention,
        } = materialized.into();
        let at = Location::caller();
        // A table's store says its history twice, in the same words.
        self.no_versions(
            &name,
            history.filter(|asked| *asked != history_retention),
            at,
        );
        self.no_retention(&name, retention, at);
        let apart = value.apart();
        let formats = (key.codec().name(), apart.name());
        let format = format!("versioned/{}/{}", formats.0, formats.1);
        let retention =
            Timestamp::try_from(history_retention.as_millis()).unwrap_or(Timestamp::MAX);
        let value = versions_of(value);
        let shape = VersionedStore::<K, V>::shape(retention);
        self.add_store(StoreSpec {
            name,
            logging,
            format,
            expires: None,
            retention: Some(retention),
            at,
            source: None,
            query: Some(Arc::new(VersionedFormats {
                key,
                value: value.apart().bytes,
                shape,
            })),
            whole_commits: false,
            headers: apart.has_headers(),
            cached: true,
            open: Arc::new(move |env| {
                Ok(Box::new(VersionedStore::open(key, value, retention, env)?))
            }),
        })
    }

    /// Declares a store of rows in the order of their bytes, all held in memory: what waits there
    /// for its time is taken from the front.
    #[track_caller]
    pub fn buffer_store<V: Data>(
        &self,
        name: impl Into<String>,
        value: Serde<V>,
    ) -> StoreHandle<BufferStore<V>> {
        let format = format!("buffer/{}", value.codec().name());
        self.add_store(StoreSpec::custom(name, format, move |env| {
            Ok(Box::new(BufferStore::open(value, env)?))
        }))
    }

    /// Declares a store of any shape: what extensions of the DSL build on.
    pub fn add_store<S>(&self, spec: StoreSpec) -> StoreHandle<S> {
        let mut draft = self.draft.borrow_mut();
        draft.stores.push(spec);
        StoreHandle {
            id: StoreId(draft.stores.len() - 1),
            shape: PhantomData,
        }
    }

    /// The records that the program itself has written to a repartition topic.
    #[track_caller]
    pub(crate) fn read_back<K: Data, V: Data>(
        &self,
        topic: TopicName,
        key: Serde<K>,
        value: impl Fn(Option<&[u8]>) -> Result<V> + Fun,
    ) -> KStream<'_, K, V> {
        let kind = NodeKind::Source {
            topic,
            handler: None,
            reset: None,
        };
        let reading = Reading {
            kind,
            key,
            null_keys: true,
            times: None,
        };
        self.read(reading, move |raw| value(raw.value))
    }

    /// Adds a node, which gets its name when the program is built.
    #[track_caller]
    pub(crate) fn add(
        &self,
        label: &'static str,
        kind: NodeKind,
        parents: Vec<NodeId>,
        stores: Vec<StoreId>,
        link: impl Fn(&mut Linker<'_>) + Fun,
    ) -> NodeId {
        let mut draft = self.draft.borrow_mut();
        let number = draft.nodes.len();
        draft.nodes.push(Node {
            name: String::new(),
            label,
            kind,
            parents,
            stores,
            globals: Vec::new(),
            handler: None,
            at: self.place(Location::caller()),
            link: Arc::new(link),
        });
        NodeId(number)
    }

    /// Gives a node the name that the program chose for it, as Kafka's `Named` does.
    pub(crate) fn rename(&self, node: NodeId, name: &str, at: &'static Location<'static>) {
        let mut draft = self.draft.borrow_mut();
        if let Some((before, first)) = draft.names.get(&node) {
            let text = format!("the operator has the name {before:?} already, from {first}");
            draft.mistakes.push(Mistake { at, text });
        } else {
            draft.names.insert(node, (name.to_owned(), at));
        }
    }

    /// Declares a global table; its number.
    pub(crate) fn add_global(&self, spec: GlobalSpec) -> u16 {
        let mut draft = self.draft.borrow_mut();
        draft.globals.push(spec);
        u16::try_from(draft.globals.len() - 1).unwrap_or(u16::MAX)
    }

    /// Says that a node looks rows up in a global table.
    pub(crate) fn reads_global(&self, node: NodeId, global: u16) {
        self.draft.borrow_mut().nodes[node.0].globals.push(global);
    }

    pub(crate) fn add_repartition(
        &self,
        name: &str,
        (partitions, placed): (Option<u32>, bool),
        format: String,
        at: &'static Location<'static>,
    ) -> TopicName {
        let topic = Repartition {
            name: name.to_owned(),
            partitions,
            format,
            placed,
        };
        let declared = (topic, self.place(at));
        self.draft.borrow_mut().repartitions.push(declared);
        TopicName::Repartition(name.to_owned())
    }

    /// Runs what declares nodes on behalf of a line of the program: closures do not know theirs.
    pub(crate) fn declared_at<R>(
        &self,
        at: &'static Location<'static>,
        declare: impl FnOnce() -> R,
    ) -> R {
        let before = self.place.replace(Some(at));
        let declared = declare();
        self.place.set(before);
        declared
    }

    fn place(&self, caller: &'static Location<'static>) -> &'static Location<'static> {
        self.place.get().unwrap_or(caller)
    }

    /// Says that people may read and write a topic, and what the program does with it.
    pub(crate) fn add_format<K, V>(
        &self,
        topic: &TopicName,
        serdes: (Serde<K>, Serde<V>),
        role: Role,
    ) {
        let format = TopicFormat::new(topic.clone(), serdes, role);
        self.draft.borrow_mut().formats.push(format);
    }

    pub(crate) fn must_be_copartitioned(
        &self,
        a: NodeId,
        b: NodeId,
        at: &'static Location<'static>,
    ) {
        self.draft.borrow_mut().copartitions.push((a, b, at));
    }

    pub(crate) fn store_name(&self, store: StoreId) -> String {
        let draft = self.draft.borrow();
        draft
            .stores
            .get(store.0)
            .map_or_else(String::new, |spec| spec.name.clone())
    }

    /// Says that a store is a copy of a topic.
    pub(crate) fn is_copy_of(&self, store: StoreId, copy: SourceCopy) {
        self.draft.borrow_mut().stores[store.0].source = Some(copy);
    }

    /// Says that a source decides itself what time the records of its topic have.
    pub(crate) fn extracts_times(&self, topic: &TopicName, at: &'static Location<'static>) {
        self.draft.borrow_mut().extracting.push((topic.clone(), at));
    }

    /// Remembers how a source topic's keys are written.
    pub(crate) fn add_key<K>(&self, topic: &TopicName, key: Serde<K>) {
        self.keys.borrow_mut().insert(topic.clone(), Arc::new(key));
    }

    /// How the keys of a node's records are written in the topic that they come from, which decides
    /// the partitions that they are in; `None` where its keys are of another type.
    pub(crate) fn key_serde<K: 'static>(&self, node: NodeId) -> Option<Serde<K>> {
        let (topics, keys) = (self.draft.borrow().sources_above(node), self.keys.borrow());
        let serde = |topic: &TopicName| keys.get(topic)?.downcast_ref::<Serde<K>>().copied();
        topics.iter().find_map(serde)
    }

    /// Whether records can come from one node to another without leaving their task.
    pub(crate) fn is_above(&self, node: NodeId, below: NodeId) -> bool {
        self.draft.borrow().above(below)[node.0]
    }

    /// A handle of another builder means nothing here; `build()` says so. Returns whether it is
    /// this one.
    #[track_caller]
    pub(crate) fn must_be(&self, other: &Self) -> bool {
        let same = std::ptr::eq(self, other);
        if !same {
            let text = "the two sides were declared with different StreamsBuilders".to_owned();
            self.mistake(Location::caller(), text);
        }
        same
    }

    /// Says that a node makes something of records without a key, so that the repartitions above
    /// it let them pass (KIP-962).
    pub(crate) fn takes_null_keys(&self, node: NodeId) {
        self.draft.borrow_mut().take_null_keys.push(node);
    }

    pub(crate) fn mistake(&self, at: &'static Location<'static>, text: String) {
        self.draft.borrow_mut().mistakes.push(Mistake { at, text });
    }

    /// Says that the windows of a node stay open for this long behind their ends.
    pub(crate) fn add_grace(&self, node: NodeId, grace: Timestamp) {
        self.draft.borrow_mut().graces.insert(node, grace);
    }

    /// How long the windows that a node's records are about stay open behind their ends, where all
    /// of them are about windows.
    pub(crate) fn grace_above(&self, node: NodeId) -> Option<Timestamp> {
        self.draft.borrow().grace_above(node)
    }
}
