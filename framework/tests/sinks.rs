//! Two instances of a program on one log, with one table: they share what is to be written.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod common;

use common::{COUNTS, LINES, REPARTITION, feed, settings, topology, until};
use millstream::{
    Node, Program,
    log::{Broker, Cleanup, EmbeddedLog, TopicSpec},
    prelude::*,
    sink::{Location, Reader, Sink, SinkConfig, Table, row},
};
use std::{
    cell::RefCell,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
};

const PARTITIONS: u32 = 4;

struct Count {
    word: String,
    count: i64,
}
row!(Count { word, count });
const TABLE: Table<Count> = Table::new("counts");

fn start(dir: &Path, log: &EmbeddedLog, location: &Location) -> Node {
    // Every change of a count is to be a record.
    let config = settings(
        dir,
        &[
            "statestore.cache.max.bytes=0",
            "application.server=127.0.0.1:0",
        ],
    )
    .unwrap();
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

fn topics(log: &EmbeddedLog, names: &[&str]) {
    for name in names {
        let spec = TopicSpec {
            name: (*name).to_owned(),
            partitions: PARTITIONS,
            cleanup: Cleanup::Delete { retention_ms: None },
        };
        log.create_topic(&spec).unwrap();
    }
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
    topics(&log, &[LINES.name, COUNTS.name]);
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

/// A key lies with one of the instances, and the other one does not say that there is none.
#[test]
fn a_key_is_answered_where_it_is_and_denied_only_by_who_has_all() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let location = Location::sqlite(dirs[2].path().join("counts.db"));
    let log = EmbeddedLog::in_memory();
    topics(&log, &[LINES.name, COUNTS.name]);
    let mut first = start(dirs[0].path(), &log, &location);
    let mut second = start(dirs[1].path(), &log, &location);
    let addresses = [first.serve().unwrap(), second.serve().unwrap()];
    let words: Vec<_> = (0..40).map(|number| format!("word{number}")).collect();
    let lines: Vec<_> = words.iter().map(String::as_str).collect();
    feed(&log, &lines);
    let status = |address: SocketAddr, path: &str| {
        let answer = ask(address, path);
        let status = answer.split(' ').nth(1);
        status.unwrap().parse::<u16>().unwrap()
    };
    let of = |word: &str| {
        let path = format!("/stores/counts/{word}");
        addresses.map(|address| status(address, &path))
    };
    until(&first, "an answer for each word", || {
        let shared = share(&first).is_some_and(|partitions| partitions == 2);
        shared
            && words
                .iter()
                .all(|word| matches!(of(word), [200, 421] | [421, 200]))
    });
    assert!(words.iter().any(|word| of(word) == [200, 421]));
    assert!(words.iter().any(|word| of(word) == [421, 200]));
    // Neither knows that there is no such row, and each shows the rows that it has.
    assert!(matches!(of("nothing"), [503, 421] | [421, 503]));
    let rows = addresses.map(|address| {
        let answer = ask(address, "/stores/counts?limit=100");
        answer.matches("\"key\":\"word").count()
    });
    assert!(rows[0] > 0 && rows[1] > 0 && rows[0] + rows[1] == words.len());

    second.close().unwrap();
    until(&first, "all words with the one that is left", || {
        let mut left = words.iter();
        left.all(|word| status(addresses[0], &format!("/stores/counts/{word}")) == 200)
    });
    until(&first, "the last partition", || {
        status(addresses[0], "/stores/counts/nothing") == 404
    });
    first.close().unwrap();
}

/// A node whose sink ends at once, because its table is another one.
fn failed(dir: &Path) -> (Node, SocketAddr) {
    let file = dir.join("counts.db");
    let location = Location::sqlite(&file);
    let log = EmbeddedLog::in_memory();
    let before = Table::<Other>::new("counts");
    let mut other = Sink::new(
        Broker::client(&log).unwrap(),
        OTHERS,
        before,
        &location,
        SinkConfig::default(),
        |_, _, _| None::<Other>,
    )
    .unwrap();
    topics(&log, &[LINES.name, COUNTS.name, OTHERS.name]);
    other.step(0).unwrap();
    drop(other);
    let mut node = start(dir, &log, &location);
    let address = node.serve().unwrap();
    let watch = node.sinks()[0].watch();
    until(&node, "the sink's end", || watch.failure().is_some());
    (node, address)
}

static OTHERS: Topic<String, String> = Topic::new("others", utf8(), utf8());

struct Other {
    something: String,
}
row!(Other { something });

fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let host = "Host: localhost\r\nConnection: close";
    write!(stream, "GET {path} HTTP/1.1\r\n{host}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_topics_of_a_program_are_its_own_and_its_sinks() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let location = Location::sqlite(dirs[1].path().join("counts.db"));
    let log = EmbeddedLog::in_memory();
    topics(&log, &[LINES.name, COUNTS.name, OTHERS.name]);
    let mut node = start(dirs[0].path(), &log, &location);
    let address = node.serve().unwrap();
    let listed = || {
        let answer = ask(address, "/topics");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let all: Vec<serde_json::Value> = serde_json::from_str(body).unwrap();
        let names = all.iter().map(|topic| topic["name"].as_str().unwrap());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let own = [
        COUNTS.name,
        LINES.name,
        "words-counts-changelog",
        REPARTITION,
    ];
    assert_eq!(listed(), own);
    // One that the program only comes to need is listed once it is there.
    topics(&log, &["counts-dead-letters"]);
    let dead = [own[0], "counts-dead-letters", own[1], own[2], own[3]];
    assert_eq!(listed(), dead);
    // Any topic can still be read.
    let others = ask(address, "/topics/others/records");
    assert!(others.starts_with("HTTP/1.1 200 "), "{others}");
    node.close().unwrap();
}

#[test]
fn a_sink_that_has_ended_is_told_by_probes_metrics_and_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (node, address) = failed(dir.path());
    for probe in ["/healthz", "/readyz"] {
        let answer = ask(address, probe);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("the sink of table counts"), "{answer}");
    }
    let state = |name: &str| format!("streams_sink_state{{sink=\"counts\",state=\"{name}\"}}");
    let told = [
        format!("{} 1\n", state("FAILED")),
        format!("{} 0\n", state("RUNNING")),
    ];
    let lost = "streams_sink_rows_total{outcome=\"lost\",sink=\"counts\"} 0\n";
    let retries = "streams_sink_troubles_total{kind=\"retry\",sink=\"counts\"} ";
    until(&node, "the metrics", || {
        let text = node.registry().render().unwrap();
        let pending = text.contains("streams_sink_pending_rows{");
        let counted = text.contains(lost) && text.contains(retries);
        told.iter().all(|line| text.contains(line)) && counted && !pending
    });
    let end = format!("{:#}", node.close().unwrap_err());
    assert!(end.starts_with("the sink of table counts: "), "{end}");
    assert!(end.contains("table counts, column "), "{end}");
}
