//! Which operators programs have, and with which kinds of records: in order, out of order, late,
//! without key or value, and twice.
//!
//! Invariant: a record counts for an operator only where it comes from a topic above it.

use super::{
    Op, Program, Step,
    kind::{feature, kinds, variant},
    op::Place,
    policy::Policy,
};
use anyhow::Result;
use millstream_core::record::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Later than any window of the golden programs that closes waits.
const LATE: Timestamp = 40;

/// A kind of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the module says what they are")]
pub enum Records {
    InOrder,
    OutOfOrder,
    Late,
    NoKey,
    NoValue,
    Twice,
}

impl Records {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::InOrder,
        Self::OutOfOrder,
        Self::Late,
        Self::NoKey,
        Self::NoValue,
        Self::Twice,
    ];
}

/// The operators of some programs as [`feature`] names them, and the kinds of records that come to
/// each of them.
///
/// # Errors
/// Where one is no program.
pub fn coverage<'a>(
    programs: impl IntoIterator<Item = &'a Program>,
) -> Result<BTreeMap<String, BTreeSet<Records>>> {
    let mut covered: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for program in programs {
        let (kinds, mut above) = (kinds(&program.nodes)?, Vec::<BTreeSet<String>>::new());
        for op in &program.nodes {
            let topics = topics(op, &above);
            let records = records(&program.script, &topics);
            let answer = op.policy().map(|policy| answered_by(op, policy));
            let bad = program.script.iter().any(|step| is_bad(step, op));
            let bad = bad.then(|| format!("{}_bad", op.name()));
            let times = op.times().map(|times| {
                let invalid = format!("{:?}", times.invalid()).to_lowercase();
                format!("times_{invalid}")
            });
            let features = [Some(feature(op, &kinds)), answer, bad, times];
            for feature in features.into_iter().flatten() {
                covered.entry(feature).or_default().extend(&records);
            }
            above.push(topics);
        }
        if program.nodes.iter().any(Op::refuses) {
            let topics = above.into_iter().flatten().collect();
            let records = records(&program.script, &topics);
            for (kind, policy) in program.on_error.each() {
                let feature = format!("program_{kind}_{}", policy.name());
                covered.entry(feature).or_default().extend(&records);
            }
        }
    }
    Ok(covered)
}

/// Who says what becomes of a bad record, and what.
fn answered_by(op: &Op, policy: &Policy) -> String {
    let who = match op {
        Op::Stream { .. } | Op::Table { .. } | Op::ReadOnly { .. } => "source",
        Op::To { .. } => "sink",
        _ => "node",
    };
    format!("{who}_{}", policy.name())
}

/// Whether a step is bytes for a source that are no number.
fn is_bad(step: &Step, op: &Op) -> bool {
    matches!(step, Step::Bad((to, ..)) if op.source() == Some(to))
}

/// Scripts of a golden program; every so manyth but one program has another kind of script.
const SCRIPTS: usize = 5;

/// So few of some programs that each [`variant`] of an operator is in at least one of them; the
/// same ones each time.
///
/// # Errors
/// Where one is no program.
pub fn one_for_each<T: AsRef<Program>>(programs: &[T]) -> Result<Vec<&T>> {
    let (mut chosen, mut covered) = (Vec::new(), BTreeSet::new());
    for one in programs.iter().step_by(SCRIPTS + 1).chain(programs) {
        let nodes = &one.as_ref().nodes;
        let kinds = kinds(nodes)?;
        let before = covered.len();
        covered.extend(nodes.iter().map(|op| variant(op, &kinds)));
        if covered.len() > before {
            chosen.push(one);
        }
    }
    Ok(chosen)
}

/// The topics above a node, given those above the nodes before it.
fn topics(op: &Op, above: &[BTreeSet<String>]) -> BTreeSet<String> {
    let reads = op.reads().into_iter();
    let topics = reads.flat_map(|place: Place| above[place].clone());
    topics.chain(op.source().cloned()).collect()
}

fn records(script: &[Step], topics: &BTreeSet<String>) -> BTreeSet<Records> {
    let (mut found, mut seen) = (BTreeSet::new(), Vec::new());
    let mut newest = None;
    for step in script {
        let (topic, key, value, time) = match step {
            Step::Record((topic, key, value, time))
            | Step::Headed((topic, key, value, time, _)) => (topic, key, value, *time),
            Step::Bad((topic, key, _, time)) => (topic, key, &Some(0), *time),
            Step::Clock(_) => continue,
        };
        if !topics.contains(topic) {
            continue;
        }
        match newest {
            None => {}
            Some(newest) if newest - time > LATE => drop(found.insert(Records::Late)),
            Some(newest) if newest > time => drop(found.insert(Records::OutOfOrder)),
            Some(_) => drop(found.insert(Records::InOrder)),
        }
        newest = newest.max(Some(time));
        if key.is_none() {
            found.insert(Records::NoKey);
        }
        if value.is_none() {
            found.insert(Records::NoValue);
        }
        if seen.contains(&step) {
            found.insert(Records::Twice);
        }
        seen.push(step);
    }
    found
}
