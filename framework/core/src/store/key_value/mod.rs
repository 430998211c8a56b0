//! The key-value store: a decoded write-back overlay above the committed bytes.
//!
//! Values live decoded and are updated in place; each dirty key is encoded once per commit. The
//! overlay is also the read cache: clean entries stay up to a bound in bytes and go by second
//! chance. Invariants: a dirty entry is never evicted; entries are handed over in the order in
//! which they first became dirty, so nothing that leaves the store depends on a hash.

mod commit;

use super::{
    StoreEnv,
    range::{Bounds, Ordered},
    stored::{RowBytes, STAMP, corrupt, null_key},
    value_bytes::ValueBytes,
};
use crate::{
    error::Result,
    record::Timestamp,
    serde::{Apart, Serde},
};
use hashbrown::{DefaultHashBuilder, HashTable};
use millstream_state::{Direction, Presence, SmallBytes};
use std::hash::BuildHasher;

/// What an entry costs beside key and value, roughly: slot, index, allocation.
const SLOT_BYTES: usize = 64;
/// How far the eviction hand moves for a new entry at most. It meets dirty and free slots too, so
/// between two commits the cache's bound is a soft one; each commit restores it.
const STEPS_PER_ENTRY: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    Clean,
    Dirty,
    /// Handed over to a commit whose outcome is not known yet.
    Pending,
}

struct Slot<V> {
    /// Inline if short, so that the comparison of a look-up needs no other memory than the slot.
    key: SmallBytes,
    hash: u64,
    value: Option<V>,
    timestamp: Timestamp,
    /// What the entry counts as in [`KeyValueStore::resident_bytes`]: kept, because the estimate
    /// may be another one by the time the entry leaves. Four bytes, which with a short key and a
    /// number make the slot one line of the processor's cache; nothing larger fits a commit.
    bytes: u32,
    freshness: Freshness,
    /// Looked at since the eviction hand last came by.
    used: bool,
    /// Whether the backend is believed to have nothing under the key, which is not handed over yet.
    new: bool,
}

/// A store of values by key, each with the timestamp of its last change.
///
/// Operators reach it through `ctx.store(..)`; all its methods see what the task itself has
/// written, committed or not.
pub struct KeyValueStore<K: 'static, V: 'static> {
    key: Serde<K>,
    value: Apart<V>,
    env: StoreEnv,
    now: Timestamp,
    hasher: DefaultHashBuilder,
    index: HashTable<u32>,
    slots: Vec<Slot<V>>,
    free: Vec<u32>,
    /// Dirty entries in the order of their first change.
    dirty: Vec<u32>,
    pending: Vec<u32>,
    /// Pending and dirty entries in the order of their keys, for scans.
    ordered: Ordered,
    dirty_key_bytes: usize,
    resident_bytes: usize,
    value_bytes: ValueBytes,
    hand: usize,
    scratch: Vec<u8>,
    loaded: Vec<u8>,
}

impl<K: 'static, V: 'static> KeyValueStore<K, V> {
    /// An empty overlay over a column.
    pub fn new(key: Serde<K>, value: Serde<V>, env: StoreEnv) -> Self {
        Self {
            key,
            value: value.apart(),
            env,
            now: Timestamp::MIN,
            hasher: DefaultHashBuilder::default(),
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            pending: Vec::new(),
            ordered: Ordered::default(),
            dirty_key_bytes: 0,
            resident_bytes: 0,
            value_bytes: ValueBytes::new::<V>(),
            hand: 0,
            scratch: Vec::new(),
            loaded: Vec::new(),
        }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// Where storage fails or the stored bytes cannot be decoded.
    pub fn get(&mut self, key: &K) -> Result<Option<&V>> {
        Ok(self.get_with_timestamp(key)?.map(|(value, _)| value))
    }

    /// The value of a key and when it last changed.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`].
    pub fn get_with_timestamp(&mut self, key: &K) -> Result<Option<(&V, Timestamp)>> {
        let Some(slot) = self.resident(key)? else {
            return Ok(None);
        };
        let slot = &self.slots[slot as usize];
        Ok(slot.value.as_ref().map(|value| (value, slot.timestamp)))
    }

    /// Sets a key to a value, as of the record in hand.
    ///
    /// # Errors
    /// Where the key is null or cannot be encoded.
    pub fn put(&mut self, key: &K, value: V) -> Result<()> {
        self.put_at(key, value, self.now)
    }

    /// Sets a key to a value, as of a time of the caller's.
    ///
    /// # Errors
    /// As [`KeyValueStore::put`].
    pub fn put_at(&mut self, key: &K, value: V, timestamp: Timestamp) -> Result<()> {
        let slot = self.blind(key, false)?.ok_or_else(null_key)?;
        self.set(slot, Some(value), timestamp);
        Ok(())
    }

    /// Sets a key that has no value, and returns the value of one that has.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`].
    pub fn put_if_absent(&mut self, key: &K, value: V) -> Result<Option<&V>> {
        let slot = self.required(key)?;
        if self.slots[slot as usize].value.is_none() {
            self.set(slot, Some(value), self.now);
            return Ok(None);
        }
        Ok(self.slots[slot as usize].value.as_ref())
    }

    /// Removes a key and returns what it had.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`].
    pub fn delete(&mut self, key: &K) -> Result<Option<V>> {
        let slot = self.required(key)?;
        if self.slots[slot as usize].value.is_none() {
            return Ok(None);
        }
        self.touch(slot, self.now);
        Ok(self.slots[slot as usize].value.take())
    }

    /// The value of a key for change in place, made by `init` where there is none. It counts as
    /// changed, and costs no encoding before the commit.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`].
    pub fn entry(&mut self, key: &K, init: impl FnOnce() -> V) -> Result<&mut V> {
        let slot = self.required(key)?;
        self.touch(slot, self.now);
        Ok(self.slots[slot as usize].value.get_or_insert_with(init))
    }

    /// Replaces a key's value by what `change` makes of it; the timestamp becomes the later of the
    /// old and the record's. Returns `None`, and calls nothing, where the key is null on the log.
    pub(crate) fn update<R>(
        &mut self,
        key: &K,
        timestamp: Timestamp,
        change: impl FnOnce(&mut Option<V>) -> Result<R>,
    ) -> Result<Option<(R, &Option<V>, Timestamp)>> {
        let Some(slot) = self.resident(key)? else {
            return Ok(None);
        };
        let entry = &mut self.slots[slot as usize];
        let later = match entry.value {
            Some(_) => entry.timestamp.max(timestamp),
            None => timestamp,
        };
        let result = change(&mut entry.value)?;
        self.touch(slot, later);
        let entry = &self.slots[slot as usize];
        Ok(Some((result, &entry.value, entry.timestamp)))
    }

    /// Sets a row, or deletes it, with the time of the change: tables follow the order of offsets,
    /// so a row's time may go back. Returns the old row if asked to read it; `None`, and
    /// changes nothing, where the key is null on the log.
    pub(crate) fn upsert(
        &mut self,
        key: &K,
        row: Option<V>,
        timestamp: Timestamp,
        read_old: bool,
    ) -> Result<Option<Option<V>>> {
        let slot = if read_old {
            self.resident(key)?
        } else {
            self.blind(key, false)?
        };
        let Some(slot) = slot else { return Ok(None) };
        let old = std::mem::replace(&mut self.slots[slot as usize].value, row);
        self.touch(slot, timestamp);
        // What happens to be in memory is not told to one who did not ask.
        Ok(Some(old.filter(|_| read_old)))
    }

    /// Sets a row of which somebody says that there is none: nothing is read. Whether it is so is
    /// not checked; see [`WriteBatch::suppose_parts`](millstream_state::WriteBatch::suppose_parts).
    pub(crate) fn put_new(&mut self, key: &K, row: V, timestamp: Timestamp) -> Result<()> {
        let slot = self.blind(key, true)?;
        self.set(slot.ok_or_else(null_key)?, Some(row), timestamp);
        Ok(())
    }

    /// How many bytes of entries are held in memory, roughly.
    pub fn resident_bytes(&self) -> usize {
        self.resident_bytes
    }

    pub(super) fn env(&self) -> &StoreEnv {
        &self.env
    }

    pub(super) fn formats(&self) -> (Serde<K>, Apart<V>) {
        (self.key, self.value)
    }

    /// Puts uncommitted entries in order: a scan must not look through all that the next commit
    /// will write.
    pub(super) fn order(&mut self) {
        let open = self.pending.iter().chain(&self.dirty);
        let late = open.skip(self.ordered.listed());
        let keys = late.map(|&number| (&self.slots[number as usize].key, number));
        self.ordered.extend(keys);
    }

    /// Dirty and pending entries between two bounds; `None` marks a deleted one.
    pub(super) fn uncommitted(
        &self,
        bounds: Bounds<'_>,
        direction: Direction,
    ) -> impl Iterator<Item = (&[u8], Option<(&V, Timestamp)>)> {
        let keys = self.ordered.between(bounds, direction);
        keys.map(|(key, number)| {
            let slot = &self.slots[number as usize];
            (
                key,
                slot.value.as_ref().map(|value| (value, slot.timestamp)),
            )
        })
    }

    fn required(&mut self, key: &K) -> Result<u32> {
        self.resident(key)?.ok_or_else(null_key)
    }

    /// The slot of a key, read from the backend if it is not in memory; `None` for a null key.
    #[inline]
    fn resident(&mut self, key: &K) -> Result<Option<u32>> {
        self.with_bytes(key, |store, bytes| {
            let hash = store.hasher.hash_one(bytes);
            match store.find(hash, bytes) {
                Some(found) => Ok(found),
                None => store.read(hash, bytes),
            }
        })
    }

    /// The slot of a key that is not in memory, with what is stored.
    fn read(&mut self, hash: u64, key: &[u8]) -> Result<u32> {
        let Self { env, loaded, .. } = self;
        let (value, timestamp, encoded) = match env.backend.get(env.column, key, loaded)? {
            Presence::Missing => (None, Timestamp::MIN, 0),
            Presence::Found => {
                let stored = RowBytes::split(loaded).and_then(|row| {
                    let value = row.decode(self.value)?;
                    let bytes = self.value.held_bytes(&value, STAMP + row.value.len());
                    Ok((Some(value), row.timestamp, bytes))
                });
                stored.map_err(|cause| corrupt(env, &cause))?
            }
        };
        Ok(self.insert((hash, key), value, timestamp, encoded))
    }

    /// The slot of a key whose old value does not matter: nothing is read. It is `new` only where
    /// the key is not in memory: one that is may be the deletion of a row that the backend has.
    fn blind(&mut self, key: &K, new: bool) -> Result<Option<u32>> {
        self.with_bytes(key, |store, bytes| {
            let hash = store.hasher.hash_one(bytes);
            if let Some(found) = store.find(hash, bytes) {
                return Ok(found);
            }
            let expected = store.value_bytes.mean();
            let slot = store.insert((hash, bytes), None, Timestamp::MIN, expected);
            store.slots[slot as usize].new = new;
            Ok(slot)
        })
    }

    #[inline]
    fn with_bytes<R>(
        &mut self,
        key: &K,
        act: impl FnOnce(&mut Self, &[u8]) -> Result<R>,
    ) -> Result<Option<R>> {
        let serde = self.key;
        serde.with_bytes(key, (self, |store| &mut store.scratch), act)
    }

    #[inline]
    fn find(&mut self, hash: u64, key: &[u8]) -> Option<u32> {
        let slots = &self.slots;
        let same = |number: &u32| *slots[*number as usize].key == *key;
        let found = *self.index.find(hash, same)?;
        self.slots[found as usize].used = true;
        Some(found)
    }

    /// `encoded` is what the value is, or is expected to be, in bytes.
    fn insert(
        &mut self,
        (hash, key): (u64, &[u8]),
        value: Option<V>,
        timestamp: Timestamp,
        encoded: usize,
    ) -> u32 {
        self.evict(STEPS_PER_ENTRY);
        let key = SmallBytes::from(key);
        let bytes = Self::entry_bytes(key.len(), encoded);
        self.resident_bytes += bytes as usize;
        let slot = Slot {
            key,
            hash,
            value,
            timestamp,
            bytes,
            freshness: Freshness::Clean,
            used: true,
            new: false,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = slot;
                number
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let slots = &self.slots;
        self.index
            .insert_unique(hash, number, |number| slots[*number as usize].hash);
        number
    }

    fn entry_bytes(key: usize, encoded: usize) -> u32 {
        let bytes = key + SLOT_BYTES + size_of::<V>().max(encoded);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    fn set(&mut self, slot: u32, value: Option<V>, timestamp: Timestamp) {
        self.slots[slot as usize].value = value;
        self.touch(slot, timestamp);
    }

    #[inline]
    fn touch(&mut self, slot: u32, timestamp: Timestamp) {
        let entry = &mut self.slots[slot as usize];
        entry.timestamp = timestamp;
        if entry.freshness != Freshness::Dirty {
            entry.freshness = Freshness::Dirty;
            self.dirty.push(slot);
            self.dirty_key_bytes += entry.key.len() + STAMP;
        }
        if self.value_bytes.wants_one() {
            self.measure();
        }
    }

    /// Learns the size of a value that has changed.
    #[cold]
    fn measure(&mut self) {
        let place = self.value_bytes.place(self.dirty.len());
        let Some(&number) = self.dirty.get(place) else {
            return;
        };
        if let Some(value) = &self.slots[number as usize].value {
            self.loaded.clear();
            // What cannot be encoded is told by the commit.
            if self.value.encode(value, &mut self.loaded).is_ok() {
                let bytes = self.value.held_bytes(value, self.loaded.len());
                self.value_bytes.see(bytes);
            }
        }
    }

    /// About how many entries wait for no commit: fewer, where some have changed again since they
    /// were handed over.
    fn clean(&self) -> usize {
        let open = self.free.len() + self.dirty.len() + self.pending.len();
        self.slots.len().saturating_sub(open)
    }

    /// Forgets all entries.
    fn forget(&mut self) {
        self.index.clear();
        self.slots.clear();
        self.free.clear();
        self.hand = 0;
        self.resident_bytes = 0;
    }

    /// Moves the hand over at most `steps` entries and drops clean, unused ones while there are
    /// more bytes than allowed.
    fn evict(&mut self, steps: usize) {
        if self.clean() == 0 {
            return;
        }
        for _ in 0..steps {
            if self.resident_bytes <= self.env.cache_bytes || self.slots.is_empty() {
                return;
            }
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = &mut self.slots[self.hand];
            if slot.freshness != Freshness::Clean || std::mem::take(&mut slot.used) {
                continue;
            }
            let number = u32::try_from(self.hand).unwrap_or(u32::MAX);
            if let Ok(entry) = self.index.find_entry(slot.hash, |at| *at == number) {
                entry.remove();
                slot.key = SmallBytes::default();
                slot.value = None;
                slot.used = true;
                self.resident_bytes -= slot.bytes as usize;
                self.free.push(number);
            }
        }
    }
}
