//! The cases' file format. Invariant: a misspelt field is an error, not a case that checks nothing.

use anyhow::{Context, Result, ensure};
use millstream_core::{record::Timestamp, task::ErrorPolicy};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// A file of cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it is about, for the message when it fails.
    pub name: String,
    /// The topology it runs.
    pub topology: String,
    /// Which order of the outputs is promised.
    #[serde(default)]
    pub order: Order,
    /// What becomes of bad records: `fail`, `skip` or `dead-letter`.
    #[serde(default)]
    policy: Policy,
    /// What happens.
    pub script: Vec<Step>,
    /// What each output topic must hold; other topics must be empty.
    #[serde(default)]
    pub outputs: BTreeMap<String, Vec<Expected>>,
    /// What each store must hold in the end; `None` leaves the stores unchecked.
    pub stores: Option<BTreeMap<String, Vec<Expected>>>,
    /// The drop counters by name; others must be zero.
    #[serde(default)]
    pub dropped: BTreeMap<String, u64>,
}

/// Which order of a topic's records is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// That of the whole topic.
    #[default]
    Total,
    /// That of each key.
    PerKey,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Policy {
    #[default]
    Fail,
    Skip,
    DeadLetter,
}

/// One line of a script: a record, or a time of the wall clock.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The topic written to.
    pub to: Option<String>,
    /// The key, as its serde reads it from JSON; null if there is none.
    pub key: Option<Value>,
    /// The key as hex, instead.
    pub raw_key: Option<String>,
    /// The value likewise.
    pub value: Option<Value>,
    /// The value as hex, instead.
    pub raw_value: Option<String>,
    /// The timestamp.
    #[serde(default)]
    pub time: Timestamp,
    /// Names and text values.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The wall clock is now this.
    pub clock: Option<Timestamp>,
    /// The program must stop here, with an error that contains this.
    pub fails: Option<String>,
}

/// A record that must be there.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The key as people see it; null if there is none.
    #[serde(default)]
    pub key: Value,
    /// The value likewise.
    #[serde(default)]
    pub value: Value,
    /// The timestamp.
    pub time: Timestamp,
    /// The headers, compared where a case tells them.
    pub headers: Option<Vec<(String, String)>>,
}

impl Case {
    /// What becomes of bad records.
    pub fn policy(&self) -> ErrorPolicy {
        match self.policy {
            Policy::Fail => ErrorPolicy::Fail,
            Policy::Skip => ErrorPolicy::Skip,
            Policy::DeadLetter => ErrorPolicy::DeadLetter,
        }
    }
}

/// Reads the cases of every `.toml` file in a directory, in the order of their names.
///
/// # Errors
/// Where a file cannot be read or understood.
pub fn load(directory: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    paths.sort();
    for path in paths {
        let text = std::fs::read_to_string(&path)?;
        let file: File = toml::from_str(&text).with_context(|| path.display().to_string())?;
        for case in file.case {
            let steps = case.script.iter().rev().skip(1);
            ensure!(
                steps.into_iter().all(|step| step.fails.is_none()),
                "{}: {}: only the last step may fail",
                path.display(),
                case.name
            );
            cases.push(case);
        }
    }
    Ok(cases)
}
