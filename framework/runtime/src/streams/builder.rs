//! From a topology, settings and a log to a [`Streams`] that can be started.

use super::{
    LogSource, StateListener, Streams, UncaughtHandler, UncaughtPolicy,
    shared::{Parts, Shared},
};
use crate::{
    backends::Backends,
    calls::CallPool,
    cleaner::Cleaner,
    clock::{Clock, SystemClock},
    error::Result,
    patience::patiently,
    program::Program,
    publish::Publisher,
    topics::LogTopics,
    worker::Settings,
};
use millstream_core::{
    task::{TaskConfig, Topics},
    topology::Topology,
};
use millstream_metrics::Registry;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// Everything a [`Streams`] is built from.
pub struct StreamsConfig {
    /// `application.id`, error policies and caches.
    pub task: TaskConfig,
    /// Commit interval, buffers, standbys and names.
    pub settings: Settings,
    /// `num.stream.threads`.
    pub threads: usize,
    /// `poll.ms`: how long an idle thread waits for news.
    pub poll: Duration,
    /// `log.summary.interval.ms`: how often each thread logs what it did; `None` is never.
    pub summary_interval: Option<Duration>,
    /// `state.cleanup.delay.ms`: for how long nobody must have had a task's state before
    /// [`Streams::tidy_state`] deletes it.
    pub state_cleanup_delay: Duration,
    /// What a failed thread does.
    pub uncaught: UncaughtHandler,
    /// Who hears of changes of state.
    pub listeners: Vec<StateListener>,
    /// Where the metrics go.
    pub registry: Registry,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// `task.timeout.ms`: how long the log may take to make the internal topics.
    pub patience: Duration,
}

impl StreamsConfig {
    /// One thread, Kafka's defaults, and a client that stops when a thread fails.
    pub fn new(task: TaskConfig, settings: Settings, registry: Registry) -> Self {
        Self {
            task,
            settings,
            threads: 1,
            poll: Duration::from_millis(100),
            summary_interval: Some(Duration::from_secs(120)),
            state_cleanup_delay: Duration::from_secs(600),
            uncaught: Box::new(|_| UncaughtPolicy::ShutdownClient),
            listeners: Vec::new(),
            registry,
            clock: Arc::new(SystemClock::new()),
            patience: Duration::from_secs(300),
        }
    }
}

impl Streams {
    /// Prepares a program: derives its tasks, and makes its internal topics on the log.
    ///
    /// # Errors
    /// Where the topology does not fit the log's topics.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the program keeps the topology, so callers hand theirs over"
    )]
    pub fn new(
        topology: Arc<Topology>,
        mut config: StreamsConfig,
        logs: LogSource,
        backends: Arc<dyn Backends>,
    ) -> Result<Self> {
        let ask = || Arc::new(LogTopics::new(logs.clone())) as Arc<dyn Topics>;
        config.task.topics.get_or_insert_with(ask);
        // A log may still be at work on a topic when it answers, and then asks for patience.
        let program = patiently(&mut *logs()?, &*config.clock, config.patience, |log| {
            Program::prepare(topology.clone(), config.task.clone(), log)
        })?;
        let calls = (topology.is_asynchronous())
            .then(CallPool::start)
            .transpose()?;
        let publisher = Publisher::new(config.registry, &program.task.application_id);
        let shared = Shared::new(Parts {
            program: Arc::new(program),
            backends,
            logs,
            calls,
            settings: config.settings,
            thread_count: config.threads.max(1),
            poll: config.poll,
            summary_interval: config.summary_interval,
            clock: config.clock,
            uncaught: config.uncaught,
            publisher,
            listeners: config.listeners,
        });
        Ok(Self {
            shared: Arc::new(shared),
            threads: Mutex::default(),
            cleaner: Mutex::new(Cleaner::new(config.state_cleanup_delay)),
        })
    }
}
