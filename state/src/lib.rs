//! Bytes in, bytes out: the ordered key-value backends under every store of a task.
//!
//! One [`Backend`] holds all stores of one task, a [`Column`] each. Invariant: what a backend shows
//! is always a whole number of applied [`WriteBatch`]es, and since a task applies a batch only
//! after the log has accepted the commit it belongs to, every read from any thread sees committed
//! state.
//!
//! Without the features `fs` and `rocksdb` the crate does no I/O and builds for any target.

mod backend;
mod batch;
mod buffered;
pub mod contract;
#[cfg(feature = "fs")]
mod dir;
mod error;
mod fit;
mod formats;
mod horizon;
mod memory;
pub mod ordered;
#[cfg(feature = "rocksdb")]
mod rocks;
mod small;

pub use backend::{
    Backend, BackendStats, Column, Direction, Position, Presence, SettledVisitor, Visitor,
};
pub use batch::{Before, Op, WriteBatch};
pub use buffered::{BufferBudget, Buffered};
#[cfg(feature = "fs")]
pub use dir::{FORMAT, StateDir};
pub use error::{Error, Result};
pub use fit::{Fit, condensed, fnv1a, shape_hash, shown, shown_apart};
pub use formats::{DeclaredStore, StoreFormats, logging_changed};
pub use horizon::Horizon;
pub use memory::MemoryBackend;
#[cfg(feature = "rocksdb")]
pub use rocks::{Durability, Limits, RocksBackend, Shared};
pub use small::SmallBytes;
