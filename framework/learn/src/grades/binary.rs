//! Grades of probabilities of `true`.
//!
//! Invariant: the window holds the last records and nothing derived from them, so that it cannot
//! drift away from what it means.

use super::{
    Grade, RankHistogram, WINDOW_DEFAULT, WINDOW_MAX, auc::exact_auc, kappa, loss_parts, mean_loss,
    ratio,
};
use crate::math::{ln, sigmoid};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The probability that separates the two answers.
const THRESHOLD: f64 = 0.5;

/// Accuracy, log-loss, AUC, F1 and kappa of a binary classifier, since the beginning and over the
/// last so many records.
///
/// ```
/// use millstream_learn::grades::BinaryGrades;
///
/// let mut grades = BinaryGrades::new(1_000);
/// for (probability, truth) in [(0.9, true), (0.2, false), (0.6, false)] {
///     grades.update(probability, truth);
/// }
/// assert_eq!(grades.accuracy(), Some(2.0 / 3.0));
/// assert_eq!(grades.rolling_auc(), Some(1.0));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BinaryGrades {
    /// How often `(truth, predicted)` was so, at `2 * truth + predicted`.
    confusion: [u64; 4],
    loss: u64,
    ranks: RankHistogram,
    window: usize,
    /// Logit of the probability given, and what was true; the logit keeps its digits at both ends.
    recent: VecDeque<(f32, bool)>,
}

impl Default for BinaryGrades {
    fn default() -> Self {
        Self::new(WINDOW_DEFAULT)
    }
}

impl BinaryGrades {
    /// Grades with a window of so many records, at most [`WINDOW_MAX`].
    pub fn new(window: usize) -> Self {
        Self {
            confusion: [0; 4],
            loss: 0,
            ranks: RankHistogram::default(),
            window: window.clamp(1, WINDOW_MAX),
            recent: VecDeque::new(),
        }
    }

    /// Takes in one prediction and what was true. One that is no number counts as one that was sure
    /// of the opposite, so that a model that has broken does not look like one that is right.
    pub fn update(&mut self, probability: f64, truth: bool) {
        let probability = if probability.is_nan() {
            f64::from(u8::from(!truth))
        } else {
            probability.clamp(0.0, 1.0)
        };
        let predicted = probability > THRESHOLD;
        self.confusion[2 * usize::from(truth) + usize::from(predicted)] += 1;
        let given = if truth {
            probability
        } else {
            1.0 - probability
        };
        self.loss = self.loss.saturating_add(loss_parts(given));
        // The logarithms of zero and infinity end up in the outermost bins.
        let logit = ln(probability) - ln(1.0 - probability);
        self.ranks.update(logit, truth);
        while self.recent.len() >= self.window {
            self.recent.pop_front();
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "seven digits are enough for a window"
        )]
        self.recent.push_back((logit as f32, truth));
    }

    /// Adds the grades of another part of the stream, exactly. The window stays our own.
    pub fn merge(&mut self, other: &Self) {
        for (ours, theirs) in self.confusion.iter_mut().zip(&other.confusion) {
            *ours += theirs;
        }
        self.loss = self.loss.saturating_add(other.loss);
        self.ranks.merge(&other.ranks);
    }

    /// How many predictions were graded.
    pub fn count(&self) -> u64 {
        self.confusion.iter().sum()
    }

    /// How many records the window holds when it is full.
    pub fn window(&self) -> usize {
        self.window
    }

    /// The share of right answers.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.confusion[0] + self.confusion[3], self.count())
    }

    /// The mean negative logarithm of the probability given to what was true, in nats.
    pub fn log_loss(&self) -> Option<f64> {
        mean_loss(self.loss, self.count())
    }

    /// The area under the ROC curve, to a thousandth; `None` until both labels have occurred.
    pub fn auc(&self) -> Option<f64> {
        self.ranks.auc()
    }

    /// The harmonic mean of precision and recall of `true`.
    pub fn f1(&self) -> Option<f64> {
        let [_, false_positives, false_negatives, hits] = self.confusion;
        ratio(2 * hits, 2 * hits + false_positives + false_negatives)
    }

    /// Cohen's kappa.
    pub fn kappa(&self) -> Option<f64> {
        let [tn, fp, r#fn, tp] = self.confusion;
        let sides = [(tn + fp, tn + r#fn), (tp + r#fn, tp + fp)];
        kappa(tn + tp, sides.into_iter(), self.count())
    }

    /// [`BinaryGrades::accuracy`] over the window.
    pub fn rolling_accuracy(&self) -> Option<f64> {
        let hits = self
            .recent
            .iter()
            .filter(|(logit, truth)| (*logit > 0.0) == *truth)
            .count();
        ratio(hits as u64, self.recent.len() as u64)
    }

    /// [`BinaryGrades::log_loss`] over the window; costs one exponential per record in it.
    pub fn rolling_log_loss(&self) -> Option<f64> {
        let losses = self.recent.iter().map(|(logit, truth)| {
            let towards_truth = if *truth { *logit } else { -*logit };
            loss_parts(sigmoid(towards_truth.into()))
        });
        mean_loss(losses.sum(), self.recent.len() as u64)
    }

    /// The area under the ROC curve over the window, exact; costs a sort.
    pub fn rolling_auc(&self) -> Option<f64> {
        let scored = self
            .recent
            .iter()
            .map(|(logit, truth)| (f64::from(*logit), *truth));
        exact_auc(&mut scored.collect::<Vec<_>>())
    }
}

impl Grade<f64, bool> for BinaryGrades {
    fn grade(&mut self, output: &f64, truth: &bool) {
        self.update(*output, *truth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn graded(examples: &[(f64, bool)], window: usize) -> BinaryGrades {
        let mut grades = BinaryGrades::new(window);
        for (probability, truth) in examples {
            grades.update(*probability, *truth);
        }
        grades
    }

    proptest! {
        #[test]
        fn parts_merge_to_the_whole_and_the_window_is_its_own_stream(
            examples in prop::collection::vec((0.0..=1.0f64, any::<bool>()), 1..120),
            cut in 0usize..120,
            window in 1usize..50,
        ) {
            let whole = graded(&examples, window);
            let (first, second) = examples.split_at(cut.min(examples.len()));
            let mut merged = graded(second, window);
            merged.merge(&graded(first, window));
            prop_assert_eq!(&merged.confusion, &whole.confusion);
            prop_assert_eq!((merged.loss, &merged.ranks), (whole.loss, &whole.ranks));

            let last = graded(&examples[examples.len().saturating_sub(window)..], window);
            prop_assert_eq!(whole.rolling_accuracy(), last.accuracy());
            let near = |a: Option<f64>, b: Option<f64>| (a.unwrap() - b.unwrap()).abs() < 1e-5;
            prop_assert!(near(whole.rolling_log_loss(), last.log_loss()));
            let mut scored = examples[examples.len().saturating_sub(window)..].to_vec();
            match exact_auc(&mut scored) {
                None => prop_assert_eq!(whole.rolling_auc(), None),
                // f32 may tie what f64 still tells apart.
                exact => prop_assert!(near(whole.rolling_auc(), exact)),
            }
        }
    }

    #[test]
    fn known_values() {
        let grades = graded(&[(0.9, true), (0.9, false), (0.1, false), (0.8, true)], 10);
        assert_eq!(grades.accuracy(), Some(0.75));
        assert_eq!(grades.f1(), Some(0.8));
        assert_eq!(grades.kappa(), Some(0.5));
        let loss = (-2.0 * 0.9f64.ln() - 0.1f64.ln() - 0.8f64.ln()) / 4.0;
        assert!((grades.log_loss().unwrap() - loss).abs() < 1e-6);
        assert_eq!((grades.count(), grades.window()), (4, 10));
    }

    #[test]
    fn nothing_graded_and_certain_errors_are_sound() {
        let grades = BinaryGrades::default();
        assert_eq!(
            (grades.accuracy(), grades.log_loss(), grades.kappa()),
            (None, None, None)
        );
        assert_eq!(
            (grades.rolling_auc(), grades.rolling_log_loss()),
            (None, None)
        );
        let wrong = graded(&[(1.0, false), (0.0, true)], 10);
        assert!((wrong.log_loss().unwrap() - 34.54).abs() < 0.01);
        assert!((wrong.rolling_log_loss().unwrap() - 34.54).abs() < 0.01);
        let broken = graded(&[(f64::NAN, true), (f64::NAN, false)], 10);
        assert_eq!(broken, graded(&[(0.0, true), (1.0, false)], 10));
        assert_eq!((broken.accuracy(), broken.auc()), (Some(0.0), Some(0.0)));
        assert!((broken.rolling_log_loss().unwrap() - 34.54).abs() < 0.01);
    }

    #[test]
    fn grades_survive_serde() {
        let grades = graded(&[(0.3, true), (0.7, true)], 2);
        let json = serde_json::to_string(&grades).unwrap();
        assert_eq!(serde_json::from_str::<BinaryGrades>(&json).unwrap(), grades);
    }
}
