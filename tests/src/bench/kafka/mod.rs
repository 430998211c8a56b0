//! Side by side on one Kafka cluster: this project, Kafka Streams on the JVM, and bare librdkafka.
//!
//! What each side does with 100-byte values of 100,000 keys:
//! - `kafka_stateless`: records whose first byte is a multiple of 8 are dropped; of the rest each
//!   byte, xor 0x5a, goes out.
//! - `kafka_count`: counts by key; every new count goes out. Of uniform keys, and of skewed ones,
//!   whose figures begin with `zipf_`.
//! - `kafka_table_join`: joins with a table of 50-byte rows; 16 bytes of the record and the row go
//!   out.
//! - `kafka_tumbling`: counts by key in windows of ten seconds; every new count goes out. The input
//!   has a record of each key in a second, by its own times.
//! - `kafka_session`: counts by key in sessions that end after a second without a record.
//! - `kafka_stream_join`: joins with a second stream of as many records, within a tenth of a
//!   second.
//! - `kafka_foreign_join`: a table whose rows name rows of another: the sides say what they join
//!   when it is asked back, so that only the last result of each key must be the same.
//! - `kafka_restore`: gets a state of 5 million keys back from its changelog, its disk deleted.
//!
//! How it is kept fair:
//! - One cluster of one broker, one input topic for all sides, filled once from a seed; each side
//!   writes to an output topic of its own with as many partitions. No side runs while another does.
//! - Our side runs on the cluster, and once more on an embedded log on disk: its figures begin with
//!   `embedded_`. What its records cost on their way there and back is not counted; what the log
//!   costs is, its tidying up too, while that of the brokers is nobody's. (Compactions that its
//!   database still owes when the process begins are counted, those that it owes at the end are
//!   not.) Latency and `kafka_restore` have no such side.
//! - One stream thread, a commit every 100 ms, exactly-once, no compression, the other settings as
//!   each project recommends them. All stores of a side share 32 MiB for caches of records, which
//!   is what an app of ours has by itself (Kafka Streams' default is 10 MiB). Kafka Streams runs
//!   with its cache on and off, and the better of the two counts.
//! - Our side allocates with jemalloc, as the project's apps do. The JVM is 17, with G1 and a heap
//!   of 512 MB, and is warm: every side processes a quarter of the records before its meter
//!   starts, and start-up is not counted. The meter stops when the last record is processed, and
//!   for processor time when it is committed and all is closed.
//! - Processor time and peak memory are the whole process's, as the kernel tells them, on each
//!   side.
//! - What came out is read back and compared: the same records with the same times in the same
//!   order in every partition (in any order, where keys go to other partitions), or, where Kafka
//!   Streams' cache left intermediate counts out, the same last count of every key. A difference is
//!   an error, not a figure.
//! - Latency is taken by one program for all sides, at half of what the slowest of them can do:
//!   from the moment a record was due to be sent to the moment a reader of committed records has
//!   what came of it. A JVM that shares its processors with others may not be able to keep up even
//!   then: these figures say something only of a machine with nothing else to do.
//! - Of a program with state the bare loop takes and sends what ours has sent, in number and size,
//!   to topics of its own, and does no work: its processor time (`raw_cpu_ratio_to_kafka_streams`)
//!   is what librdkafka alone costs of ours. It does not read the table of a join, and what ours
//!   sends for that is spread over the input.
//! - The bare loop sends each record with the time of the one it came from, as the others do, so it
//!   cannot use librdkafka's batch call, which would give records the current time.
//!
//! Ratios are ours to theirs: of processor time, memory and latency the less the better, of the
//! bare loop's throughput the more the better.
//!
//! Variables of the environment change the measure: `MILLSTREAM_BENCH_RUNS` (5),
//! `MILLSTREAM_BENCH_RECORDS` (4,000,000, of foreign-key joins 400,000; a quarter of them warm-up),
//! `MILLSTREAM_BENCH_SECONDS` of each latency (15; 0 leaves it out),
//! `MILLSTREAM_BENCH_RESTORE_KEYS` (5,000,000), and `MILLSTREAM_BENCH_BOOTSTRAP`: a cluster that
//! runs already, instead of one of its own.

mod carry;
mod flow;
mod job;
mod load;
mod ours;
mod peers;
mod restore;

use super::{Bench, workloads::Workload};

/// A map and a filter.
pub(super) const STATELESS: Bench = Bench {
    name: "kafka_stateless",
    runs: |scene| flow::runs(scene, Workload::Stateless),
    child: ours::child,
};

/// A count by key.
pub(super) const COUNT: Bench = Bench {
    name: "kafka_count",
    runs: |scene| flow::runs(scene, Workload::Count),
    child: ours::child,
};

/// A stream that meets a table.
pub(super) const TABLE_JOIN: Bench = Bench {
    name: "kafka_table_join",
    runs: |scene| flow::runs(scene, Workload::Join),
    child: ours::child,
};

/// Counts in windows.
pub(super) const TUMBLING: Bench = Bench {
    name: "kafka_tumbling",
    runs: |scene| flow::runs(scene, Workload::Tumbling),
    child: ours::child,
};

/// Counts in sessions.
pub(super) const SESSION: Bench = Bench {
    name: "kafka_session",
    runs: |scene| flow::runs(scene, Workload::Session),
    child: ours::child,
};

/// Two streams that meet.
pub(super) const STREAM_JOIN: Bench = Bench {
    name: "kafka_stream_join",
    runs: |scene| flow::runs(scene, Workload::StreamJoin),
    child: ours::child,
};

/// Two tables, by what one says of the other.
pub(super) const FOREIGN_JOIN: Bench = Bench {
    name: "kafka_foreign_join",
    runs: |scene| flow::runs(scene, Workload::ForeignJoin),
    child: ours::child,
};

/// State back from its changelog.
pub(super) const RESTORE: Bench = Bench {
    name: "kafka_restore",
    runs: restore::runs,
    child: ours::child,
};
