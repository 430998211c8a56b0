//! What can be set on a sink, what it reports, and what one step came to.

use millstream_core::record::{Offset, TopicPartition};
use std::collections::BTreeMap;

/// Bounds and waits of a sink. The defaults suit a file on the same machine;
/// [`SinkConfig::server`] suits a database on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkConfig {
    /// Records in one SQL transaction, at most. Where the database takes longer for a statement
    /// than it may, it is half as many the next time, and grows again from there.
    pub batch_rows: usize,
    /// Bytes of keys and values after which a batch takes no further page.
    pub batch_bytes: usize,
    /// The first wait after a failure.
    pub backoff_min_ms: i64,
    /// The longest wait; in between it doubles. Also how long a member of a group leaves a
    /// partition alone that a newer writer has taken, before it asks its group anew.
    pub backoff_max_ms: i64,
    /// A trouble that lasts is logged once in this time.
    pub log_interval_ms: i64,
    /// Where records go that cannot become rows; `None` is `<table>-dead-letters`. Kafka Streams'
    /// `errors.dead.letter.queue.topic.name`.
    pub dead_letter_topic: Option<String>,
}

impl SinkConfig {
    /// Four times the rows and bytes in a transaction, for some 10 MB more memory: each transaction
    /// costs six round trips, in each of which either the sink or the server waits.
    pub fn server() -> Self {
        Self {
            batch_rows: 16_384,
            batch_bytes: 4 << 20,
            ..Self::default()
        }
    }
}

impl Default for SinkConfig {
    fn default() -> Self {
        Self {
            batch_rows: 4096,
            batch_bytes: 1 << 20,
            backoff_min_ms: 100,
            backoff_max_ms: 10_000,
            log_interval_ms: 10_000,
            dead_letter_topic: None,
        }
    }
}

/// Counts since this sink was made, and its places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkStats {
    /// Rows written (a row that replaced another counts).
    pub rows: u64,
    /// SQL transactions committed.
    pub batches: u64,
    /// Records that went to the dead-letter topic.
    pub dead_letters: u64,
    /// Dead letters that lack a part of their record, because the whole would have been larger than
    /// the log takes. The header `__streams.errors.omitted` names the parts.
    pub shortened: u64,
    /// Records for which the program wanted no row.
    pub skipped: u64,
    /// Offsets that the topic had forgotten before the sink came to them.
    pub lost: u64,
    /// Attempts that failed and were to be made again.
    pub retries: u64,
    /// Partitions given up because a newer writer had taken them before the group said so.
    pub fenced: u64,
    /// Records (offsets) between the places and the ends of the partitions when last read, or when
    /// an attempt failed last.
    pub behind: u64,
    /// Whether `next_offsets` has all partitions that are this sink's now. Not before the first
    /// were taken over, and not while a member waits for its group.
    pub settled: bool,
    /// The next offset to read, for each partition that is this sink's.
    pub next_offsets: BTreeMap<TopicPartition, Offset>,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A transaction was committed; there may be more to do.
    Wrote {
        /// Records that became rows.
        rows: u64,
        /// Records that became dead letters.
        dead_letters: u64,
    },
    /// Everything committed to the sink's partitions is in the table.
    Idle,
    /// A member of a group does not know yet which partitions are its own, or lost some to a newer
    /// writer; of those that it has, everything is in the table.
    Waiting,
    /// The database or the log could not, and steps before that time do nothing.
    Retry {
        /// When to try again, on the caller's clock.
        at_ms: i64,
        /// What they said.
        reason: String,
    },
}
