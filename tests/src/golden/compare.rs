//! Compares what both engines made of a program, as far as `tests/golden/differences.toml` lets it.
//!
//! Invariant: what is left out of the comparison is named there, with its reason.

use super::{
    Answer, Output, Program,
    differences::{self, Dropped},
    peer::{Objection, Said},
};
use anyhow::Result;
use std::fmt::Write;

/// What differs, in words; nothing if all is the same.
pub fn difference(program: &Program, ours: &Answer, theirs: &Answer) -> Option<String> {
    let mut told = String::new();
    let mut topics: Vec<_> = ours.outputs.keys().chain(theirs.outputs.keys()).collect();
    topics.sort();
    topics.dedup();
    for topic in topics {
        let (ours, theirs) = (ours.outputs.get(topic), theirs.outputs.get(topic));
        if ours != theirs {
            let list =
                |side: Option<&Vec<Output>>| serde_json::to_string(&side).unwrap_or_default();
            let _ = writeln!(told, "{topic} holds       {}", list(ours));
            let _ = writeln!(told, "{topic} should hold {}", list(theirs));
        }
    }
    let equal = match differences::dropped(program) {
        Dropped::Equal => ours.dropped == theirs.dropped,
        Dropped::AtLeast => ours.dropped >= theirs.dropped,
        Dropped::Any => true,
    };
    if !equal {
        let _ = writeln!(told, "dropped {} and not {}", ours.dropped, theirs.dropped);
    }
    (!told.is_empty()).then_some(told)
}

/// What differs between what our side made of a program, if it did, and what Kafka Streams said.
pub fn outcome(program: &Program, ours: Result<Answer>, theirs: &Said) -> Option<String> {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => difference(program, &ours, theirs),
        // What it does not build, it has no say about.
        (_, Err(Objection::Refused(_))) => None,
        (Err(error), _) => Some(format!("our side failed: {error:#}\n")),
        (Ok(_), Err(failed)) => Some(format!("{failed}\n")),
    }
}
