//! The versioned store: for each key, what it is and what it was, as far back as history goes.
//!
//! The version that holds now lies at the end of time, those that have ended lie at the time at
//! which they ended. So what has ended before the history begins expires like any row of a timed
//! store, and what still holds never does. Invariants: the versions of a key do not overlap; a
//! deleted stretch between two of them may be a row of its own, or none.

use super::{
    At, KeyRows, TimedKind, TimedShape, TimedStore,
    version_rows::{NOW, WIDE},
};
use crate::{
    batch::RecordBatch,
    error::{Error, Result},
    record::Timestamp,
    serde::Serde,
    store::{StateStore, StoreEnv},
};
use millstream_state::Direction;
use std::{any::Any, ops::ControlFlow};

/// What became of a version that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is what holds now.
    Latest,
    /// It held, or its key was deleted, until this time, when a version begins that was put before.
    Until(Timestamp),
    /// History does not reach back so far, and nothing was put.
    TooOld,
}

/// A version of a key: its value, since when it holds, and until when, that time excluded; `None`
/// where it still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version<V> {
    /// The value.
    pub value: V,
    /// Its first millisecond.
    pub since: Timestamp,
    /// The first millisecond of the next version or deletion.
    pub until: Option<Timestamp>,
}

/// A store of the versions of values by key (KIP-889): what a key is, and what it was at any time
/// since the history began, however late it became known. Kafka's `VersionedKeyValueStore`.
///
/// History reaches back as far as the retention behind the greatest time put; that time is part of
/// the state. A version that holds now is kept however old it is.
///
/// Each version is a row of its own in the changelog, so that compaction takes none from another;
/// Kafka's `min.compaction.lag.ms` is not needed for it.
pub struct VersionedStore<K: 'static, V: 'static> {
    rows: TimedStore<K, Option<V>>,
}

/// Refuses the end of time: a version that ended there could not be told from one that has not.
fn can_begin(since: Timestamp) -> Result<()> {
    match since {
        Timestamp::MAX => Err(Error::processing("no version can begin at the end of time")),
        _ => Ok(()),
    }
}

impl<K: 'static, V: 'static> VersionedStore<K, V> {
    /// An overlay over a column; `value` is what [`versions_of`](crate::store::versions_of) makes
    /// of the serde of the values.
    ///
    /// # Errors
    /// Where storage fails or does not hold such a store.
    pub fn open(
        key: Serde<K>,
        value: Serde<Option<V>>,
        retention: Timestamp,
        env: StoreEnv,
    ) -> Result<Self> {
        let shape = Self::shape(retention);
        let rows = TimedStore::open(key, value, shape, env)?.with_rows_ahead();
        Ok(Self { rows })
    }

    /// What such a store is as a timed one.
    pub(crate) const fn shape(retention: Timestamp) -> TimedShape {
        TimedShape {
            kind: TimedKind::Instant,
            retention,
            wide: WIDE,
        }
    }

    /// Puts a version that begins at a time, or deletes the key from that time on. It ends where
    /// the next version begins that is known already. `None`, and nothing happens, for a null key.
    ///
    /// # Errors
    /// Where storage fails or the stored bytes cannot be decoded, and for `Timestamp::MAX`, where
    /// the version lies that holds now.
    pub fn put(&mut self, key: &K, value: Option<V>, since: Timestamp) -> Result<Option<Put>> {
        can_begin(since)?;
        let Some(rows) = self.rows.rows(key)? else {
            return Ok(None);
        };
        Ok(Some(self.put_in(rows, value, since)))
    }

    /// As [`VersionedStore::put`], and returns what held before if asked to.
    pub(crate) fn upsert(
        &mut self,
        key: &K,
        value: Option<V>,
        since: Timestamp,
        read_old: bool,
    ) -> Result<Option<(Put, Option<V>)>>
    where
        V: Clone,
    {
        can_begin(since)?;
        let Some(rows) = self.rows.rows(key)? else {
            return Ok(None);
        };
        let old = self.now(rows).filter(|_| read_old);
        let old = old.map(|(value, _)| value.clone());
        Ok(Some((self.put_in(rows, value, since), old)))
    }

    /// Deletes a key from a time on, and returns the version that held then.
    ///
    /// # Errors
    /// As [`VersionedStore::put`].
    pub fn delete(&mut self, key: &K, since: Timestamp) -> Result<Option<Version<V>>>
    where
        V: Clone,
    {
        can_begin(since)?;
        let Some(rows) = self.rows.rows(key)? else {
            return Ok(None);
        };
        if since < self.rows.horizon() {
            return Ok(None);
        }
        let held = self.as_of(rows, since).map(|version| Version {
            value: version.value.clone(),
            since: version.since,
            until: version.until,
        });
        self.put_in(rows, None, since);
        Ok(held)
    }

    /// The version of a key that holds now, with the time since which it does.
    ///
    /// # Errors
    /// Where storage fails or the stored bytes cannot be decoded.
    pub fn get(&mut self, key: &K) -> Result<Option<(&V, Timestamp)>> {
        let rows = self.rows.rows(key)?;
        Ok(rows.and_then(|rows| self.now(rows)))
    }

    /// The version of a key that held at a time; `None` also where history does not reach back so
    /// far, unless the version that holds now did already.
    ///
    /// # Errors
    /// Where storage fails or the stored bytes cannot be decoded.
    pub fn get_as_of(&mut self, key: &K, time: Timestamp) -> Result<Option<Version<&V>>> {
        let rows = self.rows.rows(key)?;
        Ok(rows.and_then(|rows| self.as_of(rows, time)))
    }

    /// Visits the versions of a key that held at some time between two, both included, until
    /// `visit` breaks.
    ///
    /// # Errors
    /// Where storage fails or the stored bytes cannot be decoded.
    pub fn versions(
        &mut self,
        key: &K,
        (from, to): (Timestamp, Timestamp),
        direction: Direction,
        mut visit: impl FnMut(Version<&V>) -> ControlFlow<()>,
    ) -> Result<()> {
        let Some(rows) = self.rows.rows(key)? else {
            return Ok(());
        };
        let show = |(at, value, timestamp)| version(at, value, timestamp);
        let held = |version: &Version<&V>| version.since <= to;
        let ended = At::first(from.saturating_add(1))..=At::last(Timestamp::MAX);
        let found = self.rows.between(rows, ended);
        // What has ended before the history began is not known exactly, so none of it is.
        let begun = to >= self.rows.horizon();
        let found = found.filter(|(at, ..)| begun || *at == NOW);
        let _ = match direction {
            Direction::Ascending => found.filter_map(show).filter(held).try_for_each(visit),
            Direction::Descending => {
                (found.rev().filter_map(show).filter(held)).try_for_each(&mut visit)
            }
        };
        Ok(())
    }

    /// The greatest time put; `Timestamp::MIN` before the first.
    pub fn observed(&self) -> Timestamp {
        self.rows.observed()
    }

    fn now(&self, rows: KeyRows) -> Option<(&V, Timestamp)> {
        let (value, since) = self.rows.value(rows, NOW)?;
        Some((value.as_ref()?, since))
    }

    fn as_of(&self, rows: KeyRows, time: Timestamp) -> Option<Version<&V>> {
        match self.now(rows) {
            Some((value, since)) if since <= time => {
                let until = None;
                Some(Version {
                    value,
                    since,
                    until,
                })
            }
            _ if time < self.rows.horizon() => None,
            _ => {
                let (at, value, timestamp) = self.first_ending_after(rows, time)?;
                version(at, value, timestamp).filter(|version| version.since <= time)
            }
        }
    }

    /// The first row that ends later than a time and has ended by now. Rows do not overlap, so it
    /// is the only one in which the time can lie.
    fn first_ending_after(
        &self,
        rows: KeyRows,
        time: Timestamp,
    ) -> Option<(At, &Option<V>, Timestamp)> {
        let later = At::first(time.saturating_add(1))..=At::last(Timestamp::MAX - 1);
        self.rows.between(rows, later).next()
    }

    /// Kafka's rules, whose exceptions matter: a version that is deleted at the very time at which
    /// it began leaves no trace of it.
    fn put_in(&mut self, rows: KeyRows, value: Option<V>, since: Timestamp) -> Put {
        if since < self.rows.horizon() {
            return Put::TooOld;
        }
        self.rows.observe(since);
        let now = self.rows.value(rows, NOW).map(|(_, since)| since);
        match now {
            Some(began) if since >= began => {
                if since > began {
                    let ended = self.rows.remove(rows, NOW);
                    self.end(rows, (began, since), ended.flatten());
                }
                self.begin(rows, value, since);
                Put::Latest
            }
            _ => self.put_before(rows, value, since, now),
        }
    }

    /// Puts a version where something may be that begins later.
    fn put_before(
        &mut self,
        rows: KeyRows,
        value: Option<V>,
        since: Timestamp,
        now: Option<Timestamp>,
    ) -> Put {
        let next = self.first_ending_after(rows, since).map(|(at, ..)| at);
        let until = match next {
            Some(at) if at.second <= since => {
                // It held at that time, and ends there now.
                if at.second < since {
                    let held = self.rows.remove(rows, at);
                    self.end(rows, (at.second, since), held.flatten());
                }
                Some(at.time)
            }
            Some(at) => Some(at.second),
            None => now,
        };
        if let Some(until) = until {
            if let Some(at) = next.filter(|at| at.second == since) {
                self.rows.remove(rows, at);
            }
            self.end(rows, (since, until), value);
            return Put::Until(until);
        }
        if value.is_some() {
            self.begin(rows, value, since);
        } else if self
            .rows
            .between(rows, At::first(since)..=At::last(since))
            .next()
            .is_none()
        {
            // Nothing was there, and yet it must be known from when on nothing is.
            self.end(rows, (since, since), None);
        }
        Put::Latest
    }

    fn begin(&mut self, rows: KeyRows, value: Option<V>, since: Timestamp) {
        self.rows.set(rows, NOW, value.map(Some), since);
    }

    /// Writes down what has ended, unless that is too long ago.
    fn end(&mut self, rows: KeyRows, (since, until): (Timestamp, Timestamp), value: Option<V>) {
        if until > self.rows.horizon() {
            self.rows
                .set(rows, At::new(until, since), Some(value), since);
        }
    }
}

fn version<V>(at: At, value: &Option<V>, timestamp: Timestamp) -> Option<Version<&V>> {
    let (since, until) = if at == NOW {
        (timestamp, None)
    } else {
        (at.second, Some(at.time))
    };
    Some(Version {
        value: value.as_ref()?,
        since,
        until,
    })
}

impl<K: 'static, V: 'static> StateStore for VersionedStore<K, V> {
    fn set_time(&mut self, now: Timestamp) {
        self.rows.set_time(now);
    }

    fn dirty_bytes(&self) -> usize {
        self.rows.dirty_bytes()
    }

    fn drain(&mut self, changes: &mut RecordBatch) -> Result<()> {
        self.rows.drain(changes)
    }

    fn applied(&mut self) -> Result<()> {
        self.rows.applied()
    }

    fn abort(&mut self) -> Result<()> {
        self.rows.abort()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
