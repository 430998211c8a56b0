//! What is not the same as in Kafka Streams, on purpose: `tests/golden/differences.toml`.
//!
//! Invariant: whatever the comparison leaves out is named there, with its reason.

use super::{
    Program,
    kind::{feature, kinds},
    parts::parts,
};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::sync::OnceLock;

const FILE: &str = include_str!("../../golden/differences.toml");

/// A difference that is meant.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// What Kafka Streams does.
    pub kafka: String,
    /// What we do.
    pub here: String,
    /// Why.
    pub why: String,
    /// How it is kept from being taken for a failure.
    pub handled: String,
    /// What becomes of the comparison, where it is the comparison that is told.
    #[serde(default)]
    pub compare: Option<Rule>,
}

/// A comparison that is weaker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Of programs with one of these features; `internal_topic` is one as well.
    pub features: Vec<String>,
    /// How the numbers of dropped records are compared.
    pub dropped: Dropped,
}

/// How numbers of dropped records are compared, weakest last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dropped {
    /// They must be equal.
    #[default]
    Equal,
    /// We may count more.
    AtLeast,
    /// They are not.
    Any,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    difference: Vec<Known>,
}

/// All of them.
///
/// # Errors
/// Where the file is not one of differences.
pub fn known() -> Result<Vec<Known>> {
    let file: File = toml::from_str(FILE).context("differences.toml")?;
    Ok(file.difference)
}

/// How the dropped records of a program are compared.
pub fn dropped(program: &Program) -> Dropped {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    let rules = RULES.get_or_init(|| {
        let known = known().unwrap_or_default().into_iter();
        known.filter_map(|known| known.compare).collect()
    });
    let kinds = kinds(&program.nodes).unwrap_or_default();
    let features = program.nodes.iter().map(|op| feature(op, &kinds));
    let mut features: Vec<_> = features.collect();
    if parts(&program.nodes).is_ok_and(|parts| parts.internal) {
        features.push("internal_topic".to_owned());
    }
    let concerned = |rule: &&Rule| {
        rule.features
            .iter()
            .any(|feature| features.contains(feature))
    };
    let weakest = rules
        .iter()
        .filter(concerned)
        .map(|rule| rule.dropped)
        .max();
    weakest.unwrap_or_default()
}
