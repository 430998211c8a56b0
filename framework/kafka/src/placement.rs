//! Who runs which task: a pure function of the members and the tasks, the same in every member.
//!
//! Each task ranks the instances by a hash of both (rendezvous hashing, Thaler and Ravishankar
//! 1998): the first with room runs it. Its first standby is where it goes if that one dies, which
//! is reckoned in the same way; the next ones are on those that it ranks next. So a task mostly
//! stays where it is when others come and go, and an instance that starts again gets the tasks
//! whose state it has. Invariants: every task has one member; no member has more than its share,
//! rounded up; standbys are on other instances than the task, and on as many as asked for or there
//! are; when one instance dies, each task that it had goes to a standby of that task, if standbys
//! were asked for.

use millstream_core::record::TaskId;
use millstream_log::{Assignment, TaskInputs};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// A member: the process it is a thread of, its name, and what the group calls it. Two that live
/// may have one name, by mistake, but never one id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    pub(crate) instance: String,
    pub(crate) name: String,
    pub(crate) id: String,
}

/// What every member has, by its id. The order of the arguments does not matter.
pub(crate) fn place(
    members: &[Member],
    tasks: &[TaskInputs],
    standbys: usize,
) -> BTreeMap<String, Assignment> {
    let mut members = members.to_vec();
    members.sort();
    members.dedup();
    let mut placed: BTreeMap<_, _> = (members.iter())
        .map(|member| (member.id.clone(), Assignment::default()))
        .collect();
    let mut threads: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for member in &members {
        threads
            .entry(&member.instance)
            .or_default()
            .push(&member.id);
    }
    if threads.is_empty() {
        return placed;
    }
    let threads = Threads {
        all: members.len(),
        of: threads,
    };
    let ranked = ranked(tasks, &threads);
    let own = owners(&ranked, &threads, None);
    let wanted = standbys.min(threads.of.len() - 1);
    let heirs: BTreeMap<_, _> = (threads.of.keys().filter(|_| wanted > 0))
        .map(|gone| (*gone, owners(&ranked, &threads, Some(gone))))
        .collect();
    let stateful = tasks.iter().filter(|task| task.stateful).count();
    let room = threads.room(stateful * wanted, None);
    let mut standby: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, (task, ranking)) in ranked.iter().enumerate() {
        let owner = own[number];
        give(&mut placed, &threads.of[owner], |assignment| {
            &mut assignment.active
        })
        .push(task.task);
        if !task.stateful {
            continue;
        }
        let others = || ranking.iter().copied().filter(|other| *other != owner);
        let fits = |other: &&str| standby.get(*other).is_none_or(|has| *has < room(other));
        let heir = heirs.get(owner).map(|owners| owners[number]);
        let mut chosen: Vec<_> = heir.into_iter().collect();
        for other in others().filter(fits).chain(others()) {
            if chosen.len() < wanted && !chosen.contains(&other) {
                chosen.push(other);
            }
        }
        for keeper in chosen {
            *standby.entry(keeper).or_default() += 1;
            give(&mut placed, &threads.of[keeper], |assignment| {
                &mut assignment.standby
            })
            .push(task.task);
        }
    }
    for assignment in placed.values_mut() {
        assignment.active.sort_unstable();
        assignment.standby.sort_unstable();
    }
    placed
}

/// The threads of each instance.
struct Threads<'a> {
    all: usize,
    of: BTreeMap<&'a str, Vec<&'a str>>,
}

impl Threads<'_> {
    /// How many of so many an instance has at most, while another one is gone.
    fn room(&self, count: usize, gone: Option<&str>) -> impl Fn(&str) -> usize {
        let threads = |instance: &str| self.of.get(instance).map_or(0, Vec::len);
        let left = self.all - gone.map_or(0, threads);
        move |instance| (count * threads(instance)).div_ceil(left.max(1))
    }
}

/// The tasks, each with the instances as it ranks them. Those of a partition come one after
/// another, so that the work of one subtopology, which is alike, spreads over the members like that
/// of any other.
fn ranked<'a>(
    tasks: &'a [TaskInputs],
    threads: &Threads<'a>,
) -> Vec<(&'a TaskInputs, Vec<&'a str>)> {
    let mut order: Vec<_> = tasks.iter().collect();
    order.sort_by_key(|task| (task.task.partition, task.task.subtopology));
    let ranked = |task: &'a TaskInputs| (task, ranking(task.task, threads.of.keys().copied()));
    order.into_iter().map(ranked).collect()
}

/// The instance that runs each of the tasks, while another one is gone.
fn owners<'a>(
    ranked: &[(&TaskInputs, Vec<&'a str>)],
    threads: &Threads<'a>,
    gone: Option<&str>,
) -> Vec<&'a str> {
    let room = threads.room(ranked.len(), gone);
    let mut active: BTreeMap<&str, usize> = BTreeMap::new();
    let owner = |(_, ranking): &(&TaskInputs, Vec<&'a str>)| {
        let living = || ranking.iter().copied().filter(|other| Some(*other) != gone);
        let fits = |other: &&str| active.get(*other).is_none_or(|has| *has < room(other));
        // The shares add up to at least the number of tasks, so somebody has room.
        let owner = living().find(fits).or(living().next()).unwrap_or_default();
        *active.entry(owner).or_default() += 1;
        owner
    };
    ranked.iter().map(owner).collect()
}

/// The list of the thread that has the fewest.
fn give<'a>(
    placed: &'a mut BTreeMap<String, Assignment>,
    threads: &[&str],
    list: fn(&mut Assignment) -> &mut Vec<TaskId>,
) -> &'a mut Vec<TaskId> {
    let length = |id: &str| {
        let mut assignment = placed.get(id).cloned().unwrap_or_default();
        list(&mut assignment).len()
    };
    let least = threads.iter().min_by_key(|id| length(id));
    let id = least.copied().unwrap_or_default().to_owned();
    list(placed.entry(id).or_default())
}

/// The instances in the order in which a task would have them.
fn ranking<'a>(task: TaskId, instances: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut ranked: Vec<_> = instances
        .map(|instance| {
            let mut bytes = Vec::with_capacity(instance.len() + 8);
            bytes.extend_from_slice(&task.subtopology.to_be_bytes());
            bytes.extend_from_slice(&task.partition.to_be_bytes());
            bytes.extend_from_slice(instance.as_bytes());
            (xxh3_64(&bytes), instance)
        })
        .collect();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    ranked.into_iter().map(|(_, instance)| instance).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(instances: &[&str], threads: usize) -> Vec<Member> {
        let names = instances.iter().flat_map(|instance| {
            (1..=threads).map(move |thread| Member {
                instance: (*instance).to_owned(),
                name: format!("{instance}-{thread}"),
                id: format!("{instance}-{thread}"),
            })
        });
        names.collect()
    }

    fn tasks(count: u32) -> Vec<TaskInputs> {
        let task = |number| TaskInputs {
            task: TaskId {
                subtopology: number % 2,
                partition: number / 2,
            },
            inputs: Vec::new(),
            stateful: number % 2 == 0,
        };
        (0..count).map(task).collect()
    }

    fn owners(placed: &BTreeMap<String, Assignment>) -> BTreeMap<TaskId, String> {
        let owned = placed.iter().flat_map(|(name, assignment)| {
            assignment.active.iter().map(|task| (*task, name.clone()))
        });
        owned.collect()
    }

    #[test]
    fn every_task_has_one_member_and_members_have_equal_shares() {
        for (instances, threads, count) in [
            (&["a"][..], 1, 7),
            (&["a", "b"], 2, 12),
            (&["a", "b", "c"], 1, 8),
            (&["a", "b", "c"], 2, 4),
        ] {
            let members = members(instances, threads);
            let placed = place(&members, &tasks(count), 0);
            let all: usize = placed.values().map(|a| a.active.len()).sum();
            assert_eq!(all, count as usize);
            assert_eq!(owners(&placed).len(), count as usize);
            let most = (count as usize).div_ceil(members.len());
            assert!(placed.values().all(|a| a.active.len() <= most.max(1) + 1));
        }
    }

    #[test]
    fn the_order_of_members_does_not_matter() {
        let mut some = members(&["a", "b", "c"], 2);
        let placed = place(&some, &tasks(9), 1);
        some.reverse();
        assert_eq!(place(&some, &tasks(9), 1), placed);
    }

    #[test]
    fn standbys_are_elsewhere_and_as_many_as_there_can_be() {
        for standbys in 0..4 {
            let placed = place(&members(&["a", "b", "c"], 2), &tasks(12), standbys);
            let owners = owners(&placed);
            let mut kept: BTreeMap<TaskId, Vec<&str>> = BTreeMap::new();
            for (name, assignment) in &placed {
                for task in &assignment.standby {
                    kept.entry(*task).or_default().push(&name[..1]);
                }
            }
            for task in tasks(12).iter().filter(|task| task.stateful) {
                let mut where_kept = kept.remove(&task.task).unwrap_or_default();
                where_kept.push(&owners[&task.task][..1]);
                where_kept.sort_unstable();
                where_kept.dedup();
                assert_eq!(where_kept.len(), 1 + standbys.min(2));
            }
            assert!(kept.is_empty(), "a task without state has no standby");
        }
    }

    #[test]
    fn of_two_instances_the_one_that_is_left_has_the_standbys() {
        let before = place(&members(&["a", "b"], 1), &tasks(10), 1);
        let after = place(&members(&["b"], 1), &tasks(10), 1);
        let stateful = |task: &&TaskId| task.subtopology == 0;
        let of_a = before["a-1"].active.iter().filter(stateful);
        assert!(of_a.clone().count() > 0);
        for task in of_a {
            assert!(before["b-1"].standby.contains(task));
            assert!(after["b-1"].active.contains(task));
        }
    }

    #[test]
    fn of_many_instances_whoever_has_the_standbys_gets_the_tasks() {
        for (count, tasks_count, threads) in [(3, 6, 1), (3, 3, 1), (4, 30, 2), (7, 40, 1)] {
            for round in 0..200 {
                let names: Vec<_> = (0..count).map(|n| format!("{round}/{n}")).collect();
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                let tasks = tasks(tasks_count);
                let before = place(&members(&names, threads), &tasks, 1);
                let after = place(&members(&names[1..], threads), &tasks, 1);
                let dead = before.iter().filter(|(name, _)| name.starts_with(names[0]));
                let lost = dead.flat_map(|(_, has)| &has.active);
                for task in lost.filter(|task| task.subtopology == 0) {
                    let keeps = |(_, has): &(&String, &Assignment)| has.standby.contains(task);
                    let (keeper, _) = before.iter().find(keeps).expect("a standby");
                    let runs = |(_, has): &(&String, &Assignment)| has.active.contains(task);
                    let (owner, _) = after.iter().find(runs).expect("an owner");
                    assert_eq!(keeper.split('-').next(), owner.split('-').next(), "{task}");
                }
            }
        }
    }

    #[test]
    fn most_tasks_stay_when_a_member_comes() {
        let before = owners(&place(&members(&["a", "b", "c"], 1), &tasks(60), 0));
        let after = owners(&place(&members(&["a", "b", "c", "d"], 1), &tasks(60), 0));
        let moved = before.iter().filter(|(task, owner)| after[task] != **owner);
        let moved = moved.count();
        assert!(moved <= 30, "{moved} of 60 moved, where 15 must");
    }

    #[test]
    fn two_members_of_one_name_are_two() {
        let mut members = members(&["a"], 2);
        members[1].name = members[0].name.clone();
        let placed = place(&members, &tasks(4), 0);
        assert_eq!(owners(&placed).len(), 4);
        assert!(placed.values().all(|has| has.active.len() == 2));
    }

    #[test]
    fn nobody_has_nothing() {
        assert!(place(&[], &tasks(3), 1).is_empty());
        let placed = place(&members(&["a"], 1), &[], 1);
        assert_eq!(placed["a-1"], Assignment::default());
    }
}
