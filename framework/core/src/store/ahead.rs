//! Keys that come next, looked up together before their turn.
//!
//! A task's rows are more than the processor's cache holds, and most of what a look-up costs is
//! waiting for memory. One look-up after the other waits as often as there are records; look-ups
//! that do not depend on each other wait at the same time. Invariant: nothing here changes what a
//! store holds or says; a look-up made in vain costs a little time.

use hashbrown::HashTable;
use std::{array, hint::black_box};

/// How many keys are looked up together.
pub(crate) const AHEAD: usize = 16;

/// What an index has under the hashes of some keys: of each the first entry that may be it, which
/// it nearly always is. To ask the entries themselves would be to wait for them.
pub(super) struct Ahead([Option<(u64, u32)>; AHEAD]);

impl Ahead {
    /// Looks in an index for what these keys have, whose hash the last argument says.
    pub(super) fn new(keys: &[&[u8]], index: &HashTable<u32>, hash: impl Fn(&[u8]) -> u64) -> Self {
        // All hashes first: the processor begins so many look-ups at once as their instructions fit
        // into what it can have in hand.
        let hashes: [_; AHEAD] = array::from_fn(|place| keys.get(place).map(|key| hash(key)));
        Self(hashes.map(|hash| {
            let hash = hash?;
            let number = *index.find(hash, |_| true)?;
            Some((hash, number))
        }))
    }

    /// Touches what `look` reads of each entry. It returns the entry's hash and something that it
    /// read; entries whose hash is the key's are counted.
    pub(super) fn touch(&self, mut look: impl FnMut(u32) -> (u64, i64)) -> usize {
        let (mut found, mut seen) = (0, 0);
        for &(hash, number) in self.0.iter().flatten() {
            let (of, read) = look(number);
            found += usize::from(of == hash);
            seen ^= read;
        }
        // Somebody must want what was read, or it would not be.
        black_box(seen);
        found
    }
}

/// Touches what `look` reads of some entries, whose memory is wanted soon.
pub(super) fn touch_all(numbers: impl Iterator<Item = u32>, mut look: impl FnMut(u32) -> i64) {
    black_box(numbers.fold(0, |seen, number| seen ^ look(number)));
}
