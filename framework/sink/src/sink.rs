//! The sink itself: a value that moves a topic into a table, one bounded step at a time.
//!
//! Invariant: rows and the places behind them change in one SQL transaction, so that after a crash
//! the table holds exactly what lies before the stored places. A sink keeps no other truth: after a
//! failure it asks the database where it is.

use crate::{
    backoff::{Backoff, Seldom},
    batch::{Batch, Decode, RecordMeta, decoder},
    config::{SinkConfig, SinkStats, Step},
    database::{Database, Location, transaction},
    dead_letter::DeadLetters,
    error::{Error, Result, Trouble},
    places::{self, Place},
    row::Row,
    schema,
    table::{Table, TableSpec},
    writer,
};
use millstream_core::{
    batch::Records,
    record::{Offset, TopicPartition},
    topic::Topic,
};
use millstream_log::{self as log, Event, Log};
use std::{sync::Arc, time::Duration};

/// Writes one topic into one table, exactly once.
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
    /// `None` until the epochs are taken, which happens once in a sink's life.
    places: Option<Vec<Place>>,
    /// Whether `places` are known to be what the database says.
    settled: bool,
    /// Which place reads first in the next step.
    turn: usize,
    batch: Batch,
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
            places: None,
            settled: false,
            turn: 0,
            batch: Batch::new(table.columns.clone()),
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

    /// Counts and places so far.
    pub fn stats(&self) -> &SinkStats {
        &self.stats
    }

    /// Reads a batch, writes it and moves the places, in one transaction. The first step also makes
    /// or checks the table and takes over from older writers of this sink.
    ///
    /// `now_ms` is the caller's clock; only differences matter.
    ///
    /// # Errors
    /// Where trying again cannot help. The sink is finished then: every further step says the same.
    pub fn step(&mut self, now_ms: i64) -> Result<Step> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if let Some(at_ms) = self.backoff.pending(now_ms) {
            let reason = self.backoff.reason.clone();
            return Ok(Step::Retry { at_ms, reason });
        }
        match self.attempt(now_ms) {
            Ok(step) => {
                if self.backoff.succeeded() {
                    tracing::info!(sink = %self.table.name, "sink goes on");
                }
                Ok(step)
            }
            Err(Trouble::Retry { reason, reconnect }) => {
                if reconnect {
                    self.database.disconnect();
                }
                self.settled = false;
                self.stats.retries += 1;
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

    /// Whether everything committed to the topic by now is in the table.
    ///
    /// # Errors
    /// What the log says when asked for the partitions' ends.
    pub fn caught_up(&mut self) -> log::Result<bool> {
        let Some(places) = &self.places else {
            return Ok(false);
        };
        for place in places {
            if self.log.end(&place.partition)? > place.next {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until the log has something new, or for so long.
    ///
    /// # Errors
    /// What the log says.
    pub fn wait(&mut self, at_most: Duration) -> log::Result<Event> {
        self.log.poll(at_most)
    }

    /// Sets SQLite's page limit on the sink's own connection: a disk that fills up, for tests.
    #[cfg(test)]
    pub(crate) fn limit_pages(&mut self, pragma: &str) {
        self.database.query(&pragma.into(), &[]).unwrap();
    }

    fn attempt(&mut self, now_ms: i64) -> std::result::Result<Step, Trouble> {
        self.database.connect()?;
        self.settle()?;
        self.read(now_ms)?;
        if self.batch.moves.is_empty() {
            return Ok(Step::Idle);
        }
        let refused = self.write()?;
        if refused > 0 && self.complaints.due(now_ms) {
            let reason = self
                .batch
                .refused
                .first()
                .map(|(_, refusal)| &refusal.message);
            tracing::warn!(sink = %self.table.name, refused, ?reason, "rows became dead letters");
        }
        Ok(self.passed(refused))
    }

    /// Makes sure of table, epochs and places.
    fn settle(&mut self) -> std::result::Result<(), Trouble> {
        if self.settled {
            return Ok(());
        }
        let (database, name) = (self.database.as_mut(), &self.table.name);
        if let Some(places) = &mut self.places {
            for place in places {
                place.verify(database, name)?;
            }
        } else {
            let topic = self.log.topic(&self.topic)?;
            let Some(topic) = topic else {
                return Err(Trouble::wait(format!(
                    "there is no topic {} yet",
                    self.topic
                )));
            };
            let partitions: Vec<_> = (0..topic.spec.partitions)
                .map(|partition| TopicPartition::new(Arc::clone(&self.topic), partition))
                .collect();
            let (table, log) = (&self.table, self.log.as_mut());
            let places = transaction(database, |database| {
                if let Some(lock) = database.dialect().start_lock {
                    database.query(&lock.into(), &[])?;
                }
                schema::prepare(database, &places::table())?;
                schema::prepare(database, table)?;
                Place::claim(database, log, &table.name, &partitions)
            })?;
            self.places = Some(places);
        }
        self.settled = true;
        self.publish();
        Ok(())
    }

    /// Fills the batch: a page of each partition in turn, until one bound is met.
    fn read(&mut self, now_ms: i64) -> std::result::Result<(), Trouble> {
        self.batch.clear();
        let places = self.places.as_deref_mut().unwrap_or_default();
        let count = places.len();
        let first = self.turn;
        for turn in first..first + count {
            let rows = self
                .config
                .batch_rows
                .max(1)
                .saturating_sub(self.batch.records);
            if rows == 0 || self.batch.bytes >= self.config.batch_bytes.max(1) {
                break;
            }
            let number = turn % count;
            self.turn = (number + 1) % count;
            let place = &mut places[number];
            let (page, lost) = page(
                self.log.as_mut(),
                place,
                &self.table.name,
                self.config.batch_bytes,
            )?;
            if lost > 0 && self.complaints.due(now_ms) {
                tracing::error!(
                    sink = %self.table.name, partition = %place.partition, lost,
                    "the topic forgot records before the sink came to them"
                );
            }
            self.batch.lost += lost;
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
        let places = self.places.as_deref().unwrap_or_default();
        let name = &self.table.name;
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
                let partitions = u32::try_from(places.len()).unwrap_or(u32::MAX);
                dead_letters.send(log, batch, partitions)?;
            }
            Ok(())
        })?;
        self.dead_letters.settled();
        Ok(self.batch.refused.len())
    }

    /// Takes a committed batch into places and counts.
    fn passed(&mut self, refused: usize) -> Step {
        if let Some(places) = &mut self.places {
            for (number, next) in &self.batch.moves {
                places[*number].next = *next;
            }
        }
        let dead_letters = refused as u64;
        let rows = self.batch.records as u64 - self.batch.skipped - dead_letters;
        self.stats.rows += rows;
        self.stats.batches += 1;
        self.stats.dead_letters += dead_letters;
        self.stats.skipped += self.batch.skipped;
        self.stats.lost += self.batch.lost;
        self.publish();
        Step::Wrote { rows, dead_letters }
    }

    fn publish(&mut self) {
        let places = self.places.as_deref().unwrap_or_default();
        self.stats.behind = 0;
        for place in places {
            self.stats.behind += place.end.saturating_sub(place.next).max(0).unsigned_abs();
            self.stats
                .next_offsets
                .insert(place.partition.clone(), place.next);
        }
    }
}

/// The page at a place, and how many offsets before it retention took away unread.
fn page(
    log: &mut dyn Log,
    place: &Place,
    sink: &str,
    max_bytes: usize,
) -> std::result::Result<(log::Page, u64), Trouble> {
    let beyond = |end: Offset| Error::Source {
        sink: sink.into(),
        problem: format!(
            "its place {} in {} is beyond the end {end}: was the topic made anew? Remove its \
             rows from millstream_offsets to start over",
            place.next, place.partition
        ),
    };
    match log.read(&place.partition, place.next, max_bytes) {
        Ok(page) if page.end < place.next => Err(beyond(page.end).into()),
        Ok(page) => Ok((page, 0)),
        Err(log::Error::OffsetOutOfRange { start, .. }) if start > place.next => {
            let page = log.read(&place.partition, start, max_bytes)?;
            Ok((page, start.abs_diff(place.next)))
        }
        Err(log::Error::OffsetOutOfRange { end, .. }) => Err(beyond(end).into()),
        Err(error) => Err(error.into()),
    }
}
