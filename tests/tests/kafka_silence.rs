//! Members that were silent for too long, and then end.
//!
//! Such a member has heard that it was silent, and that its tasks are lost, but has not answered
//! yet. librdkafka never returns from an answer that comes when it has just left its group, so
//! whoever ends must not answer once more than it is asked.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use millstream_core::record::{TaskId, TopicPartition};
use millstream_kafka::{KafkaClient, KafkaConfig, KafkaLog};
use millstream_log::{Cleanup, Error, Event, Log, Subscription, TaskInputs, TopicSpec};
use millstream_runtime::clock::SystemClock;
use millstream_tests::servers::{self, Kind, runs, unique};
use std::time::Duration;

/// How many are silent at once: each that ends is another chance to go wrong.
const MEMBERS: u32 = 6;

fn connect(app: &str, silence: &str) -> KafkaLog {
    let servers = servers::kafka().unwrap().bootstrap_servers();
    let consumer = [
        ("session.timeout.ms", "1000"),
        ("heartbeat.interval.ms", "100"),
        ("max.poll.interval.ms", silence),
    ];
    KafkaLog::connect(
        KafkaConfig {
            application_id: app.into(),
            process_id: silence.into(),
            replication_factor: -1,
            task_timeout: Duration::from_secs(60),
            client: vec![("bootstrap.servers".into(), servers)],
            consumer: consumer.map(|(k, v)| (k.into(), v.into())).into(),
            ..KafkaConfig::default()
        },
        SystemClock::stopwatch(),
    )
    .unwrap()
}

/// Joins with a task for each member.
fn join(client: &mut KafkaClient, app: &str, member: &str) {
    let task = |partition| TaskInputs {
        task: TaskId {
            subtopology: 0,
            partition,
        },
        inputs: vec![TopicPartition::new(app, partition)],
        stateful: false,
    };
    let subscription = Subscription {
        group: app.into(),
        member: member.into(),
        instance: member.into(),
        server: None,
        tasks: (0..MEMBERS).map(task).collect(),
        patterns: false,
        standbys: 0,
    };
    client.subscribe(subscription).unwrap();
}

/// Hears the next event; how many tasks the client has now, if that has changed.
fn hear(client: &mut KafkaClient) -> Option<usize> {
    match client.poll(Duration::from_millis(10)) {
        Ok(Event::Assigned(assignment)) => Some(assignment.active.len()),
        Ok(Event::Revoked(tasks)) => {
            client.acknowledge(&tasks).unwrap();
            Some(0)
        }
        Ok(Event::Lost) => Some(0),
        Ok(Event::Ready | Event::Idle) | Err(Error::Fenced(_) | Error::Retry(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn members_that_were_silent_for_too_long_can_end() {
    if !runs("kafka_silence", &[Kind::Kafka]) {
        return;
    }
    let app = unique("silence");
    let (impatient, patient) = (connect(&app, "1000"), connect(&app, "60000"));
    let spec = TopicSpec {
        name: app.clone(),
        partitions: MEMBERS,
        cleanup: Cleanup::Delete { retention_ms: None },
    };
    let mut other = patient.client();
    other.create_topic(&spec).unwrap();
    let mut silent: Vec<_> = (0..MEMBERS).map(|_| (impatient.client(), 0)).collect();
    for (number, (client, _)) in silent.iter_mut().enumerate() {
        join(client, &app, &format!("silent-{number}"));
    }
    let all = MEMBERS as usize;
    while silent.iter().map(|(_, tasks)| tasks).sum::<usize>() < all {
        for (client, tasks) in &mut silent {
            *tasks = hear(client).unwrap_or(*tasks);
        }
    }
    // From here on nobody asks them any more, and the group finds out.
    join(&mut other, &app, "other");
    while hear(&mut other) != Some(all) {}
    drop(silent);
}
