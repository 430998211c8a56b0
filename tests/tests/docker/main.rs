//! The files under `docker/`. No container engine can run where these tests do, so each file is
//! held to something that runs: the configuration of Prometheus, its alerts and the dashboard to
//! a real Prometheus that scrapes the real flagship; the compose file and the Dockerfile to the
//! flagship's own command line and settings, and to the files they name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod compose;
mod dashboards;
mod image;
mod yaml;

use millstream_tests::package;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    package().parent().unwrap().to_owned()
}

fn docker() -> PathBuf {
    root().join("docker")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = docker().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Fails with all offenders at once, so that one run shows all there is to mend.
#[track_caller]
fn pass(rule: &str, offenders: &[String]) {
    let list: String = offenders.iter().map(|one| format!("\n  {one}")).collect();
    assert!(offenders.is_empty(), "{rule}:{list}");
}
