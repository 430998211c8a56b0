//! What refuses records, and what becomes of those. Invariant: only few programs stop at a bad
//! record, since nothing is compared behind it.

use super::Growing;
use crate::golden::{
    Dice,
    functions::Test,
    op::{Emit, How, Op, Place, Trying},
    policy::{OnError, Policy},
};

/// Programs of which nothing refuses anything, in percent.
const SOUND: i64 = 65;

/// How a program takes bad records.
#[derive(Clone, Debug)]
pub(super) struct Errors {
    /// Whether there are any.
    pub(super) any: bool,
    /// Whether the program goes on at all of them of which no node says otherwise.
    lenient: bool,
    /// The program's answers.
    pub(super) on_error: OnError,
}

impl Errors {
    pub(super) fn new(dice: &mut Dice) -> Self {
        let any = !dice.percent(SOUND);
        let lenient = dice.percent(85);
        let mut answer = || match (any, lenient) {
            (false, _) => Policy::Fail,
            (true, true) => dice.one(&[Policy::Skip, Policy::DeadLetter]),
            (true, false) => dice.one(&[Policy::Fail, Policy::Skip, Policy::DeadLetter]),
        };
        let on_error = OnError {
            deserialization: answer(),
            processing: answer(),
            production: answer(),
        };
        Self {
            any,
            lenient,
            on_error,
        }
    }

    /// How many percent of the records are no numbers.
    pub(super) fn bad(&self, dice: &mut Dice) -> i64 {
        if self.any { dice.one(&[0, 4, 12]) } else { 0 }
    }
}

/// Takes back what sources say themselves where results are held back: whose they are is known to
/// Kafka Streams only.
pub(super) fn same_for_all_sources(nodes: &mut [Op]) {
    let holds = |op: &Op| match op {
        Op::Suppress(_) => true,
        Op::Join(joining) => joining.grace.is_some(),
        Op::Window(windows) => windows.emit == Emit::Close,
        _ => false,
    };
    if !nodes.iter().any(holds) {
        return;
    }
    for op in nodes {
        if let Op::Stream { on_error, .. }
        | Op::Table { on_error, .. }
        | Op::ReadOnly { on_error, .. } = op
        {
            *on_error = None;
        }
    }
}

impl Growing<'_> {
    /// What a node or a source says itself, if it does.
    pub(super) fn answer(&mut self) -> Option<Policy> {
        if !self.errors.any || self.dice.percent(40) {
            return None;
        }
        Some(match self.dice.between(0, 9) {
            0 if !self.errors.lenient => Policy::Fail,
            0..=3 => Policy::Skip,
            4..=6 => Policy::DeadLetter,
            _ => Policy::DeadLetterTo(self.dice.one(&["x", "y"]).to_owned()),
        })
    }

    /// Which values a node refuses, if it does.
    pub(super) fn refuses(&mut self) -> Option<Test> {
        let modulus = self.dice.between(3, 5);
        let test = Test::Remainder((modulus, self.dice.between(0, modulus - 1)));
        (self.errors.any && self.dice.percent(50)).then_some(test)
    }

    pub(super) fn attempt(&mut self, of: Place) -> Op {
        let how = self.dice.one(&[
            How::Map,
            How::MapValues,
            How::SelectKey,
            How::FlatMap,
            How::FlatMapValues,
            How::Filter,
            How::ForEach,
        ]);
        match self.refuses() {
            Some(test) => Op::Try(Trying {
                of,
                how,
                test,
                on_error: self.answer(),
            }),
            None => Op::Peek { of },
        }
    }
}
