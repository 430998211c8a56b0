//! `retail`: a shop's invoices as they come, as sales per product, hour and day.
//!
//! Lines of invoices go into the topic `invoice-lines`, keyed by product. Cancellations correct the
//! windows they fall into. When a day has closed, its best products are ranked and each product's
//! next day is forecast. All results go to topics, and from there into tables.

mod forecast;
mod generate;
mod model;
mod parse;
mod ranking;
mod run;
mod source;
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

/// What this app sets where nobody else does. One partition: a day is ranked when it has closed for
/// all products.
const DEFAULTS: &[(&str, &str)] = &[("application.id", "retail"), ("embedded.partitions", "1")];

/// Sales per product, hour and day, rankings and forecasts from a stream of invoices
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
    /// Stream invoice lines into sales, rankings and forecasts
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
