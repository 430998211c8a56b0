//! The workloads in the DSL: what `StreamsBench.java` says for Kafka Streams, word for word.
//!
//! Both the embedded log and Kafka run them. Invariant: what goes out is, byte for byte, what the
//! peer's program makes of the same input.

use anyhow::Result;
use millstream_core::prelude::*;
use serde::{Deserialize, Serialize};
use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Width of tumbling windows, and how long they wait for late records.
const WINDOW: Duration = Duration::from_secs(10);
/// A session ends after so long without a record, and waits as long for late ones.
const GAP: Duration = Duration::from_secs(1);
/// How far apart two records may be that meet.
const APART: Duration = Duration::from_millis(100);
/// Rows of the table that foreign keys name.
const ROWS: u64 = 100_000;

/// What is done with the records; the table in `kafka` says what comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Workload {
    Stateless,
    Count,
    Join,
    Restore,
    /// Counts per key in tumbling windows.
    Tumbling,
    /// Counts per key in sessions.
    Session,
    /// Two streams within a window.
    StreamJoin,
    /// Two tables by a foreign key.
    ForeignJoin,
}

/// How far the outputs of two sides must be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agreement {
    /// The same records in the same order in every partition.
    Order,
    /// The same records: partitions that meet on the way may meet in another order.
    Records,
    /// The same last record of each key: what is said in between depends on who is faster.
    Ends,
}

impl Workload {
    /// Its name on the command line of the peers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stateless => "stateless",
            Self::Count => "count",
            Self::Join => "join",
            Self::Restore => "restore",
            Self::Tumbling => "tumbling",
            Self::Session => "session",
            Self::StreamJoin => "stream_join",
            Self::ForeignJoin => "foreign_join",
        }
    }

    /// How far outputs must be the same where nothing is cached.
    pub(super) fn agreement(self) -> Agreement {
        match self {
            Self::Stateless | Self::Count | Self::Join | Self::Restore => Agreement::Order,
            Self::Tumbling | Self::Session | Self::StreamJoin => Agreement::Records,
            Self::ForeignJoin => Agreement::Ends,
        }
    }

    /// How many inputs of full size there are.
    pub(super) fn inputs(self) -> u64 {
        if self == Self::StreamJoin { 2 } else { 1 }
    }

    /// Whether there is a second topic to read.
    pub(super) fn reads_table(self) -> bool {
        matches!(self, Self::Join | Self::StreamJoin | Self::ForeignJoin)
    }

    /// Whether every output comes of one input at once, so that latencies can be taken.
    pub(super) fn answers_at_once(self) -> bool {
        self.agreement() == Agreement::Order
    }

    /// Whether Kafka Streams' cache of records can make a difference.
    pub(super) fn has_state(self) -> bool {
        self != Self::Stateless
    }
}

/// The topics of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Names {
    pub(super) input: String,
    /// A table, or a second stream.
    pub(super) table: String,
    pub(super) output: String,
}

/// How far a program is. Only its one stream thread counts: an atomic addition would be paid for
/// nothing.
#[derive(Clone, Default)]
pub(super) struct Seen {
    records: Arc<AtomicU64>,
    results: Arc<AtomicU64>,
}

impl Seen {
    /// Records of the inputs that were taken.
    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Results of joins, where they are counted.
    pub(super) fn results(&self) -> u64 {
        self.results.load(Ordering::Relaxed)
    }
}

fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// A workload's program over these topics.
pub(super) fn topology(workload: Workload, topics: &Names, seen: &Seen) -> Result<Topology> {
    let input = topic(&topics.input, bytes());
    let (table, output) = (
        topic(&topics.table, bytes()),
        topic(&topics.output, bytes()),
    );
    let builder = StreamsBuilder::new();
    let taken = || {
        let records = Arc::clone(&seen.records);
        move |_: &String, _: &Vec<u8>| count(&records)
    };
    let stream = builder.stream(&input).peek(taken());
    match workload {
        Workload::Stateless => stream
            .filter(|_, value| value.first().is_some_and(|first| first & 7 != 0))
            .map_values(flipped)
            .to(&output),
        Workload::Count => stream
            .group_by_key()
            .count(Materialized::with("counts", utf8(), u64_be()))
            .to(&topic(&topics.output, u64_be())),
        Workload::Join => {
            let table = builder.table(&table, rows("profiles"));
            stream
                .join(table, |value, row| joined(&value, row))
                .to(&output);
        }
        Workload::Tumbling => stream
            .group_by_key()
            .windowed_by(TimeWindows::of_size_and_grace(WINDOW, WINDOW))
            .count(Materialized::with("windows", utf8(), u64_be()))
            .to_stream()
            .flat_map(told)
            .to(&output),
        Workload::Session => stream
            .group_by_key()
            .windowed_by(SessionWindows::of_inactivity_gap_and_grace(GAP, GAP))
            .count(Materialized::with("sessions", utf8(), u64_be()))
            .to_stream()
            .flat_map(told)
            .to(&output),
        Workload::StreamJoin => {
            let windows = JoinWindows::of_time_difference_and_grace(APART, GAP);
            let other = builder.stream(&table).peek(taken());
            let serdes = StreamJoined::with("pairs", utf8(), bytes(), bytes());
            stream
                .join_stream(other, windows, serdes, |left, right| joined(left, right))
                .to(&output);
        }
        Workload::ForeignJoin => {
            let profiles = builder.table(&table, rows("profiles"));
            foreign_join(stream, profiles, seen).to(&output);
        }
        Workload::Restore => {
            let _ = stream
                .group_by_key()
                .reduce(rows("latest"), |_, value| value);
        }
    }
    Ok(builder.build()?)
}

/// Tells of the rows of a stream, as a table, what the other table says of whom they name.
fn foreign_join<'b>(
    stream: KStream<'b, String, Vec<u8>>,
    profiles: KTable<'b, String, Vec<u8>>,
    seen: &Seen,
) -> KTable<'b, String, Vec<u8>> {
    let results = Arc::clone(&seen.results);
    let join = move |left: &Vec<u8>, right: &Vec<u8>| {
        count(&results);
        joined(left, right)
    };
    let serdes = TableJoined::with("named", bytes(), bytes());
    stream.to_table(rows("orders")).foreign_key_join(
        profiles,
        |_, value| Some(named(value)),
        join,
        serdes,
    )
}

/// A window's count under its key and start: its end and the count. Windows that were merged into
/// others say nothing.
fn told(windowed: Windowed<String>, count: Option<u64>) -> Option<(String, Vec<u8>)> {
    let (window, count) = (windowed.window, count?);
    let mut key = windowed.key;
    // Writing to a string cannot fail.
    let _ = write!(key, "@{}", window.start);
    let value = [window.end.to_be_bytes(), count.to_be_bytes()].concat();
    Some((key, value))
}

fn flipped(mut value: Vec<u8>) -> Vec<u8> {
    value.iter_mut().for_each(|byte| *byte ^= 0x5a);
    value
}

/// The first 16 bytes of the record, then the row.
fn joined(value: &[u8], row: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + row.len());
    out.extend_from_slice(value.get(..16).unwrap_or(value));
    out.extend_from_slice(row);
    out
}

/// The key of the row that a record names: its first eight bytes, as a number, say which.
fn named(value: &[u8]) -> String {
    let first = value.first_chunk().copied().unwrap_or_default();
    format!("key-{:06}", u64::from_be_bytes(first) % ROWS)
}

/// A store of bytes by text.
fn rows(name: &str) -> Materialized<String, Vec<u8>> {
    Materialized::with(name, utf8(), bytes())
}

/// Topics have static names; a job's are leaked, and there are three of them in a process.
fn topic<V>(name: &str, value: Serde<V>) -> Topic<String, V> {
    Topic::new(String::leak(name.to_owned()), utf8(), value)
}
