//! What is known of a type so far, and what to tell it next.
//!
//! A tree of nodes, one for each place of a value. Where a type can be read in several ways (an
//! enum's variants, an option with something in it, a collection with an element) each way is an
//! *alternative*, and every pass takes one that has not been seen.
//!
//! A type that contains itself meets the node of the type around it, is noted as that one
//! ([`Kind::Back`]), and read with the shortest way out: no element, nothing, a variant that ends.
//!
//! Where a type refuses a value, or what it makes of it, the last value told is another one in the
//! next pass, until there is none, and then one of the few before it; in the end what lies behind
//! stays unknown. That a collection or an option is empty is such a value too, and the other one is
//! that it never is; and so is which variant an enum is, once all have been seen.
//!
//! Invariant: every pass but the last learns something, and there is a limit to how many steps all
//! of them take.

use super::reader::Reader;

/// The node of the whole value.
pub(super) const ROOT: Id = 0;

/// How many places of a value are told apart; what lies in further ones stays unknown.
const NODES: usize = 4096;

/// How many steps all passes take together.
const STEPS: u32 = 1 << 20;

/// How many of the values told last may be why a type refuses what it has read.
const SUSPECTS: usize = 16;

/// How deep readings nest: fewer than bincode's own limit lets pass, and far more than types do.
const DEPTH: u32 = 96;

/// The parts of a variant.
pub(super) const VARIANT: &str = "variant";

/// A place of a value.
pub(super) type Id = usize;

/// That a type, or a limit, lets nothing more be read.
#[derive(Debug)]
pub(super) struct Stop;

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the shape is not known from here on")
    }
}

impl std::error::Error for Stop {}

impl ::serde::de::Error for Stop {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Self
    }
}

/// What is read at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing yet.
    Unknown,
    /// A plain value.
    Leaf(&'static str),
    /// A value of a type that is being read around it.
    Back(Id),
    /// What another place has, with nothing around it.
    Same(Id),
    /// As many places, from this one on.
    Parts(Id, usize),
    /// One place, so many times.
    Array(Id, usize),
    /// One of the alternatives, or nothing.
    Choice(Choice),
}

/// What has alternatives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Option,
    Seq,
    Map,
    Enum,
}

/// What came of an alternative.
#[derive(Clone, Copy, Debug)]
enum Seen {
    Never,
    Whole,
    /// It could not be read, when so much was known.
    Broken(u32),
}

/// One way to go on.
#[derive(Debug)]
pub(super) struct Alternative {
    pub(super) part: Id,
    seen: Seen,
    /// How many readings of it are under way.
    busy: u32,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) alternatives: Vec<Alternative>,
    /// Which value a leaf is told; of a choice that may be nothing, whether it is not any more; and
    /// of an enum which variant, of those that can be read.
    answer: usize,
    /// Its parts were read to the end, so that those never asked for are not there.
    pub(super) whole: bool,
    /// It is what a variant's number stands for that the type has not.
    pub(super) refused: bool,
}

impl Node {
    /// How many things it can be told, as far as is known.
    fn answers(&self) -> usize {
        let whole = |found: &&Alternative| matches!(found.seen, Seen::Whole);
        let readable = self.alternatives.iter().filter(whole).count();
        match self.kind {
            Kind::Leaf(name) => super::reader::answers(name),
            Kind::Choice(Choice::Enum) => readable,
            Kind::Choice(_) => readable + 1,
            _ => 1,
        }
    }
}

/// What a type is recognized by while it is being read: what is asked for, and who asks.
pub(super) type Identity = (&'static str, &'static str);

pub(super) struct Trace {
    pub(super) nodes: Vec<Node>,
    open: Vec<(Identity, Id)>,
    /// The alternatives being read, from the outside in.
    taking: Vec<Mark>,
    depth: u32,
    steps: u32,
    /// How much is known.
    learned: u32,
    /// What was known when the pass began, and whether an alternative was tried again in vain.
    before: u32,
    retried: bool,
    /// The places that were told something in this pass, in their order.
    told: Vec<Id>,
}

impl Trace {
    pub(super) fn new() -> Self {
        let mut trace = Self {
            nodes: Vec::new(),
            open: Vec::new(),
            taking: Vec::new(),
            depth: 0,
            steps: 0,
            learned: 0,
            before: 0,
            retried: false,
            told: Vec::new(),
        };
        trace.add();
        trace
    }

    /// Begins a pass; `false` when there have been enough.
    pub(super) fn begin(&mut self) -> bool {
        (self.before, self.retried) = (self.learned, false);
        self.told.clear();
        self.steps < STEPS
    }

    /// Ends a pass; `false` if another would be no different.
    pub(super) fn end(&mut self, whole: bool) -> bool {
        let learned = self.learned > self.before || self.retried;
        learned || (!whole && self.blame(0))
    }

    pub(super) fn reader(&mut self, node: Id, shortest: bool) -> Reader<'_> {
        Reader {
            trace: self,
            node,
            shortest,
        }
    }

    fn add(&mut self) -> Id {
        self.nodes.push(Node {
            kind: Kind::Unknown,
            alternatives: Vec::new(),
            answer: 0,
            whole: false,
            refused: false,
        });
        self.nodes.len() - 1
    }

    /// So many new places, one behind the other.
    pub(super) fn room(&mut self, len: usize) -> Result<Id, Stop> {
        let first = self.nodes.len();
        if len > NODES.saturating_sub(first) {
            return Err(Stop);
        }
        for _ in 0..len {
            self.add();
        }
        Ok(first)
    }

    pub(super) fn step(&mut self) -> Result<(), Stop> {
        self.steps = self.steps.saturating_add(1);
        (self.steps <= STEPS).then_some(()).ok_or(Stop)
    }

    /// Notes what is read at a place that was unknown.
    pub(super) fn note(&mut self, node: Id, kind: Kind) {
        self.nodes[node].kind = kind;
        self.learned += 1;
    }

    /// A leaf is about to be told something: which of its answers.
    pub(super) fn answer(&mut self, node: Id, name: &'static str) -> Result<usize, Stop> {
        self.step()?;
        match self.nodes[node].kind {
            Kind::Unknown => self.note(node, Kind::Leaf(name)),
            Kind::Leaf(known) if known == name => {}
            _ => return Err(Stop),
        }
        self.told.push(node);
        Ok(self.nodes[node].answer)
    }

    /// Has one of the places that were told something after the first `told` be told something
    /// else, the last one that can be.
    fn blame(&mut self, told: usize) -> bool {
        let since = self.told.iter().skip(told).rev().take(SUSPECTS);
        let suspect = since.copied().find(|place| {
            let node = &self.nodes[*place];
            node.answer + 1 < node.answers()
        });
        if let Some(place) = suspect {
            self.nodes[place].answer += 1;
            self.learned += 1;
        }
        suspect.is_some()
    }

    /// Begins what has something inside: its node, and whether the shortest way is to be taken.
    /// `make` says what a place that was unknown is.
    pub(super) fn open(
        &mut self,
        (node, shortest): (Id, bool),
        identity: Identity,
        make: impl FnOnce(&mut Self) -> Result<Kind, Stop>,
    ) -> Result<(Id, bool), Stop> {
        self.step()?;
        if self.depth == DEPTH {
            return Err(Stop);
        }
        if self.nodes[node].kind == Kind::Unknown {
            // The visitors of an enum's variants may all have one name; the enum has its own.
            let own = identity.0 != VARIANT;
            let mut open = self.open.iter().rev().filter(|_| own);
            let around = open.find(|(open, _)| *open == identity);
            let kind = match around {
                Some((_, around)) => Kind::Back(*around),
                None => make(self)?,
            };
            self.note(node, kind);
        }
        let at = match self.nodes[node].kind {
            Kind::Back(around) => (around, true),
            _ => (node, shortest),
        };
        self.depth += 1;
        self.open.push((identity, at.0));
        Ok(at)
    }

    /// Ends it.
    pub(super) fn close(&mut self) {
        self.depth -= 1;
        self.open.pop();
    }

    /// A new node's alternatives.
    pub(super) fn offer(&mut self, node: Id, parts: impl Iterator<Item = Id>) {
        let (seen, busy) = (Seen::Never, 0);
        let parts = parts.map(|part| Alternative { part, seen, busy });
        self.nodes[node].alternatives.extend(parts);
    }

    /// Which alternative to take; `None` is nothing, where that is one of the ways.
    pub(super) fn choose(
        &mut self,
        node: Id,
        shortest: bool,
        or_nothing: bool,
    ) -> Result<Option<usize>, Stop> {
        let never_nothing = self.nodes[node].answer > 0;
        if shortest && or_nothing && !never_nothing {
            self.told.push(node);
            return Ok(None);
        }
        let alternatives = || self.nodes[node].alternatives.iter();
        let whole = |found: &Alternative| matches!(found.seen, Seen::Whole);
        let mut ends = (0..)
            .zip(alternatives())
            .filter(|(_, found)| found.busy == 0 && whole(found));
        let first = ends.clone().next();
        // A type may refuse what a variant makes, and take another one.
        let ends = ends.nth(if or_nothing {
            0
        } else {
            self.nodes[node].answer
        });
        let ends = ends.or(first).map(|(at, _)| at);
        // What can be read whole can be so within itself too, if by a longer way.
        let winds = alternatives().position(whole).filter(|_| shortest);
        if shortest && ends.is_some() {
            self.told.push(node);
            return Ok(ends);
        }
        for at in 0..self.nodes[node].alternatives.len() {
            if self.nodes[node].alternatives[at].busy == 0 && self.has_more(node, at)? {
                return Ok(Some(at));
            }
        }
        let way = ends.or(winds).filter(|_| never_nothing || !or_nothing);
        self.told.push(node);
        match way {
            None if !or_nothing => Err(Stop),
            way => Ok(way),
        }
    }

    /// Whether there is more to be seen of an alternative.
    fn has_more(&mut self, node: Id, at: usize) -> Result<bool, Stop> {
        self.step()?;
        let Alternative { part, seen, .. } = self.nodes[node].alternatives[at];
        match seen {
            Seen::Never => Ok(true),
            Seen::Broken(when) => Ok(self.learned > when),
            Seen::Whole => self.has_more_in(part),
        }
    }

    fn has_more_in(&mut self, node: Id) -> Result<bool, Stop> {
        let (first, len) = match self.nodes[node].kind {
            Kind::Unknown | Kind::Leaf(_) | Kind::Back(_) => return Ok(false),
            Kind::Choice(_) => {
                for at in 0..self.nodes[node].alternatives.len() {
                    if self.has_more(node, at)? {
                        return Ok(true);
                    }
                }
                return Ok(false);
            }
            Kind::Same(part) | Kind::Array(part, _) => (part, 1),
            Kind::Parts(first, len) => (first, len),
        };
        for part in first..first + len {
            self.step()?;
            if self.has_more_in(part)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Begins an alternative, which [`Trace::taken`] ends: its place.
    pub(super) fn take(&mut self, node: Id, at: usize) -> Id {
        let mark = Mark {
            node,
            at,
            learned: self.learned,
            told: self.told.len(),
        };
        let alternative = &mut self.nodes[node].alternatives[at];
        alternative.busy += 1;
        let part = alternative.part;
        self.taking.push(mark);
        part
    }

    /// Ends all that a panic left open, as refused.
    pub(super) fn unwind(&mut self) {
        while !self.taking.is_empty() {
            self.taken(false);
        }
        self.open.clear();
        self.depth = 0;
    }

    /// Ends the alternative that was begun last.
    pub(super) fn taken(&mut self, whole: bool) {
        let Some(mark) = self.taking.pop() else {
            return;
        };
        let learned = self.learned > mark.learned;
        let broken = !whole && !learned && !self.blame(mark.told);
        let alternative = &mut self.nodes[mark.node].alternatives[mark.at];
        alternative.busy -= 1;
        match alternative.seen {
            Seen::Never | Seen::Broken(_) if whole => {
                alternative.seen = Seen::Whole;
                self.learned += 1;
            }
            Seen::Never if broken => {
                self.learned += 1;
                alternative.seen = Seen::Broken(self.learned);
            }
            Seen::Broken(_) | Seen::Whole if broken => {
                alternative.seen = Seen::Broken(self.learned);
                self.retried = true;
            }
            _ => {}
        }
    }
}

/// Where things stood when an alternative began.
struct Mark {
    node: Id,
    at: usize,
    learned: u32,
    told: usize,
}
