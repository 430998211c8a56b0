//! A program on a Kafka cluster: its settings for the cluster's clients, and who it is there.
//!
//! Invariant: a process is known under one id for as long as its state lives, because the id lies
//! beside the state and is made by whoever holds the state's lock.

use anyhow::{Context, Result, bail};
use millstream_kafka::{Guarantee, KafkaConfig, KafkaLog};
use millstream_runtime::{
    clock::SystemClock,
    config::{Config, ProcessingGuarantee},
};
use std::{
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    path::Path,
    time::Duration,
};

/// The file with the id, in the program's directory.
const ID_FILE: &str = "process-id";
/// An id is so many hexadecimal digits.
const ID_DIGITS: usize = 32;

/// The least that librdkafka takes for `message.max.bytes`.
const MESSAGE_BYTES_MIN: usize = 1_000;

/// Keys without a prefix of their own that go to every client as they are.
const FOR_ALL: [&str; 3] = ["bootstrap.servers", "client.rack", "security.protocol"];
/// What goes to every client with its prefix.
const FOR_ALL_UNDER: [&str; 2] = ["sasl.", "ssl."];

/// Connects, waiting up to `task.timeout.ms` for a cluster that does not answer.
pub(crate) fn connect(config: &Config, process_id: &str) -> Result<KafkaLog> {
    KafkaLog::connect(settings(config, process_id), SystemClock::stopwatch()).with_context(|| {
        let servers = config.bootstrap_servers().unwrap_or_default();
        format!("the Kafka cluster at bootstrap.servers = {servers}")
    })
}

fn settings(config: &Config, process_id: &str) -> KafkaConfig {
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let under = |prefix| config.with_prefix(prefix).map(owned).collect::<Vec<_>>();
    let named = FOR_ALL.into_iter();
    let mut client: Vec<_> = named
        .filter_map(|key| Some(owned((key, config.get(key)?))))
        .collect();
    for prefix in FOR_ALL_UNDER {
        let rest = config.with_prefix(prefix);
        client.extend(rest.map(|(rest, value)| (format!("{prefix}{rest}"), value.to_owned())));
    }
    KafkaConfig {
        application_id: config.application_id().to_owned(),
        process_id: process_id.to_owned(),
        guarantee: match config.processing_guarantee() {
            ProcessingGuarantee::ExactlyOnceV2 => Guarantee::ExactlyOnceV2,
            ProcessingGuarantee::AtLeastOnce => Guarantee::AtLeastOnce,
        },
        replication_factor: config.replication_factor(),
        group_instance_id: config.group_instance_id().map(str::to_owned),
        task_timeout: Duration::from_millis(config.task_timeout_ms().unsigned_abs()),
        client,
        consumer: under("consumer."),
        producer: {
            // The core refuses what is larger; librdkafka must take what is not.
            let size = config.max_request_size().max(MESSAGE_BYTES_MIN);
            let limit = ("message.max.bytes".to_owned(), size.to_string());
            // What commit.interval.ms was compared with is what holds.
            let timeout = config.transaction_timeout_ms().to_string();
            let mut producer = vec![("transaction.timeout.ms".to_owned(), timeout)];
            producer.extend(config.get("max.request.size").map(|_| limit));
            producer.extend(under("producer."));
            producer
        },
        admin: under("admin."),
    }
}

/// The process's id: the one in the program's directory, or a new one, which is put there. The
/// caller holds the lock of the state in that directory.
///
/// # Errors
/// Where the file cannot be read or written, or holds something else.
pub(crate) fn process_id(root: &Path) -> Result<String> {
    let path = root.join(ID_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let id = text.trim();
            let hex = id.bytes().all(|byte| byte.is_ascii_hexdigit());
            if id.len() != ID_DIGITS || !hex {
                bail!(
                    "{} does not hold the id of a process: if the state beside it is this \
                     instance's, delete the file, and it gets a new id",
                    path.display()
                );
            }
            Ok(id.to_owned())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = new_id();
            store(root, &path, &id).with_context(|| format!("writing {}", path.display()))?;
            Ok(id)
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Chance from the system, through the keys that it gives to hash tables: enough for a name that
/// must differ from others', and no secret.
fn new_id() -> String {
    let half = || RandomState::new().hash_one(ID_FILE);
    format!("{:016x}{:016x}", half(), half())
}

/// Under another name first: an id that is there is there whole.
fn store(root: &Path, path: &Path, id: &str) -> io::Result<()> {
    let fresh = root.join("process-id.new");
    let mut file = File::create(&fresh)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_runtime::config::ConfigBuilder;

    fn config(set: &[&str]) -> Config {
        let mut builder = ConfigBuilder::new().defaults(&[("application.id", "app")]);
        for setting in set {
            builder = builder.set(setting).unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn an_id_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let first = process_id(dir.path()).unwrap();
        assert_eq!(first.len(), ID_DIGITS);
        assert_eq!(process_id(dir.path()).unwrap(), first);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(process_id(other.path()).unwrap(), first);
        // Half an id, or somebody else's file, is not taken for one, and not overwritten.
        for text in ["", "abc", "g0000000000000000000000000000000"] {
            fs::write(dir.path().join(ID_FILE), text).unwrap();
            let said = process_id(dir.path()).unwrap_err().to_string();
            assert!(said.contains(ID_FILE) && said.contains("delete"), "{said}");
        }
    }

    #[test]
    fn every_key_reaches_the_clients_it_is_for() {
        let config = config(&[
            "max.request.size=5000000",
            "bootstrap.servers=a:1,b:2",
            "security.protocol=sasl_ssl",
            "sasl.username=me",
            "ssl.ca.location=/ca",
            "client.rack=north",
            "consumer.fetch.min.bytes=1",
            "producer.linger.ms=2",
            "admin.sasl.username=root",
            "processing.guarantee=at_least_once",
            "replication.factor=3",
            "group.instance.id=one",
            "task.timeout.ms=7s",
        ]);
        let made = settings(&config, "id");
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            let owned = pairs.iter();
            owned.map(|(k, v)| ((*k).into(), (*v).into())).collect()
        };
        let client = pairs(&[
            ("bootstrap.servers", "a:1,b:2"),
            ("client.rack", "north"),
            ("security.protocol", "sasl_ssl"),
            ("sasl.username", "me"),
            ("ssl.ca.location", "/ca"),
        ]);
        assert_eq!(made.client, client);
        assert_eq!(made.consumer, pairs(&[("fetch.min.bytes", "1")]));
        let producer = [
            ("transaction.timeout.ms", "10000"),
            ("message.max.bytes", "5000000"),
            ("linger.ms", "2"),
        ];
        assert_eq!(made.producer, pairs(&producer));
        assert_eq!(made.admin, pairs(&[("sasl.username", "root")]));
        assert_eq!(made.application_id, "app");
        assert_eq!(made.process_id, "id");
        assert_eq!(made.guarantee, Guarantee::AtLeastOnce);
        assert_eq!(made.replication_factor, 3);
        assert_eq!(made.group_instance_id.as_deref(), Some("one"));
        assert_eq!(made.task_timeout, Duration::from_secs(7));
    }

    #[test]
    fn without_more_than_an_address_the_rest_is_the_clusters_choice() {
        let config = config(&["bootstrap.servers=a:1"]);
        let made = settings(&config, "id");
        assert_eq!(made.guarantee, Guarantee::ExactlyOnceV2);
        assert_eq!(made.replication_factor, -1);
        assert_eq!((made.group_instance_id, made.client.len()), (None, 1));
        assert_eq!(config.commit_interval_ms(), 100);
    }
}
