//! A program that counts words through a repartition topic, and ways to look at it.

#![allow(
    dead_code,
    reason = "each test file is a crate of its own, and uses a part of this"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support"
)]

use millstream::{
    Feed, Node, Program,
    core::record::TopicPartition,
    log::Broker,
    prelude::*,
    runtime::{
        config::{Config, ConfigBuilder},
        streams::State,
    },
};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

pub(crate) static LINES: Topic<String, String> = Topic::new("lines", utf8(), utf8());
pub(crate) static COUNTS: Topic<String, Option<u64>> =
    Topic::new("counts", utf8(), option::<Json<u64>>());

/// What the repartition topic holds.
pub(crate) const REPARTITION: &str = "words-counts-repartition";
/// What only records of the repartition topic say.
pub(crate) const MARK: &str = "passing-through:";

/// How often something is looked at that must come about, and the wait in between.
const LOOKS: u32 = 400;
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    builder
        .stream(&LINES)
        .flat_map_values(|line| {
            let words: Vec<_> = line
                .split(' ')
                .map(|word| format!("{MARK}{word}"))
                .collect();
            words
        })
        .group_by(|_, word| word.trim_start_matches(MARK).to_owned())
        .count("counts")
        .to_stream()
        .to(&COUNTS);
    builder.build().unwrap()
}

/// Opens the program under a directory.
pub(crate) fn open(dir: &Path, set: &[&str]) -> anyhow::Result<Program> {
    Program::open(topology(), settings(dir, set)?)
}

/// The program's settings under a directory.
pub(crate) fn settings(dir: &Path, set: &[&str]) -> anyhow::Result<Config> {
    let mut builder = ConfigBuilder::new().defaults(&[("application.id", "words")]);
    builder = builder.set(&format!("state.dir={}", dir.display()))?;
    for setting in set {
        builder = builder.set(setting)?;
    }
    Ok(builder.build()?)
}

/// Writes lines, each with its number as key, from where the feed is.
pub(crate) fn feed(log: &dyn Broker, lines: &[&str]) {
    let mut feed = Feed::open(log, "lines", &LINES).unwrap();
    let from = usize::try_from(feed.position()).unwrap();
    for (number, line) in lines.iter().enumerate().skip(from) {
        let time = i64::try_from(number).unwrap();
        feed.send(&number.to_string(), &(*line).to_owned(), time)
            .unwrap();
    }
    feed.commit().unwrap();
}

/// Waits until something is so.
pub(crate) fn until(node: &Node, what: &str, so: impl Fn() -> bool) {
    for _ in 0..LOOKS {
        if so() {
            return;
        }
        let state = node.streams().wait_for(State::is_final, PAUSE);
        assert!(!state.is_final(), "{what}: {:?}", node.streams().failure());
    }
    panic!("{what} never came about");
}

/// A word's count.
pub(crate) fn count(node: &Node, word: &str) -> Option<u64> {
    let row = node.streams().get("counts", &word.into()).ok()??;
    row.value.as_u64()
}

/// All keys and values of a topic, partition after partition.
pub(crate) fn records(log: &dyn Broker, topic: &str) -> Vec<(String, String)> {
    let mut client = log.client().unwrap();
    let partitions = client.topic(topic).unwrap().unwrap().spec.partitions;
    let mut all = Vec::new();
    for partition in 0..partitions {
        let at = TopicPartition::new(topic, partition);
        let (mut next, end) = (client.start(&at).unwrap(), client.end(&at).unwrap());
        while next < end {
            let page = client.read(&at, next, 1 << 20).unwrap();
            for (_, record) in page.records.iter() {
                let text = |bytes: Option<&[u8]>| {
                    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
                };
                all.push((text(record.key), text(record.value)));
            }
            next = page.next;
        }
    }
    all
}

/// Asks; the status and the answer.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("no head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = serde_json::from_str(body).unwrap_or_else(|_| panic!("{path}: {body}"));
    (status.expect("no status"), body)
}
