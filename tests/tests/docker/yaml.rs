//! As much of YAML as the compose file uses: maps, lists in both styles, plain and double-quoted
//! scalars, `>-`, anchors, aliases and `<<`. All scalars are strings.
//!
//! Invariant: what is not of this subset is an error with its line, never read as something else.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

type Result<T> = std::result::Result<T, String>;

pub(crate) fn parse(text: &str) -> Result<Value> {
    let mut reader = Reader::default();
    for (number, line) in (1..).zip(text.lines()) {
        let content = line.trim_start();
        if !content.is_empty() && !content.starts_with('#') {
            let wrong = [" #", "\t", "'", "|"]
                .iter()
                .find(|sign| content.contains(**sign));
            if let Some(sign) = wrong {
                return Err(format!("line {number}: {sign:?} is not read here"));
            }
            reader
                .lines
                .push((line.len() - content.len(), content.trim_end(), number));
        }
    }
    let value = reader.block(0)?;
    match reader.peek() {
        None => Ok(value),
        Some((_, _, number)) => Err(format!("line {number}: indented differently")),
    }
}

#[derive(Default)]
struct Reader<'a> {
    /// Indent, text and number of every line that says something.
    lines: Vec<(usize, &'a str, usize)>,
    at: usize,
    anchors: BTreeMap<&'a str, Value>,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<(usize, &'a str, usize)> {
        self.lines.get(self.at).copied()
    }

    /// The map or list that stands at this indent.
    fn block(&mut self, indent: usize) -> Result<Value> {
        let (mut map, mut list, mut merged) = (Map::new(), Vec::new(), Map::new());
        while let Some((_, line, number)) = self.peek().filter(|(depth, ..)| *depth == indent) {
            let fail = |what: &str| Err(format!("line {number}: {what}"));
            self.at += 1;
            if let Some(item) = line.strip_prefix("- ") {
                list.push(self.value(item, indent, number)?);
                continue;
            }
            let Some((key, rest)) = line.split_once(':') else {
                return fail("neither a key nor an item");
            };
            if !(rest.is_empty() || rest.starts_with(' ')) || key.contains(['"', ' ']) {
                return fail("not a plain key");
            }
            let value = self.value(rest.trim_start(), indent, number)?;
            if key == "<<" {
                let Value::Object(inherited) = value else {
                    return fail("<< wants a map");
                };
                merged = inherited;
            } else if map.insert(key.to_owned(), value).is_some() {
                return fail("a key that is there twice");
            }
        }
        // What is said here wins over what is merged in, wherever it stands.
        for (key, value) in merged {
            map.entry(key).or_insert(value);
        }
        match (map.is_empty(), list.is_empty()) {
            (_, true) => Ok(Value::Object(map)),
            (true, false) => Ok(Value::Array(list)),
            (false, false) => Err(format!("indent {indent}: keys and items mixed")),
        }
    }

    /// What stands behind a key or a dash: on the line, or in the deeper lines below.
    fn value(&mut self, text: &'a str, indent: usize, number: usize) -> Result<Value> {
        let deeper = self
            .peek()
            .map(|(depth, ..)| depth)
            .filter(|depth| *depth > indent);
        if let Some(alias) = text.strip_prefix('*') {
            let known = self.anchors.get(alias).cloned();
            return known.ok_or_else(|| format!("line {number}: no anchor {alias:?}"));
        }
        if text == ">-" {
            let mut words = Vec::new();
            while let Some((_, line, _)) = self.peek().filter(|(depth, ..)| *depth > indent) {
                words.push(line);
                self.at += 1;
            }
            return Ok(Value::String(words.join(" ")));
        }
        match (text.strip_prefix('&'), deeper) {
            (Some(anchor), Some(depth)) => {
                let value = self.block(depth)?;
                self.anchors.insert(anchor, value.clone());
                Ok(value)
            }
            (None, Some(depth)) if text.is_empty() => self.block(depth),
            (None, None) if text.is_empty() => Ok(Value::Null),
            (None, None) => flow(text).map_err(|what| format!("line {number}: {what}")),
            _ => Err(format!(
                "line {number}: what stands below belongs to nothing"
            )),
        }
    }
}

/// A list in brackets, or a scalar.
fn flow(text: &str) -> Result<Value> {
    let Some(inner) = text.strip_prefix('[') else {
        return scalar(text);
    };
    let inner = inner.strip_suffix(']').ok_or("a list that is not closed")?;
    let (mut items, mut from, mut quoted) = (Vec::new(), 0, false);
    for (at, sign) in inner.char_indices() {
        quoted ^= sign == '"';
        if sign == ',' && !quoted {
            items.push(scalar(inner[from..at].trim())?);
            from = at + 1;
        }
    }
    items.push(scalar(inner[from..].trim())?);
    Ok(Value::Array(items))
}

fn scalar(text: &str) -> Result<Value> {
    let plain = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').ok_or("a quote that is not closed")?,
        // These begin something else in YAML; `: ` would be another key.
        None if text.is_empty() || text.starts_with(['{', '[', '&', '*', '!', '>', '%', '@']) => {
            return Err(format!("{text:?} is not read here"));
        }
        None if text.contains(": ") => return Err("a key within a scalar".to_owned()),
        None => text,
    };
    if plain.contains(['"', '\\']) {
        return Err("escapes are not read here".to_owned());
    }
    Ok(Value::String(plain.to_owned()))
}

#[test]
fn the_subset_is_read_and_the_rest_refused() {
    let text = "# c\nx: &a\n  k: \"v:1\"\n  l: [p, \"q,r\"]\ny:\n  <<: *a\n  k: w\n  m:\n";
    let text = text.to_owned() + "    - >-\n      one\n      two\n    - s\nn:\n";
    let value = parse(&text).unwrap();
    let expected = serde_json::json!({
        "x": {"k": "v:1", "l": ["p", "q,r"]},
        "y": {"k": "w", "l": ["p", "q,r"], "m": ["one two", "s"]},
        "n": null,
    });
    assert_eq!(value, expected);
    for bad in [
        "a: 1\na: 2",
        "a: {b: c}",
        "a: *b",
        "a: 'b'",
        "a: \"b",
        "a: [b",
        "- a\nb: c",
        "a: b # c",
        "a: b\n    c: d",
        "a",
        "a: b: c",
        "a: |",
        "a:\n    b: c\n  d: e",
    ] {
        assert!(parse(bad).is_err(), "{bad:?} was read");
    }
}
