//! Seeded randomness for injected faults and simulations.
//!
//! Invariant: the numbers depend on the seed alone, on every machine and in every version, so that
//! a failing run is replayed from its seed.

/// A stream of pseudo-random numbers: `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014).
///
/// ```
/// use millstream_log::Rng;
/// let (mut one, mut other) = (Rng::new(42), Rng::new(42));
/// assert_eq!(one.next_u64(), other.next_u64());
/// ```
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The stream of that seed.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number, all 64 bits of it.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, and 0 where the bound is 0. The bias of the multiplication is below
    /// `bound / 2^64`, which no simulation can notice.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or_default()
    }

    /// An index into something of that length, and 0 where it is empty.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or_default()
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        let high = u32::try_from(self.next_u64() >> 32).unwrap_or_default();
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }

    /// Whether something of that probability happens now. One number is drawn whatever the
    /// probability is, so that turning one fault off leaves the others where they were.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Another stream, which goes its own way from here on.
    pub const fn fork(&mut self) -> Self {
        Self::new(self.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn the_stream_is_the_published_one() {
        let mut rng = Rng::new(1_234_567);
        assert_eq!(rng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn bounds_hold_and_are_reached() {
        let mut rng = Rng::new(1);
        let mut seen = [0; 7];
        for _ in 0..7_000 {
            seen[rng.index(7)] += 1;
            assert!((0.0..1.0).contains(&rng.unit()));
        }
        assert!(seen.iter().all(|&count| count > 800), "{seen:?}");
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn certain_things_happen_and_impossible_ones_do_not() {
        let mut rng = Rng::new(3);
        assert!((0..1_000).all(|_| rng.chance(1.0) && !rng.chance(0.0)));
    }
}
