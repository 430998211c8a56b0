//! Shows a configuration to people.
//!
//! Invariant: one line per key, sorted, and no line shows credentials.

use super::{
    Config,
    keys::{KEYS, is_secret},
};
use std::{collections::BTreeSet, fmt::Write};

/// What stands in for a value that no one may see.
pub(super) const HIDDEN: &str = "[hidden]";

/// Longer lines do not push the sources of all the others out of sight.
const WIDEST: usize = 60;

impl Config {
    /// Every value that holds and where it came from, one a line, credentials hidden.
    pub fn explain(&self) -> String {
        let known = KEYS.iter().map(|key| key.name);
        let names: BTreeSet<_> = self
            .entries
            .keys()
            .map(String::as_str)
            .chain(known)
            .collect();
        let lines: Vec<_> = names
            .iter()
            .map(|name| (self.line(name), self.source(name)))
            .collect();
        let widths = lines.iter().map(|(line, _)| line.chars().count());
        let width = widths.filter(|width| *width <= WIDEST).max().unwrap_or(0);
        lines
            .iter()
            .fold(String::new(), |mut text, (line, source)| {
                let written = match source {
                    Some(source) => writeln!(text, "{line:<width$}  ({source})"),
                    None => writeln!(text, "{line}"),
                };
                debug_assert!(written.is_ok(), "a String takes everything");
                text
            })
    }

    fn line(&self, name: &str) -> String {
        match self.get(name) {
            None => format!("{name} is not set"),
            Some(_) if is_secret(name) => format!("{name} = {HIDDEN}"),
            // A value with line breaks must not look like two settings.
            Some(text) if text.contains(char::is_control) => {
                format!("{name} = {}", text.escape_debug())
            }
            Some(text) => format!("{name} = {text}"),
        }
    }
}
