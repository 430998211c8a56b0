//! A set of the indexes met in one record: emptied in one step, small enough for the first cache.
//!
//! Invariant: a slot counts only if it carries the current epoch; at most half of them do.

/// Slots to begin with: 16 KB, enough for a review of 500 words.
const SLOTS_MIN: usize = 2_048;

pub(super) struct Seen {
    /// The epoch in the upper half, the index in the lower.
    slots: Vec<u64>,
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
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.slots.fill(0);
            self.epoch = 1;
        }
    }

    /// Adds an index; `true` says that it is new.
    #[inline]
    pub(super) fn insert(&mut self, index: u32) -> bool {
        if self.len * 2 >= self.slots.len() {
            self.grow();
        }
        let entry = u64::from(self.epoch) << 32 | u64::from(index);
        let mask = self.slots.len() - 1;
        // Indexes are hashes already: their low bits are as good as any.
        let mut place = index as usize & mask;
        loop {
            let found = self.slots[place & mask];
            if found == entry {
                return false;
            }
            if found >> 32 != u64::from(self.epoch) {
                self.slots[place & mask] = entry;
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
            if entry >> 32 == u64::from(self.epoch) {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "the index is the lower half"
                )]
                self.insert(entry as u32);
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
        for record in 0..40u32 {
            seen.clear();
            let mut model = BTreeSet::new();
            for step in 0..record * 131 {
                let index = step.wrapping_mul(2_654_435_761) >> 20;
                assert_eq!(seen.insert(index), model.insert(index));
            }
        }
        seen.epoch = u32::MAX;
        seen.clear();
        assert!(seen.insert(7) && !seen.insert(7));
    }
}
