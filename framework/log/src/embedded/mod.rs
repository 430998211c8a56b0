//! A log in one process: in memory, or on disk through a [`Backend`].
//!
//! It is for one machine. Its clients live in this process; a second process cannot open the same
//! backend. Invariant: a commit is one batch in the backend and one change under one lock, so
//! nobody ever sees half of it, whether the process lives or not.

mod assign;
mod block;
mod client;
mod codec;
mod commit;
mod compact;
mod disk;
mod failed;
mod group;
mod limits;
mod maintain;
mod member;
mod newest;
mod partition;
mod reading;
mod retain;
mod rows;
mod sketch;
mod state;
mod transaction;
mod worth;

#[cfg(test)]
mod tests;

pub use client::EmbeddedClient;
pub use limits::Limits;
pub use maintain::Maintenance;

use crate::api::{Broker, Error, Log, Result, TopicInfo, TopicSpec};
use disk::Disk;
use maintain::Maintainer;
use millstream_core::record::{Offset, TopicPartition};
use millstream_state::{Backend, WriteBatch};
use state::{State, put_row};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// What all handles and clients of one log share.
struct Shared {
    state: Mutex<State>,
    /// Told of every commit and every change of a group.
    news: Condvar,
    disk: Option<Disk>,
    limits: Limits,
    /// Counts topics made and deleted, so that clients know when to look them up again.
    catalog: AtomicU64,
    maintainer: Mutex<Maintainer>,
}

impl Shared {
    fn lock(&self) -> Result<MutexGuard<'_, State>> {
        self.state.lock().map_err(|_| dead())
    }

    /// The lock for what must happen even after another thread died in the log.
    fn lock_anyway(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was half done under the lock cannot be known, so nothing goes on.
fn dead() -> Error {
    Error::Fatal("a thread died inside the embedded log: the program must be restarted".into())
}

/// A handle of an embedded log, cheap to clone; the log lives as long as its handles and clients.
///
/// ```
/// use millstream_core::record::{Headers, RawRecord, TopicPartition};
/// use millstream_log::{Cleanup, EmbeddedLog, Log, TopicSpec};
///
/// let log = EmbeddedLog::in_memory();
/// let cleanup = Cleanup::Delete { retention_ms: None };
/// log.create_topic(&TopicSpec { name: "words".into(), partitions: 1, cleanup })?;
///
/// let mut client = log.client();
/// let headers = Headers::NONE;
/// let record = RawRecord { key: None, value: Some(b"hello"), timestamp: 0, headers: &headers };
/// client.send("words", None, record)?;
/// let words = TopicPartition::new("words", 0);
/// assert_eq!(client.end(&words)?, 0, "not before the commit");
/// client.commit(1, &[])?;
/// assert_eq!(client.read(&words, 0, 1_000)?.records.len(), 1);
/// # Ok::<(), millstream_log::Error>(())
/// ```
#[derive(Clone)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
}

impl EmbeddedLog {
    /// The columns that a backend for [`EmbeddedLog::open`] must have.
    pub const COLUMNS: [&'static str; 4] = disk::COLUMNS;

    /// A log that is gone with the process.
    pub fn in_memory() -> Self {
        Self::in_memory_with(Limits::default())
    }

    /// A log in memory with other bounds.
    pub fn in_memory_with(limits: Limits) -> Self {
        Self::new(State::default(), None, limits)
    }

    /// The log kept in a backend; what was committed there before is there.
    ///
    /// # Errors
    /// `Fatal` where a column is missing, a row is corrupt or the format is another version's.
    pub fn open(backend: Arc<dyn Backend>) -> Result<Self> {
        Self::open_with(backend, Limits::default())
    }

    /// As [`EmbeddedLog::open`], with other bounds.
    pub fn open_with(backend: Arc<dyn Backend>, limits: Limits) -> Result<Self> {
        let disk = Disk::open(backend)?;
        let state = State::found(disk.contents()?);
        Ok(Self::new(state, Some(disk), limits))
    }

    fn new(state: State, disk: Option<Disk>, limits: Limits) -> Self {
        let shared = Shared {
            state: Mutex::new(state),
            news: Condvar::new(),
            disk,
            limits,
            catalog: AtomicU64::new(0),
            maintainer: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A client: one per thread that reads or writes. Dropping it without leaving its group counts
    /// as its death: its tasks go to others at once.
    pub fn client(&self) -> EmbeddedClient {
        EmbeddedClient::new(Arc::clone(&self.shared))
    }

    /// All topics, by name.
    pub fn topics(&self) -> Result<Vec<TopicInfo>> {
        Ok(self
            .shared
            .lock()?
            .topics
            .values()
            .map(|topic| topic.info.clone())
            .collect())
    }

    /// Makes a topic; an equal one that exists already is fine, a different one is `Fatal`.
    pub fn create_topic(&self, spec: &TopicSpec) -> Result<TopicInfo> {
        self.shared.create_topic(spec)
    }

    /// Deletes a topic with its records and every group's places in it. A topic made anew under the
    /// same name has another id.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        self.shared
            .lock()?
            .delete(name, self.shared.disk.as_ref())?;
        self.shared.catalog.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Forgets the records of a partition below an offset, as programs do with what they have read
    /// of their repartition topics; the new start. Storage is freed by [`EmbeddedLog::maintain`].
    ///
    /// # Errors
    /// `OffsetOutOfRange` beyond the partition's end.
    pub fn delete_records(&self, at: &TopicPartition, before: Offset) -> Result<Offset> {
        let mut state = self.shared.lock()?;
        let spot = state.spot(at)?;
        let (_, log) = state.partition(at)?;
        let mut row = log.row;
        if before > row.end {
            let (start, end) = (row.start, row.end);
            let partition = at.clone();
            return Err(Error::OffsetOutOfRange {
                partition,
                offset: before,
                start,
                end,
            });
        }
        if before > row.start {
            row.start = before;
            self.shared.put_row(&mut state, &spot, row)?;
        }
        Ok(row.start)
    }

    /// Throws a member out of its group, as a broker does with one it no longer hears of: for tests
    /// and simulations. Whether there was one.
    pub fn expire(&self, group: &str, member: &str) -> Result<bool> {
        let mut state = self.shared.lock()?;
        let Some(found) = state.groups.get_mut(group) else {
            return Ok(false);
        };
        let before = found.len();
        found.remove(member);
        let removed = found.len() < before;
        drop(state);
        self.shared.news.notify_all();
        Ok(removed)
    }

    /// Asks that what was committed survive the loss of the machine's power.
    pub fn flush(&self) -> Result<()> {
        self.shared.disk.as_ref().map_or(Ok(()), Disk::flush)
    }

    /// Retention, compaction and merging: a bounded piece of the work that has come up. To be
    /// called now and then (each second, say) with the wall clock in milliseconds, from any thread.
    /// How old a record is goes by its own timestamp, as in Kafka.
    ///
    /// # Errors
    /// `Fatal` where partitions could not be maintained, because a block cannot be read for
    /// example: those are left alone for a minute, and what there was to do for others was done.
    pub fn maintain(&self, now_ms: i64) -> Result<Maintenance> {
        self.shared.maintain(now_ms)
    }
}

impl Broker for EmbeddedLog {
    fn client(&self) -> Result<Box<dyn Log>> {
        Ok(Box::new(Self::client(self)))
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        Self::topics(self)
    }

    fn delete_topic(&self, name: &str) -> Result<()> {
        Self::delete_topic(self, name)
    }

    fn delete_records(&self, at: &TopicPartition, before: Offset) -> Result<Offset> {
        Self::delete_records(self, at, before)
    }

    fn maintain(&self, now_ms: i64) -> Result<bool> {
        Ok(Self::maintain(self, now_ms)?.more)
    }
}

impl Shared {
    fn create_topic(&self, spec: &TopicSpec) -> Result<TopicInfo> {
        let info = self.lock()?.create(spec, self.disk.as_ref())?;
        self.catalog.fetch_add(1, Ordering::Release);
        Ok(info)
    }

    /// Stores a partition's row, then shows it.
    fn put_row(&self, state: &mut State, spot: &disk::Spot, row: rows::PartitionRow) -> Result<()> {
        if let Some(disk) = &self.disk {
            let mut batch = WriteBatch::new();
            put_row(disk, &mut batch, spot.id, &row);
            disk.apply(&batch)?;
        }
        if let Some(log) = state.partition_mut(spot) {
            log.untrimmed |= row.start > log.row.start;
            log.row = row;
        }
        Ok(())
    }
}
