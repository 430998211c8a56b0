//! The programs of the golden files on an engine: what differs from what Kafka Streams made of
//! them.
//!
//! Invariant: every engine is held to the same files; what it cannot be given is left out here, and
//! nowhere else.

use super::{Program, cases, run};
use crate::{
    cases::{OnLog, Open, Settings},
    servers,
};
use anyhow::Result;
use std::thread;

/// Programs wait for a cluster most of the time, so that some run side by side.
const SIDE_BY_SIDE: usize = 24;

/// A program of a golden file.
pub struct Golden {
    /// The file's name.
    pub file: String,
    /// The program, with its answer.
    pub program: Program,
}

impl AsRef<Program> for Golden {
    fn as_ref(&self) -> &Program {
        &self.program
    }
}

impl Golden {
    /// Whether a cluster can be given the script: one takes no negative time, and which records
    /// those would be only the other engines can tell.
    pub fn fits_a_cluster(&self) -> bool {
        let mut steps = self.program.script.iter().cloned();
        !steps.any(|mut step| step.time_mut().is_some_and(|time| *time < 0))
    }
}

/// The programs of all golden files.
///
/// # Errors
/// Where one cannot be read.
pub fn all() -> Result<Vec<Golden>> {
    let files = cases::captured()?.into_iter();
    let programs = files.flat_map(|(file, programs)| {
        let programs = programs.into_iter();
        programs.map(move |program| Golden {
            file: file.clone(),
            program,
        })
    });
    Ok(programs.collect())
}

/// What differs on an engine, a text for each program that differs.
///
/// # Errors
/// Where there is nothing to compare with.
pub fn differences<'a>(
    programs: impl IntoIterator<Item = &'a Golden>,
    open: &Open<'_>,
) -> Result<Vec<String>> {
    let told = programs.into_iter().map(|Golden { file, program }| {
        let Some(told) = run::difference_on(program, open)? else {
            return Ok(None);
        };
        let line = program.question()?;
        Ok(Some(format!("{file}, {}:\n{told}{line}", program.name)))
    });
    told.filter_map(Result::transpose).collect()
}

/// As [`differences`], on a cluster, where each program has topics and a group of its own.
///
/// # Errors
/// As [`differences`].
///
/// # Panics
/// Where a program does.
pub fn differences_on_kafka(programs: &[&Golden], bootstrap: &str) -> Result<Vec<String>> {
    let open = |topology, settings: &Settings| {
        let prefix = format!("{}-", servers::unique("golden"));
        OnLog::kafka(bootstrap, &prefix, topology, settings)
    };
    thread::scope(|scope| {
        let turns = (0..SIDE_BY_SIDE).map(|turn| {
            let own = programs.iter().copied().skip(turn).step_by(SIDE_BY_SIDE);
            scope.spawn(move || differences(own, &open))
        });
        let turns: Vec<_> = turns.collect();
        let mut told = Vec::new();
        for turn in turns {
            let joined = turn.join();
            told.extend(joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(told)
    })
}
