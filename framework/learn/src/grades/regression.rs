//! Grades of predicted numbers.
//!
//! Invariant: errors that are not finite, or whose squares are not, are counted apart and spoil no
//! sum. Sums of floating-point numbers depend on their order, so these grades do not merge.

use super::Grade;
use serde::{Deserialize, Serialize};

/// Mean absolute and root mean squared error since the beginning.
///
/// ```
/// let mut grades = millstream_learn::grades::RegressionGrades::default();
/// grades.update(2.0, 5.0);
/// grades.update(1.0, 0.0);
/// assert_eq!((grades.mae(), grades.rmse()), (Some(2.0), Some(5f64.sqrt())));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RegressionGrades {
    count: u64,
    not_finite: u64,
    absolute: f64,
    squared: f64,
}

impl RegressionGrades {
    /// Takes in one prediction and what was true.
    pub fn update(&mut self, predicted: f64, truth: f64) {
        let error = predicted - truth;
        let squared = self.squared + error * error;
        if !squared.is_finite() {
            self.not_finite += 1;
            return;
        }
        self.count += 1;
        self.absolute += error.abs();
        self.squared = squared;
    }

    /// How many predictions were graded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many could not be, because either number was infinite or none, or because the sum of the
    /// squared errors would have been infinite (an error beyond about 1e154).
    pub fn not_finite(&self) -> u64 {
        self.not_finite
    }

    /// The mean absolute error.
    pub fn mae(&self) -> Option<f64> {
        self.mean(self.absolute)
    }

    /// The root of the mean squared error.
    pub fn rmse(&self) -> Option<f64> {
        self.mean(self.squared).map(f64::sqrt)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    fn mean(&self, sum: f64) -> Option<f64> {
        (self.count > 0).then(|| sum / self.count as f64)
    }
}

impl Grade<f64, f64> for RegressionGrades {
    fn grade(&mut self, output: &f64, truth: &f64) {
        self.update(*output, *truth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_is_counted_apart() {
        let mut grades = RegressionGrades::default();
        assert_eq!(grades.mae(), None);
        grades.update(f64::NAN, 1.0);
        grades.update(1.0, 1e200);
        grades.update(1.5, 1.0);
        assert_eq!(
            (grades.count(), grades.not_finite(), grades.mae()),
            (1, 2, Some(0.5))
        );
        assert_eq!(grades.rmse(), Some(0.5));
    }
}
