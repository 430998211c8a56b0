//! What operators are given: windows, limits, keys and functions. Invariant: times are of the size
//! of those in scripts, so that windows close and limits are reached while a script runs.

use super::{Growing, INTERVALS};
use crate::golden::{
    Op,
    functions::{By, Map, Selector, Test},
    kind::Kind,
    op::{Clock, Emit, Given, Invalid, Place, Suppression, Times, Until, WindowKind, Windows},
};
use millstream_core::record::Timestamp;

/// Longer than scripts last.
const NOBODY_LATE: Timestamp = 100_000;

impl Growing<'_> {
    pub(super) fn windows(&mut self, of: Place) -> Windows {
        use WindowKind::{Hopping, Session, Sliding, Tumbling, Unlimited};
        let kind = self.dice.one(&[
            Tumbling, Tumbling, Hopping, Hopping, Sliding, Session, Session, Unlimited,
        ]);
        let size = self.dice.between(1, 40);
        let unlimited = kind == Unlimited;
        let many = self.kinds[of] == Kind::Cogroup;
        let close = !unlimited && !many && self.dice.percent(30);
        Windows {
            of,
            kind,
            size: if unlimited { 0 } else { size },
            advance: (kind == Hopping).then(|| self.dice.between(1.max(size / 4), size)),
            start: unlimited.then(|| self.dice.between(0, 60)),
            grace: match kind {
                Unlimited => 0,
                // Who is late in a group of several is not the same for both engines.
                _ if self.is_of_many(of) => NOBODY_LATE,
                _ => self.grace(),
            },
            emit: if close { Emit::Close } else { Emit::Update },
            kept: !unlimited && !close && self.dice.percent(50),
        }
    }

    pub(super) fn suppression(&mut self, of: Place) -> Suppression {
        let windowed = matches!(self.kinds[of], Kind::WindowTable(_));
        let until = if windowed && self.dice.percent(70) {
            Until::Close
        } else {
            Until::Time
        };
        let limited = self
            .dice
            .percent(if until == Until::Time { 50 } else { 20 });
        // To stop at a limit is to Kafka Streams an error that a program may go on at.
        let may_stop = !self.errors.any;
        let limited = limited && (may_stop || until == Until::Time);
        let in_bytes = limited && self.dice.percent(25);
        Suppression {
            of,
            until,
            wait: if until == Until::Time {
                self.dice.between(0, 50)
            } else {
                0
            },
            max_records: (limited && !in_bytes).then(|| self.dice.place(6)),
            // How many bytes a record takes is not the same for both engines, but some it does.
            max_bytes: in_bytes.then(|| self.dice.one(&[1, 1_000_000])),
            strict: may_stop && limited && until == Until::Time && self.dice.percent(20),
        }
    }

    /// Whether a cogroup has several streams.
    fn is_of_many(&self, place: Place) -> bool {
        matches!(&self.nodes[place], Op::Cogroup { of } if of.len() > 1)
    }

    /// How far before and after; one of them may be negative, but there is something between them.
    pub(super) fn join_window(&mut self) -> (Timestamp, Timestamp) {
        let (first, second) = (self.dice.between(0, 40), self.dice.between(0, 40));
        if self.dice.percent(80) {
            return (first, second);
        }
        let (near, far) = (first.min(second), first.max(second));
        if self.dice.percent(50) {
            (-near, far)
        } else {
            (far, -near)
        }
    }

    /// Times of a source's own.
    pub(super) fn times(&mut self) -> Option<Times> {
        let invalid = [
            Invalid::Skip,
            Invalid::Skip,
            Invalid::Partition,
            Invalid::Fail,
        ];
        if !self.dice.percent(12) {
            return None;
        }
        let invalid = self.dice.one(&invalid);
        Some(match self.dice.between(0, 4) {
            0 => Times::Given((Given::Record, invalid)),
            1 => Times::Given((Given::Wall, invalid)),
            _ => Times::Value((self.dice.between(1, 12), invalid)),
        })
    }

    /// Where records go to topics of their own choice.
    pub(super) fn chosen(&mut self, of: Place) -> Option<Selector> {
        let stream = matches!(self.kinds[of], Kind::Stream { .. });
        let chosen = (stream && self.dice.percent(10)).then(|| self.selector());
        chosen.filter(|chosen| chosen.by() != By::Take)
    }

    pub(super) fn all(&self, wanted: impl Fn(Kind) -> bool) -> Vec<Place> {
        let places = 0..self.kinds.len();
        places.filter(|place| wanted(self.kinds[*place])).collect()
    }

    /// At most two timers of a clock, and never at the same time but in the beginning: who comes
    /// first then depends in Kafka Streams on who was called last.
    pub(super) fn every(&mut self) -> Vec<(Clock, Timestamp)> {
        let there = self.nodes.iter().filter_map(|op| match op {
            Op::Process { every, .. } => Some(every),
            _ => None,
        });
        let there: Vec<_> = there.flatten().copied().collect();
        let mut every = Vec::new();
        if self
            .nodes
            .iter()
            .any(|op| matches!(op, Op::Schedules { .. }))
        {
            return every;
        }
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

    pub(super) fn stored(&mut self, of: Place) -> bool {
        matches!(self.kinds[of], Kind::Table { .. }) && self.dice.percent(40)
    }

    pub(super) fn grace(&mut self) -> Timestamp {
        if self.dice.percent(30) {
            0
        } else {
            self.dice.between(1, 40)
        }
    }

    pub(super) fn history(&mut self) -> Option<Timestamp> {
        self.dice.percent(30).then(|| self.dice.between(0, 60))
    }

    pub(super) fn test(&mut self) -> Test {
        if self.dice.percent(10) {
            return Test::Present([]);
        }
        let modulus = self.dice.between(2, 3);
        Test::Remainder((modulus, self.dice.between(0, modulus - 1)))
    }

    pub(super) fn selector(&mut self) -> Selector {
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

    /// Of a table that is grouped, some rows may be in no group.
    pub(super) fn row_map(&mut self, of: Place) -> Map {
        match self.map(of) {
            Map::Line((factor, summand)) if self.dice.percent(30) => {
                Map::Nullable((factor, summand, self.dice.between(2, 4)))
            }
            map => map,
        }
    }

    /// Of a stream, some values may be mapped to none.
    pub(super) fn map(&mut self, of: Place) -> Map {
        let (factor, summand) = (self.dice.between(-2, 3), self.dice.between(-5, 5));
        if matches!(self.kinds[of], Kind::Stream { .. }) && self.dice.percent(30) {
            return Map::Nullable((factor, summand, self.dice.between(2, 4)));
        }
        Map::Line((factor, summand))
    }
}
