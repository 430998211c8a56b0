//! By which members of a group know whether they have the same tasks, and where they can be asked.
//!
//! Each member places all tasks by itself, which is sound only among members that have the same
//! ones: with other tasks, shares and so places differ, and a task would run twice or nowhere. The
//! only thing that members can tell each other is their `client.id`, so a digest of the tasks
//! stands behind the name, and in front of that where the instance can be asked. Invariant: members
//! of one shape give every input partition to the same task.

use millstream_log::Subscription;
use std::{collections::BTreeMap, fmt::Write};
use xxhash_rust::xxh3::xxh3_64;

/// Between a member's id and its shape. A digest in hexadecimal digits, which stands before it, has
/// none.
const MARK: char = '.';

/// Between where the member's instance can be asked, which comes first, and its id, which has none.
/// So a version that did not say the former still finds the name and the shape at the end.
const AT: char = '@';

/// A member's id with the shape of its tasks.
pub(crate) fn say(id: &str, subscription: &Subscription) -> String {
    format!("{id}{MARK}{:08x}", digest(subscription) >> 32)
}

/// That, and where the member can be asked: its `client.id`.
pub(crate) fn say_all(id: &str, subscription: &Subscription) -> String {
    let shaped = say(id, subscription);
    match &subscription.server {
        Some(server) => format!("{server}{AT}{shaped}"),
        None => shaped,
    }
}

/// The shape of a member's tasks; none of a member of a version that did not say it.
pub(crate) fn of(client: &str) -> Option<&str> {
    split(client).1
}

/// Where a member's instance can be asked, if it says so.
pub(crate) fn server(client: &str) -> Option<&str> {
    client.rsplit_once(AT).map(|(server, _)| server)
}

/// A member's id, and its shape.
pub(crate) fn split(client: &str) -> (&str, Option<&str>) {
    let client = client.rsplit_once(AT).map_or(client, |(_, client)| client);
    let behind = |(_, digests): (&str, &str)| digests.contains(MARK);
    match client.rsplit_once(MARK) {
        Some((id, shape)) if client.rsplit_once('-').is_some_and(behind) => (id, Some(shape)),
        _ => (client, None),
    }
}

/// The shape that most members have, of as many the first in their order; and whether there are
/// others. Members that say none place tasks among all that there are, so they are no others.
pub(crate) fn of_most<'a>(clients: impl Iterator<Item = &'a str>) -> (Option<&'a str>, bool) {
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for shape in clients.filter_map(of) {
        *counts.entry(shape).or_default() += 1;
    }
    let differ = counts.len() > 1;
    let most = counts.into_iter().rev().max_by_key(|(_, count)| *count);
    (most.map(|(shape, _)| shape), differ)
}

fn digest(subscription: &Subscription) -> u64 {
    let mut tasks: Vec<_> = subscription.tasks.iter().collect();
    tasks.sort_by_key(|task| task.task);
    let mut text = String::new();
    for task in tasks {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} {}", task.task, task.stateful);
        // Which topics match a pattern may differ between members; in each, a partition of a topic
        // is read by the task of its number.
        let inputs = task.inputs.iter().filter(|_| !subscription.patterns);
        for input in inputs {
            let _ = writeln!(text, " {}:{}", input.topic, input.partition);
        }
    }
    xxh3_64(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::record::{TaskId, TopicPartition};
    use millstream_log::TaskInputs;

    fn subscription(topics: &[&str], partitions: u32, patterns: bool) -> Subscription {
        let task = |partition| TaskInputs {
            task: TaskId {
                subtopology: 0,
                partition,
            },
            inputs: (topics.iter())
                .map(|topic| TopicPartition::new(*topic, partition))
                .collect(),
            stateful: true,
        };
        Subscription {
            group: "app".into(),
            member: "app-thread-1".into(),
            instance: "dir".into(),
            server: None,
            tasks: (0..partitions).map(task).collect(),
            patterns,
            standbys: 0,
        }
    }

    #[test]
    fn other_tasks_are_another_shape() {
        let shape = |topics: &[&str], partitions, patterns| {
            let client = say(
                "app-1-0123abcd",
                &subscription(topics, partitions, patterns),
            );
            assert_eq!(split(&client).0, "app-1-0123abcd");
            of(&client).map(str::to_owned)
        };
        let one = shape(&["in"], 2, false);
        assert!(one.is_some());
        assert_eq!(one, shape(&["in"], 2, false));
        assert_ne!(one, shape(&["in"], 3, false));
        assert_ne!(one, shape(&["other"], 2, false));
        assert_eq!(shape(&["a"], 2, true), shape(&["a", "b"], 2, true));
        assert_ne!(shape(&["a"], 2, true), shape(&["a"], 3, true));
    }

    #[test]
    fn a_member_that_says_none_has_none_whatever_its_name() {
        for client in ["app-1-0123abcd", "v1.2-thread-1-0123abcd", "a.b"] {
            assert_eq!(split(client), (client, None));
        }
        assert_eq!(
            split("v1.2-1-0123abcd.89ab"),
            ("v1.2-1-0123abcd", Some("89ab"))
        );
    }

    #[test]
    fn where_a_member_can_be_asked_changes_nothing_else() {
        let mut told = subscription(&["in"], 2, false);
        let silent = say("v1.2-1-0123abcd", &told);
        assert_eq!(server(&silent), None);
        for at in ["host.example.com:8080", "[::1]:80", "a-b.c:1"] {
            told.server = Some(at.to_owned());
            let client = say_all("v1.2-1-0123abcd", &told);
            assert_eq!(server(&client), Some(at));
            assert_eq!(split(&client), split(&silent));
            // What a version does that knows of no servers: the shape is behind the last mark, and
            // the digest of the process behind the last hyphen before it.
            let (id, shape) = client.rsplit_once(MARK).unwrap();
            assert_eq!(Some(shape), of(&silent));
            assert_eq!(id.rsplit_once('-').unwrap().1, "0123abcd");
        }
    }

    #[test]
    fn most_decide_and_of_as_many_the_first() {
        let clients = |shapes: &[&str]| -> Vec<String> {
            let named = shapes.iter().enumerate();
            named
                .map(|(n, shape)| format!("app-{n}-00.{shape}"))
                .collect()
        };
        for (shapes, expected) in [
            (&["b", "b"][..], (Some("b"), false)),
            (&["a", "b", "b"], (Some("b"), true)),
            (&["b", "a"], (Some("a"), true)),
            (&["a", "b"], (Some("a"), true)),
            (&[], (None, false)),
        ] {
            let clients = clients(shapes);
            assert_eq!(of_most(clients.iter().map(String::as_str)), expected);
        }
        let mut mixed = clients(&["a", "a"]);
        mixed.push("app-2-00".to_owned());
        let most = of_most(mixed.iter().map(String::as_str));
        assert_eq!(most, (Some("a"), false));
    }
}
