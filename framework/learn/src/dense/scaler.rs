//! Brings every feature to mean zero and variance one, as far as the stream has shown them.
//!
//! Invariant: the variance is the population's, kept by Welford's recurrence in River's form; a
//! feature that never varied becomes zero.

use super::{present, widen};
use crate::{
    learner::Learner,
    weights::{Replicated, Schema, Table},
};
use serde::{Deserialize, Serialize};

/// What is known of one feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

/// Running mean and variance of every feature: River's `StandardScaler`.
///
/// ```
/// use millstream_learn::dense::StandardScaler;
///
/// let mut scaler = StandardScaler::default();
/// for x in [8.0, 12.0] {
///     scaler.learn(&[x]);
/// }
/// let mut out = Vec::new();
/// scaler.transform(&[12.0], &mut out);
/// assert_eq!(out, [1.0]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StandardScaler {
    features: Vec<Moments>,
}

impl StandardScaler {
    /// Makes new what is known of features and no number; of how many it was.
    fn heal(&mut self) -> u64 {
        let sound = |of: &Moments| {
            [of.count, of.mean, of.variance]
                .iter()
                .all(|n| n.is_finite())
        };
        let ruined = self.features.iter_mut().filter(|of| !sound(of));
        ruined.map(|of| *of = Moments::default()).count() as u64
    }

    /// Takes in one record.
    pub fn learn(&mut self, input: &[f64]) {
        widen(&mut self.features, input);
        for (place, value) in present(input) {
            let feature = &mut self.features[place];
            let before = feature.mean;
            feature.count += 1.0;
            feature.mean += (value - before) / feature.count;
            feature.variance +=
                ((value - before) * (value - feature.mean) - feature.variance) / feature.count;
        }
    }

    /// Replaces what `out` holds by the scaled record; what is missing stays missing.
    pub fn transform(&self, input: &[f64], out: &mut Vec<f64>) {
        out.clear();
        out.resize(input.len(), f64::NAN);
        for (place, value) in present(input) {
            let feature = self.features.get(place).copied().unwrap_or_default();
            out[place] = if feature.variance > 0.0 {
                (value - feature.mean) / feature.variance.sqrt()
            } else {
                0.0
            };
        }
    }
}

/// A learner behind a scaler: River's `StandardScaler() | learner`.
///
/// To predict scales with what the scaler knows; to learn teaches the scaler first.
pub struct Scaled<L> {
    scaler: StandardScaler,
    learner: L,
    scratch: Vec<f64>,
}

impl<L: Learner<Input = [f64]>> Scaled<L> {
    /// Puts a fresh scaler in front of a learner.
    pub fn new(learner: L) -> Self {
        Self {
            scaler: StandardScaler::default(),
            learner,
            scratch: Vec::new(),
        }
    }
}

impl<L: Learner<Input = [f64]>> Learner for Scaled<L> {
    type Input = [f64];
    type Label = L::Label;
    type Output = L::Output;

    fn predict(&self, input: &[f64]) -> L::Output {
        let mut scaled = Vec::new();
        self.scaler.transform(input, &mut scaled);
        self.learner.predict(&scaled)
    }

    fn learn(&mut self, input: &[f64], label: &L::Label) {
        self.scaler.learn(input);
        self.scaler.transform(input, &mut self.scratch);
        self.learner.learn(&self.scratch, label);
    }

    fn predict_then_learn(&mut self, input: &[f64], label: &L::Label) -> L::Output {
        self.scaler.transform(input, &mut self.scratch);
        let output = self.learner.predict(&self.scratch);
        self.learn(input, label);
        output
    }

    fn decide(&self, output: &L::Output) -> L::Label {
        self.learner.decide(output)
    }

    fn learned(&self) -> u64 {
        self.learner.learned()
    }

    fn describe(&self) -> String {
        format!("StandardScaler | {}", self.learner.describe())
    }
}

impl<L: Learner<Input = [f64]> + Replicated> Replicated for Scaled<L> {
    type Rest = (StandardScaler, L::Rest);

    fn schema(&self) -> Schema {
        vec![("learner", self.describe())]
    }

    fn learned(&self) -> u64 {
        Learner::learned(&self.learner)
    }

    fn table(&self) -> Option<&Table> {
        self.learner.table()
    }

    fn table_mut(&mut self) -> Option<&mut Table> {
        self.learner.table_mut()
    }

    fn rest(&self) -> Self::Rest {
        (self.scaler.clone(), self.learner.rest())
    }

    fn set_rest(&mut self, (scaler, rest): Self::Rest) {
        self.scaler = scaler;
        self.learner.set_rest(rest);
    }

    fn heal(&mut self) -> u64 {
        self.scaler.heal() + self.learner.heal()
    }
}
