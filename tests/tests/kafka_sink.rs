//! Sinks of several instances into one table, on a real cluster and a real server.
//!
//! Invariant: whoever leaves, dies or hangs in the middle of a batch, each record is one row, and
//! was written once.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use millstream_core::{
    prelude::{Topic, utf8},
    record::{Headers, RawRecord},
};
use millstream_kafka::{Guarantee, KafkaConfig, KafkaLog};
use millstream_log::{Cleanup, Log, TopicSpec};
use millstream_runtime::clock::{Clock, SystemClock};
use millstream_sink::{
    Location, Reader, RecordMeta, Sink, SinkConfig, SinkHandle, SinkStats, Step, Table, row,
};
use millstream_tests::servers::{self, Kind, Postgres, PostgresOptions, unique};
use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

const PARTITIONS: u32 = 6;
/// How long anything may take that must come about.
const LIMIT: Duration = Duration::from_secs(90);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// After so much silence the group takes a member for dead.
const SILENCE: Duration = Duration::from_secs(6);
/// What records begin with whose rows make a sink hang.
const STUCK: &str = "stuck";

struct Seen {
    value: String,
}
row!(Seen { value });

fn log(app: &str, process: &str) -> KafkaLog {
    let servers = servers::kafka().unwrap().bootstrap_servers();
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let silence = SILENCE.as_millis().to_string();
    KafkaLog::connect(
        KafkaConfig {
            application_id: app.into(),
            process_id: process.into(),
            guarantee: Guarantee::ExactlyOnceV2,
            replication_factor: -1,
            task_timeout: Duration::from_secs(60),
            client: vec![setting("bootstrap.servers", &servers)],
            consumer: vec![
                setting("session.timeout.ms", &silence),
                setting("max.poll.interval.ms", &silence),
                setting("heartbeat.interval.ms", "500"),
            ],
            ..KafkaConfig::default()
        },
        SystemClock::stopwatch(),
    )
    .unwrap()
}

/// What all the sinks of a test write, and its records.
struct Scene {
    app: &'static str,
    location: Location,
    feeder: Box<dyn Log>,
    fed: u64,
}

impl Scene {
    fn new(name: &str, server: &Postgres) -> Self {
        let app: &'static str = unique(name).leak();
        let mut feeder = Box::new(log(app, "feeder").client());
        let spec = TopicSpec {
            name: app.into(),
            partitions: PARTITIONS,
            cleanup: Cleanup::Delete { retention_ms: None },
        };
        feeder.create_topic(&spec).unwrap();
        let location = server.url().parse().unwrap();
        Self {
            app,
            location,
            feeder,
            fed: 0,
        }
    }

    /// Some records into each partition, in one transaction.
    fn feed(&mut self) {
        for number in 0..PARTITIONS * 5 {
            let value = format!("value {}", self.fed);
            self.send(number % PARTITIONS, &value);
        }
        self.feeder.commit(1, &[]).unwrap();
    }

    fn send(&mut self, partition: u32, value: &str) {
        let record = RawRecord {
            key: Some(b"k"),
            value: Some(value.as_bytes()),
            timestamp: 5,
            headers: &Headers::NONE,
        };
        self.feeder.send(self.app, Some(partition), record).unwrap();
        self.fed += 1;
    }

    /// A sink of an instance with a client and a connection of its own. `stuck` is called when it
    /// makes the row of such a record.
    fn sink(&self, process: &str, stuck: impl Fn() + Send + 'static) -> Sink {
        let topic = Topic::new(self.app, utf8(), utf8());
        let row = move |_: &String, value: &String, _: &RecordMeta<'_>| {
            if value.starts_with(STUCK) {
                stuck();
            }
            Seen {
                value: value.clone(),
            }
        };
        let config = SinkConfig {
            batch_rows: 20,
            ..SinkConfig::default()
        };
        let log = Box::new(log(self.app, process).client());
        let sink = Sink::new(
            log,
            topic,
            Table::new(self.app),
            &self.location,
            config,
            row,
        );
        let group = format!("{0}-sink-{0}", self.app);
        sink.unwrap().shared(group, process, process)
    }

    fn start(&self, process: &str) -> SinkHandle {
        SinkHandle::spawn(self.sink(process, || ()), clock()).unwrap()
    }

    /// Feeds until something is so.
    fn until(&mut self, what: &str, so: impl Fn() -> bool) {
        let clock = SystemClock::new();
        while !so() {
            assert!(clock.elapsed() < LIMIT, "{what} never came about");
            self.feed();
            self.feeder.poll(PAUSE).unwrap();
        }
    }

    /// Waits until the table has all, and looks whether anything was written twice.
    fn check(&mut self, survivors: Vec<SinkHandle>, others: &[SinkStats]) {
        let clock = SystemClock::new();
        let mut reader = Reader::open(&self.location).unwrap();
        while reader.count(self.app).unwrap() < self.fed {
            let stats: Vec<_> = survivors.iter().map(SinkHandle::stats).collect();
            assert!(clock.elapsed() < LIMIT, "{} were fed: {stats:?}", self.fed);
            self.feeder.poll(PAUSE).unwrap();
        }
        let mut stats = others.to_vec();
        stats.extend(survivors.into_iter().map(|sink| sink.stop(30_000).unwrap()));
        let rows = reader.rows(self.app, u32::MAX).unwrap();
        let mut values: Vec<_> = rows.iter().map(|row| row["value"].to_string()).collect();
        values.sort_unstable();
        values.dedup();
        let written: u64 = stats.iter().map(|stats| stats.rows).sum();
        let all = usize::try_from(self.fed).unwrap();
        assert_eq!((values.len(), rows.len()), (all, all));
        assert_eq!(written, self.fed, "so many rows were written");
    }
}

fn clock() -> impl Fn() -> i64 + Send + 'static {
    let clock = SystemClock::new();
    move || clock.now()
}

fn has(sink: &SinkHandle) -> usize {
    let stats = sink.stats();
    if stats.settled {
        stats.next_offsets.len()
    } else {
        0
    }
}

/// A sink that is stepped until it is told to end.
fn stepped(mut sink: Sink, stop: Receiver<()>, told: Sender<SinkStats>) -> JoinHandle<SinkStats> {
    std::thread::spawn(move || {
        let now = clock();
        while stop.try_recv().is_err() {
            if !matches!(sink.step(now()).unwrap(), Step::Wrote { .. }) {
                let _ = sink.wait(PAUSE);
            }
            let _ = told.send(sink.stats().clone());
        }
        sink.stats().clone()
    })
}

/// Whether there is what this needs; a suite without it is counted.
fn can_run() -> bool {
    servers::runs("sinks of several instances", &[Kind::Kafka, Kind::Postgres])
}

#[test]
fn three_instances_share_and_what_one_leaves_or_loses_the_others_write_once() {
    if !can_run() {
        return;
    }
    let mut scene = Scene::new("shared", servers::postgres().unwrap());
    let (first, second) = (scene.start("first"), scene.start("second"));
    // The third hangs at one record, between what it has heard from its group and its transaction.
    let (hangs, hanging) = channel();
    let (release, released) = channel::<()>();
    let third = scene.sink("third", move || {
        hangs.send(()).unwrap();
        let _ = released.recv_timeout(LIMIT);
    });
    let (stop, stopped) = channel();
    let (tell, told) = channel();
    let third = stepped(third, stopped, tell);
    let latest = || told.try_iter().last();
    let share = std::cell::RefCell::new(SinkStats::default());
    scene.until("three shares of two", || {
        if let Some(stats) = latest() {
            *share.borrow_mut() = stats;
        }
        let third = share.borrow();
        let third = third.settled.then_some(third.next_offsets.len());
        (has(&first), has(&second), third) == (2, 2, Some(2))
    });

    // One leaves: the two others have its partitions.
    scene.until("rows of the first", || first.stats().rows > 0);
    let first = first.stop(0).unwrap();
    scene.until("two shares of three", || has(&second) == 3);

    // One hangs for so long that its group gives it up, and the last one has all.
    for partition in 0..PARTITIONS {
        scene.send(partition, &format!("{STUCK} {partition}"));
    }
    scene.feeder.commit(1, &[]).unwrap();
    hanging.recv_timeout(LIMIT).unwrap();
    scene.until("one share of six", || has(&second) == 6);
    assert_eq!(second.stats().fenced, 0);
    // It wakes in the middle of its batch: the table refuses it, whatever it believes.
    drop(release);
    scene.until("the refusal", || {
        latest().is_some_and(|stats| stats.fenced > 0)
    });
    scene.until("two shares again", || has(&second) == 3);
    stop.send(()).unwrap();
    let third = third.join().unwrap();
    scene.check(vec![second], &[first, third]);
}

#[test]
fn a_database_that_is_away_for_longer_than_a_member_may_be_silent_costs_no_membership() {
    if !can_run() {
        return;
    }
    let server = Postgres::start(&PostgresOptions::default()).unwrap();
    let mut scene = Scene::new("patient", &server);
    let sinks = [scene.start("first"), scene.start("second")];
    let shares = || [has(&sinks[0]), has(&sinks[1])];
    scene.until("two shares", || shares() == [3, 3]);
    server.stop().unwrap();
    let clock = SystemClock::new();
    scene.until("the end of the outage", || {
        assert_eq!(shares(), [3, 3], "the group took a sink for dead");
        clock.elapsed() > 2 * SILENCE
    });
    assert!(sinks.iter().all(|sink| sink.stats().retries > 0));
    server.restart().unwrap();
    scene.check(Vec::from(sinks), &[]);
}
