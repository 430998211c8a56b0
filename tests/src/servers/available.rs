//! What happens to a suite whose servers are not to be had: it says so, it is counted, and where
//! `CI=true` it fails. Nothing passes by not running.

use super::{kafka, postgres, prometheus};
use anyhow::{Result, ensure};
use std::{env, fs::OpenOptions, io::Write, process::Command};

/// The file that gathers the names of suites that did not run, a line each time; `make test` sets
/// it, and counts at its end. Not named like a setting, because programs under test would read it.
const COUNTED: &str = "SKIPPED_SUITES";

/// The servers that suites may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Apache Kafka on a JVM: `tests/setup/kafka`.
    Kafka,
    /// Debian's Postgres: `tests/setup/packages test`.
    Postgres,
    /// Debian's Prometheus: `tests/setup/packages test`.
    Prometheus,
    /// Debian's valgrind, which is no server, but is missed in the same way.
    Valgrind,
}

/// Whether this machine has it.
///
/// # Errors
/// What is missing, and what to run for it.
pub fn available(kind: Kind) -> Result<()> {
    match kind {
        Kind::Kafka => kafka::available(),
        Kind::Postgres => postgres::available(),
        Kind::Prometheus => {
            let here = prometheus::is_here();
            ensure!(here, "no Prometheus: run tests/setup/packages test");
            Ok(())
        }
        Kind::Valgrind => {
            let here = Command::new("valgrind").arg("--version").output().is_ok();
            ensure!(here, "no valgrind: run tests/setup/packages test");
            Ok(())
        }
    }
}

/// Whether a suite can run, with all the servers that it needs. Where not, it says so and counts
/// the suite among those that were skipped: the caller's test returns.
///
/// # Panics
/// Where a server is missing and `CI=true`, or the suite cannot be counted.
#[expect(
    clippy::panic,
    reason = "a suite that may not be skipped fails its test"
)]
#[expect(clippy::print_stderr, reason = "a test that does not run must say so")]
pub fn runs(suite: &str, needs: &[Kind]) -> bool {
    let missing = needs.iter().find_map(|kind| available(*kind).err());
    let Some(why) = missing else {
        return true;
    };
    assert!(
        env::var_os("CI").is_none_or(|ci| ci != "true"),
        "suite {suite} cannot run: {why:#}"
    );
    eprintln!("SKIPPED suite {suite}: {why:#}");
    if let Some(path) = env::var_os(COUNTED).filter(|path| !path.is_empty()) {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let counted = file.and_then(|mut file| writeln!(file, "{suite}: {why:#}"));
        if let Err(error) = counted {
            panic!("suite {suite} cannot be counted: {error}");
        }
    }
    false
}
