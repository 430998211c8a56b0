//! Bytes in, bytes out: the ordered key-value backends under every store of a task.
//!
//! One [`Backend`] holds all stores of one task, a [`Column`] each. Invariant: what a backend shows
//! is always a whole number of applied [`WriteBatch`]es, and since a task applies a batch only after
//! the log has accepted the commit it belongs to, every read from any thread sees committed state.
//!
//! Without the feature `rocksdb` the crate does no I/O and builds for any target.

mod backend;
mod batch;
pub mod contract;
mod error;
mod memory;
pub mod ordered;

pub use backend::{Backend, BackendStats, Column, Direction, Position, Presence};
pub use batch::{Op, WriteBatch};
pub use error::{Error, Result};
pub use memory::MemoryBackend;
