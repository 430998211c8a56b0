//! The thread that fills a program's topics from sources outside, each record exactly once.
//!
//! It stays a bounded number of records ahead of the program, so that memory stays bounded too.
//! Invariant: a source begins when the one before it has ended and the program has gone through all
//! of it, so that a table that is fed first is whole before a stream looks things up in it.

use super::lag::Lag;
use crate::Feed;
use anyhow::{Context, Result, anyhow};
use millstream_runtime::clock::{Clock, SystemClock};
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
/// How many records may wait in each topic that the program reads, its own ones included, until the
/// feeder waits too.
const AHEAD_MAX: i64 = 4_000;
/// A source that is slow has its records committed after so long.
const COMMIT_AFTER: Duration = Duration::from_secs(1);
/// How long one wait for the program, or for a source that has nothing, takes at most.
const WAIT: Duration = Duration::from_millis(50);
/// How many malformed records are told one by one.
const TOLD_MAX: u64 = 10;

/// What a source has next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next<K, V> {
    /// A record: key, value, and its time in milliseconds since 1970-01-01 UTC.
    Record(K, V, i64),
    /// Something that is no record; why. It is counted and left out.
    Malformed(String),
    /// Nothing for now: what was taken is committed, and the source is asked again soon.
    Nothing,
    /// There is nothing more.
    End,
}

/// Records from outside in a fixed order, so that the n-th one is always the same: a program that
/// was ended in the middle goes on behind what it has taken.
pub trait Source<K, V>: Send + 'static {
    /// What comes next; `number` is how many came before.
    ///
    /// A source whose records take their time to come says [`Next::Nothing`] rather than wait for
    /// one. Those before it wait with it, in a transaction that a cluster ends after ten seconds
    /// (`transaction.timeout.ms`), and so does the program's end.
    ///
    /// # Errors
    /// Where the source cannot be read on.
    fn next(&mut self, number: u64) -> Result<Next<K, V>>;
}

/// What the feeder has done so far.
#[derive(Default)]
pub(crate) struct Counts {
    /// Records of all sources taken, those of earlier runs included.
    pub(crate) taken: AtomicU64,
    /// Those that earlier runs had taken, of the sources that this one has come to.
    pub(crate) earlier: AtomicU64,
    /// Those that were malformed, in this run.
    pub(crate) malformed: AtomicU64,
    done: AtomicBool,
}

/// A source and the topic it goes into.
pub(crate) trait Job: Send {
    /// Feeds on, to the end of the source or until the thread is to stop.
    fn run(&mut self, work: &mut Work) -> Result<()>;
}

pub(crate) struct Feeding<K: 'static, V: 'static, S> {
    pub(crate) feed: Feed<K, V>,
    pub(crate) source: S,
}

/// A running feeder.
pub(crate) struct Feeder {
    counts: Arc<Counts>,
    thread: Option<JoinHandle<Result<()>>>,
    stop: Arc<AtomicBool>,
}

impl Feeder {
    /// Starts to feed, each source at the place where the feed of its name stopped.
    pub(crate) fn start(mut jobs: Vec<Box<dyn Job>>, lag: Lag) -> Result<Self> {
        let (counts, stop) = (Arc::<Counts>::default(), Arc::<AtomicBool>::default());
        let topics = i64::try_from(lag.topics()).unwrap_or(1);
        let mut work = Work {
            ahead_max: topics.max(1) * AHEAD_MAX,
            lag,
            counts: counts.clone(),
            stop: stop.clone(),
        };
        let thread = std::thread::Builder::new().name("Feeder".to_owned());
        let thread = thread.spawn(move || {
            for (number, job) in jobs.iter_mut().enumerate() {
                if number > 0 {
                    work.wait_for_lag(0)?;
                }
                job.run(&mut work)?;
            }
            work.counts
                .done
                .store(!work.is_to_stop(), Ordering::Release);
            Ok(())
        });
        Ok(Self {
            counts,
            thread: Some(thread.context("no thread for the feeder")?),
            stop,
        })
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether everything is in the topics. An error is one that ended the feeder early.
    pub(crate) fn is_done(&mut self) -> Result<bool> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join()?;
        }
        Ok(self.counts.done.load(Ordering::Acquire))
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
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

impl Drop for Feeder {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(%error, "the feeder had failed");
        }
    }
}

/// What the feeder's thread has besides its sources.
pub(crate) struct Work {
    lag: Lag,
    ahead_max: i64,
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
}

impl Work {
    fn is_to_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn wait_for_lag(&mut self, lag_max: i64) -> Result<()> {
        while !self.is_to_stop() {
            if self.lag.records()?.is_some_and(|lag| lag <= lag_max) {
                return Ok(());
            }
            self.lag.log.poll(WAIT)?;
        }
        Ok(())
    }

    /// Waits a little, though the source may have something before.
    fn rest(&mut self) -> Result<()> {
        self.lag.log.poll(WAIT)?;
        Ok(())
    }

    fn count_malformed(&self, number: u64, why: &str) {
        let before = self.counts.malformed.fetch_add(1, Ordering::Relaxed);
        if before < TOLD_MAX {
            tracing::warn!(record = number + 1, why, "a record was left out");
        }
    }
}

impl<K, V, S: Source<K, V>> Feeding<K, V, S> {
    /// Passes over what was taken before. A source that has become shorter than that is taken for
    /// another one, of which nothing is taken: where it goes on cannot be known. Whether it is at
    /// its place now.
    fn skip_taken(&mut self, work: &mut Work) -> Result<bool> {
        let taken = self.feed.position();
        let mut number = 0;
        while number < taken && !work.is_to_stop() {
            match self.source.next(number)? {
                Next::Nothing => work.rest()?,
                Next::End => {
                    tracing::warn!(
                        taken,
                        found = number,
                        "the source has fewer records than were taken of it before, so nothing is \
                         left to take; another source wants another name or application.id"
                    );
                    break;
                }
                Next::Record(..) | Next::Malformed(_) => number += 1,
            }
        }
        work.counts.taken.fetch_add(taken, Ordering::Relaxed);
        work.counts.earlier.fetch_add(taken, Ordering::Relaxed);
        Ok(number == taken)
    }

    /// Makes what was taken visible.
    fn commit(&mut self, open: &mut u64, work: &Work) -> Result<()> {
        self.feed.commit()?;
        let taken = std::mem::take(open);
        work.counts.taken.fetch_add(taken, Ordering::Relaxed);
        Ok(())
    }
}

impl<K, V, S: Source<K, V>> Job for Feeding<K, V, S> {
    fn run(&mut self, work: &mut Work) -> Result<()> {
        if !self.skip_taken(work)? {
            return Ok(());
        }
        let clock = SystemClock::new();
        let (mut open, mut since) = (0, clock.elapsed());
        while !work.is_to_stop() {
            if open == 0 {
                since = clock.elapsed();
            }
            let number = self.feed.position();
            let nothing = match self.source.next(number)? {
                Next::Record(key, value, time) => {
                    self.feed.send(&key, &value, time)?;
                    false
                }
                Next::Malformed(why) => {
                    work.count_malformed(number, &why);
                    self.feed.skip();
                    false
                }
                Next::Nothing => true,
                Next::End => return self.commit(&mut open, work),
            };
            open += u64::from(!nothing);
            let slow = nothing || clock.elapsed() - since >= COMMIT_AFTER;
            if open == BATCH || (slow && open > 0) {
                self.commit(&mut open, work)?;
                work.wait_for_lag(work.ahead_max)?;
            }
            if nothing {
                work.rest()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::{
        record::TopicPartition,
        serde::{u64_be, utf8},
        topic::Topic,
    };
    use millstream_log::{Cleanup, EmbeddedLog, Log, TopicSpec};

    static NUMBERS: Topic<String, u64> = Topic::new("numbers", utf8(), u64_be());

    /// Has nothing for now in front of each record, and looks then at what is visible.
    struct Slow {
        log: Box<dyn Log>,
        asked: u64,
        seen: Arc<AtomicU64>,
    }

    impl Source<String, u64> for Slow {
        fn next(&mut self, number: u64) -> Result<Next<String, u64>> {
            self.asked += 1;
            let ready = self.asked.is_multiple_of(3);
            if ready {
                let end = self.log.end(&TopicPartition::new(NUMBERS.name, 0))?;
                self.seen.fetch_add(u64::try_from(end)?, Ordering::Relaxed);
            }
            Ok(match number {
                3 => Next::End,
                _ if ready => Next::Record(String::new(), number, 0),
                _ => Next::Nothing,
            })
        }
    }

    fn numbers() -> Result<EmbeddedLog> {
        let log = EmbeddedLog::in_memory();
        log.create_topic(&TopicSpec {
            name: NUMBERS.name.to_owned(),
            partitions: 1,
            cleanup: Cleanup::Delete { retention_ms: None },
        })?;
        Ok(log)
    }

    /// Feeds a source's records into the log, all of them; what it counted.
    fn run(log: &EmbeddedLog, source: impl Source<String, u64>) -> Result<Arc<Counts>> {
        let counts = Arc::<Counts>::default();
        let mut work = Work {
            lag: Lag::nothing(Box::new(log.client())),
            ahead_max: 1,
            counts: Arc::clone(&counts),
            stop: Arc::default(),
        };
        let feed = Feed::open(log, "slow", &NUMBERS)?;
        Feeding { feed, source }.run(&mut work)?;
        Ok(counts)
    }

    #[test]
    fn what_a_slow_source_gave_is_visible_before_it_has_more() -> Result<()> {
        let log = numbers()?;
        let seen = Arc::<AtomicU64>::default();
        for _ in 0..2 {
            let source = Slow {
                log: Box::new(log.client()),
                asked: 0,
                seen: Arc::clone(&seen),
            };
            let counts = run(&log, source)?;
            assert_eq!(counts.taken.load(Ordering::Relaxed), 3);
        }
        // Before the first record none, then one, then two; and three each time the second run
        // passes over what the first has taken.
        assert_eq!(seen.load(Ordering::Relaxed), 1 + 2 + 3 * 3);
        Ok(())
    }

    /// Has one record.
    struct Short(Arc<AtomicU64>);

    impl Source<String, u64> for Short {
        fn next(&mut self, number: u64) -> Result<Next<String, u64>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(match number {
                0 => Next::Record(String::new(), 0, 0),
                _ => Next::End,
            })
        }
    }

    #[test]
    fn a_source_that_has_become_shorter_is_not_asked_behind_its_end() -> Result<()> {
        let log = numbers()?;
        let mut feed = Feed::open(&log, "slow", &NUMBERS)?;
        (0..100).for_each(|_| feed.skip());
        feed.commit()?;
        drop(feed);
        let asked = Arc::<AtomicU64>::default();
        run(&log, Short(Arc::clone(&asked)))?;
        assert_eq!(asked.load(Ordering::Relaxed), 2, "its record and its end");
        assert_eq!(log.client().end(&TopicPartition::new(NUMBERS.name, 0))?, 0);
        Ok(())
    }

    /// Never says that it has nothing: it lets wait for the second record, and looks then at what
    /// is visible.
    struct Waiting {
        log: Box<dyn Log>,
        seen: Arc<AtomicU64>,
    }

    impl Source<String, u64> for Waiting {
        fn next(&mut self, number: u64) -> Result<Next<String, u64>> {
            let clock = SystemClock::new();
            while number == 1 && clock.elapsed() <= COMMIT_AFTER {
                self.log.poll(WAIT)?;
            }
            if number == 2 {
                let end = self.log.end(&TopicPartition::new(NUMBERS.name, 0))?;
                self.seen.store(u64::try_from(end)?, Ordering::Relaxed);
                return Ok(Next::End);
            }
            Ok(Next::Record(String::new(), number, 0))
        }
    }

    #[test]
    fn what_a_source_gave_is_visible_soon_also_where_it_lets_wait_for_more() -> Result<()> {
        let log = numbers()?;
        let seen = Arc::<AtomicU64>::default();
        let source = Waiting {
            log: Box::new(log.client()),
            seen: Arc::clone(&seen),
        };
        let counts = run(&log, source)?;
        assert_eq!(counts.taken.load(Ordering::Relaxed), 2);
        assert_eq!(seen.load(Ordering::Relaxed), 2);
        Ok(())
    }
}
