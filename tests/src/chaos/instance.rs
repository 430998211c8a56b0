//! The storm's hold on one instance: start, kill, stop, freeze, and what it said.
//!
//! Invariant: whatever becomes of the storm, no instance outlives it; what instances say stays in
//! a file of each until the storm's directory goes.

use super::child::{ACTIVE_FILE, LISTENS, SAYS, SUBCOMMAND};
use crate::servers::Supervised;
use anyhow::{Context, Result};
use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// How an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Down,
    Up,
    Frozen,
}

/// One instance, whose process comes and goes.
pub(super) struct Instance {
    /// Where its state is.
    pub(super) directory: PathBuf,
    record: PathBuf,
    arguments: Vec<String>,
    process: Option<Supervised>,
    standing: Standing,
}

impl Instance {
    /// An instance that does not run yet, with its directory under `root`.
    pub(super) fn new(root: &Path, name: &str, database: &str, settings: &[String]) -> Self {
        let directory = root.join(name);
        let arguments = [
            SUBCOMMAND.to_owned(),
            directory.display().to_string(),
            database.to_owned(),
        ];
        Self {
            record: root.join(format!("{name}.log")),
            arguments: arguments.iter().chain(settings).cloned().collect(),
            directory,
            process: None,
            standing: Standing::Down,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether it runs, frozen or not.
    pub(super) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Starts its process, on whatever its directory holds, and returns when it would hear a call
    /// to end: a storm may call right after.
    pub(super) fn start(&mut self) -> Result<()> {
        fs::create_dir_all(&self.directory)?;
        // What it ran before it died it does not run now.
        match fs::remove_file(self.directory.join(ACTIVE_FILE)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mut command = Command::new(std::env::current_exe()?);
        command.args(&self.arguments);
        command.env("NO_COLOR", "1");
        if std::env::var_os("MILLSTREAM_LOG").is_none() {
            command.env("MILLSTREAM_LOG", "info");
        }
        let mut process = Supervised::start_recorded(&command, &self.record)?;
        process.hear(&format!("{SAYS} {LISTENS}"))?;
        self.process = Some(process);
        self.standing = Standing::Up;
        Ok(())
    }

    /// The tasks that it runs, as it named them last; none before it has named any.
    pub(super) fn active_tasks(&self) -> Result<BTreeSet<String>> {
        match fs::read_to_string(self.directory.join(ACTIVE_FILE)) {
            Ok(names) => Ok(names.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(error).with_context(|| format!("tasks of {:?}", self.directory)),
        }
    }

    /// With other settings from the next start on.
    pub(super) fn set(&mut self, setting: String) {
        self.arguments.push(setting);
    }

    /// Kills it, with what it has open.
    pub(super) fn kill(&mut self) -> Result<()> {
        // Dropping it is what kills it.
        self.process.take().map(drop).context("it does not run")?;
        self.standing = Standing::Down;
        Ok(())
    }

    /// Asks it to end, and does not wait for that.
    pub(super) fn ask_to_end(&mut self) -> Result<()> {
        self.running()?.signal("TERM")
    }

    /// Waits until it has ended, as it was asked to; an error tells what it said instead.
    pub(super) fn ended(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it does not run")?;
        self.standing = Standing::Down;
        process.hear("instance: ended")?;
        process.ends()
    }

    /// Stops it in its tracks: it holds what it has, and hears nothing.
    pub(super) fn freeze(&mut self) -> Result<()> {
        self.running()?.signal("STOP")?;
        self.standing = Standing::Frozen;
        Ok(())
    }

    /// Lets it go on where it was.
    pub(super) fn thaw(&mut self) -> Result<()> {
        self.running()?.signal("CONT")?;
        self.standing = Standing::Up;
        Ok(())
    }

    /// Waits until it says something.
    pub(super) fn hear(&mut self, part: &str) -> Result<String> {
        self.running()?.hear(part)
    }

    /// Whether it lives, where it should. An instance that has ended by itself is down from then
    /// on, and its last words are the error.
    pub(super) fn lives(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let lives = process.runs_on(Duration::ZERO);
        if lives.is_err() {
            (self.process, self.standing) = (None, Standing::Down);
        }
        lives
    }

    fn running(&mut self) -> Result<&mut Supervised> {
        self.process.as_mut().context("it does not run")
    }
}
