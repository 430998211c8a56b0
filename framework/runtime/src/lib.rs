//! Threads around tasks: the StreamThread loop, restore, standby, lifecycle and config.
//!
//! [`worker::Worker`] is the loop as a value, driven by OS threads here and by a seed in the
//! simulation; [`streams::Streams`] is the program's handle. Invariant: only [`clock`] reads a
//! clock.

pub mod backends;
pub mod calls;
pub mod cleaner;
pub mod clock;
pub mod config;
pub mod error;
pub mod global;
pub mod lease;
pub mod patience;
pub mod program;
mod publish;
pub mod replica;
mod resets;
pub mod streams;
mod topics;
pub mod worker;

pub use error::{Error, Result};
