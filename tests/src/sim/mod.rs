//! Seeded simulation: a random program over random input on an unreliable log, against the same
//! program left in peace.
//!
//! Several instances run one group on one embedded log. A seed decides which worker does the next
//! step, and which of them die, freeze past their session, lose their disk, are fenced, or never
//! hear what became of a commit. Invariants checked: outputs equal those of an uninterrupted run,
//! record for record, or hold what they may where the wall clock closes windows; a store holds what
//! its changelog says up to its position, never more, but for rows that have expired.

mod calls;
mod check;
mod disk;
mod ground;
mod program;
mod tally;
mod world;

pub use tally::Tally;

use anyhow::Result;
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

/// What the programs of many seeds must have made, each at least once; see `Tally::made`.
pub fn wanted() -> Vec<String> {
    program::wanted()
}

/// The first seed of each shape of programs.
pub fn a_seed_of_each_shape() -> Vec<u64> {
    let (mut shapes, mut seeds) = (Vec::new(), Vec::new());
    for seed in 1.. {
        let shape = Script::of(seed, 0).shape;
        if !shapes.contains(&shape) {
            shapes.push(shape);
            seeds.push(seed);
        }
        if shapes.len() == program::SHAPES {
            break;
        }
    }
    seeds
}

/// Runs one seed: once in peace, once among crashes, and compares.
pub fn run(seed: u64, order: CommitOrder) -> Report {
    let script = Script::of(seed, 0);
    compared(&script, || World::stormy(&script, seed, order))
}

/// Runs one seed in peace on the embedded log, and among deaths on a Kafka cluster, where `prefix`
/// is in front of all topics and groups.
pub fn run_on_kafka(servers: &str, prefix: &str, seed: u64) -> Report {
    // librdkafka cannot send a timestamp of zero.
    let script = Script::of(seed, 1);
    compared(&script, || {
        let ground = Box::new(ground::Kafka::connect(servers, prefix)?);
        World::stormy_on(ground, &script, seed, CommitOrder::LogThenDisk)
    })
}

fn compared(script: &Script, stormy: impl FnOnce() -> Result<World>) -> Report {
    let mut report = Report::default();
    let calm = World::calm(script).and_then(|calm| Ok((calm.late(), calm.finish()?)));
    let calm = match calm {
        Ok((late, calm)) => {
            report.tally.made(script, late, &calm);
            calm
        }
        Err(error) => {
            report.divergences = vec![format!("the uninterrupted run: {error}")];
            return report;
        }
    };
    let mut world = match stormy() {
        Ok(world) => world,
        Err(error) => {
            report.divergences = vec![format!("start: {error}")];
            return report;
        }
    };
    let outcome = world.storm().and_then(|()| world.settle());
    report.tally += &world.tally();
    report.divergences.append(&mut world.found);
    let outcome = outcome.and_then(|()| world.finish());
    let tally = &mut report.tally;
    match outcome.and_then(|stormy| check::compare(script, &calm, &stormy, tally)) {
        Ok(wrong) => report.divergences.extend(wrong),
        Err(error) => report.divergences.push(error.to_string()),
    }
    report
}
