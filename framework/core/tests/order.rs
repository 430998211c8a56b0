//! Children are called in the order in which the program declares them, depth first.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::{
    batch::{RecordBatch, Records},
    prelude::*,
    record::RawRecord,
    task::{Supply, Task, TaskConfig},
};
use millstream_state::MemoryBackend;
use std::sync::{Arc, Mutex};

static IN: Topic<String, i64> = Topic::new("in", utf8(), i64_be());
static OTHER: Topic<String, i64> = Topic::new("other", utf8(), i64_be());

/// Who was called, in order.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<&'static str>>>);

impl Calls {
    fn note(&self, name: &'static str) -> impl Fn(&String, &i64) + Send + Sync + 'static {
        let calls = self.0.clone();
        move |_, _| calls.lock().unwrap().push(name)
    }

    fn after(&self, builder: StreamsBuilder, topic: &Topic<String, i64>) -> Vec<&'static str> {
        let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
        driver.pipe(topic, "k".to_owned(), 1, 0).unwrap();
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn end(stream: KStream<'_, String, i64>) {
    stream.for_each(|_, _| ());
}

#[test]
fn three_children_and_theirs() {
    let (calls, builder) = (Calls::default(), StreamsBuilder::new());
    let stream = builder.stream(&IN);
    let first = stream.peek(calls.note("1"));
    let second = stream.peek(calls.note("2"));
    // Declared later, but below the first: depth goes before breadth.
    end(first.peek(calls.note("1.1")));
    end(stream.peek(calls.note("3")));
    end(second.peek(calls.note("2.1")));
    end(first.peek(calls.note("1.2")));
    let expected = ["1", "1.1", "1.2", "2", "2.1", "3"];
    assert_eq!(calls.after(builder, &IN), expected);
}

#[test]
fn a_diamond_is_entered_by_each_of_its_sides() {
    let (calls, builder) = (Calls::default(), StreamsBuilder::new());
    let stream = builder.stream(&IN);
    let (a, b) = (stream.peek(calls.note("a")), stream.peek(calls.note("b")));
    let c = stream.peek(calls.note("c"));
    let merged = c.merge(a).merge(b);
    end(merged.peek(calls.note("x")));
    end(merged.peek(calls.note("y")));
    let expected = ["a", "x", "y", "b", "x", "y", "c", "x", "y"];
    assert_eq!(calls.after(builder, &IN), expected);
}

#[test]
fn a_stream_merged_with_itself_comes_twice() {
    let (calls, builder) = (Calls::default(), StreamsBuilder::new());
    let stream = builder.stream(&IN);
    end(stream.merge(stream).peek(calls.note("x")));
    assert_eq!(calls.after(builder, &IN), ["x", "x"]);
}

#[test]
fn two_sources_of_one_topic_are_served_in_order() {
    let (calls, builder) = (Calls::default(), StreamsBuilder::new());
    end(builder.stream(&IN).peek(calls.note("1")));
    end(builder.stream(&OTHER).peek(calls.note("other")));
    end(builder.stream(&IN).peek(calls.note("2")));
    end(builder.stream(&IN).peek(calls.note("3")));
    assert_eq!(calls.after(builder, &IN), ["1", "2", "3"]);
}

#[test]
fn sharing_a_store_changes_no_order() {
    let (calls, builder) = (Calls::default(), StreamsBuilder::new());
    let rows = builder.table(&OTHER, "rows");
    let stream = builder.stream(&IN);
    end(stream.left_join(rows, |n, _| n).peek(calls.note("1")));
    end(stream.peek(calls.note("2")));
    end(stream.left_join(rows, |n, _| n).peek(calls.note("3")));
    assert_eq!(calls.after(builder, &IN), ["1", "2", "3"]);
}

#[test]
fn a_change_of_a_table_reaches_its_children_in_order() {
    let (calls, builder) = (Calls::default(), StreamsBuilder::new());
    let rows = builder.table(&IN, "rows");
    let seen = |name| {
        let note = calls.note(name);
        move |key: String, row: Option<i64>| note(&key, &row.unwrap_or_default())
    };
    rows.to_stream().for_each(seen("1"));
    rows.filter(|_, _| true).to_stream().for_each(seen("2"));
    rows.to_stream().for_each(seen("3"));
    assert_eq!(calls.after(builder, &IN), ["1", "2", "3"]);
}

/// Tells its name and the time, so often.
struct Ticks(&'static str, Timestamp);

impl Processor<String, i64> for Ticks {
    type Key = String;
    type Value = i64;

    fn init(&mut self, ctx: &mut StateContext<'_>) -> ProcessResult {
        ctx.schedule(Schedule::stream_time(self.1))?;
        Ok(())
    }

    fn process(
        &mut self,
        _: Record<String, i64>,
        _: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        Ok(())
    }

    fn punctuate(
        &mut self,
        _: &Cancellable,
        now: Timestamp,
        ctx: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        Ok(ctx.forward(Record::new(self.0.to_owned(), now, now))?)
    }
}

#[test]
fn who_is_due_first_is_called_first_and_else_who_was_declared_first() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream(&IN);
    for (name, interval) in [("a", 42), ("b", 30), ("c", 42)] {
        let ticks = stream.process((), move |()| Ticks(name, interval));
        ticks.to(&OTHER);
    }
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    let mut called = |time| {
        driver.pipe(&IN, "k".to_owned(), 1, time).unwrap();
        let told = driver.read(&OTHER).unwrap().into_iter();
        told.map(|record| record.key).collect::<String>()
    };
    // All begin at once, then come 30, 42 and 42, then 60, 84 and 84.
    assert_eq!(called(0), "abc");
    assert_eq!(called(50), "bac");
    assert_eq!(called(100), "bac");
    assert_eq!(called(100), "");
}

/// Tells the wall clock's time, so often.
struct Clock(Timestamp);

impl Processor<String, i64> for Clock {
    type Key = String;
    type Value = i64;

    fn init(&mut self, ctx: &mut StateContext<'_>) -> ProcessResult {
        ctx.schedule(Schedule::wall_clock(self.0))?;
        Ok(())
    }

    fn process(
        &mut self,
        _: Record<String, i64>,
        _: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        Ok(())
    }

    fn punctuate(
        &mut self,
        _: &Cancellable,
        now: Timestamp,
        ctx: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        Ok(ctx.forward(Record::new("clock".to_owned(), now, now))?)
    }
}

#[test]
fn what_a_punctuation_sends_to_its_own_task_is_followed() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream(&IN);
    let told = stream.process((), |()| Clock(10)).repartition("through");
    // Merged with where it came from, it is in one task with it.
    told.merge(stream).to(&OTHER);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    driver.advance_wall_clock(10).unwrap();
    let told = driver.read_key_values(&OTHER).unwrap();
    assert_eq!(told, [("clock".to_owned(), Some(10))]);
}

/// It does not depend on where in the program a topic is first read.
#[test]
fn of_records_of_one_time_those_of_the_topic_whose_name_comes_first_go_first() {
    for reversed in [false, true] {
        let (calls, builder) = (Calls::default(), StreamsBuilder::new());
        let topics = if reversed {
            [&OTHER, &IN]
        } else {
            [&IN, &OTHER]
        };
        let [first, second] = topics.map(|topic| builder.stream(topic));
        end(first.peek(calls.note(topics[0].name)));
        end(second.peek(calls.note(topics[1].name)));
        end(first.merge(second));
        let id = TaskId {
            subtopology: 0,
            partition: 0,
        };
        let backend = Arc::new(MemoryBackend::new::<&str>(&[]));
        let topology = builder.build().unwrap();
        let mut task = Task::open(&topology, id, &TaskConfig::new("app"), backend).unwrap();
        for input in 0..2 {
            let mut batch = RecordBatch::new();
            let record = RawRecord {
                key: Some(b"k"),
                value: Some(&[0; 8]),
                timestamp: 5,
                headers: &Headers::NONE,
            };
            assert!(batch.push(0, record));
            task.add(input, Records::all(Arc::new(batch)));
            task.set_supply(input, Supply::Exhausted);
        }
        assert_eq!(task.process(2).unwrap(), 2);
        assert_eq!(*calls.0.lock().unwrap(), ["in", "other"]);
    }
}
