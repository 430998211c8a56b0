//! The names of operators: made of what is stable about each, never of how many came before it.
//!
//! A source or a sink is named after its topic, an operator after the store that it is the first
//! to use, a processor after its own first one whoever shares it, and any other one after its kind
//! and the nearest of these above it: `source-lines`, `filter-after-source-lines`,
//! `aggregate-word-counts`, `process-seen`, `sink-counts`. What looks rows up names the store in
//! which it does so last, or the global table: `join-products-after-source-lines`. Of several
//! parents the first counts. Where names come out equal, those behind the first are numbered in the
//! order of the program: `filter-after-source-lines-2`. The program may say what an operator is
//! called (Kafka's `Named`), and what is below it is then named after that.
//!
//! Made names have the characters of topics' names, also where a pattern or an extension's word has
//! others, and at most [`MADE_LENGTH_MAX`] of them, but for the number.
//!
//! Invariant: a name is unique in its topology; and an operator that comes or goes changes the
//! names only of those that would be called as it is but for their numbers, of what looks rows up
//! through it, and of what is named after it or after one of these. So a filter renumbers the
//! filters that are below the same source, wherever in between it stands, but no other operator
//! there; and only what has a name of its own, a store or a topic names those that are below it. To
//! be called alike takes two operators of one kind, with these exceptions:
//! - A name that the program gives is kept from those that are made, which then get a number.
//! - The names of topics and stores can look like numbers: the second filter after `lines` and the
//!   first one after `lines-2`.
//! - Patterns may differ in nothing but characters that no topic's name has.
//! - Where an extension's operator ([`KStream::operator`](crate::dsl::KStream::operator)) shares a
//!   store, only those are named after it that use it first, as do processors behind a processor.
//!
//! A new key brings more than one operator: the topic in front of the next operator that needs keys
//! where they belong, after which that operator and those below it are named.

use super::{
    Draft, Mistake, Node, NodeKind,
    build::{TOPIC_LENGTH_MAX, check_name, is_legal},
};
use millstream_state::fnv1a;
use std::{
    collections::{BTreeMap, BTreeSet},
    panic::Location,
};

/// The words of operators that use what stores the program gives them, alone or not; one of them
/// keeps its rows in a store of its own as well. All others have stores that the DSL makes for
/// them, or look up what another one keeps.
const PROCESSORS: [&str; 3] = ["process", "process_values", "transform_values"];

/// How long a made name may be, in bytes: a longer one ends in a digest of all of it. With a number
/// behind it, it is still no longer than a topic's.
const MADE_LENGTH_MAX: usize = 240;

/// The name that a program gives an operator, and where it does.
pub(crate) type Given = (String, &'static Location<'static>);

impl Draft {
    /// Names all nodes.
    pub(super) fn name_nodes(&mut self) {
        let mut taken = self.take_given_names();
        // The words of the operators that are the first to use each store.
        let (mut first, mut anchors) = (BTreeMap::new(), Vec::new());
        for number in 0..self.nodes.len() {
            let node = &self.nodes[number];
            for store in &node.stores {
                first.entry(*store).or_insert((number, node.label));
            }
            let shares = |label| PROCESSORS.contains(&label) && PROCESSORS.contains(&node.label);
            let is_own = |&(user, label): &(usize, _)| user == number || shares(label);
            let mut stores = node.stores.iter();
            let own = stores.find(|store| first.get(*store).is_some_and(is_own));
            let own = own.and_then(|id| Some(self.stores.get(id.0)?.name.clone()));
            let parent = node.parents.first().map(|parent| parent.0);
            let above = parent.and_then(|parent| anchors.get(parent).cloned());
            let above: String = above.unwrap_or_default();
            let (name, is_anchor) = match node.name.is_empty() {
                false => (node.name.clone(), true),
                true => {
                    let (name, is_anchor) = self.made_of(node, own.as_deref(), &above);
                    (unused(&mut taken, made(&name)), is_anchor)
                }
            };
            anchors.push(if is_anchor { name.clone() } else { above });
            self.nodes[number].name = name;
        }
    }

    /// Gives nodes the names that the program gives them; all of these.
    fn take_given_names(&mut self) -> BTreeSet<String> {
        let mut first: BTreeMap<String, &Location<'_>> = BTreeMap::new();
        for (node, (name, at)) in std::mem::take(&mut self.names) {
            if let Err(why) = check_name(&name, TOPIC_LENGTH_MAX) {
                let text = format!("the operator name {name:?} {why}");
                self.mistakes.push(Mistake { at, text });
                continue;
            }
            if let Some(first) = first.insert(name.clone(), at) {
                let text = format!("the operator name {name:?} is used already at {first}");
                self.mistakes.push(Mistake { at, text });
            }
            self.nodes[node.0].name = name;
        }
        first.into_keys().collect()
    }

    /// The name of a node to which the program gives none, given the first store that is its own
    /// and what is nearest above it; and whether others may be named after it.
    fn made_of(&self, node: &Node, own: Option<&str>, above: &str) -> (String, bool) {
        let word = node.label.replace('_', "-");
        match (&node.kind, own) {
            (NodeKind::Source { topic, .. } | NodeKind::Sink { topic: Some(topic) }, _) => {
                (format!("{word}-{}", topic.shown()), true)
            }
            (_, Some(store)) => (format!("{word}-{store}"), true),
            (NodeKind::Operator | NodeKind::Sink { topic: None }, None) => {
                let met = self.looked_up(node).map(|name| format!("-{name}"));
                let met = met.unwrap_or_default();
                (format!("{word}{met}-after-{above}"), false)
            }
        }
    }

    /// What a node that has no store of its own looks up: the last one of the others', or the first
    /// global table.
    fn looked_up(&self, node: &Node) -> Option<&str> {
        let store = node.stores.last().and_then(|id| self.stores.get(id.0));
        let global = node.globals.first();
        let global = global.and_then(|number| self.globals.get(usize::from(*number)));
        let global = global.map(|global| global.name.as_str());
        store.map(|store| store.name.as_str()).or(global)
    }
}

/// A name as others can show it, whatever a pattern's or an extension's text: `sales-.*` is
/// `sales-.-`. Names grow with each that they are made of, and so are cut.
fn made(name: &str) -> String {
    let legal = |c| if is_legal(c) { c } else { '-' };
    let mut made: String = name.chars().map(legal).collect();
    if made.len() > MADE_LENGTH_MAX {
        let digest = format!("-{:016x}", fnv1a(name.as_bytes()));
        // All characters are ASCII ones.
        made.truncate(MADE_LENGTH_MAX - digest.len());
        made.push_str(&digest);
    }
    made
}

/// The name, with a number where it is taken.
fn unused(taken: &mut BTreeSet<String>, name: String) -> String {
    let numbered = (2..).map(|number: u64| format!("{name}-{number}"));
    let mut names = std::iter::once(name.clone()).chain(numbered);
    let free = names.find(|name| !taken.contains(name)).unwrap_or(name);
    taken.insert(free.clone());
    free
}
