//! Softmax regression on sparse features: one of several classes.
//!
//! Invariant: every class's weight of a feature lies in the feature's row; the probabilities of one
//! prediction sum to one.

use super::{bias::Bias, heal, place, slot, step};
use crate::{
    features::{SparseVector, text},
    learner::Learner,
    math::softmax,
    optim::{AdaGrad, Optimizer},
    weights::{Replicated, Schema, Table},
};
use serde::{Deserialize, Serialize};

/// The largest number of classes; each costs eight bytes per weight.
pub const CLASSES_MAX: usize = 64;
/// The rate that suits vectors of length one and a few classes.
const RATE_DEFAULT: f64 = 0.5;

/// Learns the probability of each of a fixed number of classes, numbered from zero.
///
/// ```
/// use millstream_learn::{Learner, features::SparseVector, linear::SoftmaxRegression};
///
/// let mut model = SoftmaxRegression::with_classes(3);
/// for class in [0, 1, 2, 0, 1, 2] {
///     let mut x = SparseVector::new();
///     x.push(class, 1.0);
///     model.learn(&x, &class);
/// }
/// let mut x = SparseVector::new();
/// x.push(2, 1.0);
/// assert_eq!(model.decide(&model.predict(&x)), 2);
/// ```
pub struct SoftmaxRegression<O = AdaGrad> {
    optimizer: O,
    table: Table,
    rest: Rest,
    /// The probabilities of the example being learned; kept to allocate nothing.
    scratch: Vec<f64>,
}

/// What the model knows beside its table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rest {
    learned: u64,
    biases: Vec<Bias>,
}

impl SoftmaxRegression {
    /// AdaGrad with a rate of 0.5 on 2^20 features: the default for text.
    pub fn with_classes(classes: usize) -> Self {
        Self::new(text::BITS_DEFAULT, classes, AdaGrad { rate: RATE_DEFAULT })
    }
}

impl<O: Optimizer> SoftmaxRegression<O> {
    /// A model of 2 to [`CLASSES_MAX`] classes with two to the power of `bits` rows.
    pub fn new(bits: u32, classes: usize, optimizer: O) -> Self {
        let classes = classes.clamp(2, CLASSES_MAX);
        Self {
            optimizer,
            table: Table::new(1 << bits.clamp(1, text::BITS_MAX), 2 * classes),
            rest: Rest {
                learned: 0,
                biases: vec![Bias::default(); classes],
            },
            scratch: Vec::new(),
        }
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.rest.biases.len()
    }

    fn probabilities(&self, input: &SparseVector, out: &mut Vec<f64>) {
        out.clear();
        out.extend(self.rest.biases.iter().map(|bias| bias.value));
        for (index, value) in input.iter() {
            let row = self.table.row(place(&self.table, index));
            for (class, score) in out.iter_mut().enumerate() {
                *score += self.optimizer.weight(slot(row, class)) * f64::from(value);
            }
        }
        softmax(out);
    }

    fn learn_from(&mut self, input: &SparseVector, errors: &[f64]) {
        for (index, value) in input.iter() {
            let row = self.table.row_mut(place(&self.table, index));
            for (class, error) in errors.iter().enumerate() {
                step(&self.optimizer, row, class, error * f64::from(value));
            }
        }
        for (bias, error) in self.rest.biases.iter_mut().zip(errors) {
            bias.step(self.optimizer.rate(), *error);
        }
        self.rest.learned += 1;
    }
}

impl<O: Optimizer> Learner for SoftmaxRegression<O> {
    type Input = SparseVector;
    type Label = u32;
    type Output = Vec<f64>;

    fn predict(&self, input: &SparseVector) -> Vec<f64> {
        let mut out = Vec::with_capacity(self.classes());
        self.probabilities(input, &mut out);
        out
    }

    fn learn(&mut self, input: &SparseVector, label: &u32) {
        let mut errors = std::mem::take(&mut self.scratch);
        self.probabilities(input, &mut errors);
        // A class that the model does not have teaches it nothing.
        if let Some(error) = errors.get_mut(*label as usize) {
            *error -= 1.0;
            self.learn_from(input, &errors);
        }
        self.scratch = errors;
    }

    fn predict_then_learn(&mut self, input: &SparseVector, label: &u32) -> Vec<f64> {
        let probabilities = self.predict(input);
        let mut errors = std::mem::take(&mut self.scratch);
        errors.clone_from(&probabilities);
        if let Some(error) = errors.get_mut(*label as usize) {
            *error -= 1.0;
            self.learn_from(input, &errors);
        }
        self.scratch = errors;
        probabilities
    }

    /// The most probable class; of several, the first.
    fn decide(&self, output: &Vec<f64>) -> u32 {
        let best = (0u32..)
            .zip(output)
            .fold((0, f64::NEG_INFINITY), |best, (class, &p)| {
                if p > best.1 { (class, p) } else { best }
            });
        best.0
    }

    fn learned(&self) -> u64 {
        self.rest.learned
    }

    fn describe(&self) -> String {
        let (classes, optimizer) = (self.classes(), self.optimizer.describe());
        format!("SoftmaxRegression(classes={classes}, {optimizer})")
    }
}

impl<O: Optimizer> Replicated for SoftmaxRegression<O> {
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
        let biases = self.rest.biases.iter_mut();
        heal(&mut self.table) + biases.map(|bias| u64::from(bias.heal())).sum::<u64>()
    }
}
