//! How good a model is, as state: graded per record, before the record teaches.
//!
//! Invariant: counts and losses are whole numbers, so that grades of parts of a stream merge to
//! exactly the grades of the whole, whatever the order, and a window can forget without drifting.

mod auc;
mod binary;
mod multiclass;
mod regression;

pub use auc::RankHistogram;
pub use binary::BinaryGrades;
pub use multiclass::MulticlassGrades;
pub use regression::RegressionGrades;

use crate::math::ln;
use serde::{Serialize, de::DeserializeOwned};

/// Probabilities are kept this far from zero and one when a loss is taken, as River does.
const PROBABILITY_MIN: f64 = 1e-15;
/// A loss is counted in these parts of a nat: 2^24 of them, an error below 1e-7 per record.
const LOSS_SCALE: f64 = 16_777_216.0;
/// A window never holds more than this many records.
pub const WINDOW_MAX: usize = 10_000;
/// A window that says what is going on now, without being all noise.
pub const WINDOW_DEFAULT: usize = 1_000;

/// Grades of some kind of output against some kind of label.
pub trait Grade<Output, Label>: Clone + Serialize + DeserializeOwned + 'static {
    /// Takes in one prediction and what was true.
    fn grade(&mut self, output: &Output, truth: &Label);
}

/// The negative logarithm of the probability given to what was true, in whole parts. What is no
/// number says nothing of the truth, and costs as much as having ruled it out.
fn loss_parts(probability: f64) -> u64 {
    let clamped = if probability.is_nan() {
        PROBABILITY_MIN
    } else {
        probability.clamp(PROBABILITY_MIN, 1.0 - PROBABILITY_MIN)
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a loss is between 0 and 34.6 nats"
    )]
    {
        (-ln(clamped) * LOSS_SCALE).round() as u64
    }
}

/// The mean of so many losses in nats.
fn mean_loss(parts: u64, count: u64) -> Option<f64> {
    ratio(parts, count).map(|mean| mean / LOSS_SCALE)
}

/// A quotient of counts, if there is anything to divide by.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Cohen's kappa: the accuracy beyond what the labels' frequencies alone would give.
fn kappa(
    hits: u64,
    by_truth_and_prediction: impl Iterator<Item = (u64, u64)>,
    count: u64,
) -> Option<f64> {
    let chance = by_truth_and_prediction
        .map(|(truth, predicted)| Some(ratio(truth, count)? * ratio(predicted, count)?))
        .sum::<Option<f64>>()?;
    let accuracy = ratio(hits, count)?;
    (chance < 1.0).then(|| (accuracy - chance) / (1.0 - chance))
}
