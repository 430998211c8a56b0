//! Of which first fields a column may have rows: a Bloom filter.
//!
//! A store that keeps rows by key and time asks for all rows of a key, mostly of one that has none
//! here. Invariant: what was added is always found; of what was not, about one in seventy is, as
//! long as there is no more of it than there is room for.
//!
//! Bloom: *Space/time trade-offs in hash coding with allowable errors*, CACM 13 (1970).

/// Bits for each row that there is room for: two are set, so an eighth at most.
const BITS: usize = 16;
/// There is room for so many rows at least.
const ROWS_LEAST: usize = 1 << 10;

/// A filter of hashes.
pub(super) struct Prefixes {
    /// A power of two of them.
    words: Vec<u64>,
    /// How many may be added still.
    left: usize,
}

impl Prefixes {
    /// An empty one, with room for as many rows as there are and as many again.
    pub(super) fn for_rows(rows: usize) -> Self {
        let room = (2 * rows).next_power_of_two().max(ROWS_LEAST);
        Self {
            words: vec![0; room * BITS / 64],
            left: room,
        }
    }

    /// To be asked before one is added.
    pub(super) fn is_full(&self) -> bool {
        self.left == 0
    }

    pub(super) fn add(&mut self, hash: u64) {
        self.left = self.left.saturating_sub(1);
        for (word, bit) in self.bits(hash) {
            self.words[word] |= bit;
        }
    }

    pub(super) fn may_have(&self, hash: u64) -> bool {
        (self.bits(hash)).all(|(word, bit)| self.words[word] & bit != 0)
    }

    pub(super) fn bytes(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }

    /// The bits of a hash: one by its lower half, one by its upper.
    fn bits(&self, hash: u64) -> impl Iterator<Item = (usize, u64)> + use<> {
        let mask = self.words.len() - 1;
        [hash, hash.rotate_left(32)].into_iter().map(move |half| {
            let word = usize::try_from(half >> 6 & 0x3FF_FFFF).unwrap_or_default() & mask;
            (word, 1 << (half & 63))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

    #[test]
    fn what_was_added_is_found_and_little_else() {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let mut filter = Prefixes::for_rows(5_000);
        let mut added = 0_u64;
        while !filter.is_full() {
            filter.add(hasher.hash_one(added));
            added += 1;
        }
        assert!(added >= 10_000, "room for {added}");
        assert!((0..added).all(|n| filter.may_have(hasher.hash_one(n))));
        let others = added..11 * added;
        let wrong = others.filter(|n| filter.may_have(hasher.hash_one(n)));
        let wrong = u64::try_from(wrong.count()).unwrap_or(u64::MAX);
        assert!(wrong < added / 5, "{wrong} of {}", 10 * added);
    }
}
