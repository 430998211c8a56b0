//! The sink itself: a value that moves a topic into a table, one bounded step at a time.
//!
//! Invariant: rows and the places behind them change in one SQL transaction, so that after a crash
//! the table holds exactly what lies before the stored places. A sink keeps no other truth: after a
//! failure it asks the database where it is. A step has no batch left when it ends, so that
//! partitions may come and go between two of them.

mod settle;
mod sharing;

use crate::{
    backoff::{Backoff, Pace, Seldom},
    batch::{Batch, Decode, RecordMeta, decoder},
    config::{SinkConfig, SinkStats, Step},
    database::{Database, Location, transaction},
    dead_letter::DeadLetters,
    error::{Error, Result, Trouble},
    places::Place,
    row::Row,
    table::{Table, TableSpec},
    writer,
};
use millstream_core::{batch::Records, record::Partition, topic::Topic};
use millstream_log::{self as log, Event, Log};
use sharing::Member;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Writes one topic into one table, exactly once: all of it by itself, or as a member of a group
/// ([`Sink::shared`]) the partitions that the group gives it.
///
/// Steps block: drive a sink by hand from a test or a simulation, or give it a thread of its own
/// with [`SinkHandle`](crate::SinkHandle). It must not be stepped inside an async runtime. The
/// topic's partitions are counted once, at the first step that finds it.
pub struct Sink {
    topic: Arc<str>,
    table: TableSpec,
    config: SinkConfig,
    log: Box<dyn Log>,
    database: Box<dyn Database>,
    decode: Decode,
    dead_letters: DeadLetters,
    member: Option<Member>,
    /// How many partitions the topic has, once it was found.
    partitions: Option<u32>,
    /// The partitions to write: all of them, or those that the group gave; `None` until that is
    /// known.
    share: Option<BTreeSet<Partition>>,
    /// Where it is in those of its share whose epochs it took, by partition.
    places: Vec<Place>,
    /// Whether the tables are known to be there and to fit.
    prepared: bool,
    /// Whether `places` are known to be what the database says.
    settled: bool,
    /// Which place reads first in the next step.
    turn: usize,
    batch: Batch,
    pace: Pace,
    backoff: Backoff,
    complaints: Seldom,
    failed: Option<Error>,
    stats: SinkStats,
}

impl Sink {
    /// A sink of `topic` into `table`; nothing is opened before the first [`Sink::step`].
    ///
    /// `row` makes the row of a record, or `None` for a record without one: it may return `R` or
    /// `Option<R>`. Keys and values that do not decode, and rows that the database refuses, go to
    /// the dead-letter topic.
    ///
    /// # Errors
    /// [`Error::Declaration`] where the row type's columns cannot be a table.
    pub fn new<K, V, R, O>(
        log: Box<dyn Log>,
        topic: Topic<K, V>,
        table: Table<R>,
        location: &Location,
        config: SinkConfig,
        row: impl Fn(&K, &V, &RecordMeta<'_>) -> O + Send + 'static,
    ) -> Result<Self>
    where
        K: 'static,
        V: 'static,
        R: Row,
        O: Into<Option<R>>,
    {
        let decode = decoder(topic, row);
        Self::over(
            log,
            topic.name,
            table.spec()?,
            location.open(true),
            config,
            decode,
        )
    }

    /// A sink over any database: what tests put a faulty one under.
    pub(crate) fn over(
        log: Box<dyn Log>,
        topic: &str,
        table: TableSpec,
        database: Box<dyn Database>,
        config: SinkConfig,
        decode: Decode,
    ) -> Result<Self> {
        let dead_letters = config.dead_letter_topic.clone();
        let dead_letters = dead_letters.unwrap_or_else(|| format!("{}-dead-letters", table.name));
        Ok(Self {
            topic: topic.into(),
            log,
            database,
            decode,
            dead_letters: DeadLetters::new(dead_letters),
            member: None,
            partitions: None,
            share: None,
            places: Vec::new(),
            prepared: false,
            settled: false,
            turn: 0,
            batch: Batch::new(table.columns.clone()),
            pace: Pace::new(config.batch_rows),
            backoff: Backoff::new(config.backoff_min_ms, config.backoff_max_ms),
            complaints: Seldom::new(config.log_interval_ms),
            failed: None,
            stats: SinkStats::default(),
            table,
            config,
        })
    }

    /// The sink's name: its table's.
    pub fn name(&self) -> &str {
        &self.table.name
    }

    /// The topic that it reads, and the one of its dead letters.
    pub fn topics(&self) -> [&str; 2] {
        [&self.topic, self.dead_letters.topic()]
    }

    /// Counts and places so far.
    pub fn stats(&self) -> &SinkStats {
        &self.stats
    }

    /// Reads a batch, writes it and moves the places, in one transaction. The first step also makes
    /// or checks the table and takes over from older writers of this sink; a member of a group
    /// hears its group first, and takes over the partitions that it was given.
    ///
    /// `now_ms` is the caller's clock; only differences matter.
    ///
    /// # Errors
    /// Where trying again cannot help. The sink is finished then: every further step says the same.
    pub fn step(&mut self, now_ms: i64) -> Result<Step> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        // The group is heard whatever the database does: it takes the silent for dead.
        let heard = self.hear(now_ms);
        if !matches!(heard, Err(Trouble::Stop(_)))
            && let Some(at_ms) = self.backoff.pending(now_ms)
        {
            let reason = self.backoff.reason.clone();
            return Ok(Step::Retry { at_ms, reason });
        }
        let outcome = heard.and_then(|()| self.attempt(now_ms));
        match outcome.or_else(|trouble| self.outlive(trouble, now_ms)) {
            Ok(Step::Waiting) => Ok(Step::Waiting),
            Ok(step) => {
                if self.backoff.succeeded() {
                    tracing::info!(sink = %self.table.name, "sink goes on");
                }
                Ok(step)
            }
            Err(Trouble::Retry {
                reason, reconnect, ..
            }) => {
                if reconnect {
                    self.database.disconnect();
                }
                self.settled = false;
                self.stats.retries += 1;
                self.look();
                if self.complaints.due(now_ms) {
                    tracing::warn!(sink = %self.table.name, %reason, "sink waits");
                }
                let at_ms = self.backoff.failed(now_ms, reason.clone());
                Ok(Step::Retry { at_ms, reason })
            }
            Err(Trouble::Stop(error)) => {
                self.database.disconnect();
                tracing::error!(sink = %self.table.name, %error, "sink stopped");
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Whether everything committed by now to the sink's partitions is in the table; not while it
    /// does not know which these are.
    ///
    /// # Errors
    /// What the log says when asked for the partitions' ends.
    pub fn caught_up(&mut self) -> log::Result<bool> {
        if !self.is_settled() {
            return Ok(false);
        }
        for place in &self.places {
            if self.log.end(&place.partition)? > place.next {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until the log or the group has something new, or for so long. What the group says is
    /// done already when this returns.
    ///
    /// # Errors
    /// What the log says.
    pub fn wait(&mut self, at_most: Duration) -> log::Result<Event> {
        let waited = self.listen().and_then(|()| self.log.poll(at_most));
        let waited = waited.and_then(|event| self.heard(&event).map(|()| event));
        if let Err(log::Error::Fenced(_)) = &waited {
            self.lose();
        }
        waited
    }

    /// Sets SQLite's page limit on the sink's own connection: a disk that fills up, for tests.
    #[cfg(test)]
    pub(crate) fn limit_pages(&mut self, pragma: &str) {
        self.database.query(&pragma.into(), &[]).unwrap();
    }

    fn attempt(&mut self, now_ms: i64) -> std::result::Result<Step, Trouble> {
        if self.member.is_some() && self.share.is_none() {
            return Ok(Step::Waiting);
        }
        self.database.connect()?;
        self.settle()?;
        self.read()?;
        if self.batch.moves.is_empty() {
            let idle = self.is_settled();
            return Ok(if idle { Step::Idle } else { Step::Waiting });
        }
        let refused = match self.write() {
            Err(trouble @ Trouble::Retry { slow: true, .. }) => {
                let rows = self.pace.too_slow(self.batch.records);
                tracing::info!(sink = %self.table.name, rows, "sink goes on with smaller batches");
                return Err(trouble);
            }
            written => written?,
        };
        self.pace.written(self.batch.records);
        if refused > 0 && self.complaints.due(now_ms) {
            let reason = self
                .batch
                .refused
                .first()
                .map(|(_, refusal)| &refusal.message);
            tracing::warn!(sink = %self.table.name, refused, ?reason, "rows became dead letters");
        }
        Ok(self.passed(refused, now_ms))
    }

    /// Fills the batch: a page of each partition in turn, until one bound is met.
    fn read(&mut self) -> std::result::Result<(), Trouble> {
        self.batch.clear();
        let places = &mut self.places;
        let count = places.len();
        let first = self.turn;
        for turn in first..first + count {
            let rows = self.pace.rows().saturating_sub(self.batch.records);
            if rows == 0 || self.batch.bytes >= self.config.batch_bytes.max(1) {
                break;
            }
            let number = turn % count;
            self.turn = (number + 1) % count;
            let place = &mut places[number];
            let (page, lost) =
                place.page(self.log.as_mut(), &self.table.name, self.config.batch_bytes)?;
            if lost > 0 {
                self.batch.lost.push((number, lost));
            }
            place.end = page.end;
            let Records { batch, mut range } = page.records;
            let mut next = page.next;
            if range.len() > rows {
                range.end = range.start + rows;
                next = batch.offset(range.end);
            }
            if next != place.next {
                self.batch.moves.push((number, next));
                self.batch
                    .add(&place.partition, Records { batch, range }, &self.decode);
            }
        }
        Ok(())
    }

    /// One transaction; gives the number of dead letters.
    fn write(&mut self) -> std::result::Result<usize, Trouble> {
        let partitions = self.partitions.unwrap_or(1);
        let (places, name) = (&self.places, &self.table.name);
        let (batch, table, log) = (&mut self.batch, &self.table, self.log.as_mut());
        let dead_letters = &mut self.dead_letters;
        transaction(self.database.as_mut(), |database| {
            // The places first: a writer that was replaced must find out before it does anything.
            // In their order, as a successor takes them, so that the two cannot lock each other.
            batch.moves.sort_unstable();
            for (number, next) in &batch.moves {
                places[*number].advance(database, name, *next)?;
            }
            let refused = writer::write(database, table, &batch.values, batch.origins.len())?;
            for (row, refusal) in refused {
                batch.refused.push((batch.origins[row], refusal));
            }
            if !batch.refused.is_empty() {
                dead_letters.send(log, batch, partitions)?;
            }
            Ok(())
        })?;
        self.dead_letters.settled();
        Ok(self.batch.refused.len())
    }

    /// Takes a committed batch into places and counts.
    fn passed(&mut self, refused: usize, now_ms: i64) -> Step {
        for (number, next) in &self.batch.moves {
            self.places[*number].next = *next;
        }
        let dead_letters = refused as u64;
        let rows = self.batch.records as u64 - self.batch.skipped - dead_letters;
        self.stats.rows += rows;
        self.stats.batches += 1;
        self.stats.dead_letters += dead_letters;
        self.stats.skipped += self.batch.skipped;
        for (number, lost) in &self.batch.lost {
            self.stats.lost += lost;
            self.places[*number].tell_lost(*lost, now_ms, &self.table.name);
        }
        self.publish();
        Step::Wrote { rows, dead_letters }
    }

    /// Asks how far the topic has come meanwhile, so that what waits is told also while nothing can
    /// be written. A log that cannot say leaves what was known.
    fn look(&mut self) {
        for place in &mut self.places {
            match self.log.end(&place.partition) {
                Ok(end) => place.end = end,
                Err(_) => break,
            }
        }
        self.publish();
    }

    fn publish(&mut self) {
        let behind = |place: &Place| place.end.saturating_sub(place.next).max(0).unsigned_abs();
        self.stats.behind = self.places.iter().map(behind).sum();
        self.stats.settled = self.is_settled();
        self.stats.shortened = self.dead_letters.shortened();
        for place in &self.places {
            self.stats
                .next_offsets
                .insert(place.partition.clone(), place.next);
        }
    }
}
