//! A topology as data: nodes, stores, topics and how they hang together.
//!
//! A [`Topology`] is what `StreamsBuilder::build()` returns: checked, immutable, shared by all
//! threads. Invariant: children have higher numbers than their parents, so that walking the nodes
//! backwards meets every child before its parents; the linker depends on it.

mod build;
mod describe;
mod escape;
mod evolve;
pub(crate) mod formats;
pub(crate) mod global;
mod layout;
mod naming;
mod pattern;

pub(crate) use build::{Draft, Mistake, check_topic};
pub use describe::Format;
pub use evolve::{Evolution, Finding, Verdict};
pub use formats::TopicFormat;
pub use global::{GlobalSpec, GlobalWriter};
pub use layout::{InternalKind, InternalTopic, TaskLayout, TaskSpec};

use crate::{
    error::Result,
    link::Linker,
    record::{RawRecord, Timestamp},
    store::{StateStore, StoreEnv, StoreKind, TimedShape},
    task::{ErrorHandler, OffsetReset},
};
use global::WriteRow;
use millstream_state::{Column, WriteBatch};
pub(crate) use pattern::Pattern;
use std::{collections::BTreeMap, panic::Location, sync::Arc};

/// The number of a node in its topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) usize);

/// The number of a store in its topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub(crate) usize);

/// A topic as the program names it, before the `application.id` is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicName {
    /// The user's own topic.
    User(String),
    /// `<application.id>-<name>-repartition`: made by the program, emptied behind it.
    Repartition(String),
    /// All of the user's topics whose names match a regular expression, from end to end.
    Pattern(String),
}

impl TopicName {
    /// The name on the log; of a pattern, which has none there, its text.
    pub fn resolve(&self, application_id: &str) -> String {
        match self {
            Self::User(name) | Self::Pattern(name) => name.clone(),
            Self::Repartition(name) => format!("{application_id}-{name}-repartition"),
        }
    }

    /// How it is shown where no `application.id` is known, as Kafka's `describe()` does.
    pub fn shown(&self) -> String {
        match self {
            Self::User(name) | Self::Pattern(name) => name.clone(),
            Self::Repartition(name) => format!("{name}-repartition"),
        }
    }
}

/// The name of a store's changelog topic.
pub fn changelog_name(application_id: &str, store: &str) -> String {
    format!("{application_id}-{store}-changelog")
}

/// What a node is to the outside.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// Reads a topic.
    Source {
        /// The topic.
        topic: TopicName,
        /// What to do with its bad records, where the program says so itself.
        handler: Option<ErrorHandler>,
        /// Where it begins, where the program says so itself.
        reset: Option<OffsetReset>,
    },
    /// Computes.
    Operator,
    /// Writes a topic; `None` where each record chooses its own.
    Sink {
        /// The topic.
        topic: Option<TopicName>,
    },
}

/// The word of asynchronous operators.
pub(crate) const ASYNCHRONOUS: &str = "map_async";

pub(crate) type Link = Arc<dyn Fn(&mut Linker<'_>) + Send + Sync>;
pub(crate) type OpenStore = Arc<dyn Fn(StoreEnv) -> Result<Box<dyn StateStore>> + Send + Sync>;

/// One operator of the program.
#[derive(Clone)]
pub struct Node {
    /// Unique in the topology, and the same in the next version of the program unless the operator
    /// is another one: `aggregate-words`, `filter-after-source-lines`, or what the program calls
    /// it. It is only for people: nothing on the log depends on it.
    pub name: String,
    /// The operator's word: `filter`, `aggregate`.
    pub label: &'static str,
    /// What it is to the outside.
    pub kind: NodeKind,
    /// Where its records come from.
    pub parents: Vec<NodeId>,
    /// The stores it uses.
    pub stores: Vec<StoreId>,
    /// The global tables it looks rows up in, by their places in [`Topology::globals`].
    pub globals: Vec<u16>,
    /// What becomes of records that it refuses or cannot write, where the program says so of this
    /// node.
    pub handler: Option<ErrorHandler>,
    /// Where the program declares it.
    pub at: &'static Location<'static>,
    pub(crate) link: Link,
}

impl Node {
    /// The topics that it names for dead letters.
    pub(crate) fn dead_letter_topics(&self) -> impl Iterator<Item = &'static str> {
        let of_source = match &self.kind {
            NodeKind::Source { handler, .. } => handler.as_ref(),
            NodeKind::Operator | NodeKind::Sink { .. } => None,
        };
        let handlers = of_source.into_iter().chain(&self.handler);
        handlers.flat_map(ErrorHandler::own_topics)
    }
}

/// Whether a store's changes are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logging {
    /// Every commit writes the changed entries to the changelog: the store can be restored.
    Changelog,
    /// The store lives on this instance's disk only and starts empty elsewhere.
    Disabled,
}

/// A store that the program declares.
#[derive(Clone)]
pub struct StoreSpec {
    /// The name, which also names its changelog.
    pub name: String,
    /// Whether its changes are logged.
    pub logging: Logging,
    /// What its bytes are, for the check at start: key and value formats and the shape.
    pub format: String,
    /// What its rows are and how long they are kept, where all of them expire one day by the
    /// store's own clock.
    pub expires: Option<TimedShape>,
    /// How many milliseconds back its rows reach, where it forgets what is older.
    pub retention: Option<Timestamp>,
    /// Where the program declares it.
    pub at: &'static Location<'static>,
    /// The user's topic of which the store is a copy, so that it could be restored from there
    /// instead of from a changelog of its own; see
    /// [`SourceChangelogs`](crate::task::SourceChangelogs).
    pub source: Option<SourceCopy>,
    /// How people read it: `None` for shapes without keys of their own.
    pub query: Option<Arc<dyn StoreQuery>>,
    /// Whether its rows mean something only together, so that a commit of which some are missing
    /// would lose it. The runtime refuses such a store where the log may have a commit in part
    /// ([`TaskConfig::exactly_once`](crate::task::TaskConfig)).
    pub whole_commits: bool,
    /// Whether its rows have headers ([`Materialized::with_headers`](crate::store::Materialized)).
    pub headers: bool,
    /// Whether it keeps rows in memory that wait for no commit, to find them again without asking
    /// its backend. Only such stores share the memory that there is for it
    /// ([`TaskConfig::cache_bytes`](crate::task::TaskConfig::cache_bytes)); others are told 0.
    pub cached: bool,
    pub(crate) open: OpenStore,
}

impl StoreSpec {
    /// A logged store of a shape that this crate does not have: what extensions of the DSL declare.
    /// `format` is compared at start with what is on disk.
    #[track_caller]
    pub fn custom(
        name: impl Into<String>,
        format: impl Into<String>,
        open: impl Fn(StoreEnv) -> Result<Box<dyn StateStore>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            logging: Logging::Changelog,
            format: format.into(),
            expires: None,
            retention: None,
            at: Location::caller(),
            source: None,
            query: None,
            whole_commits: false,
            headers: false,
            cached: false,
            open: Arc::new(open),
        }
    }
}

/// A topic that a store is a copy of.
#[derive(Clone)]
pub struct SourceCopy {
    /// The topic.
    pub topic: String,
    /// Whether nothing but the topic changes the store, by declaration.
    pub read_only: bool,
    pub(crate) write: WriteRow,
}

impl SourceCopy {
    /// Adds what a record of the topic says to a batch, as the store's task did when it processed
    /// it: a record that it would have refused or dropped says nothing.
    pub fn restore(&self, record: RawRecord<'_>, column: Column, batch: &mut WriteBatch) {
        if record.key.is_some() && record.timestamp >= 0 {
            // An error is a refusal, and the task has gone on after it.
            (self.write)(record, column, batch).ok();
        }
    }
}

impl std::fmt::Debug for SourceCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceCopy")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

/// How a person's key finds a store's bytes, and how those are shown.
pub trait StoreQuery: Send + Sync {
    /// The stored key for what a person wrote.
    fn key(&self, json: &serde_json::Value) -> Result<Vec<u8>>;
    /// What a stored key shows as.
    fn show_key(&self, bytes: &[u8]) -> Result<serde_json::Value>;
    /// What a stored value (without its timestamp and its headers) shows as.
    fn show_value(&self, bytes: &[u8]) -> Result<serde_json::Value>;
    /// The bytes of the record's key in a stored key, by which records are partitioned.
    fn record_key(&self, stored: &[u8]) -> Result<Vec<u8>> {
        Ok(stored.to_vec())
    }
    /// Whether a stored key is a row's, and not one of the store's own notes.
    fn is_row(&self, _key: &[u8]) -> bool {
        true
    }
    /// How the rows lie.
    fn kind(&self) -> StoreKind;
    /// What the bytes of keys and of values are called: for those who read them with types of their
    /// own.
    fn formats(&self) -> (String, String);
}

/// Between a person's JSON and a topic's bytes.
pub trait RecordFormat: Send + Sync {
    /// Shows a key.
    fn show_key(&self, bytes: Option<&[u8]>) -> Result<serde_json::Value>;
    /// Shows a value.
    fn show_value(&self, bytes: Option<&[u8]>) -> Result<serde_json::Value>;
    /// Reads a key; `None` is null.
    fn read_key(&self, json: &serde_json::Value) -> Result<Option<Vec<u8>>>;
    /// Reads a value; `None` is null.
    fn read_value(&self, json: &serde_json::Value) -> Result<Option<Vec<u8>>>;
    /// Whether a program gets a key out of the bytes.
    fn check_key(&self, bytes: Option<&[u8]>) -> Result<()>;
    /// Whether a program gets a value out of the bytes.
    fn check_value(&self, bytes: Option<&[u8]>) -> Result<()>;
}

/// A repartition topic that the program needs.
#[derive(Clone, Debug)]
pub(crate) struct Repartition {
    pub(crate) name: String,
    pub(crate) partitions: Option<u32>,
    /// What its records are: the formats of keys and values.
    pub(crate) format: String,
    /// Whether the program itself says which partition a record goes to.
    pub(crate) placed: bool,
}

/// A connected part of the program: what one task runs for one partition.
#[derive(Clone, Debug)]
pub struct Subtopology {
    /// Its nodes, in order.
    pub nodes: Vec<NodeId>,
    /// Its stores, in order: a store's place here is its column in the task's backend.
    pub stores: Vec<StoreId>,
    /// The topics it reads, sorted, each once.
    pub sources: Vec<TopicName>,
    /// The topics it writes.
    pub sinks: Vec<TopicName>,
}

/// A checked program.
pub struct Topology {
    pub(crate) nodes: Vec<Node>,
    pub(crate) stores: Vec<StoreSpec>,
    pub(crate) globals: Vec<GlobalSpec>,
    pub(crate) repartitions: Vec<Repartition>,
    pub(crate) formats: Vec<TopicFormat>,
    /// Groups of source topics that must have equally many partitions, with where and why.
    pub(crate) copartitions: Vec<(Vec<TopicName>, &'static Location<'static>)>,
    pub(crate) subtopologies: Vec<Subtopology>,
    /// What becomes of bad records where no source and no node says it.
    pub(crate) handler: Option<ErrorHandler>,
    /// Which nodes want records without a key, for what is below them.
    pub(crate) null_keys: Vec<bool>,
    pub(crate) patterns: Vec<Pattern>,
    /// The topics that match each pattern, once that is known.
    pub(crate) matched: Option<BTreeMap<String, Vec<TopicName>>>,
}

impl Topology {
    /// The nodes, parents before children.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The stores.
    pub fn stores(&self) -> &[StoreSpec] {
        &self.stores
    }

    /// How many stores keep rows in memory that wait for no commit ([`StoreSpec::cached`]).
    pub fn cached_stores(&self) -> usize {
        self.stores.iter().filter(|store| store.cached).count()
    }

    /// The global tables. No subtopology has them: every instance holds all of their rows, in one
    /// backend with a column for each.
    pub fn globals(&self) -> &[GlobalSpec] {
        &self.globals
    }

    /// A global table by its store's name, with its column.
    pub fn find_global(&self, name: &str) -> Option<(u16, &GlobalSpec)> {
        let mut all = (0u16..).zip(&self.globals);
        all.find(|(_, global)| global.name == name)
    }

    /// The connected parts; a task's `subtopology` is a place in this list.
    pub fn subtopologies(&self) -> &[Subtopology] {
        &self.subtopologies
    }

    /// How people read and write the program's topics.
    pub fn formats(&self) -> &[TopicFormat] {
        &self.formats
    }

    /// A store by its number.
    pub fn store(&self, id: StoreId) -> &StoreSpec {
        &self.stores[id.0]
    }

    /// A store by its name, with its subtopology and its column there.
    pub fn find_store(&self, name: &str) -> Option<(u32, u16, &StoreSpec)> {
        (0u32..).zip(&self.subtopologies).find_map(|(number, sub)| {
            (0u16..)
                .zip(&sub.stores)
                .map(|(column, id)| (number, column, self.store(*id)))
                .find(|(_, _, store)| store.name == name)
        })
    }

    /// The topics from which records can come to whoever has a store. The rows of a key lie in the
    /// partition that these topics have it in, and may have fewer than other sources of the
    /// subtopology.
    pub fn sources_of(&self, store: &str) -> Vec<TopicName> {
        let has = |node: &Node| node.stores.iter().any(|id| self.store(*id).name == store);
        let nodes = (0..).zip(&self.nodes).filter(|(_, node)| has(node));
        let users = nodes.map(|(number, _)| NodeId(number)).collect();
        build::sources_above(&self.nodes, users)
    }

    /// The topics that somebody outside must provide, those of global tables too, sorted. Topics of
    /// a pattern are among them once they are known ([`Topology::matching`]).
    pub fn user_sources(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .subtopologies
            .iter()
            .flat_map(|sub| &sub.sources)
            .filter_map(|topic| match topic {
                TopicName::User(name) => Some(name.clone()),
                TopicName::Repartition(_) | TopicName::Pattern(_) => None,
            })
            .chain(self.globals.iter().map(|global| global.topic.clone()))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// Whether the program has asynchronous operators, whose calls somebody must run.
    pub fn is_asynchronous(&self) -> bool {
        self.nodes.iter().any(|node| node.label == ASYNCHRONOUS)
    }

    /// The topics that sources, nodes and the whole program name for dead letters, sorted.
    pub fn dead_letter_topics(&self) -> Vec<String> {
        let of_nodes = self.nodes.iter().flat_map(Node::dead_letter_topics);
        let of_program = self.handler.iter().flat_map(ErrorHandler::own_topics);
        let mut names: Vec<_> = of_nodes.chain(of_program).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The user's topics that the program writes, sorted.
    pub fn user_sinks(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .subtopologies
            .iter()
            .flat_map(|sub| &sub.sinks)
            .filter_map(|topic| match topic {
                TopicName::User(name) => Some(name.clone()),
                TopicName::Repartition(_) | TopicName::Pattern(_) => None,
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }
}
