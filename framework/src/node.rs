//! A program that runs: its threads, sinks and server, started and stopped in order.
//!
//! Invariant: stopping goes against the stream, so that what comes later sees the last of what came
//! before.

use crate::{
    introspect::Inspector,
    program::{ModelsView, Program},
    publish::{Publisher, Sinks, Watched},
    purge::Purger,
};
use anyhow::{Context, Result, bail};
use millstream_core::task::{
    Emission, ErrorPolicy, OffsetReset, Policies, SourceChangelogs, TaskConfig,
};
use millstream_http::HttpServer;
use millstream_log::Broker;
use millstream_metrics::Registry;
use millstream_runtime::{
    backends::{Backends, RocksBackends, TransientBackends},
    config::{Config, ExceptionHandler, ProcessingGuarantee},
    streams::{LogSource, State, Streams, StreamsConfig},
    worker::Settings,
};
use millstream_sink::{Sink, SinkHandle};
use millstream_state::StateDir;
use std::{
    sync::{Arc, PoisonError, atomic::AtomicU32},
    time::Duration,
};

/// A program, and its settings as the threads want them.
pub(crate) struct Parts {
    program: Program,
    streams: StreamsConfig,
}

impl Parts {
    pub(crate) fn of(mut program: Program) -> Self {
        let stores = program.topology.cached_stores() * program.partitions as usize;
        let (config, registry) = (&program.config, program.registry.clone());
        let id = program.process_id.as_deref();
        let mut streams = streams_config(config, id, registry, stores);
        streams.listeners = std::mem::take(&mut program.listeners);
        streams.settings.restore_listener = program.restore_listener.clone();
        if let Some(uncaught) = program.uncaught.take() {
            streams.uncaught = uncaught;
        }
        Self { program, streams }
    }
}

fn policy(handler: ExceptionHandler) -> ErrorPolicy {
    match handler {
        ExceptionHandler::Fail => ErrorPolicy::Fail,
        ExceptionHandler::Continue => ErrorPolicy::Skip,
        ExceptionHandler::Dlq => ErrorPolicy::DeadLetter,
    }
}

/// What tells this instance of the program from others.
fn instance(config: &Config, process_id: Option<&str>) -> String {
    process_id.map_or_else(|| config.state_dir().display().to_string(), str::to_owned)
}

/// `stores` is how many stores with a cache the process may hold, which share the memory for that.
fn streams_config(
    config: &Config,
    process_id: Option<&str>,
    registry: Registry,
    stores: usize,
) -> StreamsConfig {
    let mut task = TaskConfig::new(config.application_id());
    task.policies = Policies {
        deserialization: policy(config.deserialization_exception_handler()),
        processing: policy(config.processing_exception_handler()),
        production: policy(config.production_exception_handler()),
    };
    task.dead_letter_topic = config.dead_letter_topic().map(str::to_owned);
    task.record_bytes_max = Some(config.max_request_size());
    task.cache_bytes = config.statestore_read_cache_max_bytes() / stores.max(1);
    if config.statestore_cache_max_bytes() > 0 {
        task.emission = Emission::PerCommit;
    }
    task.offset_reset = config.auto_offset_reset();
    task.exactly_once = config.processing_guarantee() == ProcessingGuarantee::ExactlyOnceV2;
    // A table that begins later than its topic is no copy of it.
    if config.reuse_ktable_source_topics() && task.offset_reset == OffsetReset::Earliest {
        task.source_changelogs = SourceChangelogs::Always;
    }
    // Where other processes may be in the group too, a name must be one's own.
    let member = match process_id {
        Some(id) => format!("{}-{id}-thread", config.application_id()),
        None => format!("{}-thread", config.application_id()),
    };
    let mut settings = Settings::new(member, instance(config, process_id));
    settings.server = config.advertised_server().map(str::to_owned);
    settings.commit_interval_ms = config.commit_interval_ms();
    settings.uncommitted_bytes_max = config.statestore_uncommitted_max_bytes();
    settings.max_task_idle_ms = config.max_task_idle_ms();
    settings.buffered_records = config.buffered_records_per_partition();
    settings.standby_replicas = config.num_standby_replicas();
    let mut streams = StreamsConfig::new(task, settings, registry);
    streams.threads = config.num_stream_threads();
    streams.summary_interval = u64::try_from(config.log_summary_interval_ms())
        .ok()
        .map(Duration::from_millis);
    streams.poll = Duration::from_millis(u64::try_from(config.poll_ms()).unwrap_or(0));
    let cleanup = config.state_cleanup_delay_ms().unsigned_abs();
    streams.state_cleanup_delay = Duration::from_millis(cleanup);
    streams.patience = Duration::from_millis(config.task_timeout_ms().unsigned_abs());
    streams
}

/// A running program: its threads, sinks and server.
///
/// Stopping goes against the stream: threads first, so that sinks see the last commit.
pub struct Node {
    pub(crate) http: Option<HttpServer>,
    pub(crate) sinks: Vec<SinkHandle>,
    watches: Sinks,
    /// Before the threads it looks at, so that it is dropped before them.
    _publisher: Publisher,
    purger: Option<Purger>,
    /// The lock of a directory that no backend holds.
    _dir: Option<StateDir>,
    streams: Arc<Streams>,
    log: Arc<dyn Broker>,
    config: Config,
    /// What tells this instance from others.
    process: String,
    registry: Registry,
    predictions_topic: Option<String>,
    models: Option<Arc<ModelsView>>,
}

/// How long a stopping program waits for its sinks to write what is committed.
const SINK_DRAIN_MS: i64 = 30_000;

impl Node {
    /// Starts the threads.
    pub(crate) fn start(parts: Parts) -> Result<Self> {
        let Parts { program, streams } = parts;
        let (config, log) = (program.config, program.log);
        let source = log.clone();
        let logs: LogSource = Arc::new(move || source.client());
        // The directory is this instance's for as long as it runs, also where no state lies in it.
        let (backends, dir): (Arc<dyn Backends>, _) = if config.stores_in_memory() {
            (Arc::new(TransientBackends::default()), Some(program.dir))
        } else {
            let backends = RocksBackends::in_dir(program.dir, program.shared);
            (Arc::new(backends), None)
        };
        let clock = streams.clock.clone();
        let streams = Streams::new(program.topology, streams, logs, backends)?;
        let streams = Arc::new(streams);
        let purge = Duration::from_millis(config.repartition_purge_interval_ms().unsigned_abs());
        let group = config.application_id();
        let purger = Purger::start(log.clone(), &streams, group, purge, clock.clone())?;
        streams.start()?;
        let (models, watches) = (program.models.map(Arc::new), Sinks::default());
        let publisher = Publisher::start(Watched {
            streams: streams.clone(),
            log: log.clone(),
            clock,
            registry: program.registry.clone(),
            models: models.clone(),
            sinks: watches.clone(),
        })?;
        Ok(Self {
            http: None,
            sinks: Vec::new(),
            watches,
            _publisher: publisher,
            purger: Some(purger),
            _dir: dir,
            streams,
            log,
            process: instance(&config, program.process_id.as_deref()),
            config,
            registry: program.registry,
            predictions_topic: program.predictions_topic,
            models,
        })
    }

    /// The threads.
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// The log.
    pub fn log(&self) -> &dyn Broker {
        &*self.log
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
    /// It shares its table with the sinks of the program's other instances: unless it is a member
    /// of a group already, it becomes one of the group `<application.id>-sink-<table>`, which gives
    /// it its partitions.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn attach(&mut self, sink: Sink) -> Result<()> {
        let sink = if sink.is_shared() {
            sink
        } else {
            let group = format!("{}-sink-{}", self.config.application_id(), sink.name());
            sink.shared(group, &*self.process, &*self.process)
        };
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
            client: Inspector::client(self.log.clone()),
            keyless: AtomicU32::new(0),
            application_id: self.config.application_id().to_owned(),
            predictions_topic: self.predictions_topic.clone(),
            models: self.models.clone(),
            sinks: self.watches.clone(),
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
        self.stop()
    }

    /// As [`Node::close`], for one who asks afterwards what it has done.
    pub(crate) fn stop(&mut self) -> Result<()> {
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
        for (table, outcome) in SinkHandle::stop_all(self.sinks.drain(..), drain_ms) {
            let outcome = outcome.with_context(|| format!("the sink of table {table}"));
            stopped = stopped.and(outcome.map(drop));
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

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_runtime::config::ConfigBuilder;

    fn task(set: &[&str]) -> TaskConfig {
        let mut builder = ConfigBuilder::new().defaults(&[("application.id", "app")]);
        for setting in set {
            builder = builder.set(setting).unwrap();
        }
        let config = builder.build().unwrap();
        streams_config(&config, None, Registry::new().unwrap(), 2).task
    }

    #[test]
    fn what_tasks_must_know_comes_from_its_keys() {
        let plain = task(&[]);
        assert_eq!(plain.emission, Emission::PerUpdate);
        assert_eq!(plain.cache_bytes, 16 << 20);
        assert!(plain.exactly_once);
        assert_eq!(plain.source_changelogs, SourceChangelogs::Never);
        assert_eq!(plain.policies, Policies::default());
        assert_eq!(plain.record_bytes_max, Some(16 << 20));

        let asked = task(&[
            "statestore.cache.max.bytes=1MiB",
            "statestore.read.cache.max.bytes=2000",
            "topology.optimization=all",
            "production.exception.handler=dlq",
            "processing.exception.handler=continue",
            "errors.dead.letter.queue.topic.name=dead",
            "bootstrap.servers=a:1",
        ]);
        assert_eq!(asked.emission, Emission::PerCommit);
        assert_eq!(asked.cache_bytes, 1_000);
        assert_eq!(asked.source_changelogs, SourceChangelogs::Always);
        assert_eq!(asked.policies.production, ErrorPolicy::DeadLetter);
        assert_eq!(asked.policies.processing, ErrorPolicy::Skip);
        assert_eq!(asked.policies.deserialization, ErrorPolicy::Fail);
        assert_eq!(asked.dead_letter_topic.as_deref(), Some("dead"));
        assert_eq!(asked.record_bytes_max, Some(1_000_000));

        assert_eq!(plain.offset_reset, OffsetReset::Earliest);
        let late = task(&["auto.offset.reset=latest", "topology.optimization=all"]);
        assert_eq!(late.offset_reset, OffsetReset::Latest);
        assert_eq!(late.source_changelogs, SourceChangelogs::Never);
        let nowhere = task(&["auto.offset.reset=none"]);
        assert_eq!(nowhere.offset_reset, OffsetReset::Fail);

        let own = ["bootstrap.servers=a:1", "producer.message.max.bytes=5000"];
        assert_eq!(task(&own).record_bytes_max, Some(5_000));
        let often = [
            "bootstrap.servers=a:1",
            "processing.guarantee=at_least_once",
        ];
        assert!(!task(&often).exactly_once);
    }
}
