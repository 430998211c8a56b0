//! Random programs: topologies of every operator that both engines have.
//!
//! Invariant: every program that is made means one thing only, so that engines must agree on it.

mod failing;
mod operators;
mod parameters;
mod windowed;

use failing::Errors;

use super::{
    Op, Program,
    dice::Dice,
    kind::{Kind, kind, kinds},
    op::{Clock, Place},
    parts::parts,
    policy, script,
};
use millstream_core::record::Timestamp;

/// The topics that programs may read; each at most once, since Kafka Streams reads one only once.
const TOPICS: [&str; 3] = ["a", "b", "c"];
/// Operators between the sources and the sinks.
const OPERATORS_MAX: i64 = 7;
/// Of the first timer of a clock and of the second: their multiples do not meet within a script.
const INTERVALS: [&[Timestamp]; 2] = [&[7, 23, 47, 61], &[29, 41, 53]];
/// Joins of streams: each makes many records of few, and what they make they may join again.
const STREAM_JOINS_MAX: usize = 2;
/// Tries to find an operator that fits.
const TRIES: usize = 60;

/// The program of a seed.
pub fn program(seed: u64) -> Program {
    let mut dice = Dice::new(seed);
    loop {
        let errors = Errors::new(&mut dice);
        let mut nodes = nodes(&mut dice, errors.clone());
        failing::same_for_all_sources(&mut nodes);
        // Where it is chance in which order records arrive there is nothing to compare.
        let Ok(parts) = parts(&nodes) else { continue };
        // Kafka Streams' driver runs all parts as one task, with one stream time.
        if parts.doubtful.is_some() || (!parts.single && punctuates_by_stream_time(&nodes)) {
            continue;
        }
        if stream_joins(&nodes) > STREAM_JOINS_MAX {
            continue;
        }
        let bad = errors.bad(&mut dice);
        let mix = script::Mix {
            bad,
            negative: if dice.percent(20) { 6 } else { 0 },
            lenient: policy::is_lenient(&nodes, &errors.on_error),
            ..script::Mix::ANY
        };
        let script = script::script(&mut dice, &nodes, &mix);
        return Program {
            nodes,
            on_error: errors.on_error,
            script,
            ..Program::default()
        };
    }
}

fn stream_joins(nodes: &[Op]) -> usize {
    let kinds = kinds(nodes).unwrap_or_default();
    let of_streams = |op: &&Op| match op {
        Op::Join(joining) => matches!(kinds.get(joining.with), Some(Kind::Stream { .. })),
        _ => false,
    };
    nodes.iter().filter(of_streams).count()
}

fn punctuates_by_stream_time(nodes: &[Op]) -> bool {
    let by_stream = |op: &Op| match op {
        Op::Process { every, .. } => every.iter().any(|(clock, _)| *clock == Clock::Stream),
        Op::Schedules { .. } => true,
        _ => false,
    };
    nodes.iter().any(by_stream)
}

struct Growing<'d> {
    dice: &'d mut Dice,
    errors: Errors,
    nodes: Vec<Op>,
    kinds: Vec<Kind>,
    read: Vec<bool>,
}

fn nodes(dice: &mut Dice, errors: Errors) -> Vec<Op> {
    let mut growing = Growing {
        dice,
        errors,
        nodes: Vec::new(),
        kinds: Vec::new(),
        read: Vec::new(),
    };
    let sources = growing.dice.between(1, 3);
    for topic in TOPICS.iter().take(usize::try_from(sources).unwrap_or(1)) {
        growing.source(topic);
    }
    for _ in 0..growing.dice.between(1, OPERATORS_MAX) {
        growing.operator();
    }
    growing.end();
    growing.nodes
}

impl Growing<'_> {
    /// Adds a node if it fits.
    fn add(&mut self, op: Op) -> bool {
        let Ok(kind) = kind(&op, &self.kinds) else {
            return false;
        };
        for place in op.reads() {
            self.read[place] = true;
        }
        self.nodes.push(op);
        self.kinds.push(kind);
        self.read.push(false);
        true
    }

    fn source(&mut self, topic: &str) {
        let topic = topic.to_owned();
        // A program reads more than a global table.
        let first = self.nodes.is_empty();
        let added = match self.dice.between(0, 9) {
            0..=4 => false,
            9 if first => false,
            at @ 5..=8 => {
                let history = (at == 8).then(|| self.dice.between(0, 60));
                let (topic, time, on_error) = (topic.clone(), self.times(), self.answer());
                self.add(Op::Table {
                    topic,
                    time,
                    history,
                    on_error,
                })
            }
            _ if self.dice.percent(50) => {
                let (topic, on_error) = (topic.clone(), self.answer());
                self.add(Op::ReadOnly { topic, on_error })
            }
            _ if self.dice.percent(50) => self.add(Op::GlobalStore {
                topic: topic.clone(),
            }),
            _ => self.add(Op::GlobalTable {
                topic: topic.clone(),
            }),
        };
        if !added {
            let (time, on_error) = (self.times(), self.answer());
            self.add(Op::Stream {
                topic,
                time,
                on_error,
            });
        }
    }

    fn operator(&mut self) {
        for _ in 0..TRIES {
            let op = self.candidate();
            if self.add(op) {
                return;
            }
        }
    }

    /// A node, the later ones more often: programs are rather deep than wide.
    fn any(&mut self) -> Place {
        let len = self.nodes.len();
        if self.dice.percent(60) {
            len - 1 - self.dice.place(len.min(2))
        } else {
            self.dice.place(len)
        }
    }

    /// Writes all that nobody reads to topics of their own.
    fn end(&mut self) {
        let mut sinks = 0;
        let mut place = 0;
        while place < self.nodes.len() {
            let leaf = !self.read[place];
            match self.kinds[place] {
                Kind::Stream { .. } | Kind::Table { .. } if leaf || self.dice.percent(10) => {
                    let topic = format!("o{sinks}");
                    let by = self.chosen(place);
                    let stream = matches!(self.kinds[place], Kind::Stream { .. });
                    let refuses = self.refuses().filter(|_| stream);
                    let on_error = refuses.and_then(|_| self.answer());
                    sinks += i32::from(self.add(Op::To {
                        of: place,
                        topic,
                        by,
                        refuses,
                        on_error,
                    }));
                }
                Kind::WindowTable(_) if leaf => drop(self.add(Op::ToStream { of: place })),
                Kind::Branches { count, .. } if leaf => {
                    for at in 0..count {
                        self.add(Op::Branch { of: place, at });
                    }
                }
                Kind::Group { .. } | Kind::TableGroup | Kind::WindowTableGroup(_) if leaf => {
                    self.add(Op::Count { of: place });
                }
                Kind::Cogroup | Kind::Windowed(_) if leaf => {
                    self.add(Op::Aggregate { of: place, init: 0 });
                }
                _ => {}
            }
            place += 1;
        }
    }
}
