//! Schedules that are made and cancelled while records pass: what is called is the same however
//! often the task begins anew.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "task/harness.rs"]
#[allow(dead_code, reason = "it serves other tests too")]
mod harness;

use harness::{Bench, LEFT, OUT, records};
use millstream_core::{
    ErrorKind,
    prelude::*,
    task::{Emission, TaskConfig},
};

/// Obeys its records, whose values are words: `s NAME INTERVAL [START]` makes a schedule of stream
/// time, `w` one of wall clock, `c NAME` cancels one. A call tells its name and time, and obeys
/// what the schedule's name says behind a colon, with `/` for blanks.
#[derive(Default)]
struct Obeying(Vec<(String, Cancellable)>);

impl Obeying {
    fn obey(&mut self, order: &str, ctx: &mut StateContext<'_>) -> ProcessResult {
        let words: Vec<_> = order.split(' ').collect();
        match words[..] {
            [how @ ("s" | "w"), name, interval, ..] => {
                let schedule = match how {
                    "s" => Schedule::stream_time(interval.parse()?),
                    _ => Schedule::wall_clock(interval.parse()?),
                };
                let start = words.get(3).map(|start| start.parse()).transpose()?;
                let schedule = Schedule { start, ..schedule };
                self.0.push((name.to_owned(), ctx.schedule(schedule)?));
            }
            ["c", name] => {
                for (_, made) in self.0.iter().filter(|(other, _)| other == name) {
                    made.cancel();
                    made.cancel();
                    assert!(made.is_cancelled());
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Processor<String, String> for Obeying {
    type Key = String;
    type Value = String;

    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        self.obey(&record.value, ctx)
    }

    fn punctuate(
        &mut self,
        of: &Cancellable,
        now: Timestamp,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        let (name, _) = self.0.iter().find(|(_, made)| made == of).unwrap().clone();
        ctx.forward(Record::new(name.clone(), now.to_string(), now))?;
        match name.split_once(':') {
            Some((_, order)) => self.obey(&order.replace('/', " "), ctx),
            None => Ok(()),
        }
    }
}

fn obeying() -> Bench {
    let builder = StreamsBuilder::new();
    let stream = builder.stream(&LEFT);
    stream.process((), |()| Obeying::default()).to(&OUT);
    Bench::new(builder.build().unwrap())
}

/// What is told after each of some records.
fn told(bench: &mut Bench, script: &[(&str, Timestamp)]) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for (offset, (value, time)) in (bench.task.next_offset(0)..).zip(script) {
        bench.task.add(0, records(offset, &[("k", value, *time)]));
        assert_eq!(bench.task.process(1).unwrap(), 1);
        all.push(bench.texts("out"));
    }
    all
}

#[test]
fn a_schedule_is_called_for_the_record_that_made_it_and_then_as_time_advances() {
    let mut bench = obeying();
    let script = [
        ("", 50),
        ("s a 100", 50),
        ("", 99),
        ("", 99),
        // Late, and no advance.
        ("s b 10", 20),
        ("", 100),
        ("", 345),
        ("c a", 400),
        ("c b", 409),
        ("", 900),
    ];
    let told = told(&mut bench, &script);
    let expected: [&[&str]; 10] = [
        &[],
        &["a50"],
        &[],
        &[],
        &["b99"],
        &["a100", "b100"],
        &["b345", "a345"],
        &["b400"],
        &[],
        &[],
    ];
    assert_eq!(told, expected);
}

/// What a driver reads after a record has made a schedule that is due.
fn told_at_once(builder: StreamsBuilder, emission: Emission) -> Vec<String> {
    let config = TaskConfig {
        emission,
        ..TaskConfig::new("test")
    };
    let topology = builder.build().unwrap();
    let mut driver = TopologyTestDriver::with_config(topology, &config).unwrap();
    driver
        .pipe(&LEFT, "k".to_owned(), "s a 100".to_owned(), 50)
        .unwrap();
    let told = driver.read(&OUT).unwrap().into_iter();
    told.map(|record| record.key + &record.value).collect()
}

#[test]
fn a_schedule_is_called_for_a_record_that_was_with_an_asynchronous_operator() {
    async fn echo(_: String, text: String) -> Result<String, String> {
        Ok(text)
    }
    let builder = StreamsBuilder::new();
    let asked = builder
        .stream(&LEFT)
        .map_async("echo", AsyncConfig::new(), echo);
    asked.process((), |()| Obeying::default()).to(&OUT);
    assert_eq!(told_at_once(builder, Emission::PerUpdate), ["a50"]);
}

#[test]
fn a_schedule_is_called_for_a_change_that_waited_for_the_commit() {
    let builder = StreamsBuilder::new();
    let grouped = builder.stream(&LEFT).group_by_key();
    let rows = grouped.reduce("rows", |_, text| text).to_stream();
    let orders = rows.map_values(Option::unwrap_or_default);
    orders.process((), |()| Obeying::default()).to(&OUT);
    assert_eq!(told_at_once(builder, Emission::PerCommit), ["a50"]);
}

#[test]
fn a_start_says_when_the_first_call_is_due_and_the_others_count_from_it() {
    let mut bench = obeying();
    let script = [
        ("s later 100 130", 50),
        ("s past 100 30", 55),
        ("", 129),
        ("", 130),
        ("", 229),
        ("", 230),
        ("s now 1000 230", 230),
    ];
    let told = told(&mut bench, &script);
    let expected: [&[&str]; 7] = [
        &[],
        // A start that is past is the beginning of the count, and no call.
        &[],
        &[],
        // Both are due at 130: `past` for it is 100 after 30.
        &["later130", "past130"],
        &[],
        &["later230", "past230"],
        &["now230"],
    ];
    assert_eq!(told, expected);

    let mut bench = obeying();
    bench.task.advance_wall_clock(1_000).unwrap();
    assert_eq!(
        self::told(&mut bench, &[("w w 100 1005", 0), ("w v 100", 0)]),
        [[""; 0]; 2]
    );
    let mut at = |now| {
        bench.task.advance_wall_clock(now).unwrap();
        bench.texts("out")
    };
    assert_eq!(at(1_004), [""; 0]);
    assert_eq!(at(1_005), ["w1005"]);
    assert_eq!(at(1_104), ["v1104"]);
    assert_eq!(at(1_105), ["w1105"]);
    assert_eq!(at(1_500), ["v1500", "w1500"]);
}

#[test]
fn a_wall_clock_that_is_put_back_calls_from_there_on_again() {
    let mut bench = obeying();
    bench.task.advance_wall_clock(1_000).unwrap();
    told(
        &mut bench,
        &[("w w 100 1005", 0), ("w v 100", 0), ("w x 100 7000", 0)],
    );
    let mut at = |now| {
        bench.task.advance_wall_clock(now).unwrap();
        bench.texts("out")
    };
    assert_eq!(at(1_105), ["w1105", "v1105"]);
    assert_eq!(at(500), [""; 0]);
    assert_eq!(at(599), [""; 0]);
    // What has a start keeps to it: as if the task began now.
    assert_eq!(at(600), ["v600"]);
    assert_eq!(at(1_005), ["v1005", "w1005"]);
    assert_eq!(at(7_000), ["v7000", "w7000", "x7000"]);
}

#[test]
fn who_is_cancelled_in_a_round_is_not_called_in_it() {
    let mut bench = obeying();
    let script = [
        ("s a:c/b 10", 5),
        ("s b 10", 5),
        ("s c:c/c:c/c 100", 5),
        ("", 10),
        ("", 20),
        ("s d:c/d:c/d 10", 20),
        ("", 100),
    ];
    let told = told(&mut bench, &script);
    let expected: [&[&str]; 7] = [
        &["a:c/b5"],
        &["b5"],
        &["c:c/c:c/c5"],
        &["a:c/b10"],
        &["a:c/b20"],
        &["d:c/d:c/d20"],
        &["a:c/b100", "d:c/d:c/d100", "c:c/c:c/c100"],
    ];
    assert_eq!(told, expected, "`a` came first at 10, and `b` never again");

    let mut bench = obeying();
    let script = [
        ("s once:c/once:c/once 10", 5),
        ("c once:c/once:c/once", 6),
        ("", 90),
    ];
    let expected: [&[&str]; 3] = [&["once:c/once:c/once5"], &[], &[]];
    assert_eq!(self::told(&mut bench, &script), expected);
}

#[test]
fn what_a_punctuation_makes_comes_in_the_same_round_if_it_is_due() {
    let mut bench = obeying();
    let told = told(
        &mut bench,
        &[("", 7), ("s a:s/b/10 100", 7), ("c a:s/b/10", 7), ("", 10)],
    );
    let expected: [&[&str]; 4] = [&[], &["a:s/b/107", "b7"], &[], &["b10"]];
    assert_eq!(told, expected);
}

#[test]
fn a_schedule_of_stream_time_that_no_record_makes_is_called_without_one() {
    let mut bench = obeying();
    bench.task.advance_wall_clock(0).unwrap();
    told(&mut bench, &[("w a:s/b/10 1000", 500)]);
    bench.task.advance_wall_clock(999).unwrap();
    assert!(bench.texts("out").is_empty());
    bench.task.advance_wall_clock(1_000).unwrap();
    assert_eq!(bench.texts("out"), ["a:s/b/101000", "b500"]);
    bench.task.advance_wall_clock(1_001).unwrap();
    assert!(bench.texts("out").is_empty());
}

#[test]
fn schedules_that_beget_each_other_without_end_are_an_error() {
    struct Endless;
    impl Processor<String, String> for Endless {
        type Key = String;
        type Value = String;

        fn process(
            &mut self,
            _: Record<String, String>,
            ctx: &mut ProcessorContext<'_, String, String>,
        ) -> ProcessResult {
            ctx.schedule(Schedule::stream_time(10))?;
            Ok(())
        }

        fn punctuate(
            &mut self,
            of: &Cancellable,
            _: Timestamp,
            ctx: &mut ProcessorContext<'_, String, String>,
        ) -> ProcessResult {
            of.cancel();
            ctx.schedule(of.schedule())?;
            Ok(())
        }
    }
    let builder = StreamsBuilder::new();
    builder.stream(&LEFT).process((), |()| Endless).to(&OUT);
    let mut bench = Bench::new(builder.build().unwrap());
    bench.task.add(0, records(0, &[("k", "", 1)]));
    let error = bench.task.process(1).unwrap_err();
    assert!(error.to_string().contains("without end"), "{error}");
}

#[test]
fn an_interval_below_a_millisecond_is_an_error_wherever_it_is_asked_for() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream(&LEFT);
    stream
        .process((), |()| Obeying::default())
        .on_error(ErrorPolicy::Skip)
        .to(&OUT);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    driver.pipe(&LEFT, "k".into(), "s a 0".into(), 0).unwrap();
    driver.pipe(&LEFT, "k".into(), "w a -5".into(), 9).unwrap();
    assert_eq!(driver.dropped().processing, 2);

    struct Wrong(Schedule);
    impl FixedKeyProcessor<String, String> for Wrong {
        type Value = String;

        fn init(&mut self, ctx: &mut StateContext<'_>) -> ProcessResult {
            ctx.schedule(self.0)?;
            Ok(())
        }

        fn process(
            &mut self,
            _: &String,
            _: String,
            _: &mut FixedKeyContext<'_, String, String>,
        ) -> ProcessResult {
            Ok(())
        }
    }
    let early = Schedule::stream_time(5).starting_at(-1);
    for (wrong, why) in [
        (Schedule::wall_clock(0), "1 ms or more, not 0 ms"),
        (early, "must start at 0, the epoch, or later, not at -1"),
    ] {
        let builder = StreamsBuilder::new();
        let stream = builder.stream(&LEFT);
        let processed = stream.process_values((), move |()| Wrong(wrong));
        // No record is to blame, so no policy is asked.
        processed.on_error(ErrorPolicy::Skip).to(&OUT);
        let driver = TopologyTestDriver::new(builder.build().unwrap());
        let error = driver.err().unwrap();
        assert!(matches!(error.kind(), ErrorKind::Processing(_)), "{error}");
        let text = error.to_string();
        let node = "init of process-values-after-source-left";
        assert!(text.contains(node) && text.contains(why), "{text}");
    }
}

type Deadlines = KeyValueStore<String, i64>;

/// Tells each key once that its deadline has come: every key has a schedule of its own, which is
/// made again from the store.
struct Reminders {
    deadlines: StoreRef<Deadlines>,
    made: Vec<(Cancellable, String)>,
}

impl Processor<String, String> for Reminders {
    type Key = String;
    type Value = String;

    fn init(&mut self, ctx: &mut StateContext<'_>) -> ProcessResult {
        let mut all = Vec::new();
        ctx.store(self.deadlines).all(|key, deadline, _| {
            all.push((key, deadline));
            std::ops::ControlFlow::Continue(())
        })?;
        for (key, deadline) in all {
            let made = ctx.schedule(Schedule::stream_time(30).starting_at(deadline))?;
            self.made.push((made, key));
        }
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        let Record { key, value, .. } = record;
        self.made.retain(|(made, of)| {
            if *of == key {
                made.cancel();
            }
            *of != key
        });
        if value.is_empty() {
            ctx.store(self.deadlines).delete(&key)?;
            return Ok(());
        }
        let deadline = record.timestamp + value.parse::<i64>()?;
        ctx.store(self.deadlines).put(&key, deadline)?;
        let made = ctx.schedule(Schedule::stream_time(30).starting_at(deadline))?;
        self.made.push((made, key));
        Ok(())
    }

    fn punctuate(
        &mut self,
        of: &Cancellable,
        now: Timestamp,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        let (_, key) = self.made.iter().find(|(made, _)| made == of).unwrap();
        Ok(ctx.forward(Record::new(key.clone(), now.to_string(), now))?)
    }
}

#[test]
fn schedules_that_are_made_again_from_a_store_go_on_where_they_were() {
    let script = [
        ("a", "10", 3),
        ("b", "40", 5),
        ("c", "25", 14),
        ("a", "", 20),
        ("d", "8", 44),
        ("b", "50", 47),
        ("b", "1", 20),
        ("e", "5", 90),
        ("d", "", 100),
        ("f", "300", 101),
        ("c", "9", 240),
        ("g", "", 500),
    ];
    let run = |stops: &dyn Fn(usize) -> Option<bool>| {
        let builder = StreamsBuilder::new();
        let deadlines = builder.store("deadlines");
        let new = |deadlines| Reminders {
            deadlines,
            made: Vec::new(),
        };
        builder.stream(&LEFT).process(deadlines, new).to(&OUT);
        let mut bench = Bench::new(builder.build().unwrap());
        let mut all = Vec::new();
        for (at, record) in script.iter().enumerate() {
            bench.task.add(0, records(at as i64, &[*record]));
            assert_eq!(bench.task.process(9).unwrap(), 1);
            all.push(bench.texts("out"));
            let place = bench.commit().0[0].1;
            let Some(crash) = stops(at) else { continue };
            // What is done after the commit is lost with it.
            if let Some(next) = script.get(at + 1) {
                bench.task.add(0, records(at as i64 + 1, &[*next]));
                bench.task.process(9).unwrap();
            }
            if crash {
                bench.reopen();
            } else {
                bench.task.abort().unwrap();
            }
            bench.task.resume(0, place);
        }
        all
    };
    let expected = run(&|_| None);
    let called: Vec<_> = expected.iter().map(|told| told.len()).collect();
    assert_eq!(called, [0, 0, 1, 0, 1, 0, 0, 3, 2, 0, 2, 4], "{expected:?}");
    for crash in [false, true] {
        for stop in 0..script.len() {
            assert_eq!(
                run(&|at| (at == stop).then_some(crash)),
                expected,
                "at {stop}, {crash}"
            );
        }
        assert_eq!(run(&|_| Some(crash)), expected, "everywhere, {crash}");
    }
}
