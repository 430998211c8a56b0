//! Retention, merging and compaction on embedded logs.
//!
//! Invariant tested: maintenance frees storage and changes nothing that a reader may rely on.

use super::{Embedded, compacted, dump, on_disk, send, small};
use crate::{
    api::{Cleanup, Log, TopicSpec},
    contract::Harness,
    embedded::{EmbeddedLog, Limits},
    rng::Rng,
};
use millstream_core::record::TopicPartition;
use std::collections::BTreeMap;

/// Random writes, tombstones, compaction, reopening: the table read from the front is always that
/// of a map, offsets only grow, and a compacted log is not larger than what it says.
fn compaction_keeps_the_table(seed: u64, mut harness: Embedded) {
    let mut rng = Rng::new(seed);
    let at = compacted(&harness.log, "table");
    let (mut table, mut now, mut compacted) = (BTreeMap::new(), 0, 0);
    for round in 0..60_u32 {
        let mut client = harness.log.client();
        for _ in 0..=rng.below(20) {
            let key = [u8::try_from(rng.below(25)).unwrap()];
            let value = round.to_be_bytes();
            let value = (!rng.chance(0.2)).then_some(&value[..]);
            send(&mut client, "table", Some(&key), value, 0);
            table.insert(key.to_vec(), value.map(<[u8]>::to_vec));
        }
        client.commit(1, &[]).unwrap();
        drop(client);
        now += 300;
        for _ in 0..rng.below(3) {
            compacted += harness.log.maintain(now).unwrap().records_compacted;
        }
        if rng.chance(0.2) {
            harness.reopen();
        }
        let all = dump(&harness.log, &at);
        assert!(
            all.is_sorted_by(|one, other| one.0 < other.0),
            "seed {seed}"
        );
        let read: BTreeMap<_, _> = all
            .into_iter()
            .map(|(_, key, value)| (key, value))
            .collect();
        let living = |table: &BTreeMap<Vec<u8>, Option<Vec<u8>>>| -> Vec<_> {
            table
                .iter()
                .filter(|(_, value)| value.is_some())
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect()
        };
        assert_eq!(living(&read), living(&table), "seed {seed}, round {round}");
    }
    assert!(
        compacted > 100,
        "seed {seed}: only {compacted} records were compacted"
    );
}

#[test]
fn a_compacted_topic_is_the_table_it_stands_for() {
    for seed in 0..20 {
        let log = EmbeddedLog::in_memory_with(small());
        compaction_keeps_the_table(seed, Embedded { log, backend: None });
        compaction_keeps_the_table(seed, on_disk(small()));
    }
}

#[test]
fn tombstones_stay_for_their_time_and_then_go() {
    for mut harness in [
        Embedded {
            log: EmbeddedLog::in_memory_with(small()),
            backend: None,
        },
        on_disk(small()),
    ] {
        let at = compacted(&harness.log, "table");
        let churn = |log: &EmbeddedLog, now| {
            let mut client = log.client();
            for _ in 0..30 {
                send(&mut client, "table", Some(b"hot"), Some(b"value"), 0);
            }
            client.commit(1, &[]).unwrap();
            while log.maintain(now).unwrap().more {}
        };
        let mut client = harness.log.client();
        send(&mut client, "table", Some(b"gone"), Some(b"x"), 0);
        send(&mut client, "table", Some(b"gone"), None, 0);
        client.commit(1, &[]).unwrap();
        drop(client);
        let tombstone = |log: &EmbeddedLog| dump(log, &at).iter().any(|(_, key, _)| key == b"gone");
        churn(&harness.log, 10_000);
        assert!(dump(&harness.log, &at).len() < 5, "it was compacted");
        churn(&harness.log, 10_900);
        harness.reopen();
        assert!(tombstone(&harness.log), "its time has not come");
        churn(&harness.log, 12_000);
        assert!(!tombstone(&harness.log), "its time has come");
        assert_eq!(dump(&harness.log, &at).len(), 1);
    }
}

/// A log with one topic that is compacted, and perhaps cut off in front too; what is written there
/// are records with these keys, and then it is maintained: how many records went.
struct Compacted(EmbeddedLog);

impl Compacted {
    fn new(cleanup: Cleanup) -> Self {
        let limits = Limits {
            compact_keys_bytes_max: 1 << 20,
            ..small()
        };
        let log = EmbeddedLog::in_memory_with(limits);
        let spec = TopicSpec {
            name: "rows".to_owned(),
            partitions: 1,
            cleanup,
        };
        log.create_topic(&spec).unwrap();
        Self(log)
    }

    fn write(&self, keys: std::ops::Range<u32>) -> u64 {
        let mut client = self.0.client();
        for key in keys {
            send(&mut client, "rows", Some(&key.to_be_bytes()), Some(b"1"), 0);
        }
        client.commit(1, &[]).unwrap();
        let (mut gone, mut more) = (0, true);
        while more {
            let done = self.0.maintain(0).unwrap();
            (gone, more) = (gone + done.records_compacted, done.more);
        }
        gone
    }
}

#[test]
fn where_there_is_little_to_remove_compaction_waits_for_much_more() {
    let log = Compacted::new(Cleanup::CompactDelete {
        delete_retention_ms: 0,
        retention_ms: None,
    });
    assert_eq!(log.write(0..100), 0);
    // All of it could go, but not much has come since.
    assert_eq!(log.write(0..100), 0);
    assert_eq!(log.write(0..100), 0);
    // Sixteen times as much has.
    assert_eq!(log.write(100..1_400), 200);
    // That was an eighth, and so worth it: what comes next need not be as much.
    assert_eq!(log.write(0..1_400), 1_400);
}

#[test]
fn what_is_only_compacted_does_not_wait() {
    let log = Compacted::new(Cleanup::Compact {
        delete_retention_ms: 0,
    });
    assert_eq!(log.write(0..100), 0);
    assert_eq!(log.write(0..100), 100);
}

#[test]
fn retention_drops_what_is_older() {
    for harness in [
        Embedded {
            log: EmbeddedLog::in_memory(),
            backend: None,
        },
        on_disk(small()),
    ] {
        let cleanup = Cleanup::Delete {
            retention_ms: Some(100),
        };
        let spec = TopicSpec {
            name: "in".into(),
            partitions: 1,
            cleanup,
        };
        harness.log.create_topic(&spec).unwrap();
        let at = TopicPartition::new("in", 0);
        let mut client = harness.log.client();
        for time in [10, 20, 30, 500] {
            send(&mut client, "in", None, Some(b"x"), time);
            client.commit(1, &[]).unwrap();
        }
        let done = harness.log.maintain(125).unwrap();
        assert_eq!((client.start(&at).unwrap(), done.blocks_dropped), (2, 2));
        assert_eq!(dump(&harness.log, &at).len(), 2);
        harness.log.maintain(1_000).unwrap();
        assert_eq!(
            (client.start(&at).unwrap(), client.end(&at).unwrap()),
            (4, 4)
        );
    }
}

#[test]
fn small_blocks_become_large_ones_and_say_the_same() {
    for harness in [
        Embedded {
            log: EmbeddedLog::in_memory_with(small()),
            backend: None,
        },
        on_disk(small()),
    ] {
        let cleanup = Cleanup::Delete { retention_ms: None };
        let spec = TopicSpec {
            name: "in".into(),
            partitions: 1,
            cleanup,
        };
        harness.log.create_topic(&spec).unwrap();
        let at = TopicPartition::new("in", 0);
        let mut client = harness.log.client();
        for number in 0..100_u8 {
            send(&mut client, "in", None, Some(&[number]), 0);
            client.commit(1, &[]).unwrap();
        }
        let before = dump(&harness.log, &at);
        let mut merged = 0;
        for _ in 0..10 {
            merged += harness.log.maintain(0).unwrap().blocks_merged;
        }
        assert!(merged > 80, "{merged}");
        assert_eq!(dump(&harness.log, &at), before);
    }
}
