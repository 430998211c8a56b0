//! A shape as a text.
//!
//! What has the same bytes has the same text: parts of parts stand beside the others, a struct of
//! one field is that field, and raw bytes are a list of bytes.

use super::trace::{Choice, Id, Kind, ROOT, Trace};
use std::fmt::Write;

/// The text of what is known of a type: its parts with commas between them.
pub(super) fn of(trace: &Trace) -> String {
    let mut text = Text {
        trace,
        referred: vec![false; trace.nodes.len()],
        labels: Vec::new(),
    };
    for node in &trace.nodes {
        if let Kind::Back(to) = node.kind {
            let to = text.place(to);
            text.referred[to] = true;
        }
    }
    let mut parts = Runs::default();
    text.parts(ROOT, &mut parts);
    parts.joined(",")
}

/// Texts one behind the other; equal ones are counted.
#[derive(Default)]
struct Runs(Vec<(String, usize)>);

impl Runs {
    fn add(&mut self, text: String, times: usize) {
        match self.0.last_mut() {
            Some((last, number)) if *last == text => *number = number.saturating_add(times),
            _ if times == 0 => {}
            _ => self.0.push((text, times)),
        }
    }

    fn joined(&self, between: &str) -> String {
        let mut out = String::new();
        for (text, times) in &self.0 {
            if !out.is_empty() {
                out.push_str(between);
            }
            out.push_str(text);
            if *times > 1 {
                let _ = write!(out, "*{times}");
            }
        }
        out
    }
}

struct Text<'t> {
    trace: &'t Trace,
    /// Whether something inside a place is of its type.
    referred: Vec<bool>,
    /// Those of which that is so, in the order in which they come.
    labels: Vec<Id>,
}

impl Text<'_> {
    /// The place itself, where others only stand for it.
    fn place(&self, mut node: Id) -> Id {
        while let Kind::Same(part) = self.trace.nodes[node].kind {
            node = part;
        }
        node
    }

    /// Adds a place's parts, or the place where it has none, or must be told as one.
    fn parts(&mut self, node: Id, out: &mut Runs) {
        let node = self.place(node);
        match self.trace.nodes[node].kind {
            Kind::Parts(..) | Kind::Array(..) if !self.referred[node] => self.spread(node, out),
            _ => out.add(self.one(node), 1),
        }
    }

    /// Adds the parts of a tuple or an array.
    fn spread(&mut self, node: Id, out: &mut Runs) {
        match self.trace.nodes[node].kind {
            Kind::Parts(first, mut len) => {
                let nodes = &self.trace.nodes;
                let whole = nodes[node].whole;
                while whole && len > 0 && nodes[first + len - 1].kind == Kind::Unknown {
                    len -= 1;
                }
                (first..first + len).for_each(|part| self.parts(part, out));
            }
            Kind::Array(each, len) => {
                let mut one = Runs::default();
                self.parts(each, &mut one);
                match &one.0[..] {
                    [] => {}
                    [(text, times)] => out.add(text.clone(), times.saturating_mul(len)),
                    _ => out.add(format!("({})", one.joined(",")), len),
                }
            }
            _ => {}
        }
    }

    /// A place, as one.
    fn one(&mut self, node: Id) -> String {
        let node = self.place(node);
        let mut out = String::new();
        if self.referred[node] {
            self.labels.push(node);
            let _ = write!(out, "@{}", self.labels.len());
        }
        match self.trace.nodes[node].kind {
            Kind::Unknown | Kind::Same(_) => out.push_str(".."),
            Kind::Leaf(name) => out.push_str(name),
            Kind::Back(to) => {
                let to = self.place(to);
                let label = self.labels.iter().position(|label| *label == to);
                let _ = write!(out, "^{}", label.map_or(0, |label| label + 1));
            }
            Kind::Parts(..) | Kind::Array(..) => out.push_str(&self.group(node)),
            Kind::Choice(choice) => out.push_str(&self.choice(node, choice)),
        }
        out
    }

    /// Parts in parentheses; a single one of a type that nothing refers to needs none.
    fn group(&mut self, node: Id) -> String {
        let mut parts = Runs::default();
        self.spread(node, &mut parts);
        match &parts.0[..] {
            [(text, 1)] if !self.referred[node] => text.clone(),
            _ => format!("({})", parts.joined(",")),
        }
    }

    fn choice(&mut self, node: Id, choice: Choice) -> String {
        let alternatives = &self.trace.nodes[node].alternatives;
        let mut parts: Vec<Id> = alternatives.iter().map(|found| found.part).collect();
        let first = parts.first().copied().unwrap_or(node);
        match choice {
            Choice::Option => format!("?{}", self.one(first)),
            Choice::Seq => format!("[{}]", self.one(first)),
            Choice::Map => match self.trace.nodes[first].kind {
                Kind::Parts(key, 2) => format!("{{{}:{}}}", self.one(key), self.one(key + 1)),
                _ => "{..:..}".to_owned(),
            },
            Choice::Enum => {
                let refused = |part: &&Id| self.trace.nodes[**part].refused;
                let aliases = parts.iter().rev().take_while(refused).count();
                parts.truncate(parts.len() - aliases);
                let mut variants = Runs::default();
                for part in parts {
                    variants.add(self.one(part), 1);
                }
                format!("<{}>", variants.joined("|"))
            }
        }
    }
}
