//! From a topology and the partition counts of its topics to tasks and internal topics.

use super::{Logging, Subtopology, TopicName, Topology, changelog_name};
use crate::{
    error::{Error, Result},
    record::{TaskId, TopicPartition},
};
use std::collections::{BTreeMap, BTreeSet};

/// One task: what it reads, and whether it has state that can be replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSpec {
    /// Its name.
    pub id: TaskId,
    /// Its input partitions, sorted by the program's topic names.
    pub inputs: Vec<TopicPartition>,
    /// Whether it has changelogged stores.
    pub stateful: bool,
}

/// Why a topic belongs to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InternalKind {
    /// Carries records to the task that owns their new key.
    Repartition,
    /// Replicates a store.
    Changelog,
    /// Replicates a store whose rows expire: it is cut off in front, behind what has.
    TrimmedChangelog,
}

/// A topic that the program makes for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalTopic {
    /// The full name.
    pub name: String,
    /// How many partitions it must have.
    pub partitions: u32,
    /// What for.
    pub kind: InternalKind,
}

/// What a topology comes to on a given log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskLayout {
    /// All tasks, sorted.
    pub tasks: Vec<TaskSpec>,
    /// The topics to be made or checked before any task runs.
    pub internal: Vec<InternalTopic>,
    /// The partitions of each global table's topic, in the order of the tables.
    pub globals: Vec<Vec<TopicPartition>>,
}

impl TaskLayout {
    /// The inputs of the tasks in topics that are not the program's own, sorted, each once.
    pub fn user_inputs(&self) -> Vec<TopicPartition> {
        let own = |at: &&TopicPartition| self.internal.iter().any(|topic| topic.name == *at.topic);
        let inputs = self.tasks.iter().flat_map(|task| &task.inputs);
        let mut inputs: Vec<_> = inputs.filter(|at| !own(at)).cloned().collect();
        inputs.sort();
        inputs.dedup();
        inputs
    }
}

impl Topology {
    /// Derives tasks and internal topics; `partitions` knows the counts of the user's topics.
    ///
    /// A subtopology has as many tasks as the largest of its source topics has partitions. A
    /// repartition topic has as many partitions as the program says, or else as the topics it is
    /// joined with, or else, where those are repartition topics too, as the largest topic upstream.
    ///
    /// # Errors
    /// `Topology`, for a source topic that does not exist and for joined topics whose partition
    /// counts differ: a join of them would silently miss rows. And for a program with patterns
    /// that was not made for the topics there are ([`Topology::matching`]).
    pub fn layout(
        &self,
        application_id: &str,
        partitions: impl Fn(&str) -> Option<u32>,
    ) -> Result<TaskLayout> {
        if self.matched.is_none() {
            return Err(Error::topology(
                "the program reads topics by patterns, and was not made for those that there are",
            ));
        }
        let counts = self.partition_counts(partitions)?;
        let mut layout = TaskLayout {
            tasks: Vec::new(),
            internal: Vec::new(),
            globals: Vec::new(),
        };
        for global in &self.globals {
            let partitions = count(&counts, &TopicName::User(global.topic.clone()));
            let all = (0..partitions).map(|number| TopicPartition::new(&*global.topic, number));
            layout.globals.push(all.collect());
        }
        for repartition in &self.repartitions {
            let topic = TopicName::Repartition(repartition.name.clone());
            let partitions = count(&counts, &topic);
            // While no topic matches the pattern that all comes from, nobody writes here.
            if partitions > 0 {
                layout.internal.push(InternalTopic {
                    name: topic.resolve(application_id),
                    partitions,
                    kind: InternalKind::Repartition,
                });
            }
        }
        for (subtopology, sub) in (0u32..).zip(&self.subtopologies) {
            let tasks = largest(&counts, sub);
            let logged = || {
                sub.stores
                    .iter()
                    .filter(|id| self.store(**id).logging == Logging::Changelog)
            };
            for partition in 0..tasks {
                let inputs = (sub.sources.iter())
                    .filter(|topic| partition < count(&counts, topic))
                    .map(|topic| TopicPartition::new(topic.resolve(application_id), partition))
                    .collect();
                let stateful = logged().next().is_some();
                let id = TaskId {
                    subtopology,
                    partition,
                };
                layout.tasks.push(TaskSpec {
                    id,
                    inputs,
                    stateful,
                });
            }
            let changelogs = logged().filter(|_| tasks > 0);
            layout.internal.extend(changelogs.map(|id| InternalTopic {
                name: changelog_name(application_id, &self.store(*id).name),
                partitions: tasks,
                kind: match self.store(*id).expires {
                    Some(_) => InternalKind::TrimmedChangelog,
                    None => InternalKind::Changelog,
                },
            }));
        }
        Ok(layout)
    }

    /// The names of all internal topics that the program may have had, also those that it has none
    /// of now because no topic matches a pattern, or because a store is not logged any more: it
    /// would begin with what is left there if it were logged again.
    pub fn internal_names(&self, application_id: &str) -> Vec<String> {
        let stores = self.stores.iter();
        let changelogs = stores.map(|store| changelog_name(application_id, &store.name));
        let repartitions = self.repartitions.iter();
        let repartitions = repartitions
            .map(|topic| TopicName::Repartition(topic.name.clone()).resolve(application_id));
        changelogs.chain(repartitions).collect()
    }

    fn partition_counts(
        &self,
        partitions: impl Fn(&str) -> Option<u32>,
    ) -> Result<BTreeMap<TopicName, u32>> {
        let mut counts = BTreeMap::new();
        for name in self.user_sources() {
            let Some(number) = partitions(&name).filter(|number| *number > 0) else {
                return Err(Error::topology(format!(
                    "the source topic {name:?} does not exist: create it before the program starts"
                )));
            };
            counts.insert(TopicName::User(name), number);
        }
        for repartition in &self.repartitions {
            let topic = TopicName::Repartition(repartition.name.clone());
            counts.insert(topic, repartition.partitions.unwrap_or(0));
        }
        let fixed = self.fix_repartitions(&mut counts);
        self.grow_repartitions(&mut counts, &fixed);
        for (topics, at) in &self.copartitions {
            let mut numbers = topics.iter().map(|topic| count(&counts, topic));
            let first = numbers.next().unwrap_or(1);
            if numbers.any(|number| number != first) {
                let list: Vec<_> = (topics.iter())
                    .map(|topic| format!("{} has {}", topic.shown(), count(&counts, topic)))
                    .collect();
                return Err(Error::topology(format!(
                    "{at}: joined topics must have equally many partitions, but {}; \
                     put a repartition(..) before the join",
                    list.join(", ")
                )));
            }
        }
        Ok(counts)
    }

    /// Gives the number of a topic that has one to the repartition topics joined with it, and to
    /// those joined with them, whatever is upstream: the user's topics cannot follow. Returns all
    /// topics that have a number now.
    fn fix_repartitions(&self, counts: &mut BTreeMap<TopicName, u32>) -> BTreeSet<TopicName> {
        let open = |topic: &TopicName| {
            self.repartitions.iter().any(|r| {
                r.partitions.is_none() && matches!(topic, TopicName::Repartition(n) if *n == r.name)
            })
        };
        let mut fixed: BTreeSet<_> = counts
            .keys()
            .filter(|topic| !open(topic))
            .cloned()
            .collect();
        loop {
            let before = fixed.len();
            for (topics, _) in &self.copartitions {
                let Some(first) = topics.iter().find(|topic| fixed.contains(topic)) else {
                    continue;
                };
                let number = count(counts, first);
                for topic in topics {
                    if fixed.insert(topic.clone()) {
                        counts.insert(topic.clone(), number);
                    }
                }
            }
            if fixed.len() == before {
                return fixed;
            }
        }
    }

    /// Raises the other repartition topics until nothing changes: counts only grow and are bounded
    /// by the largest fixed one, so this ends.
    fn grow_repartitions(
        &self,
        counts: &mut BTreeMap<TopicName, u32>,
        fixed: &BTreeSet<TopicName>,
    ) {
        let free = |topic: &TopicName| !fixed.contains(topic);
        loop {
            let before = counts.clone();
            for sub in &self.subtopologies {
                let upstream = largest(counts, sub);
                for topic in sub.sinks.iter().filter(|topic| free(topic)) {
                    counts
                        .entry(topic.clone())
                        .and_modify(|n| *n = (*n).max(upstream));
                }
            }
            for (topics, _) in &self.copartitions {
                let most = topics
                    .iter()
                    .map(|topic| count(counts, topic))
                    .max()
                    .unwrap_or(1);
                for topic in topics.iter().filter(|topic| free(topic)) {
                    counts.insert(topic.clone(), most);
                }
            }
            if *counts == before {
                return;
            }
        }
    }
}

fn count(counts: &BTreeMap<TopicName, u32>, topic: &TopicName) -> u32 {
    counts.get(topic).copied().unwrap_or(1)
}

fn largest(counts: &BTreeMap<TopicName, u32>, sub: &Subtopology) -> u32 {
    // Only one that reads by a pattern can have no source, while nothing matches.
    let sources = sub.sources.iter().map(|topic| count(counts, topic));
    sources.max().unwrap_or(0)
}
