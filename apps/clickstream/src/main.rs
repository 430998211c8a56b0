//! `clickstream`: what visitors of a shop are shown and do, as it happens.
//!
//! Events go into the topic `events`, keyed by visitor: they become sessions. Joined with the
//! catalogue they become a funnel per category, and a model predicts of everything shown whether it
//! will be clicked, is graded and learns. All results go to topics, and from there into tables.

mod generate;
mod model;
mod run;
mod standing;
mod tables;
#[cfg(test)]
mod tests;

use anyhow::Result;
use clap::{Parser, Subcommand};
use millstream::cli::{App, Inspect};
use std::process::ExitCode;

/// Commits pass megabytes between threads several times a second, which the system's allocator
/// keeps in as many arenas as there are threads; `.cargo/config.toml` sets this one up.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What this app sets where nobody else does. One partition: one model over the whole stream.
const DEFAULTS: &[(&str, &str)] = &[
    ("application.id", "clickstream"),
    ("embedded.partitions", "1"),
];

/// Sessions, a funnel and predicted clicks from a stream of what visitors of a shop do
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    app: App,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Stream made-up visitors into sessions, a funnel and predictions
    Run(run::Options),
    #[command(flatten)]
    Inspect(Inspect),
}

fn main() -> ExitCode {
    millstream::cli::log_to_stderr();
    millstream::cli::exit(work(Cli::parse()))
}

fn work(cli: Cli) -> Result<()> {
    let config = cli.app.load(DEFAULTS)?;
    match cli.verb {
        Verb::Run(options) => run::run(config, &options),
        Verb::Inspect(verb) => verb.run(model::topology()?, config),
    }
}
