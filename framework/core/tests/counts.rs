//! What a task counts, seen against commits and aborts.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "task/harness.rs"]
#[allow(dead_code, reason = "it serves other tests too")]
mod harness;

use harness::{Bench, COUNTS, LEFT, records};
use millstream_core::prelude::*;

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
}
