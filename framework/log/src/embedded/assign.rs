//! Who runs which task: a pure function of the tasks, the members and what they have now.
//!
//! Invariant: every task has one active member; members' counts of active tasks differ by one at
//! most, and so do their counts of active tasks with state; a standby is never on the instance of
//! its active task. Within that, nothing moves that need not, and what moves goes where its state
//! already is. The answer depends on the arguments alone.

use crate::api::Assignment;
use millstream_core::record::TaskId;
use std::collections::{BTreeMap, BTreeSet};

/// A member of the group, as the assignor sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidate {
    pub(super) instance: String,
    /// The active tasks it has now.
    pub(super) active: BTreeSet<TaskId>,
    /// The standbys it has now.
    pub(super) standby: BTreeSet<TaskId>,
}

/// A task, and whether it has state.
pub(super) type TaskKind = (TaskId, bool);

/// The target: for each member its active tasks and standbys, in order.
pub(super) fn assign(
    tasks: &[TaskKind],
    members: &BTreeMap<String, Candidate>,
    standbys: usize,
) -> BTreeMap<String, Assignment> {
    let mut plan = Plan::new(members);
    if members.is_empty() {
        return BTreeMap::new();
    }
    let of_kind = |stateful| {
        let kind = tasks.iter().filter(move |task| task.1 == stateful);
        kind.map(|task| task.0).collect::<Vec<_>>()
    };
    // Tasks with state first: they are the ones that are dear to move, and they are balanced among
    // themselves. The others then fill up whoever has least.
    let (stateful, stateless) = (of_kind(true), of_kind(false));
    plan.place(&stateful, stateful.len());
    plan.place(&stateless, tasks.len());
    for _ in 0..standbys {
        plan.add_standbys(&stateful, stateful.len() * standbys);
    }
    plan.finish()
}

struct Plan<'a> {
    members: &'a BTreeMap<String, Candidate>,
    active: BTreeMap<&'a str, BTreeSet<TaskId>>,
    standby: BTreeMap<&'a str, BTreeSet<TaskId>>,
    owner: BTreeMap<TaskId, &'a str>,
}

impl<'a> Plan<'a> {
    fn new(members: &'a BTreeMap<String, Candidate>) -> Self {
        let empty = || {
            members
                .keys()
                .map(|name| (name.as_str(), BTreeSet::new()))
                .collect()
        };
        Self {
            members,
            active: empty(),
            standby: empty(),
            owner: BTreeMap::new(),
        }
    }

    /// Gives out tasks so that with `total` tasks given out in all, nobody has more than one task
    /// more than anybody else: everyone `floor`, and `extras` members one more.
    fn place(&mut self, tasks: &[TaskId], total: usize) {
        let (floor, extras) = (total / self.members.len(), total % self.members.len());
        for level in [floor, floor + 1] {
            for task in tasks {
                let had = self
                    .members
                    .iter()
                    .find(|(_, member)| member.active.contains(task));
                let Some((name, _)) = had else { continue };
                let room = self.active[name.as_str()].len() < level;
                if room && (level == floor || self.extras_used(floor) < extras) {
                    self.give(*task, name);
                }
            }
        }
        for task in tasks {
            if self.owner.contains_key(task) {
                continue;
            }
            let level = if self.extras_used(floor) < extras {
                floor + 1
            } else {
                floor
            };
            let best = self
                .active
                .iter()
                .filter(|(_, active)| active.len() < level)
                .min_by_key(|(name, active)| (self.distance(*task, name), active.len(), **name))
                .map(|(name, _)| *name);
            if let Some(name) = best {
                self.give(*task, name);
            }
        }
    }

    fn extras_used(&self, floor: usize) -> usize {
        self.active
            .values()
            .filter(|active| active.len() > floor)
            .count()
    }

    /// Gives a task that is not given yet.
    fn give(&mut self, task: TaskId, name: &'a str) {
        if self.owner.contains_key(&task) {
            return;
        }
        self.owner.insert(task, name);
        self.active.entry(name).or_default().insert(task);
    }

    /// How far a member is from a task's state: its own replica, one in its instance, none.
    fn distance(&self, task: TaskId, name: &str) -> u8 {
        let Some(member) = self.members.get(name) else {
            return 2;
        };
        let has =
            |member: &Candidate| member.standby.contains(&task) || member.active.contains(&task);
        let near = |other: &Candidate| other.instance == member.instance && has(other);
        match has(member) {
            true => 0,
            false if self.members.values().any(near) => 1,
            false => 2,
        }
    }

    /// One more standby for each task, on an instance that has neither it nor a standby of it.
    fn add_standbys(&mut self, tasks: &[TaskId], total: usize) {
        let level = total.div_ceil(self.members.len());
        for task in tasks {
            let taken: BTreeSet<&str> = self
                .members
                .iter()
                .filter(|(name, _)| {
                    self.active[name.as_str()].contains(task)
                        || self.standby[name.as_str()].contains(task)
                })
                .map(|(_, member)| member.instance.as_str())
                .collect();
            let best = self
                .members
                .iter()
                .filter(|(_, member)| !taken.contains(member.instance.as_str()))
                .map(|(name, _)| name.as_str())
                .min_by_key(|name| {
                    let (standby, active) = (self.standby[name].len(), self.active[name].len());
                    (
                        standby >= level,
                        self.distance(*task, name),
                        standby,
                        active,
                        *name,
                    )
                });
            if let Some(name) = best {
                self.standby.entry(name).or_default().insert(*task);
            }
        }
    }

    fn finish(self) -> BTreeMap<String, Assignment> {
        let list = |tasks: Option<&BTreeSet<TaskId>>| {
            tasks.into_iter().flatten().copied().collect::<Vec<_>>()
        };
        let assignment = |name: &String| Assignment {
            active: list(self.active.get(name.as_str())),
            standby: list(self.standby.get(name.as_str())),
        };
        self.members
            .keys()
            .map(|name| (name.clone(), assignment(name)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn task(number: u32) -> TaskId {
        TaskId {
            subtopology: 0,
            partition: number,
        }
    }

    fn members(list: &[(&str, &str, &[u32], &[u32])]) -> BTreeMap<String, Candidate> {
        let set = |tasks: &[u32]| tasks.iter().copied().map(task).collect();
        list.iter()
            .map(|(name, instance, active, standby)| {
                let instance = (*instance).to_owned();
                let candidate = Candidate {
                    instance,
                    active: set(active),
                    standby: set(standby),
                };
                ((*name).to_owned(), candidate)
            })
            .collect()
    }

    /// Feeds a target back as what the members have.
    fn settle(members: &mut BTreeMap<String, Candidate>, target: &BTreeMap<String, Assignment>) {
        for (name, assignment) in target {
            let member = members.get_mut(name).unwrap();
            member.active = assignment.active.iter().copied().collect();
            member.standby = assignment.standby.iter().copied().collect();
        }
    }

    #[test]
    fn a_new_member_takes_its_share_and_no_more() {
        let tasks: Vec<_> = (0..4).map(|number| (task(number), true)).collect();
        let members = members(&[("a", "1", &[0, 1, 2, 3], &[]), ("b", "2", &[], &[])]);
        let target = assign(&tasks, &members, 0);
        assert_eq!(target["a"].active, [task(0), task(1)]);
        assert_eq!(target["b"].active, [task(2), task(3)]);
    }

    #[test]
    fn a_task_moves_to_its_standby() {
        let tasks: Vec<_> = (0..4).map(|number| (task(number), true)).collect();
        let members = members(&[
            ("a", "1", &[0], &[]),
            ("b", "2", &[1], &[]),
            ("c", "3", &[], &[3]),
        ]);
        let target = assign(&tasks, &members, 1);
        assert!(target["c"].active.contains(&task(3)), "{target:?}");
        assert!(target["a"].active.contains(&task(0)) && target["b"].active.contains(&task(1)));
    }

    #[test]
    fn one_instance_has_no_room_for_standbys() {
        let members = members(&[("a", "1", &[], &[]), ("b", "1", &[], &[])]);
        let target = assign(&[(task(0), true), (task(1), true)], &members, 1);
        assert!(
            target
                .values()
                .all(|assignment| assignment.standby.is_empty())
        );
    }

    proptest! {
        #[test]
        fn every_plan_is_whole_balanced_and_stable(
            stateful in 0..20_u32, stateless in 0..10_u32, standbys in 0..3_usize,
            names in prop::collection::btree_map("[a-z]{1,2}", "[1-4]", 1..6),
            gone in any::<prop::sample::Index>(),
        ) {
            let mut tasks: Vec<_> = (0..stateful).map(|number| (task(number), true)).collect();
            tasks.extend((100..100 + stateless).map(|number| (task(number), false)));
            let mut members: BTreeMap<_, _> = names.into_iter().map(|(name, instance)| {
                (name, Candidate { instance, ..Candidate::default() })
            }).collect();
            for _ in 0..2 {
                let target = assign(&tasks, &members, standbys);
                check(&tasks, &members, &target, standbys)?;
                settle(&mut members, &target);
                let again = assign(&tasks, &members, standbys);
                for (name, assignment) in &again {
                    prop_assert_eq!(&assignment.active, &target[name].active, "moved for nothing");
                }
                if members.len() > 1 {
                    let name = members.keys().nth(gone.index(members.len())).unwrap().clone();
                    members.remove(&name);
                }
            }
        }
    }

    fn check(
        tasks: &[TaskKind],
        members: &BTreeMap<String, Candidate>,
        target: &BTreeMap<String, Assignment>,
        standbys: usize,
    ) -> Result<(), TestCaseError> {
        let mut active: Vec<_> = target.values().flat_map(|a| a.active.clone()).collect();
        active.sort_unstable();
        prop_assert_eq!(active, tasks.iter().map(|task| task.0).collect::<Vec<_>>());
        let spread = |count: &dyn Fn(&Assignment) -> usize| {
            let counts: Vec<_> = target.values().map(count).collect();
            counts.iter().max().unwrap() - counts.iter().min().unwrap()
        };
        prop_assert!(spread(&|a| a.active.len()) <= 1);
        prop_assert!(spread(&|a| a.active.iter().filter(|t| t.partition < 100).count()) <= 1);
        let instances: BTreeSet<_> = members.values().map(|m| &m.instance).collect();
        for (id, stateful) in tasks {
            let hosts = |list: fn(&Assignment) -> &Vec<TaskId>| {
                let with = target.iter().filter(|(_, a)| list(a).contains(id));
                with.map(|(name, _)| &members[name].instance)
                    .collect::<Vec<_>>()
            };
            let (active, standby) = (hosts(|a| &a.active), hosts(|a| &a.standby));
            let expected = if *stateful {
                standbys.min(instances.len() - 1)
            } else {
                0
            };
            prop_assert_eq!(standby.len(), expected);
            let distinct: BTreeSet<_> = active.iter().chain(&standby).collect();
            prop_assert_eq!(distinct.len(), 1 + expected);
        }
        Ok(())
    }
}
