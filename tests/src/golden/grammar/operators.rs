//! Which operator comes next. Invariant: it need not fit; what does not is not added.

use super::Growing;
use crate::golden::{
    Op,
    functions::{Fold, Test},
    kind::Kind,
    op::{Joining, Place, Recall, Side},
    parts::present,
};

impl Growing<'_> {
    /// Any operator of anything, whether it fits or not.
    pub(super) fn candidate(&mut self) -> Op {
        let of = self.any();
        // What waits for an operator of its own gets it, or nothing would come of it.
        match self.kinds[of] {
            Kind::Branches { count, .. } => {
                let at = self.dice.place(count);
                return Op::Branch { of, at };
            }
            Kind::Group { .. }
            | Kind::Cogroup
            | Kind::Windowed(_)
            | Kind::TableGroup
            | Kind::WindowTableGroup(_) => return self.of_group(of),
            Kind::WindowTable(_) => return self.of_windows(of),
            _ => {}
        }
        match self.dice.between(0, 27) {
            0..=2 if self.errors.any => self.attempt(of),
            0..=10 => self.stateless(of),
            _ => self.stateful(of),
        }
    }

    pub(super) fn stateless(&mut self, of: Place) -> Op {
        match self.dice.between(0, 10) {
            0 => Op::Filter {
                of,
                test: self.test(),
                stored: self.stored(of),
            },
            1 => Op::FilterNot {
                of,
                test: self.test(),
                stored: self.stored(of),
            },
            2 => Op::MapValues {
                of,
                map: self.map(of),
                stored: self.stored(of),
                keyed: matches!(self.kinds[of], Kind::Stream { .. }) && self.dice.percent(30),
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
                keyed: self.dice.percent(30),
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

    pub(super) fn stateful(&mut self, of: Place) -> Op {
        match self.dice.between(11, 27) {
            11..=13 => {
                // Windows of values that may be null are not reduced.
                let stream = matches!(self.kinds[of], Kind::Stream { .. });
                let of = if stream && self.dice.percent(30) {
                    self.present(of)
                } else {
                    of
                };
                Op::GroupByKey { of }
            }
            14 | 15 => {
                let map = matches!(self.kinds[of], Kind::Table { .. }).then(|| self.row_map(of));
                let key = self.selector();
                Op::GroupBy {
                    of,
                    key,
                    map,
                    windowed: false,
                }
            }
            16 => Op::ToTable {
                of,
                history: self.history(),
            },
            17 if self.dice.percent(50) => self.transform_values(of),
            17 => Op::ToStream { of },
            18 => Op::Suppress(self.suppression(of)),
            19..=22 => self.join(of),
            23 | 24 => self.foreign_join().unwrap_or(Op::Peek { of }),
            25 => Op::Process {
                of,
                every: self.every(),
                clear: self.dice.percent(50),
                refuses: self.refuses(),
                on_error: self.answer(),
            },
            26 if self.dice.percent(50) => Op::ProcessValues {
                of,
                refuses: self.refuses(),
                on_error: self.answer(),
            },
            26 if self.dice.percent(40) => Op::ProcessHeaders {
                of,
                kind: self
                    .dice
                    .one(&[Recall::Rows, Recall::Windows, Recall::Sessions]),
            },
            26 => Op::ProcessVersions {
                of,
                history: self.dice.between(0, 60),
                back: self.dice.between(0, 40),
            },
            27 if self.dice.percent(50) => self.processing(of),
            _ => Op::ToStream { of },
        }
    }

    pub(super) fn transform_values(&mut self, of: Place) -> Op {
        Op::TransformValues {
            of,
            history: self.history(),
            refuses: self.refuses(),
            on_error: self.answer(),
        }
    }

    /// Schedules that are made at run time meet no others, or who comes first would be chance.
    fn processing(&mut self, of: Place) -> Op {
        let others = |op: &Op| match op {
            Op::Process { every, .. } => !every.is_empty(),
            Op::Schedules { .. } => true,
            _ => false,
        };
        if self.nodes.iter().any(others) || self.dice.percent(50) {
            return Op::Children { of };
        }
        let interval = self.dice.between(1, 20);
        Op::Schedules { of, interval }
    }

    pub(super) fn of_group(&mut self, of: Place) -> Op {
        let windowed = matches!(self.kinds[of], Kind::Windowed(_));
        if windowed && !present(&self.nodes, of) && self.dice.percent(30) {
            return Op::Count { of };
        }
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

    pub(super) fn is_group(&self, place: Place) -> bool {
        matches!(self.kinds[place], Kind::Group { .. })
    }

    /// A join with any kind of partner that there is.
    pub(super) fn join(&mut self, of: Place) -> Op {
        let streams = self.all(|kind| matches!(kind, Kind::Stream { .. }));
        let tables = self.all(|kind| matches!(kind, Kind::Table { .. }));
        let global = self.all(|kind| kind == Kind::Global);
        let read_only = self.all(|kind| kind == Kind::ReadOnly);
        let stores = self.all(|kind| kind == Kind::GlobalStore);
        let mut partners = vec![streams, tables, global, read_only, stores];
        partners.retain(|partners| !partners.is_empty());
        if partners.is_empty() {
            return Op::Peek { of };
        }
        let partners = self.dice.one(&partners);
        let with = self.dice.one(&partners);
        if matches!(self.kinds[with], Kind::ReadOnly | Kind::GlobalStore) {
            return Op::LookUp { of, with };
        }
        let of_stream = matches!(self.kinds[of], Kind::Stream { .. });
        let (of, with) = if of_stream && matches!(self.kinds[with], Kind::Stream { .. }) {
            let of_present = self.present(of);
            (
                of_present,
                if of == with {
                    of_present
                } else {
                    self.present(with)
                },
            )
        } else {
            (of, with)
        };
        let (grace, windows) = match self.kinds[with] {
            Kind::Stream { .. } => (true, true),
            Kind::Table {
                versioned: true, ..
            } => (of_stream && self.dice.percent(50), false),
            _ => (false, false),
        };
        let (before, after) = if windows { self.join_window() } else { (0, 0) };
        // Those of Kafka Streams refuse records without a key where they have a grace.
        let refusing = grace && !windows && self.errors.any;
        let kinds = [Side::Inner, Side::Left, Side::Outer];
        let kinds = &kinds[..if refusing { 1 } else { 3 }];
        let sees_key = matches!(self.kinds[with], Kind::Table { .. } | Kind::Global);
        Op::Join(Joining {
            of,
            with,
            kind: self.dice.one(kinds),
            before,
            after,
            grace: grace.then(|| self.grace()),
            key: (self.kinds[with] == Kind::Global).then(|| self.selector()),
            stored: self.stored(of),
            keyed: sees_key && self.dice.percent(30),
        })
    }

    /// A stream without its null values.
    pub(super) fn present(&mut self, of: Place) -> Place {
        let filter = Op::Filter {
            of,
            test: Test::Present([]),
            stored: false,
        };
        if present(&self.nodes, of) || !self.add(filter) {
            return of;
        }
        self.nodes.len() - 1
    }

    pub(super) fn foreign_join(&mut self) -> Option<Op> {
        let tables = self.all(|kind| matches!(kind, Kind::Table { .. }));
        if tables.is_empty() {
            return None;
        }
        Some(Op::ForeignJoin {
            of: self.dice.one(&tables),
            with: self.dice.one(&tables),
            kind: self.dice.one(&[Side::Inner, Side::Left]),
            key: self.selector(),
            stored: self.dice.percent(50),
        })
    }
}
