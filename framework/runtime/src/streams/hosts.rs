//! Which instance has what: where to ask for rows that are not here.
//!
//! The instances of a group tell each other where they can be asked
//! ([`Settings::server`](crate::worker::Settings::server)), and who has which task follows from how
//! the group placed them. Invariant: what is said here is as the log told it last to a thread that
//! is in the group, and never guessed.

use super::{
    Streams,
    rows::{StoreHome, StoreRows},
    shared::Shared,
};
use crate::error::{Error, Result};
use millstream_core::{record::TaskId, topology::Logging};
use millstream_log::{Instance, murmur2};
use serde_json::Value;
use std::collections::BTreeSet;

/// An instance of the program. Kafka's `HostInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInfo {
    /// Where it says that it can be asked, as `host:port`, if it says so.
    pub server: Option<String>,
    /// Whether it is this one.
    pub ours: bool,
}

/// Which instances have the rows of a key. Kafka's `KeyQueryMetadata`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyQueryMetadata {
    /// The partition that they are in; 0 for a global table, whose rows lie together.
    pub partition: u32,
    /// Who runs its task; nobody before the group has given it to somebody, and while tasks move
    /// and that is not known (Kafka's `NOT_AVAILABLE`).
    pub active_host: Option<HostInfo>,
    /// Who has a replica, which may be a few commits behind.
    pub standby_hosts: Vec<HostInfo>,
}

/// An instance of the program and what it has. Kafka's `StreamsMetadata`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamsMetadata {
    /// The instance.
    pub host: HostInfo,
    /// Its tasks, in order.
    pub active_tasks: Vec<TaskId>,
    /// The tasks that it has a replica of, in order.
    pub standby_tasks: Vec<TaskId>,
    /// The stores of which it has partitions that are active, global tables included, by name.
    pub state_store_names: BTreeSet<String>,
    /// The stores of which it has replicas of partitions, by name.
    pub standby_state_store_names: BTreeSet<String>,
}

impl Streams {
    /// All instances of the program, as far as this one has heard of them: none before the group
    /// has given out its tasks, and none once this one has ended. Kafka's
    /// `metadataForAllStreamsClients`.
    ///
    /// Each says of itself where it can be asked, as its `application.server.advertised` says; who
    /// asks it for rows, and how, is up to the program (`GET /stores/{name}/{key}` of its server is
    /// one way).
    ///
    /// ```
    /// use millstream_core::prelude::*;
    /// # mod example {
    /// #     include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/running.inc"));
    /// # }
    /// # use example::{running, until};
    ///
    /// static WORDS: Topic<(), String> = Topic::new("words", unit(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.stream(&WORDS).group_by(|_, word| word.clone()).count("counts");
    /// # let streams = running(builder.build()?, &WORDS, [((), "rose", 1)]);
    /// let counts = streams.key_value_store::<String, u64>("counts")?;
    /// # let known = || counts.query_metadata_for_key(&"rose".into()).unwrap().active_host;
    /// # until(&streams, || known().is_some());
    /// // This is the only instance that runs.
    /// let rose = counts.query_metadata_for_key(&"rose".to_owned())?;
    /// assert!(rose.active_host.is_some_and(|host| host.ours) && rose.standby_hosts.is_empty());
    /// assert_eq!(streams.metadata_for_all_streams_clients().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn metadata_for_all_streams_clients(&self) -> Vec<StreamsMetadata> {
        let instances = self.shared.instances();
        let metadata = |instance| self.shared.metadata(instance);
        instances.into_iter().map(metadata).collect()
    }

    /// The instances that have partitions of a store, active or as replicas; all of them, of a
    /// global table. Kafka's `streamsMetadataForStore`.
    ///
    /// # Errors
    /// Where the program has no such store.
    pub fn streams_metadata_for_store(&self, store: &str) -> Result<Vec<StreamsMetadata>> {
        self.shared.home(store)?;
        let mut all = self.metadata_for_all_streams_clients();
        all.retain(|instance| {
            let StreamsMetadata {
                state_store_names: active,
                standby_state_store_names: standby,
                ..
            } = instance;
            active.contains(store) || standby.contains(store)
        });
        Ok(all)
    }

    /// Which instances have the rows of a key, which is JSON as [`Streams::get`] takes it. Kafka's
    /// `queryMetadataForKey`. The handles of typed queries say the same of a key of their type.
    ///
    /// The key is taken to be in the partition in which Kafka's default partitioner puts a record
    /// with it, and under the bytes that the store's serde makes of it. Where the program's records
    /// are placed otherwise, [`Streams::query_metadata_for_partition`] answers for a partition that
    /// the program reckons itself.
    ///
    /// # Errors
    /// For an unknown store, and a key that is none.
    pub fn query_metadata_for_key(&self, store: &str, key: &Value) -> Result<KeyQueryMetadata> {
        let rows = StoreRows::of(&self.shared.program.topology, store)?;
        self.shared.hosts_of_key(store, &rows, &rows.key(key)?)
    }

    /// Which instances have a partition of a store; of a global table each has all.
    ///
    /// # Errors
    /// Where the program has no such store, or the store no such partition.
    pub fn query_metadata_for_partition(
        &self,
        store: &str,
        partition: u32,
    ) -> Result<KeyQueryMetadata> {
        let home = self.shared.home(store)?;
        self.shared.hosts(store, home, partition)
    }
}

impl Shared {
    /// Who has the rows of a key, given where the first of them lies or would lie.
    pub(super) fn hosts_of_key(
        &self,
        store: &str,
        rows: &StoreRows,
        place: &[u8],
    ) -> Result<KeyQueryMetadata> {
        let key = rows.record_key(place)?;
        let partition = match rows.home {
            StoreHome::Global => 0,
            StoreHome::Tasks(subtopology) => {
                murmur2::partition(&key, self.partitions_of(store, subtopology).max(1))
            }
        };
        self.hosts(store, rows.home, partition)
    }

    fn hosts(&self, store: &str, home: StoreHome, partition: u32) -> Result<KeyQueryMetadata> {
        let none =
            || Error::IllegalState(format!("the store {store:?} has no partition {partition}"));
        let StoreHome::Tasks(subtopology) = home else {
            let here = HostInfo {
                server: self.settings.server.clone(),
                ours: true,
            };
            let everywhere = KeyQueryMetadata {
                partition,
                active_host: Some(here),
                standby_hosts: Vec::new(),
            };
            return (partition == 0).then_some(everywhere).ok_or_else(none);
        };
        let task = TaskId {
            subtopology,
            partition,
        };
        if !self.program.layout.tasks.iter().any(|one| one.id == task) {
            return Err(none());
        }
        let instances = self.instances();
        let having = |list: fn(&Instance) -> &Vec<TaskId>| {
            let with = instances.iter();
            with.filter(move |one| list(one).contains(&task)).map(host)
        };
        // Of a store that is not logged no replica has a row.
        let standby = having(|one| &one.standby).filter(|_| self.is_logged(store));
        Ok(KeyQueryMetadata {
            partition,
            active_host: having(|one| &one.active).next(),
            standby_hosts: standby.collect(),
        })
    }

    fn is_logged(&self, store: &str) -> bool {
        let found = self.program.topology.find_store(store);
        found.is_some_and(|(.., spec)| spec.logging == Logging::Changelog)
    }

    fn home(&self, store: &str) -> Result<StoreHome> {
        let topology = &self.program.topology;
        if topology.find_global(store).is_some() {
            return Ok(StoreHome::Global);
        }
        let found = topology.find_store(store);
        found
            .map(|(subtopology, ..)| StoreHome::Tasks(subtopology))
            .ok_or_else(|| Error::IllegalState(format!("the program has no store {store:?}")))
    }

    /// The most partitions that a topic has whose records come to a store.
    fn partitions_of(&self, store: &str, subtopology: u32) -> u32 {
        let program = &self.program;
        let sources = program.topology.sources_of(store).into_iter();
        let names: BTreeSet<String> = sources
            .map(|topic| topic.resolve(&program.task.application_id))
            .collect();
        let tasks = program.layout.tasks.iter();
        let inputs = tasks
            .filter(|task| task.id.subtopology == subtopology)
            .flat_map(|task| &task.inputs);
        let partitions = inputs
            .filter(|at| names.contains(&*at.topic))
            .map(|at| at.partition + 1);
        partitions.max().unwrap_or(0)
    }

    fn metadata(&self, instance: Instance) -> StreamsMetadata {
        let topology = &self.program.topology;
        let stores = |tasks: &[TaskId]| {
            let of = |store: &str| {
                topology
                    .find_store(store)
                    .map(|(subtopology, ..)| subtopology)
            };
            let names = topology.stores().iter().map(|store| &store.name);
            let had = |store: &&String| {
                of(store).is_some_and(|of| tasks.iter().any(|task| task.subtopology == of))
            };
            let names: BTreeSet<String> = names.filter(had).cloned().collect();
            names
        };
        let mut replicas = stores(&instance.standby);
        replicas.retain(|store| self.is_logged(store));
        let globals = topology.globals().iter().map(|global| global.name.clone());
        StreamsMetadata {
            host: host(&instance),
            state_store_names: stores(&instance.active)
                .into_iter()
                .chain(globals)
                .collect(),
            standby_state_store_names: replicas,
            active_tasks: instance.active,
            standby_tasks: instance.standby,
        }
    }
}

fn host(instance: &Instance) -> HostInfo {
    HostInfo {
        server: instance.server.clone(),
        ours: instance.ours,
    }
}
