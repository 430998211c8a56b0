//! The names of operators: made of what is stable about each, never of how many came before it.
//!
//! A source or a sink is named after its topic, an operator after the store that it is the first
//! to use, a processor after its own first one whoever shares it, and any other one after its kind
//! and the nearest of these above it: `source-lines`, `filter-after-source-lines`,
//! `aggregate-word-counts`, `process-seen`, `sink-counts`. Where operators are equal in all of
//! that, those behind the first are numbered in the order of the program:
//! `filter-after-source-lines-2`. The program may say what an operator is called (Kafka's
//! `Named`), and what is below it is then named after that.
//!
//! Invariant: a name is unique in its topology; and an operator that comes or goes changes the
//! names only of those that are of its kind and at its place, or that are named after it. Only an
//! extension's operator ([`KStream::operator`](crate::dsl::KStream::operator)) that shares a store
//! is at the place of all those that use it.

use super::{
    Draft, Mistake, Node, NodeKind,
    build::{TOPIC_LENGTH_MAX, check_name},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    panic::Location,
};

/// The words of operators that use what stores the program gives them, alone or not. All others
/// have stores that the DSL makes for them, or look up what another one keeps.
const PROCESSORS: [&str; 2] = ["process", "process_values"];

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
                    (unused(&mut taken, name), is_anchor)
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

/// The name, with a number where it is taken.
fn unused(taken: &mut BTreeSet<String>, name: String) -> String {
    let numbered = (2..).map(|number: u64| format!("{name}-{number}"));
    let mut names = std::iter::once(name.clone()).chain(numbered);
    let free = names.find(|name| !taken.contains(name)).unwrap_or(name);
    taken.insert(free.clone());
    free
}
