//! The trait every storage engine implements, and the values it speaks in.

use crate::{Result, WriteBatch};
use std::{ops::Bound, ops::ControlFlow};

/// The number of a store inside its task's backend: its index in [`Backend::columns`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Column(pub u16);

/// Whether a key was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The value was written to the caller's buffer.
    Found,
    /// There is no such key; the caller's buffer is empty.
    Missing,
}

/// Which way a scan runs through the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest key first.
    Ascending,
    /// Largest key first.
    Descending,
}

/// How much of a changelog partition a column holds, stored in the same batch as the data, or in
/// one behind it.
///
/// `offset` is the next changelog offset to replay: what lies before it is in the column, or has
/// been changed again behind it. So a column of which more was applied than that is only right once
/// its changelog was replayed to `reach` at least, and a changelog that ends before has lost what
/// the column needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The next changelog offset to apply.
    pub offset: i64,
    /// Up to which changelog offset changes may have been applied: `offset`, or a later one. A
    /// backend keeps the greatest that it was told of a topic.
    pub reach: i64,
    /// The identity of the changelog topic; a topic made anew under the old name has another.
    pub topic_id: u128,
    /// Wall-clock milliseconds of the apply, to judge whether tombstones may have been lost since.
    pub applied_at: i64,
    /// The number of the committed transaction that wrote it.
    pub transaction: u64,
}

impl Position {
    /// The same position after a column had another one: what was applied then still is.
    #[must_use]
    pub fn after(self, before: Option<Self>) -> Self {
        let before = before.filter(|before| before.topic_id == self.topic_id);
        let reach = before.map_or(self.offset, |before| before.reach);
        Self {
            reach: self.reach.max(self.offset).max(reach),
            ..self
        }
    }
}

/// What a backend knows about its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendStats {
    /// Keys over all columns, as far as the engine can tell without counting.
    pub keys_estimate: u64,
    /// Bytes in files.
    pub disk_bytes: u64,
    /// Bytes held in memory for writes not yet in a table file.
    pub memory_bytes: u64,
}

/// What a scan calls with each key and value; it ends the scan by breaking.
pub type Visitor<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// What a search for rows to delete calls with each key, and whether its row is settled; it ends
/// the search by breaking.
pub type SettledVisitor<'a> = &'a mut dyn FnMut(&[u8], bool) -> ControlFlow<()>;

/// An ordered key-value engine that holds all stores of one task.
///
/// Reads may come from any thread while the owner applies batches; each single call sees one state
/// between two batches, never half of one.
pub trait Backend: Send + Sync {
    /// The columns' names, in the order of their numbers.
    fn columns(&self) -> &[String];

    /// Reads one value into `out`, which is cleared first.
    fn get(&self, column: Column, key: &[u8], out: &mut Vec<u8>) -> Result<Presence>;

    /// Visits the keys between two bounds in byte order until `visit` breaks.
    ///
    /// The scan sees one state, however long it runs. Inverted bounds are an empty range.
    fn scan(
        &self,
        column: Column,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        visit: Visitor<'_>,
    ) -> Result<()>;

    /// As [`Backend::scan`], for one who wants no more than so many rows: a backend that copies
    /// rows before it shows them copies no more than that.
    ///
    /// # Errors
    /// As [`Backend::scan`].
    fn scan_first(
        &self,
        column: Column,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        (direction, limit): (Direction, usize),
        visit: Visitor<'_>,
    ) -> Result<()> {
        if limit == 0 {
            return Ok(());
        }
        let mut left = limit;
        self.scan(column, bounds, direction, &mut |key, value| {
            counted(&mut left, visit(key, value))
        })
    }

    /// As an ascending [`Backend::scan`], for one who is looking for rows to delete that nobody
    /// reads any more: a backend that holds changes back leaves those out, and says of the rows
    /// that they change that these are not settled. Whoever looks so far and no further can count
    /// them.
    fn scan_settled(
        &self,
        column: Column,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        visit: SettledVisitor<'_>,
    ) -> Result<()> {
        let visit = &mut |key: &[u8], _: &[u8]| visit(key, true);
        self.scan(column, bounds, Direction::Ascending, visit)
    }

    /// Applies a whole batch, its positions included, or nothing of it. Rows that one of its
    /// horizons covers may be gone from then on, be there for good, or be as they once were; only
    /// to delete them is sure to end them.
    fn apply(&self, batch: &WriteBatch) -> Result<()>;

    /// As [`Backend::apply`], for one of many batches of rows that will not change again soon, as a
    /// restore brings them.
    fn apply_bulk(&self, batch: &WriteBatch) -> Result<()> {
        self.apply(batch)
    }

    /// Says what time it is, by the same clock as [`Position::applied_at`]: to be called now and
    /// then, also while nothing is applied. A backend that holds changes back writes down those
    /// that have waited for long enough, and with nothing to write does next to nothing.
    ///
    /// # Errors
    /// As [`Backend::apply`]. What could not be written is still held.
    fn settle(&self, now: i64) -> Result<()> {
        let _ = now;
        Ok(())
    }

    /// The position stored with a column, if any batch has brought one.
    fn position(&self, column: Column) -> Result<Option<Position>>;

    /// Deletes everything of a column, its position included: the start of a full restore.
    fn clear(&self, column: Column) -> Result<()>;

    /// Asks that what was applied survive the loss of the machine's power, not just of the process.
    fn flush(&self) -> Result<()>;

    /// Sizes, for metrics.
    fn stats(&self) -> BackendStats;
}

/// What a visitor answered for a row, or that this was the last one of those there may be.
pub(crate) fn counted(left: &mut usize, flow: ControlFlow<()>) -> ControlFlow<()> {
    *left = left.saturating_sub(1);
    match *left {
        0 => ControlFlow::Break(()),
        _ => flow,
    }
}
