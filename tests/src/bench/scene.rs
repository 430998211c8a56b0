//! Where a benchmark happens: a directory of its own, and child processes of this very program.
//!
//! Invariant: no process and no file outlives the scene.

use super::{Figures, RUNS};
use anyhow::{Context, Result, bail};
use std::{
    io::{BufRead, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};
use tempfile::TempDir;

/// The argument by which a process knows that it is a child.
pub const CHILD: &str = "--child";

/// A benchmark's directory and processes.
pub struct Scene {
    bench: &'static str,
    directory: TempDir,
}

impl Scene {
    pub(super) fn new(bench: &'static str) -> Result<Self> {
        let directory = tempfile::tempdir().context("a directory for the benchmark")?;
        Ok(Self { bench, directory })
    }

    /// The benchmark's name.
    pub fn bench(&self) -> &'static str {
        self.bench
    }

    /// A directory that lasts for all runs.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs these parts one after the other, each in a process of its own, in a fresh directory;
    /// the figures of the last one. And all that [`RUNS`] times.
    ///
    /// # Errors
    /// Where a child fails.
    pub fn runs_of(&self, parts: &[&str]) -> Result<Vec<Figures>> {
        let run = |number: usize| {
            let directory = tempfile::tempdir_in(self.directory.path())?;
            let mut figures = Figures::new();
            for part in parts {
                figures = (self.child(part, directory.path()))
                    .with_context(|| format!("run {number}, {part}"))?;
            }
            Ok(figures)
        };
        (1..=RUNS).map(run).collect()
    }

    /// Runs a part of the benchmark in a process of its own, to its end.
    ///
    /// # Errors
    /// Where it fails or prints no figures.
    pub fn child(&self, part: &str, directory: &Path) -> Result<Figures> {
        let mut serving = self.serve(part, directory)?;
        let figures = serving.figures()?;
        let status = serving.child.wait()?;
        if !status.success() {
            bail!("the child ended with {status}");
        }
        Ok(figures)
    }

    /// Starts a part of the benchmark that runs until it is killed.
    ///
    /// # Errors
    /// Where the process cannot be started.
    pub fn serve(&self, part: &str, directory: &Path) -> Result<Serving> {
        let program: PathBuf = std::env::current_exe()?;
        let mut child = Command::new(program)
            .args([CHILD, self.bench, part])
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("the child's output")?;
        let lines = BufReader::new(stdout).lines();
        Ok(Serving { child, lines })
    }
}

/// A child that runs. Dropping it kills it with `SIGKILL`.
pub struct Serving {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Serving {
    /// Waits for the next figures that the child prints.
    ///
    /// # Errors
    /// Where it ends before, or prints something else.
    pub fn figures(&mut self) -> Result<Figures> {
        let line = self.lines.next().context("the child ended too early")??;
        serde_json::from_str(&line).with_context(|| format!("the child said {line:?}"))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // One that has ended cannot be killed, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
