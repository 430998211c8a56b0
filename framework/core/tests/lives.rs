//! The life of processors: when they begin and end, and what they may look at meanwhile.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "task/harness.rs"]
#[allow(dead_code, reason = "it serves other tests too")]
mod harness;

use harness::{Bench, LEFT, OUT, records};
use millstream_core::{prelude::*, task::TaskConfig};
use std::sync::{Arc, Mutex};

/// Notes what becomes of it.
struct Noting(&'static str, Arc<Mutex<Vec<String>>>);

impl Noting {
    fn note(&self, what: &str) {
        self.1.lock().unwrap().push(format!("{} {what}", self.0));
    }
}

impl Processor<String, String> for Noting {
    type Key = String;
    type Value = String;

    fn init(&mut self, ctx: &mut StateContext<'_>) -> ProcessResult {
        self.note(&format!(
            "init {} {}",
            ctx.task_id(),
            ctx.stream_time().max(-1)
        ));
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        self.note(&record.value);
        if record.value == "bad" {
            return Err("bad".into());
        }
        Ok(ctx.forward(record)?)
    }

    fn close(&mut self) {
        self.note("close");
    }
}

impl FixedKeyProcessor<String, String> for Noting {
    type Value = String;

    fn init(&mut self, ctx: &mut StateContext<'_>) -> ProcessResult {
        self.note(&format!(
            "init {} {}",
            ctx.task_id(),
            ctx.stream_time().max(-1)
        ));
        Ok(())
    }

    fn process(
        &mut self,
        _: &String,
        value: String,
        _: &mut FixedKeyContext<'_, String, String>,
    ) -> ProcessResult {
        self.note(&value);
        Ok(())
    }

    fn close(&mut self) {
        self.note("close");
    }
}

#[test]
fn a_processor_is_initialized_before_all_and_closed_after_all_once_for_each_beginning() {
    let notes: Arc<Mutex<Vec<String>>> = Arc::default();
    let builder = StreamsBuilder::new();
    let (first, second) = (notes.clone(), notes.clone());
    let stream = builder
        .stream(&LEFT)
        .process((), move |()| Noting("a", first.clone()));
    stream
        .process_values((), move |()| Noting("b", second.clone()))
        .to(&OUT);
    let mut bench = Bench::new(builder.build().unwrap());
    let take = || std::mem::take(&mut *notes.lock().unwrap());
    assert!(
        take().is_empty(),
        "a task that does nothing has no processors"
    );
    bench
        .task
        .add(0, records(0, &[("k", "1", 5), ("k", "bad", 6)]));
    bench.task.process(1).unwrap();
    assert_eq!(take(), ["a init 0_0 -1", "b init 0_0 -1", "a 1", "b 1"]);
    let place = bench.commit().0[0].1;
    bench.task.process(1).unwrap_err();
    bench.task.abort().unwrap();
    assert_eq!(take(), ["a bad", "a close", "b close"]);
    bench.task.resume(0, place);
    bench.task.advance_wall_clock(9).unwrap();
    assert_eq!(take(), ["a init 0_0 5", "b init 0_0 5"]);
    drop(bench);
    assert_eq!(take(), ["a close", "b close"]);
}

#[test]
fn a_processor_that_cannot_begin_stops_its_task_and_those_before_it_are_closed() {
    struct Failing;
    impl Processor<String, String> for Failing {
        type Key = String;
        type Value = String;

        fn init(&mut self, _: &mut StateContext<'_>) -> ProcessResult {
            Err("no model".into())
        }

        fn process(
            &mut self,
            _: Record<String, String>,
            _: &mut ProcessorContext<'_, String, String>,
        ) -> ProcessResult {
            Ok(())
        }

        fn close(&mut self) {
            unreachable!("it has not begun");
        }
    }
    let notes: Arc<Mutex<Vec<String>>> = Arc::default();
    let builder = StreamsBuilder::new();
    let noted = notes.clone();
    let stream = builder
        .stream(&LEFT)
        .process((), move |()| Noting("a", noted.clone()));
    stream.process((), |()| Failing).to(&OUT);
    let config = TaskConfig {
        policies: ErrorPolicy::Skip.into(),
        ..TaskConfig::new("test")
    };
    let driver = TopologyTestDriver::with_config(builder.build().unwrap(), &config);
    let text = driver.err().unwrap().to_string();
    assert!(
        text.contains("no model") && text.contains("init of"),
        "{text}"
    );
    assert_eq!(*notes.lock().unwrap(), ["a init 0_0 -1", "a close"]);
}

#[test]
fn a_fixed_key_processor_looks_at_clocks_stores_and_global_tables() {
    static RATES: Topic<String, i64> = Topic::new("rates", utf8(), i64_be());

    struct Priced {
        rates: GlobalStore<String, i64>,
        seen: StoreRef<KeyValueStore<String, i64>>,
        calls: i64,
    }
    impl FixedKeyProcessor<String, String> for Priced {
        type Value = String;

        fn init(&mut self, ctx: &mut StateContext<'_>) -> ProcessResult {
            ctx.schedule(Schedule::stream_time(10))?;
            Ok(())
        }

        fn process(
            &mut self,
            key: &String,
            _: String,
            ctx: &mut FixedKeyContext<'_, String, String>,
        ) -> ProcessResult {
            let rate = ctx.global(self.rates, key)?.map(|(rate, _)| rate);
            let calls = ctx.store(self.seen).get(&"calls".to_owned())?.copied();
            let clocks = (ctx.stream_time(), ctx.wall_clock(), ctx.timestamp());
            ctx.request_commit();
            Ok(ctx.forward(format!("{rate:?} {calls:?} {clocks:?} {}", ctx.task_id()))?)
        }

        fn punctuate(
            &mut self,
            _: &Cancellable,
            _: Timestamp,
            ctx: &mut StateContext<'_>,
        ) -> ProcessResult {
            self.calls += 1;
            Ok(ctx.store(self.seen).put(&"calls".to_owned(), self.calls)?)
        }
    }
    let builder = StreamsBuilder::new();
    let rates = builder.global_table(&RATES, "rates").store();
    let seen = builder.store("seen");
    let priced = builder
        .stream(&LEFT)
        .process_values(seen, move |seen| Priced {
            rates,
            seen,
            calls: 0,
        });
    priced.to(&OUT);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    driver.pipe(&RATES, "k".into(), 7, 0).unwrap();
    driver.advance_wall_clock(1_000).unwrap();
    driver.pipe(&LEFT, "k".into(), String::new(), 8).unwrap();
    driver.pipe(&LEFT, "l".into(), String::new(), 3).unwrap();
    driver.pipe(&LEFT, "k".into(), String::new(), 10).unwrap();
    driver.pipe(&LEFT, "k".into(), String::new(), 11).unwrap();
    let told = driver.read_key_values(&OUT).unwrap();
    let told: Vec<_> = told
        .iter()
        .map(|(key, text)| (&**key, text.as_deref()))
        .collect();
    let expected = [
        ("k", Some("Some(7) None (8, 1000, 8) 0_0")),
        ("l", Some("None Some(1) (8, 1000, 3) 0_0")),
        ("k", Some("Some(7) Some(1) (10, 1000, 10) 0_0")),
        ("k", Some("Some(7) Some(2) (11, 1000, 11) 0_0")),
    ];
    assert_eq!(told, expected);
}
