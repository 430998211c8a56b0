//! What is read of a topology's JSON description.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Store {
    pub(super) format: String,
    pub(super) logged: bool,
    /// The topics, of those that its subtopology reads, whose records come to the operator that
    /// has it first: that keeps it, and those behind look rows up. Processors may share a store,
    /// whose topics are those of all of them.
    pub(super) sources: BTreeSet<String>,
    /// How many milliseconds back its rows reach, where it forgets what is older.
    pub(super) retention: Option<i64>,
    /// Whether its rows have headers; descriptions from before there were such stores do not say.
    pub(super) headers: bool,
}

/// A repartition topic; its format, and who says where its records go, is not told by descriptions
/// from before it was.
pub(super) struct Repartition {
    pub(super) partitions: Option<u64>,
    pub(super) format: Option<String>,
    pub(super) placed: Option<bool>,
}

pub(super) struct Sub {
    pub(super) id: u64,
    pub(super) sources: BTreeSet<String>,
    pub(super) stores: BTreeMap<String, Store>,
}

impl Sub {
    /// How many stores and topics two have in common; a store says more than a topic.
    pub(super) fn shares(&self, other: &Self) -> usize {
        let stores = self
            .stores
            .keys()
            .filter(|name| other.stores.contains_key(*name));
        2 * stores.count() + self.sources.intersection(&other.sources).count()
    }
}

/// A store and where it is.
pub(super) struct StoreIn<'d> {
    pub(super) name: &'d str,
    pub(super) sub: &'d Sub,
    pub(super) store: &'d Store,
}

/// What is read of a description.
pub(super) struct Described {
    pub(super) subs: Vec<Sub>,
    pub(super) repartitions: BTreeMap<String, Repartition>,
    /// Topic and format by name.
    pub(super) globals: BTreeMap<String, (String, String)>,
}

impl Described {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut subs = Vec::new();
        for sub in list(&json, "subtopologies")? {
            let id = sub["id"].as_u64().ok_or("a subtopology has no number")?;
            let nodes = list(sub, "nodes")?;
            let mut stores = BTreeMap::new();
            for store in list(sub, "stores")? {
                let name = text_of(store, "name")?;
                let has = |node: &&Value| {
                    let stores = node["stores"].as_array();
                    stores.is_some_and(|stores| has_text(stores, &name))
                };
                let mut users: Vec<_> = nodes.iter().filter(has).collect();
                if !users.first().is_some_and(|keeper| is_processor(keeper)) {
                    users.truncate(1);
                }
                let declared = Store {
                    format: text_of(store, "format")?,
                    logged: !store["changelog"].is_null(),
                    sources: sources_above(nodes, users)?,
                    retention: store["retention_ms"].as_i64(),
                    headers: store["headers"] == true,
                };
                stores.insert(name, declared);
            }
            let sources = (nodes.iter().filter(|node| node["kind"] == "source"))
                .map(|node| text_of(node, "topic"))
                .collect::<Result<_, _>>()?;
            subs.push(Sub {
                id,
                sources,
                stores,
            });
        }
        let mut repartitions = BTreeMap::new();
        for topic in list(&json, "repartitions")? {
            let declared = Repartition {
                partitions: topic["partitions"].as_u64(),
                format: topic["format"].as_str().map(str::to_owned),
                placed: topic["partitioner"].as_bool(),
            };
            repartitions.insert(text_of(topic, "name")?, declared);
        }
        let mut globals = BTreeMap::new();
        for global in list(&json, "globals")? {
            let made = (text_of(global, "topic")?, text_of(global, "format")?);
            globals.insert(text_of(global, "name")?, made);
        }
        Ok(Self {
            subs,
            repartitions,
            globals,
        })
    }

    pub(super) fn stores(&self) -> impl Iterator<Item = StoreIn<'_>> {
        self.subs.iter().flat_map(|sub| {
            let stores = sub.stores.iter();
            stores.map(move |(name, store)| StoreIn { name, sub, store })
        })
    }

    pub(super) fn store(&self, name: &str) -> Option<StoreIn<'_>> {
        self.stores().find(|store| store.name == name)
    }

    /// All topics that the program reads.
    pub(super) fn sources(&self) -> BTreeSet<String> {
        let sources = self.subs.iter().flat_map(|sub| &sub.sources);
        sources.cloned().collect()
    }
}

/// The topics whose records come to some operators.
fn sources_above<'v>(
    nodes: &'v [Value],
    mut operators: Vec<&'v Value>,
) -> Result<BTreeSet<String>, String> {
    let (mut known, mut sources) = (BTreeSet::new(), BTreeSet::new());
    while let Some(node) = operators.pop() {
        let name = text_of(node, "name")?;
        if node["kind"] == "source" {
            sources.insert(text_of(node, "topic")?);
        }
        let before = |other: &&Value| {
            let next = other["successors"].as_array();
            next.is_some_and(|next| has_text(next, &name))
        };
        if known.insert(name.clone()) {
            operators.extend(nodes.iter().filter(before));
        }
    }
    Ok(sources)
}

/// Whether an operator is code of the program's, by its label.
fn is_processor(node: &Value) -> bool {
    let label = node["label"].as_str();
    label.is_some_and(|label| label.starts_with("process"))
}

fn has_text(list: &[Value], text: &str) -> bool {
    list.iter().any(|one| one == text)
}

fn list<'v>(json: &'v Value, name: &str) -> Result<&'v [Value], String> {
    let list = json[name].as_array().map(Vec::as_slice);
    list.ok_or_else(|| format!("there is no list {name:?}"))
}

fn text_of(json: &Value, name: &str) -> Result<String, String> {
    let text = json[name].as_str().map(str::to_owned);
    text.ok_or_else(|| format!("there is no text {name:?}"))
}
