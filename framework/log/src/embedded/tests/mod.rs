//! The embedded log under the contract, and what only it can do.
//!
//! Invariant tested: in memory, on disk and reopened at every step it is one and the same log.

mod damage;
mod maintenance;

use super::{EmbeddedLog, Limits};
use crate::{
    api::{Cleanup, Committed, Error, Log, TopicSpec},
    contract::{self, Harness},
    faults::{FaultRates, Faults},
    faulty::FaultyLog,
};
use millstream_core::record::{Headers, Offset, RawRecord, TopicPartition};
use millstream_state::{Backend, MemoryBackend};
use std::{collections::BTreeMap, sync::Arc};

/// Small enough that every test cuts, merges, evicts and reads ahead.
fn small() -> Limits {
    Limits {
        cache_bytes_max: 1_000,
        cache_blocks_max: 4,
        block_bytes_max: 500,
        merge_bytes: 400,
        merge_blocks: 4,
        compact_bytes_min: 1_000,
        compact_trimmed_bytes_min: 1_000,
        compact_keys_bytes_max: 1_000,
        maintain_bytes_max: 5_000,
        read_ahead_bytes: 200,
        ..Limits::default()
    }
}

fn backend() -> Arc<dyn Backend> {
    Arc::new(MemoryBackend::new(&EmbeddedLog::COLUMNS))
}

/// An embedded log; with a backend, one that is opened anew when asked.
struct Embedded {
    log: EmbeddedLog,
    backend: Option<(Arc<dyn Backend>, Limits)>,
}

impl Harness for Embedded {
    fn client(&mut self) -> Box<dyn Log> {
        Box::new(self.log.client())
    }

    fn expire(&mut self, group: &str, member: &str) {
        assert!(self.log.expire(group, member).unwrap());
    }

    fn delete_records(&mut self, partition: &TopicPartition, before: Offset) {
        assert_eq!(self.log.delete_records(partition, before).unwrap(), before);
    }

    fn reopen(&mut self) {
        self.log.maintain(0).unwrap();
        if let Some((backend, limits)) = &self.backend {
            self.log = EmbeddedLog::open_with(Arc::clone(backend), *limits).unwrap();
        }
    }
}

fn on_disk(limits: Limits) -> Embedded {
    let backend = backend();
    let log = EmbeddedLog::open_with(Arc::clone(&backend), limits).unwrap();
    Embedded {
        log,
        backend: Some((backend, limits)),
    }
}

#[test]
fn in_memory_it_keeps_the_contract() {
    contract::run(|| {
        Box::new(Embedded {
            log: EmbeddedLog::in_memory(),
            backend: None,
        })
    });
    let log = || EmbeddedLog::in_memory_with(small());
    contract::run(|| {
        Box::new(Embedded {
            log: log(),
            backend: None,
        })
    });
}

#[test]
fn on_disk_and_reopened_it_keeps_the_contract() {
    contract::run(|| Box::new(on_disk(Limits::default())));
    contract::run(|| Box::new(on_disk(small())));
    let nothing_cached = Limits {
        cache_bytes_max: 0,
        ..small()
    };
    contract::run(|| Box::new(on_disk(nothing_cached)));
}

fn compacted(log: &EmbeddedLog, name: &str) -> TopicPartition {
    let cleanup = Cleanup::Compact {
        delete_retention_ms: 1_000,
    };
    topic(log, name, cleanup)
}

/// A topic of one partition.
fn topic(log: &EmbeddedLog, name: &str, cleanup: Cleanup) -> TopicPartition {
    log.create_topic(&TopicSpec {
        name: name.into(),
        partitions: 1,
        cleanup,
    })
    .unwrap();
    TopicPartition::new(name, 0)
}

fn send(client: &mut dyn Log, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>, time: i64) {
    let record = RawRecord {
        key,
        value,
        timestamp: time,
        headers: &Headers::NONE,
    };
    client.send(topic, Some(0), record).unwrap();
}

/// All offsets, keys and values from the start on.
fn dump(log: &EmbeddedLog, at: &TopicPartition) -> Vec<(Offset, Vec<u8>, Option<Vec<u8>>)> {
    let mut client = log.client();
    let (mut from, mut all) = (client.start(at).unwrap(), Vec::new());
    loop {
        let page = client.read(at, from, 300).unwrap();
        all.extend(page.records.iter().map(|(offset, record)| {
            let key = record.key.unwrap_or_default().to_vec();
            (offset, key, record.value.map(<[u8]>::to_vec))
        }));
        if page.next == page.end {
            return all;
        }
        from = page.next;
    }
}

#[test]
fn a_topic_made_anew_is_another() {
    let harness = on_disk(small());
    let log = &harness.log;
    let at = compacted(log, "table");
    let mut client = log.client();
    let before = client.topic("table").unwrap().unwrap();
    send(&mut client, "table", Some(b"k"), Some(b"v"), 0);
    client
        .commit_as("feeder", 1, &[(at.clone(), Committed::new(7, 1, b""))])
        .unwrap();
    assert_eq!(
        client
            .committed_as("feeder", std::slice::from_ref(&at))
            .unwrap()[0]
            .as_ref()
            .unwrap()
            .offset,
        7
    );
    send(&mut client, "table", Some(b"k"), Some(b"late"), 0);
    log.delete_topic("table").unwrap();
    assert!(matches!(client.commit(2, &[]), Err(Error::UnknownTopic(_))));
    compacted(log, "table");
    assert_ne!(client.topic("table").unwrap().unwrap().id, before.id);
    assert_eq!(
        client
            .committed_as("feeder", std::slice::from_ref(&at))
            .unwrap(),
        [None]
    );
    assert_eq!(dump(log, &at), []);
    send(&mut client, "table", Some(b"k"), Some(b"new"), 0);
    client.commit(3, &[]).unwrap();
    assert_eq!(dump(log, &at).len(), 1);
}

#[test]
fn what_is_too_large_is_refused_with_the_reason() {
    let limits = Limits {
        record_bytes_max: 100,
        transaction_bytes_max: 400,
        ..Limits::default()
    };
    let log = EmbeddedLog::in_memory_with(limits);
    let at = compacted(&log, "table");
    let mut client = log.client();
    let mut refused = |key: Option<&[u8]>, size: usize| {
        let value = vec![0; size];
        let record = RawRecord {
            key,
            value: Some(&value),
            timestamp: 0,
            headers: &Headers::NONE,
        };
        let mut send = || client.send("table", None, record);
        send()
            .and_then(|()| send())
            .and_then(|()| send())
            .unwrap_err()
            .to_string()
    };
    assert!(refused(Some(b"k"), 100).contains("larger than the 100"));
    assert!(refused(Some(b"k"), 99).contains("commit.interval.ms"));
    assert!(refused(None, 1).contains("without a key"));
    assert_eq!(log.client().end(&at).unwrap(), 0);
}

#[test]
fn headers_are_part_of_what_is_too_large() {
    let limits = Limits {
        record_bytes_max: 100,
        transaction_bytes_max: 500,
        ..Limits::default()
    };
    let log = EmbeddedLog::in_memory_with(limits);
    let at = topic(&log, "in", Cleanup::Delete { retention_ms: None });
    let mut client = log.client();
    let mut send = |bytes: usize| {
        let mut headers = Headers::NONE;
        headers.push("h", Some(vec![0; bytes]));
        let record = RawRecord {
            key: None,
            value: None,
            timestamp: 0,
            headers: &headers,
        };
        client
            .send("in", None, record)
            .map_err(|error| error.to_string())
    };
    assert!(send(100).unwrap_err().contains("of 101 bytes for topic in"));
    let sent = (0..10).map(|_| send(99)).take_while(Result::is_ok).count();
    assert_eq!(sent, 3, "and of a transaction");
    client.commit(1, &[]).unwrap();
    // A page has one record at least, and no more than it may.
    let page = client.read(&at, 0, 300).unwrap();
    assert_eq!((page.records.len(), page.next), (1, 1));
}

#[test]
fn corrupt_blocks_are_named() {
    let mut harness = on_disk(small());
    let at = compacted(&harness.log, "table");
    let mut client = harness.log.client();
    send(&mut client, "table", Some(b"k"), Some(b"v"), 0);
    client.commit(1, &[]).unwrap();
    drop(client);
    let (backend, _) = harness.backend.clone().unwrap();
    let blocks = millstream_state::Column(3);
    let mut found = Vec::new();
    let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    backend
        .scan(
            blocks,
            all,
            millstream_state::Direction::Ascending,
            &mut |key, value| {
                found.push((key.to_vec(), value.to_vec()));
                std::ops::ControlFlow::Continue(())
            },
        )
        .unwrap();
    let mut batch = millstream_state::WriteBatch::new();
    found[0].1[15] ^= 1;
    batch.put(blocks, &found[0].0, &found[0].1);
    backend.apply(&batch).unwrap();
    harness.reopen();
    let error = harness
        .log
        .client()
        .read(&at, 0, 1)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("table-0 at offset 0") && error.contains("checksum"),
        "{error}"
    );
}

#[test]
fn a_backend_without_the_columns_is_refused() {
    let backend = Arc::new(MemoryBackend::new(&["log-topics"]));
    let error = EmbeddedLog::open(backend).err().unwrap().to_string();
    assert!(error.contains("log-partitions"), "{error}");
}

#[test]
fn an_unreliable_log_without_faults_keeps_the_contract() {
    struct Faulty(Embedded);
    impl Harness for Faulty {
        fn client(&mut self) -> Box<dyn Log> {
            let faults = Faults::new(0, FaultRates::default());
            Box::new(FaultyLog::new(self.0.log.client(), faults))
        }
        fn expire(&mut self, group: &str, member: &str) {
            self.0.expire(group, member);
        }
        fn delete_records(&mut self, partition: &TopicPartition, before: Offset) {
            self.0.delete_records(partition, before);
        }
    }
    contract::run(|| Box::new(Faulty(on_disk(Limits::default()))));
}

/// Writers, a reader and maintenance at once: the reader sees whole transactions, in order, once.
#[test]
fn threads_see_whole_transactions() {
    const COMMITS: u32 = 300;
    let harness = on_disk(small());
    let log = &harness.log;
    let cleanup = Cleanup::Delete { retention_ms: None };
    log.create_topic(&TopicSpec {
        name: "in".into(),
        partitions: 2,
        cleanup,
    })
    .unwrap();
    let write = |name: u8| {
        let mut client = log.client();
        for commit in 0..COMMITS {
            for partition in [0, 1, 0] {
                let value = [&[name][..], &commit.to_be_bytes()].concat();
                let value = Some(&value[..]);
                let record = RawRecord {
                    key: None,
                    value,
                    timestamp: 0,
                    headers: &Headers::NONE,
                };
                client.send("in", Some(partition), record).unwrap();
            }
            client.commit(u64::from(commit), &[]).unwrap();
            if commit % 16 == 0 {
                log.maintain(0).unwrap();
            }
        }
    };
    let read = |partition: u32, each: usize| {
        let at = TopicPartition::new("in", partition);
        let mut client = log.client();
        let (mut from, mut seen) = (0, BTreeMap::<u8, Vec<u32>>::new());
        while seen.values().map(Vec::len).sum::<usize>() < 2 * each * COMMITS as usize {
            let page = client.read(&at, from, 100).unwrap();
            for (_, record) in page.records.iter() {
                let (name, commit) = record.value.unwrap().split_first().unwrap();
                let commit = u32::from_be_bytes(commit.try_into().unwrap());
                seen.entry(*name).or_default().push(commit);
            }
            if page.next == from {
                client.poll(std::time::Duration::from_secs(1)).unwrap();
            }
            from = page.next;
        }
        let expected: Vec<_> = (0..COMMITS)
            .flat_map(|c| std::iter::repeat_n(c, each))
            .collect();
        assert!(seen.values().all(|commits| *commits == expected));
    };
    std::thread::scope(|scope| {
        for name in [1, 2] {
            scope.spawn(move || write(name));
        }
        scope.spawn(|| read(0, 2));
        scope.spawn(|| read(1, 1));
    });
}
