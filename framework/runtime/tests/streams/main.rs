//! `Streams` over an embedded log in memory: real threads, no disk, no broker.
//!
//! Invariant: a test waits for a condition, with a bound, and never for a time to pass.

mod failures;
mod groups;
mod harness;
mod lifecycle;
mod metrics;
mod programs;
mod queries;
mod replicas;
