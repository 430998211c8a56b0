//! Values with headers from a feed to a database: through a table that keeps them, over a restore
//! from its changelog, by queries, and into rows.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod common;

use common::{settings, until};
use millstream::{
    Feed, Node, Program,
    log::{Cleanup, EmbeddedLog, TopicSpec},
    prelude::*,
    sink::{Location, Reader, Sink, SinkConfig, Table, row},
};
use std::{path::Path, sync::Arc};

type Traced = ValueAndHeaders<u64>;

static ORDERS: Topic<String, Traced> = Topic::new("orders", utf8(), with_headers::<U64Be>());
static LATEST: Topic<String, Traced> = Topic::new("latest", utf8(), with_headers::<U64Be>());

struct Order {
    id: String,
    trace: Option<String>,
}
row!(Order { id, trace });
const TABLE: Table<Order> = Table::new("orders");

fn traced(value: u64, trace: &str) -> Traced {
    let mut headers = Headers::NONE;
    headers.push("trace", Some(trace.as_bytes().to_vec()));
    Traced { value, headers }
}

fn trace(order: &Traced) -> Option<String> {
    let bytes = order.headers.last("trace")?.value.clone()?;
    String::from_utf8(bytes).ok()
}

fn start(dir: &Path, log: &EmbeddedLog, location: &Location) -> Node {
    let builder = StreamsBuilder::new();
    let rows = Materialized::with("orders", utf8(), u64_be()).with_headers();
    builder.table(&ORDERS, rows).to(&LATEST);
    let config = settings(dir, &["statestore.cache.max.bytes=0"]).unwrap();
    let program = Program::open_on(builder.build().unwrap(), config, Arc::new(log.clone()));
    let program = program.unwrap();
    let (client, config) = (program.log().client().unwrap(), SinkConfig::default());
    let sink = Sink::new(client, LATEST, TABLE, location, config, |id, order, _| {
        Order {
            id: id.clone(),
            trace: trace(order),
        }
    });
    let mut node = program.start().unwrap();
    node.attach(sink.unwrap()).unwrap();
    node
}

/// The order of a key as the node's store has it.
fn order(node: &Node, key: &str) -> Option<Traced> {
    let asked = Materialized::with("orders", utf8(), with_headers::<U64Be>());
    let rows = node.streams().key_value_store(asked).ok()?;
    Some(rows.get(&key.to_owned()).ok()??.value)
}

#[test]
fn headers_are_there_from_the_feed_to_the_table_and_after_a_restore() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let location = Location::sqlite(dirs[2].path().join("orders.db"));
    let log = EmbeddedLog::in_memory();
    for topic in [&ORDERS, &LATEST] {
        let spec = TopicSpec {
            name: topic.name.to_owned(),
            partitions: 2,
            cleanup: Cleanup::Delete { retention_ms: None },
        };
        log.create_topic(&spec).unwrap();
    }
    let first = start(dirs[0].path(), &log, &location);
    let mut feed = Feed::open(&log, "orders", &ORDERS).unwrap();
    feed.send(&"tea".to_owned(), &traced(3, "t1"), 10).unwrap();
    let plain = Traced {
        value: 4,
        ..Traced::default()
    };
    feed.send(&"rum".to_owned(), &plain, 20).unwrap();
    feed.commit().unwrap();
    until(&first, "two rows", || first.sinks()[0].stats().rows == 2);
    let rows = Reader::open(&location).unwrap().rows("orders", 2).unwrap();
    let of = |id: &str| rows.iter().find(|row| row["id"] == id).unwrap()["trace"].clone();
    assert_eq!(
        (of("tea"), of("rum")),
        ("t1".into(), serde_json::Value::Null)
    );
    until(&first, "the order", || {
        order(&first, "tea") == Some(traced(3, "t1"))
    });
    first.close().unwrap();
    // What the second one has it has from the changelog.
    let second = start(dirs[1].path(), &log, &location);
    until(&second, "the order again", || {
        order(&second, "tea") == Some(traced(3, "t1"))
    });
    until(&second, "the other one", || {
        order(&second, "rum").as_ref() == Some(&plain)
    });
    let streams = second.streams();
    let bare = streams.key_value_store::<String, u64>("orders").unwrap();
    assert_eq!(
        bare.get(&"tea".to_owned()).unwrap().map(|row| row.value),
        Some(3)
    );
    second.close().unwrap();
}
