//! The cluster as a whole: where clients come from, and requests about topics.

use crate::{
    client::KafkaClient,
    config::KafkaConfig,
    errors::{Elapsed, Patience, fatal, refused},
    ffi::{Code, Context, Handle, Isolation, KafkaError, NewTopic, TopicDescription},
    places,
    statistics::Tellers,
    wake::Waker,
};
use millstream_core::record::{Offset, TopicPartition};
use millstream_log::{
    Broker, Cleanup, ClientStatistics, Committed, Error, Log, Result, TopicInfo, TopicSpec,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How long the brokers may take to hear of a new topic, as librdkafka reckons
/// (`topic.metadata.propagation.max.ms`).
pub(crate) const PROPAGATION: Duration = Duration::from_secs(30);
/// How long one request is waited for.
const REQUEST: Duration = Duration::from_secs(5);
/// How long it is waited to hear who leads which partition now.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often it is asked whether a new topic is there, and how long between.
const CREATED_ROUNDS: usize = 100;
const CREATED_WAIT: Duration = Duration::from_millis(100);
/// What stands for the start and the end of a partition in a request for offsets.
const EARLIEST: Offset = -2;
const LATEST: Offset = -1;
/// Topics of the cluster's own bookkeeping begin like this.
const INTERNAL: &str = "__";
/// `segment.bytes` of topics that are cut off in front, as Kafka Streams has it for repartition
/// topics: only whole segments go.
const TRIMMED_SEGMENT_BYTES: u32 = 50 << 20;

/// What all clients of a cluster share.
pub(crate) struct Cluster {
    pub(crate) config: KafkaConfig,
    pub(crate) admin: Arc<Handle>,
    clients: AtomicU64,
    /// When topics were made here, or found to be there when they should be made: brokers that do
    /// not know them will.
    made: Mutex<BTreeMap<String, Duration>>,
    pub(crate) elapsed: Elapsed,
    pub(crate) tellers: Tellers,
}

/// A Kafka cluster as a log. Cheap to clone; each client has connections of its own.
#[derive(Clone)]
pub struct KafkaLog {
    cluster: Arc<Cluster>,
}

impl KafkaLog {
    /// Connects, waiting for a cluster that does not answer up to `task.timeout.ms`; `elapsed` is
    /// what that is measured with.
    ///
    /// # Errors
    /// `Fatal` for settings that librdkafka does not know or that are not for the user to choose,
    /// and where no broker answers in time.
    pub fn connect(config: KafkaConfig, elapsed: Elapsed) -> Result<Self> {
        config.check()?;
        let waker = Arc::<Waker>::default();
        let admin = config.administrator(Context::new(Arc::clone(&waker)))?;
        let mut patience = Patience::new(config.task_timeout, Arc::clone(&elapsed));
        while let Err(error) = admin.topic_names(REQUEST) {
            // Callbacks of this handle are served here only.
            admin.serve(Duration::ZERO);
            // A cluster that is away comes back; a password that is wrong stays wrong.
            if let Some(denial) = admin.context().take_denial() {
                return Err(fatal(denial));
            }
            let told = refused("connecting", &error);
            match patience.failed(told) {
                // An answer that came at once would otherwise be asked for at once again.
                Error::Retry(_) => drop(waker.wait(CREATED_WAIT)),
                told => return Err(told),
            }
        }
        let clients = AtomicU64::new(0);
        Ok(Self {
            cluster: Arc::new(Cluster {
                config,
                admin,
                clients,
                made: Mutex::default(),
                elapsed,
                tellers: Tellers::default(),
            }),
        })
    }

    #[cfg(test)]
    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// A client.
    pub fn client(&self) -> KafkaClient {
        let cluster = &self.cluster;
        let number = cluster.clients.fetch_add(1, Ordering::Relaxed);
        let (application, process) = (&cluster.config.application_id, &cluster.config.process_id);
        KafkaClient::new(cluster, format!("{application}-{process}-client-{number}"))
    }
}

impl Broker for KafkaLog {
    fn client(&self) -> Result<Box<dyn Log>> {
        Ok(Box::new(Self::client(self)))
    }

    fn writer(&self, name: &str) -> Result<Box<dyn Log>> {
        let application = &self.cluster.config.application_id;
        let id = format!("{application}-{name}");
        Ok(Box::new(KafkaClient::new(&self.cluster, id)))
    }

    fn statistics(&self) -> Vec<ClientStatistics> {
        self.cluster.tellers.told()
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        let names = self.cluster.topic_names()?;
        let infos = names
            .iter()
            .map(|name| self.cluster.topic(name).transpose());
        infos.flatten().collect()
    }

    fn delete_topic(&self, name: &str) -> Result<()> {
        let gone = self.cluster.admin.remove_topic(name, REQUEST);
        let made = &self.cluster.made;
        let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
        made.remove(name);
        gone.map_err(|error| refused("deleting a topic", &error))
    }

    fn delete_records(&self, at: &TopicPartition, before: Offset) -> Result<Offset> {
        match self.cluster.admin.remove_records(at, before, REQUEST) {
            Ok(start) => Ok(start),
            Err(error) if error.code == Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE => {
                Err(Error::OffsetOutOfRange {
                    partition: at.clone(),
                    offset: before,
                    start: self.cluster.start(at)?,
                    end: self.cluster.end(at)?,
                })
            }
            Err(error) => Err(self.cluster.astray("deleting records", &error)),
        }
    }
}

impl Cluster {
    pub(crate) fn describe(&self, name: &str) -> Result<Option<TopicDescription>> {
        let found = self.admin.describe_topic(name, REQUEST);
        found.map_err(|error| refused("asking for a topic", &error))
    }

    pub(crate) fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        let Some(found) = self.describe(name)? else {
            return Ok(None);
        };
        let settings = self.admin.topic_settings(name, REQUEST);
        let settings = match settings {
            Ok(settings) => settings,
            // It was deleted between the two questions.
            Err(error) if crate::ffi::is_unknown_topic(error.code) => return Ok(None),
            Err(error) => return Err(refused("asking for a topic's settings", &error)),
        };
        Ok(Some(TopicInfo {
            id: found.id,
            spec: TopicSpec {
                name: name.to_owned(),
                partitions: found.partitions,
                cleanup: cleanup(&settings),
            },
        }))
    }

    /// As [`Cluster::topic`], where it may have been made a moment ago.
    pub(crate) fn look_up(&self, name: &str) -> Result<Option<TopicInfo>> {
        let found = self.topic(name)?;
        if found.is_none()
            && let told @ Error::Retry(_) = self.unknown(name, name.to_owned())
        {
            return Err(told);
        }
        Ok(found)
    }

    /// The names of all topics but the cluster's own.
    pub(crate) fn topic_names(&self) -> Result<Vec<String>> {
        let names = self.admin.topic_names(REQUEST);
        let mut names = names.map_err(|error| refused("listing topics", &error))?;
        names.retain(|name| !name.starts_with(INTERNAL));
        names.sort();
        Ok(names)
    }

    /// Makes a topic with Kafka Streams' settings for internal ones, and waits until every
    /// partition has a leader.
    pub(crate) fn create_topic(&self, spec: &TopicSpec) -> Result<TopicInfo> {
        let topic = NewTopic {
            name: &spec.name,
            partitions: spec.partitions,
            replication: self.config.replication_factor,
            settings: settings(spec.cleanup),
        };
        match self.admin.make_topic(&topic, REQUEST) {
            Ok(()) => {}
            Err(error) if error.code == Code::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS => {}
            Err(error) => return Err(refused("making a topic", &error)),
        }
        for _ in 0..CREATED_ROUNDS {
            let ready = self.describe(&spec.name)?.is_some_and(|topic| topic.ready);
            if ready && let Some(info) = self.topic(&spec.name)? {
                let info = agreed(info, spec)?;
                self.was_made(&spec.name);
                return Ok(info);
            }
            self.admin.serve(CREATED_WAIT);
        }
        let name = &spec.name;
        Err(Error::Retry(format!("topic {name} is not there yet")))
    }

    /// Takes note of a topic that is there now, whoever does not know it yet.
    pub(crate) fn was_made(&self, name: &str) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.insert(name.to_owned(), (self.elapsed)());
    }

    /// What it means that a broker does not know a topic.
    pub(crate) fn unknown(&self, name: &str, what: String) -> Error {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let young = |made: &Duration| (self.elapsed)().saturating_sub(*made) < PROPAGATION;
        match made.get(name).is_some_and(young) {
            true => Error::Retry(format!("{what} is not known yet")),
            false => Error::UnknownTopic(what),
        }
    }

    pub(crate) fn start(&self, at: &TopicPartition) -> Result<Offset> {
        self.offset(at, EARLIEST, Isolation::ReadUncommitted)
    }

    /// The end of what is committed: where the first open transaction begins, or the end.
    pub(crate) fn end(&self, at: &TopicPartition) -> Result<Offset> {
        self.offset(at, LATEST, Isolation::ReadCommitted)
    }

    /// The end with what open transactions have written (Kafka's high watermark).
    pub(crate) fn end_uncommitted(&self, at: &TopicPartition) -> Result<Offset> {
        self.offset(at, LATEST, Isolation::ReadUncommitted)
    }

    /// The first record that is not older; the end of what is committed, where all are.
    pub(crate) fn offset_for_time(&self, at: &TopicPartition, timestamp: i64) -> Result<Offset> {
        // Below zero are the names of special places, and no record is as old as that.
        match self.found(at, timestamp.max(0), Isolation::ReadCommitted)? {
            Some(offset) => Ok(offset),
            None => self.end(at),
        }
    }

    fn offset(&self, at: &TopicPartition, which: Offset, isolation: Isolation) -> Result<Offset> {
        let found = self.found(at, which, isolation)?;
        found.ok_or_else(|| Error::Retry(format!("no offset of {at}")))
    }

    /// An offset by a special place or by time.
    fn found(
        &self,
        at: &TopicPartition,
        which: i64,
        isolation: Isolation,
    ) -> Result<Option<Offset>> {
        let asked = std::slice::from_ref(at);
        match self.admin.list_offsets(asked, which, isolation, REQUEST) {
            Ok(offsets) => Ok(offsets.first().copied().flatten()),
            // The second says only that nobody leads the partition: there may be no such partition.
            Err(error)
                if crate::ffi::is_unknown_topic(error.code)
                    || error.code == Code::RD_KAFKA_RESP_ERR__NOENT =>
            {
                match self.describe(&at.topic)? {
                    Some(topic) if at.partition >= topic.partitions => {
                        Err(Error::UnknownTopic(at.to_string()))
                    }
                    Some(_) => match self.astray("asking for an offset", &error) {
                        Error::UnknownTopic(why) => Err(Error::Retry(why)),
                        told => Err(told),
                    },
                    None => Err(self.unknown(&at.topic, at.to_string())),
                }
            }
            Err(error) => Err(self.astray("asking for an offset", &error)),
        }
    }

    /// A request that had to find a partition's leader and failed. What librdkafka's requests of
    /// this kind know of leaders they look up in its cache, and they do not look again when that
    /// turns out to be old: after the loss of a broker they would fail for as long as it is kept.
    fn astray(&self, what: &str, error: &KafkaError) -> Error {
        let told = refused(what, error);
        if matches!(told, Error::Retry(_))
            && let Err(error) = self.admin.topic_names(LOOK_AGAIN)
        {
            tracing::debug!(%error, "looking for leaders");
        }
        told
    }

    pub(crate) fn places(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<Committed>>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        match self.admin.group_places(group, partitions, REQUEST) {
            Ok(entries) => places::found(partitions, &entries),
            // A group that has never committed anything.
            Err(KafkaError {
                code: Code::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND,
                ..
            }) => Ok(vec![None; partitions.len()]),
            Err(error) => Err(refused("asking for committed places", &error)),
        }
    }

    pub(crate) fn store_places(
        &self,
        group: &str,
        places: &[(TopicPartition, Committed)],
    ) -> Result<()> {
        let list = places::list(places)?;
        let stored = self.admin.store_places(group, &list, REQUEST);
        stored.map_err(|error| match error.code {
            Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID | Code::RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP => {
                only_members_commit(group)
            }
            Code::RD_KAFKA_RESP_ERR__INVALID_ARG => fatal(error),
            _ => refused("storing places", &error),
        })
    }

    /// Refuses to go on where a group has members.
    pub(crate) fn has_no_members(&self, group: &str) -> Result<()> {
        let described = self.admin.describe_group(group, REQUEST);
        let described = described.map_err(|error| refused("asking for the group", &error))?;
        if described.members.is_empty() {
            return Ok(());
        }
        Err(only_members_commit(group))
    }
}

fn only_members_commit(group: &str) -> Error {
    Error::Fatal(format!("group {group} has members: only they may commit"))
}

/// A topic that is there and one that was asked for: other partitions would give records to other
/// tasks, and another way of forgetting would lose state. Whether records can be deleted from the
/// front of a compacted topic makes no such difference.
fn agreed(found: TopicInfo, spec: &TopicSpec) -> Result<TopicInfo> {
    let (is, wanted) = (&found.spec, spec);
    let compacts = |spec: &TopicSpec| spec.cleanup.compacts().is_some();
    if is.partitions != wanted.partitions {
        return Err(Error::Fatal(format!(
            "topic {} exists with {} partitions, and {} are needed: delete it, or run the \
             program's reset",
            is.name, is.partitions, wanted.partitions
        )));
    }
    if compacts(is) != compacts(wanted) {
        return Err(Error::Fatal(format!(
            "topic {} exists and forgets in another way than is needed: its cleanup.policy must be \
             {}",
            is.name,
            policy(wanted.cleanup)
        )));
    }
    if compacts(wanted) && wanted.cleanup.ages().is_none() && is.cleanup.ages().is_some() {
        return Err(Error::Fatal(format!(
            "topic {} exists and forgets records by their age or number, which would lose state: \
             its retention.ms and retention.bytes must be -1",
            is.name
        )));
    }
    Ok(found)
}

/// `cleanup.policy`.
fn policy(cleanup: Cleanup) -> &'static str {
    match cleanup {
        Cleanup::Delete { .. } => "delete",
        Cleanup::Compact { .. } => "compact",
        Cleanup::CompactDelete { .. } => "compact,delete",
    }
}

fn settings(cleanup: Cleanup) -> Vec<(&'static str, String)> {
    let mut settings = vec![("message.timestamp.type", "CreateTime".to_owned())];
    settings.push(("cleanup.policy", policy(cleanup).to_owned()));
    if !matches!(cleanup, Cleanup::Compact { .. }) {
        let retention = cleanup.ages().unwrap_or(-1);
        settings.push(("retention.ms", retention.to_string()));
        // The cluster may have a bound for topics that do not say otherwise.
        settings.push(("retention.bytes", (-1).to_string()));
        settings.push(("segment.bytes", TRIMMED_SEGMENT_BYTES.to_string()));
    }
    if let Some(tombstones) = cleanup.compacts() {
        settings.push(("delete.retention.ms", tombstones.to_string()));
    }
    settings
}

fn cleanup(settings: &[(String, String)]) -> Cleanup {
    let value = |key: &str| {
        let found = settings.iter().find(|(name, _)| name == key);
        found.map_or("", |(_, value)| value.as_str())
    };
    let bound = |key: &str| value(key).parse::<i64>().ok().filter(|bound| *bound >= 0);
    // With a bound in bytes records go at any age; what matters is that they do.
    let retention_ms = bound("retention.ms").or(bound("retention.bytes").map(|_| i64::MAX));
    let delete_retention_ms = value("delete.retention.ms").parse().unwrap_or(i64::MAX);
    let policy = value("cleanup.policy");
    match (policy.contains("compact"), policy.contains("delete")) {
        (true, true) => Cleanup::CompactDelete {
            delete_retention_ms,
            retention_ms,
        },
        (true, false) => Cleanup::Compact {
            delete_retention_ms,
        },
        (false, _) => Cleanup::Delete { retention_ms },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Guarantee, mock::Mock};

    #[test]
    fn who_does_not_know_a_topic_that_was_made_a_moment_ago_is_asked_again() {
        let mock = Mock::start();
        let log = mock.log(Guarantee::AtLeastOnce, &[]);
        let cluster = log.cluster();
        cluster.was_made("young");
        let unknown = |name: &str| cluster.unknown(name, format!("{name}-0"));
        assert!(matches!(unknown("young"), Error::Retry(_)));
        let other = Error::UnknownTopic("other-0".into());
        assert_eq!(unknown("other"), other);
        mock.seconds.store(PROPAGATION.as_secs(), Ordering::Relaxed);
        assert!(matches!(unknown("young"), Error::UnknownTopic(_)));
    }

    #[test]
    fn what_is_written_for_a_topic_is_read_back() {
        for made in [
            Cleanup::Delete { retention_ms: None },
            Cleanup::Delete {
                retention_ms: Some(5),
            },
            Cleanup::Compact {
                delete_retention_ms: 7,
            },
            Cleanup::CompactDelete {
                delete_retention_ms: 7,
                retention_ms: None,
            },
            Cleanup::CompactDelete {
                delete_retention_ms: 7,
                retention_ms: Some(8),
            },
        ] {
            let settings = settings(made).into_iter();
            let settings: Vec<_> = settings.map(|(k, v)| (k.to_owned(), v)).collect();
            assert_eq!(cleanup(&settings), made);
        }
    }
}
