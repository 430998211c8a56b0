//! What the loop has used.
//!
//! Invariant: processor time is that of the whole process, librdkafka's threads included, as the
//! kernel tells it: the same number that the JVM tells of itself.

use anyhow::{Context, Result};
use std::fs;

/// The kernel's unit of processor time, per second.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor seconds of all threads that the process has and had.
pub(crate) fn cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || -> Result<f64> {
        let field = fields.next().context("/proc/self/stat is too short")?;
        Ok(field.parse()?)
    };
    Ok((next()? + next()?) / TICKS_PER_SECOND)
}

/// The most memory that the process ever had resident, in MiB.
pub(crate) fn max_rss_mb() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    let kib: f64 = kib.context("no VmHWM in /proc/self/status")?.parse()?;
    Ok(kib / 1024.0)
}
