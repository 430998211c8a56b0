//! What every `run` can be told.
//!
//! Invariant: no error repeats what a database was said to be, since a password may be in it.

use crate::Program;
use clap::{
    Arg, Args, Command, Error, ValueEnum,
    builder::TypedValueParser,
    error::{ErrorKind, Result},
};
use millstream_sink::Location;
use std::ffi::OsStr;

/// What every `run` can be told, to be flattened into an app's own options.
#[derive(Args, Clone, Debug)]
pub struct RunOptions {
    /// End when every record is processed and every result is in its table; of several instances
    /// each looks to its own partitions
    #[arg(long)]
    pub(super) until_caught_up: bool,
    /// The tables' database: a file, or postgres://user:password@host/database; without it, a
    /// SQLite file beside the state
    #[arg(long, value_name = "FILE|URL", value_parser = Database)]
    database: Option<Location>,
    /// Serve no page, metrics and queries
    #[arg(long)]
    pub(super) no_http: bool,
    /// How to tell the result at the end
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(super) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people, on standard error
    Text,
    /// One JSON object as the last line of standard output
    Json,
}

impl RunOptions {
    /// The database that the tables are in: what was asked for, or the file beside the state.
    pub fn location(&self, program: &Program, file: &str) -> Location {
        let beside = || Location::sqlite(program.root().join(file));
        self.database.clone().unwrap_or_else(beside)
    }
}

/// Reads a [`Location`]. The parser that clap makes of a `FromStr` shows the whole value where it
/// cannot be read, and so the password of a URL with a slip in it.
#[derive(Clone)]
struct Database;

impl TypedValueParser for Database {
    type Value = Location;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<Location> {
        let refuse = |why: String| -> Error {
            let told = format!("bad value for '--database <FILE|URL>': {why}");
            command.clone().error(ErrorKind::ValueValidation, told)
        };
        let text = value.to_str();
        let text = text.ok_or_else(|| refuse("it is not UTF-8".into()))?;
        text.parse()
            .map_err(|error: millstream_sink::Error| refuse(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        run: RunOptions,
    }

    /// What is shown of a command line, whether it is taken or not.
    fn shown(database: &str) -> String {
        match Cli::try_parse_from(["app", "--database", database]) {
            Ok(taken) => format!("{:?}", taken.run),
            Err(refused) => format!("{refused} {refused:?}"),
        }
    }

    #[test]
    fn no_password_is_shown_of_a_database_that_cannot_be_read() {
        for (database, why) in [
            ("postgres://app:xyz#xyz@db/shop", "#"),
            ("postgres://app:xyz@db/shop?sslmode=maybe", "ssl"),
            ("postgres://app:xyz@db:port/shop", "port"),
            ("mysql://app:xyz@db/shop", "mysql"),
        ] {
            let told = shown(database);
            assert!(!told.contains("xyz"), "{told}");
            assert!(told.contains("--database") && told.contains(why), "{told}");
        }
        for slip in ["/", "?", "@", " ", ":", "=", "&", "%zz"] {
            let told = shown(&format!("postgres://app:xyz{slip}xyz@db/shop"));
            assert!(!told.contains("xyz"), "{told}");
        }
        assert!(shown("postgres://app:xyz@db/shop").contains("Postgres"));
    }
}
