//! `sentiment`: learns, while texts stream by, whether they are favourable.
//!
//! Texts go into the topic `reviews`; a model that is the state of a task predicts each one, is
//! graded on it and learns from it; predictions go to the topic `predictions` and from there into a
//! table.

mod model;
mod run;
mod source;

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
    ("application.id", "sentiment"),
    ("embedded.partitions", "1"),
    ("rocksdb.block.cache.bytes", "16MiB"),
    ("rocksdb.write.buffer.bytes", "16MiB"),
];

/// Learns, while texts stream by, whether they are favourable
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
    /// Stream texts, and predict, grade and learn each of them
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
