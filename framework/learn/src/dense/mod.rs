//! Learners on a handful of numbers per record, in `f64`, with River's semantics.
//!
//! Invariant: what is no number, or beyond [`VALUE_MAX`](crate::features::VALUE_MAX), is a missing
//! value: it neither counts nor teaches, and it cannot reach a weight. Every operation is River's,
//! in River's order, so that the results are River's to the last digits (`tests/golden/learn`).

mod logistic;
mod passive_aggressive;
mod scaler;

pub use logistic::DenseLogisticRegression;
pub use passive_aggressive::PassiveAggressive;
pub use scaler::{Scaled, StandardScaler};

use crate::features::is_value;

/// Features beyond this many are not looked at; so a model's state stays below one log record.
pub const NUMBERS_MAX: usize = 1 << 14;

/// The features that are there, with their places.
fn present(input: &[f64]) -> impl Iterator<Item = (usize, f64)> + '_ {
    let numbers = input.iter().copied().take(NUMBERS_MAX).enumerate();
    numbers.filter(|(_, value)| is_value(*value))
}

/// Makes room for as many features as a record has: a model learns how wide its records are.
fn widen<T: Clone + Default>(state: &mut Vec<T>, input: &[f64]) {
    if state.len() < input.len() {
        state.resize(input.len().min(NUMBERS_MAX), T::default());
    }
}
