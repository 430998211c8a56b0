//! A task by itself: what it does first, what it commits, and that going back and doing it again
//! comes to the same.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "task/harness.rs"]
mod harness;

use harness::{Bench, COUNTS, FEW, LEFT, OUT, RIGHT, ends, position, records};
use millstream_core::{
    ErrorKind,
    prelude::*,
    record::{TaskId, TopicPartition},
    task::{Place, Policies, Supply, Task, TaskConfig},
    topology::Logging,
};
use millstream_state::{Backend, Column, MemoryBackend, WriteBatch};
use std::sync::Arc;

fn merged() -> Bench {
    let builder = StreamsBuilder::new();
    builder.stream(&LEFT).merge(builder.stream(&RIGHT)).to(&OUT);
    Bench::new(builder.build().unwrap())
}

fn counting() -> Bench {
    let builder = StreamsBuilder::new();
    builder
        .stream(&LEFT)
        .group_by_key()
        .count("counts")
        .to(&COUNTS);
    Bench::new(builder.build().unwrap())
}

#[test]
fn the_smallest_timestamp_goes_first_and_waits_for_the_other_input() {
    let mut bench = merged();
    bench
        .task
        .add(0, records(0, &[("l", "1", 10), ("l", "2", 30)]));
    // The other input may still bring something older.
    assert_eq!(bench.task.process(10).unwrap(), 0);
    bench
        .task
        .add(1, records(0, &[("r", "1", 10), ("r", "2", 20)]));
    // At equal times the first input wins; then the right one is empty and must be waited for.
    assert_eq!(bench.task.process(10).unwrap(), 3);
    assert_eq!(bench.texts("out"), ["l1", "r1", "r2"]);
    bench.task.set_supply(1, Supply::Exhausted);
    assert_eq!(bench.task.process(10).unwrap(), 1);
    assert_eq!(bench.texts("out"), ["l2"]);
    // New records take the word back.
    bench.task.add(1, records(2, &[("r", "3", 5)]));
    bench.task.set_supply(0, Supply::Exhausted);
    assert_eq!(bench.task.process(10).unwrap(), 1);
    bench.task.add(0, records(2, &[("l", "3", 1)]));
    assert_eq!(bench.task.process(10).unwrap(), 0);
    assert_eq!(bench.task.stream_time(), 30);
}

#[test]
fn processing_stops_at_the_number_asked_for() {
    let mut bench = counting();
    bench
        .task
        .add(0, records(0, &[("a", "", 1), ("a", "", 2), ("a", "", 3)]));
    assert_eq!(
        (bench.task.process(2).unwrap(), bench.task.queued(0)),
        (2, 1)
    );
    assert_eq!(
        (bench.task.process(2).unwrap(), bench.task.queued(0)),
        (1, 0)
    );
    let processed = bench.task.counts().processed;
    assert_eq!((processed, bench.task.next_offset(0)), (3, 3));
}

#[test]
fn a_batch_handed_out_again_is_processed_once() {
    let mut bench = counting();
    let batch = records(5, &[("a", "", 1), ("a", "", 2), ("a", "", 3)]);
    bench.task.resume(0, Place::start(6));
    bench.task.add(0, batch.clone());
    bench.task.add(0, batch.clone());
    assert_eq!(bench.task.queued(0), 2);
    bench.task.process(1).unwrap();
    bench.task.add(0, batch);
    assert_eq!(bench.task.process(9).unwrap(), 1);
    assert_eq!(bench.task.next_offset(0), 8);
}

#[test]
fn a_commit_has_the_places_of_the_inputs_that_moved() {
    let mut bench = merged();
    assert!(bench.task.prepare_commit().unwrap().is_empty());
    bench.task.resume(0, Place::start(7));
    bench.task.resume(
        1,
        Place {
            partition_time: 50,
            ..Place::start(3)
        },
    );
    assert_eq!(
        bench.task.stream_time(),
        50,
        "stream time survives a restart"
    );
    bench
        .task
        .add(0, records(7, &[("l", "1", 40), ("l", "2", 20)]));
    bench.task.set_supply(1, Supply::Exhausted);
    bench.task.process(9).unwrap();
    let places = bench.commit().0;
    let place = Place {
        partition_time: 40,
        ..Place::start(9)
    };
    assert_eq!(places, [(TopicPartition::new("left", 0), place)]);
    assert!(bench.commit().0.is_empty(), "nothing moved since");
    let (back, number) = Place::from_metadata(9, &place.metadata(4));
    assert_eq!((back, number), (place, Some(4)));
}

#[test]
fn the_changelog_has_one_record_a_dirty_key_in_the_order_of_first_touch() {
    let mut bench = counting();
    let script = [
        ("b", "", 1),
        ("a", "", 2),
        ("b", "", 9),
        ("c", "", 4),
        ("a", "", 1),
    ];
    bench.task.add(0, records(0, &script));
    let mut dirty = vec![bench.task.dirty_bytes()];
    for _ in 0..script.len() {
        bench.task.process(1).unwrap();
        dirty.push(bench.task.dirty_bytes());
    }
    assert!(
        dirty[0] == 0 && dirty[0] < dirty[1] && dirty[1] < dirty[2],
        "{dirty:?}"
    );
    assert!(
        dirty[2] == dirty[3] && dirty[3] < dirty[4] && dirty[4] == dirty[5],
        "{dirty:?}"
    );
    let changes = bench.commit().1;
    assert_eq!(changes, ends(&[("b", 2, 9), ("a", 2, 2), ("c", 1, 4)]));
    assert_eq!(bench.task.dirty_bytes(), 0);
    bench.task.add(0, records(5, &[("c", "", 5)]));
    bench.task.process(9).unwrap();
    assert_eq!(bench.commit().1, ends(&[("c", 2, 5)]));
}

#[test]
fn an_abort_and_a_crash_come_to_what_an_undisturbed_run_does() {
    let script: Vec<_> = (0..40usize)
        .map(|n| {
            (
                ["a", "b", "c"][n * n % 3],
                "",
                [0, 50, 20, 20, 60, 10][n % 6],
            )
        })
        .collect();
    let mut plain = counting();
    plain.task.add(0, records(0, &script));
    let mut expected = Vec::new();
    for _ in 0..4 {
        plain.task.process(10).unwrap();
        expected.push((plain.outputs("counts"), plain.commit()));
    }
    for crash in [false, true] {
        for stop_at in 0..10 {
            let mut bench = counting();
            let (mut found, mut place) = (Vec::new(), Place::start(0));
            for _ in 0..4 {
                let start = usize::try_from(place.offset).unwrap();
                bench.task.resume(0, place);
                bench.task.add(0, records(place.offset, &script[start..]));
                bench.task.process(stop_at).unwrap();
                bench.outputs("counts");
                bench.task.prepare_commit().unwrap();
                if crash {
                    bench.reopen();
                } else {
                    bench.task.abort().unwrap();
                }
                assert_eq!(bench.outputs("counts"), []);
                bench.task.resume(0, place);
                bench.task.add(0, records(place.offset, &script[start..]));
                bench.task.process(10).unwrap();
                found.push((bench.outputs("counts"), bench.commit()));
                place = found.last().unwrap().1.0[0].1;
            }
            assert_eq!(found, expected, "stopped at {stop_at}, crash: {crash}");
        }
    }
}

struct Ticks(Schedule);

impl Processor<String, String> for Ticks {
    type Key = String;
    type Value = String;

    fn init(&mut self, ctx: &mut StateContext<'_>) -> ProcessResult {
        ctx.schedule(self.0)?;
        Ok(())
    }

    fn process(
        &mut self,
        _: Record<String, String>,
        _: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        Ok(())
    }

    fn punctuate(
        &mut self,
        _: &Cancellable,
        now: Timestamp,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        assert!(ctx.record_metadata().is_none(), "no record is in hand");
        ctx.forward(Record::new("tick".to_owned(), now.to_string(), now))?;
        Ok(())
    }
}

fn ticking(schedule: Schedule) -> Bench {
    let builder = StreamsBuilder::new();
    let stream = builder.stream(&LEFT);
    stream.process((), move |()| Ticks(schedule)).to(&OUT);
    Bench::new(builder.build().unwrap())
}

#[test]
fn stream_time_punctuations_do_not_repeat_after_a_resume() {
    let mut bench = ticking(Schedule::stream_time(100));
    bench.task.add(
        0,
        records(0, &[("a", "", 0), ("a", "", 99), ("a", "", 250)]),
    );
    bench.task.process(9).unwrap();
    assert_eq!(bench.texts("out"), ["tick0", "tick250"]);
    let place = bench.commit().0[0].1;
    bench.reopen();
    bench.task.resume(0, place);
    let late = [
        ("a", "", 250),
        ("a", "", 299),
        ("a", "", 300),
        ("a", "", 301),
    ];
    bench.task.add(0, records(3, &late));
    bench.task.process(9).unwrap();
    assert_eq!(bench.texts("out"), ["tick300"]);
}

#[test]
fn a_wall_clock_punctuation_alone_is_committed_with_a_place() {
    let mut bench = ticking(Schedule::wall_clock(100));
    bench.task.resume(
        0,
        Place {
            partition_time: 3,
            ..Place::start(7)
        },
    );
    bench.task.advance_wall_clock(1_000).unwrap();
    bench.task.advance_wall_clock(1_099).unwrap();
    assert!(bench.commit().0.is_empty(), "nothing was called yet");
    bench.task.advance_wall_clock(1_100).unwrap();
    assert_eq!(bench.texts("out"), ["tick1100"]);
    let place = Place {
        partition_time: 3,
        ..Place::start(7)
    };
    assert_eq!(bench.commit().0, [(TopicPartition::new("left", 0), place)]);
    bench.task.advance_wall_clock(1_950).unwrap();
    bench.task.advance_wall_clock(1_999).unwrap();
    bench.task.advance_wall_clock(2_000).unwrap();
    assert_eq!(
        bench.texts("out"),
        ["tick1950", "tick2000"],
        "no burst after a gap"
    );
}

#[test]
fn timers_fire_in_the_order_of_declaration() {
    let builder = StreamsBuilder::new();
    for name in ["x", "y", "z"] {
        let stream = builder.stream(&LEFT);
        let ticks = stream.process((), |()| Ticks(Schedule::stream_time(10)));
        ticks.map_values(move |now| now + name).to(&OUT);
    }
    let mut bench = Bench::new(builder.build().unwrap());
    bench.task.add(0, records(0, &[("a", "", 5)]));
    bench.task.process(1).unwrap();
    assert_eq!(bench.texts("out"), ["tick5x", "tick5y", "tick5z"]);
}

#[test]
fn corrupt_state_is_never_skipped_like_a_bad_record() {
    let builder = StreamsBuilder::new();
    builder
        .stream(&LEFT)
        .group_by_key()
        .count("counts")
        .to(&COUNTS);
    let backend = Arc::new(MemoryBackend::new(&["counts"]));
    let mut batch = WriteBatch::new();
    batch.put(Column(0), b"a", b"nonsense that is no count");
    backend.apply(&batch).unwrap();
    let config = TaskConfig {
        policies: ErrorPolicy::Skip.into(),
        ..TaskConfig::new("test")
    };
    let topology = builder.build().unwrap();
    let mut task = Task::open(&topology, harness::ID, &config, backend).unwrap();
    task.add(0, records(0, &[("a", "", 1)]));
    let error = task.process(1).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::State(_)), "{error}");
}

#[test]
fn dead_letters_without_a_topic_are_refused_at_the_start() {
    let builder = StreamsBuilder::new();
    let consumed = Consumed::of(&LEFT).on_error(ErrorPolicy::DeadLetter);
    builder.stream(consumed).to(&OUT);
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new::<&str>(&[]));
    let topology = builder.build().unwrap();
    let opened = Task::open(
        &topology,
        harness::ID,
        &TaskConfig::new("test"),
        backend.clone(),
    );
    let error = opened.err().unwrap().to_string();
    assert!(
        error.contains("errors.dead.letter.queue.topic.name"),
        "{error}"
    );
    let unknown = TaskId {
        subtopology: 9,
        partition: 0,
    };
    let opened = Task::open(&topology, unknown, &TaskConfig::new("test"), backend);
    assert!(opened.err().unwrap().to_string().contains("9_0"));
}

#[test]
fn an_input_that_does_not_exist_is_not_waited_for() {
    let mut bench = merged();
    bench.task.retain_inputs(&[TopicPartition::new("right", 0)]);
    assert_eq!(bench.task.inputs(), [TopicPartition::new("right", 0)]);
    bench.task.add(0, records(0, &[("r", "1", 1)]));
    assert_eq!(bench.task.process(9).unwrap(), 1);
    assert_eq!(bench.commit().0[0].0, TopicPartition::new("right", 0));
}

#[test]
fn an_unlogged_store_is_kept_without_a_changelog() {
    let builder = StreamsBuilder::new();
    let store = Materialized::with("counts", utf8(), u64_be()).with_logging_disabled();
    builder
        .stream(&LEFT)
        .group_by_key()
        .count(store)
        .to(&COUNTS);
    let topology = builder.build().unwrap();
    assert_eq!(topology.stores()[0].logging, Logging::Disabled);
    let mut bench = Bench::new(topology);
    bench.task.add(0, records(0, &[("a", "", 1)]));
    bench.task.process(1).unwrap();
    assert!(
        bench.task.prepare_commit().unwrap().changes[0]
            .changelog
            .is_none()
    );
    bench.task.committed(|_| Some(position(0))).unwrap();
    bench.reopen();
    bench.task.resume(0, Place::start(1));
    bench.task.add(0, records(1, &[("a", "", 1)]));
    bench.task.process(1).unwrap();
    assert_eq!(bench.outputs("counts"), ends(&[("a", 2, 1)]));
}

#[test]
fn a_tiny_cache_changes_nothing() {
    let script: Vec<_> = (0..200usize)
        .map(|n| (FEW[n * 7 % 13], "", [3, 9, 1][n % 3]))
        .collect();
    let run = |cache_bytes| {
        let mut bench = counting();
        bench.cache_bytes = cache_bytes;
        bench.reopen();
        bench.task.add(0, records(0, &script));
        let mut all = Vec::new();
        while bench.task.process(9).unwrap() > 0 {
            all.push((bench.outputs("counts"), bench.commit()));
        }
        all
    };
    assert_eq!(run(0), run(1 << 20));
}

#[test]
fn the_last_timestamp_there_is_overflows_nothing() {
    for interval in [1, 100, Timestamp::MAX] {
        let mut bench = ticking(Schedule::stream_time(interval));
        let end = Timestamp::MAX;
        bench.task.add(
            0,
            records(0, &[("a", "", 0), ("a", "", end), ("a", "", end)]),
        );
        bench.task.process(9).unwrap();
        assert_eq!(
            bench.texts("out"),
            ["tick0".to_owned(), format!("tick{end}")]
        );
        let place = bench.commit().0[0].1;
        bench.task.resume(0, place);
        let mut bench = ticking(Schedule::wall_clock(interval));
        for now in [0, end - 1, end, end] {
            bench.task.advance_wall_clock(now).unwrap();
        }
    }
}

#[test]
fn a_record_made_before_all_time_is_refused_and_not_written() {
    struct Early;
    impl Processor<String, String> for Early {
        type Key = String;
        type Value = String;

        fn process(
            &mut self,
            record: Record<String, String>,
            ctx: &mut ProcessorContext<'_, String, String>,
        ) -> ProcessResult {
            Ok(ctx.forward(Record {
                timestamp: record.timestamp - 10,
                ..record
            })?)
        }
    }
    let builder = StreamsBuilder::new();
    let consumed = Consumed::of(&LEFT).on_error(ErrorPolicy::Skip);
    builder.stream(consumed).process((), |()| Early).to(&OUT);
    let mut bench = Bench::new(builder.build().unwrap());
    bench
        .task
        .add(0, records(0, &[("a", "1", 9), ("a", "2", 10)]));
    bench.task.process(9).unwrap();
    assert_eq!(bench.texts("out"), ["a2"]);
    assert_eq!(bench.task.dropped().processing, 1);
}

#[test]
fn bytes_and_code_are_judged_by_policies_of_their_own() {
    let builder = StreamsBuilder::new();
    let refuse_two = |v: u64| if v == 2 { Err("two is refused") } else { Ok(v) };
    builder
        .stream(&NUMBERS_IN)
        .try_map_values(refuse_two)
        .to(&NUMBERS_OUT);
    let config = TaskConfig {
        policies: Policies {
            deserialization: ErrorPolicy::Skip,
            ..Policies::default()
        },
        ..TaskConfig::new("app")
    };
    let topology = builder.build().unwrap();
    let mut driver = TopologyTestDriver::with_config(topology, &config).unwrap();
    driver
        .pipe_raw("numbers-in", Some(b"a"), Some(b"no number"), 0)
        .unwrap();
    driver.pipe(&NUMBERS_IN, "a".into(), 1, 0).unwrap();
    let error = driver.pipe(&NUMBERS_IN, "a".into(), 2, 0).unwrap_err();
    assert!(error.to_string().contains("two is refused"), "{error}");
    assert_eq!(driver.dropped().deserialization, 1);
    assert_eq!(
        driver.read_key_values(&NUMBERS_OUT).unwrap(),
        [("a".into(), Some(1))]
    );
}

static NUMBERS_IN: Topic<String, u64> = Topic::new("numbers-in", utf8(), u64_be());
static NUMBERS_OUT: Topic<String, u64> = Topic::new("numbers-out", utf8(), u64_be());
