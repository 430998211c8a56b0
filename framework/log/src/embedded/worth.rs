//! Whether it is worth it to compact a partition of which the front is cut off too.
//!
//! Such a partition would be bounded without compaction, so that a pass has to earn what it costs.
//! At first, and whenever passes removed too little, all keys are counted before the next one; if
//! too few come again, much must be written until they are counted once more. Passes that follow a
//! look are judged together once they have come as far as it saw, because one that cannot remember
//! all keys says nothing of those behind.
//!
//! Invariant: nothing is judged by some of its keys, and after a look or a pass that found too
//! little no more than sixteen times what there was is waited for.

use millstream_core::record::Offset;

/// To remove less than one in so many records is not worth a pass, and so many times as much as
/// there is must be written until it is worth another look.
const WORTH: u64 = 8;
const PATIENCE: u64 = 16;

/// What is known of a partition since the program began.
#[derive(Debug, Default)]
pub(super) struct Worth {
    /// How many bytes there were when too few of them were found to come again, and how many were
    /// written since then.
    seen_bytes: u64,
    fresh_bytes: u64,
    /// Whether the passes before those under way were worth it.
    fruitful: bool,
    /// How far passes go until they are judged, and what they did so far.
    judged_at: Offset,
    removed: u64,
    indexed: u64,
}

impl Worth {
    /// So much was written.
    pub(super) const fn written(&mut self, bytes: u64) {
        self.fresh_bytes += bytes;
    }

    /// Whether so much has come that it is worth a look at `bytes`. What was cut off since the last
    /// one is not waited for.
    pub(super) fn is_time(&self, bytes: u64) -> bool {
        self.fresh_bytes >= self.seen_bytes.min(bytes).saturating_mul(PATIENCE)
    }

    /// A pass over what was written from one offset to the other is due; whether it needs a look
    /// first.
    pub(super) const fn begin(&mut self, dirty: Offset, end: Offset) -> bool {
        if dirty >= self.judged_at {
            if !self.fruitful {
                return true;
            }
            self.judge_at(end);
        }
        false
    }

    /// A look found that so many of the `records` up to `end` could go; whether that is worth a
    /// pass. There are `bytes` now.
    pub(super) const fn seen(
        &mut self,
        (repeated, records): (u64, u64),
        end: Offset,
        bytes: u64,
    ) -> bool {
        let worth = is_worth(repeated, records);
        if worth {
            self.judge_at(end);
        } else {
            self.rest(bytes);
        }
        worth
    }

    /// A pass came so far, and `bytes` are left.
    pub(super) const fn finished(
        &mut self,
        (removed, indexed): (u64, u64),
        upto: Offset,
        bytes: u64,
    ) {
        self.seen_bytes = 0;
        self.removed += removed;
        self.indexed += indexed;
        if upto >= self.judged_at {
            self.fruitful = is_worth(self.removed, self.indexed);
            if !self.fruitful {
                self.rest(bytes);
            }
        }
    }

    const fn rest(&mut self, bytes: u64) {
        (self.seen_bytes, self.fresh_bytes) = (bytes, 0);
    }

    const fn judge_at(&mut self, end: Offset) {
        (self.judged_at, self.removed, self.indexed) = (end, 0, 0);
    }
}

const fn is_worth(removed: u64, of: u64) -> bool {
    removed.saturating_mul(WORTH) >= of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_that_cannot_remember_all_keys_are_judged_together() {
        let mut worth = Worth::default();
        assert!(worth.begin(0, 100), "nothing is known");
        assert!(worth.seen((20, 100), 100, 5_000));
        worth.finished((0, 50), 50, 5_000);
        assert!(
            !worth.begin(50, 300),
            "half of what was seen is still to come"
        );
        worth.finished((20, 50), 100, 4_000);
        assert!(!worth.begin(100, 300), "both together were worth it");
        worth.finished((20, 100), 200, 4_000);
        assert!(!worth.begin(200, 1_000), "and now as far as it went then");
        assert!(worth.is_time(4_000));
        worth.finished((0, 100), 300, 4_000);
        assert!(!worth.is_time(4_000), "which was not");
        assert!(worth.begin(300, 1_000));
    }

    #[test]
    fn where_little_comes_again_much_must_come() {
        let mut worth = Worth::default();
        assert!(worth.is_time(100));
        assert!(!worth.seen((12, 100), 100, 100));
        worth.written(1_599);
        assert!(!worth.is_time(1_699));
        assert!(worth.is_time(99), "the front was cut off");
        worth.written(1);
        assert!(worth.is_time(1_700));
        assert!(worth.begin(0, 1_700));
        assert!(worth.seen((13, 100), 1_700, 1_700));
        assert!(worth.is_time(1_700));
    }
}
