//! A store's rows as people see them, in whatever backend they lie: of a program that runs, or of
//! one that has stopped.
//!
//! Invariant: what is a store's own note, or has expired by the committed time of its partition, is
//! no row, whether it was deleted or not.

use crate::error::{Error, Result};
use millstream_core::{
    record::Timestamp,
    store::{RowBytes, StoreLayout, TimedShape},
    topology::{StoreQuery, Topology},
};
use millstream_state::{Backend, Column, Direction, Presence};
use serde_json::Value;
use std::{
    fmt,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

/// How many rows are looked at in one go where few are wanted: a scan keeps what it began with.
const LOOKED_AT_MAX: usize = 4_096;
/// How many at least in the first go, and then twice as many in each. A backend copies what it
/// holds back before it shows it, which for a small page it need not do with all of it.
const LOOKED_AT_MIN: usize = 256;

/// Bounds of keys' bytes.
type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// A row of a store as people see it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreRow {
    /// The key.
    pub key: Value,
    /// The value.
    pub value: Value,
    /// When it last changed, in milliseconds.
    pub timestamp: Timestamp,
}

/// A row whose bytes are not what the store's serdes write, in the place of what it would say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableRow {
    /// Its key: as of any row where that can be read, or else its bytes in hexadecimal.
    pub key: Value,
    /// What is wrong with it.
    pub why: String,
}

/// A row as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// The bytes of its key.
    pub key: Vec<u8>,
    /// The bytes of its timestamp and its value.
    pub stored: Vec<u8>,
}

/// Which rows of a range are wanted.
pub(super) struct Wanted<'w> {
    /// Which end of the range is read first.
    pub(super) direction: Direction,
    /// No more than so many.
    pub(super) rows: usize,
    /// And no more once they have so many bytes.
    pub(super) bytes: usize,
    /// Which ones, by the bytes of a key and the time up to which rows have expired.
    pub(super) which: &'w dyn Fn(&[u8], Timestamp) -> bool,
}

impl Wanted<'_> {
    fn is_met(&self, page: &StoredPage) -> bool {
        page.rows.len() >= self.rows || page.bytes >= self.bytes
    }
}

/// Rows of a range, from one of its ends.
#[derive(Default)]
pub(super) struct StoredPage {
    pub(super) rows: Vec<StoredRow>,
    /// The bytes of the last key that was looked at, where there may be more behind it.
    pub(super) last: Option<Vec<u8>>,
    pub(super) bytes: usize,
}

/// What has the backends in which a store's rows lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreHome {
    /// The tasks of this subtopology, one for each partition.
    Tasks(u32),
    /// The instance, for its global tables.
    Global,
}

/// How the rows of one store are found and read.
#[derive(Clone)]
pub struct StoreRows {
    /// Where they are.
    pub home: StoreHome,
    query: Arc<dyn StoreQuery>,
    /// What they are, where they expire.
    expires: Option<TimedShape>,
    column: Column,
}

impl StoreRows {
    /// The rows of a store of a program, global tables and stores among them.
    ///
    /// # Errors
    /// Where there is no such store, or its rows cannot be shown by key.
    pub fn of(topology: &Topology, store: &str) -> Result<Self> {
        if let Some((column, global)) = topology.find_global(store) {
            return Ok(Self {
                home: StoreHome::Global,
                query: global.query.clone(),
                expires: None,
                column: Column(column),
            });
        }
        let (subtopology, column, spec) = topology
            .find_store(store)
            .ok_or_else(|| Error::IllegalState(format!("the program has no store {store:?}")))?;
        let query = spec.query.clone().ok_or_else(|| {
            Error::IllegalState(format!(
                "the store {store:?} has no rows that can be shown by key"
            ))
        })?;
        Ok(Self {
            home: StoreHome::Tasks(subtopology),
            expires: query.kind().expires(),
            query,
            column: Column(column),
        })
    }

    /// How the rows lie, and what their bytes are.
    pub fn layout(&self) -> StoreLayout {
        let (key, value) = self.query.formats();
        let kind = self.query.kind();
        StoreLayout { kind, key, value }
    }

    /// The bytes of a key that is given as JSON.
    ///
    /// # Errors
    /// [`Error::BadKey`] where the store's keys are not like this.
    pub fn key(&self, key: &Value) -> Result<Vec<u8>> {
        (self.query.key(key)).map_err(|error| Error::BadKey(error.to_string()))
    }

    /// The bytes of the record's key that a row's key begins with, or is.
    pub(super) fn record_key(&self, place: &[u8]) -> Result<Vec<u8>> {
        (self.query.record_key(place)).map_err(|error| Error::BadKey(error.to_string()))
    }

    /// The keys that a text may stand for: the text itself, and what it says as JSON, in this order
    /// and as far as the store's keys are like that. So `5` is a number to a store of numbers, and
    /// a text to one of texts.
    ///
    /// # Errors
    /// [`Error::BadKey`] where it stands for none.
    pub fn readings(&self, written: &str) -> Result<Vec<Value>> {
        let text = Value::String(written.to_owned());
        let json = serde_json::from_str(written).ok();
        // Why the better reading is no key tells more: what is JSON is meant as JSON.
        let mut refused = None;
        let mut readings = Vec::new();
        for reading in [Some(text), json].into_iter().flatten() {
            match self.key(&reading) {
                Ok(_) => readings.push(reading),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(why) if readings.is_empty() => Err(why),
            _ => Ok(readings),
        }
    }

    /// The row with these bytes as its key.
    ///
    /// # Errors
    /// Where storage fails.
    pub fn get(&self, backend: &dyn Backend, key: &[u8]) -> Result<Option<StoredRow>> {
        let mut stored = Vec::new();
        let found = self.query.is_row(key)
            && backend.get(self.column, key, &mut stored)? == Presence::Found
            && !(self.may_expire(key) && self.has_expired(key, self.horizon(backend)?));
        Ok(found.then(|| StoredRow {
            key: key.to_vec(),
            stored,
        }))
    }

    /// The first `limit` rows between two keys, in the order of the keys' bytes: fewer only where
    /// there are no more.
    ///
    /// # Errors
    /// Where storage fails.
    pub fn scan(
        &self,
        backend: &dyn Backend,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
    ) -> Result<Vec<StoredRow>> {
        let first = self.first(backend, bounds, (limit, usize::MAX))?;
        Ok(first.rows)
    }

    /// The first rows between two keys, so many or so many bytes of them: the row that passes these
    /// is the last one.
    pub(super) fn first(
        &self,
        backend: &dyn Backend,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        (rows, bytes): (usize, usize),
    ) -> Result<StoredPage> {
        let wanted = Wanted {
            direction: Direction::Ascending,
            rows,
            bytes,
            which: &|_, _| true,
        };
        self.page(backend, bounds, &wanted)
    }

    /// The wanted rows between two keys, or some of them from one end on.
    pub(super) fn page(
        &self,
        backend: &dyn Backend,
        (from, to): Bounds<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<StoredPage> {
        let mut page = StoredPage::default();
        let mut limit = wanted.rows.clamp(LOOKED_AT_MIN, LOOKED_AT_MAX);
        loop {
            let last = page.last.take();
            let bounds = match (wanted.direction, last.as_deref()) {
                (_, None) => (from, to),
                (Direction::Ascending, Some(last)) => (Bound::Excluded(last), to),
                (Direction::Descending, Some(last)) => (from, Bound::Excluded(last)),
            };
            self.scan_once(backend, bounds, (wanted, limit), &mut page)?;
            limit = (2 * limit).min(LOOKED_AT_MAX);
            // Of what has expired meanwhile the scan may have found an older row.
            let horizon = self.horizon(backend)?;
            page.rows.retain(|row| !self.has_expired(&row.key, horizon));
            if page.last.is_none() || wanted.is_met(&page) {
                return Ok(page);
            }
        }
    }

    fn scan_once(
        &self,
        backend: &dyn Backend,
        bounds: Bounds<'_>,
        (wanted, limit): (&Wanted<'_>, usize),
        page: &mut StoredPage,
    ) -> Result<()> {
        if wanted.is_met(page) {
            return Ok(());
        }
        let (horizon, mut looked_at) = (self.horizon(backend)?, 0);
        let is_wanted = |key: &[u8]| {
            let is_row = self.query.is_row(key) && !self.has_expired(key, horizon);
            is_row && (wanted.which)(key, horizon)
        };
        let mut visit = |key: &[u8], stored: &[u8]| {
            looked_at += 1;
            if is_wanted(key) {
                page.bytes += key.len() + stored.len();
                page.rows.push(StoredRow {
                    key: key.to_vec(),
                    stored: stored.to_vec(),
                });
            }
            if looked_at < limit && !wanted.is_met(page) {
                return ControlFlow::Continue(());
            }
            page.last = Some(key.to_vec());
            ControlFlow::Break(())
        };
        let first = (wanted.direction, limit);
        backend.scan_first(self.column, bounds, first, &mut visit)?;
        Ok(())
    }

    /// A row for people.
    ///
    /// # Errors
    /// Where its bytes are not what the store's serdes write.
    pub fn show(&self, row: &StoredRow) -> Result<StoreRow> {
        let stored = RowBytes::split(&row.stored)?;
        Ok(StoreRow {
            key: self.query.show_key(&row.key)?,
            value: self.query.show_value(stored.value)?,
            timestamp: stored.timestamp,
        })
    }

    /// A row for people who look at many: one that is bad says so in its place, and hides none of
    /// the others.
    ///
    /// # Errors
    /// As [`StoreRows::show`].
    pub fn look(&self, row: &StoredRow) -> std::result::Result<StoreRow, UnreadableRow> {
        self.show(row)
            .map_err(|error| self.unreadable(&row.key, &error))
    }

    /// What is said of a row that cannot be read.
    pub(super) fn unreadable(&self, key: &[u8], why: &dyn fmt::Display) -> UnreadableRow {
        let hex = || key.iter().map(|byte| format!("{byte:02x}"));
        let shown = self.query.show_key(key);
        UnreadableRow {
            key: shown.unwrap_or_else(|_| Value::String(hex().collect())),
            why: why.to_string(),
        }
    }

    /// Rows at or before this time have expired by the committed time of a partition, deleted or
    /// not.
    fn horizon(&self, backend: &dyn Backend) -> Result<Timestamp> {
        Ok(match self.expires {
            Some(shape) => shape.committed_horizon(backend, self.column)?,
            None => Timestamp::MIN,
        })
    }

    fn has_expired(&self, key: &[u8], horizon: Timestamp) -> bool {
        (self.expires).is_some_and(|shape| shape.has_expired(key, horizon))
    }

    /// Whether a row can expire: the versions that hold now lie at the end of time.
    fn may_expire(&self, key: &[u8]) -> bool {
        self.has_expired(key, Timestamp::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::prelude::*;
    use millstream_state::{MemoryBackend, WriteBatch};

    static IN: Topic<String, String> = Topic::new("in", utf8(), utf8());

    /// A table, and rows of it that each have ten bytes.
    fn table(rows: u32) -> (StoreRows, MemoryBackend) {
        let builder = StreamsBuilder::new();
        let _ = builder.table(&IN, "rows");
        let (topology, backend) = (builder.build().unwrap(), MemoryBackend::new(&["rows"]));
        let mut batch = WriteBatch::new();
        for row in 0..rows {
            batch.put(Column(0), &row.to_be_bytes(), b"6bytes");
        }
        backend.apply(&batch).unwrap();
        (StoreRows::of(&topology, "rows").unwrap(), backend)
    }

    fn keys(page: &StoredPage) -> Vec<u32> {
        let key = |row: &StoredRow| u32::from_be_bytes(row.key.as_slice().try_into().unwrap());
        page.rows.iter().map(key).collect()
    }

    const EVERYTHING: Bounds<'_> = (Bound::Unbounded, Bound::Unbounded);

    #[test]
    fn a_page_ends_with_so_many_rows_or_bytes_and_says_where_it_did() {
        let (rows, backend) = table(5);
        let (up, down) = (Direction::Ascending, Direction::Descending);
        for (direction, limit, bytes, expected, last) in [
            (up, 2, usize::MAX, vec![0, 1], Some(1_u32)),
            (down, 2, usize::MAX, vec![4, 3], Some(3)),
            (up, 9, 20, vec![0, 1], Some(1)),
            (up, 9, 21, vec![0, 1, 2], Some(2)),
            (down, 9, 1, vec![4], Some(4)),
            (up, 9, usize::MAX, vec![0, 1, 2, 3, 4], None),
            (down, 9, 51, vec![4, 3, 2, 1, 0], None),
            (up, 0, usize::MAX, vec![], None),
        ] {
            let wanted = Wanted {
                direction,
                rows: limit,
                bytes,
                which: &|_, _| true,
            };
            let page = rows.page(&backend, EVERYTHING, &wanted).unwrap();
            assert_eq!(keys(&page), expected);
            assert_eq!(page.last, last.map(|key| key.to_be_bytes().to_vec()));
        }
    }

    #[test]
    fn few_wanted_rows_among_many_are_found_over_several_scans() {
        let many = 3 * u32::try_from(LOOKED_AT_MAX).unwrap();
        let (rows, backend) = table(many);
        for direction in [Direction::Ascending, Direction::Descending] {
            let at_an_end = |key: &[u8], _| {
                [0, many - 1]
                    .map(u32::to_be_bytes)
                    .iter()
                    .any(|end| end == key)
            };
            let wanted = Wanted {
                direction,
                rows: 3,
                bytes: usize::MAX,
                which: &at_an_end,
            };
            let page = rows.page(&backend, EVERYTHING, &wanted).unwrap();
            let mut found = keys(&page);
            found.sort_unstable();
            assert_eq!((found, page.last), (vec![0, many - 1], None));
        }
    }
}
