//! A program with a store of every kind that can be asked, and typed answers held against those in
//! JSON.

use super::harness::*;
use millstream_core::{
    prelude::*,
    record::{Headers, RawRecord},
    store::{At, TimedKind, TimedShape, TimedStore, ValueAndTimestamp},
};
use millstream_log::Log;
use millstream_runtime::streams::{Rows, StoreRow, Streams};
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) static RATES: Topic<String, i64> = Topic::new("rates", utf8(), i64_be());
/// How long windows, sessions and moments are kept, and how far the history reaches.
pub(crate) const RETENTION: i64 = 60;

/// Puts each number into a store that forgets, and twice into one of moments.
struct Notes(
    StoreRef<LruStore<String, i64>>,
    StoreRef<TimedStore<String, i64>>,
);

impl Processor<String, i64> for Notes {
    type Key = String;
    type Value = i64;

    fn process(
        &mut self,
        record: Record<String, i64>,
        ctx: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        ctx.store(self.0).put(&record.key, record.value)?;
        for second in [0, 1] {
            let at = At::new(record.timestamp, second);
            ctx.store(self.1).put(&record.key, at, Some(second))?;
        }
        Ok(ctx.forward(record)?)
    }
}

/// Numbers are times: `counts` by key, `windows` of 10 ms, every 5 ms, `sessions` with gaps of 10
/// ms, the last number as `versions`, the three keys used last as `recent`, all `moments`, and a
/// global table of `rates`.
pub(crate) fn every_kind() -> Topology {
    let builder = StreamsBuilder::new();
    let noted = every_kind_of_task(&builder);
    let rates = builder.global_table(&RATES, "rates");
    let key = |key: &String, _: &i64| key.clone();
    noted.left_join_global(rates, key, |n, _| n).to(&OUT);
    builder.build().unwrap()
}

/// The same without the global table.
pub(crate) fn every_kind_but_one() -> Topology {
    let builder = StreamsBuilder::new();
    every_kind_of_task(&builder).to(&OUT);
    builder.build().unwrap()
}

fn every_kind_of_task(builder: &StreamsBuilder) -> KStream<'_, String, i64> {
    let times = TimestampExtractor::from_fn(|_: &String, n: &i64| *n);
    let numbers = builder.stream(Consumed::of(&IN).with_timestamp(times));
    let kept = Duration::from_millis(60);
    let ten = Duration::from_millis(10);
    let stored = |name: &str| Materialized::from(name).with_retention(kept);
    let _ = numbers.group_by_key().count("counts");
    let windows = TimeWindows::of_size_and_grace(ten, 4 * ten).advance_by(ten / 2);
    let windowed = numbers.group_by_key().windowed_by(windows);
    let _ = windowed.count(stored("windows"));
    let sessions = SessionWindows::of_inactivity_gap_and_grace(ten, 4 * ten);
    let sessioned = numbers.group_by_key().windowed_by(sessions);
    let _ = sessioned.count(stored("sessions"));
    let _ = numbers.to_table(Materialized::from("versions").versioned(kept));
    let shape = TimedShape {
        kind: TimedKind::Instant,
        retention: RETENTION,
        wide: true,
    };
    let stores = (
        builder.lru_map::<String, i64>("recent", 3),
        builder.timed_store::<String, i64>("moments", shape),
    );
    numbers.process(stores, |(recent, moments)| Notes(recent, moments))
}

pub(crate) fn world(partitions: u32) -> World {
    let world = World::new(partitions);
    create(&world.log, RATES.name, 2);
    world
}

pub(crate) fn rate(world: &World, key: &str, rate: i64) {
    let mut client = world.log.client();
    let record = RawRecord {
        key: Some(key.as_bytes()),
        value: Some(&rate.to_be_bytes()),
        timestamp: 7,
        headers: &Headers::NONE,
    };
    client.send(RATES.name, None, record).unwrap();
    client.commit(1, &[]).unwrap();
}

/// Waits until each of several threads has its share of the tasks, so that no task moves any more.
pub(crate) fn until_shared(world: &World, streams: &Streams, tasks: usize) {
    world.until("shared tasks", || {
        let mut threads = streams.threads().into_iter();
        active(streams).len() == tasks && threads.all(|thread| !thread.tasks.is_empty())
    });
}

/// Waits until so many records are committed, as the counts say.
pub(crate) fn until_counted(world: &World, streams: &Streams, records: usize) {
    let counts = streams.key_value_store::<String, u64>("counts").unwrap();
    world.until("all counts", || {
        let all = counts
            .all()
            .map(|rows| rows.map(|row| row.unwrap().1.value).sum::<u64>());
        all.is_ok_and(|sum| sum == records as u64)
    });
}

pub(crate) fn all<T>(rows: Rows<T>) -> Vec<T> {
    rows.collect::<Result<_, _>>().unwrap()
}

/// All rows of a store, in JSON.
pub(crate) fn json_rows(streams: &Streams, store: &str) -> Vec<StoreRow> {
    let page = streams.rows(store, (None, None), None, usize::MAX).unwrap();
    page.rows.into_iter().map(Result::unwrap).collect()
}

fn row(key: Value, value: ValueAndTimestamp<impl Into<Value>>) -> StoreRow {
    StoreRow {
        key,
        value: value.value.into(),
        timestamp: value.timestamp,
    }
}

fn windowed<V: Into<Value>>((key, value): (Windowed<String>, ValueAndTimestamp<V>)) -> StoreRow {
    let Windowed { key, window } = key;
    let key = json!({ "key": key, "start": window.start, "end": window.end });
    row(key, value)
}

/// Holds all that typed queries say of all stores against what those in JSON do.
pub(crate) fn assert_alike(streams: &Streams) {
    type Plain = fn(&Streams, &str) -> Vec<StoreRow>;
    let counts: Plain = |streams, store| {
        let store = streams.key_value_store::<String, u64>(store).unwrap();
        let rows = all(store.all().unwrap()).into_iter();
        rows.inspect(|(key, value)| assert_eq!(store.get(key).unwrap().as_ref(), Some(value)))
            .map(|(key, value)| row(key.into(), value))
            .collect()
    };
    let numbers: Plain = |streams, store| {
        let store = streams.key_value_store::<String, i64>(store).unwrap();
        let rows = all(store.all().unwrap()).into_iter();
        rows.inspect(|(key, value)| assert_eq!(store.get(key).unwrap().as_ref(), Some(value)))
            .map(|(key, value)| row(key.into(), value))
            .collect()
    };
    let windows: Plain = |streams, store| {
        let store = streams.window_store::<String, u64>(store).unwrap();
        let rows = all(store.all().unwrap()).into_iter();
        rows.inspect(|(Windowed { key, window }, value)| {
            assert_eq!(
                store.fetch(key, window.start).unwrap().as_ref(),
                Some(value)
            );
        })
        .map(windowed)
        .collect()
    };
    let moments: Plain = |streams, store| {
        let store = streams.window_store::<String, i64>(store).unwrap();
        let rows = all(store.all().unwrap()).into_iter();
        rows.inspect(|(Windowed { key, window }, value)| {
            let first = store.fetch(key, window.start).unwrap().unwrap();
            assert_eq!((first.value, first.timestamp), (0, value.timestamp));
        })
        .map(windowed)
        .collect()
    };
    let sessions: Plain = |streams, store| {
        let store = streams.session_store::<String, u64>(store).unwrap();
        let rows = all(store.all().unwrap()).into_iter();
        rows.inspect(|(Windowed { key, window }, value)| {
            let found = store.fetch_session(key, *window).unwrap();
            assert_eq!(found.as_ref(), Some(value));
        })
        .map(windowed)
        .collect()
    };
    for (store, typed) in [
        ("counts", counts),
        ("recent", numbers),
        ("rates", numbers),
        ("windows", windows),
        ("moments", moments),
        ("sessions", sessions),
    ] {
        assert_eq!(typed(streams, store), json_rows(streams, store), "{store}");
    }
    assert_versions_alike(streams);
}

fn assert_versions_alike(streams: &Streams) {
    let store = streams.versioned_store::<String, i64>("versions").unwrap();
    let known = json_rows(streams, "versions");
    let of_key = |row: &StoreRow| {
        row.key["key"]
            .as_str()
            .or(row.key.as_str())
            .map(str::to_owned)
    };
    let mut keys: Vec<String> = known.iter().filter_map(of_key).collect();
    keys.dedup();
    let mut found = Vec::new();
    for key in &keys {
        let now = store.get(key).unwrap().map(|now| (now.value, now.since));
        let shown = streams.get("versions", &json!(key)).unwrap();
        let shown = shown.map(|row| (row.value.as_i64().unwrap(), row.timestamp));
        assert_eq!(now, shown);
        for version in all(store.versions(key, ..).unwrap()) {
            let key = match version.until {
                None => json!(key),
                Some(until) => json!({ "key": key, "since": version.since, "until": until }),
            };
            found.push(StoreRow {
                key,
                value: version.value.into(),
                timestamp: version.since,
            });
        }
    }
    assert_eq!(found, known);
}
