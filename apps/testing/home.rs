//! An app as its tests run it: as a child process, on a state directory of its own.
//!
//! The tests of each app include this file, and say in `PROGRAM` what differs from app to app.
//! Invariant: a child never sees the settings of whoever runs the tests.

use super::PROGRAM;
use millstream::sink::{Location, Reader};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// What an app is to its tests.
pub(crate) struct Program {
    pub(crate) executable: &'static str,
    /// Its database, below the state directory.
    pub(crate) database: &'static str,
    /// The table that has more rows the further the app is.
    pub(crate) table: &'static str,
}

/// A state directory, and the app run on it.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts a file beside the state.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM.executable);
        for (name, _) in std::env::vars_os() {
            let upper = name.to_string_lossy().to_uppercase();
            if upper.starts_with("MILLSTREAM") {
                command.env_remove(name);
            }
        }
        command.args(args).arg("--state-dir").arg(self.path());
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    pub(crate) fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs it to an end that must be good; returns what it wrote.
    pub(crate) fn good(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs it to an end that must be bad but orderly; returns what it said.
    pub(crate) fn bad(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{args:?} went well");
        assert!(output.status.code().is_some(), "{args:?}: {errors}");
        assert!(!errors.contains("panicked"), "{args:?}: {errors}");
        errors
    }

    /// Streams until all is processed; returns the last line of standard output.
    pub(crate) fn run(&self, source: &[&str]) -> Value {
        let mut args = vec!["run", "--until-caught-up", "-o", "json", "--no-http"];
        args.extend(source);
        last_object(&self.good(&args))
    }

    /// As [`Home::run`], without what takes time, which must be there.
    pub(crate) fn outcome(&self, source: &[&str]) -> Value {
        let mut result = self.run(source);
        let fields = result.as_object_mut().unwrap();
        for field in ["seconds", "records_per_second", "cpu_seconds", "max_rss_mb"] {
            let figure = fields.remove(field).and_then(|it| it.as_f64());
            assert!(figure.is_some_and(|it| it >= 0.0), "{field}");
        }
        result
    }

    /// All rows of a table, by their key, all columns.
    pub(crate) fn rows(&self, table: &str) -> Vec<Value> {
        self.reader().unwrap().rows(table, u32::MAX).unwrap()
    }

    /// How many rows there are by now in the app's table; none where it is not there yet.
    pub(crate) fn progress(&self) -> u64 {
        let count = |mut reader: Reader| reader.count(PROGRAM.table).ok();
        self.reader().and_then(count).unwrap_or(0)
    }

    fn reader(&self) -> Option<Reader> {
        Reader::open(&Location::sqlite(self.path().join(PROGRAM.database))).ok()
    }
}

/// The last line of what a run wrote, as the one JSON object it must be.
pub(crate) fn last_object(text: &str) -> Value {
    let line = text.lines().last().expect("nothing on standard output");
    let value: Value = serde_json::from_str(line).unwrap();
    assert!(value.is_object(), "{line}");
    value
}

/// Kills runs in the middle until one comes to its end; returns what an undisturbed run comes to,
/// which it must be, and so must the tables.
pub(crate) fn kills_leave_no_trace(source: &[&str], tables: &[&str]) -> Value {
    const KILLS_MAX: u32 = 5;
    let (calm, home) = (Home::new(), Home::new());
    let expected = calm.outcome(source);
    let (mut kills, mut seen) = (0, 0);
    while kills < KILLS_MAX {
        let mut args = vec!["run", "--until-caught-up", "--no-http"];
        args.extend(source);
        let mut command = home.command(&args);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
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
    assert_eq!(home.outcome(source), expected);
    for table in tables {
        assert_eq!(home.rows(table), calm.rows(table), "{table}");
    }
    expected
}
