//! The log on a cluster under the contract of all logs.
//!
//! Invariant tested: a program that runs on the embedded log runs on a cluster, too.

use super::{can_run, config, servers};
use millstream_core::record::{Offset, TopicPartition};
use millstream_kafka::{Guarantee, KafkaClient, KafkaConfig, KafkaLog};
use millstream_log::{
    Broker, Log,
    contract::{self, Excuse, Harness, Terms},
};
use millstream_runtime::clock::{Clock, SystemClock};
use millstream_tests::servers::unique;
use std::time::Duration;

/// How long a cluster on a busy machine may take over something. What a dead client left open is
/// ended after `transaction.timeout.ms`, ten seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// What it does not hold: with transactions all but the last.
const CANNOT: &[Excuse] = &[
    Excuse {
        case: "members must agree on the tasks",
        why: "members with other tasks may join: one version of a program takes over from another",
        says: "Ok(())",
    },
    Excuse {
        case: "a second client of a name fences the first",
        why: "it is by transactions that a name has one owner",
        says: "Ok(Commit {",
    },
];

/// A part of the shared cluster in which nobody else is.
struct OnKafka {
    app: String,
    guarantee: Guarantee,
    clock: SystemClock,
    log: KafkaLog,
    /// Nothing comes to it, so it is good to wait on.
    idle: KafkaClient,
}

impl OnKafka {
    fn new(guarantee: Guarantee) -> Self {
        let app = unique("contract");
        let log = connect(&app, guarantee);
        let idle = log.client();
        Self {
            app,
            guarantee,
            clock: SystemClock::new(),
            log,
            idle,
        }
    }
}

fn connect(app: &str, guarantee: Guarantee) -> KafkaLog {
    // Members hear soon that others have come or gone.
    let heartbeat = ("heartbeat.interval.ms".to_owned(), "100".to_owned());
    let config = KafkaConfig {
        client: servers(),
        consumer: vec![heartbeat],
        guarantee,
        ..config(app, "p")
    };
    KafkaLog::connect(config, SystemClock::stopwatch()).unwrap()
}

impl Harness for OnKafka {
    fn client(&mut self) -> Box<dyn Log> {
        Box::new(self.log.client())
    }

    fn expire(&mut self, group: &str, member: &str) {
        let cluster = servers::kafka().unwrap();
        cluster.expel(group, &format!("{group}-{member}-")).unwrap();
    }

    fn delete_records(&mut self, partition: &TopicPartition, before: Offset) {
        assert_eq!(self.log.delete_records(partition, before), Ok(before));
    }

    fn reopen(&mut self) {
        self.log = connect(&self.app, self.guarantee);
    }

    fn name(&self, plain: &str) -> String {
        format!("{}-{plain}", self.app)
    }

    fn wait(&mut self, at_most: Duration) {
        self.idle.poll(at_most).unwrap();
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn terms(&self) -> Terms {
        let transactions = self.guarantee == Guarantee::ExactlyOnceV2;
        Terms {
            patience: PATIENCE,
            transactions,
            // All tasks are asked back in every generation, and placed anew.
            sticky: false,
            marks: i64::from(transactions),
            // librdkafka takes 0 for "now", and a broker refuses what is far in the future.
            timestamps: 1..=1 << 40,
        }
    }

    fn cannot(&self) -> &'static [Excuse] {
        match self.guarantee {
            Guarantee::ExactlyOnceV2 => &CANNOT[..1],
            Guarantee::AtLeastOnce => CANNOT,
        }
    }
}

#[test]
fn with_transactions_it_keeps_the_contract() {
    if can_run() {
        contract::run_at_once(|| Box::new(OnKafka::new(Guarantee::ExactlyOnceV2)));
    }
}

#[test]
fn without_transactions_it_keeps_all_else() {
    if can_run() {
        contract::run_at_once(|| Box::new(OnKafka::new(Guarantee::AtLeastOnce)));
    }
}
