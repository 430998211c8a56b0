//! What a changed program means for the state that the old one left.
//!
//! Two descriptions, as [`Format::Json`](super::Format::Json) writes them, are compared by names:
//! those of stores and topics are all that reaches disks and logs. Invariant: where it is not known
//! that old state fits, it is not said to.

mod described;
mod kept;

use crate::error::{Error, Result};
use described::{Described, StoreIn, Sub};
use kept::{kept, rerouted};
use millstream_state::{Fit, condensed};
use serde_json::{Value, json};
use std::fmt;

/// What must be done before the new program may go on with the old one's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing.
    Compatible,
    /// Nothing by hand: a store is read again from its topic at the first start, which takes time.
    Restore,
    /// State and places must be forgotten, or what the reason says be done, or results are wrong.
    Reset,
}

impl Verdict {
    /// The verdict in a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Compatible => "compatible",
            Self::Restore => "restore",
            Self::Reset => "reset",
        }
    }
}

/// What one store, topic or subtopology of the two programs comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it means for existing state.
    pub verdict: Verdict,
    /// `store`, `global`, `topic` or `subtopology`.
    pub kind: &'static str,
    /// Its name, in the old program if it is in both.
    pub name: String,
    /// Why.
    pub why: String,
}

/// The difference between two programs, as far as state is concerned.
///
/// ```
/// use millstream_core::{prelude::*, topology::{Evolution, Format, Verdict}};
///
/// static WORDS: Topic<String, String> = Topic::new("words", utf8(), utf8());
/// let counted = |store: &'static str| {
///     let builder = StreamsBuilder::new();
///     let _ = builder.stream(&WORDS).group_by_key().count(store);
///     builder.build().map(|topology| topology.describe(Format::Json))
/// };
/// let renamed = Evolution::between(&counted("counts")?, &counted("word-counts")?)?;
/// assert_eq!(renamed.verdict(), Verdict::Reset);
/// assert!(renamed.to_string().contains("word-counts"));
/// # Ok::<(), millstream_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evolution {
    /// All there is to say: stores, then topics, then subtopologies.
    pub findings: Vec<Finding>,
}

impl Evolution {
    /// Compares two programs by their JSON descriptions.
    ///
    /// # Errors
    /// `Topology`, for a text that is no such description.
    pub fn between(old: &str, new: &str) -> Result<Self> {
        let old = Described::parse(old).map_err(|why| unreadable("old", &why))?;
        let new = Described::parse(new).map_err(|why| unreadable("new", &why))?;
        let mut evolution = Self {
            findings: Vec::new(),
        };
        evolution.stores(&old, &new);
        evolution.globals(&old, &new);
        evolution.topics(&old, &new);
        evolution.subtopologies(&old, &new);
        Ok(evolution)
    }

    /// The gravest of all findings.
    pub fn verdict(&self) -> Verdict {
        let all = self.findings.iter().map(|finding| finding.verdict);
        all.max().unwrap_or(Verdict::Compatible)
    }

    /// For programs: `{"verdict": .., "findings": [{"verdict", "kind", "name", "why"}, ..]}`.
    pub fn to_json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "verdict": finding.verdict.word(), "kind": finding.kind,
                "name": finding.name, "why": finding.why,
            })
        });
        json!({
            "verdict": self.verdict().word(),
            "findings": findings.collect::<Vec<_>>(),
        })
    }

    fn tell(&mut self, verdict: Verdict, kind: &'static str, name: &str, why: impl Into<String>) {
        self.findings.push(Finding {
            verdict,
            kind,
            name: name.to_owned(),
            why: why.into(),
        });
    }

    fn stores(&mut self, old: &Described, new: &Described) {
        let mut fresh: Vec<_> = new
            .stores()
            .filter(|s| old.store(s.name).is_none())
            .collect();
        for was in old.stores() {
            if let Some(is) = new.store(was.name) {
                let (verdict, why) = kept(&was, &is);
                self.tell(verdict, "store", was.name, why);
                continue;
            }
            let same = |is: &StoreIn<'_>| {
                let fit = Fit::between(&was.store.format, &is.store.format);
                matches!(fit, Fit::Same | Fit::Undescribed) && is.store.logged == was.store.logged
            };
            let near = fresh
                .iter()
                .position(|is| same(is) && is.sub.id == was.sub.id);
            match near.or_else(|| fresh.iter().position(same)) {
                Some(at) => {
                    let is = fresh.remove(at);
                    let why = format!(
                        "was it renamed to {:?}? A store is its name: the new one starts empty \
                         while the program goes on where it was. Keep the old name, or reset",
                        is.name
                    );
                    self.tell(Verdict::Reset, "store", was.name, why);
                }
                None => {
                    let why = "is removed: its rows and its changelog stay behind, unread";
                    self.tell(Verdict::Compatible, "store", was.name, why);
                }
            }
        }
        for is in fresh {
            if is.sub.sources.is_disjoint(&old.sources()) {
                let why = "is new, and so is all that it is made from";
                self.tell(Verdict::Compatible, "store", is.name, why);
            } else {
                let why = "is new, and starts empty, or with what an earlier program left under \
                           its name, while records that it would be made from are processed \
                           already: reset, unless it is meant to begin now";
                self.tell(Verdict::Reset, "store", is.name, why);
            }
        }
    }

    fn globals(&mut self, old: &Described, new: &Described) {
        // As an instance compares what it has kept.
        let same = |(old, was): &(String, String), (new, is): &(String, String)| {
            old == new && condensed(was) == condensed(is)
        };
        for (name, was) in &old.globals {
            let (verdict, why) = match new.globals.get(name) {
                None => (Verdict::Compatible, "is removed"),
                Some(is) if same(was, is) => (Verdict::Compatible, "is unchanged"),
                Some(_) => (
                    Verdict::Restore,
                    "has another topic or format: it is read again from its topic",
                ),
            };
            self.tell(verdict, "global", name, why);
        }
        for name in new
            .globals
            .keys()
            .filter(|name| !old.globals.contains_key(*name))
        {
            let why = "is new: it is read from its topic";
            self.tell(Verdict::Restore, "global", name, why);
        }
    }

    fn topics(&mut self, old: &Described, new: &Described) {
        for (name, was) in &old.repartitions {
            let (verdict, why) = match new.repartitions.get(name) {
                None => (
                    Verdict::Reset,
                    "is removed: what was written there and is not processed yet never will be. \
                     Let the program run until its input is used up, or reset"
                        .to_owned(),
                ),
                Some(is) => rerouted(was, is),
            };
            self.tell(verdict, "topic", name, why);
        }
        let known = |name: &&String| old.repartitions.contains_key(*name);
        for name in new.repartitions.keys().filter(|name| !known(name)) {
            let why = "is new: it is made at the start";
            self.tell(Verdict::Compatible, "topic", name, why);
        }
    }

    fn subtopologies(&mut self, old: &Described, new: &Described) {
        for was in &old.subs {
            let name = was.id.to_string();
            let shared = |is: &&Sub| was.shares(is);
            let near = new
                .subs
                .iter()
                .filter(|is| was.shares(is) > 0)
                .max_by_key(shared);
            let Some(is) = near else {
                let why = "is removed: the directories of its tasks stay behind, unread, for a \
                           while (state.cleanup.delay.ms)";
                self.tell(Verdict::Compatible, "subtopology", &name, why);
                continue;
            };
            if is.id == was.id {
                let why = "has the number it had";
                self.tell(Verdict::Compatible, "subtopology", &name, why);
                continue;
            }
            let why = format!(
                "has the number {} now: its tasks look for their state in {}_<partition> and not \
                 in {}_<partition>",
                is.id, is.id, was.id
            );
            let verdict = match was.stores.is_empty() {
                true => Verdict::Compatible,
                false => Verdict::Restore,
            };
            self.tell(verdict, "subtopology", &name, why);
        }
    }
}

impl fmt::Display for Evolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding {
            verdict,
            kind,
            name,
            why,
        } in &self.findings
        {
            writeln!(f, "{:<11} {kind} {name}: {why}", verdict.word())?;
        }
        let all = match self.verdict() {
            Verdict::Compatible => "the new program goes on with the state of the old one",
            Verdict::Restore => "the new program restores state at its first start",
            Verdict::Reset => "the new program does not go on with the state of the old one",
        };
        writeln!(f, "{all}")
    }
}

fn unreadable(which: &str, why: &str) -> Error {
    Error::topology(format!(
        "the {which} program is not described as `topology --format json` does it: {why}"
    ))
}
