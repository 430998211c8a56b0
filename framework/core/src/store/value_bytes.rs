//! How many bytes a store's values take in the mean.
//!
//! What a commit will write is reckoned with it long before the commit encodes anything, and a
//! commit that comes too late may be more than a log takes at once. So it is not left to the last
//! commit to know: some of the values are encoded meanwhile, ever fewer of them, so that it costs
//! next to nothing. Invariant: after a commit's first change the mean comes from values that were
//! encoded, and follows them as they grow in place.

/// The mean, which moves half way to whatever is seen.
pub(super) struct ValueBytes {
    mean: usize,
    /// Changes since the last commit, those of a row that had changed already among them.
    changes: u64,
}

impl ValueBytes {
    /// Before any value was seen it is as large as in memory.
    pub(super) const fn new<V>() -> Self {
        Self {
            mean: size_of::<V>(),
            changes: 0,
        }
    }

    #[inline]
    pub(super) const fn mean(&self) -> usize {
        self.mean
    }

    /// Counts a change; says whether a value should be encoded to learn its size. That is after
    /// one change, two, four and so on.
    #[inline]
    pub(super) const fn wants_one(&mut self) -> bool {
        self.changes += 1;
        self.changes.is_power_of_two()
    }

    pub(super) const fn see(&mut self, bytes: usize) {
        self.mean = usize::midpoint(self.mean, bytes);
    }

    /// A commit encoded all values; `mean` is what they took, if there were any.
    pub(super) const fn committed(&mut self, mean: Option<usize>) {
        self.changes = 0;
        if let Some(mean) = mean {
            self.see(mean);
        }
    }
}
