//! What the tests of the program share: a directory, the program as a child, its tables and pages.
//!
//! Invariant: a child never sees the settings of whoever runs the tests, and one that serves never
//! outlives its test.

#![allow(
    dead_code,
    reason = "each test file is a crate of its own, and uses a part of this"
)]

use millstream::sink::{Location, Reader};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};
use tempfile::TempDir;

/// The longest that anything may take before a test gives up.
const LIMIT: Duration = Duration::from_secs(120);
/// How often something is asked for that must come about.
const ATTEMPTS: u32 = 400;
/// How long the child may end in between: it does not, so this is the pace of asking.
const PACE: Duration = Duration::from_millis(50);

/// A state directory, and the program run on it.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
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

    pub(crate) fn good(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Streams to the end; returns the last line of standard output, without what takes time.
    pub(crate) fn watch(&self, source: &[&str]) -> Value {
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
        Reader::open(&Location::sqlite(
            self.0.path().join("clickstream/clickstream.db"),
        ))
        .ok()
    }

    /// How many predictions there are by now.
    pub(crate) fn progress(&self) -> u64 {
        let count = |mut reader: Reader| reader.count("predictions").ok();
        self.reader().and_then(count).unwrap_or(0)
    }
}

/// The program as a child that serves its page.
pub(crate) struct Served {
    child: Child,
    lines: Receiver<String>,
    address: String,
}

impl Served {
    /// Streams so many events, and goes on to serve what came of them.
    pub(crate) fn start(home: &Home, events: &str) -> Self {
        let any_port = "application.server=127.0.0.1:0";
        let mut command = home.command(&["run", "--generate", events, "--set", any_port]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        // The pipe closes when the child ends, and with it the channel: that is the wait for it.
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let mut served = Self {
            child,
            lines,
            address: String::new(),
        };
        while served.address.is_empty() {
            let line = served.lines.recv_timeout(LIMIT).expect("it does not serve");
            let address = line
                .split_once("http://")
                .map_or("", |(_, address)| address);
            address
                .trim_end_matches('/')
                .clone_into(&mut served.address);
        }
        served
    }

    /// Asks for a page until it is as it must become; returns it.
    pub(crate) fn until(&self, path: &str, fits: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            last = self.get(path);
            if fits(&last) {
                return last;
            }
            let ended = loop {
                match self.lines.recv_timeout(PACE) {
                    Ok(_) => {}
                    Err(end) => break end == RecvTimeoutError::Disconnected,
                }
            };
            assert!(!ended, "it ended");
        }
        panic!("{path} stays {last}");
    }

    /// One request, as plain as HTTP can be; the body of the answer.
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").expect("no head");
        body.to_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A test that failed must not leave its child behind; one that has ended is no matter.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
