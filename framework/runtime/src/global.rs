//! The global tables of an instance: all partitions of their topics, in one backend of their own.
//!
//! Whichever stream thread comes by reads on, so no other thread is needed and the simulation can
//! do it too. Invariants: rows and the place up to which their topic was read are written in one
//! batch; no task of the instance begins before every table was read to the end of its topic.

use crate::{
    backends::Backends,
    error::{Error, Result},
    program::{ChangelogColumn, Program},
    replica::{FullRestore, has_slept, judge},
};
use millstream_core::{
    record::{Offset, Timestamp, TopicPartition},
    task::Dropped,
    topology::{GlobalWriter, Topology},
};
use millstream_log::{Error as LogError, Log};
use millstream_state::{Backend, Column, Position, Presence, WriteBatch, condensed};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// About how many bytes of a partition one step reads.
const PAGE_BYTES: usize = 1 << 20;
/// The column of the places; no store can have this name.
const PLACES: &str = ":places";

/// How far one partition of a global table's topic is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalProgress {
    /// The table's store.
    pub store: String,
    /// The partition.
    pub partition: TopicPartition,
    /// The next offset to apply.
    pub position: Offset,
    /// Where reading began on this instance.
    pub from: Offset,
    /// The partition's end as last seen.
    pub end: Offset,
    /// Records applied so far.
    pub records: u64,
    /// Why the table was read from the first record on, if it was.
    pub full: Option<FullRestore>,
}

/// An instance's global tables: one value, shared by all its threads.
#[derive(Default)]
pub struct Globals {
    tables: Mutex<Option<Tables>>,
    ready: AtomicBool,
}

struct Tables {
    backend: Arc<dyn Backend>,
    /// Who makes the rows, a writer for each table.
    writers: Vec<GlobalWriter>,
    partitions: Vec<Followed>,
    dropped: Dropped,
}

struct Followed {
    /// The table's place among the program's.
    number: usize,
    column: ChangelogColumn,
    /// Topic and format: what a place says of the rows besides their offset. It is written with
    /// every page, so the format is condensed.
    made: String,
    progress: GlobalProgress,
    /// Whether it has been read to its end.
    reached: bool,
    /// When its topic was last read.
    seen_at: Timestamp,
}

impl std::fmt::Debug for Globals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Globals")
            .field("ready", &self.ready)
            .finish_non_exhaustive()
    }
}

impl Globals {
    /// Whether tasks may run: all tables have been read to the end, or there are none.
    pub(crate) fn ready(&self, program: &Program) -> bool {
        program.topology.globals().is_empty() || self.ready.load(Ordering::Acquire)
    }

    /// The rows, a column for each table; `None` before they were opened.
    pub fn backend(&self) -> Option<Arc<dyn Backend>> {
        let tables = self.locked();
        tables.as_ref().map(|tables| tables.backend.clone())
    }

    /// How far each partition is.
    pub fn progress(&self) -> Vec<GlobalProgress> {
        let tables = self.locked();
        let partitions = tables.iter().flat_map(|tables| &tables.partitions);
        partitions
            .map(|followed| followed.progress.clone())
            .collect()
    }

    /// What was dropped of the tables' topics.
    pub fn dropped(&self) -> Dropped {
        let tables = self.locked();
        tables.as_ref().map(|t| t.dropped).unwrap_or_default()
    }

    /// Reads one page of each partition that has more; says whether there may be more still. While
    /// another thread is at it, there is nothing to do.
    ///
    /// # Errors
    /// Where storage or log refuse, or for a bad record under the policy to fail.
    pub(crate) fn step(
        &self,
        program: &Program,
        backends: &dyn Backends,
        log: &mut dyn Log,
        now: Timestamp,
    ) -> Result<bool> {
        if program.topology.globals().is_empty() {
            return Ok(false);
        }
        let mut tables = match self.tables.try_lock() {
            Ok(tables) => tables,
            // What a thread that panicked had not applied is read again.
            Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return Ok(false),
        };
        let outcome = match &mut *tables {
            Some(tables) => tables.step(program, log, now),
            unopened => Tables::open(program, backends, log, now).map(|opened| {
                *unopened = Some(opened);
                true
            }),
        };
        let reached = |tables: &Tables| tables.partitions.iter().all(|p| p.reached);
        let ready = tables.as_ref().is_some_and(reached);
        self.ready.store(ready, Ordering::Release);
        match outcome {
            Err(Error::Log(LogError::Retry(why))) => {
                tracing::debug!(why, "global tables wait for the log");
                Ok(false)
            }
            other => other,
        }
    }

    fn locked(&self) -> MutexGuard<'_, Option<Tables>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn open(
        program: &Program,
        backends: &dyn Backends,
        log: &mut dyn Log,
        now: Timestamp,
    ) -> Result<Self> {
        let globals = program.topology.globals();
        let backend = backends.open_global(&columns(&program.topology))?;
        let numbered = (0u16..).map(Column).zip(globals);
        let writers = numbered.map(|(column, global)| global.writer(&backend, column));
        let mut tables = Self {
            writers: writers.collect(),
            backend,
            partitions: Vec::new(),
            dropped: Dropped::default(),
        };
        for (number, global) in globals.iter().enumerate() {
            let topic = program.global_topics.get(number).copied();
            let (topic_id, tombstones_ms) = topic.unwrap_or_default();
            for at in program.layout.globals.get(number).into_iter().flatten() {
                let end = log.end(at)?;
                tables.partitions.push(Followed {
                    number,
                    column: ChangelogColumn {
                        store: global.name.clone(),
                        column: u16::try_from(number).unwrap_or(u16::MAX),
                        changelog: at.clone(),
                        topic_id,
                        tombstones_ms,
                        expires: None,
                        copy: None,
                        disused: None,
                    },
                    made: format!("{}\n{}", global.topic, condensed(&global.format)),
                    progress: GlobalProgress {
                        store: global.name.clone(),
                        partition: at.clone(),
                        position: 0,
                        from: 0,
                        end,
                        records: 0,
                        full: None,
                    },
                    reached: false,
                    seen_at: now,
                });
            }
        }
        for number in 0..globals.len() {
            tables.find_places(program, number, log, now)?;
        }
        Ok(tables)
    }

    /// Decides where a table is read on. Its partitions share a column, so where the place of one
    /// cannot be trusted, all begin anew; one that is new in the topic begins at its first record.
    fn find_places(
        &mut self,
        program: &Program,
        number: usize,
        log: &mut dyn Log,
        now: Timestamp,
    ) -> Result<()> {
        let places = places_column(program.topology.globals().len());
        let (mut found, mut distrust) = (0, None);
        for followed in self.partitions.iter_mut().filter(|p| p.number == number) {
            let mut stored = Vec::new();
            let at = (places, followed.place_key());
            if self.backend.get(at.0, &at.1, &mut stored)? == Presence::Missing {
                followed.begin(log.start(&followed.column.changelog)?, None);
                continue;
            }
            let end = followed.progress.end;
            match read_place(&stored, &followed.made) {
                Some(position) => match judge(position, &followed.column, (log, end), now)? {
                    None => followed.begin(position.offset, None),
                    Some(why) => distrust = Some(why),
                },
                None => distrust = Some(FullRestore::TopicReplaced),
            }
            found += 1;
        }
        if found == 0 {
            distrust = Some(FullRestore::Empty);
        }
        distrust.map_or(Ok(()), |why| self.restart(program, number, log, why))
    }

    /// Empties a table, to be read from its topic's first records, by a new processor where it has
    /// one. The places go first: rows without a place are read again, and a place without its rows
    /// would be believed. The log is asked before anything is done: where it cannot say, all is as
    /// it was.
    fn restart(
        &mut self,
        program: &Program,
        number: usize,
        log: &mut dyn Log,
        why: FullRestore,
    ) -> Result<()> {
        let globals = program.topology.globals();
        let (places, mut batch) = (places_column(globals.len()), WriteBatch::new());
        let mut column = None;
        let mut starts = BTreeMap::new();
        for followed in self.partitions.iter().filter(|p| p.number == number) {
            let changelog = &followed.column.changelog;
            starts.insert(changelog.clone(), log.start(changelog)?);
        }
        for followed in self.partitions.iter_mut().filter(|p| p.number == number) {
            if let Some(start) = starts.get(&followed.column.changelog) {
                followed.begin(*start, Some(why));
            }
            batch.delete(places, &followed.place_key());
            column = Some(Column(followed.column.column));
        }
        self.backend.apply(&batch)?;
        let Some(column) = column else { return Ok(()) };
        self.backend.clear(column)?;
        if let (Some(writer), Some(global)) = (self.writers.get_mut(number), globals.get(number)) {
            *writer = global.writer(&self.backend, column);
        }
        Ok(())
    }

    fn step(&mut self, program: &Program, log: &mut dyn Log, now: Timestamp) -> Result<bool> {
        let places = places_column(program.topology.globals().len());
        let (mut busy, mut restart) = (false, None);
        for followed in &mut self.partitions {
            let Some(writer) = self.writers.get_mut(followed.number) else {
                continue;
            };
            let at = followed.column.changelog.clone();
            // As a replica that was frozen for so long.
            let (read, position) = ((followed.seen_at, now), followed.progress.position);
            if has_slept(read, position, &followed.column, log)? {
                restart = Some((followed.number, FullRestore::TooOld));
                break;
            }
            let page = match log.read(&at, followed.progress.position, PAGE_BYTES) {
                Ok(page) => page,
                Err(LogError::OffsetOutOfRange { .. }) => {
                    restart = Some((followed.number, FullRestore::OutOfRange));
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            (followed.progress.end, followed.seen_at) = (page.end, now);
            if page.next > followed.progress.position {
                let mut batch = WriteBatch::new();
                let (policies, mut dropped) = (program.task.policies, Dropped::default());
                writer.begin();
                for (offset, record) in page.records.iter() {
                    let record = (&at, offset, record);
                    writer.apply(record, &mut batch, policies, &mut dropped)?;
                }
                writer.end(&mut batch)?;
                batch.put(
                    places,
                    &followed.place_key(),
                    &followed.place(page.next, now),
                );
                if page.next < page.end {
                    self.backend.apply_bulk(&batch)?;
                } else {
                    self.backend.apply(&batch)?;
                }
                writer.applied()?;
                self.dropped = self.dropped + dropped;
                followed.progress.position = page.next;
                followed.progress.records += page.records.len() as u64;
                busy = true;
            }
            followed.reached |= page.next >= page.end;
        }
        if let Some((number, why)) = restart {
            self.restart(program, number, log, why)?;
            let restarted = self.partitions.iter_mut().filter(|p| p.number == number);
            restarted.for_each(|followed| followed.seen_at = now);
            busy = true;
        }
        Ok(busy)
    }
}

impl Followed {
    fn begin(&mut self, at: Offset, full: Option<FullRestore>) {
        (self.progress.position, self.progress.from) = (at, at);
        self.progress.full = full;
        self.reached = false;
    }

    fn place_key(&self) -> Vec<u8> {
        let partition = self.column.changelog.partition.to_be_bytes();
        [self.column.store.as_bytes(), &[0], &partition].concat()
    }

    fn place(&self, next: Offset, now: Timestamp) -> Vec<u8> {
        let mut bytes = next.to_be_bytes().to_vec();
        bytes.extend(self.column.topic_id.to_be_bytes());
        bytes.extend(now.to_be_bytes());
        bytes.extend(self.made.as_bytes());
        bytes
    }
}

/// The columns of the backend in which a program's global tables lie: theirs, in order, and the
/// places'.
pub fn columns(topology: &Topology) -> Vec<String> {
    let globals = topology.globals().iter();
    let mut columns: Vec<_> = globals.map(|global| global.name.clone()).collect();
    columns.push(PLACES.to_owned());
    columns
}

fn places_column(tables: usize) -> Column {
    Column(u16::try_from(tables).unwrap_or(u16::MAX))
}

/// A stored place; `None` where it is none, or is of rows made from another topic or in another
/// format.
fn read_place(bytes: &[u8], made: &str) -> Option<Position> {
    let (offset, rest) = bytes.split_first_chunk()?;
    let (topic_id, rest) = rest.split_first_chunk()?;
    let (applied_at, rest) = rest.split_first_chunk()?;
    (rest == made.as_bytes()).then(|| Position {
        offset: i64::from_be_bytes(*offset),
        reach: i64::from_be_bytes(*offset),
        topic_id: u128::from_be_bytes(*topic_id),
        applied_at: i64::from_be_bytes(*applied_at),
        transaction: 0,
    })
}
