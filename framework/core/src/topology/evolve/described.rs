//! What is read of a topology's JSON description.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Store {
    pub(super) format: String,
    pub(super) logged: bool,
}

/// A repartition topic; its format is not told by descriptions from before it was.
pub(super) struct Repartition {
    pub(super) partitions: Option<u64>,
    pub(super) format: Option<String>,
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
            let (mut sources, mut stores) = (BTreeSet::new(), BTreeMap::new());
            for node in list(sub, "nodes")? {
                if node["kind"] == "source" {
                    sources.insert(text_of(node, "topic")?);
                }
            }
            for store in list(sub, "stores")? {
                let format = text_of(store, "format")?;
                let logged = !store["changelog"].is_null();
                stores.insert(text_of(store, "name")?, Store { format, logged });
            }
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

fn list<'v>(json: &'v Value, name: &str) -> Result<&'v [Value], String> {
    let list = json[name].as_array().map(Vec::as_slice);
    list.ok_or_else(|| format!("there is no list {name:?}"))
}

fn text_of(json: &Value, name: &str) -> Result<String, String> {
    let text = json[name].as_str().map(str::to_owned);
    text.ok_or_else(|| format!("there is no text {name:?}"))
}
