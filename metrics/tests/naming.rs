//! The list of metrics keeps Prometheus' naming rules, and `promtool` agrees where it is installed.

use millstream_metrics::{Kind, Metric, Registry, Unit};
use std::{
    collections::BTreeSet,
    io::{self, Write},
    process::{Command, Output, Stdio},
};

#[test]
fn every_metric_keeps_the_naming_rules() {
    let mut names = BTreeSet::new();
    for metric in Metric::ALL {
        let spec = metric.spec();
        let name = spec.name;
        assert!(names.insert(name), "{name} is there twice");
        assert!(name.starts_with("streams_"), "{name}");
        assert!(is_snake_case(name), "{name}");
        let counter = spec.kind == Kind::Counter;
        assert_eq!(
            name.ends_with("_total"),
            counter,
            "{name}: _total is for counters only"
        );
        for ending in ["_count", "_sum", "_bucket"] {
            assert!(
                !name.ends_with(ending),
                "{name} would clash with a histogram's own series"
            );
        }
        let base = name.trim_end_matches("_total");
        for unit in [Unit::Seconds, Unit::Bytes] {
            let ends = base.ends_with(unit.suffix().unwrap());
            assert_eq!(
                ends,
                spec.unit == unit,
                "{name}: unit {unit:?} and suffix disagree"
            );
        }
        for part in base.split('_') {
            let scaled = [
                "ms",
                "millis",
                "milliseconds",
                "kb",
                "mb",
                "percent",
                "minutes",
            ];
            assert!(!scaled.contains(&part), "{name}: base units only");
        }
    }
}

#[test]
fn every_metric_is_explained_and_labelled() {
    let mut helps = BTreeSet::new();
    for metric in Metric::ALL {
        let spec = metric.spec();
        assert!(
            spec.help.ends_with('.'),
            "{metric}: the help ends with a full stop"
        );
        assert!(spec.help.starts_with(char::is_uppercase), "{metric}");
        assert!(
            helps.insert(spec.help),
            "{metric}: the help of another metric"
        );
        let distinct: BTreeSet<_> = spec.labels.iter().collect();
        assert_eq!(distinct.len(), spec.labels.len(), "{metric}: a label twice");
        for label in spec.labels {
            assert!(is_snake_case(label), "{metric}: {label}");
            assert!(
                !["le", "quantile", "job", "instance"].contains(label),
                "{metric}: {label}"
            );
        }
        if let Kind::Histogram(buckets) = spec.kind {
            assert!(
                buckets.is_sorted_by(|a, b| a < b),
                "{metric}: buckets ascend"
            );
            assert!(
                buckets
                    .iter()
                    .all(|bound| bound.is_finite() && *bound > 0.0),
                "{metric}"
            );
        }
    }
}

#[test]
fn promtool_accepts_the_exposition_of_every_metric() {
    let registry = Registry::new().unwrap();
    for metric in Metric::ALL {
        let spec = metric.spec();
        let labels: Vec<_> = spec
            .labels
            .iter()
            .map(|name| (*name, "a \"b\"\n\\"))
            .collect();
        match spec.kind {
            Kind::Counter => registry.counter(*metric, &labels).unwrap().inc(),
            Kind::Gauge => registry.gauge(*metric, &labels).unwrap().set(0.5),
            Kind::Histogram(_) => registry.histogram(*metric, &labels).unwrap().observe(0.5),
        }
    }
    let text = registry.render().unwrap();
    for metric in Metric::ALL {
        let spec = metric.spec();
        assert!(
            text.contains(&format!("# HELP {} {}\n", spec.name, spec.help)),
            "{metric}"
        );
        assert!(
            text.contains(&format!("# TYPE {} {}\n", spec.name, spec.kind)),
            "{metric}"
        );
    }
    assert!(text.ends_with('\n'));
    match promtool(&text) {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        // A machine without it has the checks above.
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
    }
}

/// What `promtool check metrics` says to it; an error where it is not installed.
fn promtool(exposition: &str) -> io::Result<Output> {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = promtool.stdin.take() {
        stdin.write_all(exposition.as_bytes())?;
    }
    promtool.wait_with_output()
}

fn is_snake_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.contains("__")
        && !name.ends_with('_')
}
