//! Records that come in one pack: one place, one go, and what becomes of a pack that is broken.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::{
    batch::{RecordBatch, Records},
    calls::{Executor, InlineExecutor},
    pack::Pack,
    prelude::*,
    record::{Offset, RawRecord},
    task::{Place, Task, TaskConfig},
};
use millstream_state::MemoryBackend;
use std::{sync::Arc, time::Duration};

static IN: Topic<String, u64> = Topic::new("in", utf8(), u64_be());
static OUT: Topic<String, u64> = Topic::new("out", utf8(), u64_be());

/// The task that reads a repartition topic.
fn reading(executor: Option<InlineExecutor>) -> Task {
    let builder = StreamsBuilder::new();
    let mut records =
        builder
            .stream(&IN)
            .repartition(Repartitioned::with("between", utf8(), u64_be()));
    if let Some(executor) = executor.clone() {
        let call = move |_: String, value: u64| {
            let sleep = executor.sleep(Duration::from_millis(value));
            async move {
                sleep.await;
                Ok::<_, String>(value)
            }
        };
        let config = AsyncConfig::new().concurrency(2).without_timeout();
        records = records.map_async("sleep", config, call);
    }
    records.to(&OUT);
    let id = TaskId {
        subtopology: 1,
        partition: 0,
    };
    let config = TaskConfig {
        policies: ErrorPolicy::DeadLetter.into(),
        dead_letter_topic: Some("dead".to_owned()),
        executor: executor.map(|executor| Arc::new(executor) as Arc<dyn Executor>),
        ..TaskConfig::new("app")
    };
    let backend = Arc::new(MemoryBackend::new::<&str>(&[]));
    Task::open(&builder.build().unwrap(), id, &config, backend).unwrap()
}

/// What a log has of some packs; the values are the times, too.
fn log(packs: &[&[u64]]) -> RecordBatch {
    let mut batch = RecordBatch::new();
    for (values, offset) in packs.iter().zip(0..) {
        let mut pack = Pack::default();
        for value in *values {
            pack.push(RawRecord {
                key: Some(b"key"),
                value: Some(&value.to_be_bytes()),
                timestamp: i64::try_from(*value).unwrap(),
                headers: &Headers::NONE,
            });
        }
        pack.empty(|record| batch.push(offset, record).then_some(()).ok_or("full"))
            .unwrap();
    }
    batch
}

fn add(task: &mut Task, batch: RecordBatch) {
    task.add(0, Records::all(Arc::new(batch)));
}

/// Takes the values of what was written to a topic.
fn written(task: &mut Task, topic: &str) -> Vec<u64> {
    let mut found = Vec::new();
    for output in task
        .outputs()
        .iter_mut()
        .filter(|output| &*output.topic == topic)
    {
        let values = output
            .records
            .iter()
            .map(|(_, record)| record.value.unwrap().to_vec());
        found.extend(values.map(|value| u64::from_be_bytes(value.try_into().unwrap())));
        output.clear();
    }
    found
}

/// The places of a commit now.
fn places(task: &mut Task) -> Vec<Offset> {
    let places = &task.prepare_commit().unwrap().places;
    let places = places.iter().map(|(_, place)| place.offset).collect();
    task.committed(|_| None).unwrap();
    places
}

#[test]
fn a_pack_is_processed_in_one_go() {
    let mut task = reading(None);
    add(&mut task, log(&[&[1, 2, 3], &[4], &[5, 6]]));
    assert_eq!(task.queued(0), 6);
    assert_eq!(task.process(1).unwrap(), 3, "as many as are in it");
    assert_eq!((places(&mut task), task.next_offset(0)), (vec![1], 1));
    assert_eq!(task.process(2).unwrap(), 3);
    assert_eq!(places(&mut task), [3]);
    assert_eq!(written(&mut task, "out"), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_a_pack_has_is_taken_once_and_again_after_an_abort() {
    let mut task = reading(None);
    add(&mut task, log(&[&[1, 2], &[3, 4]]));
    // A log may hand out what it has handed out before.
    add(&mut task, log(&[&[1, 2], &[3, 4], &[5, 6]]));
    assert_eq!(task.queued(0), 6);
    assert_eq!(task.process(2).unwrap(), 2);
    assert_eq!(places(&mut task), [1]);
    assert_eq!(task.process(9).unwrap(), 4);
    assert_eq!(written(&mut task, "out"), [1, 2, 3, 4, 5, 6]);
    task.abort().unwrap();
    task.resume(0, Place::start(1));
    add(&mut task, log(&[&[1, 2], &[3, 4], &[5, 6]]));
    assert_eq!(task.process(9).unwrap(), 4);
    assert_eq!(written(&mut task, "out"), [3, 4, 5, 6]);
    assert_eq!(places(&mut task), [3]);
}

#[test]
fn fewer_records_of_the_log_are_wanted_where_there_are_many_in_each() {
    let mut task = reading(None);
    assert_eq!(task.wanted(0, 100), 100);
    add(&mut task, log(&[&[1, 2, 3, 4], &[5, 6, 7, 8]]));
    assert_eq!(task.wanted(0, 100), 23, "(100 - 8) / 4");
    assert_eq!(task.wanted(0, 8), 0);
    task.process(9).unwrap();
    add(&mut task, log(&[&[], &[], &[9]]));
    assert_eq!(task.wanted(0, 100), 99);
}

#[test]
fn there_is_no_place_amid_a_pack_that_waits_for_calls() {
    let executor = InlineExecutor::new();
    let mut task = reading(Some(executor.clone()));
    add(&mut task, log(&[&[1, 2, 3, 4, 5], &[6]]));
    assert_eq!(task.process(9).unwrap(), 2, "as many as may be out");
    let mut rounds = 0;
    while task.outstanding_calls() > 0 {
        rounds += 1;
        executor.wait(Duration::ZERO);
        assert!(task.settle_calls().unwrap());
    }
    // That was the first pack, though nobody called for more.
    assert_eq!(written(&mut task, "out"), [1, 2, 3, 4, 5]);
    assert!(rounds >= 3, "{rounds}");
    assert_eq!(places(&mut task), [1]);
    assert_eq!(task.process(9).unwrap(), 1);
}

#[test]
fn calls_amid_a_pack_are_forgotten_with_an_abort() {
    let executor = InlineExecutor::new();
    let mut task = reading(Some(executor.clone()));
    add(&mut task, log(&[&[1, 2, 3, 4, 5]]));
    task.process(9).unwrap();
    assert!(task.outstanding_calls() > 2, "the pack itself, too");
    task.abort().unwrap();
    task.resume(0, Place::start(0));
    assert_eq!(task.outstanding_calls(), 0);
}

#[test]
fn a_broken_pack_is_refused_whole_and_kept_as_it_is() {
    let mut batch = log(&[&[1, 2]]);
    let whole = log(&[&[300, 400]]);
    let pack = whole.get(0);
    let bytes = pack.value.unwrap();
    let broken = RawRecord {
        value: Some(&bytes[..bytes.len() - 1]),
        ..pack
    };
    assert!(batch.push(1, broken) && batch.push(2, log(&[&[3]]).get(0)));
    let mut task = reading(None);
    add(&mut task, batch);
    assert_eq!(task.process(9).unwrap(), 4);
    assert_eq!(written(&mut task, "out"), [1, 2, 3]);
    assert_eq!(task.stream_time(), 3, "it says nothing of the time");
    let dropped = task.counts().dropped;
    assert_eq!((dropped.deserialization, dropped.dead_lettered), (1, 1));
    let dead = task
        .outputs()
        .iter()
        .find(|output| &*output.topic == "dead");
    let dead = dead.unwrap().records.get(0);
    assert_eq!(dead.value, broken.value);
    let reasons = dead
        .headers
        .iter()
        .filter_map(|header| header.value.clone());
    let reasons: Vec<_> = reasons
        .map(|value| String::from_utf8_lossy(&value).into_owned())
        .collect();
    assert!(
        reasons.iter().any(|text| text.contains("pack")),
        "{reasons:?}"
    );
    assert_eq!(places(&mut task), [3]);
}
