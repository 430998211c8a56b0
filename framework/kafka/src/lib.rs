//! The log over a Kafka cluster: [`KafkaLog`], on librdkafka.
//!
//! A client of it, one per StreamThread, has three handles: a group member that fetches nothing, a
//! consumer that is told what to fetch, and a transactional producer. Invariants: a commit carries
//! the proof of the membership under which its tasks were assigned, so that one whose tasks moved
//! away cannot commit; all records of a commit are acknowledged before its places are sent; a
//! producer of which a request timed out is never used for another transaction.
//!
//! All `unsafe` code is in `ffi`. How errors are answered is one table, in `errors`.

mod broker;
mod client;
mod committer;
mod config;
mod errors;
mod ffi;
mod membership;
#[cfg(test)]
mod mock;
mod placement;
mod places;
mod producer;
mod shape;
mod source;
mod statistics;
mod wake;

pub use broker::KafkaLog;
pub use client::KafkaClient;
pub use config::{Guarantee, KafkaConfig};
pub use errors::Elapsed;
