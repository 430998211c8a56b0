//! What a process has used: processor time, time, memory.
//!
//! Invariant: processor time is that of the whole process, threads that have ended and threads of
//! the storage engine included, so that no work can be hidden in the background.

use anyhow::{Context, Result, ensure};
use millstream_runtime::clock::{Clock, SystemClock};
use std::{collections::BTreeMap, fs, process::Command, time::Duration};

/// Figures of one run by name.
pub type Figures = BTreeMap<String, f64>;

/// The kernel's unit of processor time, per second: 100 on every Linux there is, whatever its timer
/// does, since it is part of the interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// Measures from where it was made.
pub struct Meter {
    clock: SystemClock,
    cpu: f64,
}

impl Meter {
    /// Begins to measure.
    ///
    /// # Errors
    /// Where the system has no `/proc`.
    pub fn start() -> Result<Self> {
        Ok(Self {
            clock: SystemClock::new(),
            cpu: cpu_seconds()?,
        })
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Processor seconds since the start, to a hundredth.
    ///
    /// # Errors
    /// As [`Meter::start`].
    pub fn cpu_seconds(&self) -> Result<f64> {
        Ok(cpu_seconds()? - self.cpu)
    }

    /// The figures that all benchmarks have, for so many records since the start.
    ///
    /// # Errors
    /// As [`Meter::start`].
    pub fn figures(&self, records: u64) -> Result<Figures> {
        let (seconds, cpu) = (self.elapsed().as_secs_f64(), self.cpu_seconds()?);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let records = records as f64;
        let figures = [
            ("records", records),
            ("records_per_second", records / seconds),
            ("records_per_cpu_second", records / cpu),
            ("max_rss_mb", max_rss_mb()?),
        ];
        Ok(figures.map(|(name, value)| (name.to_owned(), value)).into())
    }
}

/// User and system time of all threads the process has and had.
fn cpu_seconds() -> Result<f64> {
    const PATH: &str = "/proc/self/stat";
    let stat = fs::read_to_string(PATH).context(PATH)?;
    // The second field, the program's name in brackets, may hold anything; the third follows it.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: Option<Vec<f64>> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse().ok())
        .collect();
    match ticks.as_deref() {
        Some([user, system]) => Ok((user + system) / TICKS_PER_SECOND),
        _ => Err(anyhow::anyhow!("{PATH} is not as it should be: {stat}")),
    }
}

/// The most that was resident so far, in MiB.
fn max_rss_mb() -> Result<f64> {
    status_mb("VmHWM:")
}

/// What the process has resident now, in MiB.
///
/// # Errors
/// As [`Meter::start`].
pub(super) fn rss_mb() -> Result<f64> {
    status_mb("VmRSS:")
}

/// Waits until nobody else works on the machine: what one side of a comparison leaves to be done,
/// a broker's tidying up or the system's writing, must not be in the way of the next. A machine
/// that is never quiet is not waited for longer than half a minute.
///
/// # Errors
/// As [`Meter::start`], and where there is no `sync`.
pub(super) fn settle() -> Result<()> {
    const LOOK: Duration = Duration::from_millis(500);
    const LOOKS_MAX: usize = 60;
    // While pages wait to be written, whoever writes more is held up, in time that counts as his.
    let synced = Command::new("sync").status().context("sync")?;
    ensure!(synced.success(), "sync: {synced}");
    let mut before = machine()?;
    for _ in 0..LOOKS_MAX {
        std::thread::park_timeout(LOOK);
        let now = machine()?;
        let (busy, all) = (now.0 - before.0, now.1 - before.1);
        if busy < 0.05 * all {
            return Ok(());
        }
        before = now;
    }
    Ok(())
}

/// The machine's time since it was started: in work, and in all, of all processors.
fn machine() -> Result<(f64, f64)> {
    const PATH: &str = "/proc/stat";
    let stat = fs::read_to_string(PATH).context(PATH)?;
    let fields = stat.lines().next().unwrap_or_default().split_whitespace();
    let ticks: Option<Vec<f64>> = fields.skip(1).map(|field| field.parse().ok()).collect();
    match ticks.as_deref() {
        // The rest is what others on the same hardware took, and what is counted already.
        Some([user, nice, system, idle, waiting, hard, soft, ..]) => {
            let busy = user + nice + system + hard + soft;
            Ok((busy, busy + idle + waiting))
        }
        _ => Err(anyhow::anyhow!("{PATH} is not as it should be: {stat}")),
    }
}

fn status_mb(name: &str) -> Result<f64> {
    const PATH: &str = "/proc/self/status";
    let status = fs::read_to_string(PATH).context(PATH)?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib: Option<f64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    Ok(kib.with_context(|| format!("no {name} in {PATH}"))? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_used_something() {
        let meter = Meter::start().unwrap();
        assert!(meter.cpu_seconds().unwrap() >= 0.0);
        let figures = meter.figures(10).unwrap();
        assert!(figures["max_rss_mb"] > 1.0);
        assert!(figures["records_per_second"] > 0.0);
    }

    #[test]
    fn the_machine_works_no_more_than_all_its_time() {
        let (busy, all) = machine().unwrap();
        assert!(busy > 0.0 && busy <= all, "{busy} of {all}");
    }
}
