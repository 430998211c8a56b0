//! A directory for a server's files, gone when its owner is.
//!
//! Invariant: it is removed however the test ends, also where nothing is dropped, as at the end of
//! a process with a server in a `static`: a small shell removes it when the pipe that this process
//! holds closes. Whoever has servers in it drops them first.

use anyhow::{Context, Result};
use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Removes its argument when its input ends. Servers that get the same sign at the same moment may
/// still write for a moment, so it tries again, for at most ten seconds.
const SHELL: &str = r#"read -r _
tries=100
until rm -rf "$1" && [ ! -e "$1" ]; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || exit 1
    sleep 0.1
done
"#;

/// A directory that ends with its owner.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    shell: Child,
}

impl Scratch {
    /// Makes one where the machine keeps temporary files, for this user alone.
    ///
    /// # Errors
    /// Where the disk or the system refuses.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("millstream-").tempdir()?;
        let mut shell = Command::new("sh");
        shell.args(["-c", SHELL, "sh"]).arg(directory.path());
        shell.process_group(0).stdin(Stdio::piped());
        shell.stdout(Stdio::null()).stderr(Stdio::null());
        let shell = shell.spawn().context("starting sh")?;
        let path = directory.keep();
        Ok(Self { path, shell })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _reaped = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_directory_is_gone_with_what_is_in_it() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_owned();
        std::fs::write(path.join("file"), "text").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
