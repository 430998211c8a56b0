//! Whether one shape is another one with nothing but further variants at the ends of enums.
//!
//! What is compared is what is written, one thing after the other: parts of parts stand beside the
//! others, and a reference is what it refers to. So it does not matter that a type has a label, and
//! its parts are parentheses of their own, since a new variant refers to it.
//!
//! Invariant: things that contain themselves are held against each other once and taken to fit from
//! then on, and a walk takes at most [`STEPS`] steps and nests at most [`DEPTH`] deep, whatever the
//! shapes say. Where that is not enough, they do not fit.

mod cursor;

use super::shape::{Run, Shape, Thing, UNKNOWN};
use cursor::{Cursor, Head, Labels, labels, told};
use std::{collections::BTreeSet, ptr, slice};

/// How many things are held against each other, many times more than a trace can find.
const STEPS: u32 = 1 << 20;

/// How deep that nests: twice as deep as the texts of shapes may, since labels repeat.
const DEPTH: usize = 512;

/// What there is to say of two shapes that fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The new one has variants that the old one has not.
    pub(super) appended: bool,
    /// What could not be compared.
    pub(super) unknown: Unknown,
}

impl Found {
    /// What there is to say of both.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.appended |= other.appended;
        self.unknown.old |= other.unknown.old;
        self.unknown.new |= other.unknown.new;
        self
    }
}

/// Whose `..` hid what the other one has in its place, if any did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unknown {
    pub(super) old: bool,
    pub(super) new: bool,
}

impl Shape<'_> {
    /// Whether this is the old shape with nothing but further variants at the ends of enums, as far
    /// as both are known; `None` where it is another.
    pub(super) fn extends(&self, old: &Self) -> Option<Found> {
        let mut walk = Walk {
            old: labels(&old.0)?,
            new: labels(&self.0)?,
            met: BTreeSet::new(),
            found: Found::default(),
            steps: 0,
            depth: 0,
        };
        walk.sequence(Cursor::of(&old.0), Cursor::of(&self.0))
            .then_some(walk.found)
    }
}

/// Two shapes being compared.
struct Walk<'s> {
    old: Labels<'s>,
    new: Labels<'s>,
    /// Things, old and new, that were or are being held against each other.
    met: BTreeSet<(*const Thing<'s>, *const Thing<'s>)>,
    found: Found,
    steps: u32,
    depth: usize,
}

impl<'s> Walk<'s> {
    /// Whether what is written one after the other fits.
    fn sequence(&mut self, mut old: Cursor<'s>, mut new: Cursor<'s>) -> bool {
        self.depth += 1;
        let mut fits = self.depth <= DEPTH;
        while fits {
            self.steps += 1;
            if self.steps > STEPS || old.depth().max(new.depth()) > DEPTH {
                return false;
            }
            let (was, is) = (old.head(), new.head());
            // Nothing tells where the parts behind an unknown one begin, and a trace does not see
            // them, whatever lists they are in. And of what has no end there are no rows.
            if self.is_unknown(was, is) || old.is_endless(&self.old) {
                break;
            }
            fits = match (was, is) {
                (Some(was), Some(is)) => self.ahead((&mut old, was), (&mut new, is)),
                (None, None) => break,
                // Parts may have nothing in them.
                (Some(was), None) => old.open(was, &self.old),
                (None, Some(is)) => new.open(is, &self.new),
            };
        }
        self.depth -= 1;
        fits
    }

    /// Whether one of them is not known here, so that nothing can be said against the other.
    fn is_unknown(&mut self, was: Option<Head<'s>>, is: Option<Head<'s>>) -> bool {
        let (old, new) = (was.is_some_and(unknown), is.is_some_and(unknown));
        self.found.unknown.old |= old;
        self.found.unknown.new |= new;
        old || new
    }

    /// Whether what is ahead fits; goes on to what comes next.
    fn ahead(
        &mut self,
        (old, (was, left)): (&mut Cursor<'s>, Head<'s>),
        (new, (is, here)): (&mut Cursor<'s>, Head<'s>),
    ) -> bool {
        let (Some(one), Some(other)) = (told(&self.old, was), told(&self.new, is)) else {
            return false;
        };
        let both = left.min(here);
        match (one, other) {
            // Of lists that both have as often one pair says it all.
            (Thing::Parts(parts), Thing::Parts(others))
                if left == here && left > 1 && parts.len().min(others.len()) > 1 =>
            {
                old.pass(both);
                new.pass(both);
                return self.are_met(one, other)
                    || self.sequence(Cursor::of(parts), Cursor::of(others));
            }
            (Thing::Parts(parts), _) => old.enter(parts, left),
            (_, Thing::Parts(parts)) => new.enter(parts, here),
            _ => {
                old.pass(both);
                new.pass(both);
                return self.thing(one, other);
            }
        }
        true
    }

    /// Whether two were held against each other before; from now on they were.
    fn are_met(&mut self, old: &'s Thing<'s>, new: &'s Thing<'s>) -> bool {
        !self.met.insert((ptr::from_ref(old), ptr::from_ref(new)))
    }

    /// Whether things that are no lists of parts fit.
    fn thing(&mut self, old: &'s Thing<'s>, new: &'s Thing<'s>) -> bool {
        let inner = |run| Cursor::of(slice::from_ref(run));
        match (old, new) {
            (Thing::Plain(old), Thing::Plain(new)) => old == new,
            (Thing::Back(_), _) | (_, Thing::Back(_)) => false,
            _ if self.are_met(old, new) => true,
            (Thing::Option(old), Thing::Option(new)) | (Thing::Seq(old), Thing::Seq(new)) => {
                self.sequence(inner(old), inner(new))
            }
            (Thing::Map(old, was), Thing::Map(new, is)) => {
                self.sequence(inner(old), inner(new)) && self.sequence(inner(was), inner(is))
            }
            (Thing::Enum(old), Thing::Enum(new)) => self.variants(old, new),
            _ => false,
        }
    }

    /// Whether all old variants are there, at their places.
    fn variants(&mut self, old: &'s [Run<'s>], new: &'s [Run<'s>]) -> bool {
        let (mut old, mut new) = (Cursor::of(old), Cursor::of(new));
        while let Some((was, left)) = old.head() {
            let Some((is, here)) = new.head() else {
                return false;
            };
            if !self.sequence(Cursor::once(was), Cursor::once(is)) {
                return false;
            }
            let both = left.min(here);
            old.pass(both);
            new.pass(both);
        }
        self.found.appended |= new.head().is_some();
        true
    }
}

fn unknown((run, _): Head<'_>) -> bool {
    run.thing == UNKNOWN
}

#[cfg(test)]
mod tests;
