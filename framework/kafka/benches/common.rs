//! What the programs of the side-by-side benches share: their options, and a clock.
//!
//! Invariant: an option that is missing or no number is an error that names it, never a default.

use anyhow::{Context, Result};
use std::{collections::BTreeMap, time::Instant};

/// `name=value` words of a command line.
pub(crate) struct Options(BTreeMap<String, String>);

impl Options {
    /// Reads them.
    pub(crate) fn new(words: impl Iterator<Item = String>) -> Result<Self> {
        let pair = |word: String| {
            let (name, value) = word.split_once('=').with_context(|| word.clone())?;
            Ok((name.to_owned(), value.to_owned()))
        };
        words.map(pair).collect::<Result<_>>().map(Self)
    }

    /// A text that must be there.
    pub(crate) fn text(&self, name: &str) -> Result<&str> {
        let found = self.0.get(name).map(String::as_str);
        found.with_context(|| format!("no option {name}"))
    }

    /// A number that must be there.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T> {
        let text = self.text(name)?;
        let number = text.parse().ok();
        number.with_context(|| format!("{name}={text} is no number of its kind"))
    }
}

/// A moment, to take spans from.
#[expect(
    clippy::disallowed_methods,
    reason = "these programs measure time, and nothing they compute depends on it"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
