//! Formats of types made at random, changed at random: which rows are read by which.
//!
//! The texts are those that `millstream-core` makes of a type. Against [`Fit`] stands a reading of
//! two types side by side for a while, without texts, labels or lists of parts.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_state::Fit;
use std::{collections::BTreeMap, fmt::Write};

/// How far two types are read: more than the ways in which so few things can meet.
const FAR: u32 = 60;

const LEAVES: [&str; 4] = ["u8", "u16", "str", "bool"];

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).unwrap()
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        (!all.is_empty()).then(|| &all[self.below(all.len())])
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Leaf(&'static str),
    Unknown,
    /// A type around it.
    Back(usize),
    Option(usize),
    Seq(usize),
    Map(usize, usize),
    Struct(Vec<usize>),
    Array(usize, usize),
    Enum(Vec<usize>),
}

impl Node {
    fn parts(&self) -> Vec<usize> {
        match self {
            Self::Leaf(_) | Self::Unknown | Self::Back(_) => Vec::new(),
            Self::Option(part) | Self::Seq(part) | Self::Array(part, _) => vec![*part],
            Self::Map(key, value) => vec![*key, *value],
            Self::Struct(parts) | Self::Enum(parts) => parts.clone(),
        }
    }

    fn is_choice(&self) -> bool {
        !matches!(self, Self::Struct(_) | Self::Array(..))
    }
}

/// A type: a tree, the first node being the whole.
#[derive(Clone, Debug)]
struct Type(Vec<Node>);

impl Type {
    fn random(dice: &mut Dice) -> Self {
        let mut of = Self(Vec::new());
        of.add(dice, 4, &mut Vec::new());
        of
    }

    /// Adds a type that is at most so deep, within those around it.
    fn add(&mut self, dice: &mut Dice, depth: u32, around: &mut Vec<usize>) -> usize {
        let me = self.0.len();
        self.0.push(Node::Leaf(LEAVES[dice.below(LEAVES.len())]));
        if depth == 0 {
            if let Some(to) = self.way_back(dice, around) {
                self.0[me] = Node::Back(to);
            }
            return me;
        }
        let kind = dice.below(10);
        // What is inside must see what kind of thing is around it.
        self.0[me] = match kind {
            0 | 1 => return me,
            2..=5 => Node::Struct(Vec::new()),
            6 => Node::Array(0, 17 + dice.below(2)),
            _ => Node::Enum(Vec::new()),
        };
        around.push(me);
        let mut add = |of: &mut Self, dice: &mut Dice| of.add(dice, depth - 1, around);
        self.0[me] = match (kind, self.0[me].clone()) {
            (_, Node::Struct(_)) => {
                let parts = dice.below(4);
                Node::Struct((0..parts).map(|_| add(self, dice)).collect())
            }
            (_, Node::Array(_, len)) => Node::Array(add(self, dice), len),
            (7, _) => match dice.below(3) {
                0 => Node::Option(add(self, dice)),
                1 => Node::Seq(add(self, dice)),
                _ => Node::Map(add(self, dice), add(self, dice)),
            },
            _ => {
                let variants = dice.below(4);
                Node::Enum((0..variants).map(|_| add(self, dice)).collect())
            }
        };
        around.pop();
        me
    }

    /// One of the types around a place, of those that may have an end.
    fn way_back(&self, dice: &mut Dice, around: &[usize]) -> Option<usize> {
        let choice = around.iter().rposition(|at| self.0[*at].is_choice())?;
        dice.of(&around[..=choice]).copied()
    }

    /// The places that there are, each with those around it.
    fn places(&self) -> Vec<(usize, Vec<usize>)> {
        let (mut places, mut left) = (Vec::new(), vec![(0, Vec::new())]);
        while let Some((at, around)) = left.pop() {
            let within: Vec<usize> = around.iter().copied().chain([at]).collect();
            left.extend((self.0[at].parts().iter()).map(|part| (*part, within.clone())));
            places.push((at, around));
        }
        places
    }

    /// Gives some enum a variant at its end; `false` where there is none.
    fn append(&mut self, dice: &mut Dice) -> bool {
        let mut enums = self.places();
        enums.retain(|(at, _)| matches!(self.0[*at], Node::Enum(_)));
        let Some((at, around)) = dice.of(&enums).cloned() else {
            return false;
        };
        let mut around = [around, vec![at]].concat();
        let variant = self.add(dice, 2, &mut around);
        if let Node::Enum(variants) = &mut self.0[at] {
            variants.push(variant);
        }
        true
    }

    /// Changes something, which may come to nothing.
    fn change(&mut self, dice: &mut Dice) {
        let (at, around) = dice.of(&self.places()).unwrap().clone();
        let fresh = self.add(dice, 1, &mut [around.clone(), vec![at]].concat());
        let elsewhere = self.way_back(dice, &around);
        let changed = match self.0[at].clone() {
            Node::Leaf(_) | Node::Unknown => Node::Leaf(LEAVES[dice.below(LEAVES.len())]),
            Node::Back(to) => Node::Back(elsewhere.unwrap_or(to)),
            Node::Option(part) => Node::Seq(part),
            Node::Seq(part) => Node::Option(part),
            Node::Map(key, value) => Node::Map(value, key),
            Node::Array(part, len) => Node::Array(part, len - dice.below(2)),
            Node::Struct(parts) => Node::Struct(changed(dice, parts, fresh)),
            Node::Enum(parts) => Node::Enum(changed(dice, parts, fresh)),
        };
        self.0[at] = changed;
    }

    /// Forgets what is at some place.
    fn forget(&mut self, dice: &mut Dice) {
        let (at, _) = dice.of(&self.places()).unwrap().clone();
        self.0[at] = Node::Unknown;
    }

    fn format(&self) -> String {
        let mut text = Text {
            of: self,
            referred: vec![false; self.0.len()],
            labels: Vec::new(),
        };
        for (at, _) in self.places() {
            if let Node::Back(to) = self.0[at] {
                text.referred[to] = true;
            }
        }
        let mut parts = Vec::new();
        text.parts(0, &mut parts);
        format!("key-value/utf8/bincode({})", joined(&parts, ","))
    }

    /// What is written at places one after the other, without parts of parts and references.
    fn written(&self, at: &[usize], out: &mut Vec<usize>) {
        for at in at {
            match &self.0[*at] {
                Node::Back(to) => self.written(&[*to], out),
                Node::Struct(parts) => self.written(parts, out),
                Node::Array(part, len) => (0..*len).for_each(|_| self.written(&[*part], out)),
                _ => out.push(*at),
            }
        }
    }
}

fn changed(dice: &mut Dice, mut parts: Vec<usize>, fresh: usize) -> Vec<usize> {
    let (one, other) = (dice.below(parts.len() + 1), dice.below(parts.len() + 1));
    match dice.below(3) {
        1 if one.max(other) < parts.len() => parts.swap(one, other),
        2 if one < parts.len() => drop(parts.remove(one)),
        _ => parts.insert(one, fresh),
    }
    parts
}

/// The text of a type, as its trace is told.
struct Text<'t> {
    of: &'t Type,
    referred: Vec<bool>,
    labels: Vec<usize>,
}

fn add(runs: &mut Vec<(String, usize)>, text: String, times: usize) {
    match runs.last_mut() {
        Some((last, number)) if *last == text => *number += times,
        _ => runs.push((text, times)),
    }
}

fn joined(runs: &[(String, usize)], between: &str) -> String {
    let told = |(text, times): &(String, usize)| match times {
        1 => text.clone(),
        _ => format!("{text}*{times}"),
    };
    runs.iter().map(told).collect::<Vec<_>>().join(between)
}

impl Text<'_> {
    fn parts(&mut self, at: usize, out: &mut Vec<(String, usize)>) {
        match &self.of.0[at] {
            Node::Struct(_) | Node::Array(..) if !self.referred[at] => self.spread(at, out),
            _ => add(out, self.one(at), 1),
        }
    }

    fn spread(&mut self, at: usize, out: &mut Vec<(String, usize)>) {
        match self.of.0[at].clone() {
            Node::Array(part, len) => {
                let mut one = Vec::new();
                self.parts(part, &mut one);
                match &one[..] {
                    [] => {}
                    [(text, times)] => add(out, text.clone(), times * len),
                    _ => add(out, format!("({})", joined(&one, ",")), len),
                }
            }
            other => (other.parts().iter()).for_each(|part| self.parts(*part, out)),
        }
    }

    fn one(&mut self, at: usize) -> String {
        let mut out = String::new();
        if self.referred[at] {
            self.labels.push(at);
            let _ = write!(out, "@{}", self.labels.len());
        }
        out + &match self.of.0[at].clone() {
            Node::Leaf(name) => name.to_owned(),
            Node::Unknown => "..".to_owned(),
            Node::Back(to) => {
                let label = self.labels.iter().position(|label| *label == to);
                format!("^{}", label.unwrap() + 1)
            }
            Node::Option(part) => format!("?{}", self.one(part)),
            Node::Seq(part) => format!("[{}]", self.one(part)),
            Node::Map(key, value) => format!("{{{}:{}}}", self.one(key), self.one(value)),
            Node::Struct(_) | Node::Array(..) => {
                let mut parts = Vec::new();
                self.spread(at, &mut parts);
                match &parts[..] {
                    [(text, 1)] if !self.referred[at] => text.clone(),
                    _ => format!("({})", joined(&parts, ",")),
                }
            }
            Node::Enum(parts) => {
                let mut variants = Vec::new();
                for part in parts {
                    add(&mut variants, self.one(part), 1);
                }
                format!("<{}>", joined(&variants, "|"))
            }
        }
    }
}

/// Two types read side by side.
struct Reading<'t> {
    old: &'t Type,
    new: &'t Type,
    known: BTreeMap<(usize, usize, u32), bool>,
}

impl<'t> Reading<'t> {
    /// Whether the new type reads what the old one writes, as it was meant.
    fn reads(old: &'t Type, new: &'t Type) -> bool {
        let known = BTreeMap::new();
        Self { old, new, known }.all(&[0], &[0], FAR)
    }

    fn all(&mut self, old: &[usize], new: &[usize], far: u32) -> bool {
        let (mut was, mut is) = (Vec::new(), Vec::new());
        self.old.written(old, &mut was);
        self.new.written(new, &mut is);
        // Nothing is known of what is behind an unknown thing.
        let known = |of: &Type, all: &[usize]| all.iter().position(|at| of.0[*at] == Node::Unknown);
        let ends = [known(self.old, &was), known(self.new, &is)];
        let end = ends.into_iter().flatten().min();
        let mut pairs = was.iter().zip(&is).take(end.unwrap_or(usize::MAX));
        (end.is_some() || was.len() == is.len())
            && end.is_none_or(|end| was.len().min(is.len()) >= end)
            && pairs.all(|(was, is)| self.one(*was, *is, far))
    }

    fn one(&mut self, old: usize, new: usize, far: u32) -> bool {
        let Some(left) = far.checked_sub(1) else {
            return true;
        };
        if let Some(known) = self.known.get(&(old, new, far)) {
            return *known;
        }
        let fits = match (&self.old.0[old], &self.new.0[new]) {
            (Node::Leaf(old), Node::Leaf(new)) => old == new,
            (Node::Option(old), Node::Option(new)) | (Node::Seq(old), Node::Seq(new)) => {
                self.all(&[*old], &[*new], left)
            }
            (Node::Map(old, was), Node::Map(new, is)) => {
                self.all(&[*old], &[*new], left) && self.all(&[*was], &[*is], left)
            }
            (Node::Enum(old), Node::Enum(new)) => {
                let mut pairs = old.iter().zip(new);
                old.len() <= new.len() && pairs.all(|(old, new)| self.all(&[*old], &[*new], left))
            }
            _ => false,
        };
        self.known.insert((old, new, far), fits);
        fits
    }
}

/// What the texts say, and that it is what reading says.
fn judged(old: &Type, new: &Type) -> Fit {
    let fit = Fit::between(&old.format(), &new.format());
    let expected = match (Reading::reads(old, new), Reading::reads(new, old)) {
        (false, _) => Fit::Other,
        (true, false) => Fit::Appended,
        (true, true) => Fit::Same,
    };
    assert_eq!(fit, expected, "{} {}", old.format(), new.format());
    fit
}

#[test]
fn variants_at_the_end_are_let_in_wherever_they_are() {
    let (mut dice, mut grown) = (Dice(1), 0);
    for _ in 0..2_000 {
        let old = Type::random(&mut dice);
        let mut new = old.clone();
        let times = 1 + dice.below(3);
        if (0..times).any(|_| !new.append(&mut dice)) {
            assert_eq!(judged(&old, &new), Fit::Same);
            continue;
        }
        assert_eq!(judged(&old, &new), Fit::Appended);
        assert_eq!(judged(&new, &old), Fit::Other);
        grown += 1;
    }
    assert!(grown > 500, "{grown}");
}

#[test]
fn other_changes_are_let_in_if_the_rows_are_read_as_they_were() {
    let (mut dice, mut found) = (Dice(2), BTreeMap::new());
    for _ in 0..8_000 {
        let old = Type::random(&mut dice);
        let mut new = old.clone();
        if dice.below(2) == 0 {
            new.append(&mut dice);
        }
        new.change(&mut dice);
        *found
            .entry(format!("{:?}", judged(&old, &new)))
            .or_insert(0) += 1;
        judged(&new, &old);
    }
    assert!(
        found.len() == 3 && found.values().all(|times| *times > 100),
        "{found:?}"
    );
}

#[test]
fn what_is_not_known_is_held_against_nothing_and_what_is_known_is() {
    let (mut dice, mut found) = (Dice(3), BTreeMap::new());
    for _ in 0..8_000 {
        let mut old = Type::random(&mut dice);
        let mut new = old.clone();
        let (grown, changed) = (dice.below(2) == 0, dice.below(2) == 0);
        let grown = grown && new.append(&mut dice);
        if changed {
            new.change(&mut dice);
        }
        for side in [&mut old, &mut new] {
            (0..dice.below(3)).for_each(|_| side.forget(&mut dice));
        }
        let fit = Fit::between(&old.format(), &new.format());
        let told = format!("{fit:?} {} {}", old.format(), new.format());
        assert!(changed || fit.is_readable(), "{told}");
        assert!(Reading::reads(&old, &new) || !fit.is_readable(), "{told}");
        *found
            .entry((format!("{fit:?}"), grown, changed))
            .or_insert(0) += 1;
    }
    let times = |fit: &str, grown, changed| found[&(fit.to_owned(), grown, changed)];
    assert!(times("Undescribed", true, false) > 500, "{found:?}");
    assert!(times("Undescribed", true, true) > 500, "{found:?}");
    assert!(times("Other", true, true) > 100, "{found:?}");
}
