//! A copying program on an unreliable log: whatever fails, each record arrives exactly once.
//!
//! Invariant tested: the embedded log and the faults together leave a program that follows the
//! trait's rules no way to lose or double a record, or to change the order in a partition.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

use millstream_core::record::{Headers, Offset, RawRecord, TaskId, TopicPartition};
use millstream_log::{
    Cleanup, Committed, CrashPoint, EmbeddedClient, EmbeddedLog, Error, Event, FaultRates, Faults,
    FaultyLog, Log, Outcome, Rng, Subscription, TaskInputs, TopicSpec,
};
use millstream_state::MemoryBackend;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const PARTITIONS: u32 = 5;
const RECORDS: u32 = 300;

fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

/// One process with one member that copies topic `in` to topic `out`, partition by partition.
struct Worker {
    name: String,
    faults: Faults,
    log: FaultyLog<EmbeddedClient>,
    transaction: u64,
    subscribed: bool,
    /// The next record of each partition it owns; `None` before it asked for the group's place.
    places: BTreeMap<u32, Option<Offset>>,
    revoked: Vec<TaskId>,
}

impl Worker {
    fn new(log: &EmbeddedLog, name: &str, faults: Faults) -> Self {
        Self {
            name: name.into(),
            log: FaultyLog::new(log.client(), faults.clone()),
            faults,
            transaction: 0,
            subscribed: false,
            places: BTreeMap::new(),
            revoked: Vec::new(),
        }
    }

    fn subscription(&self) -> Subscription {
        let inputs = |partition| TaskInputs {
            task: TaskId {
                subtopology: 0,
                partition,
            },
            inputs: vec![at("in", partition)],
            stateful: true,
        };
        Subscription {
            group: "copy".into(),
            member: self.name.clone(),
            instance: self.name.clone(),
            server: None,
            tasks: (0..PARTITIONS).map(inputs).collect(),
            patterns: false,
            standbys: 1,
        }
    }

    /// One turn of its loop; what it cannot go on from is an error.
    fn turn(&mut self) -> Result<(), Error> {
        match self.work() {
            Ok(()) | Err(Error::Retry(_)) => Ok(()),
            Err(Error::Fenced(_)) => {
                self.places.clear();
                self.log.abort()
            }
            Err(error) => Err(error),
        }
    }

    fn work(&mut self) -> Result<(), Error> {
        if !self.subscribed {
            self.log.subscribe(self.subscription())?;
            self.subscribed = true;
        }
        if !self.revoked.is_empty() {
            self.log.acknowledge(&self.revoked)?;
            self.revoked.clear();
        }
        match self.log.poll(Duration::ZERO)? {
            Event::Assigned(assignment) => {
                let owned = |task: &TaskId| (task.partition, self.places.get(&task.partition));
                let owned = assignment.active.iter().map(owned);
                self.places = owned
                    .map(|(key, place)| (key, place.copied().flatten()))
                    .collect();
            }
            Event::Revoked(tasks) => {
                self.places
                    .retain(|partition, _| tasks.iter().all(|t| t.partition != *partition));
                self.revoked = tasks;
            }
            Event::Lost => {
                self.places.clear();
                self.revoked.clear();
                self.subscribed = false;
            }
            Event::Ready | Event::Idle => self.copy()?,
        }
        Ok(())
    }

    fn copy(&mut self) -> Result<(), Error> {
        let mut next = self.places.clone();
        for (partition, place) in &mut next {
            let input = at("in", *partition);
            if place.is_none() {
                let found = self.log.committed(std::slice::from_ref(&input))?;
                let offset = found[0].as_ref().map_or(0, |place| place.offset);
                // Numbers go on above those found, or a place could seem to be of this commit.
                let number = found[0].as_ref().and_then(Committed::transaction);
                self.transaction = self.transaction.max(number.unwrap_or_default());
                self.log.seek(&input, offset)?;
                *place = Some(offset);
                self.places.insert(*partition, *place);
            }
        }
        let read = self.send(&mut next);
        let done = read.and_then(|()| self.commit(&next));
        match done {
            Ok(true) => self.places = next,
            Ok(false) => self.rewind()?,
            Err(Error::Retry(why)) => {
                self.rewind()?;
                return Err(Error::Retry(why));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn send(&mut self, next: &mut BTreeMap<u32, Option<Offset>>) -> Result<(), Error> {
        for (partition, place) in next {
            let Some(records) = self.log.fetch(&at("in", *partition), 7)? else {
                continue;
            };
            for (offset, record) in records.iter() {
                assert_eq!(Some(offset), *place, "it reads on where it was");
                self.log.send("out", Some(*partition), record)?;
                *place = Some(offset + 1);
            }
        }
        Ok(())
    }

    /// Whether the transaction is in the log.
    fn commit(&mut self, next: &BTreeMap<u32, Option<Offset>>) -> Result<bool, Error> {
        self.transaction += 1;
        let number = self.transaction;
        let name = self.name.as_bytes();
        let place = |(partition, place): (&u32, &Option<Offset>)| {
            let offset = (*place)?;
            Some((at("in", *partition), Committed::new(offset, number, name)))
        };
        let places: Vec<_> = next.iter().filter_map(place).collect();
        match self.log.commit(number, &places) {
            Err(Error::UnknownOutcome(_)) => {}
            result => return result.map(|_| true),
        }
        loop {
            match self.log.resolve(number, &places) {
                Err(Error::Retry(_)) => {}
                result => return result.map(|outcome| outcome != Outcome::Aborted),
            }
        }
    }

    fn rewind(&mut self) -> Result<(), Error> {
        self.log.abort()?;
        for (partition, place) in &self.places {
            if let Some(place) = place {
                self.log.seek(&at("in", *partition), *place)?;
            }
        }
        Ok(())
    }
}

fn feed(log: &EmbeddedLog) {
    let cleanup = Cleanup::Delete { retention_ms: None };
    for name in ["in", "out"] {
        let spec = TopicSpec {
            name: name.into(),
            partitions: PARTITIONS,
            cleanup,
        };
        log.create_topic(&spec).unwrap();
    }
    let mut client = log.client();
    for number in 0..RECORDS {
        let key = number.to_be_bytes();
        let (key, timestamp) = (Some(&key[..]), i64::from(number));
        let record = RawRecord {
            key,
            value: None,
            timestamp,
            headers: &Headers::NONE,
        };
        client.send("in", None, record).unwrap();
    }
    client.commit(1, &[]).unwrap();
}

fn dump(log: &EmbeddedLog, topic: &str) -> Vec<(u32, i64)> {
    let mut client = log.client();
    let mut all = Vec::new();
    for partition in 0..PARTITIONS {
        let mut from = 0;
        while from < client.end(&at(topic, partition)).unwrap() {
            let page = client.read(&at(topic, partition), from, 1_000).unwrap();
            all.extend(
                page.records
                    .iter()
                    .map(|(_, record)| (partition, record.timestamp)),
            );
            from = page.next;
        }
    }
    all
}

/// Runs three processes until everything is copied; how often each fault struck.
fn simulate(seed: u64, rates: FaultRates) -> [u64; 6] {
    let mut rng = Rng::new(seed);
    let backend = Arc::new(MemoryBackend::new(&EmbeddedLog::COLUMNS));
    let log = EmbeddedLog::open(backend).unwrap();
    feed(&log);
    let worker = |name: usize, rng: &mut Rng| {
        Worker::new(
            &log,
            &format!("w{name}"),
            Faults::new(rng.next_u64(), rates),
        )
    };
    let mut workers: Vec<_> = (0..3).map(|name| worker(name, &mut rng)).collect();
    let mut struck = [0; 6];
    let mut turns = 0;
    while dump(&log, "out").len() < RECORDS as usize {
        turns += 1;
        assert!(turns < 10_000, "seed {seed} never ends");
        let index = rng.index(workers.len());
        if rng.chance(0.01) {
            log.expire("copy", &workers[index].name).unwrap();
        }
        if let Err(error) = workers[index].turn() {
            assert!(Faults::is_crash(&error), "seed {seed}: {error}");
            count(&workers[index].faults, &mut struck);
            workers[index] = worker(index, &mut rng);
        }
    }
    workers
        .iter()
        .for_each(|worker| count(&worker.faults, &mut struck));
    assert_eq!(dump(&log, "out"), dump(&log, "in"), "seed {seed}");
    struck
}

fn count(faults: &Faults, struck: &mut [u64; 6]) {
    let counts = faults.counts();
    let all = [
        counts.delays,
        counts.retries,
        counts.fences,
        counts.unknown_committed,
        counts.unknown_aborted,
        counts.crashes,
    ];
    struck
        .iter_mut()
        .zip(all)
        .for_each(|(sum, count)| *sum += count);
}

#[test]
fn every_record_is_copied_exactly_once() {
    let rates = FaultRates {
        delay: 0.1,
        retry: 0.05,
        fence: 0.05,
        unknown: 0.2,
        crash: 0.02,
    };
    let mut struck = [0; 6];
    for seed in 0..60 {
        let counts = simulate(seed, rates);
        struck
            .iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
    }
    assert!(
        struck.iter().all(|count| *count > 20),
        "some fault never struck: {struck:?}"
    );
}

#[test]
fn without_faults_none_strikes() {
    assert_eq!(simulate(1, FaultRates::default()), [0; 6]);
}

#[test]
fn a_seed_is_a_run() {
    let rates = FaultRates {
        retry: 0.2,
        crash: 0.05,
        ..FaultRates::default()
    };
    assert_eq!(simulate(5, rates), simulate(5, rates));
}

#[test]
fn a_planned_crash_strikes_at_its_place_and_nothing_lives_after() {
    let places = [
        (CrashPoint::BeforeSend, 0),
        (CrashPoint::BetweenSends, 0),
        (CrashPoint::BeforeCommit, 0),
        (CrashPoint::AfterCommit, 3),
    ];
    for (point, visible) in places {
        let log = EmbeddedLog::in_memory();
        let cleanup = Cleanup::Delete { retention_ms: None };
        let spec = TopicSpec {
            name: "out".into(),
            partitions: 1,
            cleanup,
        };
        log.create_topic(&spec).unwrap();
        let faults = Faults::new(0, FaultRates::default());
        let mut client = FaultyLog::new(log.client(), faults.clone());
        faults.crash_at(point, 1);
        let mut attempt = || {
            for _ in 0..3 {
                let (key, value) = (None, None);
                let record = RawRecord {
                    key,
                    value,
                    timestamp: 0,
                    headers: &Headers::NONE,
                };
                client.send("out", Some(0), record)?;
            }
            client.commit(1, &[])
        };
        let error = attempt().unwrap_err();
        assert!(Faults::is_crash(&error) && error.to_string().contains(&format!("{point:?}")));
        assert!(faults.crashed() && Faults::is_crash(&client.abort().unwrap_err()));
        assert_eq!(
            log.client().end(&at("out", 0)).unwrap(),
            visible,
            "{point:?}"
        );
        faults.restart();
        client.abort().unwrap();
        assert_eq!(faults.counts().crashes, 1);
    }
}

#[test]
fn an_unknown_outcome_must_be_asked_for_first() {
    let log = EmbeddedLog::in_memory();
    let rates = FaultRates {
        unknown: 1.0,
        ..FaultRates::default()
    };
    let mut client = FaultyLog::new(log.client(), Faults::new(0, rates));
    assert!(matches!(
        client.commit(1, &[]),
        Err(Error::UnknownOutcome(_))
    ));
    assert!(matches!(client.commit(2, &[]), Err(Error::Fatal(_))));
    client.resolve(1, &[]).unwrap();
    assert!(matches!(
        client.commit(2, &[]),
        Err(Error::UnknownOutcome(_))
    ));
}
