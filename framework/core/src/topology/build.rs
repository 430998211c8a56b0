//! From what a builder collected to a checked [`Topology`]: subtopologies and mistakes.

use super::{
    GlobalSpec, Node, NodeId, NodeKind, Repartition, StoreId, StoreSpec, Subtopology, TopicFormat,
    TopicName, Topology, naming::Given,
};
use crate::{
    error::{Error, Result},
    record::Timestamp,
    task::ErrorHandler,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    panic::Location,
};

/// Kafka's limit for a topic name.
pub(super) const TOPIC_LENGTH_MAX: usize = 249;
/// Names that become part of a topic's leave room for `application.id` and suffix.
const NAME_LENGTH_MAX: usize = 150;

/// A mistake of the program and where it makes it.
pub(crate) struct Mistake {
    pub(crate) at: &'static Location<'static>,
    pub(crate) text: String,
}

/// Everything a `StreamsBuilder` collects.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) nodes: Vec<Node>,
    pub(crate) stores: Vec<StoreSpec>,
    pub(crate) globals: Vec<GlobalSpec>,
    pub(crate) repartitions: Vec<(Repartition, &'static Location<'static>)>,
    pub(crate) formats: Vec<TopicFormat>,
    /// Pairs of nodes whose inputs must be partitioned alike.
    pub(crate) copartitions: Vec<(NodeId, NodeId, &'static Location<'static>)>,
    /// Nodes that make something of records without a key, as left joins do (KIP-962).
    pub(crate) take_null_keys: Vec<NodeId>,
    /// Topics of which a source extracts the times.
    pub(crate) extracting: Vec<(TopicName, &'static Location<'static>)>,
    /// How long behind their ends the windows that come out of a node stay open.
    pub(crate) graces: BTreeMap<NodeId, Timestamp>,
    /// What the program calls its operators.
    pub(crate) names: BTreeMap<NodeId, Given>,
    /// What becomes of bad records where nothing else is said, and where that is.
    pub(crate) handler: Option<(ErrorHandler, &'static Location<'static>)>,
    pub(crate) mistakes: Vec<Mistake>,
}

impl Draft {
    /// Checks the program and cuts it into subtopologies.
    ///
    /// # Errors
    /// `Topology`, listing every mistake with the user's file and line.
    pub(crate) fn build(mut self) -> Result<Topology> {
        self.name_nodes();
        self.check_names();
        self.check_sources();
        self.check_stores();
        let patterns = self.take_patterns();
        if self.nodes.is_empty() {
            return Err(Error::topology(
                "the program reads no topic: start with stream() or table()",
            ));
        }
        if !self.mistakes.is_empty() {
            let lines: Vec<_> = self
                .mistakes
                .iter()
                .map(|m| format!("{}: {}", m.at, m.text))
                .collect();
            return Err(Error::topology(lines.join("\n")));
        }
        let subtopologies = self.subtopologies();
        let copartitions = (self.copartitions.iter())
            .map(|&(a, b, at)| {
                let mut topics = self.sources_above(a);
                topics.extend(self.sources_above(b));
                topics.sort();
                topics.dedup();
                (topics, at)
            })
            .collect();
        let null_keys = self.null_keys();
        let handler = self.handler.map(|(handler, _)| handler);
        for global in &mut self.globals {
            global.handlers.extend(handler.clone());
        }
        let repartitions = self
            .repartitions
            .into_iter()
            .map(|(topic, _)| topic)
            .collect();
        Ok(Topology {
            nodes: self.nodes,
            stores: self.stores,
            globals: self.globals,
            repartitions,
            formats: self.formats,
            copartitions,
            subtopologies,
            handler,
            null_keys,
            matched: patterns.is_empty().then(BTreeMap::new),
            patterns,
        })
    }

    /// For each node, whether it or some node below it, also behind repartition topics, makes
    /// something of records without a key. Other repartitions drop them.
    fn null_keys(&self) -> Vec<bool> {
        let mut wanted = vec![false; self.nodes.len()];
        for node in &self.take_null_keys {
            wanted[node.0] = true;
        }
        let mut topics = BTreeSet::new();
        // Whoever reads comes later than who writes, or is read from.
        for (number, node) in self.nodes.iter().enumerate().rev() {
            wanted[number] |= match &node.kind {
                NodeKind::Sink { topic: Some(topic) } => topics.contains(topic),
                _ => false,
            };
            if !wanted[number] {
                continue;
            }
            if let NodeKind::Source { topic, .. } = &node.kind {
                topics.insert(topic);
            }
            for parent in &node.parents {
                wanted[parent.0] = true;
            }
        }
        wanted
    }

    fn check_names(&mut self) {
        let stores = self
            .stores
            .iter()
            .map(|store| ("store", store.name.clone(), store.at));
        let globals = (self.globals.iter()).map(|global| ("store", global.name.clone(), global.at));
        let topics = self
            .repartitions
            .iter()
            .map(|(t, at)| ("repartition", t.name.clone(), *at));
        let mut seen: BTreeMap<(&str, String), &Location<'_>> = BTreeMap::new();
        let mut found = Vec::new();
        for (kind, name, at) in stores.chain(globals).chain(topics) {
            let mut texts = Vec::new();
            if let Err(why) = check_name(&name, NAME_LENGTH_MAX) {
                texts.push(format!("the {kind} name {name:?} {why}"));
            }
            if let Some(first) = seen.insert((kind, name.clone()), at) {
                texts.push(format!(
                    "the {kind} name {name:?} is already used at {first}"
                ));
            }
            // The repartition topic of a grouping is named after its store, and stores come first:
            // one mistake is told once.
            let told = found.iter().any(|mistake: &Mistake| mistake.at == at);
            if !told {
                found.extend(texts.into_iter().map(|text| Mistake { at, text }));
            }
        }
        let of_nodes = self.nodes.iter().filter_map(|node| match &node.kind {
            NodeKind::Source {
                topic: TopicName::User(topic),
                ..
            }
            | NodeKind::Sink {
                topic: Some(TopicName::User(topic)),
            } => Some((topic, node.at)),
            _ => None,
        });
        let of_nodes = of_nodes.map(|(topic, at)| (topic.as_str(), at));
        let of_globals = self.globals.iter();
        let of_globals = of_globals.map(|global| (global.topic.as_str(), global.at));
        let of_letters = self.nodes.iter().flat_map(|node| {
            let own = node.dead_letter_topics();
            own.map(|topic| (topic, node.at))
        });
        let of_program = self.handler.iter().flat_map(|(handler, at)| {
            let own = handler.own_topics();
            own.map(|topic| (topic, *at))
        });
        for (topic, at) in of_nodes
            .chain(of_globals)
            .chain(of_letters)
            .chain(of_program)
        {
            if let Err(why) = check_topic(topic) {
                let text = format!("the topic name {topic:?} {why}");
                found.push(Mistake { at, text });
            }
        }
        self.mistakes.extend(found);
    }

    /// Two sources may read one topic, but a bad record of it can have only one fate, and the
    /// reading of it one beginning.
    fn check_sources(&mut self) {
        let (mut handlers, mut resets) = (BTreeMap::new(), BTreeMap::new());
        for node in &self.nodes {
            let NodeKind::Source {
                topic,
                handler,
                reset,
            } = &node.kind
            else {
                continue;
            };
            let mut differ = |what: &str, at| {
                let text = format!("the topic {:?} is read with {what} at {at}", topic.shown());
                self.mistakes.push(Mistake { at: node.at, text });
            };
            if let Some(handler) = handler {
                let &mut (first, at) = handlers.entry(topic).or_insert((handler, node.at));
                if first != handler {
                    differ("another error policy", at);
                }
            }
            if let Some(reset) = reset {
                let &mut (first, at) = resets.entry(topic).or_insert((reset, node.at));
                if first != reset {
                    differ("another beginning", at);
                }
            }
        }
        self.check_times();
    }

    /// Nor can a record have two times.
    fn check_times(&mut self) {
        for (topic, at) in &self.extracting {
            let others = self.nodes.iter().filter(|node| {
                let read = match &node.kind {
                    NodeKind::Source { topic, .. } => Some(topic),
                    _ => None,
                };
                read == Some(topic) && node.at != *at
            });
            for other in others {
                let text = format!(
                    "the topic {:?} is read with times of its own at {at}: read it once and use \
                     the stream or table twice",
                    topic.shown()
                );
                self.mistakes.push(Mistake { at: other.at, text });
            }
        }
    }

    /// A handle of another program's store may name a store that is not here.
    fn check_stores(&mut self) {
        for node in &self.nodes {
            if node.stores.iter().any(|id| id.0 >= self.stores.len()) {
                let text = "the store was declared with another StreamsBuilder".to_owned();
                self.mistakes.push(Mistake { at: node.at, text });
            }
        }
    }

    /// Union-find over nodes: an edge, a shared store or a shared source topic joins two.
    fn subtopologies(&self) -> Vec<Subtopology> {
        let mut group: Vec<usize> = (0..self.nodes.len()).collect();
        let mut by_store: BTreeMap<StoreId, usize> = BTreeMap::new();
        let mut by_topic: BTreeMap<&TopicName, usize> = BTreeMap::new();
        for (number, node) in self.nodes.iter().enumerate() {
            for parent in &node.parents {
                join(&mut group, number, parent.0);
            }
            for store in &node.stores {
                let other = *by_store.entry(*store).or_insert(number);
                join(&mut group, number, other);
            }
            if let NodeKind::Source { topic, .. } = &node.kind {
                let other = *by_topic.entry(topic).or_insert(number);
                join(&mut group, number, other);
            }
        }
        let mut found: BTreeMap<usize, Subtopology> = BTreeMap::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let sub = found
                .entry(root(&group, number))
                .or_insert_with(|| Subtopology {
                    nodes: Vec::new(),
                    stores: Vec::new(),
                    sources: Vec::new(),
                    sinks: Vec::new(),
                });
            sub.nodes.push(NodeId(number));
            sub.stores.extend(&node.stores);
            match &node.kind {
                NodeKind::Source { topic, .. } => sub.sources.push(topic.clone()),
                NodeKind::Sink { topic: Some(topic) } => sub.sinks.push(topic.clone()),
                NodeKind::Operator | NodeKind::Sink { topic: None } => {}
            }
        }
        let mut list: Vec<_> = found.into_values().collect();
        for sub in &mut list {
            sub.stores.sort();
            sub.stores.dedup();
            sub.sources.sort();
            sub.sources.dedup();
            sub.sinks.sort();
            sub.sinks.dedup();
        }
        list
    }

    /// How long the windows that a node's records are about stay open behind their ends, where all
    /// of them are about windows; also behind repartition topics, as in Kafka Streams.
    pub(crate) fn grace_above(&self, node: NodeId) -> Option<Timestamp> {
        let mut graces: Vec<Option<Timestamp>> = Vec::new();
        let mut written: BTreeMap<&TopicName, Option<Timestamp>> = BTreeMap::new();
        let longer = |one: Option<Timestamp>, other: Option<Timestamp>| Some(one?.max(other?));
        // Parents come before their children, and who writes a topic before who reads it back.
        for (number, above) in self.nodes.iter().enumerate().take(node.0 + 1) {
            let of_parents = (above.parents.iter())
                .map(|parent| graces.get(parent.0).copied().flatten())
                .reduce(longer)
                .flatten();
            let inherited = match &above.kind {
                NodeKind::Source { topic, .. } => written.get(topic).copied().flatten(),
                NodeKind::Operator | NodeKind::Sink { .. } => of_parents,
            };
            if let NodeKind::Sink {
                topic: Some(topic @ TopicName::Repartition(_)),
            } = &above.kind
            {
                let by_all = match written.get(topic) {
                    Some(by_others) => longer(*by_others, inherited),
                    None => inherited,
                };
                written.insert(topic, by_all);
            }
            let own = self.graces.get(&NodeId(number)).copied();
            graces.push(own.or(inherited));
        }
        graces.get(node.0).copied().flatten()
    }

    /// The source topics from which a node's records can come.
    pub(crate) fn sources_above(&self, node: NodeId) -> Vec<TopicName> {
        sources_above(&self.nodes, vec![node])
    }

    /// For each node whether a node's records can come from it within a task; the node itself too.
    pub(crate) fn above(&self, node: NodeId) -> Vec<bool> {
        above(&self.nodes, vec![node])
    }
}

/// The source topics from which records can come to any of some nodes.
pub(super) fn sources_above(nodes: &[Node], below: Vec<NodeId>) -> Vec<TopicName> {
    let above = above(nodes, below);
    let nodes = nodes.iter().zip(above).filter(|(_, above)| *above);
    let source = |node: &Node| match &node.kind {
        NodeKind::Source { topic, .. } => Some(topic.clone()),
        NodeKind::Operator | NodeKind::Sink { .. } => None,
    };
    nodes.filter_map(|(node, _)| source(node)).collect()
}

/// For each node whether records of any of some nodes can come from it; these themselves too.
fn above(nodes: &[Node], below: Vec<NodeId>) -> Vec<bool> {
    let (mut open, mut seen) = (below, vec![false; nodes.len()]);
    while let Some(id) = open.pop() {
        // Once each: the paths through diamonds double with every one of them.
        if !std::mem::replace(&mut seen[id.0], true) {
            open.extend(&nodes[id.0].parents);
        }
    }
    seen
}

/// Roots are always the smallest number of their group, so that groups come out in program order.
fn join(group: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(group, a), root(group, b));
    group[a.max(b)] = a.min(b);
}

fn root(group: &[usize], mut number: usize) -> usize {
    while group[number] != number {
        number = group[number];
    }
    number
}

/// Whether names of topics may have the character.
pub(super) fn is_legal(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Kafka's rule for topic names.
///
/// # Errors
/// What is wrong with the name, to be read after it.
pub(crate) fn check_topic(name: &str) -> std::result::Result<(), String> {
    check_name(name, TOPIC_LENGTH_MAX)
}

/// The same for store and repartition names, which become part of topic names.
pub(super) fn check_name(name: &str, length_max: usize) -> std::result::Result<(), String> {
    if name.is_empty() {
        Err("is empty".to_owned())
    } else if name == "." || name == ".." {
        Err("would be a directory".to_owned())
    } else if name.len() > length_max {
        Err(format!("is longer than {length_max} characters"))
    } else if !name.chars().all(is_legal) {
        Err("may only hold ASCII letters, digits, '.', '_' and '-'".to_owned())
    } else {
        Ok(())
    }
}
