//! A set of the indexes met in one record: emptied in one step, small enough for the first cache.
//!
//! Invariant: a slot counts only if it carries the current epoch; at most half of them do.

use super::text::BITS_MAX;

/// Slots to begin with: 8 KB, enough for a review of 500 words.
const SLOTS_MIN: usize = 2_048;
/// Epochs that fit above an index; zero marks the slots of a new set.
const EPOCH_MAX: u32 = (1 << (u32::BITS - BITS_MAX)) - 1;

pub(super) struct Seen {
    /// The epoch in the upper bits, the index in the lower.
    slots: Vec<u32>,
    epoch: u32,
    len: usize,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self {
            slots: vec![0; SLOTS_MIN],
            epoch: 0,
            len: 0,
        }
    }

    /// Empties the set.
    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.epoch += 1;
        if self.epoch > EPOCH_MAX {
            self.slots.fill(0);
            self.epoch = 1;
        }
    }

    /// Adds an index below 2 to the power of [`BITS_MAX`]; `true` says that it is new.
    #[inline]
    pub(super) fn insert(&mut self, index: u32) -> bool {
        if self.len * 2 >= self.slots.len() {
            self.grow();
        }
        let entry = self.epoch << BITS_MAX | index;
        let mask = self.slots.len() - 1;
        // Indexes are hashes already: their low bits are as good as any.
        let mut place = index as usize;
        loop {
            let slot = &mut self.slots[place & mask];
            if *slot == entry {
                return false;
            }
            if *slot >> BITS_MAX != self.epoch {
                *slot = entry;
                self.len += 1;
                return true;
            }
            place += 1;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let larger = vec![0; self.slots.len() * 2];
        let smaller = std::mem::replace(&mut self.slots, larger);
        self.len = 0;
        for entry in smaller {
            if entry >> BITS_MAX == self.epoch {
                self.insert(entry & ((1 << BITS_MAX) - 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn says_what_a_set_says_through_growth_and_many_epochs() {
        let mut seen = Seen::new();
        for record in 0..3 * EPOCH_MAX {
            seen.clear();
            let mut model = BTreeSet::new();
            for step in 0..(record % 40) * 131 {
                let index = step.wrapping_mul(2_654_435_761) >> 20;
                assert_eq!(seen.insert(index), model.insert(index));
            }
        }
    }
}
