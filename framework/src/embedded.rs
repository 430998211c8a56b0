//! The embedded log of a program: where it lies, what it survives, and the topics made on it.
//!
//! All that is the embedded log's alone is in this file; a program on a cluster has none of it.
//! Invariant: what is under the program's directory is enough to go on after any crash of the
//! process.

use anyhow::{Context, Result};
use millstream_log::{Cleanup, EmbeddedLog, Limits as LogLimits, TopicInfo, TopicSpec};
use millstream_runtime::config::{Config, Durability, PREFIXES, Source};
use millstream_state::{self as state, RocksBackend, Shared};
use std::{path::Path, sync::Arc};

/// Bytes of newest records that the log keeps in memory beside the disk.
const LOG_CACHE_BYTES: u64 = 8 << 20;

/// What only a cluster's clients have a use for, besides all that is under [`PREFIXES`].
const OF_CLUSTERS: [&str; 5] = [
    "client.rack",
    "group.instance.id",
    "replication.factor",
    "security.protocol",
    "task.timeout.ms",
];

/// Opens the log under a program's directory.
pub(crate) fn open(config: &Config, root: &Path, shared: &Shared) -> Result<EmbeddedLog> {
    for key in unused(config) {
        tracing::warn!(
            key,
            "a setting of Kafka's clients: the embedded log has no use for it"
        );
    }
    let columns = EmbeddedLog::COLUMNS.map(str::to_owned);
    let durability = match config.log_durability() {
        Durability::Process => state::Durability::Process,
        Durability::Machine => state::Durability::Machine,
    };
    let backend = RocksBackend::open(root.join("log"), &columns, &shared.for_a_log())
        .context("opening the embedded log")?
        .with_durability(durability);
    let usual = LogLimits::default();
    let record_bytes_max = config.max_request_size();
    let limits = LogLimits {
        cache_bytes_max: LOG_CACHE_BYTES,
        record_bytes_max,
        // A quarter is what is committed early, and the largest record must fit behind that.
        transaction_bytes_max: (usual.transaction_bytes_max)
            .max(record_bytes_max.saturating_mul(4)),
        ..usual
    };
    Ok(EmbeddedLog::open_with(Arc::new(backend), limits)?)
}

/// Makes the topics that are missing, with `embedded.partitions` partitions. Nobody else could: the
/// log is in this process.
pub(crate) fn create_topics(log: &EmbeddedLog, names: &[String], config: &Config) -> Result<()> {
    let known = log.topics()?;
    for (topic, partitions) in otherwise(&known, names, config) {
        tracing::warn!(
            topic,
            partitions,
            wanted = config.embedded_partitions(),
            "the topic is there and keeps its partitions: embedded.partitions is for new ones"
        );
    }
    for name in names {
        if known.iter().any(|info| info.spec.name == *name) {
            continue;
        }
        log.create_topic(&TopicSpec {
            name: name.clone(),
            partitions: config.embedded_partitions(),
            cleanup: Cleanup::Delete { retention_ms: None },
        })?;
    }
    Ok(())
}

/// Topics that are there with other numbers of partitions than somebody asks for. The records of a
/// key would not stay together if partitions were added, and state is by partition.
fn otherwise<'t>(known: &'t [TopicInfo], names: &[String], config: &Config) -> Vec<(&'t str, u32)> {
    let source = config.source("embedded.partitions");
    if matches!(source, None | Some(Source::BuiltIn)) {
        return Vec::new();
    }
    let specs = known.iter().map(|info| &info.spec);
    specs
        .filter(|spec| names.contains(&spec.name))
        .filter(|spec| spec.partitions != config.embedded_partitions())
        .map(|spec| (&*spec.name, spec.partitions))
        .collect()
}

/// Settings that somebody wrote down and that nothing will come of.
fn unused(config: &Config) -> Vec<String> {
    let prefixed = PREFIXES.iter().flat_map(|prefix| {
        let rest = config.with_prefix(prefix);
        rest.map(move |(rest, _)| format!("{prefix}{rest}"))
    });
    let written = |key: &&str| !matches!(config.source(key), None | Some(Source::BuiltIn));
    let named = OF_CLUSTERS.into_iter().filter(written);
    prefixed.chain(named.map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_runtime::config::ConfigBuilder;

    #[test]
    fn topics_that_keep_other_partitions_are_found() {
        let log = EmbeddedLog::in_memory();
        let config = |set: &[&str]| {
            let builder = ConfigBuilder::new().defaults(&[("application.id", "app")]);
            let set = set
                .iter()
                .try_fold(builder, |builder, set| builder.set(set));
            set.and_then(ConfigBuilder::build).unwrap()
        };
        let names = ["old".to_owned(), "new".to_owned()];
        create_topics(&log, &names[..1], &config(&["embedded.partitions=2"])).unwrap();
        let found = |set: &[&str]| {
            let topics = log.topics().unwrap();
            let found = otherwise(&topics, &names, &config(set));
            found
                .iter()
                .map(|(name, n)| (name.to_string(), *n))
                .collect::<Vec<_>>()
        };
        assert_eq!(found(&["embedded.partitions=3"]), [("old".to_owned(), 2)]);
        assert!(found(&["embedded.partitions=2"]).is_empty());
        assert!(found(&[]).is_empty(), "nobody asked for any number");
    }

    #[test]
    fn settings_that_nothing_comes_of_are_found() {
        let config = ConfigBuilder::new()
            .defaults(&[("application.id", "app")])
            .set("task.timeout.ms=1s")
            .and_then(|b| b.set("sasl.username=me"))
            .and_then(|b| b.set("consumer.fetch.min.bytes=1"))
            .and_then(ConfigBuilder::build)
            .unwrap();
        let mut found = unused(&config);
        found.sort();
        assert_eq!(
            found,
            [
                "consumer.fetch.min.bytes",
                "sasl.username",
                "task.timeout.ms"
            ]
        );
    }
}
