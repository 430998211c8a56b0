//! A log with one input and one output topic, the program between them, and waiting for what comes
//! of it.

use millstream_core::{
    prelude::*,
    record::{Headers, RawRecord, TopicPartition},
    task::TaskConfig,
};
use millstream_log::{Cleanup, EmbeddedLog, Log, TopicSpec};
use millstream_metrics::Registry;
use millstream_runtime::{
    backends::{Backends, MemoryBackends},
    clock::{Clock, SystemClock},
    streams::{LogSource, State, Streams, StreamsConfig},
    worker::{Settings, TaskRole, TaskView},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

pub(crate) const APPLICATION: &str = "app";
pub(crate) static IN: Topic<String, i64> = Topic::new("in", utf8(), i64_be());
pub(crate) static OUT: Topic<String, i64> = Topic::new("out", utf8(), i64_be());

/// How long one wait for news takes at most, and how many of them a condition gets.
pub(crate) const WAIT: Duration = Duration::from_millis(20);
const WAITS_MAX: usize = 1_500;
/// How long a state is waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A log with its topics.
pub(crate) struct World {
    pub(crate) log: EmbeddedLog,
    partitions: u32,
}

impl World {
    pub(crate) fn new(partitions: u32) -> Self {
        Self::on(EmbeddedLog::in_memory(), partitions)
    }

    pub(crate) fn on(log: EmbeddedLog, partitions: u32) -> Self {
        for name in [IN.name, OUT.name] {
            create(&log, name, partitions);
        }
        Self { log, partitions }
    }

    /// Commits records to the input topic; keys choose the partitions.
    pub(crate) fn feed(&self, records: impl IntoIterator<Item = (String, i64)>) {
        let raw = records.into_iter().map(|(key, n)| (key, n.to_be_bytes()));
        self.feed_bytes(raw.map(|(key, n)| (key, n.to_vec())));
    }

    pub(crate) fn feed_bytes(&self, records: impl IntoIterator<Item = (String, Vec<u8>)>) {
        let mut client = self.log.client();
        for (key, value) in records {
            let record = RawRecord {
                key: Some(key.as_bytes()),
                value: Some(&value),
                timestamp: 1,
                headers: &Headers::NONE,
            };
            client.send(IN.name, None, record).unwrap();
        }
        client.commit(1, &[]).unwrap();
    }

    /// What the output topic holds: for each key its values, in order.
    pub(crate) fn outputs(&self) -> BTreeMap<String, Vec<i64>> {
        let mut client = self.log.client();
        let mut all: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for partition in 0..self.partitions {
            let at = TopicPartition::new(OUT.name, partition);
            let mut from = 0;
            while from < client.end(&at).unwrap() {
                let page = client.read(&at, from, usize::MAX).unwrap();
                for (_, record) in page.records.iter() {
                    let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
                    let value = i64::from_be_bytes(record.value.unwrap().try_into().unwrap());
                    all.entry(key).or_default().push(value);
                }
                from = page.next;
            }
        }
        all
    }

    /// Waits until the output topic holds so many records, then returns it.
    pub(crate) fn wait_for_outputs(&self, records: usize) -> BTreeMap<String, Vec<i64>> {
        let count = || self.outputs().values().map(Vec::len).sum::<usize>();
        self.until("outputs", || count() >= records);
        self.outputs()
    }

    /// Waits for a condition, looking at it whenever the log has news or a wait is over.
    pub(crate) fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let mut client = self.log.client();
        for _ in 0..WAITS_MAX {
            if condition() {
                return;
            }
            client.poll(WAIT).unwrap();
        }
        panic!("{what} did not come about");
    }

    /// Lets some time pass in which nothing must happen.
    pub(crate) fn let_it_be(&self) {
        let mut client = self.log.client();
        for _ in 0..5 {
            client.poll(WAIT).unwrap();
        }
    }

    pub(crate) fn source(&self) -> LogSource {
        let log = self.log.clone();
        Arc::new(move || Ok(Box::new(log.client())))
    }

    pub(crate) fn streams(&self, topology: Topology, config: StreamsConfig) -> Streams {
        self.streams_on(&Arc::new(MemoryBackends::default()), topology, config)
    }

    pub(crate) fn streams_on(
        &self,
        disk: &Arc<MemoryBackends>,
        topology: Topology,
        config: StreamsConfig,
    ) -> Streams {
        let disk: Arc<dyn Backends> = disk.clone();
        Streams::new(Arc::new(topology), config, self.source(), disk).unwrap()
    }
}

pub(crate) fn create(log: &EmbeddedLog, name: &str, partitions: u32) {
    let spec = TopicSpec {
        name: name.to_owned(),
        partitions,
        cleanup: Cleanup::Delete { retention_ms: None },
    };
    log.create_topic(&spec).unwrap();
}

/// One thread that commits often, as an instance of that name.
pub(crate) fn config(instance: &str) -> StreamsConfig {
    let mut settings = Settings::new(instance, instance);
    settings.commit_interval_ms = 5;
    let registry = Registry::new().unwrap();
    let mut config = StreamsConfig::new(TaskConfig::new(APPLICATION), settings, registry);
    config.poll = WAIT;
    config
}

/// Running sums by key: a store named `sums`, and each new sum to the output.
pub(crate) fn sums() -> Topology {
    let builder = StreamsBuilder::new();
    let grouped = builder.stream(&IN).group_by_key();
    let summed = grouped.aggregate("sums", || 0, |_: &String, n, sum: &mut i64| *sum += n);
    summed.to(&OUT);
    builder.build().unwrap()
}

/// A one for each of many keys, `rounds` times.
pub(crate) fn ones(keys: usize, rounds: usize) -> Vec<(String, i64)> {
    let round = |_| (0..keys).map(|key| (format!("key-{key}"), 1));
    (0..rounds).flat_map(round).collect()
}

/// What the sums of [`ones`] must be: 1, 2, 3 and so on, each once, for every key.
pub(crate) fn assert_ones(outputs: &BTreeMap<String, Vec<i64>>, keys: usize, rounds: i64) {
    assert_eq!(outputs.len(), keys);
    for (key, sums) in outputs {
        let expected: Vec<i64> = (1..=rounds).collect();
        assert_eq!(*sums, expected, "{key}");
    }
}

pub(crate) fn start(streams: &Streams) {
    streams.start().unwrap();
    let state = streams.wait_for(|state| state == State::Running, LIMIT);
    assert_eq!(state, State::Running, "{:?}", streams.failure());
}

pub(crate) fn active(streams: &Streams) -> Vec<TaskView> {
    let mut tasks = streams.tasks();
    tasks.retain(|task| task.role == TaskRole::Active);
    tasks
}

/// Records processed, as last shown.
pub(crate) fn processed(streams: &Streams) -> u64 {
    streams.tasks().iter().map(|task| task.processed).sum()
}

/// A clock whose time of day a test moves by hand, and which counts how often it was asked.
pub(crate) struct HandClock {
    now: AtomicI64,
    pub(crate) asked: AtomicU64,
    elapsed: SystemClock,
}

impl HandClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            now: AtomicI64::new(1_000_000),
            asked: AtomicU64::new(0),
            elapsed: SystemClock::new(),
        })
    }

    pub(crate) fn advance(&self, ms: i64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.now.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> Duration {
        self.elapsed.elapsed()
    }
}
