//! Collects settings from their sources and checks them.
//!
//! Invariant: precedence does not depend on the order of the calls, only on the source: `--set`,
//! environment, file, the program's defaults, built-in defaults.

use super::{
    Config, Entry,
    error::{Error, Result},
    explain::HIDDEN,
    file,
    keys::{KEYS, Key, PREFIXES},
    source::Source,
};
use std::{collections::BTreeMap, ffi::OsString, path::Path};

/// How the name of an environment variable starts that is meant for us.
const ENV_PREFIX: &str = "millstream_";

/// Collects settings; [`build`](ConfigBuilder::build) makes a [`Config`] of them.
#[derive(Clone, Debug, Default)]
pub struct ConfigBuilder {
    settings: Vec<file::Setting>,
}

impl ConfigBuilder {
    /// Nothing is set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what the program itself wants where nobody says otherwise.
    #[must_use]
    pub fn defaults(mut self, settings: &[(&str, &str)]) -> Self {
        for &(key, value) in settings {
            self.settings
                .push((key.into(), value.into(), Source::Program));
        }
        self
    }

    /// Takes a `.properties` or `.toml` file; of several files the last wins.
    pub fn file(mut self, path: impl AsRef<Path>) -> Result<Self> {
        self.settings.extend(file::read(path.as_ref())?);
        Ok(self)
    }

    /// Takes the environment variables that start with `MILLSTREAM_`, in any case.
    ///
    /// In the rest of the name `_` stands for `.`, `__` for `_` and `___` for `-`, as in Kafka's
    /// container images: `MILLSTREAM_COMMIT_INTERVAL_MS`. The caller reads the environment
    /// ([`std::env::vars_os`]), so that tests need not change it. Variables of other programs may
    /// hold any bytes.
    ///
    /// # Errors
    ///
    /// An unknown key, or a variable of ours whose name or value is not UTF-8.
    pub fn env<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Result<Self>
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let variables = variables.into_iter();
        // Sorted, because the environment has no order and two spellings may name one key.
        let variables: BTreeMap<OsString, OsString> = variables
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        for (name, value) in variables {
            let shown = name.to_string_lossy().into_owned();
            let lower = shown.to_lowercase();
            let Some(rest) = lower.strip_prefix(ENV_PREFIX) else {
                continue;
            };
            let (Some(_), Ok(value)) = (name.to_str(), value.into_string()) else {
                return Err(Error::NotUtf8 { variable: shown });
            };
            let key = dotted(rest);
            // Checked here already, so that `?` stops at the source that is wrong.
            check_name(&key, &Source::Env(shown.clone()))?;
            self.settings.push((key, value, Source::Env(shown)));
        }
        Ok(self)
    }

    /// Takes one `key=value` of the command line.
    pub fn set(mut self, setting: &str) -> Result<Self> {
        let Some((key, value)) = setting.split_once('=') else {
            // Only what looks like a name is repeated: the rest may be a password.
            let legal = |letter: char| letter.is_alphanumeric() || "._-".contains(letter);
            let key = setting
                .chars()
                .take_while(|letter| legal(*letter))
                .collect();
            return Err(Error::Set { key });
        };
        let key = key.trim();
        check_name(key, &Source::Set)?;
        self.settings.push((key.into(), value.into(), Source::Set));
        Ok(self)
    }

    /// Checks everything and decides what holds.
    ///
    /// # Errors
    ///
    /// An unknown key, a value that is not of its key's form, or a key that is missing.
    pub fn build(self) -> Result<Config> {
        let mut settings = self.settings;
        // The sort is stable: within one kind of source the later setting stays the later.
        settings.sort_by_key(|(_, _, source)| source.rank());
        let mut entries = BTreeMap::new();
        for key in KEYS {
            if let Some(value) = key.default {
                entries.insert(
                    key.name.to_owned(),
                    entry(key.name, value.into(), Source::BuiltIn)?,
                );
            }
        }
        for (name, value, source) in settings {
            // An overridden value is checked as well: it is wrong, and one day it may count.
            let entry = entry(&name, value, source)?;
            entries.insert(name, entry);
        }
        let mut config = Config { entries };
        config.complete()?;
        Ok(config)
    }
}

/// Reads one value; those of other programs' keys pass as they are.
fn entry(name: &str, text: String, origin: Source) -> Result<Entry> {
    let number = match check_name(name, &origin)? {
        None => 0,
        Some(key) => key.kind.read(&text).ok_or_else(|| Error::Bad {
            key: name.into(),
            value: if key.secret() {
                HIDDEN.into()
            } else {
                text.clone()
            },
            expected: key.kind.expected(),
            origin: origin.clone(),
        })?,
    };
    Ok(Entry {
        text,
        number,
        origin,
    })
}

/// The key of that name; `None` when the name is for a client and passed on.
fn check_name(name: &str, origin: &Source) -> Result<Option<&'static Key>> {
    let rest = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
    if rest.is_some_and(|rest| !rest.is_empty()) {
        return Ok(None);
    }
    match Key::find(name) {
        Some(key) => Ok(Some(key)),
        None => Err(Error::unknown(name.into(), origin.clone())),
    }
}

/// The key that the rest of a variable's name stands for.
fn dotted(rest: &str) -> String {
    // Longest first, and through a letter that no name has: `__` must not become `.` later.
    let marked = rest.replace("___", "-").replace("__", "\0");
    marked.replace('_', ".").replace('\0', "_")
}
