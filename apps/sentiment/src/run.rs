//! `sentiment run`: everything put together, from the file to the table.

use crate::{
    feeder::{Feeder, Lag},
    model::{self, Models, PREDICTIONS, Standing, TABLE},
    progress::Progress,
    source::{self, Source},
    usage,
};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use millstream::{
    Node, Program,
    cli::stop_flag,
    log::{Error as LogError, Log},
    runtime::{
        clock::{Clock, SystemClock},
        config::Config,
        streams::State,
    },
    sink::{Location, Sink, SinkConfig},
};
use serde_json::json;
use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// How often the run looks at itself.
const TICK: Duration = Duration::from_millis(100);

/// What to stream, and when to end.
#[derive(Args)]
pub(crate) struct Options {
    /// Lines of label (1, 0 or empty), tab, text, and perhaps tab and time in milliseconds;
    /// without it, the reviews that fetch-data has put into the cache
    #[arg(long, value_name = "FILE.tsv")]
    input: Option<PathBuf>,
    /// Stream this many made-up sentences instead
    #[arg(long, value_name = "N", conflicts_with = "input")]
    generate: Option<u64>,
    /// End when every text is learned from and every prediction is in the table; of several
    /// instances each looks to its own partitions
    #[arg(long)]
    until_caught_up: bool,
    /// The table's database: a file, or postgres://user:password@host/database; without it,
    /// predictions.db beside the state
    #[arg(long, value_name = "FILE|URL")]
    database: Option<Location>,
    /// Serve no page, metrics and queries
    #[arg(long)]
    no_http: bool,
    /// How to tell the result at the end
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people, on standard error
    Text,
    /// One JSON object as the last line of standard output
    Json,
}

pub(crate) fn run(config: Config, options: &Options) -> Result<()> {
    let stop = stop_flag()?;
    let clock = SystemClock::new();
    let (name, source) = open_source(options)?;
    let program = Program::open(model::topology()?, config)?
        .predictions(PREDICTIONS.name)
        .models(Box::new(model::status));
    let location = location(options, &program);
    let sink = Sink::new(
        program.log().client()?,
        PREDICTIONS,
        TABLE,
        &location,
        SinkConfig::default(),
        model::to_row,
    )?;
    let mut node = program.start()?;
    node.attach(sink)?;
    if !options.no_http {
        let address = node.serve()?;
        eprintln!("page, metrics and queries: http://{address}");
    }
    let group = node.config().application_id().to_owned();
    let mut feeder = Feeder::start(node.log(), &group, &name, source)?;
    let mut progress = Progress::new();
    let mut run = Run {
        lag: Lag::open(node.log(), &group)?,
        log: node.log().client()?,
        node: &node,
        clock: &clock,
    };
    let outcome = run.watch(&mut feeder, options, &stop, &mut progress);
    drop(run);
    progress.finish();
    let models = Models::of(node.streams());
    let malformed = feeder.counts().malformed.load(Ordering::Relaxed);
    feeder.stop()?;
    node.close()?;
    outcome?;
    tell(&models.standing()?, malformed, &clock, options.output);
    Ok(())
}

/// Opens what is to be streamed, with the name under which its place is remembered.
fn open_source(options: &Options) -> Result<(String, Source)> {
    if let Some(records) = options.generate {
        return Ok((format!("generated-{records}"), Source::generated(records)));
    }
    let Some(path) = options.input.clone().or_else(source::fetched) else {
        bail!("nothing to stream: give --input FILE.tsv, or run apps/sentiment/fetch-data");
    };
    let path = path
        .canonicalize()
        .with_context(|| format!("opening {}", path.display()))?;
    Ok((path.display().to_string(), Source::file(&path)?))
}

/// The database that the table is in.
fn location(options: &Options, program: &Program) -> Location {
    let beside = || Location::sqlite(program.root().join("predictions.db"));
    options.database.clone().unwrap_or_else(beside)
}

/// What is looked at until the run ends.
struct Run<'a> {
    node: &'a Node,
    clock: &'a SystemClock,
    lag: Lag,
    /// To see how far the topic of predictions is.
    log: Box<dyn Log>,
}

impl Run<'_> {
    /// Shows progress until there is nothing left to do, a signal comes, or something fails.
    fn watch(
        &mut self,
        feeder: &mut Feeder,
        options: &Options,
        stop: &AtomicBool,
        progress: &mut Progress,
    ) -> Result<()> {
        let (node, start) = (self.node, self.clock.elapsed());
        loop {
            let state = node.streams().wait_for(State::is_final, TICK);
            if matches!(state, State::PendingError | State::Error) {
                bail!(
                    node.streams()
                        .failure()
                        .unwrap_or_else(|| "a thread failed".to_owned())
                );
            }
            if let Some(sink) = node.sinks().iter().find(|sink| sink.is_finished()) {
                bail!("the sink has ended at {:?}", sink.stats().next_offsets);
            }
            let elapsed = self.clock.elapsed() - start;
            progress.show(&model::standing(node.streams())?, elapsed);
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            // Before it runs, the model is not restored, and what it has learned cannot be told.
            let running = state == State::Running;
            if running && feeder.is_done()? && options.until_caught_up && self.caught_up()? {
                return Ok(());
            }
        }
    }

    /// Whether every text is committed and every prediction is in the table.
    fn caught_up(&mut self) -> Result<bool> {
        if self.lag.records()? != Some(0) {
            return Ok(false);
        }
        match self.all_written() {
            Err(LogError::Retry(_)) => Ok(false),
            written => written.context("how far the table is behind the topic of predictions"),
        }
    }

    /// Whether the sink has written what is in its partitions; others belong to other instances.
    fn all_written(&mut self) -> millstream::log::Result<bool> {
        for sink in self.node.sinks() {
            let stats = sink.stats();
            if !stats.settled {
                return Ok(false);
            }
            for (at, next) in &stats.next_offsets {
                if *next < self.log.end(at)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the result is what standard output is for"
)]
fn tell(standing: &Standing, malformed: u64, clock: &SystemClock, output: Output) {
    let (grades, seconds) = (&standing.grades, clock.elapsed().as_secs_f64());
    let records = grades.count();
    let rate = f64::from(u32::try_from(records).unwrap_or(u32::MAX)) / seconds;
    match output {
        Output::Json => println!(
            "{}",
            json!({
                "records": records,
                "malformed": malformed,
                "accuracy": grades.accuracy(),
                "log_loss": grades.log_loss(),
                "auc": grades.auc(),
                "f1": grades.f1(),
                "seconds": seconds,
                "records_per_second": rate,
                "cpu_seconds": usage::cpu_seconds(),
                "max_rss_mb": usage::max_rss_mb(),
                "fingerprint": format!("{:016x}", standing.fingerprint),
            })
        ),
        Output::Text => eprintln!(
            "{records} texts in {seconds:.1} s ({malformed} lines left out): accuracy {:.4}, \
             log-loss {:.4}, AUC {:.4}, weights {:016x}",
            grades.accuracy().unwrap_or(f64::NAN),
            grades.log_loss().unwrap_or(f64::NAN),
            grades.auc().unwrap_or(f64::NAN),
            standing.fingerprint,
        ),
    }
}
