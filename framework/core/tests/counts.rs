//! What a task counts, seen against commits and aborts.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "task/harness.rs"]
#[allow(dead_code, reason = "it serves other tests too")]
mod harness;

use harness::{Bench, COUNTS, LEFT, records};
use millstream_core::{prelude::*, record::Headers, task::Place};

fn counting() -> Bench {
    let builder = StreamsBuilder::new();
    let counts = builder.stream(&LEFT).group_by_key().count("counts");
    counts.to(&COUNTS);
    let mut bench = Bench::new(builder.build().unwrap());
    bench.policies = ErrorPolicy::Skip.into();
    bench.reopen();
    bench
}

#[test]
fn what_an_abort_takes_back_is_counted_once() {
    let mut bench = counting();
    bench
        .task
        .add(0, records(0, &[("a", "", 5), ("b", "", -1)]));
    bench.task.process(9).unwrap();
    let (places, _) = bench.commit();
    let committed = bench.task.counts();
    assert_eq!(
        (committed.processed, committed.dropped.invalid_timestamp),
        (2, 1)
    );
    let again = records(2, &[("a", "", 3), ("b", "", -1)]);
    bench.task.add(0, again.clone());
    bench.task.process(9).unwrap();
    let counts = bench.task.counts();
    // A commit that was handed over and not accepted has not happened.
    bench.task.prepare_commit().unwrap();
    bench.task.abort().unwrap();
    assert_eq!(bench.task.counts(), committed);
    bench.task.resume(0, places[0].1);
    bench.task.add(0, again);
    bench.task.process(9).unwrap();
    assert_eq!(bench.task.counts(), counts);
    assert_eq!((counts.processed, counts.dropped.invalid_timestamp), (4, 2));
    bench.commit();
    assert_eq!(bench.task.committed_counts(), counts);
}

#[test]
fn letters_that_a_handler_writes_are_taken_back_with_an_abort() {
    let builder = StreamsBuilder::new();
    let write = ErrorHandler::new(|refused| {
        refused.write_dead_letter(DeadLetterRecord {
            topic: Some("told"),
            key: None,
            value: None,
            timestamp: 1,
            headers: Headers::NONE,
        });
        ErrorPolicy::Skip
    });
    let counts = builder.stream(&LEFT).group_by_key().count("counts");
    counts.to(&COUNTS);
    builder.on_error(write.with_topics(["told"]));
    let mut bench = Bench::new(builder.build().unwrap());
    let told = |bench: &Bench| {
        let counts = bench.task.counts();
        let letters: u64 = counts.letters.values().sum();
        let of = counts.letters.iter().find(|(_, count)| **count > 0);
        let of = of.map(|(letter, _)| (letter.source.as_deref() == Some(LEFT.name), letter.reason));
        (counts.dropped.dead_lettered, letters, of)
    };
    bench.task.add(0, records(0, &[("b", "", -1)]));
    bench.task.process(9).unwrap();
    let once = (1, 1, Some((true, "invalid_timestamp")));
    assert_eq!(told(&bench), once);
    bench.task.abort().unwrap();
    assert_eq!(told(&bench), (0, 0, None));
    bench.task.resume(0, Place::start(0));
    bench.task.add(0, records(0, &[("b", "", -1)]));
    bench.task.process(9).unwrap();
    assert_eq!(told(&bench), once);
}

#[test]
fn what_is_told_late_is_counted_once() {
    static FINALS: Topic<String, u64> = Topic::new("finals", utf8(), u64_be());
    let builder = StreamsBuilder::new();
    let second = std::time::Duration::from_secs(1);
    let windows = TimeWindows::of_size_and_grace(second, std::time::Duration::ZERO);
    let grouped = builder.stream(&LEFT).group_by_key();
    let closing = grouped.windowed_by(windows);
    let closing = closing.emit_strategy(EmitStrategy::OnWindowClose);
    let closing = closing.count("closing").to_stream();
    let key = |window: Windowed<String>, count: Option<u64>| Some((window.key, count?));
    closing.flat_map(key).to(&FINALS);
    let last = Suppressed::until_window_closes(BufferConfig::unbounded());
    let windows = TimeWindows::of_size_and_grace(second, std::time::Duration::ZERO);
    let grouped = builder.stream(&LEFT).group_by_key().windowed_by(windows);
    let held = grouped.count("held").suppress("last", last).to_stream();
    held.flat_map(key).to(&COUNTS);
    let mut bench = Bench::new(builder.build().unwrap());
    let told = |bench: &Bench| {
        let counts = bench.task.counts();
        (counts.final_emits, counts.suppression_emits)
    };
    // Three changes of two windows, which the third record closes; its own stays open.
    let first = records(
        0,
        &[("a", "", 1), ("a", "", 2), ("b", "", 3), ("a", "", 1_000)],
    );
    bench.task.add(0, first);
    bench.task.process(9).unwrap();
    assert_eq!(told(&bench), (2, 2));
    let (places, _) = bench.commit();
    bench.task.add(0, records(4, &[("a", "", 2_000)]));
    bench.task.process(9).unwrap();
    assert_eq!(told(&bench), (3, 3));
    bench.task.abort().unwrap();
    assert_eq!(told(&bench), (2, 2));
    bench.task.resume(0, places[0].1);
    bench.task.add(0, records(4, &[("a", "", 2_000)]));
    bench.task.process(9).unwrap();
    assert_eq!(told(&bench), (3, 3));
}

#[test]
fn a_record_is_as_old_as_the_commit_that_it_belongs_to_finds_it() {
    let mut bench = counting();
    let ages = |bench: &Bench, now| {
        let ages = bench.task.handed_over_ages();
        (ages.total_ms(now), ages.greatest_ms(now))
    };
    bench.task.add(
        0,
        records(0, &[("a", "", 50), ("b", "", 20), ("c", "", 70)]),
    );
    bench.task.process(2).unwrap();
    bench.task.prepare_commit().unwrap();
    // What comes in meanwhile belongs to the next one.
    bench.task.process(1).unwrap();
    assert_eq!(ages(&bench, 100), (50 + 80, Some(80)));
    bench.task.abort().unwrap();
    bench.task.resume(0, Place::start(0));
    bench.task.add(0, records(0, &[("a", "", 50)]));
    bench.task.process(9).unwrap();
    bench.commit();
    assert_eq!(
        ages(&bench, 100),
        (50, Some(50)),
        "nothing is left of before"
    );
    bench.commit();
    assert_eq!(ages(&bench, 100), (0, None));
}

#[test]
fn what_is_lost_is_lost_once_and_the_task_goes_on_behind_it() {
    let mut bench = counting();
    bench.task.add(0, records(0, &[("a", "", 1), ("b", "", 2)]));
    bench.task.process(1).unwrap();
    // One record is queued: it is not among those that are gone.
    assert_eq!(bench.task.lose(0, 9), 7);
    assert_eq!((bench.task.next_offset(0), bench.task.queued(0)), (1, 1));
    assert_eq!(
        bench.task.begun(0),
        Some(9),
        "there it begins after an abort"
    );
    bench.task.abort().unwrap();
    assert_eq!(bench.task.dropped().lost, 7);
    assert_eq!(bench.task.counts().processed, 0);
    // What was processed and queued is gone as well, since it was not committed.
    assert_eq!(bench.task.resume(0, Place::start(0)), 2);
    assert_eq!(
        (bench.task.next_offset(0), bench.task.dropped().lost),
        (9, 9)
    );
    bench.task.abort().unwrap();
    assert_eq!(bench.task.resume(0, Place::start(0)), 0);
    assert_eq!(bench.task.dropped().lost, 9);
    bench.task.add(0, records(9, &[("a", "", 3)]));
    assert_eq!(bench.task.process(9).unwrap(), 1);
}

/// Records from an offset on, of which the first ones are processed.
fn take(bench: &mut Bench, offset: i64, number: usize, processed: usize) {
    bench
        .task
        .add(0, records(offset, &vec![("a", "", 1); number]));
    bench.task.process(processed).unwrap();
}

#[test]
fn what_is_lost_again_is_counted_from_where_the_loss_before_it_ended() {
    let mut bench = counting();
    take(&mut bench, 0, 2, 1);
    // Nothing has come since the first loss, and the second record is still queued.
    assert_eq!(bench.task.lose(0, 9), 7);
    assert_eq!(bench.task.lose(0, 20), 11);
    assert_eq!(bench.task.lose(0, 20), 0);
    take(&mut bench, 20, 10, 5);
    assert_eq!(bench.task.lose(0, 50), 20);
    assert_eq!(bench.task.dropped().lost, 38);
    bench.task.abort().unwrap();
    // All that was there in between is gone too.
    assert_eq!(bench.task.resume(0, Place::start(0)), 12);
    assert_eq!(
        (bench.task.next_offset(0), bench.task.dropped().lost),
        (50, 50)
    );
}

#[test]
fn what_is_committed_is_not_lost() {
    let mut bench = counting();
    take(&mut bench, 0, 2, 2);
    assert_eq!(bench.task.lose(0, 9), 7);
    take(&mut bench, 9, 6, 3);
    let (places, _) = bench.commit();
    assert_eq!(places[0].1.offset, 12);
    assert_eq!(bench.task.lose(0, 30), 15);
    bench.task.abort().unwrap();
    // Three were queued.
    assert_eq!(bench.task.resume(0, places[0].1), 3);
    assert_eq!(
        (bench.task.next_offset(0), bench.task.dropped().lost),
        (30, 25)
    );
    take(&mut bench, 30, 2, 2);
    let (places, _) = bench.commit();
    bench.task.abort().unwrap();
    assert_eq!(bench.task.resume(0, places[0].1), 0);
    assert_eq!(bench.task.next_offset(0), 32);
}

#[test]
fn what_was_never_committed_is_lost_from_where_it_began() {
    let mut bench = counting();
    assert_eq!(bench.task.begin(0, 3), 0);
    take(&mut bench, 3, 4, 2);
    assert_eq!(bench.task.lose(0, 20), 13);
    for _ in 0..2 {
        bench.task.abort().unwrap();
        assert_eq!(bench.task.begun(0), Some(20));
        bench.task.begin(0, 20);
        assert_eq!(bench.task.dropped().lost, 17);
    }
    take(&mut bench, 20, 4, 4);
    bench.task.abort().unwrap();
    // Nobody noticed before that the topic begins further on by now.
    assert_eq!(bench.task.begin(0, 22), 2);
    assert_eq!(bench.task.dropped().lost, 19);
}

/// What is made of records waits in memory until the call ends.
#[test]
fn a_call_takes_fewer_records_where_they_are_large() {
    let mut bench = counting();
    let large = "x".repeat(1 << 20);
    let script: Vec<_> = (0..20).map(|time| ("l", &*large, time)).collect();
    bench.task.add(0, records(0, &script));
    assert_eq!(bench.task.process(100).unwrap(), 4);
    while bench.task.process(100).unwrap() > 0 {}
    assert_eq!(bench.task.next_offset(0), 20);
    let small: Vec<_> = (20..120).map(|time| ("l", "x", time)).collect();
    bench.task.add(0, records(20, &small));
    assert_eq!(bench.task.process(100).unwrap(), 100);
}
