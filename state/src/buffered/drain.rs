//! What goes below, and when.
//!
//! Invariant: a write that fails leaves all rows in the buffer, and may have been done in part.

use super::{
    Buffer, Buffered,
    rows::{Rows, Which},
};
use crate::{Column, Position, Result, WriteBatch};

/// How far the positions below lag behind at most, by the wall clock as batches and
/// [`crate::Backend::settle`] tell it: so much has to be replayed after a crash.
const AGE_MS_MAX: i64 = 5_000;

/// Bytes of rows that go below at once. The memory of larger pieces would be new each time, and
/// not in the processor's cache.
const PIECE_BYTES: usize = 512 << 10;

/// The rows that have not changed since a moment.
pub(super) struct Old {
    /// When the oldest change of theirs was applied.
    pub(super) since: i64,
    /// How far the columns were at the moment.
    pub(super) positions: Vec<Option<Position>>,
}

impl Buffer {
    /// Once the young rows have been so for half the time that they may be held back, they are old
    /// ones, until they change again.
    pub(super) fn turn(&mut self, now: Option<i64>) {
        let Some(now) = now else { return };
        // Where the clock went back, nothing is older than now.
        self.since = self.since.map(|since| since.min(now));
        if let Some(old) = &mut self.old {
            old.since = old.since.min(now);
            return;
        }
        let Some(since) = self.since else { return };
        if now.saturating_sub(since) >= AGE_MS_MAX / 2 {
            self.columns.iter_mut().for_each(Rows::turn);
            let positions = self.positions.clone();
            self.old = Some(Old { since, positions });
            self.since = None;
        }
    }

    /// Whether nothing waits to go below.
    pub(super) fn is_settled(&self) -> bool {
        self.since.is_none() && self.old.is_none()
    }

    /// Whether the old rows have been held back for long enough.
    pub(super) fn is_due(&self, now: Option<i64>) -> bool {
        let times = self.old.as_ref().zip(now);
        times.is_some_and(|(old, now)| now.saturating_sub(old.since) >= AGE_MS_MAX)
    }
}

impl Buffered {
    /// Writes rows below, in pieces, and how far they are with the last of them. Where that fails
    /// they stay here, and are tried again.
    pub(super) fn drain(&self, buffer: &mut Buffer, which: Which) -> Result<()> {
        buffer.drains += 1;
        let mut batch = std::mem::take(&mut buffer.batch);
        let written = self.write_below(buffer, which, &mut batch);
        // One large piece must not hold its memory for good.
        if batch.capacity() <= 2 * PIECE_BYTES {
            batch.clear();
            buffer.batch = batch;
        }
        written?;
        buffer.columns.iter_mut().for_each(|rows| match which {
            Which::All => rows.clear(),
            Which::Old => rows.forget_old(),
        });
        if which == Which::All {
            buffer.positions.fill(None);
            buffer.since = None;
        }
        buffer.old = None;
        self.measure(buffer);
        Ok(())
    }

    fn write_below(&self, buffer: &mut Buffer, which: Which, batch: &mut WriteBatch) -> Result<()> {
        let Buffer {
            columns,
            positions: newest,
            old,
            ..
        } = buffer;
        let positions = match (which, old) {
            (Which::Old, Some(old)) => &old.positions,
            _ => &*newest,
        };
        batch.clear();
        let mut numbers: Vec<_> = (0u16..).map(Column).zip(columns).zip(positions).collect();
        // What a changelog cannot bring back comes last, to be in one batch.
        numbers.sort_by_key(|(_, position)| position.is_none());
        let mut pieces = 0;
        for ((number, rows), position) in &mut numbers {
            for (key, value) in rows.hand_over(which) {
                match value {
                    Some(value) => batch.put(*number, key, value),
                    None => batch.delete(*number, key),
                }
                if position.is_some() && batch.bytes() >= PIECE_BYTES {
                    if pieces == 0 {
                        self.announce(newest, batch)?;
                    }
                    self.below.apply(batch)?;
                    batch.clear();
                    pieces += 1;
                }
            }
        }
        for ((number, _), position) in &numbers {
            if let Some(position) = position {
                let newest = newest[usize::from(number.0)];
                let reach = newest.map_or(position.reach, |newest| newest.reach);
                batch.set_position(*number, Position { reach, ..*position });
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.below.apply(batch)
    }

    /// Says with the first of several pieces how far the rows of all of them reach. A column below
    /// that has no position yet is not trusted anyway.
    fn announce(&self, newest: &[Option<Position>], batch: &mut WriteBatch) -> Result<()> {
        for (number, newest) in (0u16..).map(Column).zip(newest) {
            let below = self.below.position(number)?;
            if let (Some(position), Some(Position { reach, .. })) = (below, *newest) {
                batch.set_position(number, Position { reach, ..position });
            }
        }
        Ok(())
    }
}
