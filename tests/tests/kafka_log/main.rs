//! The log on a real cluster: what its clients promise, and what it does when they fail.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test whose helpers fail has failed"
)]

mod contract;
mod fences;
mod reads;
mod versions;

use millstream_core::record::{Headers, RawRecord, TaskId, TopicPartition};
use millstream_kafka::{Guarantee, KafkaConfig, KafkaLog};
use millstream_log::{
    Assignment, Cleanup, Error, Event, Log, Subscription, TaskInputs, TopicInfo, TopicSpec,
};
use millstream_runtime::clock::SystemClock;
use millstream_tests::servers::{self, unique};
use std::time::Duration;

/// Whether there is a cluster; a suite without one is counted.
fn can_run() -> bool {
    servers::runs("the log on Kafka", &[servers::Kind::Kafka])
}

/// Where the cluster is.
fn servers() -> Vec<(String, String)> {
    let servers = servers::kafka().unwrap().bootstrap_servers();
    vec![("bootstrap.servers".into(), servers)]
}

fn log(app: &str, process: &str) -> KafkaLog {
    connect(app, process, Guarantee::ExactlyOnceV2, servers()).unwrap()
}

fn connect(
    app: &str,
    process: &str,
    guarantee: Guarantee,
    client: Vec<(String, String)>,
) -> Result<KafkaLog, Error> {
    let config = KafkaConfig {
        guarantee,
        client,
        ..config(app, process)
    };
    KafkaLog::connect(config, SystemClock::stopwatch())
}

/// What all clients here have in common.
fn config(app: &str, process: &str) -> KafkaConfig {
    KafkaConfig {
        application_id: app.into(),
        process_id: process.into(),
        replication_factor: -1,
        task_timeout: Duration::from_secs(60),
        ..KafkaConfig::default()
    }
}

fn topic(client: &mut dyn Log, name: &str, partitions: u32) -> TopicInfo {
    client
        .create_topic(&TopicSpec {
            name: name.into(),
            partitions,
            cleanup: Cleanup::Delete { retention_ms: None },
        })
        .unwrap()
}
fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}
fn value(bytes: &[u8]) -> RawRecord<'_> {
    RawRecord {
        key: None,
        value: Some(bytes),
        timestamp: 5,
        headers: &Headers::NONE,
    }
}
fn values(client: &mut dyn Log, at: &TopicPartition, mut from: i64) -> Vec<u8> {
    let mut values = Vec::new();
    loop {
        let page = client.read(at, from, 1 << 20).unwrap();
        values.extend(
            page.records
                .iter()
                .filter_map(|(_, r)| r.value?.first().copied()),
        );
        if page.next >= page.end {
            return values;
        }
        from = page.next;
    }
}
/// Asks until the log answers: a transaction that is just ending makes places unstable.
fn patiently<T>(mut ask: impl FnMut() -> Result<T, Error>) -> T {
    for _ in 0..100 {
        match ask() {
            Err(Error::Retry(_)) => {}
            answer => return answer.unwrap(),
        }
    }
    panic!("no answer after a hundred questions")
}

fn subscription(group: &str, topic: &str, member: &str, tasks: u32) -> Subscription {
    Subscription {
        group: group.into(),
        member: member.into(),
        instance: member.into(),
        server: None,
        tasks: (0..tasks)
            .map(|n| TaskInputs {
                task: task(n),
                inputs: vec![at(topic, n)],
                stateful: true,
            })
            .collect(),
        patterns: false,
        standbys: 1,
    }
}
fn task(partition: u32) -> TaskId {
    TaskId {
        subtopology: 0,
        partition,
    }
}
fn wait_assigned(client: &mut dyn Log) -> Assignment {
    for _ in 0..200 {
        match client.poll(Duration::from_millis(100)).unwrap() {
            Event::Assigned(a) => return a,
            Event::Revoked(tasks) => client.acknowledge(&tasks).unwrap(),
            _ => {}
        }
    }
    panic!("no assignment")
}

#[test]
fn a_topic_that_got_more_partitions_is_written_to_in_all_of_them() {
    if !can_run() {
        return;
    }
    let app = unique("wider");
    let log = log(&app, "p");
    let mut client = log.client();
    topic(&mut client, &app, 1);
    client.send(&app, Some(0), value(b"a")).unwrap();
    let missing = client.send(&app, Some(2), value(b"x")).unwrap_err();
    assert!(matches!(missing, Error::UnknownTopic(_)), "{missing}");
    let alter = ["--alter", "--topic", &app, "--partitions", "3"];
    let cluster = servers::kafka().unwrap();
    cluster.tool("topics", &alter).unwrap();
    patiently(|| client.send(&app, Some(2), value(b"b")));
    let mut ends = client.commit(1, &[]).unwrap().ends;
    ends.sort();
    assert_eq!(ends, [(at(&app, 0), 1), (at(&app, 2), 1)]);
    let mut reader = log.client();
    patiently(|| reader.end(&at(&app, 2)));
    assert_eq!(values(&mut reader, &at(&app, 2), 0), b"b");
}

#[test]
fn it_speaks_tls_and_logs_in_with_scram() {
    if !can_run() {
        return;
    }
    let options = servers::KafkaOptions {
        secure: true,
        ..servers::KafkaOptions::default()
    };
    let cluster = servers::KafkaCluster::start_with(1, &options).unwrap();
    let settings = cluster.secure_settings();
    let app = unique("secure");
    let log = connect(&app, "p", Guarantee::ExactlyOnceV2, settings.clone()).unwrap();
    let mut client = log.client();
    topic(&mut client, &app, 1);
    client.send(&app, Some(0), value(b"s")).unwrap();
    client.commit(1, &[]).unwrap();
    assert_eq!(values(&mut client, &at(&app, 0), 0), b"s");
    let wrong = settings.into_iter().map(|(key, value)| match &*key {
        "sasl.password" => (key, "wrong".to_owned()),
        _ => (key, value),
    });
    let refused = connect(&app, "q", Guarantee::ExactlyOnceV2, wrong.collect());
    assert!(matches!(refused, Err(Error::Fatal(_))), "a wrong password");
}
