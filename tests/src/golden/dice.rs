//! Chance from a seed. Invariant: equal seeds give equal throws, on every machine and for ever,
//! since a failure is told by its seed.

/// A generator of pseudo-random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The throws of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The throws that belong to a name.
    pub fn named(name: &str) -> Self {
        // FNV-1a: the same for ever, which the standard library's hashes are not.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hash)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` up to, and with, `high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = high.abs_diff(low).saturating_add(1);
        low.saturating_add_unsigned(self.next() % span)
    }

    /// A place in a list of this many.
    pub fn place(&mut self, len: usize) -> usize {
        let highest = i64::try_from(len).unwrap_or(i64::MAX) - 1;
        usize::try_from(self.between(0, highest)).unwrap_or_default()
    }

    /// Whether something happens that does so this often in a hundred times.
    pub fn percent(&mut self, chance: i64) -> bool {
        self.between(1, 100) <= chance
    }

    /// One of several.
    pub fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.place(of.len())].clone()
    }
}
