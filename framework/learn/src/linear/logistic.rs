//! Logistic regression on sparse features: yes or no.
//!
//! Invariant: the probability returned is the one the learning step starts from.

use super::{bias::Bias, heal, place, slot, step};
use crate::{
    features::{SparseVector, text},
    learner::Learner,
    math::sigmoid,
    optim::{AdaGrad, Optimizer},
    weights::{Replicated, Schema, Table},
};
use serde::{Deserialize, Serialize};

/// Learns the probability of `true` from sparse features.
///
/// ```
/// use millstream_learn::features::{SparseVector, TextFeatures};
/// use millstream_learn::{Learner, linear::LogisticRegression};
///
/// let (mut features, mut x) = (TextFeatures::default(), SparseVector::new());
/// let mut model = LogisticRegression::default();
/// for (text, label) in [("what a joy", true), ("what a bore", false), ("pure joy", true)] {
///     features.extract(text, &mut x);
///     model.learn(&x, &label);
/// }
/// features.extract("a joy", &mut x);
/// assert!(model.predict(&x) > 0.5);
/// ```
pub struct LogisticRegression<O = AdaGrad> {
    optimizer: O,
    table: Table,
    rest: Rest,
}

/// What the model knows beside its table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rest {
    learned: u64,
    bias: Bias,
}

impl Default for LogisticRegression {
    /// AdaGrad with a rate of 1 on 2^20 weights: the default for text.
    fn default() -> Self {
        Self::new(text::BITS_DEFAULT, AdaGrad::default())
    }
}

impl<O: Optimizer> LogisticRegression<O> {
    /// A model with two to the power of `bits` weights, as many as the features' indexes have.
    pub fn new(bits: u32, optimizer: O) -> Self {
        Self {
            optimizer,
            table: Table::new(1 << bits.clamp(1, text::BITS_MAX), 2),
            rest: Rest::default(),
        }
    }

    fn learn_from(&mut self, input: &SparseVector, probability: f64, label: bool) {
        let error = probability - f64::from(u8::from(label));
        for (index, value) in input.iter() {
            let row = self.table.row_mut(place(&self.table, index));
            step(&self.optimizer, row, 0, error * f64::from(value));
        }
        self.rest.bias.step(self.optimizer.rate(), error);
        self.rest.learned += 1;
    }
}

impl<O: Optimizer> Learner for LogisticRegression<O> {
    type Input = SparseVector;
    type Label = bool;
    type Output = f64;

    fn predict(&self, input: &SparseVector) -> f64 {
        let score = input
            .iter()
            .fold(self.rest.bias.value, |score, (index, value)| {
                let row = self.table.row(place(&self.table, index));
                score + self.optimizer.weight(slot(row, 0)) * f64::from(value)
            });
        sigmoid(score)
    }

    fn learn(&mut self, input: &SparseVector, label: &bool) {
        self.predict_then_learn(input, label);
    }

    fn predict_then_learn(&mut self, input: &SparseVector, label: &bool) -> f64 {
        let probability = self.predict(input);
        self.learn_from(input, probability, *label);
        probability
    }

    fn decide(&self, output: &f64) -> bool {
        *output > 0.5
    }

    fn learned(&self) -> u64 {
        self.rest.learned
    }

    fn describe(&self) -> String {
        format!("LogisticRegression({})", self.optimizer.describe())
    }
}

impl<O: Optimizer> Replicated for LogisticRegression<O> {
    type Rest = Rest;

    fn schema(&self) -> Schema {
        vec![("learner", self.describe())]
    }

    fn learned(&self) -> u64 {
        self.rest.learned
    }

    fn table(&self) -> Option<&Table> {
        Some(&self.table)
    }

    fn table_mut(&mut self) -> Option<&mut Table> {
        Some(&mut self.table)
    }

    fn rest(&self) -> Rest {
        self.rest.clone()
    }

    fn set_rest(&mut self, rest: Rest) {
        self.rest = rest;
    }

    fn heal(&mut self) -> u64 {
        heal(&mut self.table) + u64::from(self.rest.bias.heal())
    }
}
