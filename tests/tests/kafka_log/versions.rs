//! Members whose programs differ, as while a new version takes over: no task may run twice.

use super::{at, can_run, config, log, servers, topic};
use millstream_core::record::TaskId;
use millstream_kafka::{KafkaClient, KafkaConfig, KafkaLog};
use millstream_log::{Assignment, Event, Log, Subscription, TaskInputs};
use millstream_runtime::clock::SystemClock;
use millstream_tests::servers::unique;
use std::time::Duration;

const PARTITIONS: u32 = 2;
const WAIT: Duration = Duration::from_millis(20);
/// After so many rounds in which nothing is told, nothing more is expected.
const QUIET: usize = 50;
const ROUNDS_MAX: usize = 1_000;

/// A version of a program: a subtopology for each topic.
fn version(group: &str, member: &str, topics: &[String]) -> Subscription {
    let tasks = topics.iter().zip(0..).flat_map(|(topic, subtopology)| {
        (0..PARTITIONS).map(move |partition| TaskInputs {
            task: TaskId {
                subtopology,
                partition,
            },
            inputs: vec![at(topic, partition)],
            stateful: true,
        })
    });
    Subscription {
        group: group.into(),
        member: member.into(),
        instance: member.into(),
        server: None,
        tasks: tasks.collect(),
        patterns: false,
        standbys: 1,
    }
}

/// What each of the members has once nothing has been told for a while: whoever is asked to give
/// tasks back does, and the last thing told counts.
pub(super) fn settled(members: &mut [&mut KafkaClient]) -> Vec<Assignment> {
    let mut last = vec![None; members.len()];
    let mut quiet = 0;
    for _ in 0..ROUNDS_MAX {
        quiet += 1;
        for (member, last) in members.iter_mut().zip(&mut last) {
            match member.poll(WAIT).unwrap() {
                Event::Assigned(assignment) => (*last, quiet) = (Some(assignment), 0),
                Event::Revoked(tasks) => {
                    member.acknowledge(&tasks).unwrap();
                    quiet = 0;
                }
                _ => {}
            }
        }
        if quiet > QUIET && last.iter().all(Option::is_some) {
            return last.into_iter().flatten().collect();
        }
    }
    panic!("not everybody was told what it has: {last:?}");
}

#[test]
fn one_version_at_a_time_has_tasks() {
    if !can_run() {
        return;
    }
    let app = unique("versions");
    let log = log(&app, "p");
    let topics = ["new", "old"].map(|name| format!("{app}-{name}"));
    let mut old = [log.client(), log.client()];
    topics
        .iter()
        .for_each(|name| drop(topic(&mut old[0], name, PARTITIONS)));
    for (client, name) in old.iter_mut().zip(["a", "b"]) {
        client.subscribe(version(&app, name, &topics[1..])).unwrap();
    }
    let mut new = log.client();
    new.subscribe(version(&app, "c", &topics)).unwrap();
    let count = |assignment: &Assignment| (assignment.active.len(), assignment.standby.len());
    let [a, b] = &mut old;
    let had: Vec<_> = settled(&mut [&mut *a, &mut *b, &mut new])
        .iter()
        .map(count)
        .collect();
    assert_eq!(had, [(1, 1), (1, 1), (0, 0)], "most have the old version");
    a.leave().unwrap();
    a.subscribe(version(&app, "a", &topics)).unwrap();
    let had: Vec<_> = settled(&mut [&mut *a, &mut *b, &mut new])
        .iter()
        .map(count)
        .collect();
    assert_eq!(had, [(2, 2), (0, 0), (2, 2)], "most have the new version");
    b.leave().unwrap();
    let had: Vec<_> = settled(&mut [&mut *a, &mut new])
        .iter()
        .map(count)
        .collect();
    assert_eq!(had, [(2, 2), (2, 2)]);
}

/// A broker goes on calling a static member that comes back what it was called before, and tells
/// the group nothing of it.
#[test]
fn a_static_member_that_comes_back_as_another_version_has_tasks() {
    if !can_run() {
        return;
    }
    let app = unique("static");
    let session = ("session.timeout.ms".to_owned(), "6000".to_owned());
    let config = KafkaConfig {
        client: servers(),
        consumer: vec![session].into_iter().collect(),
        group_instance_id: Some("pod".into()),
        ..config(&app, "p")
    };
    let log = KafkaLog::connect(config, SystemClock::stopwatch()).unwrap();
    let topics = ["new", "old"].map(|name| format!("{app}-{name}"));
    let mut old = log.client();
    topics
        .iter()
        .for_each(|name| drop(topic(&mut old, name, PARTITIONS)));
    old.subscribe(version(&app, "a", &topics[1..])).unwrap();
    assert_eq!(settled(&mut [&mut old])[0].active.len(), 2);
    drop(old);
    let mut new = log.client();
    new.subscribe(version(&app, "a", &topics)).unwrap();
    // The old one counts until its session ends, and may be the one that has tasks until then.
    let mut has = 0;
    for _ in 0..ROUNDS_MAX {
        match new.poll(WAIT).unwrap() {
            Event::Assigned(assignment) => has = assignment.active.len(),
            Event::Revoked(tasks) => new.acknowledge(&tasks).unwrap(),
            _ => {}
        }
        if has == 4 {
            break;
        }
    }
    assert_eq!(has, 4, "the version that is left has all tasks");
}
