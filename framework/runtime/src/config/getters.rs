//! The values by name and type, and the rules between keys.
//!
//! Invariant: each getter names a key of the list, of the kind that it reads (tested).

use super::{
    Config, Entry,
    error::{Error, Result},
    keys::Key,
    source::Source,
    value::is_place,
};
use millstream_core::task::OffsetReset;
use std::path::Path;

/// Whether a record may count twice after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessingGuarantee {
    /// Outputs, state and offsets become visible together, once.
    ExactlyOnceV2,
    /// After a crash some records are processed again.
    AtLeastOnce,
}

/// What happens to a record that cannot be read or processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExceptionHandler {
    /// The thread stops.
    Fail,
    /// The record is dropped and counted.
    Continue,
    /// The record goes to the dead-letter topic.
    Dlq,
}

/// What a commit on the embedded log survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process: the operating system has the bytes.
    Process,
    /// The death of the machine: the disk has the bytes.
    Machine,
}

/// Why this default differs: under exactly-once, readers see nothing before a commit.
const COMMIT_EXACTLY_ONCE: &str = "100";
const COMMIT_AT_LEAST_ONCE: &str = "30000";

/// How long a transaction may stay open where nobody says otherwise, as in Kafka Streams: a minute,
/// which is the producer's own default, would hold up everybody behind an instance that died.
const TRANSACTION_TIMEOUT_MS: i64 = 10_000;
/// Its key.
const TRANSACTION_TIMEOUT: &str = "producer.transaction.timeout.ms";

/// librdkafka's default for `message.max.bytes`.
const RECORD_BYTES_KAFKA: usize = 1_000_000;
/// What the embedded log takes.
const RECORD_BYTES_EMBEDDED: usize = 16 << 20;

impl Config {
    /// Fills in what other keys decide, and checks what takes more than one key.
    pub(super) fn complete(&mut self) -> Result<()> {
        if self.get("application.id").is_none() {
            let doc = Key::find("application.id").map_or("", |key| key.doc);
            return Err(Error::Missing {
                key: "application.id",
                doc,
            });
        }
        if self.get("commit.interval.ms").is_none() {
            let text = match self.processing_guarantee() {
                ProcessingGuarantee::ExactlyOnceV2 => COMMIT_EXACTLY_ONCE,
                ProcessingGuarantee::AtLeastOnce => COMMIT_AT_LEAST_ONCE,
            };
            let kind = Key::find("commit.interval.ms").map(|key| key.kind);
            let entry = Entry {
                text: text.into(),
                number: kind.and_then(|kind| kind.read(text)).unwrap_or_default(),
                origin: Source::BuiltIn,
            };
            self.entries.insert("commit.interval.ms".into(), entry);
        }
        self.check_transactions()?;
        self.check_dead_letters("deserialization.exception.handler")?;
        self.check_dead_letters("processing.exception.handler")?;
        self.check_dead_letters("production.exception.handler")
    }

    /// A cluster aborts transactions that are open for too long, so one that is to be committed
    /// later than that never is. Kafka Streams refuses it as well (`StreamsConfig`). The embedded
    /// log lets a transaction take its time.
    fn check_transactions(&self) -> Result<()> {
        let (interval, timeout) = (self.commit_interval_ms(), self.transaction_timeout_ms());
        if self.bootstrap_servers().is_none()
            || self.processing_guarantee() != ProcessingGuarantee::ExactlyOnceV2
            || interval < timeout
        {
            return Ok(());
        }
        let origin = |key| self.source(key).cloned().unwrap_or(Source::BuiltIn);
        Err(Error::NeverCommitted {
            interval,
            interval_origin: origin("commit.interval.ms"),
            timeout,
            timeout_origin: origin(TRANSACTION_TIMEOUT),
        })
    }

    /// Records cannot go to a topic that has no name.
    fn check_dead_letters(&self, key: &'static str) -> Result<()> {
        if self.handler(key) != ExceptionHandler::Dlq || self.dead_letter_topic().is_some() {
            return Ok(());
        }
        Err(Error::Needs {
            key,
            value: self.get(key).unwrap_or_default().into(),
            origin: self.source(key).cloned().unwrap_or(Source::BuiltIn),
            needs: "errors.dead.letter.queue.topic.name",
        })
    }

    /// The number of a key that always has a value, by its default if need be.
    fn number(&self, name: &str) -> i64 {
        let entry = self.entries.get(name);
        debug_assert!(entry.is_some(), "{name} has no default");
        entry.map_or(0, |entry| entry.number)
    }

    /// The number of a key whose kind has no negative values.
    fn size(&self, name: &str) -> usize {
        usize::try_from(self.number(name)).unwrap_or(usize::MAX)
    }

    fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    fn handler(&self, name: &str) -> ExceptionHandler {
        match self.number(name) {
            0 => ExceptionHandler::Fail,
            1 => ExceptionHandler::Continue,
            _ => ExceptionHandler::Dlq,
        }
    }

    /// `processing.guarantee`.
    pub fn processing_guarantee(&self) -> ProcessingGuarantee {
        match self.number("processing.guarantee") {
            0 => ProcessingGuarantee::ExactlyOnceV2,
            _ => ProcessingGuarantee::AtLeastOnce,
        }
    }

    /// `deserialization.exception.handler`.
    pub fn deserialization_exception_handler(&self) -> ExceptionHandler {
        self.handler("deserialization.exception.handler")
    }

    /// `processing.exception.handler`.
    pub fn processing_exception_handler(&self) -> ExceptionHandler {
        self.handler("processing.exception.handler")
    }

    /// `production.exception.handler`.
    pub fn production_exception_handler(&self) -> ExceptionHandler {
        self.handler("production.exception.handler")
    }

    /// `errors.dead.letter.queue.topic.name`; set whenever a handler is `dlq`.
    pub fn dead_letter_topic(&self) -> Option<&str> {
        self.get("errors.dead.letter.queue.topic.name")
    }

    /// `topology.optimization`: whether tables are restored from their topics.
    pub fn reuse_ktable_source_topics(&self) -> bool {
        self.number("topology.optimization") != 0
    }

    /// `auto.offset.reset`.
    pub fn auto_offset_reset(&self) -> OffsetReset {
        match self.number("auto.offset.reset") {
            0 => OffsetReset::Earliest,
            1 => OffsetReset::Latest,
            _ => OffsetReset::Fail,
        }
    }

    /// `default.dsl.store`: whether stores are in memory only.
    pub fn stores_in_memory(&self) -> bool {
        self.number("default.dsl.store") != 0
    }

    /// `log.durability`.
    pub fn log_durability(&self) -> Durability {
        match self.number("log.durability") {
            0 => Durability::Process,
            _ => Durability::Machine,
        }
    }

    /// `bootstrap.servers`, `None` for the embedded log.
    pub fn bootstrap_servers(&self) -> Option<&str> {
        self.get("bootstrap.servers")
    }

    /// `application.server.advertised`, or else `application.server`; `None` where that is no place
    /// for others: a port that the system chooses, all addresses, or this machine's own.
    pub fn advertised_server(&self) -> Option<&str> {
        self.get("application.server.advertised").or_else(|| {
            let (host, port) = self.application_server().rsplit_once(':')?;
            let own = host.starts_with("127.") || ["localhost", "[::1]"].contains(&host);
            (!own && is_place(host, port)).then(|| self.application_server())
        })
    }

    /// `group.instance.id`, `None` where the instance has no fixed name.
    pub fn group_instance_id(&self) -> Option<&str> {
        self.get("group.instance.id")
    }

    /// `max.request.size`: of one record, as Kafka's producer reckons. Where it is not set, what
    /// the log takes: librdkafka's `message.max.bytes`, or the embedded log's limit.
    pub fn max_request_size(&self) -> usize {
        let set = self.entries.get("max.request.size");
        match set.map(|entry| entry.number) {
            Some(number) => usize::try_from(number).unwrap_or(usize::MAX),
            None if self.bootstrap_servers().is_none() => RECORD_BYTES_EMBEDDED,
            None => {
                let own = self.get("producer.message.max.bytes");
                let own = own.and_then(|text| text.trim().parse().ok());
                own.unwrap_or(RECORD_BYTES_KAFKA)
            }
        }
    }

    /// `producer.transaction.timeout.ms`: for so long the cluster lets a transaction be open. A
    /// value that is no number counts as not set here; the client refuses it.
    pub fn transaction_timeout_ms(&self) -> i64 {
        let own = self.get(TRANSACTION_TIMEOUT);
        let own = own.and_then(|text| text.trim().parse().ok());
        own.unwrap_or(TRANSACTION_TIMEOUT_MS)
    }

    /// `replication.factor`; -1: the cluster's default.
    pub fn replication_factor(&self) -> i16 {
        i16::try_from(self.number("replication.factor")).unwrap_or(-1)
    }

    /// `state.dir`.
    pub fn state_dir(&self) -> &Path {
        Path::new(self.text("state.dir"))
    }

    /// `embedded.partitions`.
    pub fn embedded_partitions(&self) -> u32 {
        u32::try_from(self.number("embedded.partitions")).unwrap_or(1)
    }
}

/// Getters that only name a key and a way to read it.
macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $read:ident($key:literal);)*) => {
        impl Config {$(
            #[doc = concat!("`", $key, "`.")]
            $(#[$doc])*
            pub fn $name(&self) -> $type {
                self.$read($key)
            }
        )*}

        /// What each of them reads, for the tests.
        #[cfg(test)]
        pub(super) const PLAIN: &[(&str, &str)] = &[$((stringify!($read), $key)),*];
    };
}

getters! {
    application_id: &str = text("application.id");
    /// Host and port.
    application_server: &str = text("application.server");
    num_stream_threads: usize = size("num.stream.threads");
    num_standby_replicas: usize = size("num.standby.replicas");
    buffered_records_per_partition: usize = size("buffered.records.per.partition");
    commit_interval_ms: i64 = number("commit.interval.ms");
    poll_ms: i64 = number("poll.ms");
    /// Of the log, where it is a cluster.
    task_timeout_ms: i64 = number("task.timeout.ms");
    /// -1: a task never waits.
    max_task_idle_ms: i64 = number("max.task.idle.ms");
    /// -1: never.
    log_summary_interval_ms: i64 = number("log.summary.interval.ms");
    /// For so long the state of a task is kept that is elsewhere.
    state_cleanup_delay_ms: i64 = number("state.cleanup.delay.ms");
    repartition_purge_interval_ms: i64 = number("repartition.purge.interval.ms");
    /// 0: tables tell each change; otherwise one for each key and commit.
    statestore_cache_max_bytes: usize = size("statestore.cache.max.bytes");
    /// Of the whole process.
    statestore_read_cache_max_bytes: usize = size("statestore.read.cache.max.bytes");
    /// Of the whole process.
    statestore_uncommitted_max_bytes: usize = size("statestore.uncommitted.max.bytes");
    /// Of the whole process.
    rocksdb_block_cache_bytes: usize = size("rocksdb.block.cache.bytes");
    /// Of the whole process.
    rocksdb_write_buffer_bytes: usize = size("rocksdb.write.buffer.bytes");
}

#[cfg(test)]
mod tests {
    use crate::config::ConfigBuilder;

    fn named() -> ConfigBuilder {
        ConfigBuilder::new().defaults(&[("application.id", "app")])
    }

    #[test]
    fn only_what_is_a_place_for_others_is_advertised() {
        let advertised = |set: &[&str]| {
            let builder = set
                .iter()
                .try_fold(named(), |builder, one| builder.set(one));
            let config = builder.unwrap().build().unwrap();
            config.advertised_server().map(str::to_owned)
        };
        for listens in [
            "0.0.0.0:8080",
            "[::]:8080",
            "10.0.0.7:0",
            "host:00",
            "127.0.0.1:8080",
            "[::1]:8080",
            "localhost:8080",
        ] {
            let listens = format!("application.server={listens}");
            assert_eq!(advertised(&[&listens]), None);
            let told = "application.server.advertised=shop-1.example.com:443";
            let expected = Some("shop-1.example.com:443".to_owned());
            assert_eq!(advertised(&[&listens, told]), expected);
        }
        let one = advertised(&["application.server=10.0.0.7:8080"]);
        assert_eq!(one.as_deref(), Some("10.0.0.7:8080"));
        for bad in ["8080", "0.0.0.0:80", "[::]:80", "host:0", "a@b:80"] {
            let set = named().set(&format!("application.server.advertised={bad}"));
            assert!(set.and_then(ConfigBuilder::build).is_err(), "{bad}");
        }
    }
}
