//! The thread that reads the source and fills the topic `reviews`, each text exactly once.
//!
//! It stays a bounded number of records ahead of the model, so that memory stays bounded too.

use crate::{
    model::REVIEWS,
    source::{Next, Source},
};
use anyhow::{Context, Result, anyhow};
use millstream::{
    Feed,
    core::record::TopicPartition,
    log::{Broker, Error as LogError, Log},
    runtime::{clock::SystemClock, patience::patiently},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Records written in one transaction.
const BATCH: u64 = 200;
/// How many records the feeder may be ahead of the model.
const AHEAD_MAX: i64 = 4_000;
/// How long one wait for the model takes at most.
const WAIT: Duration = Duration::from_millis(50);
/// How long the log may take to say what the topic of reviews is.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many malformed lines are told one by one.
const TOLD_MAX: u64 = 10;

/// What the feeder has done so far.
#[derive(Default)]
pub(crate) struct Counts {
    /// Lines of the source taken, those of earlier runs included.
    pub(crate) taken: AtomicU64,
    /// Lines that were not of the form.
    pub(crate) malformed: AtomicU64,
    done: AtomicBool,
}

/// A running feeder.
pub(crate) struct Feeder {
    counts: Arc<Counts>,
    thread: Option<JoinHandle<Result<()>>>,
    stop: Arc<AtomicBool>,
}

impl Feeder {
    /// Starts to feed a source, at the place where the feed of that name stopped.
    pub(crate) fn start(log: &dyn Broker, group: &str, name: &str, source: Source) -> Result<Self> {
        let feed = Feed::open(log, name, &REVIEWS)?;
        let (counts, stop) = (Arc::<Counts>::default(), Arc::<AtomicBool>::default());
        let work = Work {
            feed,
            source,
            lag: Lag::open(log, group)?,
            counts: counts.clone(),
            stop: stop.clone(),
        };
        let thread = std::thread::Builder::new().name("Feeder".to_owned());
        let thread = thread
            .spawn(move || work.run())
            .context("no thread for the feeder")?;
        Ok(Self {
            counts,
            thread: Some(thread),
            stop,
        })
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether everything is in the topic. An error is one that ended the feeder early.
    pub(crate) fn is_done(&mut self) -> Result<bool> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join()?;
        }
        Ok(self.counts.done.load(Ordering::Acquire))
    }

    pub(crate) fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        thread.join().map_err(|_| anyhow!("the feeder panicked"))?
    }
}

struct Work {
    feed: Feed<String, crate::model::Review>,
    source: Source,
    lag: Lag,
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
}

impl Work {
    fn run(mut self) -> Result<()> {
        let taken = self.feed.position();
        for _ in 0..taken {
            self.source.next()?;
        }
        self.counts.taken.store(taken, Ordering::Relaxed);
        let mut open = 0;
        while !self.stop.load(Ordering::Acquire) {
            let number = self.feed.position();
            match self.source.next()? {
                Next::Review(review, time) => {
                    // Without a time of its own a text gets its number, so that every run over the
                    // same texts gives the same records.
                    let time = time.unwrap_or(i64::try_from(number).unwrap_or(i64::MAX));
                    self.feed.send(&format!("{number}"), &review, time)?;
                }
                Next::Malformed(why) => {
                    let before = self.counts.malformed.fetch_add(1, Ordering::Relaxed);
                    if before < TOLD_MAX {
                        tracing::warn!(line = number + 1, why, "a line was left out");
                    }
                    self.feed.skip();
                }
                Next::End => {
                    self.commit()?;
                    self.counts.done.store(true, Ordering::Release);
                    return Ok(());
                }
            }
            open += 1;
            if open == BATCH {
                open = 0;
                self.commit()?;
                self.wait_for_the_model()?;
            }
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        self.feed.commit()?;
        self.counts
            .taken
            .store(self.feed.position(), Ordering::Relaxed);
        Ok(())
    }

    fn wait_for_the_model(&mut self) -> Result<()> {
        while !self.stop.load(Ordering::Acquire) {
            if self.lag.records()?.is_some_and(|lag| lag <= AHEAD_MAX) {
                return Ok(());
            }
            self.lag.log.poll(WAIT)?;
        }
        Ok(())
    }
}

/// How far the model is behind the topic `reviews`.
pub(crate) struct Lag {
    log: Box<dyn Log>,
    group: String,
    partitions: Vec<TopicPartition>,
}

impl Lag {
    /// Learns what there is to look at.
    pub(crate) fn open(log: &dyn Broker, group: &str) -> Result<Self> {
        let mut log = log.client()?;
        let topic = patiently(&mut *log, &SystemClock::new(), PATIENCE, |log| {
            Ok(log.topic(REVIEWS.name)?)
        })?;
        let partitions = topic
            .context("the topic of reviews is gone")?
            .spec
            .partitions;
        Ok(Self {
            log,
            group: group.to_owned(),
            partitions: (0..partitions)
                .map(|partition| TopicPartition::new(REVIEWS.name, partition))
                .collect(),
        })
    }

    /// Records that the model has not committed yet; `None` while the log cannot say, as in the
    /// middle of a commit.
    pub(crate) fn records(&mut self) -> Result<Option<i64>> {
        match self.count() {
            Ok(lag) => Ok(Some(lag)),
            Err(LogError::Retry(_)) => Ok(None),
            Err(error) => Err(error).context("how far the model is behind the topic of reviews"),
        }
    }

    fn count(&mut self) -> millstream::log::Result<i64> {
        let places = self.log.committed_as(&self.group, &self.partitions)?;
        let mut lag = 0;
        for (at, place) in self.partitions.iter().zip(places) {
            let next = match place {
                Some(place) => place.offset,
                None => self.log.start(at)?,
            };
            lag += self.log.end(at)? - next;
        }
        Ok(lag)
    }
}
