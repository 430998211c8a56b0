//! A sparse vector: the few features of one record that are not zero.
//!
//! Invariant: there are as many values as indexes, and no index occurs twice.

use super::is_value;
use serde::{Deserialize, Serialize};

/// Indexes and values of the features that are not zero, in an order fixed by the input.
///
/// Reuse one vector for many records: [`SparseVector::clear`] keeps the memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SparseVector {
    indexes: Vec<u32>,
    values: Vec<f32>,
}

impl SparseVector {
    /// A vector without features.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a feature. The caller sees to it that the index is new; a value that is no number or
    /// beyond [`VALUE_MAX`](super::VALUE_MAX) is missing, and left out, because it would spoil
    /// every weight it touches.
    #[inline]
    pub fn push(&mut self, index: u32, value: f32) {
        if is_value(value.into()) {
            self.indexes.push(index);
            self.values.push(value);
        }
    }

    /// The indexes, in the order in which they were added.
    #[inline]
    pub fn indexes(&self) -> &[u32] {
        &self.indexes
    }

    /// The features, in the order in which they were added.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (u32, f32)> + '_ {
        self.indexes
            .iter()
            .copied()
            .zip(self.values.iter().copied())
    }

    /// How many features there are.
    pub fn len(&self) -> usize {
        self.indexes.len()
    }

    /// Whether all features are zero.
    pub fn is_empty(&self) -> bool {
        self.indexes.is_empty()
    }

    /// Removes the features and keeps the memory.
    pub fn clear(&mut self) {
        self.indexes.clear();
        self.values.clear();
    }

    /// Gives every feature the value that makes the vector's Euclidean length one.
    pub(crate) fn set_unit_length(&mut self) {
        #[expect(clippy::cast_precision_loss, reason = "at most TOKENS_MAX features")]
        let value = 1.0 / (self.indexes.len().max(1) as f32).sqrt();
        self.values.clear();
        self.values.resize(self.indexes.len(), value);
    }

    pub(crate) fn push_index(&mut self, index: u32) {
        self.indexes.push(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_would_spoil_a_weight_are_left_out() {
        let mut vector = SparseVector::new();
        for (index, value) in [(1, f32::NAN), (2, 0.5), (3, f32::INFINITY), (4, -2e19)] {
            vector.push(index, value);
        }
        assert_eq!(vector.iter().collect::<Vec<_>>(), [(2, 0.5)]);
        vector.clear();
        assert!(vector.is_empty());
    }
}
