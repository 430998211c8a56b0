//! The log on a cluster under the contract of all logs.
//!
//! Invariant tested: a program that runs on the embedded log runs on a cluster, too.

use super::{can_run, config, expel::expel, servers};
use millstream_core::record::{Offset, TopicPartition};
use millstream_kafka::{KafkaClient, KafkaConfig, KafkaLog};
use millstream_log::{
    Broker, Log,
    contract::{self, Harness, Terms},
};
use millstream_runtime::clock::SystemClock;
use millstream_tests::servers::unique;
use std::time::Duration;

/// How long a cluster on a busy machine may take over something. What a dead client left open is
/// ended after `transaction.timeout.ms`, ten seconds.
const PATIENCE: Duration = Duration::from_secs(90);

const CANNOT: &[(&str, &str)] = &[(
    "members must agree on the tasks",
    "members with other tasks may join: one version of a program takes over from another",
)];

/// A part of the shared cluster in which nobody else is.
struct OnKafka {
    app: String,
    log: KafkaLog,
    /// Nothing comes to it, so it is good to wait on.
    idle: KafkaClient,
}

impl OnKafka {
    fn new() -> Self {
        let app = unique("contract");
        let log = connect(&app);
        let idle = log.client();
        Self { app, log, idle }
    }
}

fn connect(app: &str) -> KafkaLog {
    // Members hear soon that others have come or gone.
    let heartbeat = ("heartbeat.interval.ms".to_owned(), "100".to_owned());
    let config = KafkaConfig {
        client: servers(),
        consumer: vec![heartbeat],
        ..config(app, "p")
    };
    KafkaLog::connect(config, SystemClock::stopwatch()).unwrap()
}

impl Harness for OnKafka {
    fn client(&mut self) -> Box<dyn Log> {
        Box::new(self.log.client())
    }

    fn expire(&mut self, group: &str, member: &str) {
        expel(group, &format!("{group}-{member}-")).unwrap();
    }

    fn delete_records(&mut self, partition: &TopicPartition, before: Offset) {
        assert_eq!(self.log.delete_records(partition, before), Ok(before));
    }

    fn reopen(&mut self) {
        self.log = connect(&self.app);
    }

    fn name(&self, plain: &str) -> String {
        format!("{}-{plain}", self.app)
    }

    fn wait(&mut self, at_most: Duration) {
        self.idle.poll(at_most).unwrap();
    }

    fn terms(&self) -> Terms {
        Terms {
            patience: PATIENCE,
            marks: 1,
            // librdkafka takes 0 for "now", and a broker refuses what is far in the future.
            timestamps: 1..=1 << 40,
        }
    }

    fn cannot(&self) -> &'static [(&'static str, &'static str)] {
        CANNOT
    }
}

#[test]
fn it_keeps_the_contract() {
    if can_run() {
        contract::run_at_once(|| Box::new(OnKafka::new()));
    }
}
