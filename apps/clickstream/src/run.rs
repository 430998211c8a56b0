//! `clickstream run`: everything put together, from the visitors to the tables.

use crate::{
    generate::{Catalogue, Visitors},
    model::{self, CATALOGUE, EVENTS, PREDICTIONS},
    standing::{Models, status},
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
    /// Stream the first so many events of made-up visitors, or what is left of them
    #[arg(long, value_name = "N")]
    generate: u64,
    #[command(flatten)]
    run: RunOptions,
}

pub(crate) fn run(config: Config, options: &Options) -> Result<()> {
    let program = Program::open(model::topology()?, config)?
        .predictions(PREDICTIONS.name)
        .models(Box::new(status));
    let location = options.run.location(&program, "clickstream.db");
    let sinks = tables::sinks(&program, &location)?;
    let mut run = Run::start(program, sinks, &options.run)?;
    // The table before the stream: an event of an item that is not in it joins nothing.
    run.feed("catalogue", &CATALOGUE, Catalogue::new())?;
    // The visitors are always the same ones, so more events of theirs go on where fewer ended.
    run.feed("generated", &EVENTS, Visitors::new(options.generate))?;
    run.watch("records", |streams, taken| {
        let grades = Models::of(streams).standing()?.grades;
        let loss = grades.rolling_log_loss();
        let loss = loss.map_or("-".to_owned(), |loss| format!("{loss:.4}"));
        Ok(Sight {
            count: taken,
            message: format!("log-loss of the last {}: {loss}", grades.window()),
        })
    })?;
    let models = Models::of(run.streams());
    let end = run.close()?;
    let results = tables::results(&location, &models.standing()?.grades)?;
    let text = format!(
        "{} records, {} of them in this run, in {:.1} s\n{results:#?}",
        end.taken, end.fed, end.seconds
    );
    end.tell(end.taken, results, &text)
}
