//! A topology placed on a log: its tasks, topics and settings, the same for every thread.

use crate::{
    error::{Error, Result},
    resets,
};
use millstream_core::{
    Error as CoreError,
    record::{TaskId, TopicPartition},
    store::TimedShape,
    task::{SourceChangelogs, TaskConfig},
    topology::{
        InternalKind, InternalTopic, Logging, SourceCopy, StoreSpec, TaskLayout, Topology,
        changelog_name,
    },
};
use millstream_log::{Cleanup, Error as LogError, Log, TaskInputs, TopicInfo, TopicSpec};
use millstream_state::DeclaredStore;
use std::{collections::BTreeMap, sync::Arc};

/// `delete.retention.ms` of the changelogs that a program makes: how long a tombstone outlives the
/// key it deletes. A replica that is older than that may have missed deletions and is restored from
/// the start.
pub const TOMBSTONE_RETENTION_MS: i64 = 24 * 60 * 60 * 1000;

/// A program ready to run.
pub struct Program {
    /// What it computes.
    pub topology: Arc<Topology>,
    /// The tasks it comes to.
    pub layout: TaskLayout,
    /// What each task must know.
    pub task: TaskConfig,
    /// The identities of the changelog topics, by full name, and of the topics that stand in for
    /// some.
    pub changelog_ids: BTreeMap<String, u128>,
    /// How many milliseconds each of these keeps a deletion. Whoever runs the log may have set that
    /// otherwise than this program does.
    tombstones_ms: BTreeMap<String, i64>,
    /// The user's topics of which stores are copies, whether or not they are restored from there.
    copied: BTreeMap<String, TopicInfo>,
    /// The global tables' topics, in the order of the tables: their identities, and how many
    /// milliseconds they keep a deletion.
    pub(crate) global_topics: Vec<(u128, i64)>,
    /// What was declared, where that reads topics by patterns: [`Program::topology`] reads those
    /// that there were when the program was prepared.
    patterns: Option<Arc<Topology>>,
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
    /// How long it keeps tombstones.
    pub tombstones_ms: i64,
    /// What its rows are, where they expire without tombstones: a replica deletes them by itself.
    pub expires: Option<TimedShape>,
    /// Where the store has no changelog but the topic that it is a copy of: how its records become
    /// rows. It is replayed up to the committed place of the task's input and no further.
    pub copy: Option<SourceCopy>,
    /// The identity of such a topic where it could stand in for the changelog, but does not: a
    /// store whose position is one of that topic cannot be restored from a changelog.
    pub disused: Option<u128>,
}

impl Program {
    /// Derives the tasks from the log's topics, and makes the internal topics that are missing.
    ///
    /// Of the topics that [`TaskConfig::source_changelogs`] would have in place of changelogs it
    /// leaves those that forget by age: rows that are older would be lost.
    ///
    /// # Errors
    /// Where a source topic is missing, joined topics differ, or an internal topic exists with
    /// another number of partitions; where two patterns match a topic; where a store needs whole
    /// commits and the task's configuration has none. `Fatal` where a reset of the
    /// program was begun and is not finished, as far as the log can say at the moment.
    pub fn prepare(
        topology: Arc<Topology>,
        mut task: TaskConfig,
        log: &mut dyn Log,
    ) -> Result<Self> {
        refuse_parts(&topology, &task)?;
        let (wide, infos) = found(&topology, &task, log)?;
        let patterns = topology.has_patterns().then_some(topology);
        let topology = wide;
        let count = |name: &str| infos.get(name).map(|info| info.spec.partitions);
        let mut layout = topology.layout(&task.application_id, count)?;
        match log.committed_as(&task.application_id, &layout.user_inputs()) {
            // Of many places one is nearly always in the middle of a commit, while others run. Each
            // task is asked again before it begins; that here nothing is made is a courtesy.
            Err(LogError::Retry(_)) => {}
            places => resets::refuse(&places?)?,
        }
        let copied = copied(&topology, &infos);
        task.source_changelogs = narrowed(&task.source_changelogs, &copied);
        let covered = topology.stores().iter();
        let covered = covered.filter(|store| stands_in(store, &task).is_some());
        let without: Vec<_> = covered
            .map(|store| changelog_name(&task.application_id, &store.name))
            .collect();
        layout
            .internal
            .retain(|topic| !without.contains(&topic.name));
        let standing_in = copied.iter();
        let standing_in = standing_in.filter(|(name, _)| task.source_changelogs.cover(name));
        let (mut changelog_ids, mut kept_deletions) = (BTreeMap::new(), BTreeMap::new());
        for (name, info) in standing_in {
            kept_deletions.insert(name.clone(), tombstones_ms(info));
            changelog_ids.insert(name.clone(), info.id);
        }
        for topic in &layout.internal {
            let info = made(topic, log).map_err(|error| match error {
                LogError::Fatal(why) if patterns.is_some() => LogError::Fatal(format!(
                    "{why}: the topics that match the program's patterns ask for {} partitions. \
                     State does not move between partitions: give the topics as many as before, or \
                     reset the program",
                    topic.partitions
                )),
                error => error,
            })?;
            let name = topic.name.clone();
            if matches!(info.spec.cleanup, Cleanup::Compact { .. }) {
                task.untrimmed.insert(name.clone());
            }
            if topic.kind != InternalKind::Repartition {
                kept_deletions.insert(name.clone(), tombstones_ms(&info));
                changelog_ids.insert(name, info.id);
            }
        }
        let globals = topology.globals().iter();
        let global_topics = globals.map(|global| {
            let info = infos.get(&global.topic);
            info.map_or((0, TOMBSTONE_RETENTION_MS), |info| {
                (info.id, tombstones_ms(info))
            })
        });
        Ok(Self {
            global_topics: global_topics.collect(),
            topology,
            layout,
            task,
            changelog_ids,
            tombstones_ms: kept_deletions,
            copied,
            patterns,
        })
    }

    /// Makes sure, before tasks are taken over, that every instance gives them out alike. Where a
    /// pattern matches topics that it did not when this program was prepared, an instance that has
    /// started since then may have more tasks, or fewer.
    ///
    /// With the same tasks it does no harm that others read more topics in them: places in those
    /// are committed by whoever reads them.
    ///
    /// # Errors
    /// `Fatal` where there would be other tasks now.
    pub(crate) fn verify_tasks(&self, log: &mut dyn Log) -> Result<()> {
        let Some(declared) = &self.patterns else {
            return Ok(());
        };
        // What cannot be prepared runs nowhere, and whoever tried to start it was told.
        let (topology, infos) = match found(declared, &self.task, log) {
            Err(Error::Core(_)) => return Ok(()),
            found => found?,
        };
        let count = |name: &str| infos.get(name).map(|info| info.spec.partitions);
        let Ok(layout) = topology.layout(&self.task.application_id, count) else {
            return Ok(());
        };
        for topic in &layout.internal {
            let there = log.topic(&topic.name)?;
            if there.is_some_and(|info| info.spec.partitions != topic.partitions) {
                return Ok(());
            }
        }
        let ids = |layout: &TaskLayout| layout.tasks.iter().map(|task| task.id).collect::<Vec<_>>();
        if ids(&layout) == ids(&self.layout) {
            return Ok(());
        }
        let text = format!(
            "the topics that match the program's patterns come to {} tasks now, and this instance \
             was started with {}: all instances must be restarted together",
            layout.tasks.len(),
            self.layout.tasks.len()
        );
        Err(LogError::Fatal(text).into())
    }

    /// Whether topics are read by a pattern.
    pub(crate) fn has_patterns(&self) -> bool {
        self.patterns.is_some()
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

    /// A task's stores, as what is noted beside their rows is held against them.
    pub fn declared(&self, task: TaskId) -> Vec<DeclaredStore> {
        let stores = self.stores(task).map(|(_, store)| DeclaredStore {
            name: store.name.clone(),
            format: store.format.clone(),
            logged: store.logging == Logging::Changelog,
        });
        stores.collect()
    }

    /// The names of the stores that other tasks have than this one and those of its kind.
    pub fn elsewhere(&self, task: TaskId) -> Vec<String> {
        let own = self.columns(task);
        let all = self.topology.stores().iter().map(|store| &store.name);
        all.filter(|name| !own.contains(name)).cloned().collect()
    }

    /// The logged stores of a task, and those that are restored from their topics.
    pub fn changelogs(&self, task: TaskId) -> Vec<ChangelogColumn> {
        let spec = self.layout.tasks.iter().find(|spec| spec.id == task);
        let inputs = spec.map_or(&[][..], |spec| &spec.inputs);
        let logged = self
            .stores(task)
            .filter(|(_, store)| store.logging == Logging::Changelog);
        let columns = logged.filter_map(|(column, store)| {
            let copy = stands_in(store, &self.task);
            let topic = match copy {
                Some(copy) => copy.topic.clone(),
                None => changelog_name(&self.task.application_id, &store.name),
            };
            let topic_id = self.changelog_ids.get(&topic).copied().unwrap_or_default();
            let changelog = TopicPartition::new(topic, task.partition);
            // A task of a partition that the topic does not have has nothing in the store, ever.
            if copy.is_some() && !inputs.contains(&changelog) {
                return None;
            }
            let source = store.source.as_ref();
            let source = source.and_then(|copy| self.copied.get(&copy.topic));
            let kept_deletions = self.tombstones_ms.get(&*changelog.topic).copied();
            let kept = self.task.untrimmed.contains(&*changelog.topic);
            Some(ChangelogColumn {
                store: store.name.clone(),
                column,
                changelog,
                topic_id,
                tombstones_ms: kept_deletions.unwrap_or(TOMBSTONE_RETENTION_MS),
                expires: store.expires.filter(|_| !kept),
                disused: source.filter(|_| copy.is_none()).map(|info| info.id),
                copy: copy.cloned(),
            })
        });
        columns.collect()
    }

    fn stores(&self, task: TaskId) -> impl Iterator<Item = (u16, &StoreSpec)> {
        let number = usize::try_from(task.subtopology).unwrap_or(usize::MAX);
        let sub = self.topology.subtopologies().get(number);
        let stores = sub.into_iter().flat_map(|sub| &sub.stores);
        (0u16..)
            .zip(stores)
            .map(|(column, id)| (column, self.topology.store(*id)))
    }
}

/// Refuses logged stores that a commit which is in the log in part would lose, where that can be.
fn refuse_parts(topology: &Topology, task: &TaskConfig) -> Result<()> {
    let logged = |store: &&StoreSpec| store.logging == Logging::Changelog;
    let mut logged = topology.stores().iter().filter(logged);
    match logged.find(|store| store.whole_commits && !task.exactly_once) {
        None => Ok(()),
        Some(store) => Err(CoreError::topology(format!(
            "{}: the store {:?} needs processing.guarantee=exactly_once_v2: with at_least_once a \
             crash may leave a part of a commit in its changelog, from which it could not be \
             restored",
            store.at, store.name
        ))
        .into()),
    }
}

/// The program for the topics that there are, and those of them that it reads.
fn found(
    topology: &Arc<Topology>,
    task: &TaskConfig,
    log: &mut dyn Log,
) -> Result<(Arc<Topology>, BTreeMap<String, TopicInfo>)> {
    let (id, dead) = (&task.application_id, task.dead_letter_topic.as_deref());
    let mut wide = topology.clone();
    if topology.has_patterns() {
        let names = log.topic_names()?;
        let names = names.iter().map(String::as_str);
        wide = Arc::new(topology.matching(id, dead, names)?);
    }
    let mut infos = BTreeMap::new();
    for name in wide.user_sources() {
        if let Some(info) = log.topic(&name)? {
            infos.insert(name, info);
        }
    }
    if topology.has_patterns() {
        // One that was listed may be gone by now: then it matches no more.
        let names = infos.keys().map(String::as_str);
        wide = Arc::new(topology.matching(id, dead, names)?);
    }
    Ok((wide, infos))
}

/// An internal topic, made where it was not there.
fn made(topic: &InternalTopic, log: &mut dyn Log) -> millstream_log::Result<TopicInfo> {
    let cleanup = match topic.kind {
        // What was consumed is purged behind the commit, never by age.
        InternalKind::Repartition => Cleanup::Delete { retention_ms: None },
        InternalKind::Changelog => Cleanup::Compact {
            delete_retention_ms: TOMBSTONE_RETENTION_MS,
        },
        // What has expired is purged too, by the events' time and not by their age.
        InternalKind::TrimmedChangelog => Cleanup::CompactDelete {
            delete_retention_ms: TOMBSTONE_RETENTION_MS,
            retention_ms: None,
        },
    };
    let info = log.create_topic(&TopicSpec {
        name: topic.name.clone(),
        partitions: topic.partitions,
        cleanup,
    })?;
    if topic.kind == InternalKind::TrimmedChangelog
        && matches!(info.spec.cleanup, Cleanup::Compact { .. })
    {
        let why = "rows that expire get tombstones there: with cleanup.policy=compact,delete and \
                   retention.ms=-1 the topic would be cut off in front instead";
        tracing::info!(topic = topic.name, why);
    }
    Ok(info)
}

/// The topics of which logged stores are copies.
fn copied(topology: &Topology, infos: &BTreeMap<String, TopicInfo>) -> BTreeMap<String, TopicInfo> {
    let copies = topology.stores().iter().filter_map(|s| s.source.as_ref());
    let known =
        copies.filter_map(|copy| Some((copy.topic.clone(), infos.get(&copy.topic)?.clone())));
    known.collect()
}

/// Of the topics that are asked for, those that keep the last record of every key.
fn narrowed(asked: &SourceChangelogs, copied: &BTreeMap<String, TopicInfo>) -> SourceChangelogs {
    let kept = copied
        .iter()
        .filter(|(name, info)| asked.cover(name) && info.spec.cleanup.ages().is_none());
    let kept: std::collections::BTreeSet<_> = kept.map(|(name, _)| name.clone()).collect();
    if kept.is_empty() {
        SourceChangelogs::Never
    } else {
        SourceChangelogs::Of(kept)
    }
}

/// The topic that a store has in place of a changelog.
fn stands_in<'s>(store: &'s StoreSpec, task: &TaskConfig) -> Option<&'s SourceCopy> {
    let copy = store.source.as_ref();
    copy.filter(|copy| task.source_changelogs.cover(&copy.topic))
}

fn tombstones_ms(info: &TopicInfo) -> i64 {
    info.spec.cleanup.compacts().unwrap_or(i64::MAX)
}
