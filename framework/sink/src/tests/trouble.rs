//! Databases that are locked or full, writers that were replaced, topics that forgot.

use super::*;
use crate::Error;

on_each!(
    a_locked_database_makes_the_sink_wait_and_then_go_on,
    a_locked_database_at_start_is_waited_for_too,
    what_waits_is_told_while_the_database_is_away,
    an_older_writer_is_refused_for_good_and_writes_nothing,
    a_writer_that_had_to_reconnect_does_not_take_the_epoch_back,
    what_the_topic_forgot_is_counted_and_a_topic_made_anew_is_refused,
    what_two_partitions_forgot_is_told_of_each,
    a_topic_that_is_not_there_yet_is_waited_for,
);

fn a_locked_database_makes_the_sink_wait_and_then_go_on(engine: Engine) {
    let world = World::new(engine, 1);
    world.log.produce(0, b"a", b"one");
    let mut sink = world.word_sink();
    drain(&mut sink);
    world.log.produce(0, b"b", b"two");

    let mut other = world.locked(false);
    let Step::Retry { at_ms, reason } = sink.step(1000).unwrap() else {
        panic!("not locked")
    };
    assert!(at_ms > 1000 && reason.contains("lock"), "{reason}");
    // Before the time has come, nothing is tried; afterwards the wait doubles.
    assert_eq!(sink.step(1001).unwrap(), Step::Retry { at_ms, reason });
    let Step::Retry { at_ms: later, .. } = sink.step(at_ms).unwrap() else {
        panic!("not locked")
    };
    assert_eq!(
        (later - at_ms, sink.stats().retries),
        (2 * (at_ms - 1000), 2)
    );

    other.rollback();
    assert_eq!(
        sink.step(later).unwrap(),
        Step::Wrote {
            rows: 1,
            dead_letters: 0
        }
    );
    assert_eq!(sink.stats().rows, 2);
}

fn a_locked_database_at_start_is_waited_for_too(engine: Engine) {
    let mut world = World::new(engine, 1);
    if engine == Engine::Postgres {
        // The lock is the whole server's: other tests that start a sink now wait for longer.
        world.more("&options[lock_timeout]=20");
    }
    let mut other = world.locked(true);
    let mut sink = world.word_sink();
    assert!(matches!(sink.step(0).unwrap(), Step::Retry { .. }));
    other.rollback();
    assert_eq!(sink.step(60_000).unwrap(), Step::Idle);
}

fn what_waits_is_told_while_the_database_is_away(engine: Engine) {
    let world = World::new(engine, 2);
    world.log.produce(0, b"a", b"one");
    let mut sink = world.word_sink();
    drain(&mut sink);
    assert_eq!(sink.stats().behind, 0);

    let mut other = world.locked(false);
    let mut now = 0;
    for more in 1..4 {
        world.log.produce(more % 2, b"b", b"two");
        let Step::Retry { at_ms, .. } = sink.step(now).unwrap() else {
            panic!("not locked")
        };
        assert_eq!(sink.stats().behind, more as u64);
        now = at_ms;
    }
    other.rollback();
    sink.step(now).unwrap();
    assert_eq!(sink.stats().behind, 0);
}

/// Only SQLite can be told how many pages it may have.
#[test]
fn a_full_disk_makes_the_sink_wait_and_loses_nothing() {
    let world = World::new(Engine::Sqlite, 1);
    let mut sink = world.sink("words", &Fuse::default(), word);
    drain(&mut sink);
    sink.limit_pages("PRAGMA max_page_count = 12");
    for number in 0..500 {
        world.log.produce(
            0,
            format!("key{number}").as_bytes(),
            "x".repeat(200).as_bytes(),
        );
    }
    let (mut now, mut full) = (0, false);
    while !full {
        match sink.step(now).unwrap() {
            Step::Retry { reason, .. } => {
                assert!(reason.contains("full"), "{reason}");
                full = true;
            }
            Step::Wrote { .. } => now += 1,
            Step::Idle => panic!("not full"),
            Step::Waiting => panic!("it is in no group"),
        }
    }
    let before = sink.stats().rows;
    assert!(before < 500);
    // SQLite ended the transaction itself, so the sink connects anew, and the limit is gone
    // with the old connection: room was made.
    for step in 1..1000 {
        if sink.step(now + step * 60_000).unwrap() == Step::Idle {
            break;
        }
    }
    assert_eq!(
        world.sql("SELECT count(*), min(_offset), max(_offset) FROM words")[0],
        [500.into(), 0.into(), 499.into()]
    );
}

fn an_older_writer_is_refused_for_good_and_writes_nothing(engine: Engine) {
    let world = World::new(engine, 2);
    world.log.produce(0, b"a", b"one");
    let mut zombie = world.word_sink();
    drain(&mut zombie);
    let mut heir = world.word_sink();
    drain(&mut heir);

    world.log.produce(0, b"b", b"\xff");
    let error = zombie.step(1).unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Fenced {
                mine: 1,
                found: 2,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(zombie.step(2).unwrap_err(), error);
    assert!(
        world.log.entries("words-dead-letters").is_empty(),
        "not even a dead letter"
    );
    drain(&mut heir);
    assert_eq!(heir.stats().dead_letters, 1);
}

fn a_writer_that_had_to_reconnect_does_not_take_the_epoch_back(engine: Engine) {
    let world = World::new(engine, 1);
    let mut zombie = world.word_sink();
    drain(&mut zombie);
    let mut other = world.locked(false);
    world.log.produce(0, b"a", b"one");
    assert!(matches!(zombie.step(0).unwrap(), Step::Retry { .. }));
    other.rollback();
    drain(&mut world.word_sink());
    assert!(matches!(zombie.step(60_000), Err(Error::Fenced { .. })));
}

fn what_the_topic_forgot_is_counted_and_a_topic_made_anew_is_refused(engine: Engine) {
    let mut world = World::new(engine, 1);
    for _ in 0..5 {
        world.log.produce(0, b"a", b"one");
    }
    let mut sink = world.word_sink();
    drain(&mut sink);
    drop(sink);
    for _ in 0..5 {
        world.log.produce(0, b"a", b"two");
    }
    world.log.first = 8;
    let mut sink = world.word_sink();
    drain(&mut sink);
    assert_eq!((sink.stats().rows, sink.stats().lost), (2, 3));
    drop(sink);

    world.log = MemoryLog::words(1);
    let error = world.word_sink().step(0).unwrap_err();
    assert!(error.to_string().contains("made anew"), "{error}");
}

/// Takes what is logged on this thread, and keeps the names of partitions of errors.
#[derive(Clone, Default)]
struct Errors(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Errors {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Fields(String);
        impl tracing::field::Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if matches!(field.name(), "partition" | "lost") {
                    self.0.push_str(&format!("{value:?} "));
                }
            }
        }
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

fn what_two_partitions_forgot_is_told_of_each(engine: Engine) {
    let mut world = World::new(engine, 2);
    drain(&mut world.word_sink());
    for number in 0..10 {
        world.log.produce(number % 2, b"a", b"one");
    }
    world.log.first = 3;
    let told = Errors::default();
    // While a process has had only one subscriber, whether a line is wanted is asked on whichever
    // thread comes to it first, and remembered: it may be that of another test, which has none.
    let _another = tracing::Dispatch::new(Errors::default());
    let mut sink = world.word_sink();
    tracing::subscriber::with_default(told.clone(), || drain(&mut sink));
    assert_eq!((sink.stats().rows, sink.stats().lost), (4, 6));
    let told = told.0.lock().unwrap();
    assert_eq!(*told, ["words-0 3 ", "words-1 3 "]);
}

fn a_topic_that_is_not_there_yet_is_waited_for(engine: Engine) {
    let world = World::new(engine, 1);
    let words = world.log.topics.lock().unwrap().remove("words").unwrap();
    let mut sink = world.word_sink();
    assert!(matches!(sink.step(0).unwrap(), Step::Retry { .. }));
    assert!(!sink.caught_up().unwrap());
    world
        .log
        .topics
        .lock()
        .unwrap()
        .insert("words".into(), words);
    assert_eq!(sink.step(60_000).unwrap(), Step::Idle);
    assert!(sink.caught_up().unwrap());
}
