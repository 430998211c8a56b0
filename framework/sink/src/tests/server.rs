//! A Postgres server for tests: Debian's binaries, a directory in memory, a free port.
//!
//! Invariant: no server outlives the tests. A small script owns it and ends it, by its process id,
//! when its standard input closes, which happens however the process of the tests ends.

use crate::Location;
use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, OnceLock},
};

const SCRIPT: &str = include_str!("server.sh");
/// What ends the word in a URL and what a shell would see is in it.
pub(super) const PASSWORD: &str = "p@ss:w/o'rd%";
const PASSWORD_IN_URL: &str = "p%40ss%3Aw%2Fo'rd%25";

/// Where Debian puts the newest version that is installed.
fn binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut folders: Vec<_> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    folders.sort();
    folders.pop()
}

/// Whether there is a Postgres. Where there is none, the tests say so, and under `CI=true` fail.
pub(super) fn is_there() -> bool {
    let found = binaries().is_some();
    if !found {
        let said = "no Postgres in /usr/lib/postgresql: apt-get install postgresql";
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{said}"
        );
        eprintln!("not run: {said}");
    }
    found
}

pub(super) struct Server {
    port: u16,
    directory: String,
    script: Mutex<(Child, Option<ChildStdin>, BufReader<ChildStdout>)>,
}

impl Server {
    /// The one that most tests share.
    pub(super) fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[]))
    }

    /// A server of a test's own, with settings such as `max_connections=5`.
    pub(super) fn start(settings: &[&str]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        // The server refuses to run as root, and everything in its directory must be its own.
        let root = Path::new("/proc/self").metadata().unwrap();
        let root = std::os::unix::fs::MetadataExt::uid(&root) == 0;
        let mut command = Command::new(if root { "setpriv" } else { "sh" });
        if root {
            command.args([
                "--reuid=postgres",
                "--regid=postgres",
                "--init-groups",
                "sh",
            ]);
        }
        let mut child = command
            .args(["-c", SCRIPT, "server"])
            .arg(binaries().unwrap())
            .arg(port.to_string())
            .args(settings)
            .env("PASSWORD", PASSWORD)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        let mut output = BufReader::new(output);
        let mut directory = String::new();
        output.read_line(&mut directory).unwrap();
        assert!(!directory.is_empty(), "the server did not start");
        Self {
            port,
            directory: directory.trim().into(),
            script: Mutex::new((child, input, output)),
        }
    }

    /// `stop`, `crash`, `start`, `pause`, `resume`, `standby`, or the name of a setting.
    pub(super) fn tell(&self, command: &str) {
        let mut script = self.script.lock().unwrap();
        let (_, input, output) = &mut *script;
        writeln!(input.as_mut().unwrap(), "{command}").unwrap();
        let mut answer = String::new();
        output.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), "done", "{command}");
    }

    /// A user who needs no password, over a connection without TLS.
    pub(super) fn location(&self, parameters: &str) -> Location {
        let port = self.port;
        let url = format!("postgres://tester@127.0.0.1:{port}/postgres?sslmode=disable");
        Location::postgres(&format!("{url}{parameters}")).unwrap()
    }

    /// A user with a password, at a host by this name, with these parameters.
    pub(super) fn guarded(&self, host: &str, parameters: &str) -> Location {
        let url = format!("postgres://guarded:{PASSWORD_IN_URL}@{host}:{}", self.port);
        Location::postgres(&format!("{url}/postgres?{parameters}")).unwrap()
    }

    /// A file of the server's directory: `ca.pem`, `other.pem`.
    pub(super) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let script = self.script.get_mut().unwrap();
        script.1 = None;
        let _ = script.0.wait();
    }
}
