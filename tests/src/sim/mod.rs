//! Seeded simulation: a random program over random input on an unreliable log, against the same
//! program left in peace.
//!
//! Several instances run one group on one embedded log. A seed decides which worker does the next
//! step, and which of them die, freeze past their session, lose their disk, are fenced, or never
//! hear what became of a commit. Invariants checked: outputs equal those of an uninterrupted run,
//! record for record; a store holds what its changelog says up to its position, never more.

mod check;
mod disk;
mod program;
mod tally;
mod world;

pub use tally::Tally;

use millstream_runtime::worker::CommitOrder;
use program::Script;
use world::World;

/// What one seed came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What it was put through.
    pub tally: Tally,
    /// What was found wrong; empty is good.
    pub divergences: Vec<String>,
}

/// What the programs of many seeds must have made, each at least once; see [`Tally::made`].
pub fn wanted() -> Vec<String> {
    program::wanted()
}

/// Runs one seed: once in peace, once among crashes, and compares.
pub fn run(seed: u64, order: CommitOrder) -> Report {
    let script = Script::of(seed);
    let mut report = Report::default();
    let calm = match World::calm(&script).and_then(|calm| Ok((calm.late(), calm.finish()?))) {
        Ok((late, calm)) => {
            report.tally.made(&script, late, &calm);
            calm
        }
        Err(error) => {
            report
                .divergences
                .push(format!("the uninterrupted run: {error}"));
            return report;
        }
    };
    let mut world = match World::stormy(&script, seed, order) {
        Ok(world) => world,
        Err(error) => {
            report.divergences.push(format!("start: {error}"));
            return report;
        }
    };
    let outcome = world.storm().and_then(|()| world.settle());
    report.tally += &world.tally();
    report.divergences.append(&mut world.found);
    match outcome.and_then(|()| world.finish()) {
        Ok(stormy) => match check::compare(&script, &calm, &stormy) {
            Ok(wrong) => report.divergences.extend(wrong),
            Err(error) => report.divergences.push(error.to_string()),
        },
        Err(error) => report.divergences.push(error.to_string()),
    }
    report
}
