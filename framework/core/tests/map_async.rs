//! Asynchronous operators: order, bounds, time, what fails, and that no commit overtakes a call.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::{
    batch::{RecordBatch, Records},
    calls::{Executor, InlineExecutor},
    prelude::*,
    record::{RawRecord, TaskId},
    task::{Emission, Place, Policies, Task, TaskConfig},
    topology::Topology,
};
use millstream_state::MemoryBackend;
use proptest::{collection::vec, prelude::*};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

static IN: Topic<String, u64> = Topic::new("in", utf8(), u64_be());
static OUT: Topic<String, u64> = Topic::new("out", utf8(), u64_be());
static SUMS: Topic<String, u64> = Topic::new("sums", utf8(), u64_be());

const MS: Duration = Duration::from_millis(1);

/// One task over calls whose answers take virtual time.
struct Bench {
    task: Task,
    executor: InlineExecutor,
    next: i64,
}

impl Bench {
    fn new(topology: &Topology, executor: &InlineExecutor, policies: impl Into<Policies>) -> Self {
        let names = topology.stores().iter().map(|store| store.name.as_str());
        let backend = Arc::new(MemoryBackend::new(&names.collect::<Vec<_>>()));
        let id = TaskId {
            subtopology: 0,
            partition: 0,
        };
        let config = TaskConfig {
            policies: policies.into(),
            dead_letter_topic: Some("dead".to_owned()),
            executor: Some(Arc::new(executor.clone())),
            ..TaskConfig::new("app")
        };
        Self {
            task: Task::open(topology, id, &config, backend).unwrap(),
            executor: executor.clone(),
            next: 0,
        }
    }

    fn add(&mut self, rows: &[(&str, u64)]) {
        let mut batch = RecordBatch::new();
        for (key, value) in rows {
            let bytes = value.to_be_bytes();
            let record = RawRecord {
                key: Some(key.as_bytes()),
                value: Some(&bytes),
                timestamp: self.next,
                headers: &Headers::NONE,
            };
            assert!(batch.push(self.next, record));
            self.next += 1;
        }
        self.task.add(0, Records::all(Arc::new(batch)));
    }

    /// Runs until nothing is queued and nothing is out.
    fn finish(&mut self) -> millstream_core::Result<()> {
        loop {
            let done = self.task.process(usize::MAX)?;
            if self.task.outstanding_calls() > 0 {
                self.executor.wait(Duration::ZERO);
            } else if done == 0 {
                return Ok(());
            }
        }
    }

    /// Takes keys and values of what was written.
    fn outputs(&mut self, topic: &str) -> Vec<(String, u64)> {
        let outputs = self.task.outputs().iter_mut();
        let mut found = Vec::new();
        for output in outputs.filter(|output| &*output.topic == topic) {
            let show = |record: RawRecord<'_>| {
                let key = String::from_utf8(record.key.unwrap_or_default().to_vec());
                let value = record.value.unwrap_or_default().try_into().unwrap();
                (key.unwrap(), u64::from_be_bytes(value))
            };
            found.extend(output.records.iter().map(|(_, record)| show(record)));
            output.records.clear();
        }
        found
    }
}

fn pairs(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
    let owned = rows.iter().map(|(key, value)| ((*key).to_owned(), *value));
    owned.collect()
}

/// What a program's calls did, as seen from outside.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Watch>>);

#[derive(Default)]
struct Watch {
    out: BTreeMap<String, u32>,
    most: u32,
    most_of_key: u32,
    begun: u32,
}

impl Seen {
    fn begin(&self, key: &str) {
        let watch = &mut *self.0.lock().unwrap();
        *watch.out.entry(key.to_owned()).or_default() += 1;
        watch.begun += 1;
        watch.most = watch.most.max(watch.out.values().sum());
        watch.most_of_key = watch.most_of_key.max(watch.out[key]);
    }

    fn end(&self, key: &str) {
        *self.0.lock().unwrap().out.get_mut(key).unwrap() -= 1;
    }
}

/// A program whose calls take as many milliseconds as their values say and give them back.
fn sleeping(config: AsyncConfig, executor: &InlineExecutor, seen: &Seen) -> Topology {
    let (executor, seen) = (executor.clone(), seen.clone());
    let builder = StreamsBuilder::new();
    let call = move |key: String, value: u64| {
        seen.begin(&key);
        let (sleep, seen) = (executor.sleep(Duration::from_millis(value)), seen.clone());
        async move {
            sleep.await;
            seen.end(&key);
            Ok::<_, String>(value)
        }
    };
    builder
        .stream(&IN)
        .map_async("sleep", config, call)
        .to(&OUT);
    builder.build().unwrap()
}

fn run(config: AsyncConfig, rows: &[(&str, u64)]) -> (Vec<(String, u64)>, Duration, Seen) {
    let (executor, seen) = (InlineExecutor::new(), Seen::default());
    let topology = sleeping(config.without_timeout(), &executor, &seen);
    let mut bench = Bench::new(&topology, &executor, ErrorPolicy::Fail);
    bench.add(rows);
    bench.finish().unwrap();
    (bench.outputs("out"), executor.now(), seen)
}

#[test]
fn results_come_in_the_order_of_the_records_while_calls_overlap() {
    let rows = [("a", 30), ("b", 10), ("a", 5), ("c", 20)];
    let (results, took, seen) = run(AsyncConfig::new(), &rows);
    assert_eq!(results, pairs(&rows));
    assert_eq!(took, 35 * MS, "the two of one key one after the other");
    assert_eq!(seen.0.lock().unwrap().most, 3);
}

#[test]
fn unordered_results_come_as_calls_end_but_those_of_a_key_in_order() {
    let rows = [("a", 30), ("b", 10), ("a", 5), ("c", 20)];
    let (results, took, _) = run(AsyncConfig::new().unordered(), &rows);
    let expected = [("b", 10), ("c", 20), ("a", 30), ("a", 5)];
    assert_eq!(results, pairs(&expected));
    assert_eq!(took, 35 * MS);
}

#[test]
fn a_task_takes_no_more_records_than_may_be_out() {
    let (executor, seen) = (InlineExecutor::new(), Seen::default());
    let topology = sleeping(AsyncConfig::new().concurrency(2), &executor, &seen);
    let mut bench = Bench::new(&topology, &executor, ErrorPolicy::Fail);
    bench.add(&[("a", 1), ("b", 1), ("c", 1)]);
    assert_eq!(bench.task.process(9).unwrap(), 2);
    assert_eq!(bench.task.outstanding_calls(), 2);
    assert_eq!(bench.task.queued(0), 1, "the third one waits in its queue");
    assert_eq!(bench.task.process(9).unwrap(), 0);
    executor.wait(Duration::ZERO);
    assert_eq!(bench.task.process(9).unwrap(), 1);
    bench.finish().unwrap();
    assert_eq!(bench.outputs("out").len(), 3);
    assert_eq!(seen.0.lock().unwrap().most, 2);
}

#[test]
fn no_place_is_committed_before_what_came_of_it() {
    let (executor, seen) = (InlineExecutor::new(), Seen::default());
    let topology = sleeping(AsyncConfig::new(), &executor, &seen);
    let mut bench = Bench::new(&topology, &executor, ErrorPolicy::Fail);
    bench.add(&[("a", 1), ("b", 2)]);
    bench.task.process(9).unwrap();
    assert_eq!(
        (bench.task.outstanding_calls(), bench.outputs("out")),
        (2, vec![])
    );
    // The thread waits, and the commit after that has both.
    bench.finish().unwrap();
    assert_eq!(bench.task.outstanding_calls(), 0);
    assert_eq!(bench.outputs("out").len(), 2);
    let places = &bench.task.prepare_commit().unwrap().places;
    assert_eq!(places[0].1.offset, 2);
}

#[test]
fn an_abort_cancels_calls_and_the_records_are_called_for_again() {
    let (executor, seen) = (InlineExecutor::new(), Seen::default());
    let topology = sleeping(AsyncConfig::new(), &executor, &seen);
    let mut bench = Bench::new(&topology, &executor, ErrorPolicy::Fail);
    let rows = [("a", 1), ("b", 1_000)];
    bench.add(&rows);
    bench.task.process(9).unwrap();
    executor.wait(Duration::ZERO);
    assert_eq!(executor.now(), MS, "one is answered, one is out");
    bench.task.abort().unwrap();
    assert_eq!(bench.task.outstanding_calls(), 0);
    bench.task.resume(0, Place::start(0));
    bench.next = 0;
    bench.add(&rows);
    bench.finish().unwrap();
    assert_eq!(bench.outputs("out"), pairs(&rows), "each result once");
    assert_eq!(executor.now(), 1_001 * MS);
    let watch = seen.0.lock().unwrap();
    assert_eq!(watch.begun, 4, "each call twice");
    let still_out: u32 = watch.out.values().sum();
    assert_eq!(still_out, 1, "the cancelled one never came to its end");
}

/// A program whose calls fail so often before they succeed, or for ever where the value is 0.
fn flaky(config: AsyncConfig, failures: u32) -> StreamsBuilder {
    let tries = Arc::new(AtomicU32::new(0));
    let builder = StreamsBuilder::new();
    let call = move |_: String, value: u64| {
        let tried = tries.fetch_add(1, Ordering::Relaxed);
        async move {
            match value {
                0 => Err("never".to_owned()),
                _ if tried < failures => Err(format!("not yet: {tried}")),
                _ => Ok(value),
            }
        }
    };
    builder
        .stream(&IN)
        .map_async("flaky", config, call)
        .to(&OUT);
    builder
}

#[test]
fn failed_calls_are_made_again_with_waits_that_double() {
    let config = AsyncConfig::new().retries(3, 10 * MS);
    let executor = InlineExecutor::new();
    let topology = flaky(config, 3).build().unwrap();
    let mut bench = Bench::new(&topology, &executor, ErrorPolicy::Fail);
    bench.add(&[("a", 7)]);
    bench.finish().unwrap();
    assert_eq!(bench.outputs("out"), pairs(&[("a", 7)]));
    assert_eq!(executor.now(), 70 * MS, "10, 20 and 40");

    let topology = flaky(config, 4).build().unwrap();
    let mut bench = Bench::new(&topology, &InlineExecutor::new(), ErrorPolicy::Fail);
    bench.add(&[("b", 8)]);
    let error = bench.finish().unwrap_err().to_string();
    assert_eq!(error, "in-0 offset 0, flaky: not yet: 3");
}

#[test]
fn a_refused_record_is_kept_as_it_came_whatever_was_taken_in_after_it() {
    let topology = flaky(AsyncConfig::new(), 0).build().unwrap();
    let mut bench = Bench::new(&topology, &InlineExecutor::new(), ErrorPolicy::DeadLetter);
    bench.add(&[("a", 1), ("b", 0), ("c", 3)]);
    bench.finish().unwrap();
    assert_eq!(bench.outputs("out"), pairs(&[("a", 1), ("c", 3)]));
    let dead = bench.task.outputs().iter();
    let dead = dead.filter(|output| &*output.topic == "dead");
    let letters: Vec<_> = dead.flat_map(|output| output.records.iter()).collect();
    let (_, letter) = letters[0];
    assert_eq!((letters.len(), letter.key), (1, Some(&b"b"[..])));
    let header = |name: &str| {
        let found = letter.headers.last(&format!("__streams.errors.{name}"));
        String::from_utf8(found.unwrap().value.clone().unwrap()).unwrap()
    };
    assert_eq!(
        ["offset", "message", "stacktrace"].map(header),
        ["1", "never", "in flaky"]
    );
}

/// Who puts a letter back into its record's topic would put it there several times.
#[test]
fn a_record_is_kept_once_however_many_of_its_results_are_refused_and_when() {
    async fn refuse(_: String, value: u64) -> Result<u64, String> {
        Err(format!("not {value}"))
    }
    let builder = StreamsBuilder::new();
    let records = builder.stream(&IN);
    let _ = records.try_map_values(|value| Err::<u64, _>(format!("never {value}")));
    let several = records.flat_map_values(|value| [value, value + 1, value + 2]);
    let called = several.map_async("call", AsyncConfig::new(), refuse);
    called
        .on_error(ErrorPolicy::DeadLetterTo("others"))
        .to(&OUT);
    let again = records.map_async("again", AsyncConfig::new(), refuse);
    again.to(&OUT);
    let topology = builder.build().unwrap();
    let mut bench = Bench::new(&topology, &InlineExecutor::new(), ErrorPolicy::DeadLetter);
    let rows = [("a", 1), ("b", 10)];
    // What an abort takes back has to be told again.
    for _ in 0..2 {
        bench.task.abort().unwrap();
        bench.task.resume(0, Place::start(0));
        bench.next = 0;
        bench.add(&rows);
        bench.finish().unwrap();
        let dropped = bench.task.dropped();
        assert_eq!((dropped.processing, dropped.dead_lettered), (10, 4));
    }
    // Each of the two is in each topic.
    assert_eq!(bench.outputs("dead"), pairs(&rows));
    assert_eq!(bench.outputs("others"), pairs(&rows));
}

#[test]
fn what_takes_too_long_is_dropped_and_refused() {
    let (executor, seen) = (InlineExecutor::new(), Seen::default());
    let topology = sleeping(AsyncConfig::new().timeout(20 * MS), &executor, &seen);
    let mut bench = Bench::new(&topology, &executor, ErrorPolicy::Skip);
    bench.add(&[("a", 30), ("b", 20), ("c", 19)]);
    bench.finish().unwrap();
    assert_eq!(bench.outputs("out"), pairs(&[("b", 20), ("c", 19)]));
    assert_eq!(executor.now(), 20 * MS);
    assert_eq!(bench.task.dropped().processing, 1);
}

#[test]
fn a_call_that_panics_stops_the_task_whatever_the_policy() {
    /// Drops what it is given, as a thread does that a panic unwinds.
    #[derive(Debug)]
    struct Dropping;
    impl Executor for Dropping {
        fn spawn(&self, _: millstream_core::calls::Call) {}
        fn sleep(&self, _: Duration) -> millstream_core::calls::Call {
            Box::pin(async {})
        }
        fn wait(&self, _: Duration) -> bool {
            false
        }
    }
    let config = TaskConfig {
        policies: ErrorPolicy::Skip.into(),
        executor: Some(Arc::new(Dropping)),
        ..TaskConfig::new("app")
    };
    let topology = flaky(AsyncConfig::new(), 0).build().unwrap();
    let mut driver = TopologyTestDriver::with_config(topology, &config).unwrap();
    let error = driver.pipe(&IN, "a".into(), 1, 0).unwrap_err().to_string();
    assert_eq!(error, "a call of flaky ended without an answer");
}

/// Counts per key what two asynchronous operators in a row let through.
fn counting(executor: &InlineExecutor) -> Topology {
    let builder = StreamsBuilder::new();
    let (first, second) = (executor.clone(), executor.clone());
    builder
        .stream(&IN)
        .flat_map_values(|value| [value, value + 1])
        .map_async("first", AsyncConfig::new(), move |_, value: u64| {
            let sleep = first.sleep(Duration::from_millis(value));
            async move {
                sleep.await;
                Ok::<_, String>(value)
            }
        })
        .group_by_key()
        .count("counts")
        .to_stream()
        .map_async("second", AsyncConfig::new(), move |_, change| {
            let sleep = second.sleep(MS);
            async move {
                sleep.await;
                change.ok_or("a count is never deleted")
            }
        })
        .to(&SUMS);
    builder.build().unwrap()
}

#[test]
fn the_driver_waits_for_all_that_a_record_leads_to() {
    let expected = |emission| match emission {
        Emission::PerUpdate => vec![1, 2, 3, 4],
        // What waits for the commit makes calls too, and is one change for each record.
        Emission::PerCommit => vec![2, 4],
    };
    for emission in [Emission::PerUpdate, Emission::PerCommit] {
        let executor = InlineExecutor::new();
        let config = TaskConfig {
            emission,
            executor: Some(Arc::new(executor.clone())),
            ..TaskConfig::new("app")
        };
        let topology = counting(&executor);
        let mut driver = TopologyTestDriver::with_config(topology, &config).unwrap();
        driver.pipe(&IN, "a".into(), 10, 5).unwrap();
        driver.pipe(&IN, "a".into(), 20, 7).unwrap();
        let sums = driver.read(&SUMS).unwrap();
        let values: Vec<_> = sums.iter().map(|record| record.value).collect();
        assert_eq!(values, expected(emission));
        assert_eq!(sums.last().unwrap().timestamp, 7);
    }
}

#[test]
fn a_task_without_an_executor_and_names_used_twice_are_refused() {
    let topology = flaky(AsyncConfig::new(), 0).build().unwrap();
    let backend = Arc::new(MemoryBackend::new::<&str>(&[]));
    let id = TaskId {
        subtopology: 0,
        partition: 0,
    };
    let opened = Task::open(&topology, id, &TaskConfig::new("app"), backend);
    let error = opened.map(drop).unwrap_err().to_string();
    assert!(error.contains("nobody to run their calls"), "{error}");

    let builder = flaky(AsyncConfig::new(), 0);
    let same = |_: String, value: u64| async move { Ok::<_, String>(value) };
    builder
        .stream(&OUT)
        .map_async("flaky", AsyncConfig::new(), same)
        .to(&SUMS);
    let error = builder.build().map(drop).unwrap_err().to_string();
    assert!(error.contains("\"flaky\" is used already"), "{error}");
}

/// When all calls have ended that begin as early as they may: a record is taken when fewer than
/// `concurrency` are between the operator's ends, and its call is made when that of the record of
/// its key before it has ended.
fn schedule(rows: &[(&str, u64)], concurrency: usize, ordered: bool) -> u64 {
    let (mut taken, mut last) = (0, 0);
    let (mut gone, mut free) = (Vec::<u64>::new(), BTreeMap::new());
    for (key, takes) in rows {
        gone.sort_unstable();
        if let Some(place) = gone.len().checked_sub(concurrency) {
            taken = gone[place].max(taken);
        }
        let free = free.entry(*key).or_insert(0);
        *free = taken.max(*free) + takes;
        last = last.max(*free);
        // In order a record waits for all those before it.
        gone.push(if ordered { last } else { *free });
    }
    last
}

proptest! {
    /// Whatever calls take: all results come, in order, never two calls of a key nor more than may
    /// be; and records that may run together do.
    #[test]
    fn order_and_bounds_hold(
        rows in vec((0..4_usize, 0..40_u64), 0..60),
        concurrency in 1..6_usize,
        unordered in any::<bool>(),
    ) {
        let named = |&(key, value): &(usize, u64)| (["a", "b", "c", "d"][key], value);
        let rows: Vec<_> = rows.iter().map(named).collect();
        let mut config = AsyncConfig::new().concurrency(concurrency);
        if unordered {
            config = config.unordered();
        }
        let (results, took, seen) = run(config, &rows);
        let of = |all: &[(String, u64)], key: &str| -> Vec<u64> {
            let of = all.iter().filter(|(other, _)| other == key);
            of.map(|(_, value)| *value).collect()
        };
        let expected = pairs(&rows);
        for key in ["a", "b", "c", "d"] {
            prop_assert_eq!(of(&results, key), of(&expected, key));
        }
        prop_assert!(unordered || results == expected);
        let watch = seen.0.lock().unwrap();
        prop_assert!(watch.most_of_key <= 1 && watch.most as usize <= concurrency);
        let expected = schedule(&rows, concurrency, !unordered);
        prop_assert_eq!(took, Duration::from_millis(expected));
    }
}
