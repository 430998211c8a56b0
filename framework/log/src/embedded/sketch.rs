//! How many different keys there are among many records, without remembering them.
//!
//! Of all keys those are remembered, by hash, that chance picks: all at first, and half as many
//! each time there are too many. How many are left says how many there were, give or take two in a
//! hundred. Invariant: what is remembered is bounded, and whether a key is depends on its bytes
//! alone, so that one that comes a million times counts once.

use hashbrown::HashSet;
use xxhash_rust::xxh3::xxh3_64;

/// So many hashes are remembered at most.
const HASHES_MAX: usize = 4_096;

/// Counts records and their different keys.
#[derive(Default)]
pub(super) struct Sketch {
    records: u64,
    /// Hashes that end in so many zero bits.
    seen: HashSet<u64>,
    zeros: u32,
}

impl Sketch {
    /// Takes notice of a record's key.
    pub(super) fn add(&mut self, key: &[u8]) {
        self.records += 1;
        let hash = xxh3_64(key);
        if hash.trailing_zeros() < self.zeros || !self.seen.insert(hash) {
            return;
        }
        while self.seen.len() > HASHES_MAX {
            self.zeros += 1;
            let zeros = self.zeros;
            self.seen.retain(|hash| hash.trailing_zeros() >= zeros);
        }
    }

    /// How many records there were.
    pub(super) const fn records(&self) -> u64 {
        self.records
    }

    /// About how many of them had a key that came before.
    pub(super) fn repeated(&self) -> u64 {
        let keys = (self.seen.len() as u64) << self.zeros.min(32);
        self.records.saturating_sub(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_once_each_as_far_as_they_are_few() {
        let mut sketch = Sketch::default();
        for number in 0..6_000_u32 {
            sketch.add(&(number % 1_000).to_be_bytes());
        }
        assert_eq!((sketch.records(), sketch.repeated()), (6_000, 5_000));
    }

    #[test]
    fn of_many_keys_about_as_many_are_told_and_no_more_remembered() {
        for times in [1, 2, 8_u32] {
            let mut sketch = Sketch::default();
            for number in 0..400_000_u32 * times {
                sketch.add(&(number % 400_000).to_be_bytes());
            }
            let keys = sketch.records() - sketch.repeated();
            assert!((360_000..=440_000).contains(&keys), "{times}: {keys}");
            assert!(sketch.seen.len() <= HASHES_MAX);
        }
    }

    #[test]
    fn one_key_that_comes_again_and_again_is_told_among_many_that_do_not() {
        let mut sketch = Sketch::default();
        for number in 0..200_000_u32 {
            sketch.add(&number.to_be_bytes());
            sketch.add(b"clock");
        }
        let repeated = sketch.repeated();
        assert!((180_000..=220_000).contains(&repeated), "{repeated}");
    }
}
