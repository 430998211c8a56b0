//! Logistic regression on numbers: River's `LogisticRegression`.
//!
//! Invariant: the gradient is taken before anything changes; the intercept learns at its own rate.

use super::{heal, present, shift, widen};
use crate::{
    learner::Learner,
    math::sigmoid,
    optim::{AdaGrad, Optimizer, Slot, step},
    weights::{Replicated, Schema},
};
use serde::{Deserialize, Serialize};

/// River's `intercept_lr`.
const INTERCEPT_RATE: f64 = 0.01;
/// Beyond this score River's probability is exactly zero or one.
const SCORE_MAX: f64 = 30.0;

/// Learns the probability of `true` from numbers, which should be [scaled](super::Scaled).
///
/// ```
/// use millstream_learn::{Learner, dense::{DenseLogisticRegression, Scaled}, optim::Sgd};
///
/// let mut model = Scaled::new(DenseLogisticRegression::new(Sgd { rate: 0.05 }));
/// for step in 0..100 {
///     let x = f64::from(step % 10);
///     model.learn(&[x], &(x > 4.5));
/// }
/// assert!(model.predict(&[9.0]) > 0.5 && model.predict(&[0.0]) < 0.5);
/// ```
pub struct DenseLogisticRegression<O = AdaGrad> {
    optimizer: O,
    rest: Rest,
}

/// The model's whole state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rest {
    learned: u64,
    intercept: f64,
    weights: Vec<Slot>,
}

impl<O: Optimizer> DenseLogisticRegression<O> {
    /// A model that knows nothing; it takes as many features as its records have.
    pub fn new(optimizer: O) -> Self {
        Self {
            optimizer,
            rest: Rest::default(),
        }
    }

    fn score(&self, input: &[f64]) -> f64 {
        let terms = present(input).filter_map(|(place, value)| {
            let slot = self.rest.weights.get(place)?;
            Some(self.optimizer.weight(*slot) * value)
        });
        terms.sum::<f64>() + self.rest.intercept
    }
}

/// River's sigmoid: cut off at both ends.
pub(super) fn probability(score: f64) -> f64 {
    match score {
        _ if score > SCORE_MAX => 1.0,
        _ if score < -SCORE_MAX => 0.0,
        _ => sigmoid(score),
    }
}

impl<O: Optimizer> Learner for DenseLogisticRegression<O> {
    type Input = [f64];
    type Label = bool;
    type Output = f64;

    fn predict(&self, input: &[f64]) -> f64 {
        probability(self.score(input))
    }

    fn learn(&mut self, input: &[f64], label: &bool) {
        let score = self.score(input);
        // The same as probability minus label, without cancelling where the model is sure.
        let error = if *label {
            -sigmoid(-score)
        } else {
            sigmoid(score)
        };
        widen(&mut self.rest.weights, input);
        for (place, value) in present(input) {
            let slot = &mut self.rest.weights[place];
            *slot = step(&self.optimizer, *slot, error * value);
        }
        shift(&mut self.rest.intercept, -INTERCEPT_RATE * error);
        self.rest.learned += 1;
    }

    fn decide(&self, output: &f64) -> bool {
        *output > 0.5
    }

    fn learned(&self) -> u64 {
        self.rest.learned
    }

    fn describe(&self) -> String {
        format!("DenseLogisticRegression({})", self.optimizer.describe())
    }
}

impl<O: Optimizer> Replicated for DenseLogisticRegression<O> {
    type Rest = Rest;

    fn schema(&self) -> Schema {
        vec![("learner", self.describe())]
    }

    fn learned(&self) -> u64 {
        self.rest.learned
    }

    fn rest(&self) -> Rest {
        self.rest.clone()
    }

    fn set_rest(&mut self, rest: Rest) {
        self.rest = rest;
    }

    fn heal(&mut self) -> u64 {
        let ruined = |slot: &&mut Slot| !slot.iter().all(|number| number.is_finite());
        let weights = self.rest.weights.iter_mut().filter(ruined);
        heal(&mut self.rest.intercept) + weights.map(|slot| *slot = [0.0; 2]).count() as u64
    }
}
