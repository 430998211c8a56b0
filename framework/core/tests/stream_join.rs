//! Joins of two streams: the matrix of kinds, windows and orders in which records may come, and the
//! same against the nested loop.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "stream_join/bench.rs"]
mod bench;
#[path = "stream_join/matrix.rs"]
mod matrix;
#[path = "common/pair.rs"]
mod pair;
#[path = "stream_join/pairs.rs"]
mod pairs;
#[path = "stream_join/program.rs"]
mod program;
