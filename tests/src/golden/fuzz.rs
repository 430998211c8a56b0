//! Random programs on both engines, compared record by record; a difference is made small.
//!
//! Invariant: a seed stands for one program, so that a difference can be had again.

use super::{Answer, Peer, Program, compare, grammar, peer::Objection, run, shrink::shrink};
use anyhow::{Context, Result, anyhow};
use std::{collections::BTreeMap, panic, thread};

/// Programs that the JVM is given at once.
const BATCH: u64 = 200;

/// Programs on which the engines differ.
#[derive(Debug)]
pub struct Difference {
    /// The program's seed.
    pub seed: u64,
    /// What differs, in words.
    pub told: String,
    /// The program made small, with Kafka Streams' answer: a line for a golden file.
    pub small: Program,
}

/// What came of some seeds.
#[derive(Debug, Default)]
pub struct Report {
    /// Programs of which Kafka Streams made something.
    pub compared: u64,
    /// How many programs Kafka Streams does not build, by what it says: those say nothing, so they
    /// should be few.
    pub refused: BTreeMap<String, u64>,
    /// Programs on which the engines differ.
    pub differences: Vec<Difference>,
}

/// Compares the programs of some seeds, until so many of them differ.
///
/// # Errors
/// Where the JVM does not answer.
pub fn fuzz(peer: &mut Peer, first: u64, scripts: u64, enough: usize) -> Result<Report> {
    let mut report = Report::default();
    let differences = &mut report.differences;
    let end = first.saturating_add(scripts);
    let mut start = first;
    while start < end && differences.len() < enough {
        let seeds = start..end.min(start.saturating_add(BATCH));
        start = seeds.end;
        let programs: Vec<_> = seeds.clone().map(grammar::program).collect();
        let (ours, theirs) = thread::scope(|scope| {
            let ours = scope.spawn(|| programs.iter().map(ours).collect::<Vec<_>>());
            let theirs = peer.ask(&programs);
            (ours.join(), theirs)
        });
        let ours = ours.map_err(|_| anyhow!("our side has panicked beyond catching"))?;
        let found = seeds.zip(&programs).zip(ours).zip(theirs?);
        for (((seed, program), ours), theirs) in found {
            report.compared += u64::from(theirs.is_ok());
            if let Err(Objection::Refused(why)) = &theirs {
                // Numbers of nodes make no reason another.
                let why = why.replace(|c: char| c.is_ascii_digit(), "");
                *report.refused.entry(why).or_default() += 1;
            }
            if compare::outcome(program, ours, &theirs).is_some() && differences.len() < enough {
                differences.push(small(peer, seed, program.clone())?);
            }
        }
    }
    Ok(report)
}

/// What our side makes of a program; a panic is a failure like others.
pub fn ours(program: &Program) -> Result<Answer> {
    let ran = panic::catch_unwind(|| run::run(program));
    ran.unwrap_or_else(|_| Err(anyhow!("panicked")))
}

/// What differs, if something does.
fn judge(peer: &mut Peer, program: &Program) -> Result<(Option<String>, Option<Answer>)> {
    let theirs = peer.ask(std::slice::from_ref(program))?;
    let theirs = theirs.into_iter().next().context("one answer")?;
    let told = compare::outcome(program, ours(program), &theirs);
    Ok((told, theirs.ok()))
}

fn small(peer: &mut Peer, seed: u64, program: Program) -> Result<Difference> {
    let small = shrink(program, |candidate| Ok(judge(peer, candidate)?.0.is_some()))?;
    let (told, theirs) = judge(peer, &small)?;
    Ok(Difference {
        seed,
        told: told.unwrap_or_else(|| "nothing when run again".to_owned()),
        small: match theirs {
            Some(answer) => small.answered(answer),
            None => small,
        },
    })
}
