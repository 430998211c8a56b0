//! The golden files: every operator with every script that is hard on it, and what Kafka Streams
//! makes of them.
//!
//! `tests/golden/programs.jsonl` names programs without scripts; each gets one script of each kind
//! and comes into the file that it names. `found.jsonl` has programs of its own, such as those that
//! a fuzzer found. Invariant: equal programs get equal scripts, whatever stands around them.

use super::{
    Answer, Dice, Op, Peer, Program,
    kind::kinds,
    policy::{self, OnError},
    script::{Mix, script},
};
use crate::package;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::{collections::BTreeMap, fs, path::PathBuf};

/// The file of programs that have scripts of their own.
const FOUND: &str = "found";

/// A program that still has no script.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    file: String,
    name: String,
    nodes: Vec<Op>,
    #[serde(default)]
    on_error: OnError,
    /// How many percent of the records are bytes that are no number.
    #[serde(default)]
    bad: i64,
    /// How many percent have a negative time.
    #[serde(default)]
    negative: i64,
    /// How many steps scripts have, where they are to have more than others: what meets rarely
    /// meets often enough then.
    #[serde(default)]
    steps: Option<i64>,
    /// How many keys records have, where they are to have fewer than others.
    #[serde(default)]
    keys: Option<usize>,
}

/// Programs by the names of their files.
pub type Files = BTreeMap<String, Vec<Program>>;

/// Where the golden files are.
pub fn directory() -> PathBuf {
    package().join("golden/streams")
}

/// The programs of all golden files, by the files' names, with the answers that were captured.
///
/// # Errors
/// Where one cannot be read.
pub fn captured() -> Result<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(directory())? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let name = name.context("a golden file's name")?.to_owned();
        files.insert(name, super::load(&path)?);
    }
    Ok(files)
}

/// The programs that golden files are to have, without answers.
///
/// # Errors
/// Where a plan cannot be read or is no program.
pub fn planned() -> Result<Files> {
    let mut files = Files::new();
    let path = directory().with_file_name("programs.jsonl");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    for line in text.lines() {
        let plan: Plan = serde_json::from_str(line).with_context(|| line.to_owned())?;
        kinds(&plan.nodes).with_context(|| plan.name.clone())?;
        let programs = files.entry(plan.file).or_default();
        for mix in Mix::EACH {
            let name = format!("{}, {}", plan.name, mix.name);
            ensure!(
                programs.iter().all(|other| other.name != name),
                "two programs {name:?}"
            );
            let mix = Mix {
                bad: plan.bad,
                negative: plan.negative,
                steps: plan.steps.map_or(mix.steps, |steps| (steps, steps)),
                keys: plan.keys.unwrap_or(mix.keys),
                lenient: policy::is_lenient(&plan.nodes, &plan.on_error),
                ..mix
            };
            let script = script(&mut Dice::named(&name), &plan.nodes, &mix);
            programs.push(Program {
                name,
                nodes: plan.nodes.clone(),
                on_error: plan.on_error.clone(),
                script,
                ..Program::default()
            });
        }
    }
    let found = directory().join(FOUND).with_extension("jsonl");
    if found.exists() {
        files.insert(FOUND.to_owned(), super::load(&found)?);
    }
    Ok(files)
}

/// Captures what Kafka Streams makes of programs.
///
/// # Errors
/// Where it makes nothing of one.
pub fn capture(peer: &mut Peer, programs: &[Program]) -> Result<Vec<Program>> {
    let mut captured = Vec::new();
    for (program, answer) in programs.iter().zip(peer.ask(programs)?) {
        match answer {
            Ok(answer) => captured.push(program.clone().answered(answer)),
            Err(error) => bail!("Kafka Streams failed on {:?}: {error}", program.name),
        }
    }
    Ok(captured)
}

/// Writes a golden file.
///
/// # Errors
/// Where it cannot be written.
pub fn write(file: &str, programs: &[Program]) -> Result<()> {
    let mut text = String::new();
    for program in programs {
        text += &serde_json::to_string(program)?;
        text.push('\n');
    }
    fs::create_dir_all(directory())?;
    let path = directory().join(file).with_extension("jsonl");
    fs::write(&path, text).with_context(|| path.display().to_string())
}

/// The answer of a golden program.
///
/// # Errors
/// Where it has none.
pub fn answer(program: &Program) -> Result<Answer> {
    let answer = program.answer();
    answer.with_context(|| format!("{:?} has no answer: run the golden binary", program.name))
}
