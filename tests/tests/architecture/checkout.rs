//! The checkout as the rules see it: its packages by `cargo metadata`, its files as text.
//!
//! Invariant: paths are relative to the root and lists are in one order on every machine.

#![expect(
    clippy::expect_used,
    reason = "a checkout that cannot be read fails the test, whichever helper met it"
)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A workspace member, as `cargo metadata` tells it.
pub(crate) struct Package {
    pub(crate) name: String,
    /// Relative to the root.
    pub(crate) folder: String,
    /// Dependencies of every kind, by the name they were published under.
    pub(crate) dependencies: BTreeSet<String>,
}

/// A text of the checkout.
pub(crate) struct Text {
    /// Relative to the root.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Text {
    pub(crate) fn says(&self, what: &str) -> String {
        format!("{}: {what}", self.path)
    }

    /// The innermost package whose folder holds the file.
    pub(crate) fn owner<'a>(&self, packages: &'a [Package]) -> Option<&'a Package> {
        let holds = |p: &&Package| self.path.starts_with(&format!("{}/", p.folder));
        packages.iter().filter(holds).max_by_key(|p| p.folder.len())
    }
}

pub(crate) fn root() -> PathBuf {
    let tests = millstream_tests::package();
    tests.parent().expect("tests/ lies in the root").to_owned()
}

pub(crate) fn packages() -> Vec<Package> {
    let arguments = [
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
    ];
    let answer = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        answer.status.success(),
        "{}",
        String::from_utf8_lossy(&answer.stderr)
    );
    let metadata: Value = serde_json::from_slice(&answer.stdout).expect("cargo prints JSON");
    let list = metadata["packages"].as_array().expect("a list of packages");
    assert!(!list.is_empty(), "cargo metadata names no package");
    list.iter().map(package).collect()
}

fn package(value: &Value) -> Package {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let manifest = PathBuf::from(text(&value["manifest_path"]));
    let folder = manifest.parent().expect("a manifest lies in a folder");
    Package {
        name: text(&value["name"]),
        folder: relative(folder),
        dependencies: value["dependencies"]
            .as_array()
            .expect("a list of dependencies")
            .iter()
            .map(|dependency| text(&dependency["name"]))
            .collect(),
    }
}

fn relative(path: &Path) -> String {
    let inside = path
        .strip_prefix(root())
        .expect("the path lies in the checkout");
    inside.to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    let bytes = fs::read(path).expect("the file can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    let mut paths: Vec<_> = entries
        .map(|e| e.expect("an entry can be read").path())
        .collect();
    paths.sort();
    paths
}

/// Every file of the checkout but what git and cargo keep for themselves.
pub(crate) fn texts() -> Vec<Text> {
    let mut waiting = vec![root()];
    let mut found = Vec::new();
    while let Some(folder) = waiting.pop() {
        for path in children(&folder) {
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() && name != ".git" && name != "target" {
                waiting.push(path);
            } else if path.is_file() {
                found.push(Text {
                    path: relative(&path),
                    text: read(&path),
                });
            }
        }
    }
    found
}

pub(crate) fn sources() -> Vec<Text> {
    let sources: Vec<_> = texts()
        .into_iter()
        .filter(|t| t.path.ends_with(".rs"))
        .collect();
    assert!(!sources.is_empty(), "the checkout holds no source");
    sources
}
