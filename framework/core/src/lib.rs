//! Record, serde, topology, stores, task and test driver: pure, synchronous, deterministic.

pub mod batch;
pub mod error;
pub mod record;
pub mod serde;
pub mod store;
pub mod topic;

pub use error::{Error, ErrorKind, Result};
