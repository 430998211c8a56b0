//! Our own programs for the JVM, on top of Kafka's jars: compiled when first needed.
//!
//! Invariant: the classes that are found are those of the sources that are asked for, all of them,
//! also when several processes ask at once.

use super::jvm;
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// Compiles sources, each with the name of its file, where that was not done: the directory with
/// the classes. Files of other kinds are put beside them. Each set has a `name` of its own.
///
/// # Errors
/// Where Kafka or a JDK is missing, and what the compiler says.
pub fn compiled(name: &str, sources: &[(&str, &str)]) -> Result<PathBuf> {
    let home = jvm::home()?;
    ensure!(
        home.join("libs").exists(),
        "no Kafka in {}: run tests/setup/kafka",
        home.display()
    );
    let lock = File::create(home.join(format!(".{name}.lock")))?;
    lock.lock()?;
    let classes = home.join(name);
    let same = |(file, text): &(&str, &str)| {
        let there = fs::read_to_string(classes.join(file));
        there.is_ok_and(|there| there == *text)
    };
    if sources.iter().all(same) {
        return Ok(classes);
    }
    // In a directory that is renamed when it is whole, so that what is there is right.
    let work = tempfile::tempdir_in(&home)?;
    let files = sources.iter().map(|(file, text)| {
        let path = work.path().join(file);
        fs::write(&path, text).map(|()| path)
    });
    let files: Vec<_> = files.collect::<Result<_, _>>()?;
    let status = Command::new(jvm::tool_of_jdk("javac"))
        .arg("-cp")
        .arg(home.join("libs/*"))
        .arg("-d")
        .arg(work.path())
        .args(
            files
                .iter()
                .filter(|file| file.extension().is_some_and(|e| e == "java")),
        )
        .status()
        .context("javac, of the JDK 17: run tests/setup/packages test")?;
    ensure!(status.success(), "javac ended with {status}");
    if classes.exists() {
        fs::remove_dir_all(&classes)?;
    }
    fs::rename(work.keep(), &classes)?;
    Ok(classes)
}

/// The JVM with compiled classes and Kafka's jars; options, a class and arguments are still to be
/// added.
///
/// # Errors
/// Where there is no home to look for Kafka in.
pub fn program(classes: &Path) -> Result<Command> {
    let mut java = Command::new(jvm::tool_of_jdk("java"));
    let libs = jvm::home()?.join("libs/*");
    java.arg("-cp")
        .arg(format!("{}:{}", classes.display(), libs.display()));
    Ok(java)
}
