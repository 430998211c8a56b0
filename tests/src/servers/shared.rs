//! One server of a kind for all tests of a process, because starting one takes longer than most
//! tests; and names, so that they do not meet in it.
//!
//! Invariant: a shared server is never killed by one test under another. It ends with the process,
//! although nothing drops a `static`: its shell sees the pipe close.

use super::{KafkaCluster, Postgres, PostgresOptions, Prometheus};
use anyhow::{Result, anyhow};
use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

/// The shared Kafka, one node, started by whoever asks first. Tests that kill start their own.
///
/// # Errors
/// Why it did not start, the same to all who ask.
pub fn kafka() -> Result<&'static KafkaCluster> {
    static SHARED: OnceLock<Result<KafkaCluster, String>> = OnceLock::new();
    once(&SHARED, || KafkaCluster::start(1))
}

/// The shared Postgres, as [`kafka`].
///
/// # Errors
/// Why it did not start, the same to all who ask.
pub fn postgres() -> Result<&'static Postgres> {
    static SHARED: OnceLock<Result<Postgres, String>> = OnceLock::new();
    once(&SHARED, || Postgres::start(&PostgresOptions::default()))
}

/// A Prometheus of the caller's own, on this configuration.
///
/// # Errors
/// What it says of a configuration that is wrong.
pub fn prometheus(configuration: &str) -> Result<Prometheus> {
    Prometheus::with_configuration(configuration)
}

/// A name for a topic, a group or a table that no other test has, nor another process: the given
/// one, with two numbers behind it.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{name}_{}_{number}", std::process::id())
}

fn once<T>(
    place: &'static OnceLock<Result<T, String>>,
    start: impl FnOnce() -> Result<T>,
) -> Result<&'static T> {
    let started = place.get_or_init(|| start().map_err(|error| format!("{error:#}")));
    started.as_ref().map_err(|error| anyhow!(error.clone()))
}
