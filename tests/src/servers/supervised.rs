//! A child process that cannot outlive whoever started it.
//!
//! The child runs under a small shell that waits for the end of its own standard input. That pipe
//! is held by this process alone, so it ends when the test does, even by `kill -9`; then the shell
//! ends the child. Invariant: after a [`Supervised`] is dropped, its process is gone.
//!
//! The shell is also the one who reaps the child, and only at its own end: until then the child's
//! number cannot be given to another process, so a signal never meets a stranger.

use anyhow::{Context, Result, bail, ensure};
use millstream_runtime::clock::{Clock, SystemClock};
use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The longest that a server may take to say that it is there, or to end when told to.
pub const LIMIT: Duration = Duration::from_secs(60);

/// How many lines wait at most to be heard; of more, the oldest are forgotten.
const WAITING_MAX: usize = 10_000;

/// How many of the last lines are kept to explain an end.
const REMEMBERED: usize = 20;

/// Runs its arguments but the first, the signal that ends them. The inner shell says its number,
/// which the child takes over. The outer one's own end of the child's output is closed, so that
/// the reader sees when the child has ended; `read` returns when the input ends.
const SHELL: &str = r#"signal=$1; shift
sh -c 'echo "$$" >&2; exec "$@"' sh "$@" </dev/null & child=$!
exec >/dev/null 2>&1
read -r _
kill -CONT "$child"
kill -"$signal" "$child"
wait "$child"
"#;

/// What the child has said and nobody has heard yet.
#[derive(Debug, Default)]
struct Said {
    waiting: VecDeque<String>,
    /// The child and all that it started have closed their output.
    ended: bool,
}

#[derive(Debug, Default)]
struct Ear {
    said: Mutex<Said>,
    more: Condvar,
}

/// A running child, which ends when this is dropped.
#[derive(Debug)]
pub struct Supervised {
    name: String,
    shell: Child,
    pid: u32,
    ear: Arc<Ear>,
    last: VecDeque<String>,
    clock: SystemClock,
}

impl Supervised {
    /// Starts a command; its directory and changes of the environment are taken over. What it says
    /// on standard error can be waited for. It ends by `kill -9`, as a test may want to see it.
    ///
    /// # Errors
    /// Where there is no shell. A program that is missing shows as a child that ends at once.
    pub fn start(command: &Command) -> Result<Self> {
        Self::start_ending_by("KILL", command)
    }

    /// As [`Supervised::start`], for a program that has children of its own and takes them along at
    /// another signal, such as `QUIT`.
    ///
    /// # Errors
    /// As [`Supervised::start`].
    pub fn start_ending_by(signal: &str, command: &Command) -> Result<Self> {
        Self::start_with(signal, command, None)
    }

    /// As [`Supervised::start`], with all that it says also at the end of a file.
    ///
    /// # Errors
    /// As [`Supervised::start`], and where the file cannot be opened.
    pub fn start_recorded(command: &Command, file: &Path) -> Result<Self> {
        let record = OpenOptions::new().create(true).append(true).open(file);
        let record = record.with_context(|| file.display().to_string())?;
        Self::start_with("KILL", command, Some(record))
    }

    fn start_with(signal: &str, command: &Command, record: Option<File>) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut shell = Command::new("sh");
        shell.args(["-c", SHELL, "sh", signal]);
        shell.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            shell.current_dir(dir);
        }
        // In a group of its own, so that an interrupt at a terminal reaches the test alone, whose
        // end is then what the shell acts on.
        shell.process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut shell = (shell.stderr(Stdio::piped()).spawn()).context("starting sh")?;
        let errors = shell.stderr.take().context("no standard error")?;
        let ear = Arc::new(Ear::default());
        let listener = Arc::clone(&ear);
        // Always read, so that the child never waits for its reader; ends with the child.
        std::thread::spawn(move || listener.listen(errors, record));
        let mut child = Self {
            name,
            shell,
            pid: 0,
            ear,
            last: VecDeque::with_capacity(REMEMBERED),
            clock: SystemClock::new(),
        };
        let line = child.hear("")?;
        child.pid = line.parse().with_context(|| line.clone())?;
        Ok(child)
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends it a signal by name: `TERM`, `STOP`, `CONT`.
    ///
    /// # Errors
    /// Where the system refuses, as it does once the process is gone.
    pub fn signal(&self, name: &str) -> Result<()> {
        signal(name, &[self.pid]).with_context(|| self.name.clone())
    }

    /// Waits until it says something with this in it; returns the line.
    ///
    /// # Errors
    /// Where it ends before, or says nothing of the kind within [`LIMIT`].
    pub fn hear(&mut self, part: &str) -> Result<String> {
        let deadline = self.clock.elapsed() + LIMIT;
        loop {
            match self.next(deadline) {
                Next::Line(line) if line.contains(part) => return Ok(line),
                Next::Line(line) => self.remember(line),
                Next::End => bail!("{} has ended; it said last:\n{}", self.name, self.told()),
                Next::Silence => {
                    bail!("{} never said {part:?}, but:\n{}", self.name, self.told())
                }
            }
        }
    }

    /// Lets time pass while it runs: the pace of whoever asks it something again and again.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn runs_on(&mut self, time: Duration) -> Result<()> {
        let deadline = self.clock.elapsed() + time;
        loop {
            match self.next(deadline) {
                Next::Line(line) => self.remember(line),
                Next::Silence => return Ok(()),
                Next::End => bail!("{} has ended; it said last:\n{}", self.name, self.told()),
            }
        }
    }

    /// Waits until it has ended by itself, with every process that it had started.
    ///
    /// # Errors
    /// Where it has not within [`LIMIT`].
    pub fn ends(&mut self) -> Result<()> {
        let deadline = self.clock.elapsed() + LIMIT;
        loop {
            match self.next(deadline) {
                Next::Line(line) => self.remember(line),
                Next::End => return Ok(()),
                Next::Silence => {
                    bail!("{} does not end; it said last:\n{}", self.name, self.told())
                }
            }
        }
    }

    fn next(&self, deadline: Duration) -> Next {
        let mut said = self.ear.lock();
        loop {
            if let Some(line) = said.waiting.pop_front() {
                return Next::Line(line);
            }
            if said.ended {
                return Next::End;
            }
            let left = deadline.saturating_sub(self.clock.elapsed());
            if left.is_zero() {
                return Next::Silence;
            }
            let woken = self.ear.more.wait_timeout(said, left);
            said = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn remember(&mut self, line: String) {
        if self.last.len() == REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    fn told(&self) -> String {
        self.last.iter().map(|line| format!("  {line}\n")).collect()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // The end of its input is the shell's sign; it returns when the child is gone.
        drop(self.shell.stdin.take());
        let _reaped = self.shell.wait();
    }
}

enum Next {
    Line(String),
    End,
    Silence,
}

impl Ear {
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, errors: ChildStderr, mut record: Option<File>) {
        for line in BufReader::new(errors).split(b'\n').map_while(Result::ok) {
            if let Some(file) = &mut record {
                // A disk that is full takes the diagnosis, and not the test with it.
                let _ = file.write_all(&[&line, &b"\n"[..]].concat());
            }
            let mut said = self.lock();
            if said.waiting.len() == WAITING_MAX {
                said.waiting.pop_front();
            }
            let line = String::from_utf8_lossy(&line).into_owned();
            said.waiting.push_back(line);
            self.more.notify_all();
        }
        self.lock().ended = true;
        self.more.notify_all();
    }
}

/// Sends a signal by name to these processes.
///
/// # Errors
/// Where the system refuses one of them.
pub(super) fn signal(name: &str, pids: &[u32]) -> Result<()> {
    let mut kill = Command::new("sh");
    kill.args(["-c", r#"kill -"$0" "$@""#, name]);
    let output = kill.args(pids.iter().map(u32::to_string)).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kill -{name} {pids:?}: {errors}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_child_is_gone() {
        let mut command = Command::new("cat");
        command.arg("/dev/zero");
        let mut child = Supervised::start(&command).unwrap();
        let process = Path::new("/proc").join(child.pid().to_string());
        assert!(process.exists());
        child.runs_on(Duration::from_millis(1)).unwrap();
        child.signal("STOP").unwrap();
        drop(child);
        assert!(!process.exists());
    }

    #[test]
    fn an_end_is_told_with_the_last_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo first >&2; echo last >&2"]);
        let mut child = Supervised::start(&command).unwrap();
        let error = child.hear("never").unwrap_err().to_string();
        assert!(error.contains("first") && error.contains("last"), "{error}");
        child.ends().unwrap();
    }

    #[test]
    fn a_missing_program_is_named() {
        let mut child = Supervised::start(&Command::new("/no/such/program")).unwrap();
        let error = child.hear("never").unwrap_err().to_string();
        assert!(error.contains("/no/such/program"), "{error}");
    }
}
