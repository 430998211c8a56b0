//! A store's rows as people see them, in whatever backend they lie: of a program that runs, or of
//! one that has stopped.
//!
//! Invariant: what is a store's own note, or has expired by the committed time of its partition, is
//! no row, whether it was deleted or not.

use crate::error::{Error, Result};
use millstream_core::{
    record::Timestamp,
    store::TimedShape,
    topology::{StoreQuery, Topology},
};
use millstream_state::{Backend, Column, Direction, Presence};
use serde_json::Value;
use std::{
    ops::{Bound, ControlFlow},
    sync::Arc,
};

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

    /// The bytes of a key that is given as JSON.
    ///
    /// # Errors
    /// [`Error::BadKey`] where the store's keys are not like this.
    pub fn key(&self, key: &Value) -> Result<Vec<u8>> {
        (self.query.key(key)).map_err(|error| Error::BadKey(error.to_string()))
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
            && !self.expired(backend)?(key);
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
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
    ) -> Result<Vec<StoredRow>> {
        let (mut rows, mut after) = (Vec::new(), None::<Vec<u8>>);
        loop {
            let from = after.as_deref().map_or(from, Bound::Excluded);
            let wanted = limit - rows.len();
            let mut found = self.scan_once(backend, (from, to), wanted)?;
            let last = found.last().filter(|_| found.len() == wanted);
            after = last.map(|row| row.key.clone());
            // Of what has expired meanwhile the scan may have found an older row.
            let expired = self.expired(backend)?;
            found.retain(|row| !expired(&row.key));
            rows.append(&mut found);
            if after.is_none() || rows.len() == limit {
                return Ok(rows);
            }
        }
    }

    fn scan_once(
        &self,
        backend: &dyn Backend,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
    ) -> Result<Vec<StoredRow>> {
        let (expired, mut rows) = (self.expired(backend)?, Vec::new());
        let ascending = Direction::Ascending;
        backend.scan(self.column, range, ascending, &mut |key, stored| {
            if rows.len() >= limit {
                return ControlFlow::Break(());
            }
            if self.query.is_row(key) && !expired(key) {
                rows.push(StoredRow {
                    key: key.to_vec(),
                    stored: stored.to_vec(),
                });
            }
            ControlFlow::Continue(())
        })?;
        Ok(rows)
    }

    /// A row for people.
    ///
    /// # Errors
    /// Where its bytes are not what the store's serdes write.
    pub fn show(&self, row: &StoredRow) -> Result<StoreRow> {
        let broken =
            || millstream_core::Error::deserialization("a stored value without its timestamp");
        let (stamp, value) = row.stored.split_first_chunk::<8>().ok_or_else(broken)?;
        Ok(StoreRow {
            key: self.query.show_key(&row.key)?,
            value: self.query.show_value(value)?,
            timestamp: Timestamp::from_be_bytes(*stamp),
        })
    }

    /// A row for people who look at many: one that is bad says so in its place, and hides none of
    /// the others.
    ///
    /// # Errors
    /// As [`StoreRows::show`].
    pub fn look(&self, row: &StoredRow) -> std::result::Result<StoreRow, UnreadableRow> {
        self.show(row).map_err(|error| {
            let hex = || row.key.iter().map(|byte| format!("{byte:02x}"));
            let key = self.query.show_key(&row.key);
            UnreadableRow {
                key: key.unwrap_or_else(|_| Value::String(hex().collect())),
                why: error.to_string(),
            }
        })
    }

    /// Which rows have expired by the committed time of a partition, deleted or not.
    fn expired(&self, backend: &dyn Backend) -> Result<impl Fn(&[u8]) -> bool + use<>> {
        let horizon = match self.expires {
            Some(shape) => Some((shape, shape.committed_horizon(backend, self.column)?)),
            None => None,
        };
        Ok(move |key: &[u8]| {
            horizon.is_some_and(|(shape, horizon)| shape.has_expired(key, horizon))
        })
    }
}
