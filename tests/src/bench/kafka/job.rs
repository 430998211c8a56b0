//! What one side is asked to do, and how much of it there is.

use super::{
    super::workloads::{Names, Workload},
    load::Traffic,
};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A run of one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) workload: Workload,
    /// `bootstrap.servers`.
    pub(super) servers: String,
    pub(super) topics: Names,
    /// Also the group, and the prefix of the side's own topics.
    pub(super) application_id: String,
    /// A directory for state.
    pub(super) state: PathBuf,
    /// Records in the input; 0: work until told to end.
    pub(super) records: u64,
    /// How many of them come before the meter starts.
    pub(super) warmup: u64,
    /// How many keys are to come back from the changelog; 0: this is no restore.
    pub(super) restored: u64,
    /// What of it is asked for.
    #[serde(default)]
    pub(super) stage: Stage,
    /// What the bare loop is to send in place of working.
    #[serde(default)]
    pub(super) traffic: Vec<Traffic>,
}

/// A run on the cluster is one process. One on an embedded log is three, so that what its records
/// cost on their way there and back is nobody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    #[default]
    OnCluster,
    /// The inputs are copied into an embedded log.
    CarryIn,
    /// The work is done there.
    Embedded,
    /// The output is copied to the cluster, to be compared with the others'.
    CarryOut,
}

impl Job {
    /// Where the embedded log is.
    pub(super) fn log(&self) -> PathBuf {
        self.state.with_extension("log")
    }
}

/// Partitions of every topic.
pub(super) const PARTITIONS: u32 = 4;
/// `commit.interval.ms`.
pub(super) const COMMIT_INTERVAL_MS: i64 = 100;
/// The longest that one side may take over its records.
pub(super) const SECONDS_MAX: u64 = 900;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) runs: usize,
    pub(super) records: u64,
    /// Seconds of each measured latency; 0: none.
    pub(super) latency_seconds: u64,
    pub(super) restore_keys: u64,
}

impl Size {
    /// The usual, or what the environment says.
    ///
    /// # Errors
    /// Where a variable is no number.
    pub(super) fn from_environment(workload: Workload) -> Result<Self> {
        let records = match workload {
            // Each record goes to another task and comes back, twice: some ten times the work.
            Workload::ForeignJoin => 400_000,
            _ => 4_000_000,
        };
        Ok(Self {
            runs: usize::try_from(variable("RUNS", super::super::RUNS as u64)?)?.max(1),
            records: variable("RECORDS", records)?,
            latency_seconds: variable("SECONDS", 15)?,
            restore_keys: variable("RESTORE_KEYS", 5_000_000)?,
        })
    }

    /// Records before the meter starts.
    pub(super) fn warmup(self) -> u64 {
        self.records / 4
    }
}

fn variable(name: &str, usual: u64) -> Result<u64> {
    let name = format!("MILLSTREAM_BENCH_{name}");
    let set = std::env::var(&name).ok();
    set.map_or(Ok(usual), |set| {
        set.parse()
            .with_context(|| format!("{name}={set} is no number"))
    })
}
