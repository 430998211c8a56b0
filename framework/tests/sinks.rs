//! Two instances of a program on one log, with one table: they share what is to be written.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod common;

use common::{COUNTS, LINES, feed, settings, topology, until};
use millstream::{
    Node, Program,
    log::{Cleanup, EmbeddedLog, TopicSpec},
    sink::{Location, Reader, Sink, SinkConfig, Table, row},
};
use std::{cell::RefCell, path::Path, sync::Arc};

const PARTITIONS: u32 = 4;

struct Count {
    word: String,
    count: i64,
}
row!(Count { word, count });
const TABLE: Table<Count> = Table::new("counts");

fn start(dir: &Path, log: &EmbeddedLog, location: &Location) -> Node {
    // Every change of a count is to be a record.
    let config = settings(dir, &["statestore.cache.max.bytes=0"]).unwrap();
    let program = Program::open_on(topology(), config, Arc::new(log.clone())).unwrap();
    let client = program.log().client().unwrap();
    let config = SinkConfig::default();
    let sink = Sink::new(client, COUNTS, TABLE, location, config, |word, count, _| {
        Count {
            word: word.clone(),
            count: count.unwrap_or(0).cast_signed(),
        }
    });
    let sink = sink.unwrap();
    let mut node = program.start().unwrap();
    node.attach(sink).unwrap();
    node
}

/// How many partitions the node's sink has, once it has them all.
fn share(node: &Node) -> Option<usize> {
    let stats = node.sinks()[0].stats();
    stats.settled.then_some(stats.next_offsets.len())
}

#[test]
fn two_instances_share_a_table_and_the_one_that_is_left_writes_all() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let location = Location::sqlite(dirs[2].path().join("counts.db"));
    let log = EmbeddedLog::in_memory();
    for name in [LINES.name, COUNTS.name] {
        let spec = TopicSpec {
            name: name.to_owned(),
            partitions: PARTITIONS,
            cleanup: Cleanup::Delete { retention_ms: None },
        };
        log.create_topic(&spec).unwrap();
    }
    let first = start(dirs[0].path(), &log, &location);
    let second = start(dirs[1].path(), &log, &location);
    until(&first, "two shares", || {
        (share(&first), share(&second)) == (Some(2), Some(2))
    });
    let lines: Vec<_> = (0..200)
        .map(|number| format!("word{number} more"))
        .collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    feed(&log, &lines[..100]);
    let reader = RefCell::new(Reader::open(&location).unwrap());
    // Each line changes two counts, and each change is a record and a row.
    let rows = || reader.borrow_mut().count("counts").unwrap();
    until(&first, "the first half", || rows() == 200);
    let written = |node: &Node| node.sinks()[0].stats().rows;
    until(&first, "what each counts", || {
        written(&first) + written(&second) == 200
    });
    assert!(written(&first) > 0 && written(&second) > 0);

    let by_second = written(&second);
    second.close().unwrap();
    feed(&log, &lines);
    until(&first, "the rest", || rows() == 400);
    until(&first, "all partitions", || share(&first) == Some(4));
    assert_eq!(written(&first) + by_second, 400);
    first.close().unwrap();
}
