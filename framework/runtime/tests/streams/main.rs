//! `Streams` over an embedded log in memory: real threads, no disk, no broker.
//!
//! Invariant: a test waits for a condition, with a bound, and never for a time to pass.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "what a test sets up must succeed, and metrics count in whole numbers"
)]

mod calls;
mod cleanup;
mod crashes;
mod failures;
mod globals;
mod groups;
mod harness;
mod hosts;
mod idle;
mod joins;
mod kinds;
mod lifecycle;
mod lost;
mod marks;
mod metrics;
mod packs;
mod patterns;
mod places;
mod programs;
mod queries;
mod replicas;
mod restores;
mod sources;
mod threads;
mod typed;
mod typed_places;
mod types;
