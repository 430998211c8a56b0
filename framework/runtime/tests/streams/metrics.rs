//! The series that a run leaves behind.

use super::harness::*;
use millstream_core::{
    prelude::*,
    record::{Headers, RawRecord, Timestamp},
};
use millstream_log::Log;
use millstream_metrics::Metric;
use std::time::Duration;

#[test]
fn a_run_leaves_the_series_that_dashboards_read() {
    let world = World::new(2);
    let config = config("a");
    let registry = config.registry.clone();
    let streams = world.streams(sums(), config);
    start(&streams);
    world.feed(ones(6, 2));
    world.wait_for_outputs(12);
    streams.close();
    let text = registry.render().unwrap();
    let has = |line: &str| {
        assert!(
            text.lines().any(|found| found == line),
            "no {line:?} in\n{text}"
        );
    };
    has("streams_client_state{application_id=\"app\",state=\"NOT_RUNNING\"} 1");
    has("streams_client_state{application_id=\"app\",state=\"RUNNING\"} 0");
    let starts = |start: &str| {
        assert!(
            text.lines().any(|found| found.starts_with(start)),
            "no {start:?} in\n{text}"
        );
    };
    starts("streams_commits_total{outcome=\"committed\",thread=\"1\"}");
    starts("streams_records_dropped_total{reason=\"deserialization\",task=\"0_0\"}");
    starts("streams_tasks{role=\"active\",state=\"running\"}");
    assert!(registry.total(Metric::RecordsProcessed) == 12.0);
    assert!(registry.total(Metric::Commits) >= 1.0);
    assert!(registry.total(Metric::Rebalances) >= 1.0);
    assert!(registry.total(Metric::RebalanceDuration) >= 1.0);
    assert!(registry.total(Metric::ThreadFailures) == 0.0);
    // Each commit that the log answered was measured, and each batch that was not empty.
    assert!(registry.total(Metric::CommitDuration) >= registry.total(Metric::Commits));
    assert!(registry.total(Metric::ProcessDuration) >= 2.0);
    assert!(registry.total(Metric::RestoreDuration) >= 2.0);
    starts("streams_commit_duration_seconds_count{thread=\"1\"}");
    starts("streams_process_duration_seconds_count{task=\"0_0\"}");
    starts("streams_restore_duration_seconds_count{store=\"sums\"}");
    starts("streams_restore_remaining_records{partition=\"1\",store=\"sums\"} 0");
    starts("streams_restore_records_total{partition=\"1\",store=\"sums\"} 0");
    // The tasks were given up, and with them what was shown of their size.
    assert!(!text.contains("streams_task_dirty_bytes{"), "{text}");
    assert!(registry.total(Metric::RestoreRemaining) == 0.0);
}

#[test]
fn what_suppress_holds_back_shows_while_it_is_held_here() {
    let world = World::new(1);
    let builder = StreamsBuilder::new();
    let hour = Suppressed::until_time_limit(Duration::from_secs(3_600), BufferConfig::unbounded());
    builder.table(&IN, "rows").suppress("held", hour).to(&OUT);
    let config = config("a");
    let registry = config.registry.clone();
    let streams = world.streams(builder.build().unwrap(), config);
    start(&streams);
    // Two changes of a key wait as one; a key and a row take some bytes.
    world.feed([("a", 1), ("b", 2), ("a", 3)].map(|(key, n)| (key.to_owned(), n)));
    let value = |name: &str| {
        let series = format!("{name}{{partition=\"0\",store=\"held\"}} ");
        let text = registry.render().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.map(|value| value.parse::<f64>().unwrap())
    };
    world.until("two keys wait", || {
        value("streams_suppression_buffer_records") == Some(2.0)
    });
    assert!(value("streams_suppression_buffer_bytes").is_some_and(|bytes| bytes >= 18.0));
    assert!(registry.total(Metric::SuppressionEmits) == 0.0);
    streams.close();
    assert_eq!(value("streams_suppression_buffer_records"), None);
    assert_eq!(value("streams_suppression_buffer_bytes"), None);
}

#[test]
fn the_last_commit_of_a_closing_client_is_counted() {
    let world = World::new(1);
    let mut config = config("a");
    config.settings.commit_interval_ms = i64::MAX;
    let registry = config.registry.clone();
    let streams = world.streams(sums(), config);
    start(&streams);
    world.feed(ones(6, 2));
    world.until("processing", || processed(&streams) == 12);
    streams.close();
    assert!(registry.total(Metric::Commits) == 1.0);
}

/// Sends records of these times to the one partition there is.
fn send(world: &World, times: &[Timestamp]) {
    let mut client = world.log.client();
    for &timestamp in times {
        let record = RawRecord {
            key: Some(b"key"),
            value: Some(&[0; 8]),
            timestamp,
            headers: &Headers::NONE,
        };
        client.send(IN.name, Some(0), record).unwrap();
    }
    client.commit(1, &[]).unwrap();
}

#[test]
fn what_suppress_has_told_is_counted() {
    let world = World::new(1);
    // One key: the second record takes the place of the first, and is told; so is the fourth.
    send(&world, &[1_000, 2_000, 3_000, 4_000]);
    let builder = StreamsBuilder::new();
    let second = Suppressed::until_time_limit(Duration::from_secs(1), BufferConfig::unbounded());
    let rows = builder.table(&IN, "rows").suppress("held", second);
    rows.to(&OUT);
    let config = config("a");
    let registry = config.registry.clone();
    let streams = world.streams(builder.build().unwrap(), config);
    start(&streams);
    world.wait_for_outputs(2);
    streams.close();
    assert!(registry.total(Metric::SuppressionEmits) == 2.0);
    assert!(registry.total(Metric::FinalEmits) == 0.0);
}

#[test]
fn records_are_late_by_what_they_lie_behind_the_newest_one() {
    let world = World::new(1);
    send(&world, &[1_000, 400, 2_000, 1_500]);
    let mut config = config("a");
    config.clock = HandClock::new();
    config.settings.commit_interval_ms = 0;
    let registry = config.registry.clone();
    let streams = world.streams(sums(), config);
    start(&streams);
    world.wait_for_outputs(4);
    streams.close();
    let late = registry.total(Metric::RecordLateness);
    assert!((late - 1.1).abs() < 1e-9, "{late}");
    // The clock stands still at a thousand seconds.
    let latency = registry.total(Metric::RecordLatency);
    assert!((latency - 3_995.1).abs() < 1e-6, "{latency}");
    let commits = registry.total(Metric::CommitRecordAge);
    assert!((1.0..=4.0).contains(&commits), "{commits}");
}
