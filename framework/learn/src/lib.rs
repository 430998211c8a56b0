//! Online learning as state: features, learners, grades, and weights that come back bit for bit.
//!
//! A model on a stream predicts every record, is graded on those whose truth is known, and then
//! learns from them: [`Prequential::process`]. In a [`WeightStore`](weights::WeightStore) it is
//! state like any other: committed with the records it has seen, taken back when a commit is
//! refused, restored after a crash.
//!
//! | module | holds |
//! |---|---|
//! | [`features`] | text as hashed words and pairs, sparse vectors, plain numbers |
//! | [`linear`] | logistic and softmax regression on sparse, hashed features, in `f32` |
//! | [`dense`] | scaler, logistic regression, passive-aggressive on numbers, in `f64` as River's |
//! | [`optim`] | SGD, AdaGrad, FTRL-proximal |
//! | [`grades`] | accuracy, log-loss, AUC, F1, kappa, MAE, RMSE as mergeable, serialisable state |
//! | [`LearnExt`] | the operator `learn(name, model)` on a stream |
//! | [`model`] | predict, grade, learn in one step; what a prediction carries |
//! | [`weights`] | a model's changelog: sparse deltas, rolling snapshot, manifest, fingerprint |
//!
//! Invariant: what a model becomes depends on its examples and their order alone: no clock, no
//! unseeded randomness, one implementation of `exp` and `ln` ([`math`]) on every machine.

pub mod dense;
mod dsl;
pub mod features;
pub mod grades;
pub mod learner;
pub mod linear;
pub mod math;
pub mod model;
pub mod optim;
pub mod weights;

pub use dsl::{LearnExt, Scored};
pub use learner::Learner;
pub use model::{Example, Prediction, Prequential, TextClassifier};
