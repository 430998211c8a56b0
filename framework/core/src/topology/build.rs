//! From what a builder collected to a checked [`Topology`]: subtopologies and mistakes.

use super::{
    Node, NodeId, NodeKind, Repartition, StoreId, StoreSpec, Subtopology, TopicFormat, TopicName,
    Topology,
};
use crate::error::{Error, Result};
use std::{collections::BTreeMap, panic::Location};

/// Kafka's limit for a topic name; ours leaves room for `application.id` and suffix.
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
    pub(crate) repartitions: Vec<(Repartition, &'static Location<'static>)>,
    pub(crate) formats: Vec<TopicFormat>,
    /// Pairs of nodes whose inputs must be partitioned alike.
    pub(crate) copartitions: Vec<(NodeId, NodeId, &'static Location<'static>)>,
    pub(crate) mistakes: Vec<Mistake>,
}

impl Draft {
    /// Checks the program and cuts it into subtopologies.
    ///
    /// # Errors
    /// `Topology`, listing every mistake with the user's file and line.
    pub(crate) fn build(mut self) -> Result<Topology> {
        self.check_names();
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
        let repartitions = self
            .repartitions
            .into_iter()
            .map(|(topic, _)| topic)
            .collect();
        Ok(Topology {
            nodes: self.nodes,
            stores: self.stores,
            repartitions,
            formats: self.formats,
            copartitions,
            subtopologies,
        })
    }

    fn check_names(&mut self) {
        let stores = self
            .stores
            .iter()
            .map(|store| ("store", store.name.clone(), store.at));
        let topics = self
            .repartitions
            .iter()
            .map(|(t, at)| ("repartition", t.name.clone(), *at));
        let mut seen: BTreeMap<(&str, String), &Location<'_>> = BTreeMap::new();
        let mut found = Vec::new();
        for (kind, name, at) in stores.chain(topics) {
            if let Err(why) = check_name(&name) {
                found.push(Mistake {
                    at,
                    text: format!("the {kind} name {name:?} {why}"),
                });
            }
            if let Some(first) = seen.insert((kind, name.clone()), at) {
                let text = format!("the {kind} name {name:?} is already used at {first}");
                found.push(Mistake { at, text });
            }
        }
        for node in &self.nodes {
            let topic = match &node.kind {
                NodeKind::Source {
                    topic: TopicName::User(name),
                    ..
                }
                | NodeKind::Sink {
                    topic: Some(TopicName::User(name)),
                } => name,
                _ => continue,
            };
            if let Err(why) = check_name(topic) {
                found.push(Mistake {
                    at: node.at,
                    text: format!("the topic name {topic:?} {why}"),
                });
            }
        }
        self.mistakes.extend(found);
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

    /// The source topics from which a node's records can come.
    fn sources_above(&self, node: NodeId) -> Vec<TopicName> {
        let (mut open, mut found) = (vec![node], Vec::new());
        while let Some(id) = open.pop() {
            let node = &self.nodes[id.0];
            if let NodeKind::Source { topic, .. } = &node.kind {
                found.push(topic.clone());
            }
            open.extend(&node.parents);
        }
        found
    }
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

/// Kafka's rule for topic names, which store and repartition names become part of.
fn check_name(name: &str) -> std::result::Result<(), &'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        Err("is empty")
    } else if name == "." || name == ".." {
        Err("would be a directory")
    } else if name.len() > NAME_LENGTH_MAX {
        Err("is longer than 150 characters")
    } else if !name.chars().all(legal) {
        Err("may only hold ASCII letters, digits, '.', '_' and '-'")
    } else {
        Ok(())
    }
}
