//! Every key there is: name, form, default and meaning, in one list.
//!
//! Invariant: names are sorted, every default is a value of its kind (both tested), and a key that
//! Kafka Streams has too means the same here, but for two, which say what differs:
//! `application.server` and `statestore.cache.max.bytes`.

use super::value::Kind;

/// One key of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name, Kafka's where Kafka has one.
    pub name: &'static str,
    /// The form of its values.
    pub kind: Kind,
    /// What holds when nobody says otherwise; `None` is not set, or decided by other keys.
    pub default: Option<&'static str>,
    /// What it means, for people.
    pub doc: &'static str,
}

impl Key {
    /// The key of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        let at = KEYS.binary_search_by(|key| key.name.cmp(name)).ok()?;
        KEYS.get(at)
    }

    /// Whether its value must not be shown; see [`is_secret`].
    pub fn secret(&self) -> bool {
        is_secret(self.name)
    }
}

/// Keys that start so belong to the clients of a Kafka cluster, which know them better: they are
/// passed on as they are, unchecked. Those under `sasl.` and `ssl.` keep their prefix and go to
/// every client.
pub const PREFIXES: [&str; 5] = ["admin.", "consumer.", "producer.", "sasl.", "ssl."];

/// Whether values under this name are credentials, which no log or error may show.
///
/// By name rather than by list, because the keys under [`PREFIXES`] are not ours to list.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let ends = ["password", "passphrase", "secret", "sasl.jaas.config"];
    let parts = ["ssl.key", "private.key"];
    ends.iter().any(|end| name.ends_with(end)) || parts.iter().any(|part| name.contains(part))
}

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        default: Some(default),
        doc,
    }
}

const fn unset(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        default: None,
        doc,
    }
}

const fn count(min: i64, max: i64) -> Kind {
    Kind::Whole {
        min,
        max,
        minus_one: false,
    }
}

const MILLIS: Kind = Kind::Millis { minus_one: false };
const MILLIS_OR_MINUS_ONE: Kind = Kind::Millis { minus_one: true };
const HANDLER: Kind = Kind::Choice(&["fail", "continue", "dlq"]);

/// All keys, sorted by name.
pub static KEYS: &[Key] = &[
    unset(
        "application.id",
        Kind::Name,
        "The program's name: its group, and the prefix of its internal topics. Must be set.",
    ),
    key(
        "application.server",
        Kind::Address,
        "127.0.0.1:8080",
        "Where this instance listens, to serve metrics, probes, queries and its page. Kafka \
         Streams only tells other instances what is written here.",
    ),
    unset(
        "application.server.advertised",
        Kind::Place,
        "Where others reach this instance, which all instances are told. Not set: \
         application.server, if that is a place for others: no loopback address, nor all of the \
         machine's, nor a port of the system's choice.",
    ),
    key(
        "auto.offset.reset",
        Kind::Choice(&["earliest", "latest", "none"]),
        "earliest",
        "Where a source begins of which no place was committed, unless it says so itself; none: \
         the program stops.",
    ),
    unset(
        "bootstrap.servers",
        Kind::Text,
        "The Kafka cluster, as host:port,host:port. Not set: the embedded log under state.dir.",
    ),
    key(
        "buffered.records.per.partition",
        count(1, 10_000_000),
        "1000",
        "How many records of one partition may wait in memory before its reading pauses. Of a \
         repartition topic, whose records come in packs, it may be more for a moment.",
    ),
    unset(
        "client.rack",
        Kind::Text,
        "Where this instance stands, so that a Kafka cluster serves it from replicas nearby.",
    ),
    unset(
        "commit.interval.ms",
        MILLIS,
        "How long work may stay uncommitted. Default: 100 ms under exactly_once_v2, else 30 s. \
         Exactly once on a cluster: less than producer.transaction.timeout.ms (10 s if not set).",
    ),
    key(
        "default.dsl.store",
        Kind::Choice(&["rocksDB", "in_memory"]),
        "rocksDB",
        "Where stores lie: on disk under state.dir, or in memory, and then each start reads them \
         whole from their changelogs.",
    ),
    key(
        "deserialization.exception.handler",
        HANDLER,
        "fail",
        "What happens to a record that cannot be read: stop, drop and count, or dead-letter topic.",
    ),
    key(
        "embedded.partitions",
        count(1, 4096),
        "1",
        "How many partitions a topic has that the program creates on the embedded log.",
    ),
    unset(
        "errors.dead.letter.queue.topic.name",
        Kind::Name,
        "The topic that takes records under the handler dlq.",
    ),
    unset(
        "group.instance.id",
        Kind::Name,
        "This instance's fixed name in its Kafka group: a restart that is quick moves no tasks.",
    ),
    key(
        "log.durability",
        Kind::Choice(&["process", "machine"]),
        "process",
        "What a commit on the embedded log survives: the death of the process, or of the machine.",
    ),
    key(
        "log.summary.interval.ms",
        MILLIS_OR_MINUS_ONE,
        "120000",
        "How often each thread logs what it did; -1 is never.",
    ),
    unset(
        "max.request.size",
        Kind::Bytes,
        "How large a record may be that the program writes. Default: 1,000,000 bytes on a cluster, \
         else 16 MiB. A topic with less needs a limit of its own in the program.",
    ),
    key(
        "max.task.idle.ms",
        MILLIS_OR_MINUS_ONE,
        "0",
        "How long a task waits for the partition that has no records, to join by time; 0 waits \
         only for records known to exist, also while the broker that has them is away, -1 not at \
         all.",
    ),
    key(
        "num.standby.replicas",
        count(0, 100),
        "0",
        "How many other instances keep a warm copy of each task's state.",
    ),
    key(
        "num.stream.threads",
        count(1, 1024),
        "1",
        "How many threads process tasks.",
    ),
    key(
        "poll.ms",
        MILLIS,
        "100",
        "How long one poll of the log may wait for records.",
    ),
    key(
        "processing.exception.handler",
        HANDLER,
        "fail",
        "What happens to a record that the program refuses: stop, drop and count, or dead-letter \
         topic.",
    ),
    key(
        "processing.guarantee",
        Kind::Choice(&["exactly_once_v2", "at_least_once"]),
        "exactly_once_v2",
        "Whether a record may count twice after a crash; on the embedded log none does. Programs \
         that learn need exactly_once_v2.",
    ),
    key(
        "production.exception.handler",
        HANDLER,
        "fail",
        "What happens to a record that cannot be written, being too large or refused by a serde: \
         stop, drop and count, or dead-letter topic.",
    ),
    key(
        "repartition.purge.interval.ms",
        MILLIS,
        "30000",
        "How often records of repartition topics that everyone has read are deleted, and what has \
         expired of the changelogs of windows.",
    ),
    key(
        "replication.factor",
        Kind::Whole {
            min: 1,
            max: 32_767,
            minus_one: true,
        },
        "-1",
        "How many brokers keep each internal topic of the program; -1 is the cluster's default.",
    ),
    key(
        "rocksdb.block.cache.bytes",
        Kind::Bytes,
        "64MiB",
        "Memory for blocks read from disk, shared by all stores of the process.",
    ),
    key(
        "rocksdb.write.buffer.bytes",
        Kind::Bytes,
        "96MiB",
        "Memory for writes not yet in files, shared by all stores of the process.",
    ),
    unset(
        "security.protocol",
        Kind::Choice(&["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]),
        "How all clients speak to the Kafka cluster; see the keys under ssl. and sasl.",
    ),
    key(
        "state.cleanup.delay.ms",
        MILLIS,
        "600000",
        "How long the state of a task that this instance has not, active or standby, stays on its \
         disk while it runs.",
    ),
    key(
        "state.dir",
        Kind::Text,
        "millstream-data",
        "The directory of all state, and of the embedded log. It must survive a restart.",
    ),
    key(
        "statestore.cache.max.bytes",
        Kind::Bytes,
        "0",
        "0: tables tell each change. More, however much: they tell one for each key and commit, \
         from the row before to the last one. Kafka Streams takes it as a size, and tells \
         earlier what does not fit.",
    ),
    key(
        "statestore.read.cache.max.bytes",
        Kind::Bytes,
        "32MiB",
        "Memory for entries of all stores of the process that are kept after a commit, in those \
         that look rows up by key and do not hold all of them.",
    ),
    key(
        "statestore.uncommitted.max.bytes",
        Kind::Bytes,
        "64MiB",
        "Uncommitted changes of all stores of the process beyond which a commit comes early.",
    ),
    key(
        "task.timeout.ms",
        MILLIS,
        "300000",
        "How long a Kafka cluster may keep the program waiting before that is a failure.",
    ),
    key(
        "topology.optimization",
        Kind::Choice(&["none", "all", "reuse.ktable.source.topics"]),
        "none",
        "reuse.ktable.source.topics (or all): tables are restored from their topics in place of \
         changelogs, unless these forget by age. Of a compacted topic a restore may miss rows that \
         are about to change. Cannot be taken back without a reset.",
    ),
];
