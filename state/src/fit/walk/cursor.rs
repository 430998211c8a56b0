//! Going along what is written one after the other, into lists and out of them.

use crate::fit::shape::{Run, Thing};
use std::{collections::BTreeMap, slice};

/// What the labels of a shape stand for.
pub(super) type Labels<'s> = BTreeMap<&'s str, &'s Run<'s>>;

/// `None` where one is that of two things.
pub(super) fn labels<'s>(runs: &'s [Run<'s>]) -> Option<Labels<'s>> {
    let (mut labels, mut left) = (Labels::new(), Vec::from_iter(runs));
    while let Some(run) = left.pop() {
        if let Some(label) = run.label
            && labels.insert(label, run).is_some()
        {
            return None;
        }
        match &run.thing {
            Thing::Plain(_) | Thing::Back(_) => {}
            Thing::Option(inner) | Thing::Seq(inner) => left.push(inner),
            Thing::Map(key, value) => left.extend([&**key, &**value]),
            Thing::Parts(runs) | Thing::Enum(runs) => left.extend(runs),
        }
    }
    Some(labels)
}

/// What stands at a place, or what it refers to; `None` where that is not there.
pub(super) fn told<'s>(labels: &Labels<'s>, run: &'s Run<'s>) -> Option<&'s Thing<'s>> {
    match run.thing {
        Thing::Back(label) => labels.get(label).map(|run| &run.thing),
        _ => Some(&run.thing),
    }
}

/// What is ahead, and how many times.
pub(super) type Head<'s> = (&'s Run<'s>, u64);

/// A place in what is written one after the other.
pub(super) struct Cursor<'s> {
    /// The lists in which it is, from the outside in, also those at whose ends it is.
    lists: Vec<List<'s>>,
    /// How many things it has passed.
    at: u64,
}

struct List<'s> {
    rest: &'s [Run<'s>],
    /// How many of the first one are left.
    left: u64,
    /// Where it began; the outermost one is no list of the shape.
    from: Option<u64>,
}

impl<'s> Cursor<'s> {
    pub(super) fn of(runs: &'s [Run<'s>]) -> Self {
        let mut cursor = Self {
            lists: Vec::new(),
            at: 0,
        };
        cursor.push(runs, runs.first().map_or(0, |run| run.times), None);
        cursor
    }

    pub(super) fn once(run: &'s Run<'s>) -> Self {
        let mut cursor = Self::of(slice::from_ref(run));
        cursor.lists.iter_mut().for_each(|list| list.left = 1);
        cursor
    }

    fn push(&mut self, rest: &'s [Run<'s>], left: u64, from: Option<u64>) {
        self.lists.push(List { rest, left, from });
    }

    /// In how many lists it is.
    pub(super) fn depth(&self) -> usize {
        self.lists.len()
    }

    pub(super) fn head(&self) -> Option<Head<'s>> {
        let mut lists = self.lists.iter().rev();
        lists.find_map(|list| list.rest.first().map(|run| (run, list.left)))
    }

    /// Goes on behind so many of what is ahead.
    pub(super) fn advance(&mut self, times: u64) {
        self.pass(times);
        self.at = self.at.wrapping_add(times);
    }

    fn pass(&mut self, times: u64) {
        while let Some(list) = self.lists.last_mut() {
            if let Some((_, behind)) = list.rest.split_first() {
                list.left = list.left.saturating_sub(times);
                if list.left == 0 {
                    list.rest = behind;
                    list.left = behind.first().map_or(0, |run| run.times);
                }
                return;
            }
            self.lists.pop();
        }
    }

    /// Goes on with the parts of what is ahead; `false` if it has none.
    pub(super) fn open(&mut self, (run, left): Head<'s>, labels: &Labels<'s>) -> bool {
        let Some(Thing::Parts(parts)) = told(labels, run) else {
            return false;
        };
        self.enter(parts, left);
        true
    }

    /// Goes on with the parts of what is ahead, which is there so many times.
    pub(super) fn enter(&mut self, parts: &'s [Run<'s>], left: u64) {
        let (times, first) = match parts {
            [] => (left, 0),
            // So many of one thing are as many of it, however they are told.
            [one] => (left, one.times.saturating_mul(left)),
            [first, ..] => (1, first.times),
        };
        self.pass(times);
        self.push(parts, first, Some(self.at));
    }

    /// Goes on behind the list in which something is unknown, as the other one does; `false`, and
    /// nothing is done, where it is not clear which of the other's lists that is.
    pub(super) fn leave(&mut self, other: &mut Self) -> bool {
        let list = self.lists.iter().rfind(|list| !list.rest.is_empty());
        let Some(from) = list.and_then(|list| list.from) else {
            return false;
        };
        let outside = |cursor: &Self| {
            let mut there = (cursor.lists.iter()).enumerate();
            let mut there = there.by_ref().filter(|(_, list)| list.from == Some(from));
            let (first, second) = (there.next(), there.next());
            first.filter(|_| second.is_none()).map(|(at, _)| at)
        };
        let (Some(own), Some(others)) = (outside(self), outside(other)) else {
            return false;
        };
        self.lists.truncate(own);
        other.lists.truncate(others);
        true
    }
}
