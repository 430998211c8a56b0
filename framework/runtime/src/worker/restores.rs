//! Who hears of restores.
//!
//! Invariant: of each store of which a restore was said to begin it is said once that it ended, or
//! that it was given up.

use crate::replica::Replica;
use millstream_core::record::{Offset, TopicPartition};
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Hears how stores of active tasks are brought back from their changelogs: Kafka's
/// `StateRestoreListener`, with KIP-869's word for restores that are given up.
///
/// Of a store it is called on the stream thread that restores it, which waits meanwhile; stores of
/// several threads come at the same time. A store for which nothing is to be replayed begins and
/// ends too. Standbys, which are never done, and global tables, which no task has, are not told of.
///
/// ```
/// use millstream_core::record::{Offset, TopicPartition};
/// use millstream_runtime::worker::StateRestoreListener;
///
/// struct Log;
///
/// impl StateRestoreListener for Log {
///     fn on_restore_start(&self, from: &TopicPartition, store: &str, start: Offset, end: Offset) {
///         println!("{store}: from {start} of {from} on, which ends at {end}");
///     }
///     fn on_batch_restored(&self, _: &TopicPartition, store: &str, last: Offset, records: u64) {
///         println!("{store}: {records} records, up to offset {last}");
///     }
///     fn on_restore_end(&self, _: &TopicPartition, store: &str, total: u64) {
///         println!("{store}: {total} records in all");
///     }
/// }
/// # let at = TopicPartition::new("app-counts-changelog", 0);
/// # Log.on_restore_start(&at, "counts", 0, 7);
/// # Log.on_restore_suspended(&at, "counts", 0);
/// ```
pub trait StateRestoreListener: Send + Sync {
    /// A store is about to be replayed from offset `start` of a changelog's partition on. `end` is
    /// the offset behind the last record that was there when this instance last looked: as a
    /// standby it may have looked some time ago, and a store that is a copy of its topic is
    /// replayed up to the committed place only. Where the changelog turns out not to have `start`
    /// any more, the restore goes on from its first record, which is not told again.
    fn on_restore_start(&self, changelog: &TopicPartition, store: &str, start: Offset, end: Offset);

    /// So many records were applied, up to and with the one at offset `last`, or a mark of the log
    /// there.
    fn on_batch_restored(
        &self,
        changelog: &TopicPartition,
        store: &str,
        last: Offset,
        records: u64,
    );

    /// The store is whole, by `total` records; its task is about to run.
    fn on_restore_end(&self, changelog: &TopicPartition, store: &str, total: u64);

    /// After `total` records the task was taken away, or the thread ended.
    fn on_restore_suspended(&self, _changelog: &TopicPartition, _store: &str, _total: u64) {}
}

/// The listener of an instance, if it has one.
#[derive(Clone, Default)]
pub struct RestoreListener(Option<Arc<dyn StateRestoreListener>>);

impl From<Arc<dyn StateRestoreListener>> for RestoreListener {
    fn from(listener: Arc<dyn StateRestoreListener>) -> Self {
        Self(Some(listener))
    }
}

impl fmt::Debug for RestoreListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heard = self.0.as_ref().map(|_| "..");
        f.debug_tuple("RestoreListener").field(&heard).finish()
    }
}

/// The restore of a task's stores, as it is told.
pub(super) struct Told {
    listener: Arc<dyn StateRestoreListener>,
    stores: Vec<ToldStore>,
}

/// What was said of a store.
struct ToldStore {
    changelog: TopicPartition,
    name: String,
    /// How many records it had applied before, as a standby.
    before: u64,
    /// How many it has applied, those included.
    records: u64,
}

impl ToldStore {
    fn total(&self) -> u64 {
        self.records - self.before
    }
}

impl Told {
    /// Says that a task's stores are about to be replayed.
    pub(super) fn start(listener: &RestoreListener, replica: &Replica) -> Option<Self> {
        let listener = listener.0.clone()?;
        let mut told = Self {
            listener,
            stores: Vec::new(),
        };
        for (changelog, store) in replica.replays() {
            let (start, end) = (store.position, store.end);
            told.listener
                .on_restore_start(changelog, &store.store, start, end);
            // Only what was said to begin is given up, should the listener panic.
            told.stores.push(ToldStore {
                changelog: changelog.clone(),
                name: store.store.clone(),
                before: store.records,
                records: store.records,
            });
        }
        Some(told)
    }

    /// Says what the last step has applied.
    pub(super) fn batch(&mut self, replica: &Replica) {
        for (told, (_, store)) in self.stores.iter_mut().zip(replica.replays()) {
            let records = store.records - told.records;
            told.records = store.records;
            if records > 0 {
                let last = store.position - 1;
                self.listener
                    .on_batch_restored(&told.changelog, &told.name, last, records);
            }
        }
    }

    /// Says that the stores are whole.
    pub(super) fn end(mut self) {
        // One by one: should the listener panic, the others are given up.
        while !self.stores.is_empty() {
            let store = self.stores.remove(0);
            self.listener
                .on_restore_end(&store.changelog, &store.name, store.total());
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        for store in &self.stores {
            // It may be a panic of the listener that leads here, and a second one would end the
            // process, where the first is for the thread's policy.
            let told = catch_unwind(AssertUnwindSafe(|| {
                self.listener
                    .on_restore_suspended(&store.changelog, &store.name, store.total());
            }));
            if told.is_err() {
                tracing::error!(store = store.name, "the listener of restores panicked");
            }
        }
    }
}
