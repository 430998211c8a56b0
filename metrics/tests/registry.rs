//! The registry under good and bad requests.

use millstream_metrics::{Error, Kind, MAX_SERIES, Metric, OVERFLOW, Registry};
use std::time::Duration;

#[test]
fn handles_of_the_same_labels_share_a_series() {
    let registry = Registry::new().unwrap();
    let reason = [("task", "0_1"), ("reason", "late")];
    let reversed = [("reason", "late"), ("task", "0_1")];
    registry
        .counter(Metric::RecordsDropped, &reason)
        .unwrap()
        .add(2);
    registry
        .clone()
        .counter(Metric::RecordsDropped, &reversed)
        .unwrap()
        .inc();
    let text = registry.render().unwrap();
    let line = "streams_records_dropped_total{reason=\"late\",task=\"0_1\"} 3\n";
    assert!(text.contains(line), "{text}");
}

#[test]
fn wrong_labels_are_an_error_that_names_both_sides() {
    let registry = Registry::new().unwrap();
    let cases: &[&[(&str, &str)]] = &[
        &[],
        &[("tsk", "0_0")],
        &[("task", "0_0"), ("thread", "1")],
        &[("task", "0_0"), ("task", "0_1")],
    ];
    for labels in cases {
        let error = registry
            .counter(Metric::RecordsProcessed, labels)
            .unwrap_err();
        assert!(
            matches!(error, Error::WrongLabels { .. }),
            "{labels:?}: {error}"
        );
    }
    let error = registry
        .counter(Metric::RecordsProcessed, &[("tsk", "0_0")])
        .unwrap_err();
    let said = "streams_records_processed_total has the labels [\"task\"], not [\"tsk\"]";
    assert_eq!(error.to_string(), said);
    assert!(
        !registry.render().unwrap().contains("records_processed"),
        "no series was made"
    );
}

#[test]
fn the_wrong_kind_is_an_error() {
    let registry = Registry::new().unwrap();
    let labels = [("task", "0_0")];
    let error = registry
        .gauge(Metric::RecordsProcessed, &labels)
        .unwrap_err();
    let metric = Metric::RecordsProcessed;
    assert_eq!(
        error,
        Error::WrongKind {
            metric,
            is: Kind::Counter,
            asked: Kind::Gauge
        }
    );
    assert!(
        registry
            .histogram(Metric::Tasks, &[("role", "a"), ("state", "b")])
            .is_err()
    );
    assert!(registry.counter(Metric::ProcessDuration, &labels).is_err());
}

#[test]
fn label_sets_beyond_the_bound_share_one_counted_series() {
    let registry = Registry::new().unwrap();
    for number in 0..MAX_SERIES + 5 {
        let sink = number.to_string();
        registry
            .gauge(Metric::SinkPendingRows, &[("sink", &sink)])
            .unwrap()
            .set(1.0);
    }
    let text = registry.render().unwrap();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("streams_sink_pending_rows{"));
    assert_eq!(lines.count(), MAX_SERIES + 1);
    assert!(text.contains(&format!(
        "streams_sink_pending_rows{{sink=\"{OVERFLOW}\"}} 1\n"
    )));
    let name = "metric=\"streams_sink_pending_rows\"";
    let counted = format!("streams_metric_series_overflow_total{{{name}}} 5\n");
    assert!(text.contains(&counted), "{text}");

    // A series that was there before is still its own, and one that goes makes room.
    registry
        .gauge(Metric::SinkPendingRows, &[("sink", "7")])
        .unwrap()
        .set(77.0);
    assert!(
        registry
            .remove(Metric::SinkPendingRows, &[("sink", "8")])
            .unwrap()
    );
    registry
        .gauge(Metric::SinkPendingRows, &[("sink", "new")])
        .unwrap()
        .set(5.0);
    let text = registry.render().unwrap();
    assert!(text.contains("streams_sink_pending_rows{sink=\"7\"} 77\n"));
    assert!(text.contains("streams_sink_pending_rows{sink=\"new\"} 5\n"));
    assert!(!text.contains("streams_sink_pending_rows{sink=\"8\"}"));
}

#[test]
fn a_removed_series_is_gone_and_its_handles_do_no_harm() {
    let registry = Registry::new().unwrap();
    let labels = [("topic", "in"), ("partition", "0")];
    let lag = registry.gauge(Metric::ConsumerLagRecords, &labels).unwrap();
    lag.set_count(9);
    assert!(
        registry
            .remove(Metric::ConsumerLagRecords, &labels)
            .unwrap()
    );
    assert!(
        !registry
            .remove(Metric::ConsumerLagRecords, &labels)
            .unwrap()
    );
    lag.set_count(10);
    assert!(!registry.render().unwrap().contains("consumer_lag"));
    assert!(
        registry
            .remove(Metric::ConsumerLagRecords, &[("topic", "in")])
            .is_err()
    );
}

#[test]
fn totals_sum_over_series_and_histograms_count() {
    let registry = Registry::new().unwrap();
    assert!(registry.total(Metric::RecordsProcessed).to_bits() == 0.0_f64.to_bits());
    for task in ["0_0", "0_1"] {
        registry
            .counter(Metric::RecordsProcessed, &[("task", task)])
            .unwrap()
            .add(21);
    }
    assert!((registry.total(Metric::RecordsProcessed) - 42.0).abs() < f64::EPSILON);

    let duration = registry
        .histogram(Metric::ProcessDuration, &[("task", "0_0")])
        .unwrap();
    duration.observe_duration(Duration::from_micros(300));
    duration.observe(f64::NAN);
    assert_eq!(duration.count(), 1, "what is no number is left out");
    let text = registry.render().unwrap();
    let bucket = "streams_process_duration_seconds_bucket{task=\"0_0\",le=\"0.0005\"} 1\n";
    assert!(text.contains(bucket), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_tells_about_itself() {
    let text = Registry::new().unwrap().render().unwrap();
    assert!(text.contains("process_resident_memory_bytes "), "{text}");
}
