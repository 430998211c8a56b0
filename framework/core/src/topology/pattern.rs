//! Sources of all topics whose names match a pattern.
//!
//! A program with such sources is declared without knowing its topics. [`Topology::matching`] makes
//! of it the program for those that there are, in which each of them is a topic like any other.
//! Invariant: no topic is read by two sources of which one is a pattern, and none of the program's
//! internal ones by a pattern.

use super::{Draft, Mistake, NodeKind, Subtopology, TopicFormat, TopicName, Topology};
use crate::error::{Error, Result};
use regex::Regex;
use std::{collections::BTreeMap, panic::Location};

/// Topics that begin so are the cluster's own.
const OF_THE_CLUSTER: &str = "__";
/// What the topics end in that a program makes for itself.
const INTERNAL: [&str; 2] = ["-changelog", "-repartition"];

/// A pattern that a source reads, and where the program says so.
#[derive(Clone)]
pub(crate) struct Pattern {
    text: String,
    regex: Regex,
    at: &'static Location<'static>,
}

impl Pattern {
    /// # Errors
    /// What is wrong with the pattern, to be read after it.
    fn new(text: &str, at: &'static Location<'static>) -> std::result::Result<Self, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        let text = text.to_owned();
        match Regex::new(&format!("^(?:{text})$")) {
            Ok(regex) => Ok(Self { text, regex, at }),
            Err(error) => Err(format!("cannot be read: {error}")),
        }
    }

    fn takes(&self, topic: &str) -> bool {
        self.regex.is_match(topic)
    }
}

impl Draft {
    /// The patterns of the program. They must be legal, and claim no topic that it names elsewhere.
    pub(super) fn take_patterns(&mut self) -> Vec<Pattern> {
        let (mut patterns, mut named) = (Vec::<Pattern>::new(), Vec::new());
        let globals = self.globals.iter();
        named.extend(globals.map(|global| (global.topic.clone(), global.at)));
        let mut found = Vec::new();
        for node in &self.nodes {
            let NodeKind::Source { topic, .. } = &node.kind else {
                continue;
            };
            match topic {
                TopicName::User(topic) => named.push((topic.clone(), node.at)),
                TopicName::Repartition(_) => {}
                TopicName::Pattern(text) => match Pattern::new(text, node.at) {
                    Ok(pattern) => patterns.push(pattern),
                    Err(why) => found.push(Mistake {
                        at: node.at,
                        text: format!("the pattern {text:?} {why}"),
                    }),
                },
            }
        }
        for (number, pattern) in patterns.iter().enumerate() {
            let text = &pattern.text;
            if let Some(first) = patterns[..number].iter().find(|p| p.text == *text) {
                let text = format!(
                    "the pattern {text:?} is already read at {}: read it once and use the stream \
                     twice",
                    first.at
                );
                found.push(Mistake {
                    at: pattern.at,
                    text,
                });
            }
            for (topic, at) in named.iter().filter(|(topic, _)| pattern.takes(topic)) {
                let text = format!(
                    "the pattern {text:?} matches the topic {topic:?}, which is read at {at}: a \
                     topic has one source"
                );
                found.push(Mistake {
                    at: pattern.at,
                    text,
                });
            }
        }
        self.mistakes.extend(found);
        patterns
    }
}

impl Topology {
    /// Whether the program has sources of patterns, so that it must be made for the topics that
    /// there are ([`Topology::matching`]) before it can run.
    pub fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// The program for the topics that there are on a log: those of `topics` that match a pattern
    /// are read in its place, in the order of their names. The application's own internal topics
    /// match none, and neither do the cluster's (`__consumer_offsets`), nor those to which dead
    /// letters go: `dead_letters` and the topics of single operators. A program that read its own
    /// dead letters would write them again, without end. A pattern that no topic matches is no
    /// error: its subtopology has no tasks, if it reads nothing else.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static SALES: Topic<String, u64> = Topic::new("sales-.*", utf8(), u64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// let _ = builder.stream_matching(&SALES).group_by_key().count("sales");
    /// let program = builder.build()?;
    /// let there = ["sales-tokyo", "sales-oslo", "stock", "app-sales-changelog"];
    /// let program = program.matching("app", None, there)?;
    /// assert_eq!(program.user_sources(), ["sales-oslo", "sales-tokyo"]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Topology`, where two patterns match a topic.
    pub fn matching<'t>(
        &self,
        application_id: &str,
        dead_letters: Option<&str>,
        topics: impl IntoIterator<Item = &'t str>,
    ) -> Result<Self> {
        let own = format!("{application_id}-");
        let of_operators = self.dead_letter_topics();
        let internal = |topic: &str| {
            let ends = INTERNAL.iter().any(|end| topic.ends_with(end));
            topic.starts_with(OF_THE_CLUSTER)
                || (topic.starts_with(&own) && ends)
                || dead_letters == Some(topic)
                || of_operators.iter().any(|dead| dead == topic)
        };
        let mut matched: BTreeMap<String, Vec<TopicName>> = BTreeMap::new();
        for pattern in &self.patterns {
            matched.insert(pattern.text.clone(), Vec::new());
        }
        for topic in topics.into_iter().filter(|topic| !internal(topic)) {
            let mut takers = self.patterns.iter().filter(|pattern| pattern.takes(topic));
            let Some(first) = takers.next() else { continue };
            if let Some(second) = takers.next() {
                return Err(Error::topology(format!(
                    "{}: the topic {topic:?} matches the pattern {:?}, and {:?} at {} too: a topic \
                     has one source",
                    second.at, second.text, first.text, first.at
                )));
            }
            let names = matched.entry(first.text.clone()).or_default();
            names.push(TopicName::User(topic.to_owned()));
        }
        for names in matched.values_mut() {
            names.sort();
            names.dedup();
        }
        Ok(self.with(matched))
    }

    /// The program in which the patterns stand for these topics.
    fn with(&self, matched: BTreeMap<String, Vec<TopicName>>) -> Self {
        let every = |topics: &[TopicName]| {
            let all = topics.iter().flat_map(|topic| read_as(&matched, topic));
            let mut all: Vec<_> = all.collect();
            all.sort();
            all.dedup();
            all
        };
        let subtopologies = self.subtopologies.iter().map(|sub| Subtopology {
            sources: every(&sub.sources),
            ..sub.clone()
        });
        let formats = self.formats.iter().flat_map(|known| {
            let topics = read_as(&matched, &known.topic);
            topics.into_iter().map(|topic| TopicFormat {
                topic,
                ..known.clone()
            })
        });
        let copartitions = self.copartitions.iter();
        Self {
            subtopologies: subtopologies.collect(),
            formats: formats.collect(),
            copartitions: copartitions
                .map(|(topics, at)| (every(topics), *at))
                .collect(),
            nodes: self.nodes.clone(),
            stores: self.stores.clone(),
            globals: self.globals.clone(),
            repartitions: self.repartitions.clone(),
            handler: self.handler.clone(),
            null_keys: self.null_keys.clone(),
            patterns: self.patterns.clone(),
            matched: Some(matched),
        }
    }

    /// The topics that are read where the program says so: those that match a pattern, or else the
    /// topic itself.
    pub(crate) fn read_for(&self, topic: &TopicName) -> Vec<TopicName> {
        match &self.matched {
            Some(matched) => read_as(matched, topic),
            None => vec![topic.clone()],
        }
    }
}

fn read_as(matched: &BTreeMap<String, Vec<TopicName>>, topic: &TopicName) -> Vec<TopicName> {
    match topic {
        TopicName::Pattern(text) => matched.get(text).cloned().unwrap_or_default(),
        named => vec![named.clone()],
    }
}
