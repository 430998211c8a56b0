//! Which operator comes next behind a table by windowed keys. Invariant: as of others, it need not
//! fit.

use super::Growing;
use crate::golden::{
    Op,
    functions::Map,
    kind::Kind,
    op::{Joining, Place, Side, Windows},
};

impl Growing<'_> {
    /// Any operator of a table of windows, whether it fits or not.
    pub(super) fn of_windows(&mut self, of: Place) -> Op {
        match self.dice.between(0, 19) {
            0..=5 => Op::ToStream { of },
            6 => self.transform_values(of),
            7..=10 => Op::Suppress(self.suppression(of)),
            11 => Op::Filter {
                of,
                test: self.test(),
                stored: self.dice.percent(40),
            },
            12 => Op::FilterNot {
                of,
                test: self.test(),
                stored: self.dice.percent(40),
            },
            13 => Op::MapValues {
                of,
                map: self.map(of),
                stored: self.dice.percent(40),
                keyed: false,
            },
            14 | 15 => Op::GroupBy {
                of,
                key: self.selector(),
                map: Some(self.row_map(of)),
                windowed: false,
            },
            16 | 17 => {
                let map = Some(self.map(of));
                let key = self.selector();
                Op::GroupBy {
                    of,
                    key,
                    map: map.filter(|map| matches!(map, Map::Line(_))),
                    windowed: true,
                }
            }
            _ => self.join_windows(of).unwrap_or(Op::ToStream { of }),
        }
    }

    /// A join with a table of such windows, which is made if there is none.
    fn join_windows(&mut self, of: Place) -> Option<Op> {
        let others = self.all(|kind| matches!(kind, Kind::WindowTable(_)));
        let others: Vec<_> = others.into_iter().filter(|other| *other != of).collect();
        let with = if others.is_empty() || self.dice.percent(50) {
            self.partner(of)?
        } else {
            self.dice.one(&others)
        };
        let kind = self.dice.one(&[Side::Inner, Side::Left, Side::Outer]);
        Some(Op::Join(Joining {
            of,
            with,
            kind,
            before: 0,
            after: 0,
            grace: None,
            key: None,
            stored: self.dice.percent(40),
            keyed: false,
        }))
    }

    /// Another stream in the windows of a table, aggregated.
    fn partner(&mut self, table: Place) -> Option<Place> {
        let windows = self.windows_of(table)?.clone();
        let streams = self.all(|kind| matches!(kind, Kind::Stream { .. }));
        if streams.is_empty() {
            return None;
        }
        let stream = self.dice.one(&streams);
        let of = self.present(stream);
        self.add(Op::GroupByKey { of }).then_some(())?;
        let of = self.nodes.len() - 1;
        self.add(Op::Window(Windows { of, ..windows }))
            .then_some(())?;
        let of = self.nodes.len() - 1;
        let op = self.of_group(of);
        self.add(op).then_some(())?;
        Some(self.nodes.len() - 1)
    }

    /// The windows above a table of them.
    fn windows_of(&self, mut at: Place) -> Option<&Windows> {
        loop {
            if let Op::Window(windows) = &self.nodes[at] {
                return Some(windows);
            }
            at = self.nodes[at].reads().first().copied()?;
        }
    }
}
