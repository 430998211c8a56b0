//! The verb `run` that apps share: everything put together, from a source to tables.
//!
//! Invariant: a run that says it has caught up has every record of its sources in its tables.

mod feeder;
mod lag;
mod lines;
mod options;
mod progress;
mod usage;

pub use feeder::{Next, Source};
pub use lines::{Lines, fetched};
pub use options::RunOptions;
pub use progress::Sight;

use crate::{
    Feed, Node, Program,
    cli::stop_flag,
    output::{say, show},
};
use anyhow::{Context, Result, bail};
use feeder::{Feeder, Feeding, Job};
use lag::Lag;
use millstream_core::{task::Dropped, topic::Topic};
use millstream_log::{Error as LogError, Log};
use millstream_runtime::{
    clock::{Clock, SystemClock},
    streams::{State, Streams},
};
use millstream_sink::{Sink, SinkHandle};
use options::Output;
use progress::Progress;
use serde_json::{Map, Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How often the run looks at itself.
const TICK: Duration = Duration::from_millis(100);

/// A program that runs over sources, and what is to be known when it ends.
pub struct Run {
    /// Before the node whose log it writes to, so that it is dropped before it.
    feeder: Option<Feeder>,
    jobs: Vec<Box<dyn Job>>,
    node: Node,
    options: RunOptions,
    stop: Arc<AtomicBool>,
    clock: SystemClock,
}

impl Run {
    /// Starts a program with its sinks, and serves its page unless it is told not to.
    ///
    /// # Errors
    /// Where it cannot start, or its address is taken.
    pub fn start(program: Program, sinks: Vec<Sink>, options: &RunOptions) -> Result<Self> {
        let (stop, clock) = (stop_flag()?, SystemClock::new());
        let mut node = program.start()?;
        for sink in sinks {
            node.attach(sink)?;
        }
        if !options.no_http {
            let address = node.serve()?;
            say(format_args!("page, metrics and queries: http://{address}"));
        }
        Ok(Self {
            feeder: None,
            jobs: Vec::new(),
            node,
            options: options.clone(),
            stop,
            clock,
        })
    }

    /// Feeds a source into a topic, from where the feed of that name stopped. It begins when the
    /// sources given before are at their end and the program has gone through all of them.
    ///
    /// # Errors
    /// As [`Feed::open`].
    pub fn feed<K: 'static, V: 'static>(
        &mut self,
        name: &str,
        topic: &Topic<K, V>,
        source: impl Source<K, V>,
    ) -> Result<()> {
        let feed = Feed::open(self.node.log(), name, topic)?;
        self.jobs.push(Box::new(Feeding { feed, source }));
        Ok(())
    }

    /// The program's threads.
    pub fn streams(&self) -> &Streams {
        self.node.streams()
    }

    /// Feeds and shows progress until there is nothing left to do, a signal comes, the program is
    /// closed ([`Streams::request_close`], by `look` for one), or something fails. `look` is given
    /// how many records of the sources were taken.
    ///
    /// # Errors
    /// What failed: a thread of the program, a source, a sink, or `look`.
    pub fn watch(
        &mut self,
        unit: &'static str,
        mut look: impl FnMut(&Streams, u64) -> Result<Sight>,
    ) -> Result<()> {
        let group = self.node.config().application_id();
        let lag = |node: &Node| -> Result<Lag> {
            Ok(Lag::of(node.streams(), group, node.log().client()?))
        };
        let mut watch = Watch {
            lag: lag(&self.node)?,
            log: self.node.log().client()?,
            node: &self.node,
        };
        let jobs = std::mem::take(&mut self.jobs);
        let feeder = (self.feeder).insert(Feeder::start(jobs, lag(&self.node)?)?);
        let (mut progress, start) = (Progress::new(unit), self.clock.elapsed());
        loop {
            let state = watch.state()?;
            let taken = feeder.counts().taken.load(Ordering::Relaxed);
            let sight = look(self.node.streams(), taken)?;
            progress.show(sight, self.clock.elapsed() - start);
            // A program that was closed does nothing any more, whatever there is left to do.
            if self.stop.load(Ordering::Relaxed) || state == State::NotRunning {
                break;
            }
            // Before it runs, the state is not restored, and what it came to cannot be told.
            let running = state == State::Running;
            let until_end = running && feeder.is_done()? && self.options.until_caught_up;
            if until_end && watch.is_caught_up()? {
                break;
            }
        }
        progress.finish();
        Ok(())
    }

    /// Stops everything in order and lets the sinks write what is committed.
    ///
    /// # Errors
    /// What stopped the program, if it was a failure.
    pub fn close(mut self) -> Result<End> {
        let (mut taken, mut earlier, mut malformed) = (0, 0, 0);
        if let Some(feeder) = &mut self.feeder {
            feeder.stop()?;
            let counts = feeder.counts();
            taken = counts.taken.load(Ordering::Relaxed);
            earlier = counts.earlier.load(Ordering::Relaxed);
            malformed = counts.malformed.load(Ordering::Relaxed);
        }
        self.node.stop()?;
        Ok(End {
            taken,
            fed: taken.saturating_sub(earlier),
            malformed,
            dropped: self.node.streams().dropped(),
            seconds: self.clock.elapsed().as_secs_f64(),
            output: self.options.output,
        })
    }
}

/// What is looked at until the run ends.
struct Watch<'a> {
    node: &'a Node,
    lag: Lag,
    /// To see how far the topics of the sinks are.
    log: Box<dyn Log>,
}

impl Watch<'_> {
    /// Waits a moment; the program's state then. That a part of it has failed is an error.
    fn state(&self) -> Result<State> {
        let streams = self.node.streams();
        let state = streams.wait_for(State::is_final, TICK);
        if matches!(state, State::PendingError | State::Error) {
            let failure = streams.failure();
            bail!(failure.unwrap_or_else(|| "a thread failed".to_owned()));
        }
        for sink in self.node.sinks().iter().map(SinkHandle::watch) {
            if let Some(error) = sink.failure() {
                bail!("the sink of table {} has ended: {error}", sink.name());
            }
        }
        Ok(state)
    }

    /// Whether every record is committed and every result is in its table.
    fn is_caught_up(&mut self) -> Result<bool> {
        if self.lag.records()? != Some(0) {
            return Ok(false);
        }
        match self.all_written() {
            Err(LogError::Retry(_)) => Ok(false),
            written => written.context("how far the tables are behind their topics"),
        }
    }

    /// Whether the sinks have written what is in their partitions; others belong to other
    /// instances. Ends are uncommitted ones, as those of the lag.
    fn all_written(&mut self) -> millstream_log::Result<bool> {
        for sink in self.node.sinks() {
            let stats = sink.stats();
            if !stats.settled {
                return Ok(false);
            }
            for (at, next) in &stats.next_offsets {
                if *next < self.log.end_uncommitted(at)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// What a run has used.
pub struct End {
    /// Records of all sources taken, those of earlier runs included.
    pub taken: u64,
    /// Those of them that this run has taken.
    pub fed: u64,
    /// What of the sources was left out in this run.
    pub malformed: u64,
    /// What the program has dropped on this instance in this run.
    pub dropped: Dropped,
    /// How long the run took.
    pub seconds: f64,
    output: Output,
}

impl End {
    /// Tells what the run came to: as JSON on standard output, where that was asked for, the
    /// figures of the app among those of the run; else the text on standard error. `records` is
    /// what the program has come to, earlier runs included; how many were taken in a second is of
    /// this run alone.
    ///
    /// # Errors
    /// Where standard output cannot be written. A reader that is gone is no error.
    pub fn tell(&self, records: u64, figures: Map<String, Value>, text: &str) -> Result<()> {
        let rate = f64::from(u32::try_from(self.fed).unwrap_or(u32::MAX)) / self.seconds;
        match self.output {
            Output::Json => {
                let run = json!({
                    "records": records,
                    "malformed": self.malformed,
                    "seconds": self.seconds,
                    "records_per_second": rate,
                    "cpu_seconds": usage::cpu_seconds(),
                    "max_rss_mb": usage::max_rss_mb(),
                });
                let mut all = figures;
                if let Value::Object(run) = run {
                    all.extend(run);
                }
                show(|out| writeln!(out, "{}", Value::Object(all)))
            }
            Output::Text => {
                say(text);
                Ok(())
            }
        }
    }
}
