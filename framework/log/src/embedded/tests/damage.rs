//! Maintenance of embedded logs of which blocks cannot be read.
//!
//! Invariant tested: nothing is deleted for what such a block says, nothing else waits for it, and
//! whoever maintains the log is told.

use super::{Embedded, compacted, dump, on_disk, send, small, topic};
use crate::{
    api::{Cleanup, Log},
    embedded::{EmbeddedLog, Limits},
};
use millstream_core::record::TopicPartition;
use millstream_state::{Backend, Column, Direction, WriteBatch};
use std::ops::{Bound, ControlFlow};

/// The blocks of all partitions on disk, by their keys.
fn blocks(backend: &dyn Backend) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut blocks, all) = (Vec::new(), (Bound::Unbounded, Bound::Unbounded));
    backend
        .scan(Column(3), all, Direction::Ascending, &mut |key, block| {
            blocks.push((key.to_vec(), block.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    blocks
}

#[test]
fn a_block_that_cannot_be_read_stops_the_maintenance_of_its_partition_only() {
    let mut harness = on_disk(small());
    let kept = Cleanup::Delete {
        retention_ms: Some(100),
    };
    let tables = ["a", "b", "c"].map(|name| compacted(&harness.log, name));
    let old = topic(&harness.log, "old", kept);
    let mut client = harness.log.client();
    for round in 0..40_u8 {
        for table in &tables {
            send(
                &mut client,
                &table.topic,
                Some(b"hot"),
                Some(&[round; 20]),
                0,
            );
        }
        send(&mut client, "old", None, Some(b"x"), 0);
        client.commit(1, &[]).unwrap();
    }
    drop(client);
    let (backend, limits) = harness.backend.clone().unwrap();
    harness.log = EmbeddedLog::open_with(backend.clone(), limits).unwrap();
    let sound = blocks(&*backend);
    assert_eq!(
        &sound[5].0[..8],
        &sound[0].0[..8],
        "it is of the first topic"
    );
    let write = |change: u8| {
        let (key, mut block) = sound[5].clone();
        *block.last_mut().unwrap() ^= change;
        let mut batch = WriteBatch::new();
        batch.put(Column(3), &key, &block);
        backend.apply(&batch).unwrap();
    };
    write(1);

    let maintain = |now| -> Vec<String> {
        let done = (0..50).map(|_| harness.log.maintain(now));
        done.filter_map(|done| Some(done.err()?.to_string()))
            .collect()
    };
    let told = maintain(1_000);
    assert!(
        told.len() == 1 && told[0].contains("the block of a-0"),
        "{told:?}"
    );
    for table in &tables[1..] {
        assert_eq!(dump(&harness.log, table).len(), 1, "{table}");
    }
    assert_eq!(dump(&harness.log, &old), []);
    // It is looked at again after a while, also where the clock was put back, and then it is told.
    assert_eq!(maintain(60_999), [""; 0]);
    assert_eq!(maintain(61_000).len(), 1);
    assert_eq!(maintain(500).len(), 1);
    // Whoever mends the block mends it all.
    write(0);
    assert_eq!(maintain(60_500), [""; 0]);
    assert_eq!(dump(&harness.log, &tables[0]).len(), 1);
}

/// A log on a disk with a topic "in" of four blocks, a record each, of which the first is of the
/// time 10 and the others of 1,000; some are damaged so that they seem to hold old records up to
/// far behind the end.
fn damaged(cleanup: Cleanup, places: &[usize]) -> (Embedded, TopicPartition) {
    let limits = Limits {
        merge_blocks: 100,
        ..small()
    };
    let mut harness = on_disk(limits);
    let at = topic(&harness.log, "in", cleanup);
    let mut client = harness.log.client();
    for time in [10, 1_000, 1_000, 1_000] {
        send(&mut client, "in", None, Some(b"x"), time);
        client.commit(1, &[]).unwrap();
    }
    drop(client);
    let (backend, limits) = harness.backend.clone().unwrap();
    harness.log = EmbeddedLog::open_with(backend.clone(), limits).unwrap();
    let sound = blocks(&*backend);
    let mut batch = WriteBatch::new();
    for place in places {
        let mut block = sound[0].1.clone();
        // How many offsets it covers: what the checksum is of begins there.
        assert_eq!(std::mem::replace(&mut block[9], 100), 1);
        batch.put(Column(3), &sound[*place].0, &block);
    }
    backend.apply(&batch).unwrap();
    (harness, at)
}

/// The offsets at which the blocks on a log's disk begin.
fn bases(harness: &Embedded) -> Vec<i64> {
    let (backend, _) = harness.backend.as_ref().unwrap();
    let blocks = blocks(&**backend);
    let base = |key: &[u8]| i64::from_be_bytes(*key.last_chunk().unwrap());
    blocks.iter().map(|(key, _)| base(key)).collect()
}

#[test]
fn what_a_damaged_block_says_of_itself_deletes_nothing() {
    let cleanup = Cleanup::Delete {
        retention_ms: Some(100),
    };
    let (harness, at) = damaged(cleanup, &[1]);
    let told = harness.log.maintain(1_050).unwrap_err().to_string();
    assert!(told.contains("the block of in-0 at offset 1"), "{told}");
    // What is in front of it has gone all the same.
    assert_eq!(harness.log.client().start(&at).unwrap(), 1);
    assert_eq!(bases(&harness), [1, 2, 3]);
    // Nobody can read it, and what was written behind it is old.
    let done = harness.log.maintain(100_000).unwrap();
    assert_eq!(harness.log.client().start(&at).unwrap(), 4);
    assert_eq!((done.blocks_dropped, bases(&harness)), (3, vec![]));
}

#[test]
fn a_damaged_block_goes_with_those_around_it() {
    let (harness, at) = damaged(Cleanup::Delete { retention_ms: None }, &[1, 3]);
    for (before, left) in [(1, &[1, 2, 3][..]), (2, &[2, 3]), (3, &[3])] {
        harness.log.delete_records(&at, before).unwrap();
        // It comes to a damaged one when it looks for blocks to merge.
        harness.log.maintain(before * 60_000).unwrap_err();
        assert_eq!(bases(&harness), left);
    }
    harness.log.delete_records(&at, 4).unwrap();
    assert_eq!(harness.log.maintain(240_000).unwrap().blocks_dropped, 1);
    assert!(bases(&harness).is_empty());
}
