//! A program that is not started yet: its topology, its settings, and the log it runs on.
//!
//! ```text
//! <state.dir>/<application.id>/tasks        one RocksDB per task, and the lock of all of it
//! <state.dir>/<application.id>/log          without a cluster: the embedded log
//! <state.dir>/<application.id>/process-id   on a shared log: who this instance is there
//! ```
//!
//! Invariants: one process at a time has the directory; which log a program runs on is decided in
//! [`Program::open`] and known nowhere else.

use crate::{
    embedded, kafka,
    node::{Node, Parts},
};
use anyhow::{Result, bail};
use millstream_core::topology::Topology;
use millstream_log::{Broker, Log};
use millstream_metrics::Registry;
use millstream_runtime::{
    clock::{Clock, SystemClock},
    config::Config,
    patience::patiently,
    streams::{StateListener, Streams, UncaughtHandler},
    worker::{RestoreListener, StateRestoreListener},
};
use millstream_state::{Limits, Shared, StateDir};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// How the models of a program show themselves on the page.
pub type ModelsView = Box<dyn Fn(&Streams) -> Vec<millstream_http::ModelStatus> + Send + Sync>;

/// A program that is not started yet: its log is open, so it can be filled and read.
pub struct Program {
    pub(crate) topology: Arc<Topology>,
    pub(crate) config: Config,
    root: PathBuf,
    pub(crate) log: Arc<dyn Broker>,
    /// Who this process is in a group that has members in others.
    pub(crate) process_id: Option<String>,
    /// How many partitions a topic of the program has at most.
    pub(crate) partitions: u32,
    pub(crate) dir: StateDir,
    pub(crate) shared: Shared,
    pub(crate) registry: Registry,
    pub(crate) listeners: Vec<StateListener>,
    pub(crate) restore_listener: RestoreListener,
    pub(crate) uncaught: Option<UncaughtHandler>,
    pub(crate) predictions_topic: Option<String>,
    pub(crate) models: Option<ModelsView>,
}

impl Program {
    /// Takes the program's directory and opens its log: the cluster at `bootstrap.servers`, or,
    /// where that is not set, the embedded log under `state.dir`.
    ///
    /// On the embedded log the user's topics are made where they are missing, with
    /// `embedded.partitions` partitions. On a cluster they must be there.
    ///
    /// # Errors
    /// Where the directory is taken or unreadable, the cluster does not answer, or topics are
    /// missing on it: the error names them.
    pub fn open(topology: Topology, config: Config) -> Result<Self> {
        let local = Local::take(&config)?;
        if config.bootstrap_servers().is_none() {
            let log = embedded::open(&config, &local.root, &local.shared)?;
            embedded::create_topics(&log, &user_topics(&topology, &config), &config)?;
            let partitions = config.embedded_partitions();
            return Self::new(topology, config, local, (Arc::new(log), partitions, None));
        }
        let id = kafka::process_id(&local.root)?;
        let log = Arc::new(kafka::connect(&config, &id)?);
        let partitions = existing(&*log, &user_topics(&topology, &config), &config)?;
        Self::new(topology, config, local, (log, partitions, Some(id)))
    }

    /// Opens the program on a log of the caller's, whatever `bootstrap.servers` says; its state is
    /// under `state.dir`. All the user's topics must be there. Other instances may run on that log
    /// too, each with a `state.dir` of its own.
    ///
    /// # Errors
    /// As [`Program::open`].
    pub fn open_on(topology: Topology, config: Config, log: Arc<dyn Broker>) -> Result<Self> {
        let local = Local::take(&config)?;
        let partitions = existing(&*log, &user_topics(&topology, &config), &config)?;
        // Others may run on the same log.
        let id = kafka::process_id(&local.root)?;
        Self::new(topology, config, local, (log, partitions, Some(id)))
    }

    fn new(
        topology: Topology,
        config: Config,
        local: Local,
        (log, partitions, process_id): (Arc<dyn Broker>, u32, Option<String>),
    ) -> Result<Self> {
        Ok(Self {
            topology: Arc::new(topology),
            config,
            root: local.root,
            log,
            process_id,
            partitions,
            dir: local.dir,
            shared: local.shared,
            registry: Registry::new()?,
            listeners: Vec::new(),
            restore_listener: RestoreListener::default(),
            uncaught: None,
            predictions_topic: None,
            models: None,
        })
    }

    /// The log, to fill and to read.
    pub fn log(&self) -> &dyn Broker {
        &*self.log
    }

    /// The program's operators and stores.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The directory of this program.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Hears of every change of the client's state.
    #[must_use]
    pub fn on_state_change(mut self, listener: StateListener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Hears how stores are brought back from their changelogs.
    #[must_use]
    pub fn on_restore(mut self, listener: Arc<dyn StateRestoreListener>) -> Self {
        self.restore_listener = listener.into();
        self
    }

    /// Decides what a failed thread does; without it the client stops.
    #[must_use]
    pub fn on_uncaught(mut self, handler: UncaughtHandler) -> Self {
        self.uncaught = Some(handler);
        self
    }

    /// Names the topic whose records the page shows as predictions.
    #[must_use]
    pub fn predictions(mut self, topic: &str) -> Self {
        self.predictions_topic = Some(topic.to_owned());
        self
    }

    /// Says how the program's models show themselves on the page.
    #[must_use]
    pub fn models(mut self, view: ModelsView) -> Self {
        self.models = Some(view);
        self
    }

    /// Deletes all state that this instance keeps on its disk, of tasks and of global tables: the
    /// next start restores it from changelogs and topics. Kafka Streams' `cleanUp()`. A program
    /// that runs keeps its state: this is for one that is not started. The log, and with it the
    /// program's places, stay as they are; [`Program::reset`] is what forgets those too.
    ///
    /// Stores without a changelog are lost by this.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn clean_up(&self) -> Result<()> {
        clean_up(&self.dir, true).map(drop)
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// Where the topology does not fit the topics, or the log refuses.
    pub fn start(self) -> Result<Node> {
        Node::start(Parts::of(self))
    }
}

/// What a program has on its own machine, whatever its log.
struct Local {
    root: PathBuf,
    dir: StateDir,
    shared: Shared,
}

impl Local {
    /// Takes the lock, before anything else is looked at in the directory.
    fn take(config: &Config) -> Result<Self> {
        let root = config.state_dir().join(config.application_id());
        let dir = StateDir::open(tasks_dir(config))?;
        let shared = Shared::new(Limits {
            block_cache_bytes: config.rocksdb_block_cache_bytes(),
            write_buffer_bytes: config.rocksdb_write_buffer_bytes(),
        });
        Ok(Self { root, dir, shared })
    }
}

/// The directory of the tasks' state.
pub(crate) fn tasks_dir(config: &Config) -> PathBuf {
    let root = config.state_dir().join(config.application_id());
    root.join("tasks")
}

/// Deletes the state under a directory, if it is to be done; says what there is to delete. What
/// cannot be deleted does not keep the rest: it is told at the end, if it still is a task's.
pub(crate) fn clean_up(dir: &StateDir, execute: bool) -> Result<Vec<String>> {
    let mut done = Vec::new();
    let mut failed = None;
    for task in dir.tasks()? {
        done.push(format!("delete the state of task {task}"));
        if execute && let Err(error) = dir.remove_task(&task) {
            failed.get_or_insert(error);
        }
    }
    if dir.global_path().exists() {
        done.push("delete the global tables".to_owned());
        if execute && let Err(error) = dir.remove_global() {
            failed.get_or_insert(error);
        }
    }
    let there = !dir.tasks()?.is_empty() || dir.global_path().exists();
    match failed {
        Some(error) if there => Err(error.into()),
        // What is left of it is in nobody's way, and is tried again while the program runs.
        Some(error) => {
            done.push(format!("some files are left over: {error}"));
            Ok(done)
        }
        None => Ok(done),
    }
}

/// The topics that the program does not make for itself.
fn user_topics(topology: &Topology, config: &Config) -> Vec<String> {
    let mut names = topology.user_sources();
    names.extend(topology.user_sinks());
    names.extend(config.dead_letter_topic().map(str::to_owned));
    names.extend(topology.dead_letter_topics());
    names.sort();
    names.dedup();
    names
}

/// A topic that was made a moment ago is not known to every broker of a cluster: for so long a
/// missing one is looked for again.
const SPREADING: Duration = Duration::from_secs(2);

/// Looks whether topics are there; the number of partitions of the widest.
fn existing(log: &dyn Broker, names: &[String], config: &Config) -> Result<u32> {
    let (mut client, clock) = (log.client()?, SystemClock::new());
    let limit = Duration::from_millis(config.task_timeout_ms().unsigned_abs());
    let look = |client: &mut dyn Log| -> Result<(u32, Vec<&str>)> {
        let (mut widest, mut missing) = (1, Vec::new());
        for name in names {
            match patiently(client, &clock, limit, |log| Ok(log.topic(name)?))? {
                Some(info) => widest = widest.max(info.spec.partitions),
                None => missing.push(name.as_str()),
            }
        }
        Ok((widest, missing))
    };
    let (mut widest, mut missing) = look(&mut *client)?;
    let end = clock.elapsed() + SPREADING;
    while !missing.is_empty() && clock.elapsed() < end {
        client.poll(SPREADING / 20)?;
        (widest, missing) = look(&mut *client)?;
    }
    if !missing.is_empty() {
        bail!(
            "topics are missing: {}. They belong to the program's user, who decides how many \
             partitions they have: create them, then start again",
            missing.join(", ")
        );
    }
    Ok(widest)
}
