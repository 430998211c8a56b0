//! Up to where the rows of a column have expired.
//!
//! Rows of windows are of no use once their time is over, and nobody should have to name them one
//! by one to be rid of them. Invariant: a horizon only tells what readers no longer look at. A
//! backend may forget what was last done to such rows whenever it likes, or keep it.

/// How many bytes of a key are its time.
const TIME: usize = 8;

/// Rows have expired whose keys hold a time at or before this one.
///
/// ```
/// use millstream_state::Horizon;
///
/// // The time is at the end of the key, eight bytes in which earlier ones are smaller.
/// let horizon = Horizon { from_end: 8, until: 100_u64.to_be_bytes() };
/// let key = |time: u64| [&b"apple"[..], &time.to_be_bytes()].concat();
/// assert!(horizon.covers(&key(100)));
/// assert!(!horizon.covers(&key(101)));
/// assert!(!horizon.covers(b"apple"), "a key without a time");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// How many bytes before the end of a key its time begins. Shorter keys have none, and never
    /// expire.
    pub from_end: usize,
    /// The latest time that has expired, in bytes that sort like times.
    pub until: [u8; TIME],
}

impl Horizon {
    /// The time of a row, if its key has one.
    #[inline]
    pub fn time_of(self, key: &[u8]) -> Option<[u8; TIME]> {
        let start = key.len().checked_sub(self.from_end)?;
        key[start..].first_chunk().copied()
    }

    /// Whether the row of a key has expired.
    #[inline]
    pub fn covers(self, key: &[u8]) -> bool {
        self.time_of(key).is_some_and(|time| time <= self.until)
    }
}
