//! How rows come into memory: as many of a key's as are asked for, and only if there can be any.
//!
//! Invariant: what is in memory is newer than what is stored, so that loading adds rows and never
//! replaces one.

use super::{At, Row, TimedStore, group::NOBODY, keys, rows::row_bytes};
use crate::{
    error::Result,
    record::Timestamp,
    serde::Apart,
    store::stored::{RowBytes, corrupt, read_rows},
};
use millstream_state::{Presence, ordered};
use std::{hash::BuildHasher, ops::Bound};

impl<K: 'static, V: 'static> TimedStore<K, V> {
    /// The group of a key's bytes, with all its rows from a time on that have not expired.
    #[inline]
    pub(super) fn resident(&mut self, key: &[u8], least: Timestamp) -> Result<u32> {
        let number = self.known(key);
        self.fill(number, least)
    }

    /// A group with all its rows from a time on that have not expired.
    #[inline]
    fn fill(&mut self, number: u32, least: Timestamp) -> Result<u32> {
        let missing = self.groups.get(number).missing;
        if missing >= least && missing > self.horizon() {
            self.load(number, least)?;
        }
        Ok(number)
    }

    /// As [`TimedStore::resident`], for a key from the beginning of its rows' keys.
    pub(super) fn resident_of(&mut self, prefix: &[u8], least: Timestamp) -> Result<u32> {
        let mut key = std::mem::take(&mut self.key_bytes);
        let read = keys::read_prefix(prefix, &mut key);
        let number = read.and_then(|()| self.resident(&key, least));
        self.key_bytes = key;
        number
    }

    /// The group of a key's bytes, with what is stored at one place.
    #[inline]
    pub(super) fn resident_at(&mut self, key: &[u8], at: At) -> Result<u32> {
        let number = self.known(key);
        let group = self.groups.get(number);
        if group.missing >= at.time && at.time > self.horizon() && group.find(at).is_err() {
            self.load_at(number, at)?;
        }
        Ok(number)
    }

    /// As [`TimedStore::resident`], where nothing is to be changed: a key of which there is nothing
    /// takes no room.
    #[inline]
    pub(super) fn readable(&mut self, key: &[u8], least: Timestamp) -> Result<u32> {
        let hash = self.hasher.hash_one(key);
        if let Some(found) = self.groups.find(hash, key) {
            return self.fill(found, least);
        }
        let latest = self.groups.latest(hash);
        if latest < least || latest <= self.horizon() {
            return Ok(NOBODY);
        }
        let number = self.insert(hash, key);
        self.fill(number, least)
    }

    /// The group of a key's bytes, with whatever of it is in memory.
    #[inline]
    fn known(&mut self, key: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(key);
        match self.groups.find(hash, key) {
            Some(found) => found,
            None => self.insert(hash, key),
        }
    }

    fn insert(&mut self, hash: u64, key: &[u8]) -> u32 {
        let (horizon, allowed) = (self.horizon(), self.env.cache_bytes);
        self.groups.make_room(allowed, horizon);
        self.groups.insert(hash, key)
    }

    #[cold]
    fn load(&mut self, number: u32, mut least: Timestamp) -> Result<()> {
        if self.env.trimmed {
            // Rows that have expired may lie there for a while yet.
            least = least.max(self.horizon().saturating_add(1));
        }
        let Self {
            env,
            value,
            shape,
            groups,
            ..
        } = self;
        let prefix = &groups.get(number).prefix;
        let (mut start, mut end) = (prefix.to_vec(), prefix.to_vec());
        let upper = if ordered::prefix_end(&mut end) {
            Bound::Excluded(end.as_slice())
        } else {
            Bound::Unbounded
        };
        if least > Timestamp::MIN {
            keys::put_at(&mut start, At::first(least), shape.wide);
        }
        let bounds = (Bound::Included(start.as_slice()), upper);
        read_rows(env, bounds, |key, stored| {
            let (_, at) = keys::parts(key, shape.wide)?;
            groups.add(number, decode(*value, at, stored)?);
            Ok(())
        })?;
        // What has not been read lies before.
        let group = groups.get_mut(number);
        group.missing = match least {
            Timestamp::MIN => Timestamp::MIN,
            least => group.missing.min(least - 1),
        };
        Ok(())
    }

    #[cold]
    fn load_at(&mut self, number: u32, at: At) -> Result<()> {
        let Self {
            env,
            value,
            shape,
            groups,
            scratch,
            ..
        } = self;
        let mut key = groups.get(number).prefix.to_vec();
        keys::put_at(&mut key, at, shape.wide);
        if env.backend.get(env.column, &key, scratch)? == Presence::Found {
            let row = decode(*value, at, scratch);
            groups.add(number, row.map_err(|cause| corrupt(env, &cause))?);
        }
        Ok(())
    }
}

fn decode<V>(format: Apart<V>, at: At, stored: &[u8]) -> Result<Row<V>> {
    let row = RowBytes::split(stored)?;
    let value = row.decode(format)?;
    let bytes = format.held_bytes(&value, row.value.len());
    Ok(Row {
        at,
        value: Some(value),
        timestamp: row.timestamp,
        changed: 0,
        stored: true,
        bytes: row_bytes::<V>(bytes),
    })
}
