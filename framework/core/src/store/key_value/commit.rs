//! A key-value store as its task sees it: looks ahead, commits, and aborts.
//!
//! Invariant: what was handed over stays in memory until the commit is known to have happened;
//! after an abort nothing is there that was not committed.

use super::{Freshness, KeyValueStore};
use crate::{
    batch::RecordBatch,
    error::Result,
    record::{Headers, Timestamp},
    serde::Encoded,
    store::{
        AHEAD, StateStore,
        ahead::{Ahead, touch_all},
        stored::null_value,
    },
};
use std::{any::Any, hash::BuildHasher};

impl<K: 'static, V: 'static> StateStore for KeyValueStore<K, V> {
    #[inline]
    fn set_time(&mut self, now: Timestamp) {
        self.now = now;
    }

    fn expect(&mut self, keys: &[&[u8]]) -> usize {
        let hasher = &self.hasher;
        let ahead = Ahead::new(keys, &self.index, |key| hasher.hash_one(key));
        let found = ahead.touch(|number| {
            let slot = &self.slots[number as usize];
            (slot.hash, slot.timestamp)
        });
        // What lies elsewhere: a long key, and a value that is text or bytes.
        ahead.touch(|number| {
            let slot = &self.slots[number as usize];
            let value = slot.value.as_ref();
            let value = value.and_then(|value| self.value.bytes.as_bytes(value));
            let ends = value.and_then(|bytes| Some((bytes.first()?, bytes.last()?)));
            let (first, last) = ends.unwrap_or((&0, &0));
            let key = slot.key.first().unwrap_or(&0);
            (slot.hash, i64::from(first ^ last ^ key))
        });
        found
    }

    fn dirty_bytes(&self) -> usize {
        self.dirty_key_bytes + self.dirty.len() * self.value_bytes.mean()
    }

    fn drain(&mut self, changes: &mut RecordBatch) -> Result<()> {
        let before = changes.held_bytes();
        for (place, &number) in self.dirty.iter().enumerate() {
            if place % AHEAD == 0 {
                let next = self.dirty[place..].iter().take(AHEAD);
                touch_all(next.copied(), |at| self.slots[at as usize].timestamp);
            }
            let slot = &mut self.slots[number as usize];
            let start = changes.held_bytes();
            let value = slot.value.as_ref();
            let headers = value.map_or(&Headers::NONE, |value| self.value.headers(value));
            changes.encode(
                slot.timestamp,
                headers,
                |out| {
                    out.extend_from_slice(&slot.key);
                    Ok(Encoded::Bytes)
                },
                |out| match value {
                    Some(value) => match self.value.encode(value, out)? {
                        Encoded::Bytes => Ok(Encoded::Bytes),
                        Encoded::Null => Err(null_value()),
                    },
                    None => Ok(Encoded::Null),
                },
            )?;
            if std::mem::take(&mut slot.new) {
                changes.mark_supposed();
            }
            // Values change in place and may have grown since they came in.
            let encoded = changes.held_bytes() - start - slot.key.len();
            let bytes = Self::entry_bytes(slot.key.len(), encoded);
            self.resident_bytes = self.resident_bytes - slot.bytes as usize + bytes as usize;
            slot.bytes = bytes;
            slot.freshness = Freshness::Pending;
        }
        let mean = (changes.held_bytes() - before).checked_div(self.dirty.len());
        self.value_bytes.committed(mean);
        self.pending.append(&mut self.dirty);
        self.dirty_key_bytes = 0;
        Ok(())
    }

    fn applied(&mut self) -> Result<()> {
        for number in self.pending.drain(..) {
            let slot = &mut self.slots[number as usize];
            if slot.freshness == Freshness::Pending {
                slot.freshness = Freshness::Clean;
            }
        }
        self.ordered.clear();
        if self.env.cache_bytes == 0 && self.dirty.is_empty() {
            self.forget();
            return Ok(());
        }
        // The first pass forgets who was looked at, the second one evicts.
        self.evict(2 * self.slots.len());
        Ok(())
    }

    fn abort(&mut self) -> Result<()> {
        self.forget();
        self.dirty.clear();
        self.pending.clear();
        self.ordered.clear();
        self.dirty_key_bytes = 0;
        Ok(())
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
