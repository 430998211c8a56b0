//! Windowed aggregates and `suppress`: what is told, when, and in which order. Aggregates are texts
//! to which each record adds its letters, so a result shows what went into it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../task/harness.rs"]
#[allow(dead_code, reason = "it serves other tests too")]
mod harness;

mod close;
mod cogroup;
mod handles;
mod joined;
mod per_commit;
mod properties;
mod refused;
mod regrouped;
mod run;
mod session;
mod sliding;
mod suppress;
mod time;
