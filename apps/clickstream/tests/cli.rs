//! The command line: what a run comes to, also after a crash.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use millstream::sink::{Location, Reader};
use serde_json::Value;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const TABLES: [&str; 3] = ["sessions", "funnel", "predictions"];

/// A state directory, and the program run on it.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clickstream"));
        for (name, _) in std::env::vars_os() {
            if name
                .to_string_lossy()
                .to_uppercase()
                .starts_with("MILLSTREAM")
            {
                command.env_remove(name);
            }
        }
        command.args(args).arg("--state-dir").arg(self.0.path());
        command.stdin(Stdio::null());
        command
    }

    fn good(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Streams to the end; returns the last line of standard output, without what takes time.
    fn watch(&self, source: &[&str]) -> Value {
        let mut args = vec!["run", "--until-caught-up", "-o", "json", "--no-http"];
        args.extend(source);
        let text = self.good(&args);
        let mut result: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let result_fields = result.as_object_mut().unwrap();
        for field in ["seconds", "records_per_second", "cpu_seconds", "max_rss_mb"] {
            let figure = result_fields.remove(field);
            assert!(
                figure.is_some_and(|it| it.as_f64().is_some_and(|it| it >= 0.0)),
                "{field}"
            );
        }
        result
    }

    fn rows(&self, table: &str) -> Vec<Value> {
        self.reader().unwrap().rows(table, u32::MAX).unwrap()
    }

    fn reader(&self) -> Option<Reader> {
        Reader::open(&Location::sqlite(
            self.0.path().join("clickstream/clickstream.db"),
        ))
        .ok()
    }

    /// How many predictions there are by now.
    fn progress(&self) -> u64 {
        let count = |mut reader: Reader| reader.count("predictions").ok();
        self.reader().and_then(count).unwrap_or(0)
    }
}

#[test]
fn the_result_says_how_far_the_model_is_from_the_best_possible() {
    let home = Home::new();
    let result = home.watch(&["--generate", "20000"]);
    let figure = |name: &str| result[name].as_f64().unwrap();
    let count = |name: &str| result[name].as_u64().unwrap();
    assert_eq!(count("records"), 20_050, "the catalogue and the events");
    let steps = ["shown", "views", "carts", "purchases"].map(count);
    assert_eq!(steps.iter().sum::<u64>(), 20_000);
    assert!(steps.is_sorted_by(|more, less| more > less), "{steps:?}");
    assert_eq!(count("predictions"), count("shown"));
    let distance = figure("log_loss") - figure("best_log_loss");
    assert_eq!(result["log_loss_above_best"], distance);
    assert!(distance > 0.0 && distance < 0.006, "{result}");
    assert!(count("sessions_closed") > 100, "{result}");
}

#[test]
fn kills_leave_no_trace_in_any_table() {
    let source = ["--generate", "30000"];
    let (calm, home) = (Home::new(), Home::new());
    let expected = calm.watch(&source);
    let (mut kills, mut seen) = (0, 0);
    while kills < 5 {
        let mut args = vec!["run", "--until-caught-up", "--no-http"];
        args.extend(source);
        let mut command = home.command(&args);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        // Looking at the table takes its time, and a child that has ended has come to its end.
        while home.progress() <= seen && child.try_wait().unwrap().is_none() {}
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break;
        }
        kills += 1;
        seen = home.progress();
    }
    assert!(kills > 0, "it was never killed in the middle");
    assert_eq!(home.watch(&source), expected);
    for table in TABLES {
        assert_eq!(home.rows(table), calm.rows(table), "{table}");
    }
}

#[test]
fn the_readme_shows_the_topology() {
    let readme = include_str!("../README.md");
    let shown = Home::new().good(&["topology", "--format", "mermaid"]);
    assert!(readme.contains(shown.trim_end()), "{shown}");
}
