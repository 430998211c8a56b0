//! A cluster that goes away for longer than a question may take, and comes back.
//!
//! Invariant: whoever asked meanwhile was told to ask again, lives, and is answered once the
//! cluster is back. librdkafka makes neither easy: see `ask_coordinator` and `astray`.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use millstream_core::record::{Headers, RawRecord, TopicPartition};
use millstream_kafka::{KafkaConfig, KafkaLog};
use millstream_log::{Error, Log, Result};
use millstream_runtime::{clock::SystemClock, patience::patiently};
use millstream_tests::servers::{KafkaCluster, Kind, runs};
use std::time::Duration;

const TOPIC: &str = "away";
const GROUP: &str = "away-group";
/// How long an answer may take once the cluster is back.
const BACK: Duration = Duration::from_secs(30);

/// A question to a partition's leader, and one to a group's coordinator.
fn questions(client: &mut dyn Log) -> [Result<()>; 2] {
    let at = TopicPartition::new(TOPIC, 0);
    let places = client.committed_as(GROUP, std::slice::from_ref(&at));
    [client.end(&at).map(drop), places.map(drop)]
}

fn answered(client: &mut dyn Log) {
    let clock = SystemClock::new();
    patiently(client, &clock, BACK, |client| {
        for answer in questions(client) {
            answer?;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn questions_outlive_the_loss_of_whoever_answers_them() {
    if !runs("kafka_away", &[Kind::Kafka]) {
        return;
    }
    let cluster = KafkaCluster::start(1).unwrap();
    cluster.create_topic(TOPIC, 1, &[]).unwrap();
    let log = KafkaLog::connect(
        KafkaConfig {
            application_id: GROUP.into(),
            process_id: "test".into(),
            replication_factor: -1,
            task_timeout: Duration::from_secs(300),
            client: vec![("bootstrap.servers".into(), cluster.bootstrap_servers())],
            ..KafkaConfig::default()
        },
        SystemClock::stopwatch(),
    )
    .unwrap();
    let mut client = log.client();
    let record = RawRecord {
        key: None,
        value: Some(b"a record"),
        timestamp: 1,
        headers: &Headers::NONE,
    };
    client.send(TOPIC, Some(0), record).unwrap();
    client.commit(1, &[]).unwrap();
    answered(&mut client);
    // Twice: what was known of the leader before must not be believed after.
    for _ in 0..2 {
        cluster.kill(1).unwrap();
        for answer in questions(&mut client) {
            assert!(matches!(answer, Err(Error::Retry(_))), "{answer:?}");
        }
        cluster.restart(1).unwrap();
        answered(&mut client);
    }
}
