//! Where a database is: a file, or the URL of a server.
//!
//! Invariant: what is shown of a location, in whatever way, has no password in it.

use super::{Database, postgres::Postgres, postgres::PostgresUrl, sqlite::Sqlite};
use crate::error::{Error, Result};
use std::{fmt, path::PathBuf, str::FromStr};

/// Where a database is.
///
/// ```
/// use millstream_sink::Location;
///
/// let file: Location = "data/app.db".parse()?;
/// assert_eq!(file, Location::sqlite("data/app.db"));
///
/// let server: Location = "postgres://app:secret@db.example/shop?sslmode=verify-full".parse()?;
/// assert_eq!(server.to_string(), "postgres://app:***@db.example/shop?sslmode=verify-full");
/// # Ok::<(), millstream_sink::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// A file; it and the folders above it are made when missing.
    Sqlite(PathBuf),
    /// A database on a Postgres server, version 12 or later.
    Postgres(PostgresUrl),
}

impl Location {
    /// A SQLite database in a file.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self::Sqlite(path.into())
    }

    /// A Postgres database by its URL; [`PostgresUrl`] says what may be in it.
    ///
    /// # Errors
    /// [`Error::Location`] where it is not such a URL. The message does not repeat it.
    pub fn postgres(url: &str) -> Result<Self> {
        PostgresUrl::parse(url).map(Self::Postgres)
    }

    /// A connection for writing (not open yet), or for reading what is there already.
    pub(crate) fn open(&self, write: bool) -> Box<dyn Database> {
        match self {
            Self::Sqlite(path) => Box::new(Sqlite::new(path.clone(), write)),
            Self::Postgres(url) => Box::new(Postgres::new(url.clone(), write)),
        }
    }
}

/// A URL that begins with `postgres://` or `postgresql://` is a server; what has no `://` in it is
/// the path of a SQLite file.
impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => Self::postgres(text),
            Some((scheme, _)) => Err(Error::Location(format!(
                "no database is known by {scheme}://; there are postgres:// and the paths of \
                 SQLite files"
            ))),
            None if text.is_empty() => Err(Error::Location("it is empty".into())),
            None => Ok(Self::sqlite(text)),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(out),
            Self::Postgres(url) => url.fmt(out),
        }
    }
}
