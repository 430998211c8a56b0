//! A sink on its own thread: stopping drains, and errors come out at the end.

use super::*;
use crate::{Error, SinkHandle, SinkState, SinkWatch};
use std::sync::{
    OnceLock,
    atomic::{AtomicI64, Ordering},
};

on_each!(
    stop_drains_to_the_end_of_the_topic,
    stop_gives_up_at_its_bound_and_the_next_start_goes_on,
    sinks_that_are_told_to_stop_end_side_by_side,
    what_stopped_the_sink_is_told_by_stop_and_before,
    a_sink_whose_thread_panics_has_failed,
    a_sink_that_cannot_write_says_so_and_still_stops,
);

/// A clock that moves by one with each look, so that every wait ends.
fn clock() -> impl Fn() -> i64 + Send + 'static {
    let now = AtomicI64::new(0);
    move || now.fetch_add(1, Ordering::Relaxed)
}

fn stop_drains_to_the_end_of_the_topic(engine: Engine) {
    let world = World::new(engine, 2);
    for number in 0..200 {
        world.log.produce(number % 2, b"k", b"word");
    }
    let handle = SinkHandle::spawn(world.word_sink(), clock()).unwrap();
    let stats = handle.stop(i64::MAX).unwrap();
    assert_eq!((stats.rows, stats.behind), (200, 0));
    assert_eq!(world.sql("SELECT count(*) FROM words")[0][0], 200.into());
}

fn stop_gives_up_at_its_bound_and_the_next_start_goes_on(engine: Engine) {
    let world = World::new(engine, 1);
    for _ in 0..200 {
        world.log.produce(0, b"k", b"word");
    }
    let handle = SinkHandle::spawn(world.word_sink(), clock()).unwrap();
    let stats = handle.stop(0).unwrap();
    assert!(stats.rows <= 200);
    drain(&mut world.word_sink());
    assert_eq!(world.sql("SELECT count(*) FROM words")[0][0], 200.into());
}

/// A sink that can do nothing at all.
fn without_database(world: &World) -> Sink {
    world.sink("words", &Fuse::burning(0, false), word)
}

/// Looks that a clock stands still for, when what it waits for does not come: some seconds.
const LOOKS_MAX: i64 = 100;

fn sinks_that_are_told_to_stop_end_side_by_side(engine: Engine) {
    let world = World::new(engine, 1);
    // Time stands still for the first sink, which has no database, until the second has ended: who
    // waits for one after the other waits for ever.
    let second = Arc::new(OnceLock::<SinkWatch>::new());
    let (seen, looks) = (Arc::clone(&second), AtomicI64::new(0));
    let late = Arc::new(AtomicI64::new(0));
    let passed = Arc::clone(&late);
    let standing = move || {
        let state = seen.get().map_or(SinkState::Waiting, SinkWatch::state);
        let given_up = looks.fetch_add(1, Ordering::Relaxed) >= LOOKS_MAX;
        passed.fetch_add(i64::from(given_up), Ordering::Relaxed);
        let over = state.is_final() || given_up;
        if over { i64::MAX / 2 } else { 0 }
    };
    let sinks = [
        SinkHandle::spawn(without_database(&world), standing).unwrap(),
        SinkHandle::spawn(world.word_sink(), clock()).unwrap(),
    ];
    second.set(sinks[1].watch()).unwrap();
    for (_, ended) in SinkHandle::stop_all(sinks, 1) {
        ended.unwrap();
    }
    assert_eq!(late.load(Ordering::Relaxed), 0, "one waited for the other");
}

/// Waits until the thread has ended by itself.
fn ended(handle: &SinkHandle) {
    while !handle.is_finished() {
        std::thread::yield_now();
    }
}

fn what_stopped_the_sink_is_told_by_stop_and_before(engine: Engine) {
    let world = World::new(engine, 1);
    world.sql("CREATE TABLE words (id integer)");
    let handle = SinkHandle::spawn(world.word_sink(), clock()).unwrap();
    ended(&handle);
    let watch = handle.watch();
    assert_eq!(watch.state(), SinkState::Failed);
    let told = watch.failure().unwrap();
    assert!(matches!(told, Error::Schema { .. }), "{told}");
    assert_eq!(handle.stop(i64::MAX), Err(told));
}

fn a_sink_whose_thread_panics_has_failed(engine: Engine) {
    let world = World::new(engine, 1);
    world.log.produce(0, b"k", b"word");
    let sink = world.sink("words", &Fuse::default(), |_, _| -> Word {
        panic!("the program's own code")
    });
    let handle = SinkHandle::spawn(sink, clock()).unwrap();
    ended(&handle);
    let watch = handle.watch();
    assert_eq!(watch.state(), SinkState::Failed);
    assert!(matches!(watch.failure(), Some(Error::Thread(_))));
    assert!(handle.stop(0).is_err());
}

fn a_sink_that_cannot_write_says_so_and_still_stops(engine: Engine) {
    let world = World::new(engine, 1);
    let handle = SinkHandle::spawn(without_database(&world), clock()).unwrap();
    let watch = handle.watch();
    while watch.state() == SinkState::Waiting {
        std::thread::yield_now();
    }
    assert_eq!(watch.state(), SinkState::Retrying);
    handle.stop(0).unwrap();
    assert_eq!((watch.state(), watch.failure()), (SinkState::Stopped, None));
}
