//! What a log over Kafka must be told, and how that becomes librdkafka's settings.
//!
//! Later lines win: our own recommendations, what the user set for all clients, what the user set
//! for this kind of client, and last what correctness does not leave open. Who sets one of the last
//! otherwise is refused (`check`).

mod check;

use crate::{
    errors::fatal,
    ffi::{Conf, Context, Handle, Kind},
};
use millstream_log::Result;
use std::{sync::Arc, time::Duration};

/// `processing.guarantee`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guarantee {
    /// Outputs, state and input offsets in one transaction (KIP-447).
    #[default]
    ExactlyOnceV2,
    /// No transactions: after a crash the records since the last commit are processed again.
    AtLeastOnce,
}

/// Everything that [`KafkaLog::connect`](crate::KafkaLog::connect) needs.
#[derive(Clone, Debug, Default)]
pub struct KafkaConfig {
    /// `application.id`: the group, and the start of transactional ids.
    pub application_id: String,
    /// Tells this process from others, and stays the same when it is started again: a process then
    /// ends its own open transactions at once, and is given the tasks whose state it has.
    pub process_id: String,
    /// `processing.guarantee`.
    pub guarantee: Guarantee,
    /// `replication.factor` of internal topics; -1 is the broker's default.
    pub replication_factor: i16,
    /// `group.instance.id`: with it the group waits for a member that restarts, for up to
    /// `session.timeout.ms`, instead of giving its tasks away.
    pub group_instance_id: Option<String>,
    /// `task.timeout.ms`: how long a cluster that does not answer is waited for.
    pub task_timeout: Duration,
    /// librdkafka's settings for every client: `bootstrap.servers`, security, and so on.
    pub client: Vec<(String, String)>,
    /// For consumers only.
    pub consumer: Vec<(String, String)>,
    /// For producers only.
    pub producer: Vec<(String, String)>,
    /// For requests about topics and groups only.
    pub admin: Vec<(String, String)>,
}

/// librdkafka's default for `message.max.bytes`.
const MESSAGE_BYTES_MAX: usize = 1_000_000;

type Fixed = &'static [(&'static str, &'static str)];

/// Recommended for every client.
const CLIENT: Fixed = &[
    ("enable.metrics.push", "false"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "1000"),
];

/// Recommended for what fetches: enough read ahead to keep a thread busy, little enough to stay in
/// the processor's caches (a fetched record costs some five hundred bytes beside its own until it
/// is taken); and no pause of a second after a queue was full.
const CONSUMER: Fixed = &[
    ("queued.min.messages", "5000"),
    ("queued.max.messages.kbytes", "4096"),
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.wait.max.ms", "50"),
    ("fetch.message.max.bytes", "524288"),
    ("statistics.interval.ms", "5000"),
];

/// What fetches must see committed records only, hear of the end, and choose no place by itself. It
/// tells of lost connections in its log only, and must.
const CONSUMER_MUST: Fixed = &[
    ("log_level", "6"),
    ("log.queue", "false"),
    ("log.connection.close", "true"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("isolation.level", "read_committed"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    ("allow.auto.create.topics", "false"),
];

/// Recommended for members of the group: a dead one is noticed in ten seconds.
const MEMBER: Fixed = &[
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "2000"),
];

/// The assignor's name and kind: what it assigns is not used (see `placement`), but with an eager
/// one nobody joins a new generation before it has let go of its tasks.
const MEMBER_MUST: Fixed = &[
    ("group.protocol", "classic"),
    ("partition.assignment.strategy", "range"),
    ("enable.auto.commit", "false"),
    ("isolation.level", "read_committed"),
    ("allow.auto.create.topics", "false"),
];

/// Recommended for producers. With the default back-off of 100 ms, a transaction that begins while
/// the last one's markers are still written would wait that long. Batches and queue are short,
/// because each message is touched by several threads between `produce` and its acknowledgement: a
/// queue that is longer than the processor's cache makes each of these touches a miss, and a broker
/// that is slow for a moment would let it grow. Windows take a quarter less processor time. A
/// cluster that is far away, or hundreds of partitions that are written to at once, may want more:
/// a broker is sent five batches at a time.
const PRODUCER: Fixed = &[
    ("linger.ms", "20"),
    ("batch.num.messages", "2000"),
    ("batch.size", "1048576"),
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "262144"),
    ("compression.type", "lz4"),
    ("retry.backoff.ms", "10"),
    ("retry.backoff.max.ms", "1000"),
    ("transaction.timeout.ms", "10000"),
    ("sticky.partitioning.linger.ms", "0"),
    ("statistics.interval.ms", "5000"),
];

/// For so long delivery of a record is tried without transactions.
const MESSAGE_TIMEOUT_MS: &str = "10000";

/// Recommended for requests about topics and groups: what is known of partitions' leaders is not
/// kept for a quarter of an hour, since these requests do not find out by themselves that it is
/// old.
const ADMIN: Fixed = &[("metadata.max.age.ms", "5000")];

/// Each batch at its place and none twice, to partitions as Kafka's producer chooses them. Of lost
/// connections and requests that timed out librdkafka tells in its log only, which must have them.
const PRODUCER_MUST: Fixed = &[
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("partitioner", "murmur2_random"),
    ("log_level", "6"),
    ("log.queue", "false"),
    ("log.connection.close", "true"),
    ("allow.auto.create.topics", "false"),
];

impl KafkaConfig {
    /// A group member. `client` is its `client.id`, which tells the others who it is.
    pub(crate) fn member(
        &self,
        group: &str,
        member: &str,
        client: &str,
        context: Arc<Context>,
    ) -> Result<Arc<Handle>> {
        let mut settings = self.layers(MEMBER, &self.consumer, MEMBER_MUST, &|key| {
            let of_readers = ["fetch.", "queued.", "statistics."];
            !of_readers.iter().any(|prefix| key.starts_with(prefix))
        });
        settings.push(("group.id".into(), group.into()));
        settings.push(("client.id".into(), client.into()));
        if let Some(instance) = &self.group_instance_id {
            settings.push(("group.instance.id".into(), format!("{instance}-{member}")));
        }
        build(&settings, Kind::Member, context)
    }

    /// A consumer of partitions, in no group. One that tells has statistics, and must be served.
    pub(crate) fn reader(
        &self,
        client: &str,
        tells: bool,
        context: Arc<Context>,
    ) -> Result<Arc<Handle>> {
        let mut settings = self.layers(CONSUMER, &self.consumer, CONSUMER_MUST, &|key| {
            let of_members = ["session.", "heartbeat.", "max.poll."];
            !of_members.iter().any(|prefix| key.starts_with(prefix))
        });
        settings.push(("client.id".into(), format!("{client}-reader")));
        settings.extend((!tells).then(silence));
        build(&settings, Kind::Consumer, context)
    }

    /// A producer; with an id it is transactional. One that tells has statistics, and must be
    /// served.
    pub(crate) fn producer(
        &self,
        (client, tells): (&str, bool),
        transactional_id: Option<&str>,
        context: Arc<Context>,
    ) -> Result<Arc<Handle>> {
        let mut settings = self.layers(PRODUCER, &self.producer, PRODUCER_MUST, &|_| true);
        settings.push(("client.id".into(), format!("{client}-producer")));
        settings.extend((!tells).then(silence));
        match transactional_id {
            Some(id) => settings.push(("transactional.id".into(), id.into())),
            None => {
                settings.retain(|(key, _)| key != "transaction.timeout.ms");
                // With transactions it is as long as one may be open, if nobody says otherwise.
                settings.insert(0, ("message.timeout.ms".into(), MESSAGE_TIMEOUT_MS.into()));
            }
        }
        build(&settings, Kind::Producer, context)
    }

    /// What asks about topics and groups. It is a consumer with a group, although it never joins
    /// it: where a broker answers that it does not coordinate a group, librdkafka 2.12 looks up the
    /// handle's own group, and crashes if the handle has none.
    pub(crate) fn administrator(&self, context: Arc<Context>) -> Result<Arc<Handle>> {
        let mut settings = self.layers(ADMIN, &self.admin, &[], &|_| true);
        settings.push(("group.id".into(), self.application_id.clone()));
        settings.push(("enable.auto.commit".into(), "false".into()));
        settings.push((
            "client.id".into(),
            format!("{}-{}-admin", self.application_id, self.process_id),
        ));
        build(&settings, Kind::Consumer, context)
    }

    /// How many bytes of a record a producer takes: `message.max.bytes`. What is no number counts
    /// as not set here; the client refuses it.
    pub(crate) fn record_bytes_max(&self) -> usize {
        let settings = self.layers(PRODUCER, &self.producer, PRODUCER_MUST, &|_| true);
        let mut settings = settings.iter().rev();
        let own = settings.find(|(key, _)| key == "message.max.bytes");
        let own = own.and_then(|(_, value)| value.trim().parse().ok());
        own.unwrap_or(MESSAGE_BYTES_MAX)
    }

    fn layers(
        &self,
        recommended: Fixed,
        kind: &[(String, String)],
        must: Fixed,
        concerns: &dyn Fn(&str) -> bool,
    ) -> Vec<(String, String)> {
        let fixed = |settings: Fixed| {
            let owned = settings
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            owned.collect::<Vec<_>>()
        };
        let mut all = fixed(CLIENT);
        all.extend(fixed(recommended));
        all.extend(self.client.iter().cloned());
        all.extend(kind.iter().filter(|(key, _)| concerns(key)).cloned());
        all.extend(fixed(must));
        all
    }
}

/// No statistics.
fn silence() -> (String, String) {
    ("statistics.interval.ms".into(), "0".into())
}

fn configured(settings: &[(String, String)]) -> Result<Conf> {
    let mut conf = Conf::new().map_err(fatal)?;
    for (key, value) in settings {
        conf.set(key, value).map_err(fatal)?;
    }
    Ok(conf)
}

fn build(settings: &[(String, String)], kind: Kind, context: Arc<Context>) -> Result<Arc<Handle>> {
    let made = configured(settings)?.build(kind, context);
    Ok(Arc::new(made.map_err(fatal)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(settings: &[(String, String)], key: &str) -> Option<String> {
        let found = settings.iter().rev().find(|(name, _)| name == key);
        found.map(|(_, value)| value.clone())
    }

    #[test]
    fn the_user_wins_over_recommendations_and_correctness_over_the_user() {
        let config = KafkaConfig {
            client: vec![
                ("linger.ms".into(), "1".into()),
                ("acks".into(), "0".into()),
            ],
            producer: vec![("linger.ms".into(), "2".into())],
            ..KafkaConfig::default()
        };
        let all = config.layers(PRODUCER, &config.producer, PRODUCER_MUST, &|_| true);
        assert_eq!(value(&all, "linger.ms").as_deref(), Some("2"));
        assert_eq!(value(&all, "acks").as_deref(), Some("all"));
    }

    #[test]
    fn records_are_as_large_as_producers_take_them() {
        let own = |client: &[&str], producer: &[&str]| {
            let set = |values: &[&str]| {
                let pairs = values.iter();
                let pairs = pairs.map(|value| ("message.max.bytes".into(), (*value).into()));
                pairs.collect()
            };
            KafkaConfig {
                client: set(client),
                producer: set(producer),
                ..KafkaConfig::default()
            }
            .record_bytes_max()
        };
        assert_eq!(own(&[], &[]), 1_000_000);
        assert_eq!(own(&["5000"], &[]), 5_000);
        assert_eq!(own(&["5000"], &["7000", "8000"]), 8_000);
    }

    #[test]
    fn a_setting_that_is_none_is_named_and_a_secret_is_not_told() {
        let mut config = KafkaConfig {
            client: vec![("bootstrap.serfers".into(), "x".into())],
            ..KafkaConfig::default()
        };
        let refused = |config: &KafkaConfig| {
            let made = config.administrator(Context::new(Arc::default()));
            made.map(drop).unwrap_err().to_string()
        };
        assert!(refused(&config).contains("bootstrap.serfers is not a setting"));
        config.client = vec![("linger.ms".into(), "hunter2".into())];
        let told = refused(&config);
        assert!(told.starts_with("linger.ms"), "{told}");
    }
}
