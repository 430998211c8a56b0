//! What is at the edges: the end of time, times before 1970, and rows that are null.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::{
    prelude::*,
    store::Materialized,
    task::{Policies, TaskConfig},
    topology::Format,
};
use std::time::Duration;

static IN: Topic<String, i64> = Topic::new("in", utf8(), i64_be());
static OUT: Topic<String, i64> = Topic::new("out", utf8(), i64_be());
static TEXTS: Topic<String, Option<String>> = Topic::new("texts", utf8(), option::<Utf8>());
static ROWS: Topic<String, String> = Topic::new("rows", utf8(), utf8());

fn driver(builder: StreamsBuilder) -> TopologyTestDriver {
    let config = TaskConfig {
        policies: Policies::from(ErrorPolicy::Skip),
        ..TaskConfig::new("app")
    };
    TopologyTestDriver::with_config(builder.build().unwrap(), &config).unwrap()
}

/// Sessions that end there have no place behind them to go on from.
#[test]
fn sessions_at_the_end_of_time_are_found_once() {
    let builder = StreamsBuilder::new();
    let gap = SessionWindows::of_inactivity_gap_with_no_grace(Duration::from_millis(10));
    let sessions = builder
        .stream(&IN)
        .group_by_key()
        .windowed_by(gap)
        .count("sessions");
    let counts = sessions.to_stream().map(|session, count| {
        let window = session.window;
        (
            format!(
                "{}..{}",
                Timestamp::MAX - window.start,
                Timestamp::MAX - window.end
            ),
            count,
        )
    });
    static COUNTS: Topic<String, Option<u64>> = Topic::new("counts", utf8(), option::<U64Be>());
    counts.to(&COUNTS);
    let mut driver = driver(builder);
    for back in [9, 0, 0, 4, 0] {
        driver
            .pipe(&IN, "a".to_owned(), 1, Timestamp::MAX - back)
            .unwrap();
    }
    let counts = driver.read_key_values(&COUNTS).unwrap();
    let last = counts.last().unwrap();
    assert_eq!(last, &("9..0".to_owned(), Some(Some(5))));
}

#[test]
fn no_version_begins_at_the_end_of_time() {
    let builder = StreamsBuilder::new();
    let rows = Materialized::with("rows", utf8(), i64_be());
    let table = builder.table(&IN, rows.versioned(Duration::from_millis(10)));
    table.to(&OUT);
    let mut driver = driver(builder);
    for (value, time) in [(1, Timestamp::MAX), (2, 0), (3, Timestamp::MAX - 1)] {
        driver.pipe(&IN, "a".to_owned(), value, time).unwrap();
    }
    driver
        .pipe_tombstone(&IN, &"a".to_owned(), Timestamp::MAX)
        .unwrap();
    let told = driver.read_key_values(&OUT).unwrap();
    assert_eq!(told, [("a".to_owned(), Some(2)), ("a".to_owned(), Some(3))]);
    assert_eq!(driver.dropped().processing, 2);
}

/// Sends what it gets a second too early, to its output or to its child.
struct Early(Option<ChildRef<String, i64>>);

impl Processor<String, i64> for Early {
    type Key = String;
    type Value = i64;

    fn process(
        &mut self,
        mut record: Record<String, i64>,
        ctx: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        record.timestamp -= 1_000;
        match &self.0 {
            Some(child) => ctx.forward_to(child, record)?,
            None => ctx.forward(record)?,
        }
        Ok(())
    }
}

/// Windows would have no place for such a record, and lose it without a word.
#[test]
fn no_record_is_sent_on_as_of_before_1970() {
    let builder = StreamsBuilder::new();
    let minute = TimeWindows::of_size_with_no_grace(Duration::from_secs(60));
    let stream = builder.stream(&IN);
    let early = stream.process((), |()| Early(None)).group_by_key();
    let _ = early.windowed_by(minute).count("early");
    let to_child = |(), child| Early(Some(child));
    let (_, child) = stream.process_to((), Child::new("child"), to_child);
    child.to(&OUT);
    let mut driver = driver(builder);
    for time in [0, 999, 1_000] {
        driver.pipe(&IN, "a".to_owned(), time, time).unwrap();
    }
    assert_eq!(driver.dropped().processing, 4);
    assert_eq!(
        driver.read_key_values(&OUT).unwrap(),
        [("a".to_owned(), Some(1_000))]
    );
}

#[test]
fn a_null_deletes_the_row_of_a_stream_that_becomes_a_table() {
    let builder = StreamsBuilder::new();
    let rows = |name| Materialized::with(name, utf8(), option::<Utf8>());
    let direct = builder.stream(&TEXTS).to_table(rows("direct"));
    let count = |_: &String, row: &Option<String>| row.is_some();
    direct.filter(count).to(&TEXTS_OUT);
    let moved = builder.stream(&TEXTS).map(|key, text| (key + "!", text));
    let _ = moved.to_table(rows("moved"));
    static TEXTS_OUT: Topic<String, Option<String>> =
        Topic::new("texts-out", utf8(), option::<Utf8>());
    let mut driver = driver(builder);
    for text in [Some("one"), None] {
        driver
            .pipe(&TEXTS, "a".to_owned(), text.map(str::to_owned), 0)
            .unwrap();
    }
    for store in ["direct", "moved"] {
        let changes = driver.changelog(store);
        let values: Vec<_> = changes.into_iter().map(|(_, value, ..)| value).collect();
        assert_eq!(values, [Some(b"one".to_vec()), None], "{store}");
    }
    let told = driver.read_raw("texts-out").into_iter();
    let values: Vec<_> = told.map(|(_, value, ..)| value).collect();
    assert_eq!(values, [Some(b"one".to_vec()), None]);
}

/// Keys of other bytes would lie in other partitions than those of the table's peers.
#[test]
fn what_goes_to_a_table_is_repartitioned_in_the_bytes_of_its_store() {
    let builder = StreamsBuilder::new();
    let moved = || builder.stream(&ROWS).map(|key, row| (row, key));
    let rows = |name| Materialized::with(name, json::<String>(), json::<String>());
    let _ = moved().to_table(rows("plain"));
    let _ = moved().map_values(Some).to_table_of_rows(rows("nullable"));
    let topology = builder.build().unwrap();
    let described: serde_json::Value =
        serde_json::from_str(&topology.describe(Format::Json)).unwrap();
    let topics = described["repartitions"].as_array().unwrap().iter();
    let formats: Vec<_> = topics
        .map(|topic| topic["format"].as_str().unwrap())
        .collect();
    assert_eq!(formats, ["json/json", "json/option<json>"]);
    let mut driver = TopologyTestDriver::new(topology).unwrap();
    driver
        .pipe(&ROWS, "a".to_owned(), "b".to_owned(), 0)
        .unwrap();
    for store in ["plain", "nullable"] {
        let (key, value, ..) = driver.changelog(store).remove(0);
        assert_eq!(
            (key.unwrap(), value.unwrap()),
            (b"\"b\"".to_vec(), b"\"a\"".to_vec())
        );
    }
}
