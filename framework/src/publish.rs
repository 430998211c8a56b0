//! What only the whole program knows, as metrics: lag behind the log's ends, sinks, models.
//!
//! Invariant: counters get the difference to the last look, so that they never go back; what is of
//! a partition, its lag and its model's counts, is shown only by the instance that has it, so that
//! no old one stays beside the new, and what was counted elsewhere is no growth here.

mod models;

use crate::{
    client::KeptClient,
    program::ModelsView,
    rounds::{Round, Rounds, Turn},
};
use anyhow::{Context, Result};
use millstream_core::record::TopicPartition;
use millstream_log::{Broker, ClientStatistics};
use millstream_metrics::{Metric, Registry};
use millstream_runtime::{
    clock::Clock,
    streams::Streams,
    worker::{TaskRole, TaskView},
};
use millstream_sink::{SinkState, SinkWatch};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, mpsc::Sender},
    thread::JoinHandle,
    time::Duration,
};

/// How often is looked: more often than any scrape comes.
const INTERVAL: Duration = Duration::from_secs(1);

/// The sinks of a program, which may be attached after its start.
pub(crate) type Sinks = Arc<Mutex<Vec<SinkWatch>>>;

/// What is looked at.
pub(crate) struct Watched {
    pub(crate) streams: Arc<Streams>,
    pub(crate) log: Arc<dyn Broker>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) registry: Registry,
    pub(crate) models: Option<Arc<ModelsView>>,
    pub(crate) sinks: Sinks,
}

/// The thread that looks. Dropping it waits for its end, so that nothing it looks at outlives the
/// program.
pub(crate) struct Publisher {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    pub(crate) fn start(watched: Watched) -> Result<Self> {
        let (stop, rounds) = Rounds::new(watched.clock.clone());
        let run = move || {
            let client = KeptClient::new(watched.log.clone());
            let mut metrics = Metrics::new(watched.registry.clone(), client);
            metrics.build();
            loop {
                metrics.publish(&watched, &mut rounds.begin());
                if !rounds.wait(INTERVAL) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("MetricsPublisher".to_owned());
        let thread = thread
            .spawn(run)
            .context("no thread to publish metrics from")?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It only looks: if it panicked, the program is as it was.
            drop(thread.join());
        }
    }
}

/// The registry, and what its counters were told last.
struct Metrics {
    registry: Registry,
    client: KeptClient,
    told: BTreeMap<(Metric, Vec<String>), u64>,
    /// The partitions whose lag was shown last.
    lagging: BTreeSet<TopicPartition>,
    /// Which of them is to be looked at first.
    turn: Turn,
    /// The versions of the models that were shown last.
    versions: BTreeMap<String, String>,
    /// The partitions of each model that were shown last.
    modelled: BTreeMap<String, BTreeSet<u32>>,
}

impl Metrics {
    fn new(registry: Registry, client: KeptClient) -> Self {
        Self {
            registry,
            client,
            told: BTreeMap::new(),
            lagging: BTreeSet::new(),
            turn: Turn::default(),
            versions: BTreeMap::new(),
            modelled: BTreeMap::new(),
        }
    }

    /// The revision is what whoever compiled this had in the environment (the image and the demo
    /// do): a build script that asked the checkout would compile anew with each commit.
    fn build(&self) {
        let labels = [
            ("version", env!("CARGO_PKG_VERSION")),
            (
                "revision",
                option_env!("SOURCE_REVISION").unwrap_or("unknown"),
            ),
        ];
        self.gauge(Metric::BuildInfo, &labels, 1.0);
    }

    fn publish(&mut self, watched: &Watched, round: &mut Round<'_>) {
        self.lag(watched.streams.tasks(), round);
        for told in watched.log.statistics() {
            self.connections(&told);
        }
        let sinks = watched.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        let sinks = sinks.clone();
        for sink in sinks {
            self.sink(&sink);
        }
        if let Some(view) = &watched.models {
            for model in view(&watched.streams) {
                self.model(&model);
            }
        }
    }

    fn lag(&mut self, tasks: Vec<TaskView>, round: &mut Round<'_>) {
        let tasks = tasks.into_iter();
        let active = tasks.filter(|task| task.role == TaskRole::Active);
        let mut inputs: Vec<_> = active.flat_map(|task| task.inputs).collect();
        let shown = inputs.iter().map(|(at, _)| at.clone()).collect();
        let before = std::mem::replace(&mut self.lagging, shown);
        let mut turn = std::mem::take(&mut self.turn);
        let asked = turn.each(&mut inputs, round, |(at, next), round| {
            // A log that cannot say now leaves what was shown before.
            if let Some(Ok(end)) = round.ask(|| self.client.with(|client| client.end(at))) {
                let partition = at.partition.to_string();
                let labels = [("topic", &*at.topic), ("partition", &*partition)];
                let lag = u64::try_from(end - *next).unwrap_or(0);
                self.gauge(Metric::ConsumerLagRecords, &labels, whole(lag));
            }
            Ok(())
        });
        drop(asked);
        self.turn = turn;
        for gone in before.difference(&self.lagging) {
            let partition = gone.partition.to_string();
            let labels = [("topic", &*gone.topic), ("partition", &*partition)];
            self.remove(Metric::ConsumerLagRecords, &labels);
        }
    }

    /// What a client tells of its connections to the log.
    fn connections(&mut self, told: &ClientStatistics) {
        let client = ("client", told.client.as_str());
        self.count(Metric::LogRequests, &[client], told.requests);
        self.count(Metric::LogRetries, &[client], told.retries);
        self.count(Metric::LogTimeouts, &[client], told.timeouts);
        for (direction, bytes) in [("out", told.sent_bytes), ("in", told.received_bytes)] {
            let labels = [client, ("direction", direction)];
            self.count(Metric::LogTraffic, &labels, bytes);
        }
        let seconds = told.round_trip.as_secs_f64();
        self.gauge(Metric::LogRoundTrip, &[client], seconds);
        let queued = whole(told.queued_records);
        self.gauge(Metric::LogQueuedRecords, &[client], queued);
    }

    fn sink(&mut self, sink: &SinkWatch) {
        let (name, stats) = (sink.name(), sink.stats());
        for (outcome, rows) in [
            ("written", stats.rows),
            ("skipped", stats.skipped),
            ("refused", stats.dead_letters),
            ("lost", stats.lost),
        ] {
            let labels = [("sink", name), ("outcome", outcome)];
            self.count(Metric::SinkRows, &labels, rows);
        }
        for (kind, met) in [
            ("retry", stats.retries),
            ("fenced", stats.fenced),
            ("shortened", stats.shortened),
        ] {
            let labels = [("sink", name), ("kind", kind)];
            self.count(Metric::SinkTroubles, &labels, met);
        }
        let labels = [("source", name), ("reason", "row")];
        self.count(Metric::DeadLetters, &labels, stats.dead_letters);
        let now = sink.state();
        for state in SinkState::ALL {
            let labels = [("sink", name), ("state", &*state.to_string())];
            let is = f64::from(u8::from(state == now));
            self.gauge(Metric::SinkState, &labels, is);
        }
        // One that has ended asks no more how much there is, and another may have its partitions.
        if now.is_final() {
            self.remove(Metric::SinkPendingRows, &[("sink", name)]);
        } else {
            let waiting = whole(stats.behind);
            self.gauge(Metric::SinkPendingRows, &[("sink", name)], waiting);
        }
    }

    /// Brings a counter to a total, which may begin anew where what counts it was replaced.
    fn count(&mut self, metric: Metric, labels: &[(&str, &str)], total: u64) {
        let values = labels.iter().map(|(_, value)| (*value).to_owned());
        let before = self.told.insert((metric, values.collect()), total);
        let before = before.unwrap_or(0);
        match self.registry.counter(metric, labels) {
            Ok(counter) => counter.add(total.checked_sub(before).unwrap_or(total)),
            Err(error) => tracing::debug!(%error, "a metric was refused"),
        }
    }

    fn remove(&self, metric: Metric, labels: &[(&str, &str)]) {
        if let Err(error) = self.registry.remove(metric, labels) {
            tracing::debug!(%error, "a metric was refused");
        }
    }

    fn gauge(&self, metric: Metric, labels: &[(&str, &str)], value: f64) {
        match self.registry.gauge(metric, labels) {
            Ok(gauge) => gauge.set(value),
            Err(error) => tracing::debug!(%error, "a metric was refused"),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact to 2^53, as every Prometheus gauge"
)]
fn whole(count: u64) -> f64 {
    count as f64
}
