//! An instance of the program, as the process that the storm kills.
//!
//! Invariant: it ends by itself only when it was asked to; whatever else ends it is told on its
//! standard error, and counts against it.

use super::program::{self, APPLICATION, PREDICTIONS, TABLE};
use anyhow::{Context, Result, bail};
use millstream::{
    Node, Program,
    cli::{log_to_stderr, stop_flag},
    runtime::{
        config::{Config, ConfigBuilder},
        streams::State,
        worker::TaskRole,
    },
    sink::{Location, Sink, SinkConfig, SinkHandle},
};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Duration,
};

/// The subcommand that only the storm calls.
pub const SUBCOMMAND: &str = "instance";
/// What an instance says, in lines that begin so.
pub(super) const SAYS: &str = "instance:";
/// What it says first: from here on it ends in order when it is asked to.
pub(super) const LISTENS: &str = "listens";
/// The file in which an instance keeps the names of its active tasks, from their first change on.
pub(super) const ACTIVE_FILE: &str = "active-tasks";

/// How often an instance looks at itself.
const TICK: Duration = Duration::from_millis(100);

/// Runs an instance: `DIRECTORY DATABASE [KEY=VALUE ...]`, the database being `-` for none.
///
/// # Errors
/// What ended it, if it was not asked to.
pub fn run(words: &[String]) -> Result<()> {
    log_to_stderr();
    let [directory, database, settings @ ..] = words else {
        bail!("{SUBCOMMAND} DIRECTORY DATABASE [KEY=VALUE ...]");
    };
    let directory = PathBuf::from(directory);
    let stop = stop_flag()?;
    say(LISTENS);
    let program = Program::open(program::topology()?, config(&directory, settings)?)?
        .on_state_change(Box::new(|old, new| say(&format!("{old} to {new}"))));
    let sink = match database.as_str() {
        "-" => None,
        url => Some(sink(&program, url)?),
    };
    let mut node = program.start()?;
    if let Some(sink) = sink {
        node.attach(sink)?;
    }
    let mut told = String::new();
    while !stop.load(Ordering::Relaxed) {
        let state = node.streams().wait_for(State::is_final, TICK);
        if matches!(state, State::PendingError | State::Error) {
            let why = node.streams().failure();
            bail!(why.unwrap_or_else(|| "a thread failed".into()));
        }
        if node.sinks().iter().any(SinkHandle::is_finished) {
            let ended = node.close();
            bail!("the sink has ended by itself: {ended:?}");
        }
        let tasks = standing(&node);
        if tasks != told {
            say(&tasks);
            told = tasks;
            name_active_tasks(&directory, &node)?;
        }
    }
    name_active_tasks(&directory, &node)?;
    node.close().context("closing")?;
    say("ended");
    Ok(())
}

fn config(directory: &Path, settings: &[String]) -> Result<Config> {
    let mut builder = ConfigBuilder::new().defaults(&[
        ("application.id", APPLICATION),
        ("repartition.purge.interval.ms", "3000"),
        ("log.summary.interval.ms", "10000"),
    ]);
    builder = builder.set(&format!("state.dir={}", directory.display()))?;
    for setting in settings {
        builder = builder.set(setting)?;
    }
    Ok(builder.build()?)
}

/// The sink into the table that all instances share; the node makes it a member of a group.
fn sink(program: &Program, url: &str) -> Result<Sink> {
    let (location, log): (Location, _) = (url.parse()?, program.log().client()?);
    let config = SinkConfig {
        backoff_max_ms: 500,
        ..SinkConfig::default()
    };
    let sink = Sink::new(log, PREDICTIONS, TABLE, &location, config, program::to_row);
    sink.context("the sink")
}

/// The tasks in one line, with the standbys that are behind.
fn standing(node: &Node) -> String {
    let tasks = node.streams().tasks();
    let named = |role| {
        let of_role = tasks.iter().filter(|task| task.role == role);
        let mut names: Vec<_> = of_role.map(|task| task.id.to_string()).collect();
        names.sort();
        names.join(" ")
    };
    let standbys = tasks.iter().filter(|task| task.role == TaskRole::Standby);
    let behind = standbys
        .filter(|task| task.restore.iter().any(|store| store.position < store.end))
        .count();
    format!(
        "active [{}] restoring [{}] standby [{}], {behind} behind",
        named(TaskRole::Active),
        named(TaskRole::Restoring),
        named(TaskRole::Standby)
    )
}

/// Whoever reads the file while it runs meets all names or those before.
fn name_active_tasks(directory: &Path, node: &Node) -> Result<()> {
    let tasks = node.streams().tasks();
    let active = tasks.iter().filter(|task| task.role == TaskRole::Active);
    let lines: String = active.map(|task| format!("{}\n", task.id)).collect();
    let (new, file) = (
        directory.join("active-tasks.new"),
        directory.join(ACTIVE_FILE),
    );
    let named = fs::write(&new, lines).and_then(|()| fs::rename(&new, &file));
    named.context("naming the active tasks")
}

fn say(text: &str) {
    // Whoever does not listen any more has other things to do.
    let _ = writeln!(std::io::stderr(), "{SAYS} {text}");
}
