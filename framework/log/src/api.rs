//! The trait: everything that can happen between a StreamThread and its log, in one closed list.

use millstream_core::{
    batch::Records,
    record::{Offset, Partition, RawRecord, TaskId, TopicPartition},
};
use std::time::Duration;

pub use crate::members::{Assignment, Instance, Subscription, TaskInputs};

/// The result of a log call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a log refused, by what the thread must do: retry, abandon its tasks, or stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was done and the same call may succeed later.
    #[error("not now: {0}")]
    Retry(String),
    /// This member no longer owns its tasks: drop all uncommitted work, abort, join again.
    #[error("fenced: {0}")]
    Fenced(String),
    /// The commit may or may not have happened: ask [`Log::resolve`] before anything else.
    #[error("unknown commit outcome: {0}")]
    UnknownOutcome(String),
    /// The offset asked for is not (or no longer) in the partition.
    #[error("offset {offset} of {partition} is out of range {start}..{end}")]
    OffsetOutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// The offset asked for.
        offset: Offset,
        /// The first offset there is.
        start: Offset,
        /// The offset after the last.
        end: Offset,
    },
    /// No such topic or partition.
    #[error("unknown topic or partition {0}")]
    UnknownTopic(String),
    /// The program must stop: the message says why.
    #[error("{0}")]
    Fatal(String),
}

/// What can happen to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The member's whole assignment, the tasks it had before included. Tasks that moved away were
    /// revoked before; tasks named here are owned by nobody else.
    Assigned(Assignment),
    /// These active tasks are asked back: commit or abandon them, then [`Log::acknowledge`].
    Revoked(Vec<TaskId>),
    /// The member was thrown out: all its tasks may already run elsewhere. Abandon them.
    Lost,
    /// Some partition has records that were not fetched.
    Ready,
    /// Nothing happened within the wait.
    Idle,
}

/// How many bytes at the front of [`Committed::metadata`] are the transaction's number.
const TRANSACTION_BYTES: usize = size_of::<u64>();

/// A group's place in an input partition.
///
/// The convention of the metadata: the first 8 bytes are the number of the transaction that stored
/// the place, big-endian. By it [`Log::resolve`] tells an older commit of a place from a newer one:
/// a member that takes a place over goes on above the number it finds there, whoever stored it.
/// Members that do not know of each other may use the same number, so what became of a commit is
/// told by its whole places. What follows (stream time, say) is the caller's. A log stores the
/// bytes as they are and neither checks nor adds anything.
///
/// ```
/// use millstream_log::Committed;
/// let place = Committed::new(120, 7, b"stream time");
/// assert_eq!(place.transaction(), Some(7));
/// assert_eq!(place.rest(), b"stream time");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next record to process.
    pub offset: Offset,
    /// What travels with it: the transaction's number, then whatever the caller adds.
    pub metadata: Vec<u8>,
}

impl Committed {
    /// A place whose metadata follows the convention.
    pub fn new(offset: Offset, transaction: u64, rest: &[u8]) -> Self {
        let mut metadata = Vec::with_capacity(TRANSACTION_BYTES + rest.len());
        metadata.extend_from_slice(&transaction.to_be_bytes());
        metadata.extend_from_slice(rest);
        Self { offset, metadata }
    }

    /// The number of the transaction that stored the place; `None` where the metadata is too short
    /// to follow the convention, as with places stored by other programs.
    pub fn transaction(&self) -> Option<u64> {
        self.metadata.first_chunk().copied().map(u64::from_be_bytes)
    }

    /// What the caller added after the transaction's number.
    pub fn rest(&self) -> &[u8] {
        self.metadata.get(TRANSACTION_BYTES..).unwrap_or_default()
    }
}

/// What an accepted commit came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// For each partition written to, the offset after the transaction's last record there.
    pub ends: Vec<(TopicPartition, Offset)>,
}

/// What became of a commit whose answer was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log.
    Committed(Commit),
    /// It is not, and never will be.
    Aborted,
}

/// A stretch of a partition, for restore, sinks and tails.
#[derive(Clone, Debug)]
pub struct Page {
    /// Committed records from the offset asked for on; may be empty before the end.
    pub records: Records,
    /// Where to read on.
    pub next: Offset,
    /// The offset after the last committed record of the partition.
    pub end: Offset,
}

/// How a topic forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Records older than this many milliseconds go; `None` keeps all.
    Delete {
        /// `retention.ms`.
        retention_ms: Option<i64>,
    },
    /// Only the newest record of each key stays; tombstones for `delete_retention_ms` longer.
    Compact {
        /// `delete.retention.ms`.
        delete_retention_ms: i64,
    },
    /// Both at once, Kafka's `compact,delete`. Without an age records go from the front only where
    /// they are deleted by [`Broker::delete_records`], which a cluster refuses for topics that are
    /// compacted and no more.
    CompactDelete {
        /// `delete.retention.ms`.
        delete_retention_ms: i64,
        /// `retention.ms`; `None` keeps records however old they are.
        retention_ms: Option<i64>,
    },
}

impl Cleanup {
    /// How long tombstones stay (`delete.retention.ms`), where the topic is compacted.
    pub fn compacts(self) -> Option<i64> {
        match self {
            Self::Delete { .. } => None,
            Self::Compact {
                delete_retention_ms,
            }
            | Self::CompactDelete {
                delete_retention_ms,
                ..
            } => Some(delete_retention_ms),
        }
    }

    /// How old records become (`retention.ms`), where the topic forgets by age.
    pub fn ages(self) -> Option<i64> {
        match self {
            Self::Compact { .. } => None,
            Self::Delete { retention_ms } | Self::CompactDelete { retention_ms, .. } => {
                retention_ms
            }
        }
    }
}

/// A topic to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// The full name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// How it forgets.
    pub cleanup: Cleanup,
}

/// A topic that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its identity: a topic made anew under the same name has another.
    pub id: u128,
    /// Its name, partitions and cleanup.
    pub spec: TopicSpec,
}

/// What one StreamThread needs of a log. A client without a subscription can still read and send.
///
/// There is one open transaction per client: it begins with the first `send` and ends with `commit`
/// or `abort`. All calls return promptly but `poll`, which waits up to `wait`.
pub trait Log: Send {
    /// The topic of that name, if there is one.
    fn topic(&mut self, name: &str) -> Result<Option<TopicInfo>>;

    /// The names of all topics; the log's own bookkeeping is not among them.
    ///
    /// # Errors
    /// As any call; `Fatal` where the log cannot list them.
    fn topic_names(&mut self) -> Result<Vec<String>> {
        Err(Error::Fatal("this log cannot list its topics".into()))
    }

    /// Makes a topic; an equal one that exists already is fine, a different one is `Fatal`. One
    /// that keeps deletions for another time is an equal one, and what is returned says for how
    /// long.
    fn create_topic(&mut self, spec: &TopicSpec) -> Result<TopicInfo>;

    /// Joins the group. Assignments come through `poll`.
    fn subscribe(&mut self, subscription: Subscription) -> Result<()>;

    /// The next event. Unsubscribed: `Ready` at committed news, on a cluster where it has read.
    fn poll(&mut self, wait: Duration) -> Result<Event>;

    /// Gives back tasks that were revoked, after their work was committed and applied, or dropped.
    fn acknowledge(&mut self, tasks: &[TaskId]) -> Result<()>;

    /// Leaves the group; open work is aborted first.
    fn leave(&mut self) -> Result<()>;

    /// The instances of the member's group in an order of the log's, and who has which task as far
    /// as this member knows: while tasks move, some may be nobody's. Empty without a group, and
    /// before the group has first given out its tasks. It costs no journey.
    ///
    /// # Errors
    /// As any call.
    fn instances(&mut self) -> Result<Vec<Instance>>;

    /// The group's committed places, in the order asked; waits for no one: a partition with a
    /// commit in flight elsewhere gives `Retry`.
    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<Committed>>>;

    /// Where `fetch` goes on in an owned input partition.
    fn seek(&mut self, partition: &TopicPartition, offset: Offset) -> Result<()>;

    /// The next records of an owned partition, at most `max`; `None` when there are none now.
    /// After the partition's start has moved past the place, `OffsetOutOfRange`.
    fn fetch(&mut self, partition: &TopicPartition, max: usize) -> Result<Option<Records>>;

    /// Where `fetch` goes on in an owned partition. It may lie further than one behind the last
    /// record that was handed out: offsets without records (a log may mark transactions there) are
    /// passed over when they are come to.
    fn position(&mut self, partition: &TopicPartition) -> Result<Offset>;

    /// The offset after the last committed record, or after what the log itself wrote behind it.
    fn end(&mut self, partition: &TopicPartition) -> Result<Offset>;

    /// As [`Log::end`], with what open transactions have written: no offset that the partition has
    /// ever given out is beyond it. Right behind a commit a cluster shows the old [`Log::end`] for
    /// a moment, until it has marked the transaction in each partition.
    fn end_uncommitted(&mut self, partition: &TopicPartition) -> Result<Offset> {
        self.end(partition)
    }

    /// The first offset there is.
    fn start(&mut self, partition: &TopicPartition) -> Result<Offset>;

    /// The offset of the first committed record that is not older than `timestamp`; the end, where
    /// all are. A log that has no index of times looks at all records from the start on.
    fn offset_for_time(&mut self, partition: &TopicPartition, timestamp: i64) -> Result<Offset> {
        let start = self.start(partition)?;
        self.scan_for_time(partition, start, timestamp)
    }

    /// As [`Log::offset_for_time`], among the records from an offset on, by looking at them.
    fn scan_for_time(
        &mut self,
        partition: &TopicPartition,
        from: Offset,
        timestamp: i64,
    ) -> Result<Offset> {
        let (mut at, end, mut stalled) = (from, self.end(partition)?, 0);
        while at < end {
            let page = self.read(partition, at, TIME_PAGE_BYTES)?;
            let mut records = page.records.iter();
            if let Some((offset, _)) = records.find(|(_, record)| record.timestamp >= timestamp) {
                return Ok(offset);
            }
            stalled = if page.next > at { 0 } else { stalled + 1 };
            if stalled == TIME_PAGES_MAX {
                // Whoever asked asks again, and hears of other things first.
                let why = format!("{partition} has nothing to show yet at {at}");
                return Err(Error::Retry(why));
            }
            at = page.next;
        }
        Ok(end)
    }

    /// Adds a record to the open transaction. Without a partition the key chooses: murmur2 as
    /// Kafka's producer does, round-robin for null keys.
    fn send(
        &mut self,
        topic: &str,
        partition: Option<Partition>,
        record: RawRecord<'_>,
    ) -> Result<()>;

    /// Makes the open transaction visible together with these places of the member's group.
    ///
    /// `transaction` is a number that grows with each commit of this member, and is above those in
    /// the places it took over; it is stored in the places' metadata (see [`Committed`]) so that
    /// [`Log::resolve`] can tell what became of it. After `Retry` the transaction is still open;
    /// after any other error it is gone.
    fn commit(
        &mut self,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Commit>;

    /// Begins a commit as [`Log::commit`] makes one, and need not wait for its end: `None` says
    /// that it is under way. Until [`Log::poll_commit`] has told what came of it, nothing may be
    /// sent; everything else is allowed.
    fn begin_commit(
        &mut self,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Option<Commit>> {
        self.commit(transaction, places).map(Some)
    }

    /// What came of the commit that was begun, with the errors of [`Log::commit`]; `None` if that
    /// is not known after so long.
    fn poll_commit(&mut self, wait: Duration) -> Result<Option<Commit>> {
        let _ = wait;
        Err(Error::Fatal("no commit was begun".into()))
    }

    /// How many bytes of finished records are worth waiting for before they are committed. A log in
    /// another place is asked seldom and with much; one in this process reads again what was
    /// written, which is best done while the processor has it at hand.
    fn commit_bytes(&self) -> usize {
        usize::MAX
    }

    /// How many more bytes the open transaction had better take before it is committed. Some logs
    /// take no more than so much at once; this is well below it, so that whoever looks after each
    /// piece of work is never refused. What is in memory and still to be sent counts, too.
    fn room(&self) -> usize {
        usize::MAX
    }

    /// How many bytes a record may have, as [`wire_size`](millstream_core::record::wire_size)
    /// reckons: what is larger is not sent, and costs the open transaction. A topic may take less
    /// (`max.message.bytes`), which nobody knows before it refuses.
    fn record_bytes_max(&self) -> usize {
        usize::MAX
    }

    /// Drops the open transaction. Fetching goes on where it was; the caller seeks back.
    fn abort(&mut self) -> Result<()>;

    /// What became of commit `transaction` after `UnknownOutcome`. When it answers, the question is
    /// settled for good. `places` are those that the commit had.
    fn resolve(
        &mut self,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Outcome>;

    /// Committed records of any partition from an offset on, about `max_bytes` of them. A page may
    /// be empty before the end, where records are still on their way. After [`Log::committed`] has
    /// answered, `end` is not below what earlier owners of those places have written.
    fn read(&mut self, partition: &TopicPartition, from: Offset, max_bytes: usize) -> Result<Page>;

    /// Any group's committed places, in the order asked: for producers that keep their own, and for
    /// tools. Waits for no one, as [`Log::committed`].
    fn committed_as(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<Committed>>>;

    /// Commits for a producer that keeps its own place without being a member: a file feeder, say,
    /// which stores in its group how far it has read, and so feeds each line exactly once.
    ///
    /// # Errors
    /// As [`Log::commit`], and `Fatal` for a client that is subscribed, or a group that has
    /// members: their places are theirs.
    fn commit_as(
        &mut self,
        group: &str,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Commit>;
}

/// Bytes that a log without an index of times looks at together.
const TIME_PAGE_BYTES: usize = 1 << 20;
/// A search by time asks so often for records on their way: for about a second on a cluster.
const TIME_PAGES_MAX: usize = 500;

/// What a client's connections to its log have done, as they last told; only a log behind a network
/// has such.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientStatistics {
    /// The client's name on the log.
    pub client: String,
    /// Requests sent, and their bytes.
    pub requests: u64,
    /// Bytes of requests.
    pub sent_bytes: u64,
    /// Bytes of answers.
    pub received_bytes: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Requests that were not answered in time.
    pub timeouts: u64,
    /// How long the slowest broker took to answer, on average, in the last interval.
    pub round_trip: Duration,
    /// Records that wait to be sent or acknowledged.
    pub queued_records: u64,
    /// Their bytes.
    pub queued_bytes: u64,
}

/// A whole log: where clients come from, and what is done to topics from outside any thread.
pub trait Broker: Send + Sync {
    /// A client: one per thread that reads or writes.
    fn client(&self) -> Result<Box<dyn Log>>;

    /// A client that writes under a name of its own: where the log can tell, the newest client of a
    /// name is the only one that can still commit.
    fn writer(&self, name: &str) -> Result<Box<dyn Log>> {
        let _ = name;
        self.client()
    }

    /// All topics, by name; the log's own bookkeeping is not among them.
    fn topics(&self) -> Result<Vec<TopicInfo>>;

    /// Deletes a topic with its records. A topic made anew under the same name has another id.
    fn delete_topic(&self, name: &str) -> Result<()>;

    /// Forgets the records of a partition below an offset, as programs do with what they have read
    /// of their repartition topics; the new start.
    ///
    /// # Errors
    /// `OffsetOutOfRange` beyond the partition's end.
    fn delete_records(&self, at: &TopicPartition, before: Offset) -> Result<Offset>;

    /// What the clients that live have told of their connections.
    fn statistics(&self) -> Vec<ClientStatistics> {
        Vec::new()
    }

    /// Does a bounded piece of the log's housekeeping, where it has none of its own; says whether
    /// more is waiting. `now_ms` is the wall clock.
    fn maintain(&self, now_ms: i64) -> Result<bool> {
        let _ = now_ms;
        Ok(false)
    }
}
