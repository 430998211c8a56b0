//! The command line that every app shares: settings, and the verbs that look at a program.
//!
//! Data goes to standard output, everything else to standard error; verbs that destroy something
//! print what they would do and need `--execute`.

mod state;

use crate::{
    output::{say, show},
    program::{Program, clean_up, tasks_dir},
};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use millstream_core::topology::{Evolution, Format, Topology, Verdict};
use millstream_runtime::config::{Config, ConfigBuilder};
use millstream_state::StateDir;
use std::{
    ffi::OsStr,
    fmt::Display,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

pub use crate::signals::stop_flag;

/// Writes the program's own log to standard error: warnings, or what `MILLSTREAM_LOG` asks for in
/// the form `info` or `millstream_runtime=debug`. Where that cannot be read it is told, and
/// warnings are written.
pub fn log_to_stderr() {
    let asked = std::env::var_os(LOG_VARIABLE);
    let filter = asked.map(|asked| log_filter(&asked)).transpose();
    let filter = filter.unwrap_or_else(|why| {
        say(format_args!("{LOG_VARIABLE}: {why}"));
        None
    });
    let filter = filter.unwrap_or_else(|| "warn".into());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // They would be told on standard error, which is what could not be written.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    // Whoever has set up a log before us keeps it.
    drop(log.try_init());
}

/// What `MILLSTREAM_LOG` asks for. A word that stands alone must be a level: the filter's own
/// syntax would take one that is misspelt for the name of a crate.
fn log_filter(asked: &OsStr) -> Result<EnvFilter, String> {
    let shown = asked.to_string_lossy();
    let unreadable = || {
        format!(
            "{shown:?} says not what to log: levels are off, error, warn, info, debug and trace, \
             also by crate, as in warn,millstream_runtime=debug"
        )
    };
    let asked = asked.to_str().ok_or_else(unreadable)?;
    let alone = asked.split(',').map(str::trim);
    let mut alone = alone.filter(|part| !part.is_empty() && !part.contains(['=', '[']));
    if !alone.all(|part| part.parse::<LevelFilter>().is_ok()) {
        return Err(unreadable());
    }
    EnvFilter::try_new(asked).map_err(|_| unreadable())
}

/// Tells an app's failure on standard error, cause after cause, and gives its exit code: 0, or 1.
pub fn exit(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The variable under the settings' prefix that is not a setting.
const LOG_VARIABLE: &str = "MILLSTREAM_LOG";

/// The settings' flags, to be flattened into an app's own.
#[derive(Args, Clone, Debug, Default)]
pub struct App {
    /// Set a configuration key, as in `--set commit.interval.ms=200`; wins over all other sources
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    pub set: Vec<String>,
    /// Read settings from a .properties or .toml file
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Keep the log and the state under this directory: short for `--set state.dir=DIR`
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<PathBuf>,
}

impl App {
    /// The effective settings: flags, then environment, then file, then the app's defaults, then
    /// the built-in ones.
    ///
    /// # Errors
    /// For unknown keys and bad values, naming where they come from.
    pub fn load(&self, defaults: &[(&str, &str)]) -> Result<Config> {
        let mut builder = ConfigBuilder::new().defaults(defaults);
        if let Some(file) = &self.config {
            builder = builder.file(file)?;
        }
        builder = builder.env(std::env::vars_os().filter(|(name, _)| name != LOG_VARIABLE))?;
        if let Some(dir) = &self.state_dir {
            let path = dir.to_str();
            let path = path.with_context(|| format!("--state-dir {dir:?} is not UTF-8"))?;
            builder = builder.set(&format!("state.dir={path}"))?;
        }
        for setting in &self.set {
            builder = builder.set(setting)?;
        }
        Ok(builder.build()?)
    }
}

/// The verbs every app has besides its own `run`.
#[derive(Clone, Debug, Subcommand)]
pub enum Inspect {
    /// Print the topology, or compare it with an older one
    #[command(args_conflicts_with_subcommands = true)]
    Topology {
        /// text (Kafka's own format), json, dot or mermaid
        #[arg(long, default_value = "text")]
        format: Format,
        /// What else is to be done with it
        #[command(subcommand)]
        verb: Option<TopologyVerb>,
    },
    /// Look at the settings
    #[command(subcommand)]
    Config(Settings),
    /// Show what the stores of a stopped program hold
    #[command(args_conflicts_with_subcommands = true)]
    State {
        /// The store; without it, all stores are listed
        store: Option<String>,
        /// Only this key, as it is shown: text, or JSON where the store's keys are no text
        #[arg(long)]
        key: Option<String>,
        /// At most this many rows
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// What else is to be done with them
        #[command(subcommand)]
        verb: Option<StateVerb>,
    },
    /// Forget state, internal topics and places, so that the next run begins at the first record.
    /// Where it was interrupted no instance starts before it was run again
    Reset {
        /// Do it; without this flag the plan is only printed
        #[arg(long)]
        execute: bool,
    },
}

/// What can be done with descriptions of programs.
#[derive(Clone, Debug, Subcommand)]
pub enum TopologyVerb {
    /// Say what a change of the program means for the state there is; fails unless it fits as it is
    Diff {
        /// The old program, as `topology --format json` printed it
        old: PathBuf,
        /// The new program likewise; without it, this one
        new: Option<PathBuf>,
        /// text or json
        #[arg(short = 'o', long, default_value = "text", value_parser = ["text", "json"])]
        format: String,
    },
}

/// What can be done with the stores on disk.
#[derive(Clone, Debug, Subcommand)]
pub enum StateVerb {
    /// Say that a store which the program no longer declares was taken out, and not renamed
    Retire {
        /// The store that has gone; its rows stay where they are
        store: String,
    },
    /// Delete what this instance keeps on its disk: the next run restores it from the changelogs.
    /// Stores without a changelog are lost; places in topics stay, unlike after a reset
    Clean {
        /// Do it; without this flag the plan is only printed
        #[arg(long)]
        execute: bool,
    },
}

/// What there is to know about settings.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Settings {
    /// Print every effective setting with its value and where that comes from, secrets masked
    Explain,
}

impl Inspect {
    /// Runs the verb.
    ///
    /// # Errors
    /// Where the program is running, or there is nothing to look at.
    pub fn run(self, topology: Topology, config: Config) -> Result<()> {
        match self {
            Self::Topology { format, verb: None } => {
                show(|out| write!(out, "{}", topology.describe(format)))
            }
            Self::Topology {
                verb: Some(TopologyVerb::Diff { old, new, format }),
                ..
            } => {
                let evolution = diff(&topology, &old, new.as_deref())?;
                show(|out| match &*format {
                    "json" => writeln!(out, "{:#}", evolution.to_json()),
                    _ => write!(out, "{evolution}"),
                })?;
                if evolution.verdict() != Verdict::Compatible {
                    bail!("the state there is does not fit as it is");
                }
                Ok(())
            }
            Self::Config(Settings::Explain) => show(|out| write!(out, "{}", config.explain())),
            Self::State {
                verb: Some(StateVerb::Retire { store }),
                ..
            } => {
                let tasks = retire(&topology, &config, &store)?;
                let told = |task| format!("{store:?} of task {task} was taken out");
                show_lines(tasks.iter().map(told))
            }
            Self::State {
                verb: Some(StateVerb::Clean { execute }),
                ..
            } => {
                let dir = StateDir::open(tasks_dir(&config))?;
                show_plan(&clean_up(&dir, execute)?, execute)
            }
            Self::State { store: None, .. } => {
                let told = |(name, format)| {
                    let format = millstream_state::shown(format);
                    format!("{name}\t{format}")
                };
                show_lines(state::stores(&topology).map(told))
            }
            Self::State {
                store: Some(store),
                key,
                limit,
                verb: None,
            } => show_lines(state::rows(
                &topology,
                &config,
                &store,
                key.as_deref(),
                limit,
            )?),
            Self::Reset { execute } => {
                show_plan(&Program::open(topology, config)?.reset(execute)?, execute)
            }
        }
    }
}

fn show_lines(lines: impl IntoIterator<Item = impl Display>) -> Result<()> {
    show(|out| {
        let mut lines = lines.into_iter();
        lines.try_for_each(|line| writeln!(out, "{line}"))
    })
}

/// Shows what was, or would be, done.
fn show_plan(lines: &[String], execute: bool) -> Result<()> {
    let hint = (!execute).then_some("nothing was done: add --execute to do it");
    show_lines(lines.iter().map(String::as_str).chain(hint))
}

/// What the step from one description to another, or to this program, means.
fn diff(topology: &Topology, old: &Path, new: Option<&Path>) -> Result<Evolution> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
    };
    let new = match new {
        Some(path) => read(path)?,
        None => topology.describe(Format::Json),
    };
    Ok(Evolution::between(&read(old)?, &new)?)
}

/// Notes in a stopped program's tasks that a store was taken out; the tasks that had it.
fn retire(topology: &Topology, config: &Config, store: &str) -> Result<Vec<String>> {
    if topology.find_store(store).is_some() {
        bail!("the program declares the store {store:?}: it was not taken out");
    }
    let dir = StateDir::open(tasks_dir(config))?;
    let mut had = Vec::new();
    for task in dir.tasks()? {
        if dir.retire(&task, store)? {
            had.push(task);
        }
    }
    if had.is_empty() {
        bail!("no task has a store {store:?} that is not known to be out already");
    }
    Ok(had)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_log_is_a_level_or_levels_by_crate() {
        for good in [
            "info",
            "WARN",
            "off",
            "warn,millstream_runtime=debug",
            "a[b]=trace",
            "",
        ] {
            assert!(log_filter(OsStr::new(good)).is_ok(), "{good}");
        }
        for bad in ["wran", "warn,runtime", "millstream_runtime=loud"] {
            let why = log_filter(OsStr::new(bad)).err().unwrap_or_default();
            assert!(
                why.contains(bad) && why.contains("debug and trace"),
                "{why}"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_is_not_replaced_by_one_that_is_spelt_like_it() -> Result<()> {
        use std::os::unix::ffi::OsStrExt as _;
        let odd = App {
            state_dir: Some(PathBuf::from(OsStr::from_bytes(b"/tmp/\xff"))),
            ..App::default()
        };
        let refused = odd.load(&[("application.id", "app")]);
        let why = refused.err().map(|error| error.to_string());
        assert!(why.context("it was taken")?.contains("is not UTF-8"));
        Ok(())
    }
}
