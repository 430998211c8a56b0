//! The timed store: for each key, rows in the order of time, that expire.
//!
//! It is what windows, sessions, join windows and versions are kept in; they differ in what a row's
//! place [`At`] means. The rows of a key lie together, so a look-up is one hash and a search in a
//! short list; and the store knows how late rows that are not in memory can lie, so that it reads
//! the backend only where it may find something. Invariants: what has expired is never shown,
//! whether or not it has been deleted; rows are handed over in an order that only the input
//! decides, those that never change first, and the others as they became dirty; the time that the
//! store has observed is part of its state, so that a restarted task judges a record as the one
//! before it would have.

mod away;
mod commit;
mod due;
mod group;
mod keys;
mod load;
mod query;
mod rows;
mod span;
mod sweep;
mod trail;
mod typed;
mod typed_versions;
mod version_rows;
mod versions;

pub use keys::At;
pub(crate) use query::TimedFormats;
pub use query::TimedKind;
pub(crate) use rows::KeyRows;
pub use sweep::Sweep;
pub use typed::TimedRows;
pub use typed_versions::VersionRows;
pub(crate) use version_rows::VersionedFormats;
pub use version_rows::versions_of;
pub use versions::{Put, Version, VersionedStore};

use super::{StoreEnv, stored::corrupt, value_bytes::ValueBytes};
use crate::{
    batch::RecordBatch,
    error::Result,
    record::Timestamp,
    serde::{Apart, Serde},
};
use group::{Group, Groups, Row};
use hashbrown::DefaultHashBuilder;
use millstream_state::{Direction, Presence};
use std::ops::{Bound, ControlFlow, RangeInclusive};

/// What a row costs beside its value, roughly.
const ROW_BYTES: usize = 48;

/// What a timed store must know of the windows that it is for.
#[derive(Clone, Copy, Debug)]
pub struct TimedShape {
    /// What a row's place means, for those who look at the store from outside.
    pub kind: TimedKind,
    /// How many milliseconds behind the observed time a row's time may lie. A row at exactly this
    /// distance has expired.
    pub retention: Timestamp,
    /// Whether several rows of a key may have one time, told apart by [`At::second`].
    pub wide: bool,
}

/// A store of rows by key and time, each with the timestamp of its last change.
///
/// Null keys have no rows: reading one finds nothing, and writing one says `false` or `None`.
pub struct TimedStore<K: 'static, V: 'static> {
    key: Serde<K>,
    value: Apart<V>,
    env: StoreEnv,
    shape: TimedShape,
    now: Timestamp,
    /// The greatest time observed, and what of it the changelog knows.
    observed: Timestamp,
    logged: Timestamp,
    hasher: DefaultHashBuilder,
    groups: Groups<V>,
    /// Whether rows may lie later than the observed time.
    ahead: bool,
    /// Dirty rows in the order of their first change.
    dirty: Vec<(u32, At)>,
    /// What the next commit says in front of them: rows that were written at once.
    written_rows: RecordBatch,
    /// Rows that a commit under way deletes.
    deleted: Vec<(u32, At)>,
    dirty_key_bytes: usize,
    value_bytes: ValueBytes,
    sweep: Sweep,
    trail: trail::Trail,
    due: Option<due::Due>,
    scratch: Vec<u8>,
    /// The bytes of a key, where they do not lie elsewhere.
    key_bytes: Vec<u8>,
}

impl<K: 'static, V: 'static> TimedStore<K, V> {
    /// An overlay over a column.
    ///
    /// # Errors
    /// Where storage fails or does not hold such a store.
    pub fn open(key: Serde<K>, value: Serde<V>, shape: TimedShape, env: StoreEnv) -> Result<Self> {
        let mut store = Self {
            key,
            value: value.apart(),
            env,
            shape,
            now: Timestamp::MIN,
            observed: Timestamp::MIN,
            logged: Timestamp::MIN,
            hasher: DefaultHashBuilder::default(),
            groups: Groups::new(Timestamp::MIN, 0),
            ahead: false,
            dirty: Vec::new(),
            written_rows: RecordBatch::new(),
            deleted: Vec::new(),
            dirty_key_bytes: 0,
            value_bytes: ValueBytes::new::<V>(),
            sweep: Sweep::default(),
            trail: trail::Trail::default(),
            due: None,
            scratch: Vec::new(),
            key_bytes: Vec::new(),
        };
        // Once: what is in memory later was committed, whatever becomes of the next commit.
        store.trail = store.load_clock()?;
        store.groups = store.no_groups();
        Ok(store)
    }

    /// The same store, in which rows may lie later than the observed time, so that its changelog
    /// cannot be cut off by that.
    pub(super) fn with_rows_ahead(mut self) -> Self {
        (self.ahead, self.env.trimmed) = (true, false);
        self.groups = self.no_groups();
        self
    }

    /// Nothing in memory: all that is stored lies up to the observed time.
    fn no_groups(&self) -> Groups<V> {
        let since = if self.ahead {
            Timestamp::MAX
        } else {
            self.observed
        };
        Groups::new(since, self.env.cache_bytes)
    }

    /// Takes notice of a time, and returns the greatest one so far.
    #[inline]
    pub fn observe(&mut self, time: Timestamp) -> Timestamp {
        self.observed = self.observed.max(time);
        self.observed
    }

    /// The greatest time observed; `Timestamp::MIN` before the first.
    pub fn observed(&self) -> Timestamp {
        self.observed
    }

    /// Rows at or before this time have expired.
    #[inline]
    pub fn horizon(&self) -> Timestamp {
        self.shape.horizon(self.observed)
    }

    /// The row of a key at a place, with the timestamp of its last change.
    ///
    /// # Errors
    /// Where storage fails or the stored bytes cannot be decoded.
    pub fn get(&mut self, key: &K, at: At) -> Result<Option<(&V, Timestamp)>> {
        let rows = self.rows_at(key, at)?;
        Ok(rows.and_then(|rows| self.value(rows, at)))
    }

    /// Visits the rows of a key between two places in order, until `visit` breaks.
    ///
    /// # Errors
    /// As [`TimedStore::get`].
    pub fn fetch(
        &mut self,
        key: &K,
        places: RangeInclusive<At>,
        direction: Direction,
        mut visit: impl FnMut(At, &V, Timestamp) -> ControlFlow<()>,
    ) -> Result<()> {
        let (from, to) = (*places.start(), *places.end());
        let Some(rows) = self.rows_from(key, from.time)? else {
            return Ok(());
        };
        let group = self.group(rows);
        let start = group.first_from(from);
        let rows = group.rows().range(start..);
        let mut show = |row: &Row<V>| match &row.value {
            Some(value) => visit(row.at, value, row.timestamp),
            None => ControlFlow::Continue(()),
        };
        let _ = match direction {
            Direction::Ascending => rows.take_while(|row| row.at <= to).try_for_each(show),
            Direction::Descending => {
                let end = group.end_at(to);
                let rows = group.rows().range(start.min(end)..end);
                rows.rev().try_for_each(&mut show)
            }
        };
        Ok(())
    }

    /// Visits the rows of all keys whose time lies in a range, keys in byte order and each key's
    /// rows in order, until `visit` breaks. It reads everything that is stored: for queries and
    /// tests, not for the path of a record.
    ///
    /// # Errors
    /// As [`TimedStore::get`].
    pub fn all(
        &mut self,
        times: RangeInclusive<Timestamp>,
        mut visit: impl FnMut(K, At, &V, Timestamp) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut keys = Vec::new();
        let mut note = |key: &[u8]| {
            if let Some((prefix, _)) = keys::split(key, self.shape.wide)
                && keys.last().is_none_or(|last: &Vec<u8>| last != prefix)
            {
                keys.push(prefix.to_vec());
            }
            ControlFlow::Continue(())
        };
        let everything = (Bound::Unbounded, Bound::Unbounded);
        self.env.backend.scan(
            self.env.column,
            everything,
            Direction::Ascending,
            &mut |key, _| note(key),
        )?;
        let done = self.groups.done;
        let fresh = self.groups.iter().filter(|group| group.changed > done);
        keys.extend(fresh.map(|group| group.prefix.to_vec()));
        keys.sort();
        keys.dedup();
        for prefix in keys {
            let number = self.resident_of(&prefix, Timestamp::MIN)?;
            self.trim(number);
            for row in self.groups.get(number).rows() {
                let Some(value) = row.value.as_ref().filter(|_| times.contains(&row.at.time))
                else {
                    continue;
                };
                if visit(self.decode_key(&prefix)?, row.at, value, row.timestamp).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Sets a row as of the record in hand, or deletes it. A new row's time is observed.
    /// `false`, and nothing happens, where the key is null or the row would have expired already.
    ///
    /// # Errors
    /// As [`TimedStore::get`].
    pub fn put(&mut self, key: &K, at: At, value: Option<V>) -> Result<bool> {
        let now = self.now;
        self.put_at(key, at, value, now)
    }

    /// As [`TimedStore::put`], with a timestamp of the caller's.
    ///
    /// # Errors
    /// As [`TimedStore::get`].
    pub fn put_at(
        &mut self,
        key: &K,
        at: At,
        value: Option<V>,
        timestamp: Timestamp,
    ) -> Result<bool> {
        let Some(rows) = self.rows_at(key, at)? else {
            return Ok(false);
        };
        let live = at.time > self.horizon();
        if live {
            self.set(rows, at, value, timestamp);
        }
        Ok(live)
    }

    /// Replaces a row's value by what `change` makes of it; the timestamp becomes the later of the
    /// old and the record's. A new row's time is observed. Returns `None`, and calls nothing, where
    /// the key is null or the row would have expired already.
    ///
    /// # Errors
    /// As [`TimedStore::get`], and those of `change`.
    pub fn update<R>(
        &mut self,
        key: &K,
        at: At,
        change: impl FnOnce(&mut Option<V>) -> Result<R>,
    ) -> Result<Option<(R, &Option<V>, Timestamp)>> {
        let Some(rows) = self.rows_at(key, at)? else {
            return Ok(None);
        };
        if at.time <= self.horizon() {
            return Ok(None);
        }
        self.change(rows, at, self.now, change).map(Some)
    }

    /// How many bytes of rows are held in memory, roughly.
    pub fn resident_bytes(&self) -> usize {
        self.groups.bytes
    }

    /// Takes over the committed clock; the trail that is written beside it.
    fn load_clock(&mut self) -> Result<trail::Trail> {
        let Self { env, scratch, .. } = self;
        let (observed, trail) = match env.backend.get(env.column, keys::CLOCK, scratch)? {
            Presence::Missing => (Timestamp::MIN, trail::Trail::default()),
            Presence::Found => {
                let clock = sweep::clock(scratch)
                    .and_then(|(time, rest)| Ok((time, trail::Trail::read(rest)?)));
                clock.map_err(|cause| corrupt(env, &cause))?
            }
        };
        (self.observed, self.logged) = (observed, observed);
        Ok(trail)
    }
}
