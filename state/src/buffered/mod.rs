//! A buffer in front of a backend: what changes again and again is written below once.
//!
//! A task commits every tenth of a second, and a key that is hot is in every commit. A database
//! pays for each of these writes: it finds the place, logs the row, and writes it to a file to drop
//! it there for the next one. Here a row is one look-up in a hash table. There are two ages: a row
//! is *young* when it changes, and *old* when it has not changed since a certain moment, the
//! *turn*. Old rows go below once the oldest change among them is some seconds old, and all rows do
//! when the buffer is full. A row that changes all the time never goes below by its age, nor does
//! one that comes and goes in the meantime, or has expired by then, as those of short windows do.
//! What time it is the buffer learns from each batch, and from its owner where none comes
//! ([`Backend::settle`]): what a quiet day held back would be missing after the next crash, and a
//! position that is a day old is not trusted, so that everything had to be restored.
//!
//! What is in the buffer dies with the process. That is no loss: below are positions of some
//! seconds ago, and the changelog behind them brings everything up to date. Until it is
//! replayed, what is below is no state that ever was: a row that was young at the turn is missing
//! there, one that went below since is newer. So with the position goes its reach, up to where the
//! changelog must go on for the rows to be right.
//! Invariants: a row below is as of the position below or newer, or changes again in the changelog
//! before the reach below; a position goes below behind the rows that it speaks of, and its reach
//! before them; what no changelog can bring back (a column without a position in its batch) is
//! never held back; every read sees the state between two batches, as if there were no buffer. Who
//! supposes wrongly that a row is new ([`WriteBatch::suppose_parts`]) takes the row below out of
//! all this.

mod ahead;
mod arena;
mod drain;
mod rows;

use crate::{
    Backend, BackendStats, Before, Column, Direction, Error, Op, Position, Presence, Result,
    SettledVisitor, Visitor, WriteBatch, backend::counted,
};
use ahead::Next;
use drain::Old;
use rows::{Fresh, LENGTH_MAX, Rows, Which};
use std::{
    ops::{Bound, ControlFlow},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How many times as much as is left a buffer may hold: one alone three quarters of all, four of
/// them three thirteenths each. So there is always room for one that is new, and little is unused.
const SHARE: usize = 3;

/// How much the buffers of a process hold together. Cloned, it is the same one.
#[derive(Clone)]
pub struct BufferBudget {
    used: Arc<AtomicUsize>,
    together: usize,
}

impl BufferBudget {
    /// So many bytes for all. One buffer alone takes three quarters of them.
    pub fn new(bytes: usize) -> Self {
        Self {
            used: Arc::default(),
            together: bytes,
        }
    }

    /// Bytes held now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// A [`Backend`] with a buffer in front of another one.
///
/// ```
/// use millstream_state::{
///     Backend, BufferBudget, Buffered, Column, MemoryBackend, Position, Presence, WriteBatch,
/// };
/// use std::sync::Arc;
///
/// let below = Arc::new(MemoryBackend::new(&["counts"]));
/// let backend = Buffered::new(below.clone(), BufferBudget::new(1 << 20));
/// let mut batch = WriteBatch::new();
/// batch.put(Column(0), b"apple", b"3");
/// batch.set_position(
///     Column(0),
///     Position { offset: 1, reach: 1, topic_id: 1, applied_at: 0, transaction: 1 },
/// );
/// backend.apply(&batch)?;
///
/// let mut value = Vec::new();
/// assert_eq!(backend.get(Column(0), b"apple", &mut value)?, Presence::Found);
/// assert_eq!(below.get(Column(0), b"apple", &mut value)?, Presence::Missing);
/// backend.flush()?;
/// assert_eq!(below.get(Column(0), b"apple", &mut value)?, Presence::Found);
/// # Ok::<(), millstream_state::Error>(())
/// ```
pub struct Buffered {
    below: Arc<dyn Backend>,
    budget: BufferBudget,
    buffer: RwLock<Buffer>,
}

struct Buffer {
    columns: Vec<Rows>,
    positions: Vec<Option<Position>>,
    bytes: usize,
    /// When the oldest change of the young rows was applied, by its position.
    since: Option<i64>,
    old: Option<Old>,
    /// How often the buffer was written below, or begun to be. Whoever looked into the buffer first
    /// and then below knows by it whether rows have passed between the two looks.
    drains: u64,
    batch: WriteBatch,
}

impl Buffered {
    /// Puts a buffer in front of a backend.
    pub fn new(below: Arc<dyn Backend>, budget: BufferBudget) -> Self {
        let columns = below.columns().len();
        Self {
            below,
            budget,
            buffer: RwLock::new(Buffer {
                columns: (0..columns).map(|_| Rows::default()).collect(),
                positions: vec![None; columns],
                bytes: 0,
                since: None,
                old: None,
                drains: 0,
                batch: WriteBatch::new(),
            }),
        }
    }

    /// A lock that a panicking thread left behind is taken over: nothing between taking and
    /// releasing it calls a visitor, and what a drain had not finished it does again.
    fn read(&self) -> RwLockReadGuard<'_, Buffer> {
        self.buffer.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Buffer> {
        self.buffer.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, column: Column) -> Result<usize> {
        let index = usize::from(column.0);
        if index < self.below.columns().len() {
            Ok(index)
        } else {
            Err(Error::UnknownColumn(column.0))
        }
    }

    /// Whether a key that is called new is not there.
    fn is_as_told(&self, buffer: &Buffer, op: &Op<'_>) -> bool {
        let Op::Put {
            column,
            key,
            before: Before::Absent,
            ..
        } = *op
        else {
            return true;
        };
        let there = match buffer.columns[usize::from(column.0)].get(key) {
            Some(value) => Ok(value.map_or(Presence::Missing, |_| Presence::Found)),
            None => self.below.get(column, key, &mut Vec::new()),
        };
        // A backend that cannot be asked says so to those who need the answer.
        !matches!(there, Ok(Presence::Found))
    }

    /// Whether the buffer holds more than its share.
    fn is_full(&self, buffer: &Buffer) -> bool {
        let free = self.budget.together.saturating_sub(self.budget.used());
        buffer.bytes > free.saturating_mul(SHARE)
    }

    /// Tells the budget how much the buffer holds now.
    fn measure(&self, buffer: &mut Buffer) {
        let bytes = buffer.columns.iter().map(Rows::bytes).sum();
        // Modulo the word, so that a smaller one is an addition too.
        let change = usize::wrapping_sub(bytes, buffer.bytes);
        self.budget.used.fetch_add(change, Ordering::Relaxed);
        buffer.bytes = bytes;
    }

    /// The buffered rows of a range up to as many as a scan can visit, in its direction, and the
    /// count of drains at that moment.
    fn fresh(
        &self,
        column: usize,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        first: (Direction, usize),
    ) -> (Vec<Fresh>, u64) {
        let buffer = self.read();
        if buffer.columns[column].is_sorted() {
            return (buffer.columns[column].range(bounds, first), buffer.drains);
        }
        drop(buffer);
        let mut buffer = self.write();
        buffer.columns[column].sort();
        self.measure(&mut buffer);
        (buffer.columns[column].range(bounds, first), buffer.drains)
    }

    /// One try of a scan: `false`, before anything was visited, where rows went below meanwhile.
    /// The visitor breaks where it has seen as many rows as there may be.
    fn try_scan(
        &self,
        (column, number): (Column, usize),
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        (direction, limit): (Direction, usize),
        visit: Visitor<'_>,
    ) -> Result<bool> {
        let (mut fresh, drains) = self.fresh(number, bounds, (direction, limit));
        // From here on the next one is the last.
        fresh.reverse();
        let comes_before = |fresh: &Fresh, key: &[u8]| match direction {
            Direction::Ascending => *fresh.0 < *key,
            Direction::Descending => *fresh.0 > *key,
        };
        let (mut looked, mut ended) = (false, false);
        let mut passed = false;
        self.below
            .scan(column, bounds, direction, &mut |key, value| {
                if !std::mem::replace(&mut looked, true) && self.read().drains != drains {
                    passed = true;
                    return ControlFlow::Break(());
                }
                let mut step = || {
                    while let Some((key, value)) = fresh.pop_if(|row| comes_before(row, key)) {
                        if let Some(value) = value {
                            visit(&key, &value)?;
                        }
                    }
                    match fresh.pop_if(|row| *row.0 == *key) {
                        Some((_, None)) => ControlFlow::Continue(()),
                        Some((_, Some(value))) => visit(key, &value),
                        None => visit(key, value),
                    }
                };
                let flow = step();
                ended = flow.is_break();
                flow
            })?;
        if passed || (!looked && self.read().drains != drains) {
            return Ok(false);
        }
        while let (false, Some((key, value))) = (ended, fresh.pop()) {
            if let Some(value) = value {
                ended = visit(&key, &value).is_break();
            }
        }
        Ok(true)
    }
}

impl Backend for Buffered {
    fn columns(&self) -> &[String] {
        self.below.columns()
    }

    fn get(&self, column: Column, key: &[u8], out: &mut Vec<u8>) -> Result<Presence> {
        let index = self.check(column)?;
        out.clear();
        if let Some(value) = self.read().columns[index].get(key) {
            return Ok(value.map_or(Presence::Missing, |value| {
                out.extend_from_slice(value);
                Presence::Found
            }));
        }
        // What went below since is what this finds.
        self.below.get(column, key, out)
    }

    fn scan(
        &self,
        column: Column,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        visit: Visitor<'_>,
    ) -> Result<()> {
        self.scan_first(column, bounds, (direction, usize::MAX), visit)
    }

    fn scan_first(
        &self,
        column: Column,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        (direction, limit): (Direction, usize),
        visit: Visitor<'_>,
    ) -> Result<()> {
        let (number, mut left) = (self.check(column)?, limit);
        let visit = &mut |key: &[u8], value: &[u8]| counted(&mut left, visit(key, value));
        let first = (direction, limit);
        while limit > 0 && !self.try_scan((column, number), bounds, first, visit)? {}
        Ok(())
    }

    fn scan_settled(
        &self,
        column: Column,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        visit: SettledVisitor<'_>,
    ) -> Result<()> {
        let index = self.check(column)?;
        self.below
            .scan_settled(column, bounds, &mut |key, settled| {
                let changes = self.read().columns[index].get(key).is_some();
                visit(key, settled && !changes)
            })
    }

    fn apply(&self, batch: &WriteBatch) -> Result<()> {
        for op in batch.ops() {
            self.check(op.column())?;
        }
        for (column, _) in batch.positions() {
            self.check(*column)?;
        }
        for (column, _) in batch.horizons() {
            self.check(*column)?;
        }
        if batch.bytes() > LENGTH_MAX {
            return self.apply_bulk(batch);
        }
        let mut buffer = self.write();
        let now = batch.positions().last().map(|(_, last)| last.applied_at);
        buffer.turn(now);
        for (column, horizon) in batch.horizons() {
            buffer.columns[usize::from(column.0)].expire(*horizon);
        }
        let mut bare = false;
        let mut ops = batch.ops();
        while let Some(next) = Next::of(&mut ops, &buffer.columns) {
            for (op, hash) in next.iter() {
                debug_assert!(self.is_as_told(&buffer, &op), "{op:?} is not new");
                buffer.columns[usize::from(op.column().0)].set(hash, op);
            }
        }
        let logged = |op: &Op<'_>| batch.positions().iter().any(|(at, _)| *at == op.column());
        let mut last = None;
        for op in batch.ops() {
            // Batches name their columns one after the other, so this asks once for each.
            if last.replace(op.column()) != Some(op.column()) {
                bare |= !logged(&op);
            }
        }
        for (column, position) in batch.positions() {
            let newest = &mut buffer.positions[usize::from(column.0)];
            *newest = Some(position.after(*newest));
            buffer.since.get_or_insert(position.applied_at);
        }
        self.measure(&mut buffer);
        if bare {
            return self.drain(&mut buffer, Which::All);
        }
        if buffer.is_due(now) || (buffer.old.is_some() && self.is_full(&buffer)) {
            self.drain(&mut buffer, Which::Old)?;
        }
        if self.is_full(&buffer) {
            self.drain(&mut buffer, Which::All)?;
        }
        Ok(())
    }

    /// Goes below at once: rows that come but once would only be copied here once more.
    fn apply_bulk(&self, batch: &WriteBatch) -> Result<()> {
        let mut buffer = self.write();
        self.drain(&mut buffer, Which::All)?;
        self.below.apply_bulk(batch)
    }

    fn settle(&self, now: i64) -> Result<()> {
        if self.read().is_settled() {
            return Ok(());
        }
        let mut buffer = self.write();
        buffer.turn(Some(now));
        if buffer.is_due(Some(now)) {
            self.drain(&mut buffer, Which::Old)?;
        }
        Ok(())
    }

    fn position(&self, column: Column) -> Result<Option<Position>> {
        let index = self.check(column)?;
        let newest = self.read().positions[index];
        let below = self.below.position(column)?;
        Ok(newest.map(|newest| newest.after(below)).or(below))
    }

    fn clear(&self, column: Column) -> Result<()> {
        let index = self.check(column)?;
        let mut buffer = self.write();
        // It is not known any more what has expired either: what comes now may be of other times.
        buffer.columns[index] = Rows::default();
        buffer.positions[index] = None;
        if let Some(old) = &mut buffer.old {
            old.positions[index] = None;
        }
        // What the other columns hold goes below, so that the sizes need no sorting out.
        self.drain(&mut buffer, Which::All)?;
        self.below.clear(column)
    }

    fn flush(&self) -> Result<()> {
        self.drain(&mut self.write(), Which::All)?;
        self.below.flush()
    }

    fn stats(&self) -> BackendStats {
        let (below, buffer) = (self.below.stats(), self.read());
        let rows: usize = buffer.columns.iter().map(Rows::len).sum();
        BackendStats {
            keys_estimate: below.keys_estimate + rows as u64,
            memory_bytes: below.memory_bytes + buffer.bytes as u64,
            ..below
        }
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        // An orderly end leaves nothing to replay; where it fails, the changelog has it.
        let mut buffer = self.write();
        let _drained = self.drain(&mut buffer, Which::All);
        buffer.columns.clear();
        self.measure(&mut buffer);
    }
}
