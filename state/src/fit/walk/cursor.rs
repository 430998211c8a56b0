//! Going along what is written one after the other, into lists and out of them.

use crate::fit::shape::{Run, Thing};
use std::{collections::BTreeMap, ptr, slice};

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

/// A place in what is written one after the other: the lists in which it is, from the outside in,
/// also those at whose ends it is.
pub(super) struct Cursor<'s>(Vec<List<'s>>);

struct List<'s> {
    all: &'s [Run<'s>],
    rest: &'s [Run<'s>],
    /// How many of the first one are left.
    left: u64,
}

impl<'s> Cursor<'s> {
    /// In front of all of them.
    pub(super) fn of(runs: &'s [Run<'s>]) -> Self {
        Self(vec![List::of(runs)])
    }

    /// In front of a single one, however many times it is there.
    pub(super) fn once(run: &'s Run<'s>) -> Self {
        let mut cursor = Self::of(slice::from_ref(run));
        cursor.0.iter_mut().for_each(|list| list.left = 1);
        cursor
    }

    /// In how many lists it is.
    pub(super) fn depth(&self) -> usize {
        self.0.len()
    }

    /// What is ahead; `None` at the end of it all.
    pub(super) fn head(&self) -> Option<Head<'s>> {
        let mut lists = self.0.iter().rev();
        lists.find_map(|list| list.rest.first().map(|run| (run, list.left)))
    }

    /// Whether what is ahead is a list in which it is already, with nothing between that could come
    /// to an end: no option, no collection and no enum.
    pub(super) fn is_endless(&self, labels: &Labels<'s>) -> bool {
        let Some((run, _)) = self.head() else {
            return false;
        };
        let is_back = matches!(run.thing, Thing::Back(_));
        let Some(Thing::Parts(parts)) = told(labels, run).filter(|_| is_back) else {
            return false;
        };
        let inside = self.0.iter().rev();
        let mut inside = inside.skip_while(|list| list.rest.is_empty());
        inside.any(|list| ptr::eq(list.all, &**parts))
    }

    /// Goes on behind so many of what is ahead.
    pub(super) fn pass(&mut self, times: u64) {
        while let Some(list) = self.0.last_mut() {
            if let Some((_, behind)) = list.rest.split_first() {
                list.left = list.left.saturating_sub(times);
                if list.left == 0 {
                    *list = List {
                        all: list.all,
                        ..List::of(behind)
                    };
                }
                return;
            }
            self.0.pop();
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
        let mut inside = List::of(parts);
        match parts {
            [] => self.pass(left),
            // So many of one thing are as many of it, however they are told.
            [one] => {
                inside.left = one.times.saturating_mul(left);
                self.pass(left);
            }
            _ => self.pass(1),
        }
        self.0.push(inside);
    }
}

impl<'s> List<'s> {
    fn of(rest: &'s [Run<'s>]) -> Self {
        let left = rest.first().map_or(0, |run| run.times);
        let all = rest;
        Self { all, rest, left }
    }
}
