//! librdkafka's own mock of a cluster, for tests: it fails as it is told to.
//!
//! It keeps neither places nor marks of transactions: what a commit comes to is asked of real
//! brokers elsewhere.

use crate::{
    broker::KafkaLog,
    client::KafkaClient,
    config::{Guarantee, KafkaConfig},
};
use millstream_core::record::{Headers, RawRecord};
use millstream_log::Log as _;
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Sends a record to a topic's first partition.
pub(crate) fn send(client: &mut KafkaClient, topic: &str) {
    let record = RawRecord {
        key: None,
        value: Some(b"a record"),
        timestamp: 1,
        headers: &Headers::NONE,
    };
    client.send(topic, Some(0), record).unwrap();
}

/// The topic that there is.
pub(crate) const TOPIC: &str = "topic";
/// `task.timeout.ms`.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// A cluster of three brokers, the first of which leads the one topic, and a clock that stands
/// still if it is not told otherwise.
pub(crate) struct Mock {
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
    pub(crate) seconds: Arc<AtomicU64>,
    /// How far the clock goes on whenever somebody looks at it.
    pub(crate) step: Arc<AtomicU64>,
}

impl Mock {
    pub(crate) fn start() -> Self {
        let cluster = MockCluster::new(3).unwrap();
        cluster.create_topic(TOPIC, 1, 1).unwrap();
        cluster.partition_leader(TOPIC, 0, Some(1)).unwrap();
        let (seconds, step) = (Arc::default(), Arc::default());
        Self {
            cluster,
            seconds,
            step,
        }
    }

    pub(crate) fn log(&self, guarantee: Guarantee, producer: &[(&str, &str)]) -> KafkaLog {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let servers = self.cluster.bootstrap_servers();
        let config = KafkaConfig {
            application_id: "app".into(),
            process_id: "p".into(),
            guarantee,
            replication_factor: -1,
            task_timeout: TIMEOUT,
            client: vec![("bootstrap.servers".into(), servers)],
            producer: producer.iter().map(owned).collect(),
            ..KafkaConfig::default()
        };
        let (seconds, step) = (Arc::clone(&self.seconds), Arc::clone(&self.step));
        let elapsed = move || {
            let step = step.load(Ordering::Relaxed);
            Duration::from_secs(seconds.fetch_add(step, Ordering::Relaxed))
        };
        KafkaLog::connect(config, Arc::new(elapsed)).unwrap()
    }
}
