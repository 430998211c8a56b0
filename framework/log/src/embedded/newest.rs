//! The newest offset of each key: what a compaction remembers of the records that it has read.
//!
//! Keys lie one behind the other in one piece of memory, and a table finds them by hash. Most of a
//! look-up is waiting for memory, so that a block's keys are looked up many at a time. Invariant:
//! an answer is about the very key that was asked for, whatever its hash is.

use hashbrown::{DefaultHashBuilder, HashTable};
use millstream_core::record::Offset;
use std::{array, hash::BuildHasher, ops::Range};

/// What a key costs beside its bytes: its entry, and its place in the table.
const ENTRY_BYTES: usize = size_of::<Entry>() + 8;
/// How many keys are looked up together.
pub(super) const TOGETHER: usize = 16;

struct Entry {
    hash: u64,
    key: Range<usize>,
    newest: Offset,
}

/// Newest offsets by key.
#[derive(Default)]
pub(super) struct Newest {
    hasher: DefaultHashBuilder,
    index: HashTable<u32>,
    entries: Vec<Entry>,
    keys: Vec<u8>,
}

impl Newest {
    /// How much memory is in use, roughly.
    pub(super) const fn bytes(&self) -> usize {
        self.keys.len() + self.entries.len() * ENTRY_BYTES
    }

    /// A record with this key is at that offset, and none that was noted before lies behind.
    pub(super) fn note(&mut self, key: &[u8], offset: Offset) {
        let hash = self.hasher.hash_one(key);
        if let Some(number) = self.find(hash, key) {
            self.entries[number as usize].newest = offset;
            return;
        }
        let number = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let start = self.keys.len();
        self.keys.extend_from_slice(key);
        self.entries.push(Entry {
            hash,
            key: start..self.keys.len(),
            newest: offset,
        });
        let entries = &self.entries;
        self.index
            .insert_unique(hash, number, |number| entries[*number as usize].hash);
    }

    /// Where the newest records with these keys are, as far as some were noted.
    pub(super) fn of(&self, keys: [Option<&[u8]>; TOGETHER]) -> [Option<Offset>; TOGETHER] {
        // Each step for all of them: none of these waits for another.
        let hashes = keys.map(|key| Some((self.hasher.hash_one(key?), key?)));
        let likely = hashes.map(|key| self.index.find(key?.0, |_| true).copied());
        let entries = likely.map(|number| {
            let entry = &self.entries[number? as usize];
            Some((entry.hash, entry.key.clone(), entry.newest))
        });
        array::from_fn(|place| {
            let ((hash, key), (of, at, newest)) = (hashes[place]?, entries[place].as_ref()?);
            if *of == hash && self.keys[at.clone()] == *key {
                return Some(*newest);
            }
            let number = self.find(hash, key)?;
            Some(self.entries[number as usize].newest)
        })
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let same = |number: &u32| {
            let entry = &self.entries[*number as usize];
            entry.hash == hash && self.keys[entry.key.clone()] == *key
        };
        self.index.find(hash, same).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_key_has_its_newest_offset() {
        let key = |number: u32| (number * number % 1_009).to_string().into_bytes();
        let (mut newest, mut expected) = (Newest::default(), BTreeMap::new());
        for number in 0..5_000 {
            newest.note(&key(number), number.into());
            expected.insert(key(number), Offset::from(number));
        }
        let asked: Vec<_> = (0..1_100).map(|number| number.to_string()).collect();
        for some in asked.chunks(TOGETHER) {
            let keys = array::from_fn(|place| some.get(place).map(String::as_bytes));
            let told = newest.of(keys);
            for (key, told) in keys.into_iter().zip(told) {
                assert_eq!(told, key.and_then(|key| expected.get(key).copied()));
            }
        }
        let keys: usize = expected.keys().map(Vec::len).sum();
        assert_eq!(newest.bytes(), keys + expected.len() * ENTRY_BYTES);
    }

    #[test]
    fn the_empty_key_is_a_key() {
        let mut newest = Newest::default();
        newest.note(b"", 7);
        let mut keys = [None; TOGETHER];
        (keys[0], keys[3]) = (Some(&b"a"[..]), Some(&b""[..]));
        let told = newest.of(keys);
        assert_eq!((told[0], told[3], told[4]), (None, Some(7), None));
    }
}
