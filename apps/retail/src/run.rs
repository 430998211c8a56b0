//! `retail run`: everything put together, from the file to the tables.

use crate::{
    generate::Generator,
    model::{self, LINES},
    source::Source,
    tables,
};
use anyhow::{Context, Result, bail};
use clap::Args;
use millstream::{
    Program,
    run::{Lines, Run, RunOptions, Sight, fetched},
    runtime::config::Config,
};
use std::path::PathBuf;

/// What to stream, and when to end.
#[derive(Args)]
pub(crate) struct Options {
    /// Invoice lines as CSV with the columns of UCI's "Online Retail"; without it, the purchases
    /// that fetch-data has put into the cache
    #[arg(long, value_name = "FILE.csv")]
    input: Option<PathBuf>,
    /// Stream the first so many lines of a made-up shop instead, or what is left of them
    #[arg(long, value_name = "N", conflicts_with = "input")]
    generate: Option<u64>,
    #[command(flatten)]
    run: RunOptions,
}

pub(crate) fn run(config: Config, options: &Options) -> Result<()> {
    let (name, source) = open_source(options)?;
    let program = Program::open(model::topology()?, config)?;
    let location = options.run.location(&program, "retail.db");
    let sinks = tables::sinks(&program, &location)?;
    let mut run = Run::start(program, sinks, &options.run)?;
    run.feed(&name, &LINES, source)?;
    run.watch("lines", |streams, taken| {
        Ok(Sight {
            count: taken,
            message: format!("too late for {} windows", streams.dropped().late_record),
        })
    })?;
    let end = run.close()?;
    let late = end.dropped.late_record;
    let results = tables::results(&location, late)?;
    let text = format!(
        "{} lines, {} of them in this run, in {:.1} s ({} left out, too late for {late} windows)\n\
         {results:#?}",
        end.taken, end.fed, end.seconds, end.malformed
    );
    end.tell(end.taken, results, &text)
}

/// Opens what is to be streamed, with the name under which its place is remembered.
fn open_source(options: &Options) -> Result<(String, Source)> {
    if let Some(lines) = options.generate {
        let source = Source::Generated(Generator::new(lines));
        // The shop's lines are always the same ones, so more of them go on where fewer ended.
        return Ok(("generated".to_owned(), source));
    }
    let Some(path) = options.input.clone().or_else(|| fetched("cdnow.csv")) else {
        bail!("nothing to stream: give --input FILE.csv, or run apps/retail/fetch-data");
    };
    let path = path
        .canonicalize()
        .with_context(|| format!("opening {}", path.display()))?;
    Ok((
        path.display().to_string(),
        Source::File(Lines::open(&path)?),
    ))
}
