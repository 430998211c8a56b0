//! What the tests of the program share: a directory, the program as a child process, its table.
//!
//! Invariant: a child never sees the settings of whoever runs the tests, and never outlives its
//! test.

#![allow(
    dead_code,
    reason = "each test file is a crate of its own, and uses a part of this"
)]

use millstream::sink::{Location, Reader};
use serde_json::Value;
use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};
use tempfile::TempDir;

/// The longest that anything may take before a test gives up.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// A state directory, and the program run on it.
pub(crate) struct Home {
    dir: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Puts a file beside the state.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sentiment"));
        for (name, _) in std::env::vars_os() {
            if name
                .to_string_lossy()
                .to_uppercase()
                .starts_with("MILLSTREAM")
            {
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

    /// Streams until all is learned; returns the last line of standard output.
    pub(crate) fn learn(&self, source: &[&str]) -> Value {
        let mut args = vec!["run", "--until-caught-up", "-o", "json", "--no-http"];
        args.extend(source);
        last_object(&self.good(&args))
    }

    /// All rows of the table of predictions, by their key, all columns.
    pub(crate) fn rows(&self) -> Vec<Value> {
        self.reader().rows("predictions", u32::MAX).unwrap()
    }

    /// How many rows the table has; none where it is not there yet.
    pub(crate) fn row_count(&self) -> u64 {
        let database = self.database();
        let Ok(mut reader) = Reader::open(&Location::sqlite(database)) else {
            return 0;
        };
        reader.count("predictions").unwrap_or(0)
    }

    fn database(&self) -> PathBuf {
        self.path().join("sentiment/predictions.db")
    }

    fn reader(&self) -> Reader {
        Reader::open(&Location::sqlite(self.database())).unwrap()
    }
}

/// The last line of what a run wrote, as the one JSON object it must be.
pub(crate) fn last_object(text: &str) -> Value {
    let line = text.lines().last().expect("nothing on standard output");
    let value: Value = serde_json::from_str(line).unwrap();
    assert!(value.is_object(), "{line}");
    value
}

/// A child whose ends and lines on standard error can be waited for with a limit.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
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
        Self { child, lines }
    }

    /// Waits until it says something with this in it; `None` where it ended before.
    pub(crate) fn hear(&self, part: &str) -> Option<String> {
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) if line.contains(part) => return Some(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("the child never said {part:?}"),
            }
        }
    }

    /// Whether it ends by itself within the time.
    pub(crate) fn ends_within(&self, time: Duration) -> bool {
        loop {
            match self.lines.recv_timeout(time) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// The end of a child that is about to end.
    pub(crate) fn end(mut self) -> ExitStatus {
        assert!(self.ends_within(LIMIT), "the child does not end");
        self.child.wait().unwrap()
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed must not leave its child behind; one that has ended is no matter.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Reviews enough to be in the middle of for about a second: those of `fetch-data`, where they are,
/// else made-up ones of the same shape.
pub(crate) fn reviews(home: &Home) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let user = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let fetched = cache.or_else(user);
    let fetched = fetched.map(|cache| cache.join("millstream/data/imdb-mixed.tsv"));
    if let Some(file) = fetched.filter(|file| file.exists()) {
        return file;
    }
    let mut text = String::new();
    let mut state = 7_u64;
    for _ in 0..25_000 {
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state >> 33
        };
        let label = next() % 2;
        write!(text, "{label}\t").unwrap();
        for _ in 0..230 {
            // Half of the words tell nothing, the others lean towards their label.
            let word = next() % 20_000;
            let lean = if next() % 5 == 0 { 1 - label } else { label };
            let side = if word % 2 == 0 { 2 } else { lean };
            write!(text, "w{word}x{side} ").unwrap();
        }
        text.push('\n');
    }
    home.file("reviews.tsv", text)
}

/// One request to a running program, as plain as HTTP can be; returns status and body.
pub(crate) fn request(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("no head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    assert!(!chunked, "{path} is answered in chunks");
    (status.expect("no status"), body.to_owned())
}
