//! A Postgres server's URL: checked when it is read, shown without its password.
//!
//! Invariant: the password leaves this file only inside the driver's own options. Errors never
//! repeat the text, since a URL that does not parse may have its password anywhere.

use crate::error::{Error, Result};
use sqlx::postgres::PgConnectOptions;
use std::{fmt, time::Duration};

/// Parameters that the driver knows. It would only warn of others, value and all.
const DRIVER_PARAMETERS: [&str; 13] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Settings of every session, before those of the URL, which may replace them. A server that hangs
/// in one of these ways makes the sink wait and try again. The last one frees the lock on the
/// places when a client vanished without a word, so that its successor need not wait for TCP.
const SESSION: &str = "application_name=millstream\
    &options[lock_timeout]=2000\
    &options[statement_timeout]=20000\
    &options[idle_in_transaction_session_timeout]=60000";

/// What the driver's session gets when it must not write.
const READ_ONLY: &str = "options[default_transaction_read_only]=on";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than the server's own statement timeout, so that it comes into play only where the
/// server, or the way to it, is dead.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);

/// `postgres://user:password@host:port/database?parameters`, as libpq has it.
///
/// Among the parameters are `sslmode` (`disable`, `prefer`, `require`, `verify-ca`,
/// `verify-full`; `prefer` where nothing is said, which protects from nobody), `sslrootcert`,
/// `sslcert`, `sslkey`, `application_name`, `connect_timeout` (seconds, 10), and
/// `options[NAME]=VALUE` for any setting of the session: `options[search_path]=app` puts the tables
/// into the schema `app`. `answer_timeout` (seconds, 25) is Millstream's own: how long one call
/// waits before the connection counts as dead. What is not said here is taken from libpq's
/// environment variables and its `.pgpass`.
///
/// [`Display`](fmt::Display) and [`Debug`](fmt::Debug) show it without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// For the driver: what is before the question mark, and the driver's own parameters.
    base: String,
    parameters: String,
    shown: String,
    connect_timeout: Duration,
    answer_timeout: Duration,
}

impl PostgresUrl {
    pub(in crate::database) fn parse(url: &str) -> Result<Self> {
        let (base, parameters) = url.split_once('?').unwrap_or((url, ""));
        if url.contains('#') {
            // The driver would read the rest as a fragment, and sslmode would count for nothing.
            return Err(Error::Location("a # is written %23".into()));
        }
        if parameters.contains('@') && !base.contains('@') {
            let problem = "the user ends after the question mark: in a password it is written %3F";
            return Err(Error::Location(problem.into()));
        }
        let mut parsed = Self {
            base: base.into(),
            parameters: String::new(),
            shown: masked(base),
            connect_timeout: CONNECT_TIMEOUT,
            answer_timeout: ANSWER_TIMEOUT,
        };
        let mut separator = '?';
        for parameter in parameters.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "connect_timeout" => parsed.connect_timeout = seconds(name, value)?,
                "answer_timeout" => parsed.answer_timeout = seconds(name, value)?,
                _ if DRIVER_PARAMETERS.contains(&name) || is_option(name) => {
                    parsed.parameters.push('&');
                    parsed.parameters.push_str(parameter);
                }
                _ => {
                    let known = DRIVER_PARAMETERS.join(", ");
                    let problem = format!(
                        "no parameter {name:?}; there are {known}, options[NAME], \
                         connect_timeout, answer_timeout"
                    );
                    return Err(Error::Location(problem));
                }
            }
            let value = if name == "password" { "***" } else { value };
            parsed.shown.push(separator);
            parsed.shown.push_str(&format!("{name}={value}"));
            separator = '&';
        }
        parsed.options(true).map_err(Error::Location)?;
        Ok(parsed)
    }

    /// The driver's options, made anew for each connection, so that a changed `.pgpass` counts.
    pub(super) fn options(&self, write: bool) -> std::result::Result<PgConnectOptions, String> {
        let Self {
            base, parameters, ..
        } = self;
        let read_only = if write { "" } else { READ_ONLY };
        let url = format!("{base}?{SESSION}&{read_only}{parameters}");
        url.parse().map_err(|error: sqlx::Error| match error {
            sqlx::Error::Configuration(problem) => problem.to_string(),
            other => other.to_string(),
        })
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    pub(super) fn answer_timeout(&self) -> Duration {
        self.answer_timeout
    }
}

fn is_option(name: &str) -> bool {
    name.strip_prefix("options[")
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with(']'))
}

fn seconds(name: &str, value: &str) -> Result<Duration> {
    let seconds: Option<u64> = value.parse().ok().filter(|seconds| *seconds > 0);
    let problem = || Error::Location(format!("{name} is a number of seconds, at least 1"));
    Ok(Duration::from_secs(seconds.ok_or_else(problem)?))
}

/// `scheme://user:***@host/...`
fn masked(base: &str) -> String {
    let (scheme, rest) = base.split_once("://").unwrap_or(("postgres", base));
    match rest.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{scheme}://{name}:***@{host}"),
            None => base.into(),
        },
        None => base.into(),
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.shown)
    }
}
