//! The flagship as its users run it: the binary `sentiment`, on a directory of its own.
//!
//! Invariant: it is what the checkout says now, not what was built some time ago.

use super::Supervised;
use crate::package;
use anyhow::{Context, Result, ensure};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Builds the binary, which takes no time where that is done already; returns where it is.
///
/// # Errors
/// What the compiler says.
pub fn binary() -> Result<PathBuf> {
    let mut build = Command::new(env!("CARGO"));
    build
        .args(["build", "--release", "--locked", "--offline", "-q"])
        .args(["-p", "sentiment", "--message-format", "json"])
        .current_dir(package());
    // What cargo says to a test of its own package: build scripts that look at it would run again,
    // and all that stands on them be compiled again.
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            build.env_remove(name);
        }
    }
    let output = build.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "building the flagship: {errors}");
    let messages = String::from_utf8(output.stdout)?;
    let path = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let path = message["executable"].as_str()?;
        (message["target"]["name"] == "sentiment").then(|| PathBuf::from(path))
    });
    path.context("cargo names no executable")
}

/// The command that runs it, without the settings of whoever runs the tests.
///
/// # Errors
/// As [`binary`].
pub fn command() -> Result<Command> {
    let mut command = Command::new(binary()?);
    for (name, _) in std::env::vars_os() {
        if (name.to_string_lossy().to_uppercase()).starts_with("MILLSTREAM_") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// Starts it on the embedded log, with so many made-up sentences to learn from; returns it with the
/// address at which it serves.
///
/// # Errors
/// Where it does not come to serve.
pub fn start(state: &Path, sentences: u64) -> Result<(Supervised, String)> {
    let mut command = command()?;
    command.args(["run", "--generate", &sentences.to_string()]);
    command.args(["--set", "application.server=127.0.0.1:0", "--state-dir"]);
    let mut flagship = Supervised::start(command.arg(state))?;
    let line = flagship.hear("http://")?;
    let (_, address) = line.split_once("http://").context("no address")?;
    Ok((flagship, address.trim_end_matches('/').to_owned()))
}
