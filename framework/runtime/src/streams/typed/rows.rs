//! Rows one after the other, from either end, of which a page at a time is in memory.

use super::{Show, Source, Which, borrowed};
use crate::{
    error::{Error, Result},
    streams::rows::{StoredRow, Wanted},
};
use millstream_core::store::KeyBounds;
use millstream_state::Direction;
use std::{collections::VecDeque, iter::FusedIterator, ops::Bound};

/// Rows of the first page of a partition; each one is larger than the one before it, since whoever
/// has read many will read on.
const PAGE_MIN: usize = 16;
const PAGE_GROWTH: usize = 4;
const PAGE_MAX: usize = 4_096;
/// A page ends where it has so many bytes.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// What was asked of a store, row after row; Kafka's `KeyValueIterator`, which need not be closed.
/// It can be read from its other end too (`rev()`), or from both.
///
/// Partition comes after partition, and within each of them rows are in the order of their keys'
/// bytes, the rows of a key in that of their times. Text, unsigned numbers and the `ordered_*`
/// serdes are in the order of the keys themselves.
///
/// Rows are read a page at a time, as of the last commit then. So all are there once that do not
/// change meanwhile; of those that do, what they are when their page is read. No lock is held
/// between two rows, and no snapshot.
///
/// # Errors
/// A row that cannot be read is an error in its place, [`Error::UnreadableRow`], and others follow.
/// After any other error nothing follows: storage failed, the client does not run any more, or the
/// partition that was being read has gone elsewhere ([`Error::IllegalState`]). And where rows of
/// one key are asked for and there are none, that is an error where there may be some all the same.
#[must_use = "rows are read only when they are asked for"]
pub struct Rows<T> {
    source: Source,
    /// By partition, without those that were read to their ends.
    parts: VecDeque<Part>,
    which: Which,
    show: Show<T>,
    /// Why there may be rows elsewhere, until one is found here: it matters for those of a key.
    lacking: Option<String>,
}

impl<T> Rows<T> {
    /// The rows of one key: none are told of only where there can be none elsewhere.
    pub(super) fn of_key(
        source: &Source,
        bounds: &KeyBounds,
        which: Which,
        show: Show<T>,
    ) -> Result<Self> {
        let found = source.find()?;
        Ok(Self {
            source: source.clone(),
            parts: parts(found.backends.keys(), bounds),
            which,
            show,
            lacking: found.lacking,
        })
    }

    /// The rows of all keys that are here; an error where nothing is.
    pub(super) fn of_keys(
        source: &Source,
        bounds: &KeyBounds,
        which: Which,
        show: Show<T>,
    ) -> Result<Self> {
        let backends = source.find()?.some()?.unwrap_or_default();
        Ok(Self {
            source: source.clone(),
            parts: parts(backends.keys(), bounds),
            which,
            show,
            lacking: None,
        })
    }

    /// No rows: nothing was asked for.
    pub(super) fn none(source: &Source) -> Result<Self> {
        source.find()?;
        Ok(Self {
            source: source.clone(),
            parts: VecDeque::new(),
            which: Box::new(|_, _| false),
            show: Box::new(|_| Ok(None)),
            lacking: None,
        })
    }

    fn step(&mut self, direction: Direction) -> Option<Result<T>> {
        loop {
            let part = match direction {
                Direction::Ascending => self.parts.front_mut(),
                Direction::Descending => self.parts.back_mut(),
            };
            let Some(part) = part else {
                return self.lacking.take().map(|why| Err(Error::IllegalState(why)));
            };
            match part.take(direction, &self.source, &self.which) {
                Ok(Some(row)) => match (self.show)(&row) {
                    Ok(None) => {}
                    shown => {
                        self.lacking = None;
                        let shown = shown.map_err(|why| self.source.unreadable(&row, &why));
                        return shown.transpose();
                    }
                },
                Ok(None) => {
                    match direction {
                        Direction::Ascending => self.parts.pop_front(),
                        Direction::Descending => self.parts.pop_back(),
                    };
                }
                Err(error) => {
                    self.parts.clear();
                    self.lacking = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl<T> Iterator for Rows<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        self.step(Direction::Ascending)
    }
}

impl<T> DoubleEndedIterator for Rows<T> {
    fn next_back(&mut self) -> Option<Result<T>> {
        self.step(Direction::Descending)
    }
}

impl<T> FusedIterator for Rows<T> {}

/// The rows of a partition that are not taken yet.
struct Part {
    partition: u32,
    /// Between these nothing was read yet.
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    /// Whether there may be anything between them.
    unread: bool,
    /// Rows before them, in order, and behind them, the last one first.
    front: VecDeque<StoredRow>,
    back: VecDeque<StoredRow>,
    page: usize,
}

fn parts<'p>(partitions: impl Iterator<Item = &'p u32>, (from, to): &KeyBounds) -> VecDeque<Part> {
    let part = |&partition| Part {
        partition,
        from: from.clone(),
        to: to.clone(),
        unread: true,
        front: VecDeque::new(),
        back: VecDeque::new(),
        page: PAGE_MIN,
    };
    partitions.map(part).collect()
}

impl Part {
    /// The row at one of the ends.
    fn take(
        &mut self,
        direction: Direction,
        source: &Source,
        which: &Which,
    ) -> Result<Option<StoredRow>> {
        loop {
            let row = match direction {
                Direction::Ascending => self.front.pop_front(),
                Direction::Descending => self.back.pop_front(),
            };
            if row.is_some() {
                return Ok(row);
            }
            if !self.unread {
                return Ok(match direction {
                    Direction::Ascending => self.back.pop_back(),
                    Direction::Descending => self.front.pop_back(),
                });
            }
            self.read(direction, source, which)?;
        }
    }

    fn read(&mut self, direction: Direction, source: &Source, which: &Which) -> Result<()> {
        let wanted = Wanted {
            direction,
            rows: self.page,
            bytes: PAGE_BYTES_MAX,
            which,
        };
        let bounds = (borrowed(&self.from), borrowed(&self.to));
        let backend = source.backend(self.partition)?;
        let page = source.rows.page(&*backend, bounds, &wanted)?;
        self.page = (self.page * PAGE_GROWTH).min(PAGE_MAX);
        self.unread = page.last.is_some();
        let last = page.last.map(Bound::Excluded);
        let (end, rows) = match direction {
            Direction::Ascending => (&mut self.from, &mut self.front),
            Direction::Descending => (&mut self.to, &mut self.back),
        };
        rows.extend(page.rows);
        if let Some(last) = last {
            *end = last;
        }
        Ok(())
    }
}
