//! A task's stores as bytes, kept up from their changelogs: a standby, or a restore under way.
//!
//! Replay copies whole values, so doing it twice does no harm: the stored position need only never
//! be ahead of what was applied. Invariant: each page is applied in one batch with its position.

use crate::{
    backends::Backends,
    error::Result,
    lease::{Lease, Leases},
    program::{ChangelogColumn, Program, TOMBSTONE_RETENTION_MS},
};
use millstream_core::{
    record::{Offset, TaskId, Timestamp},
    task::restore_record,
};
use millstream_log::{Error as LogError, Log};
use millstream_state::{Backend, Column, Position, WriteBatch};
use std::sync::Arc;

/// About how many bytes of changelog one step replays.
const PAGE_BYTES: usize = 1 << 20;

/// About how many bytes are read to see whether there is a record at all.
const LOOK_BYTES: usize = 1;

/// Why a store is restored from the first changelog record on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullRestore {
    /// There was no position: a new store here.
    Empty,
    /// The changelog topic is another one than the store was written from.
    TopicReplaced,
    /// The store is ahead of its changelog: the log lost its end.
    BeyondEnd,
    /// The position is older than tombstones are kept.
    TooOld,
    /// The changelog no longer has the position.
    OutOfRange,
}

impl FullRestore {
    /// The reason in a word, as metrics have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TopicReplaced => "topic_replaced",
            Self::BeyondEnd => "beyond_end",
            Self::TooOld => "too_old",
            Self::OutOfRange => "out_of_range",
        }
    }
}

impl std::fmt::Display for FullRestore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "no position is stored here",
            Self::TopicReplaced => "the changelog topic was made anew",
            Self::BeyondEnd => "the store is ahead of the changelog's end",
            Self::TooOld => "the store is older than tombstones are kept",
            Self::OutOfRange => "the changelog no longer has the store's position",
        })
    }
}

/// How far one store's replay is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreProgress {
    /// The store.
    pub store: String,
    /// The next changelog offset to apply.
    pub position: Offset,
    /// Where replay began on this instance.
    pub from: Offset,
    /// The changelog's end as last seen.
    pub end: Offset,
    /// Records applied so far.
    pub records: u64,
    /// Bytes of keys and values applied so far.
    pub bytes: u64,
    /// When replay began on this instance.
    pub began_at: Timestamp,
    /// When the last page was read.
    pub seen_at: Timestamp,
    /// Why it began at the first record, if it did.
    pub full: Option<FullRestore>,
}

impl StoreProgress {
    /// How long replay has taken up to the last page, in milliseconds.
    pub fn took_ms(&self) -> u64 {
        let took = self.seen_at.saturating_sub(self.began_at);
        u64::try_from(took).unwrap_or(0)
    }

    /// Records replayed in a second; `None` before there is anything to go by.
    pub fn records_per_second(&self) -> Option<u64> {
        (self.records * 1_000).checked_div(self.took_ms())
    }

    /// Seconds until the end as last seen, should replay go on as it went; offsets without records
    /// count as what surrounds them.
    pub fn seconds_left(&self) -> Option<u64> {
        let offsets = |from: Offset, to: Offset| u64::try_from(to - from).unwrap_or(0);
        let left = offsets(self.position, self.end);
        let took = self.took_ms().checked_mul(left)?;
        let left_ms = took.checked_div(offsets(self.from, self.position))?;
        Some(left_ms.div_ceil(1_000))
    }
}

/// Whether a replica has all its changelogs have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// More may be there to replay.
    Behind,
    /// Every store is at its changelog's end.
    CaughtUp,
}

/// The stores of one task on this instance.
pub struct Replica {
    task: TaskId,
    backend: Arc<dyn Backend>,
    stores: Vec<(ChangelogColumn, StoreProgress)>,
    batch: WriteBatch,
    /// Given up last: a backend that closes still writes.
    lease: Lease,
}

impl Replica {
    /// Opens a task's backend and decides, store by store, where replay goes on.
    ///
    /// # Errors
    /// Where storage or log refuse; `Retry` while another thread holds the task's state.
    pub fn open(
        program: &Program,
        backends: &dyn Backends,
        lease: (&Arc<Leases>, TaskId),
        log: &mut dyn Log,
        now: Timestamp,
    ) -> Result<Self> {
        let (leases, task) = lease;
        let Some(lease) = Lease::take(leases, task) else {
            let why = format!("the state of {task} is still held by another thread");
            return Err(LogError::Retry(why).into());
        };
        backends.declare(task, &program.formats(task))?;
        let backend = backends.open(task, &program.columns(task))?;
        let mut stores = Vec::new();
        for store in program.changelogs(task) {
            let end = log.end(&store.changelog)?;
            let position = backend.position(Column(store.column))?;
            let judged = match position {
                Some(position) => Some((position, judge(position, &store, (log, end), now)?)),
                None => None,
            };
            let (from, full) = match judged {
                Some((position, None)) => (position.offset, None),
                Some((_, Some(why))) => (restart(&*backend, &store, log)?, Some(why)),
                None => (restart(&*backend, &store, log)?, Some(FullRestore::Empty)),
            };
            let name = store.store.clone();
            let progress = StoreProgress {
                store: name,
                position: from,
                from,
                end,
                records: 0,
                bytes: 0,
                began_at: now,
                seen_at: now,
                full,
            };
            stores.push((store, progress));
        }
        Ok(Self {
            task,
            lease,
            backend,
            stores,
            batch: WriteBatch::new(),
        })
    }

    /// The task.
    pub fn task(&self) -> TaskId {
        self.task
    }

    /// The bytes.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// The right to the task's state, for whoever goes on with it.
    pub(crate) fn into_lease(self) -> Lease {
        self.lease
    }

    /// How far each store is.
    pub fn progress(&self) -> impl Iterator<Item = &StoreProgress> {
        self.stores.iter().map(|(_, progress)| progress)
    }

    /// Replays one page of each store that is behind.
    ///
    /// # Errors
    /// Where storage or log refuse; `Retry` errors of the log leave the replica as it was.
    pub fn step(&mut self, log: &mut dyn Log, now: Timestamp) -> Result<Replay> {
        let mut replay = Replay::CaughtUp;
        for (store, progress) in &mut self.stores {
            let page = match log.read(&store.changelog, progress.position, PAGE_BYTES) {
                Ok(page) => page,
                Err(LogError::OffsetOutOfRange { .. }) => {
                    progress.position = restart(&*self.backend, store, log)?;
                    progress.full = Some(FullRestore::OutOfRange);
                    replay = Replay::Behind;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            progress.end = page.end;
            progress.seen_at = now;
            if page.next > progress.position {
                let column = Column(store.column);
                self.batch.clear();
                for (_, record) in page.records.iter() {
                    let size = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len) as u64;
                    progress.bytes += size(record.key) + size(record.value);
                    restore_record(&mut self.batch, column, record);
                }
                self.batch.set_position(
                    column,
                    Position {
                        offset: page.next,
                        topic_id: store.topic_id,
                        applied_at: now,
                        transaction: 0,
                    },
                );
                if page.next < page.end {
                    self.backend.apply_bulk(&self.batch)?;
                } else {
                    self.backend.apply(&self.batch)?;
                }
                progress.position = page.next;
                progress.records += page.records.len() as u64;
            }
            if page.next < page.end {
                replay = Replay::Behind;
            }
        }
        Ok(replay)
    }
}

/// Whether a stored position can be trusted.
pub(crate) fn judge(
    position: Position,
    store: &ChangelogColumn,
    (log, end): (&mut dyn Log, Offset),
    now: Timestamp,
) -> Result<Option<FullRestore>> {
    let old = now.saturating_sub(position.applied_at) > TOMBSTONE_RETENTION_MS;
    let why = if position.topic_id != store.topic_id {
        Some(FullRestore::TopicReplaced)
    } else if position.offset > end {
        Some(FullRestore::BeyondEnd)
    } else if old && missed(position.offset, store, log, end)? {
        Some(FullRestore::TooOld)
    } else {
        None
    };
    Ok(why)
}

/// Whether a record lies between a position and the end. That the end is further on does not say
/// so: a log may keep marks of its own there, as Kafka does behind each transaction.
fn missed(from: Offset, store: &ChangelogColumn, log: &mut dyn Log, end: Offset) -> Result<bool> {
    let mut next = from;
    while next < end {
        let page = match log.read(&store.changelog, next, LOOK_BYTES) {
            Ok(page) => page,
            // Records there were, and they are gone.
            Err(LogError::OffsetOutOfRange { .. }) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        if !page.records.is_empty() {
            return Ok(true);
        }
        if page.next <= next {
            // They are on their way: whoever opens the replica asks again.
            let why = format!("{} has nothing to show yet at {next}", store.changelog);
            return Err(LogError::Retry(why).into());
        }
        next = page.next;
    }
    Ok(false)
}

/// Empties a store, for replay from the changelog's first record.
fn restart(backend: &dyn Backend, store: &ChangelogColumn, log: &mut dyn Log) -> Result<Offset> {
    backend.clear(Column(store.column))?;
    Ok(log.start(&store.changelog)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_reckoned_from_what_was_done() {
        let mut progress = StoreProgress {
            store: "sums".to_owned(),
            position: 100,
            from: 100,
            end: 1_100,
            records: 0,
            bytes: 0,
            began_at: 5_000,
            seen_at: 5_000,
            full: None,
        };
        assert_eq!(progress.records_per_second(), None, "nothing to go by");
        assert_eq!(progress.seconds_left(), None);
        // Half of the offsets hold records.
        (progress.position, progress.records, progress.seen_at) = (350, 125, 7_500);
        assert_eq!(progress.records_per_second(), Some(50));
        assert_eq!(
            progress.seconds_left(),
            Some(8),
            "750 offsets at 100 a second"
        );
        progress.position = progress.end;
        assert_eq!(progress.seconds_left(), Some(0));
        // A clock that was set back, and a changelog that became shorter.
        (progress.seen_at, progress.end) = (0, 0);
        assert_eq!(progress.records_per_second(), None);
        assert_eq!(progress.seconds_left(), Some(0));
    }
}
