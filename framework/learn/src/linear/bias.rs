//! The constant that a linear model adds to its score.
//!
//! Invariant: its step shrinks with the errors seen, `rate / 2 * e / sqrt(1 + Σ e²)`: half a first
//! step at most, because every record pushes it while most words are rare.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Bias {
    pub(super) value: f64,
    squares: f64,
}

impl Bias {
    /// Begins anew where it is no number; whether it was none.
    pub(super) fn heal(&mut self) -> bool {
        let ruined = !(self.value.is_finite() && self.squares.is_finite());
        if ruined {
            *self = Self::default();
        }
        ruined
    }

    pub(super) fn step(&mut self, rate: f64, error: f64) {
        self.squares += error * error;
        self.value -= rate * 0.5 * error / (1.0 + self.squares).sqrt();
    }
}
