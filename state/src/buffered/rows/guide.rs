//! Some keys of an order, copied, by which a search comes near its place.
//!
//! A row's key lies wherever there was room when it came, so each step of a search among all of
//! them waits for memory. Invariant: a guide is of the order as it is; whoever changes the order
//! makes a new one.

use std::ops::Range;

/// The guide has one in so many keys.
const STRIDE: usize = 32;

#[derive(Default)]
pub(super) struct Guide {
    bytes: Vec<u8>,
    /// Where each key ends.
    ends: Vec<usize>,
    /// How many keys the order has.
    keys: usize,
}

impl Guide {
    /// The guide to an order, of which it asks for some keys by their numbers.
    pub(super) fn to<'a>(keys: usize, key: impl Fn(usize) -> &'a [u8]) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(keys.div_ceil(STRIDE)));
        for number in (0..keys).step_by(STRIDE) {
            bytes.extend_from_slice(key(number));
            ends.push(bytes.len());
        }
        Self { bytes, ends, keys }
    }

    /// The part of the order at whose end, or in which, the first key lies that is not `before`.
    pub(super) fn near(&self, before: impl Fn(&[u8]) -> bool) -> Range<usize> {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if before(self.key(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.saturating_sub(1) * STRIDE..self.keys.min(low * STRIDE)
    }

    fn key(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |last| self.ends[last]);
        &self.bytes[start..self.ends[number]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn what_is_searched_near_the_place_is_found(
            keys in prop::collection::btree_set(prop::collection::vec(0_u8..4, 0..5), 0..300),
            wanted in prop::collection::vec(0_u8..4, 0..5),
        ) {
            let keys: Vec<Vec<u8>> = BTreeSet::into_iter(keys).collect();
            let guide = Guide::to(keys.len(), |number| &keys[number]);
            let before = |key: &[u8]| key < &wanted[..];
            let near = guide.near(before);
            prop_assert!(near.len() <= STRIDE);
            let found = near.start + keys[near].partition_point(|key| before(key));
            prop_assert_eq!(found, keys.partition_point(|key| before(key)));
        }
    }
}
