//! How many bytes a store's values take in the mean.
//!
//! What a commit will write is reckoned with it long before the commit encodes anything, and a
//! commit that comes too late may be more than a log takes at once. So it is not left to the last
//! commit to know: some of the values are encoded meanwhile, the first ones and then one in
//! sixty-four, wherever they lie. Invariant: the mean is never below what the last commits had, nor
//! below that of the values that were encoded since.

/// After so many changes not every one has a value encoded.
const FIRST: u64 = 8;
/// Of the others so many have one encoded together.
const EVERY: u64 = 64;

/// The mean size of values.
pub(super) struct ValueBytes {
    /// As commits had it, each counting as much as all before it.
    committed: usize,
    /// Of the values that were encoded since: all their bytes, and how many they are.
    seen: (usize, usize),
    /// Changes since the last commit, those of a row that had changed already among them.
    changes: u64,
}

impl ValueBytes {
    /// Before any value was seen it is as large as in memory.
    pub(super) const fn new<V>() -> Self {
        Self {
            committed: size_of::<V>(),
            seen: (0, 0),
            changes: 0,
        }
    }

    #[inline]
    pub(super) fn mean(&self) -> usize {
        let (bytes, values) = self.seen;
        bytes.checked_div(values).unwrap_or(0).max(self.committed)
    }

    /// Counts a change; says whether a value should be encoded to learn its size.
    #[inline]
    pub(super) const fn wants_one(&mut self) -> bool {
        self.changes += 1;
        self.changes <= FIRST || self.changes.is_multiple_of(EVERY)
    }

    /// Which of so many changed values that should be: not the latest one of several, which may not
    /// have its value yet; and scattered, because what changes may have an order.
    pub(super) fn place(&self, values: usize) -> usize {
        // Fibonacci hashing (Knuth, volume 3, 6.4).
        let hash = self.changes.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        usize::try_from(hash).unwrap_or(0) % values.saturating_sub(1).max(1)
    }

    pub(super) const fn see(&mut self, bytes: usize) {
        let (all, values) = self.seen;
        self.seen = (all.saturating_add(bytes), values + 1);
    }

    /// A commit encoded all values; `mean` is what they took, if there were any.
    pub(super) const fn committed(&mut self, mean: Option<usize>) {
        (self.seen, self.changes) = ((0, 0), 0);
        if let Some(mean) = mean {
            self.committed = usize::midpoint(self.committed, mean);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes every value once, and returns by how much the reckoned mean is too small or large.
    fn error(bytes: &mut ValueBytes, values: &[usize]) -> f64 {
        for changed in 1..=values.len() {
            if bytes.wants_one() {
                bytes.see(values[bytes.place(changed)]);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let exact = values.iter().sum::<usize>() as f64 / values.len() as f64;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let reckoned = bytes.mean() as f64;
        (exact / reckoned).max(reckoned / exact)
    }

    #[test]
    fn values_in_turn_large_and_small_have_their_mean() {
        for first in 0..2 {
            let value = |number| if number % 2 == first { 100_000 } else { 20 };
            let values: Vec<_> = (0..2_000).map(value).collect();
            let mut bytes = ValueBytes::new::<String>();
            for commit in 0..4 {
                let error = error(&mut bytes, &values);
                assert!(error < 2.0, "{error} in commit {commit}");
                bytes.committed(Some(50_010));
            }
        }
    }

    #[test]
    fn a_few_large_values_are_known_from_the_second_commit_on() {
        let value = |number| if number % 100 == 37 { 200_000 } else { 50 };
        let values: Vec<_> = (0..50_000).map(value).collect();
        let mut bytes = ValueBytes::new::<String>();
        error(&mut bytes, &values);
        bytes.committed(Some(2_050));
        for commit in 1..4 {
            let error = error(&mut bytes, &values);
            assert!(error < 4.0, "{error} in commit {commit}");
            bytes.committed(Some(2_050));
        }
    }

    #[test]
    fn values_that_grow_in_place_are_followed() {
        let mut bytes = ValueBytes::new::<String>();
        let mut value = 0;
        for _ in 0..1_000 {
            value += 100;
            if bytes.wants_one() {
                assert_eq!(bytes.place(1), 0);
                bytes.see(value);
            }
        }
        assert!(bytes.mean() > value / 4, "{}", bytes.mean());
    }
}
