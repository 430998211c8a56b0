//! `clickstream run`: everything put together, from the visitors to the tables.

use crate::{
    generate::{Catalogue, Visitors},
    model::{self, CATALOGUE, EVENTS, Models, PREDICTIONS},
    tables,
};
use anyhow::Result;
use clap::Args;
use millstream::{
    Program,
    run::{Run, RunOptions, Sight},
    runtime::config::Config,
};

/// How much to stream, and when to end.
#[derive(Args)]
pub(crate) struct Options {
    /// Stream this many events of made-up visitors
    #[arg(long, value_name = "N")]
    generate: u64,
    #[command(flatten)]
    run: RunOptions,
}

pub(crate) fn run(config: Config, options: &Options) -> Result<()> {
    let program = Program::open(model::topology()?, config)?.predictions(PREDICTIONS.name);
    let location = options.run.location(&program, "clickstream.db");
    let sinks = tables::sinks(&program, &location)?;
    let mut run = Run::start(program, sinks, &options.run)?;
    // The table before the stream: an event of an item that is not in it joins nothing.
    run.feed("catalogue", &CATALOGUE, Catalogue::new())?;
    let name = format!("generated-{}", options.generate);
    run.feed(&name, &EVENTS, Visitors::new(options.generate))?;
    run.watch("records", |streams, taken| {
        let grades = Models::of(streams).grades()?;
        let loss = grades.rolling_log_loss();
        let loss = loss.map_or("-".to_owned(), |loss| format!("{loss:.4}"));
        Ok(Sight {
            count: taken,
            message: format!("log-loss of the last {}: {loss}", grades.window()),
        })
    })?;
    let models = Models::of(run.streams());
    let end = run.close()?;
    let results = tables::results(&location, &models.grades()?)?;
    let text = format!(
        "{} records in {:.1} s\n{results:#?}",
        end.taken, end.seconds
    );
    end.tell(end.taken, results, &text)
}
