//! What the process has used, from Linux's `/proc`; elsewhere it is not known.

use std::fs::read_to_string;

/// Clock ticks per second in `/proc/self/stat`: fixed in Linux's interface to programs.
const TICKS: f64 = 100.0;

/// CPU seconds of all threads so far.
pub(crate) fn cpu_seconds() -> Option<f64> {
    let stat = read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold anything; after it, user and system time are 12th and 13th.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

/// The most memory held at once, in mebibytes.
pub(crate) fn max_rss_mb() -> Option<f64> {
    let status = read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}
