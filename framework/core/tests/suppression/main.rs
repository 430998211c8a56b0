//! Suppression against brute force: what a program tells of random records, in order, out of order,
//! late, twice, without key or value, is predicted by a page of naive code.
//!
//! The model is written from the words that say what Kafka Streams does, not from the engine: lists
//! that are searched from end to end. Invariant: it shares nothing with the engine but one number,
//! what a row counts beside its key and value.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "../task/harness.rs"]
#[allow(dead_code, reason = "it serves other tests too")]
mod harness;

mod model;
mod play;
mod properties;
mod updates;
