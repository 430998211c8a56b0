//! Makes a failing program small: fewer steps, then fewer nodes, until nothing more can go.
//!
//! Invariant: what comes out fails as what came in did, by the caller's judgement.

use super::{Op, Program, Step, kind::kinds, parts::parts};
use anyhow::Result;

/// The smallest failing program that is found.
///
/// # Errors
/// What the judge cannot judge.
pub fn shrink(
    mut program: Program,
    mut fails: impl FnMut(&Program) -> Result<bool>,
) -> Result<Program> {
    loop {
        let before = (program.nodes.len(), program.script.len(), weight(&program));
        program = steps(program, &mut fails)?;
        program = one_by_one(program, &mut fails, |program| {
            (0..program.nodes.len())
                .flat_map(|place| [without(program, place), past(program, place)])
                .flatten()
                .collect()
        })?;
        program = one_by_one(program, &mut fails, simpler)?;
        if before == (program.nodes.len(), program.script.len(), weight(&program)) {
            return Ok(program);
        }
    }
}

/// Takes steps out, first many at once.
fn steps(
    mut program: Program,
    fails: &mut impl FnMut(&Program) -> Result<bool>,
) -> Result<Program> {
    let mut chunk = program.script.len().div_ceil(2);
    while chunk > 0 {
        let mut start = 0;
        while start < program.script.len() {
            let mut candidate = program.clone();
            let end = (start + chunk).min(candidate.script.len());
            candidate.script.drain(start..end);
            if fails(&candidate)? {
                program = candidate;
            } else {
                start += chunk;
            }
        }
        chunk /= 2;
    }
    Ok(program)
}

/// Takes the first candidate that fails, again and again.
fn one_by_one(
    mut program: Program,
    fails: &mut impl FnMut(&Program) -> Result<bool>,
    candidates: impl Fn(&Program) -> Vec<Program>,
) -> Result<Program> {
    'again: loop {
        for candidate in candidates(&program) {
            if fails(&candidate)? {
                program = candidate;
                continue 'again;
            }
        }
        return Ok(program);
    }
}

/// Without a node and all that need it.
fn without(program: &Program, place: usize) -> Option<Program> {
    let mut gone = vec![false; program.nodes.len()];
    gone[place] = true;
    for (at, op) in program.nodes.iter().enumerate() {
        gone[at] |= op.reads().iter().any(|read| gone[*read]);
    }
    kept(program, &gone)
}

/// Without a node, whose readers read what it read.
fn past(program: &Program, place: usize) -> Option<Program> {
    let source = *program.nodes[place].reads().first()?;
    let mut bent = program.clone();
    for op in &mut bent.nodes {
        op.each_read(|read| {
            if *read == place {
                *read = source;
            }
        });
    }
    let mut gone = vec![false; bent.nodes.len()];
    gone[place] = true;
    kept(&bent, &gone)
}

/// The nodes that are not gone, under their new numbers, if they are a program.
fn kept(program: &Program, gone: &[bool]) -> Option<Program> {
    let mut places = Vec::new();
    let mut next = 0;
    for gone in gone {
        places.push(next);
        next += usize::from(!gone);
    }
    let alive = program.nodes.iter().zip(gone).filter(|(_, gone)| !**gone);
    let mut nodes: Vec<Op> = alive.map(|(op, _)| op.clone()).collect();
    for op in &mut nodes {
        op.each_read(|read| *read = places[*read]);
    }
    let sound = kinds(&nodes).is_ok() && parts(&nodes).is_ok_and(|parts| parts.doubtful.is_none());
    let reads = |op: &Op| matches!(op, Op::Stream { .. } | Op::Table { .. });
    (sound && nodes.iter().any(reads)).then(|| Program {
        nodes,
        ..program.clone()
    })
}

/// Steps that say less.
fn simpler(program: &Program) -> Vec<Program> {
    let mut candidates = Vec::new();
    for (at, step) in program.script.iter().enumerate() {
        let mut put = |step: Step| {
            let mut candidate = program.clone();
            candidate.script[at] = step;
            candidates.push(candidate);
        };
        match step.clone() {
            Step::Headed((topic, key, value, time, _)) => {
                put(Step::Record((topic, key, value, time)));
            }
            Step::Record((topic, key, value, time)) => {
                if key.as_deref().is_some_and(|key| key != "k1") {
                    put(Step::Record((
                        topic.clone(),
                        Some("k1".to_owned()),
                        value,
                        time,
                    )));
                }
                if value.is_some_and(|value| value != 1) {
                    put(Step::Record((topic.clone(), key.clone(), Some(1), time)));
                }
                for smaller in [0, time / 2, time - 1] {
                    if (0..time).contains(&smaller) {
                        put(Step::Record((topic.clone(), key.clone(), value, smaller)));
                    }
                }
            }
            Step::Bad((topic, key, _, time)) => {
                put(Step::Record((topic, key, Some(1), time)));
            }
            Step::Clock(_) => {}
        }
    }
    candidates
}

/// Falls with every simplification, so that there is an end to them.
fn weight(program: &Program) -> u64 {
    let of = |step: &Step| match step {
        Step::Clock(_) => 0,
        Step::Headed((.., time, _)) | Step::Bad((.., time)) => 4 + time.unsigned_abs(),
        Step::Record((_, key, value, time)) => {
            let key = u64::from(key.as_deref().is_some_and(|key| key != "k1"));
            key + u64::from(value.is_some_and(|value| value != 1)) + time.unsigned_abs()
        }
    };
    program.script.iter().map(of).sum()
}
