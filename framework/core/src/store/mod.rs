//! Stores: a task's state, decoded, above a backend that holds the last committed bytes.
//!
//! Invariant: a store writes nothing to its backend. It hands over its dirty entries as changelog
//! records ([`StateStore::drain`]); the task applies those to the backend after the log took them.

use crate::{
    batch::RecordBatch,
    error::Result,
    record::{Offset, Timestamp},
};
use millstream_state::{Backend, Column, Horizon, Position};
use std::{any::Any, sync::Arc};

mod ahead;
mod buffer;
mod handle;
mod held;
mod key_value;
mod lru;
mod materialized;
mod range;
mod stored;
mod suppress;
mod timed;
mod typed;
mod value_bytes;
mod waiting;

pub(crate) use ahead::AHEAD;
pub use buffer::BufferStore;
pub use handle::{StoreHandle, StoreRef, StoreSet};
pub(crate) use held::Held;
pub use key_value::KeyValueStore;
pub(crate) use lru::LruFormats;
pub use lru::LruStore;
pub use materialized::{Materialized, Storable};
pub(crate) use materialized::{default_key, default_value};
pub use stored::RowBytes;
pub(crate) use stored::{RowStart, corrupt};
pub(crate) use suppress::Released;
pub use suppress::SuppressStore;
pub use timed::{
    At, Put, Sweep, TimedKind, TimedRows, TimedShape, TimedStore, Version, VersionRows,
    VersionedStore, versions_of,
};
pub(crate) use timed::{KeyRows, TimedFormats, VersionedFormats};
pub use typed::{KeyBounds, KeyValueRows, StoreKind, StoreLayout, ValueAndTimestamp};
pub(crate) use waiting::{Due, Look, Place, WaitingStore};

/// What a store of a `suppress` holds back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuppressionBuffer {
    /// The store's name.
    pub store: Arc<str>,
    /// How many changes wait.
    pub records: usize,
    /// How many bytes they take, roughly: what a limit in bytes is held against.
    pub bytes: usize,
}

/// What every store can do, whatever its shape.
///
/// A changelog record of a store is `key -> value` with a timestamp, and with the headers of values
/// that have some; the backend column holds, for the same key, eight big-endian bytes of that
/// timestamp and then the value, or, where the record has headers, these too: [`RowBytes`] reads
/// both. Restore and standby replicas therefore need no knowledge of the store: they copy.
pub trait StateStore: Any {
    /// Takes the time of the record being processed: the timestamp of what is written from now on.
    fn set_time(&mut self, now: Timestamp);

    /// Records of these keys, which are as on the log and empty for null, will come soon: a store
    /// in which a look-up waits for memory looks for sixteen at once. Returns how many it found;
    /// it holds and says what it did before.
    fn expect(&mut self, keys: &[&[u8]]) -> usize {
        let _ = keys;
        0
    }

    /// About how many bytes a commit would have to write now.
    fn dirty_bytes(&self) -> usize;

    /// How many of them are in records that are finished: for these no later change is worth
    /// waiting for.
    fn written_bytes(&self) -> usize {
        0
    }

    /// What it holds back to be told later, where that is what it is for.
    fn suppression_buffer(&self) -> Option<SuppressionBuffer> {
        None
    }

    /// Appends one changelog record per dirty entry, in an order that depends on nothing but the
    /// input, and regards these entries as handed over.
    fn drain(&mut self, changes: &mut RecordBatch) -> Result<()>;

    /// The log took what was drained and the backend has it: clean entries may now be evicted.
    fn applied(&mut self) -> Result<()>;

    /// The changelog holds what was drained last and is at that position now. Returns where it may
    /// begin, if what lies before is of no use to anybody who restores the store.
    fn log_start(&mut self, at: &Position) -> Option<Offset> {
        let _ = at;
        None
    }

    /// Which of the store's rows have expired by what was drained last: it shows them no more,
    /// and does not delete them.
    fn expired(&self) -> Option<Horizon> {
        None
    }

    /// The commit was refused: back to what the backend holds.
    fn abort(&mut self) -> Result<()>;

    /// How much of what was found when the store was opened was of no use and was made new: ruined
    /// weights of a model, say. Whoever opens the task tells people.
    fn repaired(&self) -> u64 {
        0
    }

    /// For the typed access through [`StoreRef`].
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// Where a store finds its committed bytes when a task opens it. The backend is already restored.
#[derive(Clone)]
pub struct StoreEnv {
    /// The task's backend.
    pub backend: Arc<dyn Backend>,
    /// This store's column in it.
    pub column: Column,
    /// How many bytes of clean entries the store may keep as a read cache.
    pub cache_bytes: usize,
    /// Whether the log cuts off the store's changelog at [`StateStore::log_start`]: what has
    /// expired then needs no tombstones there.
    pub trimmed: bool,
}
