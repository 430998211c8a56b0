//! Random programs: topologies of every operator that both engines have.
//!
//! Invariant: every program that is made means one thing only, so that engines must agree on it.

use super::{
    Op, Program,
    dice::Dice,
    functions::{By, Fold, Map, Selector, Test},
    kind::{Kind, feature, kind},
    op::{Clock, Emit, Joining, Place, Side, Suppression, Until, WindowKind, Windows},
    parts::parts,
    script,
};
use millstream_core::record::Timestamp;

/// The features that our side lacks, as `kind::feature` names them: no program has them.
pub const MISSING: &[&str] = &[
    "global_table",
    "stream_global_table_join",
    "table_versioned",
    "to_table_versioned",
    "versioned_table_filter",
    "versioned_table_filter_not",
    "versioned_table_map_values",
    "versioned_table_group_by",
    "versioned_table_to_stream",
    "versioned_table_to",
    "stream_versioned_table_join",
    "stream_versioned_table_join_grace",
    "versioned_table_foreign_join",
    "stream_stream_join",
    "table_table_join",
    "table_foreign_join",
    "cogroup",
    "cogroup_aggregate",
    "stream_tumbling",
    "stream_tumbling_close",
    "stream_hopping",
    "stream_hopping_close",
    "stream_sliding",
    "stream_sliding_close",
    "stream_session",
    "stream_session_close",
    "stream_unlimited",
    "cogroup_tumbling",
    "cogroup_hopping",
    "cogroup_sliding",
    "cogroup_session",
    "cogroup_unlimited",
    "window_suppress_time",
    "window_suppress_close",
    "table_suppress_time",
];

/// The topics that programs may read; each at most once, since Kafka Streams reads one only once.
const TOPICS: [&str; 3] = ["a", "b", "c"];
/// Operators between the sources and the sinks.
const OPERATORS_MAX: i64 = 7;
/// Of the first timer of a clock and of the second: their multiples do not meet within a script.
const INTERVALS: [&[Timestamp]; 2] = [&[7, 23, 47, 61], &[29, 41, 53]];
/// Tries to find an operator that fits.
const TRIES: usize = 60;

/// The program of a seed.
pub fn program(seed: u64) -> Program {
    let mut dice = Dice::new(seed);
    loop {
        let nodes = nodes(&mut dice);
        // Where it is chance in which order records arrive there is nothing to compare.
        let Ok(parts) = parts(&nodes) else { continue };
        // Kafka Streams' driver runs all parts as one task, with one stream time.
        if parts.racy || (!parts.single && punctuates_by_stream_time(&nodes)) {
            continue;
        }
        let script = script::script(&mut dice, &nodes, &script::Mix::ANY);
        return Program {
            nodes,
            script,
            ..Program::default()
        };
    }
}

fn punctuates_by_stream_time(nodes: &[Op]) -> bool {
    let by_stream = |op: &Op| match op {
        Op::Process { every, .. } => every.iter().any(|(clock, _)| *clock == Clock::Stream),
        _ => false,
    };
    nodes.iter().any(by_stream)
}

struct Growing<'d> {
    dice: &'d mut Dice,
    nodes: Vec<Op>,
    kinds: Vec<Kind>,
    read: Vec<bool>,
}

fn nodes(dice: &mut Dice) -> Vec<Op> {
    let mut growing = Growing {
        dice,
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
        if MISSING.contains(&feature(&op, &self.kinds).as_str()) {
            return false;
        }
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
        let added = match self.dice.between(0, 9) {
            0..=4 => false,
            5..=7 => self.add(Op::Table {
                topic: topic.clone(),
                history: None,
            }),
            8 => {
                let history = Some(self.dice.between(0, 60));
                let topic = topic.clone();
                self.add(Op::Table { topic, history })
            }
            _ => self.add(Op::GlobalTable {
                topic: topic.clone(),
            }),
        };
        if !added {
            self.add(Op::Stream { topic });
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

    /// Any operator of anything, whether it fits or not.
    fn candidate(&mut self) -> Op {
        let of = self.any();
        // What waits for an operator of its own gets it, or nothing would come of it.
        match self.kinds[of] {
            Kind::Branches { count, .. } => {
                let at = self.dice.place(count);
                return Op::Branch { of, at };
            }
            Kind::Group { .. } | Kind::Cogroup | Kind::Windowed { .. } | Kind::TableGroup => {
                return self.of_group(of);
            }
            Kind::WindowTable { .. } if self.dice.percent(60) => return Op::ToStream { of },
            _ => {}
        }
        match self.dice.between(0, 26) {
            0..=10 => self.stateless(of),
            _ => self.stateful(of),
        }
    }

    fn stateless(&mut self, of: Place) -> Op {
        match self.dice.between(0, 10) {
            0 => Op::Filter {
                of,
                test: self.test(),
            },
            1 => Op::FilterNot {
                of,
                test: self.test(),
            },
            2 => Op::MapValues {
                of,
                map: self.map(of),
            },
            3 => Op::Map {
                of,
                key: self.selector(),
                map: self.map(of),
            },
            4 => Op::SelectKey {
                of,
                key: self.selector(),
            },
            5 => Op::FlatMapValues {
                of,
                times: self.dice.between(2, 4),
            },
            6 => Op::FlatMap {
                of,
                times: self.dice.between(2, 4),
                key: self.selector(),
            },
            7 => Op::Peek { of },
            8 => {
                let branches = (0..self.dice.between(1, 3)).map(|_| self.test()).collect();
                let default = self.dice.percent(50);
                Op::Split {
                    of,
                    branches,
                    default,
                }
            }
            9 => Op::Merge {
                of,
                with: self.any(),
            },
            _ => Op::Repartition { of },
        }
    }

    fn stateful(&mut self, of: Place) -> Op {
        match self.dice.between(11, 26) {
            11..=13 => Op::GroupByKey { of },
            14 | 15 => {
                let map = matches!(self.kinds[of], Kind::Table { .. }).then(|| self.map(of));
                let key = self.selector();
                Op::GroupBy { of, key, map }
            }
            16 => Op::ToTable {
                of,
                history: self.history(),
            },
            17 => Op::ToStream { of },
            18 => Op::Suppress(self.suppression(of)),
            19..=22 => self.join(of),
            23 => Op::ForeignJoin {
                of,
                with: self.any(),
                kind: self.dice.one(&[Side::Inner, Side::Left]),
                key: self.selector(),
            },
            24 => Op::Process {
                of,
                every: self.every(),
                clear: self.dice.percent(50),
            },
            25 => Op::ProcessValues { of },
            _ => Op::ToStream { of },
        }
    }

    fn of_group(&mut self, of: Place) -> Op {
        let windowed = matches!(self.kinds[of], Kind::Windowed { .. });
        match self.dice.between(0, 9) {
            0..=3 if !windowed => Op::Window(self.windows(of)),
            4 if !windowed => {
                let groups = (0..self.nodes.len()).filter(|place| self.is_group(*place));
                let mut groups: Vec<_> = groups.collect();
                groups.truncate(3);
                Op::Cogroup { of: groups }
            }
            0..=5 => Op::Aggregate {
                of,
                init: self.dice.between(0, 3),
            },
            6 | 7 => Op::Count { of },
            _ => Op::Reduce {
                of,
                fold: self
                    .dice
                    .one(&[Fold::Sum, Fold::Max, Fold::Last, Fold::Mix]),
            },
        }
    }

    fn is_group(&self, place: Place) -> bool {
        matches!(self.kinds[place], Kind::Group { .. })
    }

    fn windows(&mut self, of: Place) -> Windows {
        use WindowKind::{Hopping, Session, Sliding, Tumbling, Unlimited};
        let kind = self.dice.one(&[
            Tumbling, Tumbling, Hopping, Hopping, Sliding, Session, Session, Unlimited,
        ]);
        let size = self.dice.between(1, 40);
        let unlimited = kind == Unlimited;
        let close = !unlimited && self.dice.percent(30);
        Windows {
            of,
            kind,
            size: if unlimited { 0 } else { size },
            advance: (kind == Hopping).then(|| self.dice.between(1.max(size / 4), size)),
            start: unlimited.then(|| self.dice.between(0, 60)),
            grace: if unlimited { 0 } else { self.grace() },
            emit: if close { Emit::Close } else { Emit::Update },
        }
    }

    fn suppression(&mut self, of: Place) -> Suppression {
        let windowed = matches!(self.kinds[of], Kind::WindowTable { .. });
        let until = if windowed && self.dice.percent(70) {
            Until::Close
        } else {
            Until::Time
        };
        let limited = until == Until::Time && self.dice.percent(40);
        Suppression {
            of,
            until,
            wait: if until == Until::Time {
                self.dice.between(0, 50)
            } else {
                0
            },
            max_records: limited.then(|| self.dice.place(4)),
            max_bytes: None,
        }
    }

    fn join(&mut self, of: Place) -> Op {
        let with = self.any();
        let streams = matches!(
            (self.kinds[of], self.kinds[with]),
            (Kind::Stream { .. }, Kind::Stream { .. })
        );
        let versioned = self.kinds[with] == Kind::Table { versioned: true };
        let global = self.kinds[with] == Kind::Global;
        let grace = streams || (versioned && self.dice.percent(50));
        let mut side = || if streams { self.dice.between(0, 40) } else { 0 };
        let (before, after) = (side(), side());
        Op::Join(Joining {
            of,
            with,
            kind: self.dice.one(&[Side::Inner, Side::Left, Side::Outer]),
            before,
            after,
            grace: grace.then(|| self.grace()),
            key: global.then(|| self.selector()),
        })
    }

    /// At most two timers of a clock, and never at the same time but in the beginning: who comes
    /// first then depends in Kafka Streams on who was called last.
    fn every(&mut self) -> Vec<(Clock, Timestamp)> {
        let there = self.nodes.iter().filter_map(|op| match op {
            Op::Process { every, .. } => Some(every),
            _ => None,
        });
        let there: Vec<_> = there.flatten().copied().collect();
        let mut every = Vec::new();
        for clock in [Clock::Stream, Clock::Wall] {
            let others = there.iter().filter(|(other, _)| *other == clock).count();
            if let Some(intervals) = INTERVALS.get(others)
                && self.dice.percent(40)
            {
                every.push((clock, self.dice.one(intervals)));
            }
        }
        every
    }

    fn grace(&mut self) -> Timestamp {
        if self.dice.percent(30) {
            0
        } else {
            self.dice.between(1, 40)
        }
    }

    fn history(&mut self) -> Option<Timestamp> {
        self.dice.percent(30).then(|| self.dice.between(0, 60))
    }

    fn test(&mut self) -> Test {
        if self.dice.percent(10) {
            return Test::Present([]);
        }
        let modulus = self.dice.between(2, 3);
        Test::Remainder((modulus, self.dice.between(0, modulus - 1)))
    }

    fn selector(&mut self) -> Selector {
        match self.dice.between(0, 4) {
            0 => Selector::One((By::Code, self.dice.between(1, 3))),
            1 => Selector::One((By::Take, self.dice.between(1, 2))),
            2 => {
                let modulus = self.dice.between(2, 4);
                Selector::Nullable((By::Value, modulus, self.dice.between(0, modulus - 1)))
            }
            _ => Selector::One((By::Value, self.dice.between(1, 4))),
        }
    }

    /// Of a stream, some values may be mapped to none.
    fn map(&mut self, of: Place) -> Map {
        let (factor, summand) = (self.dice.between(-2, 3), self.dice.between(-5, 5));
        if matches!(self.kinds[of], Kind::Stream { .. }) && self.dice.percent(30) {
            return Map::Nullable((factor, summand, self.dice.between(2, 4)));
        }
        Map::Line((factor, summand))
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
                    sinks += i32::from(self.add(Op::To { of: place, topic }));
                }
                Kind::WindowTable { .. } if leaf => drop(self.add(Op::ToStream { of: place })),
                Kind::Branches { count, .. } if leaf => {
                    for at in 0..count {
                        self.add(Op::Branch { of: place, at });
                    }
                }
                Kind::Group { .. } | Kind::TableGroup if leaf => {
                    self.add(Op::Count { of: place });
                }
                Kind::Cogroup | Kind::Windowed { .. } if leaf => {
                    self.add(Op::Aggregate { of: place, init: 0 });
                }
                _ => {}
            }
            place += 1;
        }
    }
}
