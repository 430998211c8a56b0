//! What every [`Log`] must do, as cases to run on any of them.
//!
//! Invariant: the cases use nothing but the trait and the few things that a [`Harness`] can do to a
//! log from outside, so that a log that passes can replace any other.
//!
//! The cases assert, and so panic where a log breaks the contract: they are for tests.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a case that fails panics, as tests do, and takes results whole to look at them"
)]

mod groups;
mod records;
mod topics;

use crate::api::{
    Assignment, Cleanup, Committed, Event, Log, Subscription, TaskInputs, TopicInfo, TopicSpec,
};
use millstream_core::record::{Headers, Offset, RawRecord, TaskId, TopicPartition};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// A fresh log, and what can be done to it from outside.
pub trait Harness {
    /// Another client of the log.
    fn client(&mut self) -> Box<dyn Log>;

    /// Throws a member out of its group, as a log does with one that it no longer hears of.
    fn expire(&mut self, group: &str, member: &str);

    /// Deletes the records of a partition below an offset.
    fn delete_records(&mut self, partition: &TopicPartition, before: Offset);

    /// Closes the log and opens it again, where it can be. All clients were dropped before.
    fn reopen(&mut self) {}
}

/// One demand of the contract.
pub type Case = fn(&mut dyn Harness);

/// All demands with their names.
pub const CASES: &[(&str, Case)] = &[
    ("a topic made twice is one topic", topics::made_twice),
    (
        "a topic made differently is refused",
        topics::made_differently,
    ),
    ("unknown topics and partitions are named", topics::unknown),
    (
        "keys choose their partition as in Kafka",
        topics::partitioner,
    ),
    ("null keys go round", topics::round_robin),
    ("a commit is visible at once and whole", records::atomic),
    ("an abort leaves nothing", records::abort),
    ("offsets are dense and order is kept", records::dense),
    ("records come back as they were sent", records::faithful),
    ("pages lead to the end", records::pages),
    ("deleted records are out of range", records::deleted),
    (
        "a compacted topic can be cut off in front",
        records::trimmed,
    ),
    ("offsets are found by time", records::by_time),
    ("a tail is told of news", records::tail),
    ("places come back", groups::places),
    ("a member fetches from its place on", groups::fetch),
    ("a poll without news ends idle", groups::idle),
    (
        "a commit needs a subscription for places",
        groups::no_subscription,
    ),
    ("two members share the tasks", groups::share),
    ("a revoked task waits for its owner", groups::revoke),
    ("a zombie is fenced", groups::zombie),
    (
        "a second client of a name fences the first",
        groups::same_name,
    ),
    ("a dropped client's tasks move at once", groups::dropped),
    (
        "standbys live on other instances and take over",
        groups::standbys,
    ),
    ("members must agree on the tasks", groups::disagree),
    ("a lost answer can be asked for", groups::resolve),
];

/// Runs all cases, each on a log of its own.
pub fn run(mut make: impl FnMut() -> Box<dyn Harness>) {
    for (name, case) in CASES {
        let mut harness = make();
        // The name is in the message of whatever assertion fails below.
        let ran = catch_unwind(AssertUnwindSafe(|| case(&mut *harness)));
        assert!(
            ran.is_ok(),
            "the contract's case {name} failed, as told above"
        );
    }
}

/// Nothing to wait for: what a case expects has happened.
const NOW: Duration = Duration::ZERO;

fn spec(name: &str, partitions: u32) -> TopicSpec {
    let cleanup = Cleanup::Delete { retention_ms: None };
    TopicSpec {
        name: name.into(),
        partitions,
        cleanup,
    }
}

fn topic(client: &mut dyn Log, name: &str, partitions: u32) -> TopicInfo {
    client
        .create_topic(&spec(name, partitions))
        .expect("a topic is made")
}

fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn task(partition: u32) -> TaskId {
    TaskId {
        subtopology: 0,
        partition,
    }
}

fn value(bytes: &[u8]) -> RawRecord<'_> {
    RawRecord {
        key: None,
        value: Some(bytes),
        timestamp: 0,
        headers: &Headers::NONE,
    }
}

/// Sends values to one partition and commits them.
fn fill(client: &mut dyn Log, partition: &TopicPartition, values: std::ops::Range<u8>) {
    for number in values {
        client
            .send(
                &partition.topic,
                Some(partition.partition),
                value(&[number]),
            )
            .expect("a record is sent");
    }
    client.commit(0, &[]).expect("a commit without places");
}

/// The first bytes of all values from an offset on, read page by page.
fn values(client: &mut dyn Log, partition: &TopicPartition, mut from: Offset) -> Vec<u8> {
    let mut values = Vec::new();
    loop {
        let page = client.read(partition, from, 1 << 20).expect("a page");
        values.extend(
            page.records
                .iter()
                .filter_map(|(_, record)| record.value?.first().copied()),
        );
        assert!(page.next > from || page.next == page.end, "a page leads on");
        if page.next == page.end {
            return values;
        }
        from = page.next;
    }
}

/// A subscription of a group with one task per partition of topic `in`.
fn subscription(member: &str, instance: &str, tasks: u32, standbys: usize) -> Subscription {
    let inputs = |number| TaskInputs {
        task: task(number),
        inputs: vec![at("in", number)],
        stateful: true,
    };
    Subscription {
        group: "group".into(),
        member: member.into(),
        instance: instance.into(),
        tasks: (0..tasks).map(inputs).collect(),
        patterns: false,
        standbys,
    }
}

/// A client that has joined as a member of its own instance, and not polled yet.
fn join(harness: &mut dyn Harness, member: &str, tasks: u32) -> Box<dyn Log> {
    let mut client = harness.client();
    client
        .subscribe(subscription(member, member, tasks, 0))
        .expect("a subscription");
    client
}

/// The assignment that the next event must be.
fn assigned(client: &mut dyn Log) -> Assignment {
    match client.poll(NOW) {
        Ok(Event::Assigned(assignment)) => assignment,
        other => panic!("an assignment was due, not {other:?}"),
    }
}

/// A place with its transaction's number.
fn place(
    partition: &TopicPartition,
    offset: Offset,
    transaction: u64,
) -> (TopicPartition, Committed) {
    (
        partition.clone(),
        Committed::new(offset, transaction, b"stream time"),
    )
}
