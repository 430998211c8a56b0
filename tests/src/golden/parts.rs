//! The parts of a program that are connected without internal topics, what becomes a task each; and
//! whether its outputs are the same wherever it runs.

use super::{
    Op,
    functions::{Map, Selector, Test},
    kind::{Kind, kinds},
    op::{How, Joining, Place, Side, Trying},
};
use anyhow::Result;
use std::collections::BTreeSet;

/// The program's topics that feed something.
type Feeds = BTreeSet<String>;

/// What is known of a program's parts.
pub struct Parts {
    /// Whether there is one only.
    pub single: bool,
    /// Whether there are internal topics.
    pub internal: bool,
    /// Why the program does not mean one thing only, if it does not.
    pub doubtful: Option<&'static str>,
    /// Whether a topic is read twice. Kafka Streams reads it once then, if it takes the program.
    pub shared: bool,
}

#[derive(Default)]
struct Finder {
    /// The part of each node. The first number of a part that others were joined to is its root.
    of: Vec<usize>,
    /// Where each part was joined to; itself if it was not.
    joined: Vec<usize>,
    /// By part, who feeds each internal topic that it reads.
    internal: Vec<Vec<Feeds>>,
    /// By node.
    feeds: Vec<Feeds>,
    /// By node, itself and those whose records reach it without an internal topic.
    above: Vec<BTreeSet<Place>>,
    diamond: bool,
    /// Whether a cogroup is read twice.
    cogrouped: bool,
}

/// Looks at a program.
///
/// # Errors
/// Where it is none.
pub fn parts(nodes: &[Op]) -> Result<Parts> {
    let kinds = kinds(nodes)?;
    let mut finder = Finder::default();
    let mut topics = BTreeSet::new();
    let mut shared = false;
    let mut cogroups = BTreeSet::new();
    for op in nodes {
        let mut feeds = Feeds::new();
        for place in op.reads() {
            feeds.extend(finder.feeds[place].iter().cloned());
            finder.cogrouped |= kinds[place] == Kind::Cogroup && !cogroups.insert(place);
        }
        if let Some(topic) = op.source() {
            shared |= !topics.insert(topic);
            feeds.insert(topic.clone());
        }
        let part = finder.part(op, &kinds, &feeds);
        finder.look_above(op, &kinds, part);
        finder.of.push(part);
        finder.feeds.push(feeds);
    }
    let roots: BTreeSet<_> = finder.of.iter().map(|part| finder.root(*part)).collect();
    let racy = roots.iter().any(|root| finder.is_racy(*root));
    // Global tables are no task's.
    let global = kinds.iter().filter(|kind| **kind == Kind::Global).count();
    Ok(Parts {
        single: roots.len() - global <= 1,
        internal: finder.internal.iter().any(|topics| !topics.is_empty()),
        doubtful: [
            (
                racy,
                "records of one step reach a part through two internal topics",
            ),
            (
                finder.diamond,
                "one record changes both sides of a table-table join",
            ),
            (
                finder.cogrouped,
                "a cogroup is aggregated twice, and has one initial value only",
            ),
            (
                changes_left_rows_twice(nodes, &kinds),
                "a record may change a row without a foreign key twice",
            ),
            (
                refuses_behind_foreign_joins(nodes),
                "what refuses what a foreign join makes refuses one record or another",
            ),
            (
                refuses_behind_shared_groups(nodes, &kinds),
                "what is refused of a group that is aggregated twice is of one record or of two",
            ),
            (
                takes_nullable(nodes, &kinds),
                "windows of values that may be null are reduced or joined",
            ),
        ]
        .into_iter()
        .find_map(|(doubtful, why)| doubtful.then_some(why)),
        shared,
    })
}

fn is_table(kind: Kind) -> bool {
    matches!(kind, Kind::Table { .. } | Kind::WindowTable(_))
}

/// Whether windows of values that may be null are reduced or joined.
fn takes_nullable(nodes: &[Op], kinds: &[Kind]) -> bool {
    nodes.iter().any(|op| match *op {
        Op::Reduce { of, .. } => matches!(kinds[of], Kind::Windowed(_)) && !present(nodes, of),
        Op::Join(Joining { of, with, .. }) => {
            let streams = [of, with];
            let mut streams = streams.iter();
            streams
                .clone()
                .all(|at| matches!(kinds[*at], Kind::Stream { .. }))
                && !streams.all(|at| present(nodes, *at))
        }
        _ => false,
    })
}

/// Whether one record may change the same row of a left join by foreign keys more than once, and
/// these keys may be null.
fn changes_left_rows_twice(nodes: &[Op], kinds: &[Kind]) -> bool {
    let mut several = Vec::new();
    for op in nodes {
        let above = op.reads().iter().any(|at: &Place| several[*at]);
        let itself = match op {
            Op::Join(joining) => matches!(kinds[joining.with], Kind::Stream { .. }),
            Op::GroupBy { of, .. } => is_table(kinds[*of]),
            Op::FlatMap { .. }
            | Op::FlatMapValues { .. }
            | Op::Try(_)
            | Op::Merge { .. }
            | Op::Process { .. }
            | Op::ProcessValues { .. }
            | Op::Cogroup { .. }
            | Op::Window(_)
            | Op::Suppress(_)
            | Op::ForeignJoin { .. } => true,
            _ => false,
        };
        several.push(above || itself);
    }
    nodes.iter().any(|op| match op {
        Op::ForeignJoin { of, kind, key, .. } => {
            *kind == Side::Left && matches!(key, Selector::Nullable(_)) && several[*of]
        }
        _ => false,
    })
}

/// Whether some node may refuse what comes of a join by a foreign key: which record is in hand then
/// depends on the ways that rows take.
fn refuses_behind_foreign_joins(nodes: &[Op]) -> bool {
    let mut behind = Vec::new();
    for op in nodes {
        let joined = matches!(op, Op::ForeignJoin { .. });
        behind.push(joined || op.reads().iter().any(|at: &Place| behind[*at]));
    }
    let mut nodes = nodes.iter().zip(behind);
    nodes.any(|(op, behind)| behind && op.refuses())
}

/// Whether some node may refuse what comes of a group behind one repartition topic of Kafka
/// Streams' and several of ours: of how many records it refuses something is not the same then.
fn refuses_behind_shared_groups(nodes: &[Op], kinds: &[Kind]) -> bool {
    let mut behind: Vec<bool> = Vec::new();
    for op in nodes {
        let shared = |at: &Place| {
            let readers = nodes.iter().filter(|op| op.reads().contains(at));
            // Windows over a group are told apart from it, but share its topic all the same.
            let group = match &nodes[*at] {
                Op::Window(windows) => windows.of,
                _ => *at,
            };
            matches!(kinds[group], Kind::Group { rekeyed: true }) && readers.count() > 1
        };
        behind.push(op.reads().iter().any(|at| shared(at) || behind[*at]));
    }
    let mut nodes = nodes.iter().zip(behind);
    nodes.any(|(op, behind)| behind && op.refuses())
}

/// Whether no null value can come from a stream or to a group.
pub fn present(nodes: &[Op], at: Place) -> bool {
    let of = |at: &Place| present(nodes, *at);
    match &nodes[at] {
        Op::Filter {
            test: Test::Present(_),
            ..
        }
        | Op::FlatMap { .. }
        | Op::FlatMapValues { .. }
        | Op::Join(_) => true,
        Op::Map { of: at, map, .. } | Op::MapValues { of: at, map, .. } => {
            matches!(map, Map::Line(_)) && of(at)
        }
        Op::Try(Trying { of: at, how, .. }) => {
            matches!(how, How::FlatMap | How::FlatMapValues) || of(at)
        }
        Op::Merge { of: at, with } => of(at) && of(with),
        Op::Window(windows) => of(&windows.of),
        Op::Filter { of: at, .. }
        | Op::FilterNot { of: at, .. }
        | Op::SelectKey { of: at, .. }
        | Op::Peek { of: at }
        | Op::Split { of: at, .. }
        | Op::Branch { of: at, .. }
        | Op::LookUp { of: at, .. }
        | Op::Repartition { of: at }
        | Op::Process { of: at, .. }
        | Op::ProcessValues { of: at, .. }
        | Op::ProcessVersions { of: at, .. }
        | Op::ProcessHeaders { of: at, .. }
        | Op::Children { of: at }
        | Op::GroupByKey { of: at }
        | Op::GroupBy { of: at, .. } => of(at),
        _ => false,
    }
}

impl Finder {
    fn part(&mut self, op: &Op, kinds: &[Kind], feeds: &Feeds) -> usize {
        let reads = op.reads();
        let Some(&first) = reads.first() else {
            return self.new_part();
        };
        match op {
            Op::Repartition { .. } => self.beyond(feeds),
            Op::Window(_)
            | Op::ToTable { .. }
            | Op::Count { .. }
            | Op::Reduce { .. }
            | Op::Aggregate { .. } => self.by_key(first, kinds),
            Op::Join(Joining { with, .. }) if kinds[*with] == Kind::Global => self.of[first],
            Op::LookUp { with, .. } if kinds[*with] == Kind::GlobalStore => self.of[first],
            Op::Join(_) | Op::Cogroup { .. } => {
                let parts: Vec<_> = reads.iter().map(|at| self.by_key(*at, kinds)).collect();
                self.unite(&parts)
            }
            Op::Merge { .. } | Op::LookUp { .. } => {
                let parts: Vec<_> = reads.iter().map(|at| self.of[*at]).collect();
                self.unite(&parts)
            }
            Op::ForeignJoin { with, .. } => {
                // Left rows go to the right by one topic, and answers come back by another.
                let (left, right) = (self.root(self.of[first]), self.root(self.of[*with]));
                let subscriptions = self.feeds[first].clone();
                self.internal[right].push(subscriptions);
                self.internal[left].push(feeds.clone());
                left
            }
            _ => self.of[first],
        }
    }

    fn look_above(&mut self, op: &Op, kinds: &[Kind], part: usize) {
        let reads = op.reads();
        let near = reads
            .iter()
            .filter(|at| self.root(self.of[**at]) == self.root(part));
        let mut above: BTreeSet<_> = near.flat_map(|at| self.above[*at].clone()).collect();
        if let (Op::Join(Joining { of, with, .. }), true) =
            (op, reads.first().is_some_and(|at| is_table(kinds[*at])))
        {
            let mut shared = self.above[*of].intersection(&self.above[*with]);
            self.diamond |= shared.any(|at| is_table(kinds[*at]));
        }
        above.insert(self.above.len());
        self.above.push(above);
    }

    /// Whether what feeds a part reaches it by several internal topics.
    fn is_racy(&self, root: usize) -> bool {
        let internal = &self.internal[root];
        let met = |i: usize, one: &Feeds| internal[..i].iter().any(|other| !one.is_disjoint(other));
        internal.iter().enumerate().any(|(i, one)| met(i, one))
    }

    /// The part in which a node's records are looked at by their key.
    fn by_key(&mut self, at: Place, kinds: &[Kind]) -> usize {
        match kinds[at] {
            Kind::Stream { rekeyed: true }
            | Kind::Group { rekeyed: true }
            | Kind::TableGroup
            | Kind::WindowTableGroup(_) => {
                let feeds = self.feeds[at].clone();
                self.beyond(&feeds)
            }
            _ => self.of[at],
        }
    }

    fn new_part(&mut self) -> usize {
        self.joined.push(self.joined.len());
        self.internal.push(Vec::new());
        self.joined.len() - 1
    }

    /// A part behind an internal topic that these feed.
    fn beyond(&mut self, feeds: &Feeds) -> usize {
        let part = self.new_part();
        self.internal[part].push(feeds.clone());
        part
    }

    fn root(&self, mut part: usize) -> usize {
        while self.joined[part] != part {
            part = self.joined[part];
        }
        part
    }

    fn unite(&mut self, parts: &[usize]) -> usize {
        let mut roots = parts
            .iter()
            .map(|part| self.root(*part))
            .collect::<Vec<_>>();
        roots.sort_unstable();
        roots.dedup();
        for other in roots.iter().skip(1) {
            self.joined[*other] = roots[0];
            let internal = std::mem::take(&mut self.internal[*other]);
            self.internal[roots[0]].extend(internal);
        }
        roots.first().copied().unwrap_or_default()
    }
}
