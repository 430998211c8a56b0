//! What can be wrong with a configuration, said so that the reader can mend it.
//!
//! Invariant: a message names the key and where its value came from, and shows no credentials.

use super::{clients, keys::KEYS, source::Source};

/// The result of building a configuration.
pub type Result<T> = std::result::Result<T, Error>;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No key has this name.
    #[error("unknown key {key:?} ({origin}){hint}")]
    Unknown {
        /// The name.
        key: String,
        /// Where it was found.
        origin: Source,
        /// A key that may have been meant, as the end of the sentence, or nothing.
        hint: String,
    },
    /// A value is not of its key's form.
    #[error("bad value {value:?} for {key} ({origin}): expected {expected}")]
    Bad {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What it should look like.
        expected: String,
        /// Where it was found.
        origin: Source,
    },
    /// A key without a default is not set.
    #[error("{key} is not set: {doc}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What it means.
        doc: &'static str,
    },
    /// A key needs another one.
    #[error("{key} = {value} ({origin}) needs {needs} to be set")]
    Needs {
        /// The key that needs.
        key: &'static str,
        /// Its value.
        value: String,
        /// Where the value was found.
        origin: Source,
        /// The key that it needs.
        needs: &'static str,
    },
    /// Transactions would be given up before they are committed.
    #[error(
        "commit.interval.ms = {interval} ({interval_origin}) must be less than \
         producer.transaction.timeout.ms = {timeout} ({timeout_origin}): the brokers abort a \
         transaction that is open for so long, and nothing would ever be committed"
    )]
    NeverCommitted {
        /// `commit.interval.ms`, in milliseconds.
        interval: i64,
        /// Where it was found.
        interval_origin: Source,
        /// `producer.transaction.timeout.ms`.
        timeout: i64,
        /// Where it was found.
        timeout_origin: Source,
    },
    /// A file cannot be read.
    #[error("configuration file {path}: {reason}")]
    File {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// A file's text is not what its extension says.
    #[error("configuration file {path}, line {line}: {reason}")]
    Syntax {
        /// Which.
        path: String,
        /// The line, counted from 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// A setting's environment variable is not UTF-8.
    #[error("the environment variable {variable} is not UTF-8")]
    NotUtf8 {
        /// Its name, with what is not UTF-8 replaced.
        variable: String,
    },
    /// A setting of the command line is not `key=value`.
    #[error("--set {key}: expected key=value")]
    Set {
        /// What was found.
        key: String,
    },
}

impl Error {
    /// No key has this name.
    pub(super) fn unknown(key: String, origin: Source) -> Self {
        let hint = match (clients::hint(&key), nearest(&key)) {
            (Some(hint), _) => format!("; {hint}"),
            (None, Some(name)) => format!("; did you mean {name}?"),
            (None, None) => String::new(),
        };
        Self::Unknown { key, origin, hint }
    }
}

/// Names longer than this are not compared: no key comes near, and the work grows with the square.
const LONGEST: usize = 80;

/// The key whose name is nearest, when it is near enough to have been meant.
fn nearest(wrong: &str) -> Option<&'static str> {
    if wrong.len() > LONGEST {
        return None;
    }
    let wrong = wrong.to_ascii_lowercase().replace(['_', '-'], ".");
    let near = KEYS
        .iter()
        .map(|key| (distance(&wrong, key.name), key.name))
        .min()?;
    let (distance, name) = near;
    (distance <= (name.len() / 4).max(2)).then_some(name)
}

/// How many bytes to insert, delete or replace to come from one to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, have) in from.bytes().enumerate() {
        // `corner` is the value above and to the left of the one being computed.
        let mut corner = line;
        let mut left = line + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, want) in row.iter_mut().skip(1).zip(to.bytes()) {
            let replaced = corner + usize::from(have != want);
            corner = *cell;
            left = replaced.min(corner + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let table = [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
            ("poll", "pool", 1),
        ];
        for (from, to, expect) in table {
            assert_eq!(distance(from, to), expect, "{from} {to}");
            assert_eq!(distance(to, from), expect, "{to} {from}");
        }
    }

    #[test]
    fn suggestions() {
        let table = [
            ("num.stream.thread", Some("num.stream.threads")),
            ("num_stream_threads", Some("num.stream.threads")),
            ("commit.interval", Some("commit.interval.ms")),
            ("STATE-DIR", Some("state.dir")),
            ("bootstrap.server", Some("bootstrap.servers")),
            ("default.key.serde", None),
            ("", None),
            (&*"x".repeat(10_000), None),
        ];
        for (wrong, expect) in table {
            assert_eq!(nearest(wrong), expect, "{wrong}");
        }
    }
}
