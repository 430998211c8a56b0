//! What the tests of the program share: a directory, the program run on it, its tables.
//!
//! Invariant: a child never sees the settings of whoever runs the tests.

#![allow(
    dead_code,
    reason = "each test file is a crate of its own, and uses a part of this"
)]

use millstream::sink::{Location, Reader};
use serde_json::Value;
use std::{
    path::PathBuf,
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// A state directory, and the program run on it.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn file(&self, text: &str) -> PathBuf {
        let path = self.0.path().join("lines.csv");
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retail"));
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

    pub(crate) fn good(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Streams to the end; returns the last line of standard output, without what takes time.
    pub(crate) fn sell(&self, source: &[&str]) -> Value {
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

    pub(crate) fn rows(&self, table: &str) -> Vec<Value> {
        self.reader().unwrap().rows(table, u32::MAX).unwrap()
    }

    fn reader(&self) -> Option<Reader> {
        Reader::open(&Location::sqlite(self.0.path().join("retail/retail.db"))).ok()
    }

    /// How many rows of products and hours there are by now.
    pub(crate) fn progress(&self) -> u64 {
        let count = |mut reader: Reader| reader.count("sales_per_hour").ok();
        self.reader().and_then(count).unwrap_or(0)
    }
}
