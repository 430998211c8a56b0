//! The log on a real cluster: what its clients promise, and what it does when they fail.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test whose helpers fail has failed"
)]

mod contract;
mod expel;
mod fences;
mod reads;
mod versions;

use millstream_core::record::{Header, Headers, RawRecord, TaskId, TopicPartition};
use millstream_kafka::{Guarantee, KafkaConfig, KafkaLog};
use millstream_log::{
    Assignment, Cleanup, Committed, Error, Event, Log, Outcome, Subscription, TaskInputs,
    TopicInfo, TopicSpec,
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
fn a_commit_is_visible_whole_and_an_abort_leaves_nothing() {
    if !can_run() {
        return;
    }
    let app = unique("atomic");
    let log = log(&app, "p");
    let (mut w, mut r) = (log.client(), log.client());
    let info = topic(&mut w, &app, 2);
    assert_eq!(topic(&mut w, &app, 2), info);
    w.send(&app, Some(0), value(b"a")).unwrap();
    w.send(&app, Some(1), value(b"b")).unwrap();
    let mut commit = w.commit(1, &[]).unwrap();
    commit.ends.sort();
    assert_eq!(commit.ends, [(at(&app, 0), 1), (at(&app, 1), 1)]);
    w.send(&app, Some(0), value(b"c")).unwrap();
    w.abort().unwrap();
    w.send(&app, Some(0), value(b"d")).unwrap();
    w.commit(2, &[]).unwrap();
    assert_eq!(values(&mut r, &at(&app, 0), 0), b"ad");
    assert_eq!(values(&mut r, &at(&app, 1), 0), b"b");
    w.send(&app, Some(0), value(b"e")).unwrap();
    drop(w);
    let mut w = log.client();
    w.send(&app, Some(0), value(b"f")).unwrap();
    w.commit(2, &[]).unwrap();
    assert_eq!(r.poll(Duration::from_secs(5)).unwrap(), Event::Ready);
}

#[test]
fn records_come_back_as_they_were_sent() {
    if !can_run() {
        return;
    }
    let app = unique("faithful");
    let log = log(&app, "p");
    let mut client = log.client();
    topic(&mut client, &app, 1);
    let headers: Headers = [("a", Some(&b"1"[..])), ("a", None), ("", Some(b""))]
        .into_iter()
        .map(|(name, value)| Header {
            name: name.into(),
            value: value.map(<[u8]>::to_vec),
        })
        .collect();
    let all = [
        RawRecord {
            key: None,
            value: None,
            timestamp: 1,
            headers: &Headers::NONE,
        },
        RawRecord {
            key: Some(b""),
            value: Some(b""),
            timestamp: 7,
            headers: &headers,
        },
        RawRecord {
            key: Some(b"k"),
            value: None,
            timestamp: 1 << 40,
            headers: &Headers::NONE,
        },
        RawRecord {
            key: None,
            value: Some(&[0xff; 999]),
            timestamp: 3,
            headers: &headers,
        },
    ];
    for record in all {
        client.send(&app, Some(0), record).unwrap();
    }
    client.commit(1, &[]).unwrap();
    let mut found = 0;
    let mut from = 0;
    while found < all.len() {
        let page = client.read(&at(&app, 0), from, 1 << 20).unwrap();
        for (_, record) in page.records.iter() {
            assert_eq!(record, all[found]);
            found += 1;
        }
        from = page.next;
    }
}

#[test]
fn a_member_fetches_commits_and_is_followed() {
    if !can_run() {
        return;
    }
    let app = unique("member");
    let log = log(&app, "p");
    let mut feeder = log.client();
    topic(&mut feeder, &app, 2);
    for n in 0..10u8 {
        feeder
            .send(&app, Some(u32::from(n % 2)), value(&[n]))
            .unwrap();
    }
    feeder.commit(1, &[]).unwrap();
    let mut a = log.client();
    a.subscribe(subscription(&app, &app, "a", 2)).unwrap();
    let got = wait_assigned(&mut a);
    assert_eq!(got.active, [task(0), task(1)]);
    let mut seen = Vec::new();
    while seen.len() < 10 {
        a.poll(Duration::from_millis(100)).unwrap();
        for p in 0..2 {
            if let Some(records) = patiently(|| a.fetch(&at(&app, p), 3)) {
                seen.extend(records.iter().map(|(_, r)| r.value.unwrap()[0]));
            }
        }
    }
    seen.sort();
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    a.commit(7, &[(at(&app, 0), Committed::new(3, 7, b"x"))])
        .unwrap();
    assert_eq!(
        patiently(|| a.committed(&[at(&app, 0), at(&app, 1)])),
        [Some(Committed::new(3, 7, b"x")), None]
    );
    a.leave().unwrap();
    let mut b = log.client();
    b.subscribe(subscription(&app, &app, "b", 2)).unwrap();
    wait_assigned(&mut b);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        b.poll(Duration::from_millis(100)).unwrap();
        if let Some(records) = patiently(|| b.fetch(&at(&app, 0), 30)) {
            seen.extend(records.iter().map(|(_, r)| r.value.unwrap()[0]));
        }
    }
    assert_eq!(seen, [6, 8]);
    let first = [(at(&app, 0), Committed::new(4, 41, b""))];
    b.send(&app, Some(1), value(b"z")).unwrap();
    let c = b.commit(41, &first).unwrap();
    assert_eq!(b.resolve(41, &first).unwrap(), Outcome::Committed(c));
    assert_eq!(
        b.resolve(42, &[(at(&app, 0), Committed::new(5, 42, b""))])
            .unwrap(),
        Outcome::Aborted
    );
}

#[test]
fn two_members_share_and_the_left_one_takes_over() {
    if !can_run() {
        return;
    }
    let app = unique("share");
    let log = log(&app, "p");
    let mut feeder = log.client();
    topic(&mut feeder, &app, 4);
    let (mut a, mut b) = (log.client(), log.client());
    a.subscribe(subscription(&app, &app, "a", 4)).unwrap();
    assert_eq!(wait_assigned(&mut a).active.len(), 4);
    b.subscribe(subscription(&app, &app, "b", 4)).unwrap();
    let of_a = std::thread::scope(|s| {
        let t = s.spawn(|| wait_assigned(&mut a));
        let of_b = wait_assigned(&mut b);
        let of_a = t.join().unwrap();
        assert_eq!((of_a.active.len(), of_b.active.len()), (2, 2));
        assert_eq!(of_a.standby, of_b.active);
        assert_eq!(of_b.standby, of_a.active);
        of_a
    });
    let mine = at(&app, of_a.active[0].partition);
    assert!(matches!(
        b.commit(1, &[(mine.clone(), Committed::new(1, 1, b""))]),
        Err(Error::Fenced(_))
    ));
    a.commit(1, &[(mine, Committed::new(1, 1, b""))]).unwrap();
    a.leave().unwrap();
    // b was told above that it is fenced, after which a member joins again.
    b.subscribe(subscription(&app, &app, "b", 4)).unwrap();
    assert_eq!(wait_assigned(&mut b).active.len(), 4);
}

#[test]
fn without_transactions_records_and_places_are_kept_too() {
    if !can_run() {
        return;
    }
    let app = unique("at-least-once");
    let log = connect(&app, "p", Guarantee::AtLeastOnce, servers()).unwrap();
    let mut a = log.client();
    topic(&mut a, &app, 1);
    a.subscribe(subscription(&app, &app, "a", 1)).unwrap();
    wait_assigned(&mut a);
    a.send(&app, Some(0), value(b"x")).unwrap();
    let place = [(at(&app, 0), Committed::new(1, 3, b"time"))];
    let commit = a.commit(3, &place).unwrap();
    assert_eq!(commit.ends, [(at(&app, 0), 1)]);
    let found = patiently(|| a.committed(&[at(&app, 0)]));
    assert_eq!(found, [Some(Committed::new(1, 3, b"time"))]);
    assert_eq!(values(&mut log.client(), &at(&app, 0), 0), b"x");
}

#[test]
fn a_zombie_is_fenced_by_a_client_of_its_name_and_by_its_generation() {
    if !can_run() {
        return;
    }
    let app = unique("zombie");
    let log = log(&app, "p");
    let mut old = log.client();
    topic(&mut old, &app, 1);
    old.subscribe(subscription(&app, &app, "a", 1)).unwrap();
    wait_assigned(&mut old);
    old.send(&app, Some(0), value(b"z")).unwrap();
    // The same process, started again: the cluster ends what the old one left open at once.
    let mut heir = log.client();
    heir.subscribe(subscription(&app, &app, "a", 1)).unwrap();
    let refused = old.commit(1, &[(at(&app, 0), Committed::new(1, 1, b""))]);
    assert!(matches!(refused, Err(Error::Fenced(_))), "{refused:?}");
    drop(old);
    assert_eq!(wait_assigned(&mut heir).active, [task(0)]);
    heir.send(&app, Some(0), value(b"h")).unwrap();
    heir.commit(2, &[(at(&app, 0), Committed::new(1, 2, b""))])
        .unwrap();
    assert_eq!(values(&mut log.client(), &at(&app, 0), 0), b"h");
}

#[test]
fn a_commit_goes_on_beside_its_client() {
    if !can_run() {
        return;
    }
    let app = unique("beside");
    let log = log(&app, "p");
    let mut client = log.client();
    topic(&mut client, &app, 1);
    client.subscribe(subscription(&app, &app, "a", 1)).unwrap();
    wait_assigned(&mut client);
    for number in 1..=5_u8 {
        client.send(&app, Some(0), value(&[number])).unwrap();
        let offset = i64::from(number);
        let place = [(at(&app, 0), Committed::new(offset, u64::from(number), b""))];
        let mut ended = client.begin_commit(u64::from(number), &place).unwrap();
        // Looking at the log is allowed meanwhile.
        client.start(&at(&app, 0)).unwrap();
        while ended.is_none() {
            ended = client.poll_commit(Duration::from_secs(10)).unwrap();
        }
        assert_eq!(ended.unwrap().ends.len(), 1);
    }
    assert_eq!(values(&mut log.client(), &at(&app, 0), 0), [1, 2, 3, 4, 5]);
}

#[test]
fn topics_are_verified_and_unknown_ones_named() {
    if !can_run() {
        return;
    }
    let app = unique("topics");
    let log = log(&app, "p");
    let mut client = log.client();
    topic(&mut client, &app, 2);
    for (partitions, cleanup) in [
        (3, Cleanup::Delete { retention_ms: None }),
        (
            2,
            Cleanup::Compact {
                delete_retention_ms: 1,
            },
        ),
    ] {
        let name = app.clone();
        let refused = client.create_topic(&TopicSpec {
            name,
            partitions,
            cleanup,
        });
        assert!(
            matches!(&refused, Err(Error::Fatal(why)) if why.contains(&app)),
            "{refused:?}"
        );
    }
    assert_eq!(client.topic("no-such-topic").unwrap(), None);
    let missing = at("no-such-topic", 0);
    let named = |error: Error| {
        let named = matches!(&error, Error::UnknownTopic(what) if what.contains("no-such-topic"));
        assert!(named, "{error}");
    };
    named(client.end(&missing).unwrap_err());
    named(client.start(&missing).unwrap_err());
    named(client.send("no-such-topic", None, value(b"x")).unwrap_err());
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
