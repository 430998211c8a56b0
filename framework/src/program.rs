//! A program on the embedded log: everything in one process, under one directory.
//!
//! ```text
//! <state.dir>/<application.id>/log     topics, places, transactions (RocksDB)
//! <state.dir>/<application.id>/tasks   one RocksDB per task
//! ```
//!
//! Invariant: what is under the directory is enough to go on after any crash of the process.

use crate::{
    introspect::Inspector,
    publish::{Publisher, Sinks, Watched},
    purge::Purger,
};
use anyhow::{Context, Result, bail};
use millstream_core::{
    task::{ErrorPolicy, Policies, TaskConfig},
    topology::Topology,
};
use millstream_http::HttpServer;
use millstream_log::{Cleanup, EmbeddedLog, Limits as LogLimits, Log, TopicSpec};
use millstream_metrics::Registry;
use millstream_runtime::{
    backends::RocksBackends,
    config::{Config, Durability, ExceptionHandler, PREFIXES},
    streams::{LogSource, State, StateListener, Streams, StreamsConfig, UncaughtHandler},
    worker::Settings,
};
use millstream_sink::{Sink, SinkHandle};
use millstream_state::{self as state, Limits, RocksBackend, Shared};
use std::{
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::Duration,
};

/// Bytes of newest records that the log keeps in memory beside the disk.
const LOG_CACHE_BYTES: u64 = 8 << 20;

/// How the models of a program show themselves on the page.
pub type ModelsView = Box<dyn Fn(&Streams) -> Vec<millstream_http::ModelStatus> + Send + Sync>;

/// An embedded program that is not started yet: its log is open, so it can be filled and read.
pub struct Embedded {
    topology: Arc<Topology>,
    config: Config,
    root: PathBuf,
    log: EmbeddedLog,
    shared: Shared,
    registry: Registry,
    listeners: Vec<StateListener>,
    uncaught: Option<UncaughtHandler>,
    predictions_topic: Option<String>,
    models: Option<ModelsView>,
}

impl Embedded {
    /// Opens the log under `state.dir`, and makes the program's own topics on it where they are
    /// missing, with `embedded.partitions` partitions.
    ///
    /// # Errors
    /// Where the directory is taken or unreadable, or the settings ask for a Kafka cluster, which
    /// this version does not run on.
    pub fn open(topology: Topology, config: Config) -> Result<Self> {
        if let Some(servers) = config.bootstrap_servers() {
            bail!(
                "bootstrap.servers is {servers:?}, but this version runs on its embedded log only: \
                 remove the setting"
            );
        }
        for prefix in PREFIXES {
            for (key, _) in config.with_prefix(prefix) {
                tracing::warn!(
                    key,
                    "a Kafka client's setting: the embedded log has no use for it"
                );
            }
        }
        let root = config.state_dir().join(config.application_id());
        let shared = Shared::new(Limits {
            block_cache_bytes: config.rocksdb_block_cache_bytes(),
            write_buffer_bytes: config.rocksdb_write_buffer_bytes(),
        });
        let columns = EmbeddedLog::COLUMNS.map(str::to_owned);
        let durability = match config.log_durability() {
            Durability::Process => state::Durability::Process,
            Durability::Machine => state::Durability::Machine,
        };
        let backend = RocksBackend::open(root.join("log"), &columns, &shared)
            .context("opening the embedded log")?
            .with_durability(durability);
        let limits = LogLimits {
            cache_bytes_max: LOG_CACHE_BYTES,
            ..LogLimits::default()
        };
        let log = EmbeddedLog::open_with(Arc::new(backend), limits)?;
        let embedded = Self {
            topology: Arc::new(topology),
            config,
            root,
            log,
            shared,
            registry: Registry::new()?,
            listeners: Vec::new(),
            uncaught: None,
            predictions_topic: None,
            models: None,
        };
        embedded.create_topics()?;
        Ok(embedded)
    }

    fn create_topics(&self) -> Result<()> {
        let mut names = self.topology.user_sources();
        names.extend(self.topology.user_sinks());
        names.extend(self.config.dead_letter_topic().map(str::to_owned));
        for name in names {
            self.create_topic(&name)?;
        }
        Ok(())
    }

    /// Makes a topic of the user's if it is missing.
    ///
    /// # Errors
    /// Where the log refuses.
    pub fn create_topic(&self, name: &str) -> Result<()> {
        if self.log.client().topic(name)?.is_none() {
            let partitions = self.config.embedded_partitions();
            let cleanup = Cleanup::Delete { retention_ms: None };
            self.log.create_topic(&TopicSpec {
                name: name.to_owned(),
                partitions,
                cleanup,
            })?;
        }
        Ok(())
    }

    /// The log, to fill and to read.
    pub fn log(&self) -> &EmbeddedLog {
        &self.log
    }

    /// The program.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The directory of this program.
    pub fn root(&self) -> &std::path::Path {
        &self.root
    }

    /// Hears of every change of the client's state.
    #[must_use]
    pub fn on_state_change(mut self, listener: StateListener) -> Self {
        self.listeners.push(listener);
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

    /// Starts the threads.
    ///
    /// # Errors
    /// Where the state directory is taken or the topology does not fit the topics.
    pub fn start(self) -> Result<Node> {
        let backends = RocksBackends::open(self.root.join("tasks"), self.shared.clone())?;
        let log = self.log.clone();
        let logs: LogSource = Arc::new(move || Box::new(log.client()));
        let partitions = self.config.embedded_partitions() as usize;
        let stores = self.topology.stores().len() * partitions;
        let mut streams = streams_config(&self.config, self.registry.clone(), stores);
        streams.listeners = self.listeners;
        if let Some(uncaught) = self.uncaught {
            streams.uncaught = uncaught;
        }
        let clock = streams.clock.clone();
        let streams = Streams::new(self.topology, streams, logs, Arc::new(backends))?;
        let streams = Arc::new(streams);
        let group = self.config.application_id();
        let purge =
            Duration::from_millis(self.config.repartition_purge_interval_ms().unsigned_abs());
        let purger = Purger::start(self.log.clone(), streams.program(), group, purge, clock)?;
        streams.start()?;
        let (models, watches) = (self.models.map(Arc::new), Sinks::default());
        let publisher = Publisher::start(Watched {
            streams: streams.clone(),
            log: self.log.clone(),
            registry: self.registry.clone(),
            models: models.clone(),
            sinks: watches.clone(),
        })?;
        Ok(Node {
            http: None,
            sinks: Vec::new(),
            watches,
            _publisher: publisher,
            purger: Some(purger),
            streams,
            log: self.log,
            config: self.config,
            registry: self.registry,
            predictions_topic: self.predictions_topic,
            models,
        })
    }
}

fn policy(handler: ExceptionHandler) -> ErrorPolicy {
    match handler {
        ExceptionHandler::Fail => ErrorPolicy::Fail,
        ExceptionHandler::Continue => ErrorPolicy::Skip,
        ExceptionHandler::Dlq => ErrorPolicy::DeadLetter,
    }
}

/// `stores` is how many stores the process may hold, which share the memory for caches.
fn streams_config(config: &Config, registry: Registry, stores: usize) -> StreamsConfig {
    let mut task = TaskConfig::new(config.application_id());
    task.policies = Policies {
        deserialization: policy(config.deserialization_exception_handler()),
        processing: policy(config.processing_exception_handler()),
    };
    task.dead_letter_topic = config.dead_letter_topic().map(str::to_owned);
    task.cache_bytes = config.statestore_cache_max_bytes() / stores.max(1);
    let instance = config.state_dir().display().to_string();
    let mut settings = Settings::new(format!("{}-thread", config.application_id()), instance);
    settings.commit_interval_ms = config.commit_interval_ms();
    let threads = config.num_stream_threads();
    settings.uncommitted_bytes_max = config.statestore_uncommitted_max_bytes() / threads.max(1);
    settings.max_task_idle_ms = config.max_task_idle_ms();
    settings.buffered_records = config.buffered_records_per_partition();
    settings.standby_replicas = config.num_standby_replicas();
    let mut streams = StreamsConfig::new(task, settings, registry);
    streams.threads = threads;
    streams.summary_interval = u64::try_from(config.log_summary_interval_ms())
        .ok()
        .map(Duration::from_millis);
    streams.poll = Duration::from_millis(u64::try_from(config.poll_ms()).unwrap_or(0));
    streams
}

/// A running embedded program: its threads, sinks and server.
///
/// Stopping goes against the stream: threads first, so that sinks see the last commit.
pub struct Node {
    pub(crate) http: Option<HttpServer>,
    pub(crate) sinks: Vec<SinkHandle>,
    watches: Sinks,
    /// Before the threads it looks at, so that it is dropped before them.
    _publisher: Publisher,
    purger: Option<Purger>,
    streams: Arc<Streams>,
    log: EmbeddedLog,
    config: Config,
    registry: Registry,
    predictions_topic: Option<String>,
    models: Option<Arc<ModelsView>>,
}

/// How long a stopping program waits for its sinks to write what is committed.
const SINK_DRAIN_MS: i64 = 30_000;

impl Node {
    /// The threads.
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// The log.
    pub fn log(&self) -> &EmbeddedLog {
        &self.log
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The metrics.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The sinks.
    pub fn sinks(&self) -> &[SinkHandle] {
        &self.sinks
    }

    /// Runs a sink until the program stops.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn attach(&mut self, sink: Sink) -> Result<()> {
        let clock = millstream_runtime::clock::SystemClock::new();
        let now = move || millstream_runtime::clock::Clock::now(&clock);
        let sink = SinkHandle::spawn(sink, now)?;
        let watches = self.watches.lock();
        watches
            .unwrap_or_else(PoisonError::into_inner)
            .push(sink.watch());
        self.sinks.push(sink);
        Ok(())
    }

    /// Serves page, metrics and queries at `application.server`; returns the address bound.
    ///
    /// # Errors
    /// Where the address is no address or taken.
    pub fn serve(&mut self) -> Result<std::net::SocketAddr> {
        use std::net::ToSocketAddrs;
        let wanted = self.config.application_server();
        let address = (wanted.to_socket_addrs())
            .with_context(|| format!("application.server {wanted:?}"))?
            .next()
            .with_context(|| format!("application.server {wanted:?} is no address"))?;
        let inspector = Arc::new(Inspector {
            streams: self.streams.clone(),
            log: self.log.clone(),
            application_id: self.config.application_id().to_owned(),
            predictions_topic: self.predictions_topic.clone(),
            models: self.models.clone(),
        });
        let server = HttpServer::start(address, inspector, self.registry.clone())
            .with_context(|| format!("serving at {address}"))?;
        let bound = server.local_addr();
        self.http = Some(server);
        Ok(bound)
    }

    /// Stops: commits, lets the sinks write what is committed, and ends all threads. A node that is
    /// dropped stops too, but leaves what its sinks have not written to the next start.
    ///
    /// # Errors
    /// What stopped the client, if it was a failure.
    pub fn close(mut self) -> Result<()> {
        let end = self.end(SINK_DRAIN_MS)?;
        if end == State::Error {
            bail!(
                self.streams
                    .failure()
                    .unwrap_or_else(|| "a thread failed".to_owned())
            );
        }
        Ok(())
    }

    /// Ends every thread, so that nothing holds the directory any more.
    fn end(&mut self, drain_ms: i64) -> Result<State> {
        let end = self.streams.close();
        let mut stopped = Ok(());
        for sink in self.sinks.drain(..) {
            let outcome = sink.stop(drain_ms).map(drop);
            stopped = stopped.and(outcome);
        }
        if let Some(server) = self.http.take() {
            server.stop();
        }
        if let Some(purger) = self.purger.take() {
            purger.stop();
        }
        stopped?;
        Ok(end)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // After `close` there is nothing left to end.
        if let Err(error) = self.end(0) {
            tracing::error!(%error, "a sink had failed");
        }
    }
}
