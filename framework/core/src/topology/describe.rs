//! A topology for eyes and tools: Kafka's text format, JSON, DOT and Mermaid.
//!
//! The text is what Kafka Streams' `Topology#describe()` prints, but for the operators' names, so
//! that tools which draw that keep working. Names have legal characters only, patterns any.

use super::{Logging, Node, NodeId, NodeKind, TopicName, Topology, escape};
use serde_json::{Value, json};
use std::fmt::Write;

/// A way to write a topology down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Kafka Streams' own.
    Text,
    /// For the page and for programs.
    Json,
    /// Graphviz.
    Dot,
    /// Mermaid's flowchart, as Markdown viewers draw it.
    Mermaid,
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "dot" => Ok(Self::Dot),
            "mermaid" => Ok(Self::Mermaid),
            other => Err(format!(
                "unknown format {other:?}: text, json, dot or mermaid"
            )),
        }
    }
}

impl Topology {
    /// Writes the topology down.
    pub fn describe(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Json => format!("{:#}", self.json()),
            Format::Dot => self.dot(),
            Format::Mermaid => self.mermaid(),
        }
    }

    fn text(&self) -> String {
        let mut out = String::from("Topologies:\n");
        for (number, sub) in self.subtopologies.iter().enumerate() {
            // Kafka indents the first one by a blank more than the others.
            let indent = if number == 0 { "   " } else { "  " };
            let _ = writeln!(out, "{indent}Sub-topology: {number}");
            for &id in &sub.nodes {
                let node = &self.nodes[id.0];
                let line = match &node.kind {
                    NodeKind::Source {
                        topic: TopicName::Pattern(pattern),
                        ..
                    } => {
                        let pattern = escape::on_a_line(pattern);
                        format!("Source: {} (topics: {pattern})", node.name)
                    }
                    NodeKind::Source { topic, .. } => {
                        format!("Source: {} (topics: [{}])", node.name, topic.shown())
                    }
                    NodeKind::Sink { topic: Some(topic) } => {
                        format!("Sink: {} (topic: {})", node.name, topic.shown())
                    }
                    NodeKind::Sink { topic: None } => {
                        format!("Sink: {} (extractor class: chosen per record)", node.name)
                    }
                    NodeKind::Operator => {
                        let stores = self.store_names(node).join(", ");
                        format!("Processor: {} (stores: [{stores}])", node.name)
                    }
                };
                let _ = writeln!(out, "    {line}");
                if !matches!(node.kind, NodeKind::Sink { .. }) {
                    let _ = writeln!(out, "      --> {}", or_none(&self.successors(id)));
                }
                if !matches!(node.kind, NodeKind::Source { .. }) {
                    let parents: Vec<_> = node
                        .parents
                        .iter()
                        .map(|p| self.nodes[p.0].name.as_str())
                        .collect();
                    let _ = writeln!(out, "      <-- {}", or_none(&parents));
                }
            }
            out.push('\n');
        }
        for (number, global) in self.globals.iter().enumerate() {
            let id = self.subtopologies.len() + number;
            let (topic, store) = (&global.topic, &global.name);
            let _ = write!(
                out,
                "  Sub-topology: {id} for global store (will not generate tasks)\n    \
                 Source: global-source-{store} (topics: [{topic}])\n      \
                 --> global-table-{store}\n    \
                 Processor: global-table-{store} (stores: [{store}])\n      \
                 --> none\n      \
                 <-- global-source-{store}\n\n"
            );
        }
        out
    }

    fn json(&self) -> Value {
        let subs = self.subtopologies.iter().enumerate().map(|(id, sub)| {
            let nodes = sub.nodes.iter().map(|&id| {
                let node = &self.nodes[id.0];
                let (kind, topic) = match &node.kind {
                    NodeKind::Source { topic, .. } => ("source", Some(topic)),
                    NodeKind::Operator => ("operator", None),
                    NodeKind::Sink { topic } => ("sink", topic.as_ref()),
                };
                json!({
                    "name": node.name, "kind": kind, "label": node.label,
                    "topic": topic.map(TopicName::shown),
                    "stores": self.store_names(node),
                    "globals": self.global_names(node),
                    "successors": self.successors(id),
                    "at": node.at.to_string(),
                })
            });
            let stores = sub.stores.iter().map(|&id| {
                let store = self.store(id);
                let logged = store.logging == Logging::Changelog;
                let changelog = logged.then(|| format!("{}-changelog", store.name));
                json!({
                    "name": store.name, "changelog": changelog, "format": store.format,
                    "retention_ms": store.retention, "headers": store.headers,
                })
            });
            json!({
                "id": id,
                "nodes": nodes.collect::<Vec<_>>(),
                "stores": stores.collect::<Vec<_>>(),
            })
        });
        let repartitions = self.repartitions.iter().map(|topic| {
            let shown = TopicName::Repartition(topic.name.clone()).shown();
            json!({
                "name": shown, "partitions": topic.partitions, "format": topic.format,
                "partitioner": topic.placed,
            })
        });
        let globals = self.globals.iter().map(|global| {
            json!({
                "name": global.name, "topic": global.topic, "format": global.format,
                "at": global.at.to_string(),
            })
        });
        json!({
            "subtopologies": subs.collect::<Vec<_>>(),
            "repartitions": repartitions.collect::<Vec<_>>(),
            "globals": globals.collect::<Vec<_>>(),
        })
    }

    fn dot(&self) -> String {
        let mut out = String::from("digraph topology {\n  rankdir=LR;\n  node [fontname=sans];\n");
        for (number, sub) in self.subtopologies.iter().enumerate() {
            let _ = writeln!(out, "  subgraph cluster_{number} {{");
            let _ = writeln!(out, "    label=\"Sub-topology {number}\";");
            for &id in &sub.nodes {
                let node = &self.nodes[id.0];
                let _ = writeln!(out, "    n{} [shape=box,label=\"{}\"];", id.0, node.name);
            }
            for id in &sub.stores {
                let name = &self.store(*id).name;
                let _ = writeln!(out, "    s{} [shape=cylinder,label=\"{name}\"];", id.0);
            }
            out.push_str("  }\n");
        }
        for (number, global) in self.globals.iter().enumerate() {
            let name = &global.name;
            let _ = writeln!(out, "  g{number} [shape=cylinder,label=\"{name}\"];");
        }
        for topic in self.topics() {
            let (shown, escaped) = (topic.shown(), escape::dot(&topic.shown()));
            // A label is what it is called, unless that has to be told.
            let label = match escaped == shown {
                true => String::new(),
                false => format!(",label=\"{escaped}\""),
            };
            let _ = writeln!(out, "  \"{escaped}\" [shape=cds{label}];");
        }
        for (from, to) in self.arrows(|topic| format!("\"{}\"", escape::dot(&topic.shown()))) {
            let _ = writeln!(out, "  {from} -> {to};");
        }
        out.push_str("}\n");
        out
    }

    fn mermaid(&self) -> String {
        let mut out = String::from("flowchart LR\n");
        for (number, sub) in self.subtopologies.iter().enumerate() {
            let _ = writeln!(out, "  subgraph sub{number}[\"Sub-topology {number}\"]");
            for &id in &sub.nodes {
                let _ = writeln!(out, "    n{}[\"{}\"]", id.0, self.nodes[id.0].name);
            }
            for id in &sub.stores {
                let _ = writeln!(out, "    s{}[(\"{}\")]", id.0, self.store(*id).name);
            }
            out.push_str("  end\n");
        }
        for (number, global) in self.globals.iter().enumerate() {
            let _ = writeln!(out, "  g{number}[(\"{}\")]", global.name);
        }
        let topics = self.topics();
        for (number, topic) in topics.iter().enumerate() {
            let shown = escape::mermaid(&topic.shown());
            let _ = writeln!(out, "  t{number}>\"{shown}\"]");
        }
        let number = |topic: &TopicName| {
            format!(
                "t{}",
                topics.iter().position(|t| t == topic).unwrap_or_default()
            )
        };
        for (from, to) in self.arrows(number) {
            let _ = writeln!(out, "  {from} --> {to}");
        }
        out
    }

    /// Every arrow of the picture, between topics, nodes and stores.
    fn arrows(&self, topic_id: impl Fn(&TopicName) -> String) -> Vec<(String, String)> {
        let mut arrows = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let me = format!("n{number}");
            match &node.kind {
                NodeKind::Source { topic, .. } => arrows.push((topic_id(topic), me.clone())),
                NodeKind::Sink { topic: Some(topic) } => arrows.push((me.clone(), topic_id(topic))),
                NodeKind::Operator | NodeKind::Sink { topic: None } => {}
            }
            arrows.extend(
                node.parents
                    .iter()
                    .map(|p| (format!("n{}", p.0), me.clone())),
            );
            arrows.extend(
                node.stores
                    .iter()
                    .map(|s| (me.clone(), format!("s{}", s.0))),
            );
            let globals = node.globals.iter();
            arrows.extend(globals.map(|g| (me.clone(), format!("g{g}"))));
        }
        for (number, global) in self.globals.iter().enumerate() {
            let topic = TopicName::User(global.topic.clone());
            arrows.push((topic_id(&topic), format!("g{number}")));
        }
        arrows
    }

    fn topics(&self) -> Vec<TopicName> {
        let of_node = |node: &Node| match &node.kind {
            NodeKind::Source { topic, .. } => Some(topic.clone()),
            NodeKind::Sink { topic } => topic.clone(),
            NodeKind::Operator => None,
        };
        let mut topics: Vec<_> = (self.nodes.iter().filter_map(of_node))
            .chain((self.globals.iter()).map(|global| TopicName::User(global.topic.clone())))
            .collect();
        topics.sort();
        topics.dedup();
        topics
    }

    fn successors(&self, id: NodeId) -> Vec<&str> {
        let children = self.nodes.iter().filter(|node| node.parents.contains(&id));
        children.map(|node| node.name.as_str()).collect()
    }

    fn global_names(&self, node: &Node) -> Vec<&str> {
        let globals = (node.globals.iter()).filter_map(|n| self.globals.get(usize::from(*n)));
        globals.map(|global| global.name.as_str()).collect()
    }

    fn store_names(&self, node: &Node) -> Vec<&str> {
        node.stores
            .iter()
            .map(|id| self.store(*id).name.as_str())
            .collect()
    }
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
