//! `sentiment run`: everything put together, from the file to the table.

use crate::{
    model::{self, Models, PREDICTIONS, REVIEWS, Standing, TABLE},
    source::Source,
};
use anyhow::{Context, Result, bail};
use clap::Args;
use millstream::{
    Program,
    run::{End, Run, RunOptions, Sight, fetched},
    runtime::config::Config,
    sink::{Sink, SinkConfig},
};
use serde_json::{Map, json};
use std::path::PathBuf;

/// What to stream, and when to end.
#[derive(Args)]
pub(crate) struct Options {
    /// Lines of label (1, 0 or empty), tab, text, and perhaps tab and time in milliseconds;
    /// without it, the reviews that fetch-data has put into the cache
    #[arg(long, value_name = "FILE.tsv")]
    input: Option<PathBuf>,
    /// Stream the first so many made-up sentences instead, or what is left of them
    #[arg(long, value_name = "N", conflicts_with = "input")]
    generate: Option<u64>,
    #[command(flatten)]
    run: RunOptions,
}

pub(crate) fn run(config: Config, options: &Options) -> Result<()> {
    let (name, source) = open_source(options)?;
    let program = Program::open(model::topology()?, config)?
        .predictions(PREDICTIONS.name)
        .models(Box::new(model::status));
    let sink = Sink::new(
        program.log().client()?,
        PREDICTIONS,
        TABLE,
        &options.run.location(&program, "predictions.db"),
        SinkConfig::default(),
        model::to_row,
    )?;
    let mut run = Run::start(program, vec![sink], &options.run)?;
    run.feed(&name, &REVIEWS, source)?;
    run.watch("texts", |streams, _| Ok(sight(&model::standing(streams)?)))?;
    let models = Models::of(run.streams());
    let end = run.close()?;
    tell(&models.standing()?, &end)
}

/// Opens what is to be streamed, with the name under which its place is remembered.
fn open_source(options: &Options) -> Result<(String, Source)> {
    if let Some(records) = options.generate {
        // The sentences are always the same ones, so more of them go on where fewer ended.
        return Ok(("generated".to_owned(), Source::generated(records)));
    }
    let Some(path) = options.input.clone().or_else(|| fetched("imdb-mixed.tsv")) else {
        bail!("nothing to stream: give --input FILE.tsv, or run apps/sentiment/fetch-data");
    };
    let path = path
        .canonicalize()
        .with_context(|| format!("opening {}", path.display()))?;
    Ok((path.display().to_string(), Source::file(&path)?))
}

/// Running accuracy, for people.
fn sight(standing: &Standing) -> Sight {
    let grade = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.4}"));
    let grades = &standing.grades;
    Sight {
        count: standing.learned,
        message: format!(
            "accuracy {} (last {}: {}), log-loss {}",
            grade(grades.accuracy()),
            grades.window(),
            grade(grades.rolling_accuracy()),
            grade(grades.log_loss()),
        ),
    }
}

fn tell(standing: &Standing, end: &End) -> Result<()> {
    let grades = &standing.grades;
    let figures = [
        ("accuracy", json!(grades.accuracy())),
        ("log_loss", json!(grades.log_loss())),
        ("auc", json!(grades.auc())),
        ("f1", json!(grades.f1())),
        (
            "fingerprint",
            json!(format!("{:016x}", standing.fingerprint)),
        ),
    ];
    let figures = figures.map(|(name, value)| (name.to_owned(), value));
    let text = format!(
        "{} texts in {:.1} s ({} lines left out): accuracy {:.4}, log-loss {:.4}, AUC {:.4}, \
         weights {:016x}",
        grades.count(),
        end.seconds,
        end.malformed,
        grades.accuracy().unwrap_or(f64::NAN),
        grades.log_loss().unwrap_or(f64::NAN),
        grades.auc().unwrap_or(f64::NAN),
        standing.fingerprint,
    );
    end.tell(grades.count(), Map::from_iter(figures), &text)
}
