//! Retention, merging and compaction on embedded logs.
//!
//! Invariant tested: maintenance frees storage and changes nothing that a reader may rely on.

use super::{Embedded, compacted, dump, on_disk, send, small, topic};
use crate::{
    api::{Cleanup, Log},
    contract::Harness,
    embedded::{EmbeddedLog, Limits},
    rng::Rng,
};
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

const TRIMMED: Cleanup = Cleanup::CompactDelete {
    delete_retention_ms: 0,
    retention_ms: None,
};

/// With memory for all keys.
fn roomy() -> Limits {
    Limits {
        compact_keys_bytes_max: 1 << 20,
        ..small()
    }
}

impl Compacted {
    fn new(limits: Limits, cleanup: Cleanup) -> Self {
        let log = EmbeddedLog::in_memory_with(limits);
        topic(&log, "rows", cleanup);
        Self(log)
    }

    fn write(&self, keys: std::ops::Range<u32>) -> u64 {
        let mut client = self.0.client();
        for key in keys {
            send(&mut client, "rows", Some(&key.to_be_bytes()), Some(b"1"), 0);
        }
        client.commit(1, &[]).unwrap();
        // More often than the small ones among these logs need.
        let done = (0..200).map(|_| self.0.maintain(0).unwrap().records_compacted);
        done.sum()
    }
}

#[test]
fn where_there_is_little_to_remove_compaction_waits_for_much_more() {
    // Also where the keys are more than one pass can remember.
    for limits in [small(), roomy()] {
        let log = Compacted::new(limits, TRIMMED);
        assert_eq!(log.write(0..100), 0);
        // All of it could go, but not much has come since.
        for _ in 0..4 {
            assert_eq!(log.write(0..100), 0);
        }
        // Sixteen times as much has.
        assert!(log.write(100..1_300) > 0);
        let mut gone = 0;
        for _ in 0..40 {
            gone += log.write(0..100);
        }
        assert!(gone > 2_000, "{gone}");
    }
}

#[test]
fn what_is_cut_off_in_front_too_is_compacted_when_there_is_more_of_it() {
    let limits = Limits {
        compact_trimmed_bytes_min: 64_000,
        ..roomy()
    };
    let kept = Cleanup::Compact {
        delete_retention_ms: 0,
    };
    for (cleanup, rounds) in [(kept, 2), (TRIMMED, 12)] {
        let log = Compacted::new(limits, cleanup);
        let first = (1..40).find(|_| log.write(0..100) > 0).unwrap();
        // A record here is some fifty bytes.
        assert!(
            (rounds..rounds + 4).contains(&first),
            "{cleanup:?}: {first}"
        );
    }
}

#[test]
fn a_compaction_that_was_worth_it_is_made_again_without_a_look_before() {
    let limits = Limits {
        compact_bytes_min: 8_000,
        compact_trimmed_bytes_min: 8_000,
        ..roomy()
    };
    let log = Compacted::new(limits, TRIMMED);
    for _ in 0..3 {
        assert_eq!(log.write(0..50), 0);
    }
    assert_eq!(log.write(0..50), 150);
    // It finds out by itself that nothing goes any more.
    assert_eq!(log.write(1_000..1_200), 0);
    // From then on a look comes first, and then much must come.
    assert_eq!(log.write(2_000..3_000), 0);
    assert_eq!(log.write(2_000..3_000), 0);
}

#[test]
fn what_is_only_compacted_does_not_wait() {
    let compacted = Cleanup::Compact {
        delete_retention_ms: 0,
    };
    let log = Compacted::new(roomy(), compacted);
    assert_eq!(log.write(0..100), 0);
    assert_eq!(log.write(0..100), 100);
    // Also where a pass removed nothing.
    assert_eq!(log.write(100..300), 0);
    assert!(log.write(100..500) >= 200);
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
        let at = topic(&harness.log, "in", cleanup);
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
fn old_records_go_a_bounded_piece_at_a_time() {
    let harness = on_disk(Limits {
        maintain_bytes_max: 500,
        ..small()
    });
    let cleanup = Cleanup::Delete {
        retention_ms: Some(100),
    };
    let at = topic(&harness.log, "in", cleanup);
    let mut client = harness.log.client();
    for _ in 0..100 {
        send(&mut client, "in", None, Some(&[b'x'; 50]), 10);
        client.commit(1, &[]).unwrap();
    }
    let (mut start, mut calls) = (0, 0);
    loop {
        let done = harness.log.maintain(1_000).unwrap();
        let next = client.start(&at).unwrap();
        calls += 1;
        assert!(next >= start && calls < 200, "{next} after {calls} calls");
        start = next;
        if !done.more {
            break;
        }
    }
    assert_eq!(start, 100);
    // 100 blocks of more than 50 bytes, of which a call reads 500.
    assert!(calls > 10, "{calls} calls");
}

/// There is an end to the work, however many blocks lie where it begins.
#[test]
fn records_that_are_not_old_are_no_work() {
    let harness = on_disk(Limits {
        maintain_bytes_max: 500,
        ..small()
    });
    let mut client = harness.log.client();
    for name in (0..20).map(|number| format!("in-{number}")) {
        let cleanup = Cleanup::Delete {
            retention_ms: Some(100),
        };
        topic(&harness.log, &name, cleanup);
        send(&mut client, &name, None, Some(&[b'x'; 50]), 1_000);
        client.commit(1, &[]).unwrap();
    }
    let calls = (0..100).take_while(|_| harness.log.maintain(1_000).unwrap().more);
    assert!(calls.count() < 100, "there is always more to do");
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
        let at = topic(&harness.log, "in", cleanup);
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

#[test]
fn large_blocks_keep_no_small_ones_from_being_merged() {
    let harness = on_disk(small());
    let cleanup = Cleanup::Delete { retention_ms: None };
    let at = topic(&harness.log, "in", cleanup);
    let mut client = harness.log.client();
    let (mut merged, large) = (0, [7; 440]);
    for number in 0..120_u8 {
        let value = if number % 6 == 5 {
            &large[..]
        } else {
            &[number][..]
        };
        send(&mut client, "in", None, Some(value), 0);
        client.commit(1, &[]).unwrap();
        if number % 40 == 39 {
            merged += harness.log.maintain(0).unwrap().blocks_merged;
        }
    }
    let before = dump(&harness.log, &at);
    for _ in 0..20 {
        merged += harness.log.maintain(0).unwrap().blocks_merged;
    }
    // Of five small ones between two large ones the first four become one; the newest blocks are in
    // memory, and left alone.
    assert!(merged >= 4 * 19, "{merged}");
    assert_eq!(dump(&harness.log, &at), before);
}
