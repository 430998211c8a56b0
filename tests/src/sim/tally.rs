//! What happened to a simulated cluster, so that its weather can be seen to be bad enough.

use super::{program::Script, world::Contents};
use millstream_runtime::worker::WorkerStats;
use std::{collections::BTreeMap, ops::AddAssign};

/// Counts of what a run was put through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Processes that died, those that lost their disks included.
    pub crashes: u64,
    /// Deaths by the step of the transaction or of its application at which they struck; processes
    /// that were killed between two steps are not among them.
    pub deaths: BTreeMap<String, u64>,
    /// Members that went on after their session had ended.
    pub zombies: u64,
    /// Times that the wall clock was put back.
    pub clocks: u64,
    /// Commits whose answer was lost, and which had been done.
    pub unknown_committed: u64,
    /// Commits whose answer was lost, and which had not been done.
    pub unknown_aborted: u64,
    /// Passes of the log's compaction that removed records.
    pub compactions: u64,
    /// Times that a changelog was cut off in front.
    pub trimmed: u64,
    /// What the workers counted, over all of them.
    pub work: WorkerStats,
    /// What the programs made, by their shape: windows told, pairs that met, records that came too
    /// late. It is counted where nothing went wrong; the others must have made the same.
    pub made: BTreeMap<String, u64>,
    /// Calls of asynchronous operators that were begun.
    pub calls: u64,
    /// Processes that ended, or fell asleep, while calls of theirs were out.
    pub ended_asking: u64,
    /// Windows that the wall clock closed before all their records had come.
    pub closed_early: u64,
    /// Workers that replayed changelog records into tasks they were to run.
    pub restores: u64,
}

impl Tally {
    /// Adds what a program has made.
    pub(super) fn made(&mut self, script: &Script, late: u64, contents: &Contents) {
        self.made.extend(script.made(contents));
        self.made.insert(script.in_words("late"), late);
    }

    /// Adds what a worker has done when it ends.
    pub(super) fn worker(&mut self, stats: &WorkerStats) {
        self.restores += u64::from(stats.restored > 0);
        let sum = &mut self.work;
        sum.processed += stats.processed;
        sum.sent += stats.sent;
        sum.commits += stats.commits;
        sum.aborted += stats.aborted;
        sum.fenced += stats.fenced;
        sum.unknown += stats.unknown;
        sum.retries += stats.retries;
        sum.rebalances += stats.rebalances;
        sum.restored += stats.restored;
        sum.promoted += stats.promoted;
        sum.revoked += stats.revoked;
    }
}

impl AddAssign<&Self> for Tally {
    fn add_assign(&mut self, other: &Self) {
        self.crashes += other.crashes;
        for (place, deaths) in &other.deaths {
            *self.deaths.entry(place.clone()).or_default() += deaths;
        }
        for (what, times) in &other.made {
            *self.made.entry(what.clone()).or_default() += times;
        }
        self.zombies += other.zombies;
        self.clocks += other.clocks;
        self.unknown_committed += other.unknown_committed;
        self.unknown_aborted += other.unknown_aborted;
        self.compactions += other.compactions;
        self.trimmed += other.trimmed;
        self.closed_early += other.closed_early;
        self.calls += other.calls;
        self.ended_asking += other.ended_asking;
        let restores = self.restores + other.restores;
        self.worker(&other.work);
        self.restores = restores;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (what, times) in &self.made {
            writeln!(f, "{what}: {times}")?;
        }
        write!(
            f,
            "deaths {:?}; {} compactions; {} changelogs trimmed; ",
            self.deaths, self.compactions, self.trimmed
        )?;
        let (restores, work) = (self.restores, &self.work);
        writeln!(
            f,
            "{} fenced, {} aborted, {} retries",
            work.fenced, work.aborted, work.retries
        )?;
        writeln!(
            f,
            "{} records processed, {} commits",
            work.processed, work.commits
        )?;
        write!(
            f,
            "{} rebalances, {} tasks revoked, ",
            work.rebalances, work.revoked
        )?;
        write!(f, "{} standbys promoted, ", work.promoted)?;
        writeln!(f, "{restores} restores of {} records", work.restored)?;
        writeln!(f, "{} windows closed early", self.closed_early)?;
        let (calls, ended) = (self.calls, self.ended_asking);
        writeln!(
            f,
            "{calls} calls, {ended} processes ended while some were out"
        )?;
        let (done, not) = (self.unknown_committed, self.unknown_aborted);
        write!(
            f,
            "{} zombies, {} clocks put back, {} unknown outcomes ",
            self.zombies,
            self.clocks,
            done + not
        )?;
        write!(f, "({done} committed, {not} aborted)")
    }
}
