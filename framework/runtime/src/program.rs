//! A topology placed on a log: its tasks, topics and settings, the same for every thread.

use crate::error::Result;
use millstream_core::{
    record::{TaskId, TopicPartition},
    task::TaskConfig,
    topology::{InternalKind, Logging, TaskLayout, Topology, changelog_name},
};
use millstream_log::{Cleanup, Log, TaskInputs, TopicSpec};
use std::{collections::BTreeMap, sync::Arc};

/// `delete.retention.ms` of changelogs: how long a tombstone outlives the key it deletes. A replica
/// that is older than this may have missed deletions and is restored from the start.
pub const TOMBSTONE_RETENTION_MS: i64 = 24 * 60 * 60 * 1000;

/// A program ready to run.
pub struct Program {
    /// What it computes.
    pub topology: Arc<Topology>,
    /// The tasks it comes to.
    pub layout: TaskLayout,
    /// What each task must know.
    pub task: TaskConfig,
    /// The identities of the changelog topics, by full name.
    pub changelog_ids: BTreeMap<String, u128>,
    /// The identities of the global tables' topics, in the order of the tables.
    pub global_ids: Vec<u128>,
}

/// A logged store of a task: its column and the changelog partition behind it.
#[derive(Clone, Debug)]
pub struct ChangelogColumn {
    /// The store's name.
    pub store: String,
    /// Its column in the task's backend.
    pub column: u16,
    /// Its changelog.
    pub changelog: TopicPartition,
    /// The changelog topic's identity.
    pub topic_id: u128,
}

impl Program {
    /// Derives the tasks from the log's topics, and makes the internal topics that are missing.
    ///
    /// # Errors
    /// Where a source topic is missing, joined topics differ, or an internal topic exists with
    /// another number of partitions.
    pub fn prepare(topology: Arc<Topology>, task: TaskConfig, log: &mut dyn Log) -> Result<Self> {
        let (mut counts, mut ids) = (BTreeMap::new(), BTreeMap::new());
        for name in topology.user_sources() {
            if let Some(info) = log.topic(&name)? {
                counts.insert(name.clone(), info.spec.partitions);
                ids.insert(name, info.id);
            }
        }
        let layout = topology.layout(&task.application_id, |name| counts.get(name).copied())?;
        let mut changelog_ids = BTreeMap::new();
        for topic in &layout.internal {
            let cleanup = match topic.kind {
                // What was consumed is purged behind the commit, never by age.
                InternalKind::Repartition => Cleanup::Delete { retention_ms: None },
                InternalKind::Changelog => Cleanup::Compact {
                    delete_retention_ms: TOMBSTONE_RETENTION_MS,
                },
            };
            let (name, partitions) = (topic.name.clone(), topic.partitions);
            let info = log.create_topic(&TopicSpec {
                name: name.clone(),
                partitions,
                cleanup,
            })?;
            if topic.kind == InternalKind::Changelog {
                changelog_ids.insert(name, info.id);
            }
        }
        let globals = topology.globals().iter();
        let global_ids = globals.map(|global| ids.get(&global.topic).copied().unwrap_or_default());
        Ok(Self {
            global_ids: global_ids.collect(),
            topology,
            layout,
            task,
            changelog_ids,
        })
    }

    /// The tasks as a group member announces them.
    pub fn task_inputs(&self) -> Vec<TaskInputs> {
        let tasks = self.layout.tasks.iter().map(|task| TaskInputs {
            task: task.id,
            inputs: task.inputs.clone(),
            stateful: task.stateful,
        });
        tasks.collect()
    }

    /// The names of a task's stores, in the order of their columns.
    pub fn columns(&self, task: TaskId) -> Vec<String> {
        let stores = self.stores(task);
        stores.map(|(_, store)| store.name.clone()).collect()
    }

    /// The names and formats of a task's stores.
    pub fn formats(&self, task: TaskId) -> Vec<(String, String)> {
        let stores = self.stores(task);
        stores
            .map(|(_, store)| (store.name.clone(), store.format.clone()))
            .collect()
    }

    /// The logged stores of a task.
    pub fn changelogs(&self, task: TaskId) -> Vec<ChangelogColumn> {
        let logged = self
            .stores(task)
            .filter(|(_, store)| store.logging == Logging::Changelog);
        let columns = logged.map(|(column, store)| {
            let topic = changelog_name(&self.task.application_id, &store.name);
            ChangelogColumn {
                store: store.name.clone(),
                column,
                topic_id: self.changelog_ids.get(&topic).copied().unwrap_or_default(),
                changelog: TopicPartition::new(topic, task.partition),
            }
        });
        columns.collect()
    }

    fn stores(
        &self,
        task: TaskId,
    ) -> impl Iterator<Item = (u16, &millstream_core::topology::StoreSpec)> {
        let number = usize::try_from(task.subtopology).unwrap_or(usize::MAX);
        let sub = self.topology.subtopologies().get(number);
        let stores = sub.into_iter().flat_map(|sub| &sub.stores);
        (0u16..)
            .zip(stores)
            .map(|(column, id)| (column, self.topology.store(*id)))
    }
}
