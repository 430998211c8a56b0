//! A group's coordinator: who is a member, who owns which task, who must give one up.
//!
//! Invariant: a task has at most one owner. It changes hands only after its owner acknowledged the
//! revocation or was removed; until then the owner's commits are accepted and nobody else's are.
//!
//! Membership lives in memory only: a program that restarts joins anew. Places are what persists.

use super::assign::{self, Candidate};
use crate::api::{Assignment, Error, Event, Instance, Result, Subscription, TaskInputs};
use millstream_core::record::{TaskId, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};

/// A member of a group.
struct Member {
    /// The client that speaks for it; another client under the same name takes its place.
    client: u64,
    instance: String,
    server: Option<String>,
    standbys: usize,
    /// What it was told last; `None` before the first assignment.
    told: Option<Assignment>,
    /// Tasks that it was told to give back and has not.
    revoking: BTreeSet<TaskId>,
    /// Whether anything may have changed for it since it was told all: most polls find nothing.
    news: bool,
}

/// The members of a group and their tasks.
#[derive(Default)]
pub(super) struct Group {
    tasks: Vec<TaskInputs>,
    readers: BTreeMap<TopicPartition, TaskId>,
    members: BTreeMap<String, Member>,
    owners: BTreeMap<TaskId, String>,
    target: BTreeMap<String, Assignment>,
}

impl Group {
    /// Takes in a member, or lets a client take over a member of the same name.
    pub(super) fn join(&mut self, client: u64, subscription: &Subscription) -> Result<()> {
        let mut tasks = subscription.tasks.clone();
        tasks.sort_by_key(|task| task.task);
        let alone = self.members.keys().all(|name| *name == subscription.member);
        if alone && self.tasks != tasks {
            let readers = readers(&tasks)?;
            *self = Self {
                tasks,
                readers,
                ..Self::default()
            };
        } else if self.tasks != tasks {
            return Err(Error::Fatal(format!(
                "member {} of group {} has other tasks than its members have: all instances of a \
                 program must run the same topology (first difference: {})",
                subscription.member,
                subscription.group,
                difference(&self.tasks, &tasks)
            )));
        }
        let member = Member {
            client,
            instance: subscription.instance.clone(),
            server: subscription.server.clone(),
            standbys: subscription.standbys,
            told: None,
            revoking: BTreeSet::new(),
            news: true,
        };
        self.members.insert(subscription.member.clone(), member);
        self.rebalance();
        Ok(())
    }

    /// Removes a member and frees all its tasks at once.
    pub(super) fn remove(&mut self, member: &str) {
        if self.members.remove(member).is_some() {
            self.owners.retain(|_, owner| owner != member);
            self.rebalance();
        }
    }

    /// How many members it has.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether that client speaks for that member.
    pub(super) fn has(&self, member: &str, client: u64) -> bool {
        self.members
            .get(member)
            .is_some_and(|member| member.client == client)
    }

    /// The task that reads a partition.
    pub(super) fn reader(&self, partition: &TopicPartition) -> Option<TaskId> {
        self.readers.get(partition).copied()
    }

    /// Whether the member owns the task, revoked and not acknowledged ones included.
    pub(super) fn owns(&self, member: &str, task: TaskId) -> bool {
        self.owners.get(&task).is_some_and(|owner| owner == member)
    }

    /// The input partitions of all tasks that the member owns.
    pub(super) fn inputs(&self, member: &str) -> impl Iterator<Item = &TopicPartition> {
        let owned = self
            .tasks
            .iter()
            .filter(move |task| self.owns(member, task.task));
        owned.flat_map(|task| &task.inputs)
    }

    /// What the member must be told next, if anything; it counts as told.
    pub(super) fn event(&mut self, name: &str) -> Option<Event> {
        if !self.members.get(name)?.news {
            return None;
        }
        let wanted = self.target.get(name).cloned().unwrap_or_default();
        let owned: Vec<_> = self.owned(name).collect();
        let member = self.members.get_mut(name)?;
        let surplus: Vec<_> = owned
            .iter()
            .copied()
            .filter(|task| !wanted.active.contains(task) && !member.revoking.contains(task))
            .collect();
        if !surplus.is_empty() {
            member.revoking.extend(&surplus);
            if let Some(told) = &mut member.told {
                told.active.retain(|task| !surplus.contains(task));
            }
            return Some(Event::Revoked(surplus));
        }
        let mut now = wanted;
        now.active = owned
            .into_iter()
            .filter(|task| !member.revoking.contains(task))
            .collect();
        // A member that is still to give a task back cannot follow its changelog yet.
        now.standby.retain(|task| !member.revoking.contains(task));
        if member.told.as_ref() == Some(&now) {
            member.news = false;
            return None;
        }
        member.told = Some(now.clone());
        Some(Event::Assigned(now))
    }

    /// Takes back tasks that were revoked, and gives them to whom they are meant for.
    pub(super) fn acknowledge(&mut self, name: &str, tasks: &[TaskId]) -> Result<()> {
        let Some(member) = self.members.get_mut(name) else {
            return Ok(());
        };
        if let Some(task) = tasks.iter().find(|task| !member.revoking.contains(task)) {
            return Err(Error::Fatal(format!(
                "member {name} gives back task {task}, which was not revoked"
            )));
        }
        for task in tasks {
            member.revoking.remove(task);
            self.owners.remove(task);
        }
        self.settle();
        Ok(())
    }

    fn owned(&self, name: &str) -> impl Iterator<Item = TaskId> {
        self.owners
            .iter()
            .filter(move |(_, owner)| *owner == name)
            .map(|(task, _)| *task)
    }

    /// The instances by their names, with what their members have now.
    pub(super) fn instances(&self, asking: &str) -> Vec<Instance> {
        let ours = self.members.get(asking).map(|member| &member.instance);
        let mut instances: BTreeMap<&String, Instance> = BTreeMap::new();
        for (name, member) in &self.members {
            let instance = instances.entry(&member.instance).or_default();
            instance.ours = ours == Some(&member.instance);
            // Its members were all told the same; but one may come anew that was told another.
            instance.server = member.server.clone().or(instance.server.take());
            let told = member.told.iter().flat_map(|told| &told.standby);
            instance.add(self.owned(name), told.copied());
        }
        instances.into_values().collect()
    }

    /// Computes who should have what, and gives out what is free.
    fn rebalance(&mut self) {
        let kinds: Vec<_> = self
            .tasks
            .iter()
            .map(|task| (task.task, task.stateful))
            .collect();
        let standbys = self.members.values().map(|member| member.standbys).max();
        let candidates = self.members.iter().map(|(name, member)| {
            let standby = self
                .target
                .get(name)
                .into_iter()
                .flat_map(|now| now.standby.clone());
            let candidate = Candidate {
                instance: member.instance.clone(),
                active: self.owned(name).collect(),
                standby: standby.collect(),
            };
            (name.clone(), candidate)
        });
        let candidates = candidates.collect();
        self.target = assign::assign(&kinds, &candidates, standbys.unwrap_or_default());
        // A member that was told nothing yet has started nothing: its tasks can move at once.
        let Self {
            owners,
            members,
            target,
            ..
        } = self;
        owners.retain(|task, owner| {
            let fresh = members
                .get(owner)
                .is_some_and(|member| member.told.is_none());
            let meant = target
                .get(owner)
                .is_some_and(|meant| meant.active.contains(task));
            !fresh || meant
        });
        self.settle();
    }

    /// Gives every task without an owner to the member it is meant for.
    fn settle(&mut self) {
        self.members
            .values_mut()
            .for_each(|member| member.news = true);
        for (name, assignment) in &self.target {
            for task in &assignment.active {
                self.owners.entry(*task).or_insert_with(|| name.clone());
            }
        }
    }
}

/// Which task reads which partition; two readers would both store a place for it.
fn readers(tasks: &[TaskInputs]) -> Result<BTreeMap<TopicPartition, TaskId>> {
    let mut readers = BTreeMap::new();
    if let Some(pair) = tasks.windows(2).find(|pair| pair[0].task == pair[1].task) {
        return Err(Error::Fatal(format!(
            "task {} is listed twice",
            pair[0].task
        )));
    }
    for task in tasks {
        for input in &task.inputs {
            if let Some(other) = readers.insert(input.clone(), task.task) {
                return Err(Error::Fatal(format!(
                    "tasks {other} and {} both read {input}: a partition has one place per group",
                    task.task
                )));
            }
        }
    }
    Ok(readers)
}

/// Names the first task that only one of two lists has, or has differently.
fn difference(ours: &[TaskInputs], theirs: &[TaskInputs]) -> String {
    let only = |some: &[TaskInputs], others: &[TaskInputs]| {
        some.iter()
            .find(|task| !others.contains(task))
            .map(|task| task.task)
    };
    let found = only(theirs, ours).or_else(|| only(ours, theirs));
    found.map_or_else(|| "their order".to_owned(), |task| format!("task {task}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(partition: u32) -> TaskId {
        TaskId {
            subtopology: 0,
            partition,
        }
    }

    fn subscription(member: &str, tasks: u32) -> Subscription {
        let inputs = |number| TaskInputs {
            task: task(number),
            inputs: vec![TopicPartition::new("in", number)],
            stateful: true,
        };
        Subscription {
            group: "g".into(),
            member: member.into(),
            instance: member.into(),
            server: None,
            tasks: (0..tasks).map(inputs).collect(),
            patterns: false,
            standbys: 0,
        }
    }

    #[test]
    fn a_task_that_comes_back_while_it_is_revoked_is_assigned_again() {
        let mut group = Group::default();
        group.join(1, &subscription("a", 2)).unwrap();
        assert!(matches!(group.event("a"), Some(Event::Assigned(all)) if all.active.len() == 2));
        group.join(2, &subscription("b", 2)).unwrap();
        assert_eq!(group.event("a"), Some(Event::Revoked(vec![task(1)])));
        group.remove("b");
        assert_eq!(group.event("a"), None, "it must be acknowledged first");
        group.acknowledge("a", &[task(1)]).unwrap();
        let again = Assignment {
            active: vec![task(0), task(1)],
            standby: Vec::new(),
        };
        assert_eq!(group.event("a"), Some(Event::Assigned(again)));
    }

    #[test]
    fn a_task_that_was_not_revoked_cannot_be_given_back() {
        let mut group = Group::default();
        group.join(1, &subscription("a", 2)).unwrap();
        assert!(matches!(
            group.acknowledge("a", &[task(0)]),
            Err(Error::Fatal(_))
        ));
    }

    #[test]
    fn a_group_left_by_all_takes_another_topology() {
        let mut group = Group::default();
        group.join(1, &subscription("a", 2)).unwrap();
        let error = group.join(2, &subscription("b", 3)).unwrap_err();
        assert!(error.to_string().contains("task 0_2"), "{error}");
        group.remove("a");
        group.join(2, &subscription("b", 3)).unwrap();
    }

    #[test]
    fn two_tasks_cannot_read_one_partition() {
        let mut both = subscription("a", 2);
        both.tasks[1].inputs = both.tasks[0].inputs.clone();
        assert!(matches!(
            Group::default().join(1, &both),
            Err(Error::Fatal(_))
        ));
        both.tasks[1] = both.tasks[0].clone();
        assert!(matches!(
            Group::default().join(1, &both),
            Err(Error::Fatal(_))
        ));
    }
}
