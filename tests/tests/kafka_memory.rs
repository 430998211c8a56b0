//! The one crate with `unsafe`, watched by valgrind while it does all it can do on a real cluster:
//! tens of thousands of records sent, committed, dropped, fetched and read by two members that take
//! tasks from each other. Invariant: a read or write of memory that is not ours, a use of memory
//! that was never written, and memory that nobody can free any more each fail the test.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test whose helpers fail has failed"
)]

use millstream_core::record::{Header, Headers, RawRecord, TaskId, TopicPartition};
use millstream_kafka::{KafkaClient, KafkaConfig, KafkaLog};
use millstream_log::{
    Broker, Cleanup, Committed, Error, Event, Log, Outcome, Subscription, TaskInputs, TopicSpec,
};
use millstream_runtime::clock::SystemClock;
use millstream_tests::servers::{self, Kind, unique};
use std::{process::Command, time::Duration};

/// Where the test that valgrind runs finds its cluster.
const CLUSTER: &str = "WATCHED_CLUSTER";
const SUITE: &str = "memory of the log on Kafka";
const PARTITIONS: u32 = 2;
/// Records of one transaction, and transactions.
const BATCH: i64 = 2_000;
const ROUNDS: i64 = 10;
/// Everything takes some thirty times as long under valgrind.
const SLOW: Duration = Duration::from_secs(300);

#[test]
fn valgrind_finds_nothing() {
    if !servers::runs(SUITE, &[Kind::Kafka, Kind::Valgrind]) {
        return;
    }
    let cluster = servers::kafka().unwrap().bootstrap_servers();
    let watched = Command::new("valgrind")
        .args([
            "--error-exitcode=99",
            "--leak-check=full",
            "--num-callers=30",
        ])
        .args([
            "--errors-for-leak-kinds=definite",
            "--show-leak-kinds=definite",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_day_of_work", "--test-threads=1"])
        .env(CLUSTER, cluster)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&watched.stderr);
    assert!(watched.status.success(), "{}: {told}", watched.status);
    assert!(told.contains("ERROR SUMMARY: 0 errors"), "{told}");
    let ran = String::from_utf8_lossy(&watched.stdout);
    assert!(ran.contains("1 passed"), "{ran}");
}

/// What is watched. By itself it is a test as well, on the cluster that all tests share.
#[test]
fn a_day_of_work() {
    let servers = match std::env::var(CLUSTER) {
        Ok(servers) => servers,
        Err(_) if !servers::runs(SUITE, &[Kind::Kafka]) => return,
        Err(_) => servers::kafka().unwrap().bootstrap_servers(),
    };
    let app = unique("watched");
    let log = connect(&app, &servers);
    let mut first = log.client();
    let spec = TopicSpec {
        name: app.clone(),
        partitions: PARTITIONS,
        cleanup: Cleanup::Delete { retention_ms: None },
    };
    first.create_topic(&spec).unwrap();
    first.subscribe(subscription(&app, "first")).unwrap();
    assert_eq!(assigned(&mut first), PARTITIONS as usize);
    for round in 1..=ROUNDS {
        write(&mut first, &app, round);
        if round % 3 == 0 {
            first.abort().unwrap();
            continue;
        }
        commit(&mut first, &app, round);
    }
    let committed = BATCH * (1..=ROUNDS).filter(|round| round % 3 != 0).count() as i64;
    assert_eq!(fetch(&mut first, &app), committed);
    assert_eq!(read(&mut log.client(), &app), committed);

    // Another member comes and takes a task, and gives it back by going.
    let mut second = log.client();
    second.subscribe(subscription(&app, "second")).unwrap();
    let shares = share(&mut first, &mut second);
    assert_eq!(shares, PARTITIONS as usize);
    second.leave().unwrap();
    drop(second);
    let asked = again(|| first.resolve(u64::MAX, &[(at(&app, 0), Committed::new(0, 1, b""))]));
    assert_eq!(asked, Outcome::Aborted);
    assert!(log.topics().unwrap().iter().any(|t| t.spec.name == app));
    assert!(again(|| log.delete_records(&at(&app, 0), 10)) >= 10);
    first.leave().unwrap();
    log.delete_topic(&app).unwrap();
}

fn connect(app: &str, servers: &str) -> KafkaLog {
    let setting = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let slow = SLOW.as_millis().to_string();
    let config = KafkaConfig {
        application_id: app.to_owned(),
        process_id: "watched".to_owned(),
        replication_factor: -1,
        task_timeout: SLOW,
        client: vec![setting("bootstrap.servers", servers)],
        consumer: vec![
            setting("session.timeout.ms", "60000"),
            setting("max.poll.interval.ms", &slow),
            setting("statistics.interval.ms", "1000"),
        ],
        producer: vec![
            setting("transaction.timeout.ms", "120000"),
            setting("message.timeout.ms", "120000"),
            setting("statistics.interval.ms", "1000"),
        ],
        ..KafkaConfig::default()
    };
    KafkaLog::connect(config, SystemClock::stopwatch()).unwrap()
}

fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn subscription(app: &str, member: &str) -> Subscription {
    let tasks = (0..PARTITIONS).map(|partition| TaskInputs {
        task: TaskId {
            subtopology: 0,
            partition,
        },
        inputs: vec![at(app, partition)],
        stateful: true,
    });
    Subscription {
        group: app.to_owned(),
        member: member.to_owned(),
        instance: member.to_owned(),
        server: None,
        tasks: tasks.collect(),
        patterns: false,
        standbys: 1,
    }
}

/// Asks until the log answers.
fn again<T>(mut ask: impl FnMut() -> Result<T, Error>) -> T {
    for _ in 0..200 {
        match ask() {
            Err(Error::Retry(_)) => {}
            answer => return answer.unwrap(),
        }
    }
    panic!("no answer after two hundred questions")
}

/// Waits for an assignment, and says of how many tasks.
fn assigned(client: &mut KafkaClient) -> usize {
    for _ in 0..600 {
        match client.poll(Duration::from_millis(100)).unwrap() {
            Event::Assigned(assignment) => return assignment.active.len(),
            Event::Revoked(tasks) => client.acknowledge(&tasks).unwrap(),
            _ => {}
        }
    }
    panic!("no assignment")
}

/// Serves both members until each has heard what it has; how many tasks they have together.
fn share(first: &mut KafkaClient, second: &mut KafkaClient) -> usize {
    let mut have = [None, None];
    for _ in 0..600 {
        for (client, have) in [&mut *first, &mut *second].into_iter().zip(&mut have) {
            match client.poll(Duration::from_millis(50)).unwrap() {
                Event::Assigned(assignment) => *have = Some(assignment.active.len()),
                Event::Revoked(tasks) => client.acknowledge(&tasks).unwrap(),
                _ => {}
            }
        }
        if let [Some(first), Some(second)] = have {
            return first + second;
        }
    }
    panic!("no assignment for two")
}

fn write(client: &mut KafkaClient, app: &str, round: i64) {
    let headers: Headers = [("round", Some(vec![7; 20])), ("none", None)]
        .into_iter()
        .map(|(name, value)| Header {
            name: name.to_owned(),
            value,
        })
        .collect();
    for number in 0..BATCH {
        let key = (round * BATCH + number).to_be_bytes();
        let value = [u8::try_from(number % 251).unwrap(); 100];
        let record = RawRecord {
            key: (number % 7 != 0).then_some(&key[..]),
            value: (number % 11 != 0).then_some(&value[..]),
            timestamp: 1 + number,
            headers: if number % 5 == 0 {
                &headers
            } else {
                &Headers::NONE
            },
        };
        again(|| client.send(app, None, record));
    }
}

fn commit(client: &mut KafkaClient, app: &str, round: i64) {
    let number = u64::try_from(round).unwrap();
    let place = [(at(app, 0), Committed::new(0, number, b"time"))];
    let mut ended = again(|| client.begin_commit(number, &place));
    while ended.is_none() {
        ended = client.poll_commit(Duration::from_secs(10)).unwrap();
    }
    assert_eq!(ended.unwrap().ends.len(), PARTITIONS as usize);
}

/// Fetches all records of the tasks' inputs, from the first on; how many there were.
fn fetch(client: &mut KafkaClient, app: &str) -> i64 {
    let mut records = 0;
    for partition in 0..PARTITIONS {
        let at = at(app, partition);
        again(|| client.seek(&at, 0));
        // The end of what is being fetched is known for sure only when it is come to.
        while client.position(&at).unwrap() < again(|| client.end(&at)) {
            match again(|| client.fetch(&at, 500)) {
                Some(found) => {
                    let bytes = |(_, record): (i64, RawRecord<'_>)| {
                        record.value.map_or(0, <[u8]>::len) + record.headers.iter().count()
                    };
                    assert!(found.iter().map(bytes).sum::<usize>() > 0);
                    records += found.len() as i64;
                }
                None => drop(client.poll(Duration::from_millis(10)).unwrap()),
            }
        }
    }
    records
}

/// Reads all records as sinks and restores do.
fn read(client: &mut KafkaClient, app: &str) -> i64 {
    let mut records = 0;
    for partition in 0..PARTITIONS {
        let mut from = 0;
        loop {
            let page = again(|| client.read(&at(app, partition), from, 64 << 10));
            records += page.records.len() as i64;
            if page.next >= page.end {
                break;
            }
            from = page.next;
        }
    }
    records
}
