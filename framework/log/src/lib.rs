//! The log under a program: topics, groups and transactions.
//!
//! [`Log`] is what one StreamThread needs of a log. Invariant: outputs, changelog records and input
//! offsets of a commit become visible together or not at all.

mod api;
pub mod contract;
mod embedded;
mod faults;
mod faulty;
mod members;
pub mod murmur2;
mod rng;

pub use api::{
    Assignment, Broker, Cleanup, ClientStatistics, Commit, Committed, Error, Event, Instance, Log,
    Outcome, Page, Result, Subscription, TaskInputs, TopicInfo, TopicSpec,
};
pub use embedded::{EmbeddedClient, EmbeddedLog, Limits, Maintenance};
pub use faults::{CrashPoint, FaultCounts, FaultRates, Faults};
pub use faulty::FaultyLog;
pub use rng::Rng;
