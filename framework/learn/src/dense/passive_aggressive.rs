//! The passive-aggressive classifier PA-I: River's `PAClassifier(mode=1)`.
//!
//! Invariant: an example with a margin of at least one changes nothing; any other changes the
//! weights by the least that would give it that margin, or `c` times the example if that is less.
//! Crammer et al., "Online passive-aggressive algorithms", JMLR 7 (2006).

use super::{heal, logistic::probability, present, shift, widen};
use crate::{
    learner::Learner,
    weights::{Replicated, Schema},
};
use serde::{Deserialize, Serialize};

/// Learns to tell `true` from `false` by margins. Its probabilities are the logistic function of
/// the margin and are not calibrated.
#[derive(Clone, Debug)]
pub struct PassiveAggressive {
    aggressiveness: f64,
    rest: Rest,
}

/// The model's whole state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rest {
    learned: u64,
    intercept: f64,
    weights: Vec<f64>,
}

impl PassiveAggressive {
    /// A model that knows nothing; `c` bounds the step: 1 trusts every label, 0.01 suits noise.
    pub fn new(c: f64) -> Self {
        Self {
            aggressiveness: c,
            rest: Rest::default(),
        }
    }

    fn margin(&self, input: &[f64]) -> f64 {
        let terms =
            present(input).filter_map(|(place, value)| Some(self.rest.weights.get(place)? * value));
        terms.sum::<f64>() + self.rest.intercept
    }
}

impl Learner for PassiveAggressive {
    type Input = [f64];
    type Label = bool;
    type Output = f64;

    fn predict(&self, input: &[f64]) -> f64 {
        probability(self.margin(input))
    }

    fn learn(&mut self, input: &[f64], label: &bool) {
        let sign = if *label { 1.0 } else { -1.0 };
        let loss = (1.0 - sign * self.margin(input)).max(0.0);
        let squares: f64 = present(input).map(|(_, value)| value * value).sum();
        let step = if squares > 0.0 {
            sign * self.aggressiveness.min(loss / squares)
        } else {
            0.0
        };
        widen(&mut self.rest.weights, input);
        for (place, value) in present(input) {
            // Only with a `c` without bound can a step be infinite.
            shift(&mut self.rest.weights[place], step * value);
        }
        shift(&mut self.rest.intercept, step);
        self.rest.learned += 1;
    }

    fn decide(&self, output: &f64) -> bool {
        *output > 0.5
    }

    fn learned(&self) -> u64 {
        self.rest.learned
    }

    fn describe(&self) -> String {
        format!("PassiveAggressive(c={})", self.aggressiveness)
    }
}

impl Replicated for PassiveAggressive {
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
        let weights = self.rest.weights.iter_mut();
        heal(&mut self.rest.intercept) + weights.map(heal).sum::<u64>()
    }
}
