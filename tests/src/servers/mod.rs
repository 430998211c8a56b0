//! Programs that tests run beside themselves: the flagship, and servers as Debian and Apache make
//! them.
//!
//! Invariant: each listens on 127.0.0.1 on a port of its own, keeps its files in a directory that
//! the test made, and ends with the test, however that ends.

mod available;
pub mod certificates;
pub mod flagship;
pub mod http;
pub mod kafka;
pub mod ports;
pub mod postgres;
pub mod prometheus;
mod scratch;
mod shared;
mod supervised;

pub use available::{Kind, available, runs};
pub use kafka::{KafkaCluster, KafkaOptions};
pub use postgres::{Postgres, PostgresOptions};
pub use prometheus::Prometheus;
pub use scratch::Scratch;
pub use shared::{kafka, postgres, prometheus, unique};
pub use supervised::{LIMIT, Supervised};
