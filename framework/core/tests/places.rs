//! Topics and partitions that a program chooses: for streams, tables and repartition topics; what
//! becomes of a choice that cannot be; and where an input begins.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "task/harness.rs"]
#[allow(dead_code, reason = "it serves other tests too")]
mod harness;

use harness::{Bench, LEFT, OUT, records};
use millstream_core::{
    Error, Result,
    prelude::*,
    record::{Partition, TaskId},
    task::{Dropped, Task, TaskConfig, Topics},
};
use millstream_state::MemoryBackend;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// Topics of three partitions, all but "gone", and how often somebody asked.
#[derive(Debug, Default)]
struct Three(AtomicU32);

impl Topics for Three {
    fn exists(&self, name: &str) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        name != "gone"
    }

    fn partitions(&self, name: &str) -> Result<Partition> {
        self.0.fetch_add(1, Ordering::Relaxed);
        match name {
            "gone" | "app-gone-repartition" => Err(Error::topology("there is no topic gone")),
            _ => Ok(3),
        }
    }
}

const KEYS: [(&str, &str, Timestamp); 5] = [
    ("a", "x", 1),
    ("b", "y", 2),
    ("c", "z", 3),
    ("d", "", 4),
    ("a", "w", 5),
];

struct Ran {
    /// Partition, key and value of what was written to the only output that has any.
    placed: Vec<(Option<Partition>, String, Option<String>)>,
    dropped: Dropped,
    asked: u32,
}

fn run(policy: ErrorPolicy, declare: impl FnOnce(&StreamsBuilder)) -> Result<Ran> {
    let builder = StreamsBuilder::new();
    declare(&builder);
    let topology = builder.build().unwrap();
    let id = TaskId {
        subtopology: 0,
        partition: 0,
    };
    let topics = Arc::new(Three::default());
    let config = TaskConfig {
        policies: policy.into(),
        topics: Some(topics.clone()),
        ..TaskConfig::new("app")
    };
    let stores = topology.subtopologies()[0].stores.iter();
    let columns: Vec<_> = stores.map(|id| topology.store(*id).name.clone()).collect();
    let backend = Arc::new(MemoryBackend::new(&columns));
    let mut task = Task::open(&topology, id, &config, backend)?;
    task.add(0, records(0, &KEYS));
    task.process(KEYS.len())?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut placed = Vec::new();
    for output in task.outputs() {
        placed.extend(output.placed().map(|(partition, record)| {
            let key = text(record.key.unwrap());
            (partition, key, record.value.map(text))
        }));
        output.clear();
        assert_eq!(output.placed().count(), 0);
    }
    Ok(Ran {
        placed,
        dropped: task.dropped(),
        asked: topics.0.load(Ordering::Relaxed),
    })
}

/// Keys and partitions.
fn keys(ran: &Ran) -> Vec<(Option<Partition>, &str)> {
    let placed = ran.placed.iter();
    placed.map(|(to, key, _)| (*to, &**key)).collect()
}

#[test]
fn a_sink_asks_its_partitioner_about_each_record() {
    let ran = run(ErrorPolicy::Fail, |builder| {
        let choose = |key: &String, value: Option<&String>, partitions| {
            // Of a stream there is always a value.
            assert_eq!((value.is_some(), partitions), (true, 3));
            let number = u32::from(key.as_bytes()[0] - b'a');
            (number < 3).then_some(number)
        };
        let sink = Produced::of(&OUT).with_partitioner(choose);
        builder.stream(&LEFT).to(sink.clone());
    });
    let ran = ran.unwrap();
    let expected = [
        (Some(0), "a"),
        (Some(1), "b"),
        (Some(2), "c"),
        (None, "d"),
        (Some(0), "a"),
    ];
    assert_eq!(keys(&ran), expected);
    assert_eq!(ran.asked, 1, "the count is asked for once");
}

#[test]
fn a_record_goes_to_several_partitions_or_to_none() {
    let ran = run(ErrorPolicy::Fail, |builder| {
        let choose = |key: &String, _: Option<&String>, partitions| match &**key {
            "a" => Vec::from_iter(0..partitions),
            "b" => vec![2],
            _ => vec![],
        };
        let sink = Produced::of(&OUT).with_partitioner(choose);
        builder.stream(&LEFT).to(sink);
    });
    let ran = ran.unwrap();
    let all = [(Some(0), "a"), (Some(1), "a"), (Some(2), "a")];
    let expected = [&all[..], &[(Some(2), "b")], &all[..]].concat();
    assert_eq!(keys(&ran), expected);
    assert_eq!(ran.dropped.production, 2, "each drop is counted");
}

#[test]
fn a_partition_that_is_not_there_is_refused() {
    let declare = |builder: &StreamsBuilder| {
        let choose = |key: &String, _: Option<&String>, _| u32::from(key.as_bytes()[0] - b'a');
        let sink = Produced::of(&OUT).with_partitioner(choose);
        builder.stream(&LEFT).to(sink);
    };
    let ran = run(ErrorPolicy::Skip, declare).unwrap();
    assert_eq!(
        keys(&ran),
        [
            (Some(0), "a"),
            (Some(1), "b"),
            (Some(2), "c"),
            (Some(0), "a")
        ]
    );
    assert_eq!(ran.dropped.production, 1);
    let told = run(ErrorPolicy::Fail, declare).err().unwrap().to_string();
    assert!(told.contains("partition 3 of out, which has 3"), "{told}");
}

#[test]
fn a_topic_that_cannot_be_asked_about_stops_the_thread_whatever_the_policy() {
    static GONE: Topic<String, String> = Topic::new("gone", utf8(), utf8());
    let declare = |builder: &StreamsBuilder| {
        let sink = Produced::of(&GONE).with_partitioner(|_: &String, _: Option<&String>, _| 0);
        builder.stream(&LEFT).to(sink);
    };
    // No record is to blame, and each would be dropped.
    for policy in [ErrorPolicy::Fail, ErrorPolicy::Skip] {
        let told = run(policy, declare).err().unwrap().to_string();
        assert!(told.contains("no topic gone"), "{told}");
    }
    let last = |_: &String, _: Option<&String>, partitions: u32| partitions - 1;
    let spread = Repartitioned::with("gone", utf8(), utf8()).with_partitioner(last);
    let repartitioned = |builder: &StreamsBuilder| {
        builder.stream(&LEFT).repartition(spread).to(&OUT);
    };
    let told = run(ErrorPolicy::Skip, repartitioned).err().unwrap();
    assert!(told.to_string().contains("no topic gone"), "{told}");
}

#[test]
fn topics_that_are_not_there_are_found_out_before_the_log_is_asked_to_write_them() {
    let builder = StreamsBuilder::new();
    let choose = |_: &String, text: &String| text.clone();
    builder.stream(&LEFT).to_chosen(choose, utf8(), utf8());
    let topics = Arc::new(Three::default());
    let config = TaskConfig {
        policies: ErrorPolicy::Skip.into(),
        topics: Some(topics.clone()),
        ..TaskConfig::new("app")
    };
    let topology = builder.build().unwrap();
    let mut driver = TopologyTestDriver::with_config(topology, &config).unwrap();
    for topic in ["there", "gone", "there", "gone", "there"] {
        let sent = driver.pipe(&LEFT, "k".to_owned(), topic.to_owned(), 0);
        sent.unwrap();
    }
    assert_eq!(driver.read_raw("there").len(), 3);
    assert_eq!(driver.dropped().production, 2);
    assert_eq!(topics.0.load(Ordering::Relaxed), 3);
}

#[test]
fn a_table_asks_without_a_value_where_a_row_is_deleted() {
    let ran = run(ErrorPolicy::Fail, |builder| {
        let choose = |_: &String, value: Option<&String>, _| match value {
            Some(_) => 1,
            None => 2,
        };
        let sink = Produced::of(&OUT).with_partitioner(choose);
        let rows = builder.stream(&LEFT).to_table("rows");
        rows.filter(|_, value| value != "w").to(sink);
    });
    let ran = ran.unwrap();
    let deleted = ran.placed.iter().filter(|(_, _, value)| value.is_none());
    assert!(deleted.clone().count() > 0);
    for (to, _, value) in &ran.placed {
        assert_eq!(*to, Some(if value.is_some() { 1 } else { 2 }));
    }
}

#[test]
fn a_repartition_topic_is_written_as_its_partitioner_says() {
    let ran = run(ErrorPolicy::Fail, |builder| {
        let last = |_: &String, _: Option<&String>, partitions: u32| partitions - 1;
        let topic = Repartitioned::with("spread", utf8(), utf8()).with_partitioner(last);
        builder.stream(&LEFT).repartition(topic).to(&OUT);
    });
    let ran = ran.unwrap();
    assert_eq!(ran.placed.len(), KEYS.len());
    assert!(ran.placed.iter().all(|(to, ..)| *to == Some(2)));
}

/// Until its first commit a task that began at the end must know where that was.
#[test]
fn where_an_input_began_outlives_an_abort_and_is_committed() {
    let builder = StreamsBuilder::new();
    let late = Consumed::of(&LEFT).with_offset_reset(OffsetReset::Latest);
    builder.stream(late).to(&OUT);
    let mut bench = Bench::new(builder.build().unwrap());
    assert_eq!(bench.task.offset_reset(0), OffsetReset::Latest);
    assert_eq!(bench.task.begun(0), None);
    bench.task.begin(0, 7);
    bench.task.abort().unwrap();
    assert_eq!(bench.task.begun(0), Some(7));
    bench.task.begin(0, 7);
    let places = bench.task.prepare_commit().unwrap().places.clone();
    let offsets: Vec<_> = places.iter().map(|(_, place)| place.offset).collect();
    assert_eq!(offsets, [7]);
    assert!(bench.task.prepare_commit().unwrap().places.is_empty());
}
