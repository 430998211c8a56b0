//! Interactive queries: reading a running program's stores, as of the last commit. While a state is
//! brought back, which [`Streams::tasks`] tells, its rows are partly older, or missing.
//!
//! A backend holds only what was committed, so any thread may read it while tasks run. Reads see
//! the partitions that this instance has, active or standby.

use super::{State, Streams};
use crate::error::{Error, Result};
use millstream_core::{record::Timestamp, store::TimedShape, topology::StoreQuery};
use millstream_state::{Backend, Column, Direction, Presence};
use serde_json::Value;
use std::{
    collections::BTreeMap,
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

struct Found {
    query: Arc<dyn StoreQuery>,
    /// What its rows are, where they expire.
    expires: Option<TimedShape>,
    column: Column,
    backends: Vec<Arc<dyn Backend>>,
}

impl Streams {
    /// The committed row of a key. The key is JSON as the store's serde shows it: text for text. Of
    /// a task that is being restored it may be an older row, or none, until that is done.
    ///
    /// # Errors
    /// For an unknown store, a key that is none, a client that does not run, and failing storage.
    pub fn get(&self, store: &str, key: &Value) -> Result<Option<StoreRow>> {
        let found = self.find(store)?;
        let bytes = found.query.key(key)?;
        let mut stored = Vec::new();
        for backend in &found.backends {
            if backend.get(found.column, &bytes, &mut stored)? == Presence::Found {
                if found.expired(&**backend)?(&bytes) {
                    return Ok(None);
                }
                return row(&*found.query, &bytes, &stored).map(Some);
            }
        }
        Ok(None)
    }

    /// The first `limit` committed rows between two keys, both included, `None` being without end;
    /// partition after partition, in key order within each.
    ///
    /// # Errors
    /// As [`Streams::get`].
    pub fn rows(
        &self,
        store: &str,
        (from, to): (Option<&Value>, Option<&Value>),
        limit: usize,
    ) -> Result<Vec<StoreRow>> {
        let found = self.find(store)?;
        let bytes = |key: Option<&Value>| key.map(|key| found.query.key(key)).transpose();
        let (from, to) = (bytes(from)?, bytes(to)?);
        let from = from.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let to = to.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let mut rows = Vec::new();
        let mut failed = None;
        for backend in &found.backends {
            let (expired, mut seen) = (found.expired(&**backend)?, Vec::new());
            backend.scan(
                found.column,
                (from, to),
                Direction::Ascending,
                &mut |key, stored| {
                    if rows.len() + seen.len() >= limit {
                        return ControlFlow::Break(());
                    }
                    if !found.query.is_row(key) || expired(key) {
                        return ControlFlow::Continue(());
                    }
                    match row(&*found.query, key, stored) {
                        Ok(row) => seen.push((key.to_vec(), row)),
                        Err(error) => failed = Some(error),
                    }
                    if failed.is_some() {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                },
            )?;
            // Of what has expired meanwhile the scan may have found an older row.
            let expired = found.expired(&**backend)?;
            let alive = seen.into_iter().filter(|(key, _)| !expired(key));
            rows.extend(alive.map(|(_, row)| row));
        }
        failed.map_or(Ok(rows), Err)
    }

    fn find(&self, store: &str) -> Result<Found> {
        let state = self.state();
        if !matches!(state, State::Rebalancing | State::Running) {
            return Err(Error::IllegalState(format!(
                "the stores of a client that is {state} cannot be read"
            )));
        }
        let topology = &self.shared.program.topology;
        let unknown = || Error::IllegalState(format!("the program has no store {store:?}"));
        if let Some((column, global)) = topology.find_global(store) {
            let backend = self.shared.settings.globals.backend();
            return Ok(Found {
                query: global.query.clone(),
                expires: None,
                column: Column(column),
                backends: backend.into_iter().collect(),
            });
        }
        let (subtopology, column, spec) = topology.find_store(store).ok_or_else(unknown)?;
        let no_rows = || {
            Error::IllegalState(format!(
                "the store {store:?} has no rows that can be shown by key"
            ))
        };
        let query = spec.query.clone().ok_or_else(no_rows)?;
        // A task that passes between two threads may show in both, over the same rows.
        let tasks: BTreeMap<_, _> = (self.tasks().into_iter())
            .filter(|task| task.id.subtopology == subtopology)
            .map(|task| (task.id, task.committed))
            .collect();
        let backends = tasks.into_values().collect();
        Ok(Found {
            query,
            expires: spec.expires,
            column: Column(column),
            backends,
        })
    }
}

impl Found {
    /// Which rows have expired by the committed time of a partition, deleted or not.
    fn expired(&self, backend: &dyn Backend) -> Result<impl Fn(&[u8]) -> bool> {
        let horizon = match self.expires {
            Some(shape) => Some((shape, shape.committed_horizon(backend, self.column)?)),
            None => None,
        };
        Ok(move |key: &[u8]| {
            horizon.is_some_and(|(shape, horizon)| shape.has_expired(key, horizon))
        })
    }
}

fn row(query: &dyn StoreQuery, key: &[u8], stored: &[u8]) -> Result<StoreRow> {
    let broken = || Error::IllegalState("a stored value without its timestamp".to_owned());
    let (stamp, value) = stored.split_first_chunk::<8>().ok_or_else(broken)?;
    Ok(StoreRow {
        key: query.show_key(key)?,
        value: query.show_value(value)?,
        timestamp: Timestamp::from_be_bytes(*stamp),
    })
}
