//! The store that forgets: at most so many entries, of which the least recently used goes first.
//!
//! All entries are in memory. Which of them goes is decided by the order in which they were used,
//! and that order is state: an entry's use has a number, which lies in front of its value in the
//! changelog. Invariant: a use is a change, so what a task would forget next is committed with what
//! it did, and a restarted task forgets what the one before it would have forgotten.

use super::{
    StateStore, StoreEnv, StoreKind,
    stored::{RowBytes, null_key, null_value, read_rows},
    value_bytes::ValueBytes,
};
use crate::{
    batch::RecordBatch,
    error::{Error, Result},
    record::{Headers, Timestamp},
    serde::{Apart, Encoded, Serde},
    topology::StoreQuery,
};
use serde_json::Value;
use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    mem::size_of,
    ops::Bound,
};

/// Bytes in front of a value: the number of its last use. The first of them is never 255, as no
/// task lives to see so many uses, and numbers can be counted on.
const USE: usize = size_of::<u64>();

struct Entry<V> {
    value: V,
    timestamp: Timestamp,
    /// Its key in the order of uses.
    used: u64,
    /// Whether the backend has it or will have it by a commit under way.
    stored: bool,
}

/// A store of at most so many values by key, each with the timestamp of its last change: one key
/// more, and the one that was not looked at or set for the longest is forgotten.
///
/// Processors get it by [`StreamsBuilder::lru_map`](crate::dsl::StreamsBuilder::lru_map). Each task
/// has one, so the limit holds for each partition by itself.
pub struct LruStore<K: 'static, V: 'static> {
    key: Serde<K>,
    value: Apart<V>,
    env: StoreEnv,
    max_entries: usize,
    now: Timestamp,
    entries: BTreeMap<Vec<u8>, Entry<V>>,
    /// The keys by the numbers of their last uses: the first one goes first.
    order: BTreeMap<u64, Vec<u8>>,
    /// Greater than the number of any use.
    next_use: u64,
    /// Entries used from this number on are not handed over yet.
    undrained: u64,
    /// Deleted and forgotten keys that the backend has, or will have, and when they went.
    gone: BTreeMap<Vec<u8>, Timestamp>,
    /// Keys that a commit under way deletes: set again meanwhile, they need deleting again.
    deleting: BTreeSet<Vec<u8>>,
    /// Of whole entries: key, number of the last use, and value.
    entry_bytes: ValueBytes,
    scratch: Vec<u8>,
}

impl<K: 'static, V: 'static> LruStore<K, V> {
    /// Reads what the backend holds; what is too much, since the limit was higher before, is
    /// forgotten.
    ///
    /// # Errors
    /// Where storage fails or does not hold such entries.
    pub fn open(key: Serde<K>, value: Serde<V>, max_entries: usize, env: StoreEnv) -> Result<Self> {
        let mut store = Self {
            key,
            value: value.apart(),
            env,
            max_entries,
            now: 0,
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            next_use: 0,
            undrained: 0,
            gone: BTreeMap::new(),
            deleting: BTreeSet::new(),
            entry_bytes: ValueBytes::new::<V>(),
            scratch: Vec::new(),
        };
        store.load()?;
        Ok(store)
    }

    /// The value of a key, which is used by that.
    ///
    /// # Errors
    /// Where the key cannot be encoded.
    pub fn get(&mut self, key: &K) -> Result<Option<&V>> {
        Ok(self.get_with_timestamp(key)?.map(|(value, _)| value))
    }

    /// The value of a key, which is used by that, and when it last changed.
    ///
    /// # Errors
    /// As [`LruStore::get`].
    pub fn get_with_timestamp(&mut self, key: &K) -> Result<Option<(&V, Timestamp)>> {
        if self.encode_key(key)? == Encoded::Null {
            return Ok(None);
        }
        let found = self.look();
        Ok(found.map(|entry| (&entry.value, entry.timestamp)))
    }

    /// Sets a key to a value, as of the record in hand. Where that is one key too many, the least
    /// recently used one is forgotten.
    ///
    /// # Errors
    /// Where the key is null or cannot be encoded.
    pub fn put(&mut self, key: &K, value: V) -> Result<()> {
        self.required(key)?;
        self.measure(&value);
        let now = self.now;
        match self.touch() {
            Some(entry) => (entry.value, entry.timestamp) = (value, now),
            None => self.insert(value),
        }
        Ok(())
    }

    /// Sets a key that has no value, and returns the value of one that has. It is used either way.
    ///
    /// # Errors
    /// As [`LruStore::put`].
    pub fn put_if_absent(&mut self, key: &K, value: V) -> Result<Option<&V>> {
        self.required(key)?;
        if !self.entries.contains_key(&self.scratch) {
            self.measure(&value);
            self.insert(value);
            return Ok(None);
        }
        Ok(self.look().map(|entry| &entry.value))
    }

    /// Removes a key and returns what it had.
    ///
    /// # Errors
    /// As [`LruStore::put`].
    pub fn delete(&mut self, key: &K) -> Result<Option<V>> {
        self.required(key)?;
        let key = std::mem::take(&mut self.scratch);
        let removed = self.remove(&key);
        self.scratch = key;
        Ok(removed)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn encode_key(&mut self, key: &K) -> Result<Encoded> {
        self.scratch.clear();
        self.key.encode(key, &mut self.scratch)
    }

    fn required(&mut self, key: &K) -> Result<()> {
        match self.encode_key(key)? {
            Encoded::Bytes => Ok(()),
            Encoded::Null => Err(null_key()),
        }
    }

    /// The entry of the key in `scratch`, looked at. One that was used last stays as it is.
    fn look(&mut self) -> Option<&mut Entry<V>> {
        let entry = self.entries.get(&self.scratch)?;
        let last = self.order.last_key_value();
        if last.is_some_and(|(last, _)| *last == entry.used) {
            return self.entries.get_mut(&self.scratch);
        }
        self.touch()
    }

    /// The entry of the key in `scratch`, which becomes the one that was used last, and is told
    /// with the next commit.
    fn touch(&mut self) -> Option<&mut Entry<V>> {
        let entry = self.entries.get_mut(&self.scratch)?;
        if let Some(key) = self.order.remove(&entry.used) {
            entry.used = self.next_use;
            self.order.insert(self.next_use, key);
            self.next_use += 1;
        }
        Some(entry)
    }

    /// Learns, now and then, the size of an entry of the key in `scratch`.
    fn measure(&mut self, value: &V) {
        let mut bytes = Vec::new();
        // What cannot be encoded is told by the commit.
        if self.entry_bytes.wants_one() && self.value.encode(value, &mut bytes).is_ok() {
            let bytes = self.value.held_bytes(value, USE + bytes.len());
            self.entry_bytes.see(self.scratch.len() + bytes);
        }
    }

    /// Adds the key in `scratch`, which has no entry.
    fn insert(&mut self, value: V) {
        let key = self.scratch.clone();
        // If it was deleted, nobody but us may know that yet.
        let stored = self.gone.remove(&key).is_some() || self.deleting.contains(&key);
        let entry = Entry {
            value,
            timestamp: self.now,
            used: self.next_use,
            stored,
        };
        self.order.insert(self.next_use, key.clone());
        self.next_use += 1;
        self.entries.insert(key, entry);
        self.forget();
    }

    /// Takes out what is too much.
    fn forget(&mut self) {
        while self.entries.len() > self.max_entries {
            let Some((_, key)) = self.order.first_key_value() else {
                return;
            };
            let key = key.clone();
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<V> {
        let (key, entry) = self.entries.remove_entry(key)?;
        self.order.remove(&entry.used);
        if entry.stored {
            self.gone.insert(key, self.now);
        }
        Some(entry.value)
    }

    fn load(&mut self) -> Result<()> {
        let mut rows = Vec::new();
        let (env, value) = (&self.env, self.value);
        read_rows(env, (Bound::Unbounded, Bound::Unbounded), |key, stored| {
            let mut row = RowBytes::split(stored)?;
            let (used, bytes) = split_use(row.value)?;
            row.value = bytes;
            rows.push((used, key.to_vec(), row.decode(value)?, row.timestamp));
            Ok(())
        })?;
        // Under at-least-once two owners may have counted from the same number: what they used at
        // once goes by its key, and what is used from now on is behind all of it.
        rows.sort_by(|(a, x, ..), (b, y, ..)| (a, x).cmp(&(b, y)));
        let behind = rows.last().map_or(0, |(last, ..)| last + 1);
        (self.entries, self.order) = (BTreeMap::new(), BTreeMap::new());
        for (used, (_, key, value, timestamp)) in (0..).zip(rows) {
            let entry = Entry {
                value,
                timestamp,
                used,
                stored: true,
            };
            self.order.insert(used, key.clone());
            self.entries.insert(key, entry);
        }
        self.next_use = behind.max(self.entries.len() as u64);
        self.undrained = self.next_use;
        self.forget();
        Ok(())
    }
}

/// The number of the last use in front of a value, and the value.
pub(super) fn split_use(bytes: &[u8]) -> Result<(u64, &[u8])> {
    match bytes.split_first_chunk::<USE>() {
        Some((used, value)) if used[0] < u8::MAX => Ok((u64::from_be_bytes(*used), value)),
        _ => Err(Error::deserialization(format!(
            "a value of {} bytes does not begin with the number of its use",
            bytes.len()
        ))),
    }
}

impl<K: 'static, V: 'static> StateStore for LruStore<K, V> {
    #[inline]
    fn set_time(&mut self, now: Timestamp) {
        self.now = now;
    }

    fn dirty_bytes(&self) -> usize {
        // Of the uses since the last commit no more than one counts for each entry.
        let uses = usize::try_from(self.next_use - self.undrained).unwrap_or(usize::MAX);
        (uses.min(self.entries.len()) + self.gone.len()) * self.entry_bytes.mean().max(1)
    }

    fn drain(&mut self, changes: &mut RecordBatch) -> Result<()> {
        let (before, mut count) = (changes.held_bytes(), self.gone.len());
        let key_of = |key: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(key);
            Ok(Encoded::Bytes)
        };
        for (key, timestamp) in std::mem::take(&mut self.gone) {
            changes.encode(
                timestamp,
                &Headers::NONE,
                |out| key_of(&key, out),
                |_| Ok(Encoded::Null),
            )?;
            self.deleting.insert(key);
        }
        // What was used is told in the order of its last use: so the changelog has that order too.
        for (used, key) in self.order.range(self.undrained..) {
            let Some(entry) = self.entries.get_mut(key) else {
                continue;
            };
            changes.encode(
                entry.timestamp,
                self.value.headers(&entry.value),
                |out| key_of(key, out),
                |out| {
                    out.extend(used.to_be_bytes());
                    match self.value.encode(&entry.value, out)? {
                        Encoded::Bytes => Ok(Encoded::Bytes),
                        Encoded::Null => Err(null_value()),
                    }
                },
            )?;
            if !entry.stored {
                changes.mark_first();
            }
            entry.stored = true;
            count += 1;
        }
        let mean = (changes.held_bytes() - before).checked_div(count);
        self.entry_bytes.committed(mean);
        self.undrained = self.next_use;
        Ok(())
    }

    fn applied(&mut self) -> Result<()> {
        self.deleting.clear();
        Ok(())
    }

    fn abort(&mut self) -> Result<()> {
        self.gone.clear();
        self.deleting.clear();
        self.load()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// How people read such a store: they see no uses, and looking is none.
pub(crate) struct LruFormats<K: 'static, V: 'static> {
    pub(crate) key: Serde<K>,
    pub(crate) value: Serde<V>,
}

impl<K, V> StoreQuery for LruFormats<K, V> {
    fn key(&self, json: &Value) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        match self.key.codec().from_json(json, &mut out)? {
            Encoded::Bytes => Ok(out),
            Encoded::Null => Err(Error::deserialization("a store has no null key")),
        }
    }

    fn show_key(&self, bytes: &[u8]) -> Result<Value> {
        self.key.codec().to_json(Some(bytes))
    }

    fn show_value(&self, bytes: &[u8]) -> Result<Value> {
        let (_, value) = split_use(bytes)?;
        self.value.codec().to_json(Some(value))
    }

    fn kind(&self) -> StoreKind {
        StoreKind::Lru
    }

    fn formats(&self) -> (String, String) {
        (self.key.codec().name(), self.value.codec().name())
    }
}
