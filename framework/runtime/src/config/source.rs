//! Where a value came from.
//!
//! Invariant: ranks are the order of precedence; the highest wins.

use std::fmt;

/// Where a value came from; listed from the weakest to the strongest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The list of keys.
    BuiltIn,
    /// The program, in its code.
    Program,
    /// A file.
    File {
        /// Its path.
        path: String,
        /// The line, counted from 1, where the format tells.
        line: Option<usize>,
    },
    /// An environment variable, by its name.
    Env(String),
    /// `--set` on the command line.
    Set,
}

impl Source {
    /// The rank alone: of two values from the same kind of source, the later one wins.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::BuiltIn => 0,
            Self::Program => 1,
            Self::File { .. } => 2,
            Self::Env(_) => 3,
            Self::Set => 4,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in default"),
            Self::Program => f.write_str("default of the program"),
            Self::File {
                path,
                line: Some(line),
            } => write!(f, "{path}, line {line}"),
            Self::File { path, line: None } => f.write_str(path),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Set => f.write_str("--set"),
        }
    }
}
