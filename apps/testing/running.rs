//! An app that runs while its test goes on: what it says, and what it serves.
//!
//! Invariant: a child never outlives its test, and everything is waited for with a limit.

use super::Home;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

/// The longest that anything may take before a test gives up.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// How often something is asked for that must come about.
const ATTEMPTS: u32 = 400;
/// How long the child may end in between: it does not, so this is the pace of asking.
const PACE: Duration = Duration::from_millis(50);

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

/// An app that serves its page on a port of its own. It ends before its directory goes.
pub(crate) struct Served {
    pub(crate) child: Running,
    pub(crate) address: String,
    _home: Home,
}

impl Served {
    /// Streams a source, and goes on to serve what came of it.
    pub(crate) fn start(home: Home, source: &[&str]) -> Self {
        let mut args = vec!["run", "--set", "application.server=127.0.0.1:0"];
        args.extend(source);
        let child = Running::start(home.command(&args));
        let line = child.hear("http://").expect("it ended before it served");
        let (_, address) = line.split_once("http://").unwrap();
        Self {
            address: address.trim_end_matches('/').to_owned(),
            child,
            _home: home,
        }
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        request(&self.address, "GET", path, "")
    }

    /// What is there, as JSON.
    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error} in {body}"))
    }

    /// Asks until the answer is as it must become; returns it.
    pub(crate) fn until(&self, path: &str, fits: impl Fn(u16, &str) -> bool) -> String {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            let (status, body) = self.get(path);
            if fits(status, &body) {
                return body;
            }
            last = format!("{status} {body}");
            assert!(!self.child.ends_within(PACE), "it ended");
        }
        panic!("{path} stays {last}");
    }
}

/// One request to a running app, as plain as HTTP can be; returns status and body.
pub(crate) fn request(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("no head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    assert!(!chunked, "{path} is answered in chunks");
    (status.expect("no status"), body.to_owned())
}
