//! What a case stands on: its harness, its names, and the patience that its log asks for.
//!
//! Invariant: every wait is bounded by that patience, and where a log asks for none, what a case
//! expects must be there when it is asked for the first time.

use super::{Harness, Terms};
use crate::api::{
    Assignment, Cleanup, Committed, Error, Event, Log, Result, Subscription, TaskInputs, TopicInfo,
    TopicSpec,
};
use millstream_core::{
    batch::Records,
    record::{Headers, Offset, RawRecord, TaskId, TopicPartition},
};
use std::time::Duration;

/// How long is waited at a time.
const PAUSE: Duration = Duration::from_millis(20);
/// Events that are there are heard one after another, and no log has so many for one member.
const EVENTS_MAX: usize = 16;

/// What a case is given.
pub struct Stage<'a> {
    pub(super) harness: &'a mut dyn Harness,
    pub(super) terms: Terms,
    input: String,
    output: String,
    pub(super) group: String,
}

/// A client that has joined the group, and what it has been told.
pub(super) struct Member {
    pub(super) client: Box<dyn Log>,
    /// What it has now: what it was asked back it has given back.
    pub(super) has: Assignment,
    /// Whether it has ever been given anything, or told that there is nothing for it.
    pub(super) assigned: bool,
}

impl Member {
    /// A client that has heard nothing yet.
    pub(super) fn new(client: Box<dyn Log>) -> Self {
        Self {
            client,
            has: Assignment::default(),
            assigned: false,
        }
    }

    /// Hears the next event, and does as it says. Whether there was one.
    pub(super) fn hear(&mut self) -> bool {
        match self.client.poll(Duration::ZERO) {
            Ok(Event::Assigned(assignment)) => (self.has, self.assigned) = (assignment, true),
            Ok(Event::Revoked(tasks)) => {
                self.has.active.retain(|task| !tasks.contains(task));
                self.client
                    .acknowledge(&tasks)
                    .expect("an acknowledgement of what was revoked");
            }
            Ok(Event::Ready | Event::Idle) | Err(Error::Retry(_)) => return false,
            other => panic!("a living member hears {other:?}"),
        }
        true
    }
}

impl<'a> Stage<'a> {
    pub(super) fn new(harness: &'a mut dyn Harness) -> Self {
        let [input, output, group] = ["in", "out", "group"].map(|plain| harness.name(plain));
        let terms = harness.terms();
        Self {
            harness,
            terms,
            input,
            output,
            group,
        }
    }

    pub(super) fn client(&mut self) -> Box<dyn Log> {
        self.harness.client()
    }

    /// A partition of the topic that tasks read.
    pub(super) fn input(&self, partition: u32) -> TopicPartition {
        TopicPartition::new(&*self.input, partition)
    }

    /// A partition of the topic that tasks write to.
    pub(super) fn output(&self, partition: u32) -> TopicPartition {
        TopicPartition::new(&*self.output, partition)
    }

    /// Makes the topic of a partition, with so many of them.
    pub(super) fn topic(&mut self, at: &TopicPartition, partitions: u32) -> TopicInfo {
        let mut client = self.client();
        let spec = spec(&at.topic, partitions);
        self.ask(|| client.create_topic(&spec))
    }

    /// Does something until it comes about, and lets time pass in between.
    pub(super) fn patiently<T>(
        &mut self,
        mut attempt: impl FnMut() -> std::result::Result<T, String>,
    ) -> T {
        let until = self.harness.elapsed() + self.terms.patience;
        loop {
            match attempt() {
                Ok(come) => return come,
                Err(why) if self.harness.elapsed() >= until => panic!("{why}"),
                Err(_) => self.harness.wait(PAUSE),
            }
        }
    }

    /// What the log answers when it does not say: not now.
    pub(super) fn told<T>(&mut self, mut call: impl FnMut() -> Result<T>) -> Result<T> {
        self.patiently(|| match call() {
            Err(Error::Retry(why)) => Err(why),
            told => Ok(told),
        })
    }

    /// What the log answers to what must succeed.
    pub(super) fn ask<T>(&mut self, call: impl FnMut() -> Result<T>) -> T {
        self.told(call).expect("an answer")
    }

    pub(super) fn fenced<T: std::fmt::Debug>(&mut self, call: impl FnMut() -> Result<T>) {
        let told = self.told(call);
        assert!(matches!(told, Err(Error::Fenced(_))), "{told:?}");
    }

    pub(super) fn fatal<T: std::fmt::Debug>(&mut self, call: impl FnMut() -> Result<T>) {
        let told = self.told(call);
        assert!(matches!(told, Err(Error::Fatal(_))), "{told:?}");
    }

    /// Adds a record to the client's transaction.
    pub(super) fn send(
        &mut self,
        client: &mut dyn Log,
        at: &TopicPartition,
        record: RawRecord<'_>,
    ) {
        self.ask(|| client.send(&at.topic, Some(at.partition), record));
    }

    /// Waits for an error: a log may have to look before it knows.
    pub(super) fn refused<T>(&mut self, mut call: impl FnMut() -> Result<T>) -> Error {
        self.patiently(|| match call() {
            Err(Error::Retry(why)) => Err(why),
            Err(error) => Ok(error),
            Ok(_) => Err("it is not refused".to_owned()),
        })
    }

    /// Reads from an offset to the partition's end, page by page; the end.
    pub(super) fn pages(
        &mut self,
        client: &mut dyn Log,
        (at, from): (&TopicPartition, Offset),
        bytes: usize,
        mut see: impl FnMut(&Records),
    ) -> Offset {
        let mut next = from;
        self.patiently(|| {
            loop {
                let page = match client.read(at, next, bytes) {
                    Err(Error::Retry(why)) => return Err(why),
                    page => page.expect("a page"),
                };
                see(&page.records);
                assert!((next..=page.end).contains(&page.next), "a page leads on");
                let stood = page.next == next;
                next = page.next;
                if next == page.end {
                    return Ok(next);
                }
                if stood {
                    return Err(format!("{at} has nothing at {next}, before {}", page.end));
                }
            }
        })
    }

    /// The first bytes of all values from an offset on.
    pub(super) fn values(
        &mut self,
        client: &mut dyn Log,
        at: &TopicPartition,
        from: Offset,
    ) -> Vec<u8> {
        let mut values = Vec::new();
        self.pages(client, (at, from), 1 << 20, |records| {
            let records = records.iter();
            values.extend(records.filter_map(|(_, record)| record.value?.first().copied()));
        });
        values
    }

    /// The offsets that records of transactions of so many each have in a partition.
    pub(super) fn offsets(&self, transactions: &[Offset]) -> Vec<Offset> {
        let (mut offsets, mut begin) = (Vec::new(), 0);
        for records in transactions {
            offsets.extend(begin..begin + records);
            begin += records + self.terms.marks;
        }
        offsets
    }

    /// Sends values to one partition and commits them.
    pub(super) fn fill(
        &mut self,
        client: &mut dyn Log,
        at: &TopicPartition,
        values: std::ops::Range<u8>,
    ) {
        for number in values {
            self.send(client, at, value(&[number]));
        }
        self.ask(|| client.commit(0, &[]));
    }

    /// A subscription of the group, with one task per partition of the input.
    pub(super) fn subscription(&self, member: &str, tasks: u32, standbys: usize) -> Subscription {
        let inputs = |number| TaskInputs {
            task: task(number),
            inputs: vec![self.input(number)],
            stateful: true,
        };
        Subscription {
            group: self.group.clone(),
            member: member.into(),
            instance: member.into(),
            server: Some(server(member)),
            tasks: (0..tasks).map(inputs).collect(),
            patterns: false,
            standbys,
        }
    }

    /// A client that has joined as a member of its own instance, and heard nothing yet.
    pub(super) fn join(&mut self, member: &str, tasks: u32, standbys: usize) -> Member {
        let subscription = self.subscription(member, tasks, standbys);
        let mut client = self.client();
        self.ask(|| client.subscribe(subscription.clone()));
        Member::new(client)
    }

    /// A member that has all tasks.
    pub(super) fn alone(&mut self, member: &str, tasks: u32) -> Member {
        let mut member = self.join(member, tasks, 0);
        self.settled(&mut [&mut member], |all| {
            all[0].active.len() == tasks as usize
        });
        let all: Vec<_> = (0..tasks).map(task).collect();
        assert_eq!(member.has.active, all);
        member
    }

    /// Lets members hear what there is until they have what they should. Meanwhile none of them has
    /// a task of another's.
    pub(super) fn settled(
        &mut self,
        members: &mut [&mut Member],
        should: impl Fn(&[&Assignment]) -> bool,
    ) {
        self.patiently(|| {
            let mut quiet = false;
            for _ in 0..EVENTS_MAX {
                quiet = true;
                for number in 0..members.len() {
                    quiet &= !members[number].hear();
                    have_one_owner(members);
                }
                if quiet {
                    break;
                }
            }
            let all: Vec<_> = members.iter().map(|member| &member.has).collect();
            if quiet && should(&all) {
                return Ok(());
            }
            Err(format!("it does not come about: {all:?}"))
        });
    }

    /// Fetches from a member's partition what there is now, which must be these values.
    pub(super) fn fetched(
        &mut self,
        member: &mut Member,
        at: &TopicPartition,
        max: usize,
        values: &[u8],
    ) {
        let mut all = Vec::new();
        self.patiently(|| {
            loop {
                let records = match member.client.fetch(at, max) {
                    Err(Error::Retry(why)) => return Err(why),
                    records => records.expect("a fetch"),
                };
                let Some(records) = records else { break };
                assert!((1..=max).contains(&records.len()));
                let records = records.iter();
                all.extend(records.filter_map(|(_, record)| record.value?.first().copied()));
            }
            if all.len() >= values.len() {
                return Ok(());
            }
            Err(format!("{at} gives {all:?}, and no more"))
        });
        assert_eq!(all, values);
    }
}

/// Where an instance says that it answers.
pub(super) fn server(instance: &str) -> String {
    format!("{instance}.example.com:80")
}

fn have_one_owner(members: &[&mut Member]) {
    let mut all: Vec<_> = (members.iter())
        .flat_map(|member| &member.has.active)
        .collect();
    all.sort_unstable();
    let shared = all.windows(2).any(|two| two[0] == two[1]);
    let has: Vec<_> = members.iter().map(|member| &member.has).collect();
    assert!(!shared, "two members have one task: {has:?}");
}

pub(super) fn spec(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec {
        name: name.into(),
        partitions,
        cleanup: Cleanup::Delete { retention_ms: None },
    }
}

pub(super) fn task(partition: u32) -> TaskId {
    TaskId {
        subtopology: 0,
        partition,
    }
}

pub(super) fn value(bytes: &[u8]) -> RawRecord<'_> {
    RawRecord {
        key: None,
        value: Some(bytes),
        timestamp: 0,
        headers: &Headers::NONE,
    }
}

/// A place with its transaction's number.
pub(super) fn place(
    at: &TopicPartition,
    offset: Offset,
    transaction: u64,
) -> (TopicPartition, Committed) {
    let committed = Committed::new(offset, transaction, b"stream time");
    (at.clone(), committed)
}
