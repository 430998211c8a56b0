//! A task's stores as bytes, kept up from their changelogs: a standby, or a restore under way.
//!
//! Replay copies whole values, so doing it twice does no harm: the stored position need only never
//! be ahead of what was applied. Invariants: each page is applied in one batch with its position;
//! and a store that is restored from the topic it is a copy of never holds what lies behind the
//! committed place of the task's input.

mod trust;

pub use trust::FullRestore;
pub(crate) use trust::{has_slept, judge};

use crate::{
    backends::Backends,
    error::{Error, Result},
    lease::{Lease, Leases},
    program::{ChangelogColumn, Program},
};
use millstream_core::{
    record::{Offset, TaskId, Timestamp, TopicPartition},
    store::Sweep,
    task::restore_record,
};
use millstream_log::{Committed, Error as LogError, Log, Page};
use millstream_state::{Backend, Column, Position, WriteBatch};
use std::sync::Arc;

/// About how many bytes of changelog one step replays.
const PAGE_BYTES: usize = 1 << 20;

/// A standby that has copies of topics asks so often how far they may be replayed.
const ASK_INTERVAL_MS: i64 = 1_000;

impl std::fmt::Display for FullRestore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "no position is stored here",
            Self::TopicReplaced => "the changelog topic was made anew",
            Self::BeyondEnd => "the store is ahead of the changelog's end",
            Self::TooOld => "the store may be older than tombstones are kept",
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
    stores: Vec<Followed>,
    batch: WriteBatch,
    /// The program's group, and when it was asked last for committed places.
    group: Arc<str>,
    asked_at: Option<Timestamp>,
    /// Given up last: a backend that closes still writes.
    lease: Lease,
}

/// One store, and how far it is.
struct Followed {
    column: ChangelogColumn,
    progress: StoreProgress,
    sweep: Sweep,
    /// Records that were applied since the sweep last went on.
    unswept: usize,
    /// Of a copy of a topic: up to where it may be replayed; `None` where nothing is committed.
    limit: Option<Offset>,
    /// When nothing of the changelog was known to be missed.
    known_at: Timestamp,
    /// Up to where what was on disk may be ahead of its place.
    reach: Offset,
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
        backends.declare(task, &program.declared(task), &program.elsewhere(task))?;
        let backend = backends.open(task, &program.columns(task))?;
        let mut stores = Vec::new();
        for store in program.changelogs(task) {
            let end = log.end(&store.changelog)?;
            let position = backend.position(Column(store.column))?;
            check_source(&store, position)?;
            let judged = match position {
                Some(position) => Some((position, judge(position, &store, (log, end), now)?)),
                None => None,
            };
            let (kept, full) = match judged {
                Some((position, None)) => (Some(position), None),
                Some((_, Some(why))) => (None, Some(why)),
                None => (None, Some(FullRestore::Empty)),
            };
            let from = match kept {
                Some(position) => position.offset,
                None => restart(&*backend, &store, log)?,
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
            stores.push(Followed {
                column: store,
                progress,
                sweep: Sweep::default(),
                unswept: 0,
                limit: None,
                known_at: now,
                reach: kept.map_or(from, |position| position.reach),
            });
        }
        Ok(Self {
            task,
            lease,
            backend,
            stores,
            batch: WriteBatch::new(),
            group: program.task.application_id.clone(),
            asked_at: None,
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
        self.stores.iter().map(|store| &store.progress)
    }

    /// The same, with the changelog of each.
    pub(crate) fn replays(&self) -> impl Iterator<Item = (&TopicPartition, &StoreProgress)> {
        let stores = self.stores.iter();
        stores.map(|store| (&store.column.changelog, &store.progress))
    }

    /// Says how far the task's inputs are committed, which is how far copies of topics are
    /// replayed.
    ///
    /// # Errors
    /// Where storage or log refuse. A copy that is ahead, because places were set back, begins
    /// anew.
    pub fn limit(
        &mut self,
        inputs: &[TopicPartition],
        places: &[Option<Committed>],
        log: &mut dyn Log,
    ) -> Result<()> {
        for store in self.stores.iter_mut().filter(|s| s.column.copy.is_some()) {
            let input = inputs.iter().position(|of| *of == store.column.changelog);
            let place = input.and_then(|input| places.get(input)?.as_ref());
            store.limit = place.map(|place| place.offset);
            if store
                .limit
                .is_some_and(|limit| store.progress.position.max(store.reach) > limit)
            {
                store.progress.position = restart(&*self.backend, &store.column, log)?;
                store.reach = Offset::MIN;
                store.progress.full = Some(FullRestore::BeyondEnd);
            }
        }
        Ok(())
    }

    /// Asks the log how far the task's inputs are committed, where that matters and some time has
    /// passed since the last time: for a standby, whose task runs elsewhere.
    ///
    /// # Errors
    /// As [`Replica::limit`].
    pub fn ask_for_limits(&mut self, log: &mut dyn Log, now: Timestamp) -> Result<()> {
        let due = |asked: Timestamp| now < asked || now - asked >= ASK_INTERVAL_MS;
        let copies = self.stores.iter().filter(|s| s.column.copy.is_some());
        let inputs: Vec<_> = copies.map(|s| s.column.changelog.clone()).collect();
        if inputs.is_empty() || !self.asked_at.is_none_or(due) {
            return Ok(());
        }
        let places = log.committed_as(&self.group, &inputs)?;
        self.asked_at = Some(now);
        self.limit(&inputs, &places, log)?;
        for store in self.stores.iter_mut().filter(|s| s.column.copy.is_some()) {
            // At its limit it is not read, and misses nothing while nothing comes.
            if log.end(&store.column.changelog)? <= store.progress.position {
                store.known_at = now;
            }
        }
        Ok(())
    }

    /// Replays one page of each store that is behind.
    ///
    /// # Errors
    /// Where storage or log refuse; `Retry` errors of the log leave the replica as it was.
    pub fn step(&mut self, log: &mut dyn Log, now: Timestamp) -> Result<Replay> {
        let mut replay = Replay::CaughtUp;
        for store in &mut self.stores {
            if store.column.copy.is_some() && store.is_at_limit() {
                continue;
            }
            if store.has_slept(log, now)? {
                store.progress.position = restart(&*self.backend, &store.column, log)?;
                store.progress.full = Some(FullRestore::TooOld);
                replay = Replay::Behind;
            }
            let at = store.progress.position;
            let page = match log.read(&store.column.changelog, at, PAGE_BYTES) {
                Ok(page) => page,
                Err(LogError::OffsetOutOfRange { .. }) => {
                    store.progress.position = restart(&*self.backend, &store.column, log)?;
                    store.progress.full = Some(FullRestore::OutOfRange);
                    replay = Replay::Behind;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            (store.progress.seen_at, store.known_at) = (now, now);
            self.batch.clear();
            let next = store.take(&page, &mut self.batch, now);
            if next > at && next < store.progress.end {
                self.backend.apply_bulk(&self.batch)?;
            } else if next > at {
                store.forget(&*self.backend, &mut self.batch)?;
                self.backend.apply(&self.batch)?;
            }
            if next < store.progress.end {
                replay = Replay::Behind;
            }
            store.progress.position = store.progress.position.max(next);
        }
        Ok(replay)
    }
}

impl Followed {
    /// Whether all is replayed that may be.
    fn is_at_limit(&self) -> bool {
        self.limit
            .is_none_or(|limit| self.progress.position >= limit)
    }

    /// Deletes some of what has expired, as the store itself would: the changelog does not say it.
    /// While much is left to replay there are better things to do.
    fn forget(&mut self, backend: &dyn Backend, batch: &mut WriteBatch) -> Result<()> {
        let written = std::mem::take(&mut self.unswept);
        if let Some(shape) = self.column.expires {
            let column = (backend, Column(self.column.column));
            self.sweep.delete_expired(column, shape, written, batch)?;
        }
        Ok(())
    }

    /// Whether so much time has passed since the changelog was last read, in a process that was
    /// frozen, that it may have forgotten deletions which were never seen here.
    fn has_slept(&self, log: &mut dyn Log, now: Timestamp) -> Result<bool> {
        has_slept(
            (self.known_at, now),
            self.progress.position,
            &self.column,
            log,
        )
    }

    /// Puts the records of a page into a batch, with the position behind them, which it returns.
    fn take(&mut self, page: &Page, batch: &mut WriteBatch, now: Timestamp) -> Offset {
        let (column, progress) = (Column(self.column.column), &mut self.progress);
        let copied = self.column.copy.as_ref().zip(self.limit);
        let stop = copied.map_or(Offset::MAX, |(_, limit)| limit);
        progress.end = page.end.min(stop);
        let next = page.next.min(stop);
        if next <= progress.position {
            return next;
        }
        for (_, record) in page.records.iter().take_while(|(offset, _)| *offset < stop) {
            let size = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len) as u64;
            progress.bytes += size(record.key) + size(record.value);
            progress.records += 1;
            self.unswept += 1;
            match copied {
                Some((copy, _)) => copy.restore(record, column, batch),
                None => restore_record(batch, column, record),
            }
        }
        let position = Position {
            offset: next,
            reach: next,
            topic_id: self.column.topic_id,
            applied_at: now,
            transaction: 0,
        };
        batch.set_position(column, position);
        next
    }
}

/// A store that was restored from the topic it is a copy of has no changelog to be restored from,
/// or one that is as old as that.
fn check_source(store: &ChangelogColumn, position: Option<Position>) -> Result<()> {
    let of = position.map(|position| position.topic_id);
    if store.disused.is_none() || of != store.disused {
        return Ok(());
    }
    Err(Error::Config(format!(
        "the store {:?} was kept without a changelog and has none to go on with: set \
         topology.optimization as it was, or reset the program",
        store.store
    )))
}

/// Empties a store, for replay from the changelog's first record. The log is asked first: where it
/// cannot say, the store is as it was, and so is all that is known of it.
fn restart(backend: &dyn Backend, store: &ChangelogColumn, log: &mut dyn Log) -> Result<Offset> {
    let start = log.start(&store.changelog)?;
    backend.clear(Column(store.column))?;
    Ok(start)
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
