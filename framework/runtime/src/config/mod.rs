//! The configuration: Kafka's key names, from files, environment and command line, checked once.
//!
//! Invariant: a [`Config`] holds only values of the right form, so reading one cannot fail.
//!
//! ```
//! use millstream_runtime::config::ConfigBuilder;
//!
//! let config = ConfigBuilder::new()
//!     .defaults(&[("application.id", "reviews")])
//!     .env([("MILLSTREAM_NUM_STREAM_THREADS".to_string(), "4".to_string())])?
//!     .set("commit.interval.ms=2s")?
//!     .build()?;
//! assert_eq!(config.num_stream_threads(), 4);
//! assert_eq!(config.commit_interval_ms(), 2_000);
//!
//! let error = ConfigBuilder::new().set("commit.interval=2s").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "unknown key \"commit.interval\" (--set); did you mean commit.interval.ms?"
//! );
//! # Ok::<(), millstream_runtime::config::Error>(())
//! ```

mod builder;
mod clients;
mod error;
mod explain;
mod file;
mod getters;
mod keys;
mod properties;
mod source;
mod value;

#[cfg(test)]
mod tests;

pub use self::{
    builder::ConfigBuilder,
    error::{Error, Result},
    getters::{Durability, ExceptionHandler, ProcessingGuarantee},
    keys::{KEYS, Key, PREFIXES, is_secret},
    source::Source,
    value::Kind,
};

use std::{collections::BTreeMap, fmt};

/// What holds: every key that has a value, with its source.
#[derive(Clone)]
pub struct Config {
    entries: BTreeMap<String, Entry>,
}

/// One value.
#[derive(Clone)]
struct Entry {
    /// As it was written.
    text: String,
    /// What [`Kind::read`] made of it.
    number: i64,
    /// Where it came from.
    origin: Source,
}

/// Shows what [`Config::explain`] shows: a derived one would print passwords.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.explain())
    }
}

impl Config {
    /// The value of a key as it was written, `None` when it is not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.get(name).map(|entry| entry.text.as_str())
    }

    /// Where the value of a key came from, `None` when it is not set.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.entries.get(name).map(|entry| &entry.origin)
    }

    /// What was set under one of the [`PREFIXES`], without the prefix: for a client, unchecked.
    pub fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().filter_map(move |(name, entry)| {
            let rest = name.strip_prefix(prefix)?;
            Some((rest, entry.text.as_str()))
        })
    }
}
