//! What is not the same as in Kafka Streams, on purpose: `tests/golden/differences.toml`.
//!
//! Invariant: whatever the comparison leaves out is named there, with its reason.

use super::{
    Program,
    kind::{feature, kinds, looks_up_cogroup},
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
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Of programs with one of these features; `internal_topic` and `cogroup_windows_join` are such
    /// as well.
    pub features: Vec<String>,
    /// How the numbers of dropped records are compared.
    #[serde(default)]
    pub dropped: Dropped,
    /// How the times of tombstones are compared.
    #[serde(default)]
    pub tombstones: Times,
    /// What Kafka Streams says where it may fail and we do not: any of these.
    #[serde(default)]
    pub fails: Vec<String>,
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

/// How times are compared, weakest last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Times {
    /// They must be equal.
    #[default]
    Equal,
    /// Ours may be earlier.
    Earlier,
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

/// How what was made of a program is compared: the weakest of all rules that concern it.
pub fn rule(program: &Program) -> Rule {
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
    if (program.nodes.iter()).any(|op| looks_up_cogroup(op, &kinds)) {
        features.push("cogroup_windows_join".to_owned());
    }
    let concerned = |rule: &&Rule| {
        rule.features
            .iter()
            .any(|feature| features.contains(feature))
    };
    let mut weakest = Rule::default();
    for rule in rules.iter().filter(concerned) {
        weakest.dropped = weakest.dropped.max(rule.dropped);
        weakest.tombstones = weakest.tombstones.max(rule.tombstones);
        weakest.fails.extend(rule.fails.iter().cloned());
    }
    weakest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{Answer, compare::outcome, peer::Objection};
    use serde_json::json;

    const LOOK_UP: &str = "KTable source state store must implement one";

    /// A stream joined with a versioned table, and windows of a cogroup, in a store of their own or
    /// not, with others.
    fn program(stored: bool) -> Program {
        serde_json::from_value(json!({"script": [], "nodes": [
            {"op": "stream", "topic": "a"},
            {"op": "table", "topic": "b", "history": 100},
            {"op": "join", "of": 0, "with": 1, "kind": "left", "grace": 10},
            {"op": "group_by_key", "of": 2},
            {"op": "cogroup", "of": [3]},
            {"op": "window", "of": 4, "kind": "tumbling", "size": 10, "grace": 99, "kept": true},
            {"op": "aggregate", "of": 5},
            {"op": "window", "of": 3, "kind": "tumbling", "size": 10, "grace": 99, "kept": true},
            {"op": "count", "of": 7},
            {"op": "map_values", "of": 6, "map": [1, 0], "stored": stored},
            {"op": "join", "of": 8, "with": 9, "kind": "inner"},
        ]}))
        .unwrap()
    }

    fn excused(program: &Program, text: &str) -> bool {
        let failed = Err(Objection::Failed(text.to_owned()));
        outcome(program, Ok(Answer::default()), &failed).is_none()
    }

    #[test]
    fn each_failure_is_excused_where_several_are_known() {
        let program = program(false);
        assert!(excused(&program, "the key cannot be null"));
        assert!(excused(&program, LOOK_UP));
        assert!(!excused(&program, "anything else"));
    }

    #[test]
    fn a_join_of_windows_is_excused_only_where_it_looks_a_cogroup_up() {
        assert!(excused(&program(false), LOOK_UP));
        assert!(!excused(&program(true), LOOK_UP));
        let mut no_join = program(false);
        no_join.nodes.pop();
        assert!(!excused(&no_join, LOOK_UP));
    }
}
