//! Grades of probabilities of several classes.
//!
//! Invariant: as for two classes, everything but the window merges exactly.

use super::{Grade, WINDOW_DEFAULT, WINDOW_MAX, kappa, loss_parts, mean_loss, ratio};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// One graded record, as far as a window needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Recent {
    hit: bool,
    loss: u64,
}

/// Accuracy, log-loss, macro F1 and kappa of a classifier with several classes since the beginning;
/// accuracy and log-loss also over the last so many records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MulticlassGrades {
    classes: usize,
    /// How often `(truth, predicted)` was so, at `classes * truth + predicted`.
    confusion: Vec<u64>,
    loss: u64,
    window: usize,
    recent: VecDeque<Recent>,
}

impl MulticlassGrades {
    /// Grades for so many classes, with a window of [`WINDOW_DEFAULT`] records.
    pub fn new(classes: usize) -> Self {
        Self::with_window(classes, WINDOW_DEFAULT)
    }

    /// Grades with a window of so many records, at most [`WINDOW_MAX`].
    pub fn with_window(classes: usize, window: usize) -> Self {
        let classes = classes.clamp(2, crate::linear::CLASSES_MAX);
        Self {
            classes,
            confusion: vec![0; classes * classes],
            loss: 0,
            window: window.clamp(1, WINDOW_MAX),
            recent: VecDeque::new(),
        }
    }

    /// Takes in the probabilities given to the classes and the class that was true. A class beyond
    /// those known is not graded. Where the true class was given no number, the loss is the largest
    /// there is, and another class, the first, counts as predicted.
    pub fn update(&mut self, probabilities: &[f64], truth: u32) {
        let truth = truth as usize;
        let Some(given) = probabilities.get(truth) else {
            return;
        };
        let best =
            probabilities
                .iter()
                .enumerate()
                .fold((0, f64::NEG_INFINITY), |best, (class, &p)| {
                    if p > best.1 { (class, p) } else { best }
                });
        let predicted = if given.is_nan() {
            usize::from(truth == 0)
        } else {
            best.0
        };
        if let Some(count) = self.confusion.get_mut(self.classes * truth + predicted) {
            *count += 1;
        }
        let loss = loss_parts(*given);
        self.loss = self.loss.saturating_add(loss);
        while self.recent.len() >= self.window {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent {
            hit: predicted == truth,
            loss,
        });
    }

    /// Adds the grades of another part of the stream, exactly. The window stays our own.
    pub fn merge(&mut self, other: &Self) {
        for (ours, theirs) in self.confusion.iter_mut().zip(&other.confusion) {
            *ours += theirs;
        }
        self.loss = self.loss.saturating_add(other.loss);
    }

    /// How many predictions were graded.
    pub fn count(&self) -> u64 {
        self.confusion.iter().sum()
    }

    /// The share of right answers.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.sides().map(|(hits, ..)| hits).sum(), self.count())
    }

    /// The mean negative logarithm of the probability given to what was true, in nats.
    pub fn log_loss(&self) -> Option<f64> {
        mean_loss(self.loss, self.count())
    }

    /// The mean of the F1 of all classes that occurred, as truth or as prediction.
    pub fn macro_f1(&self) -> Option<f64> {
        let scores = self
            .sides()
            .filter_map(|(hits, truths, predicted)| ratio(2 * hits, truths + predicted));
        let (sum, count) = scores.fold((0.0, 0u32), |(sum, count), f1| (sum + f1, count + 1));
        (count > 0).then(|| sum / f64::from(count))
    }

    /// Cohen's kappa.
    pub fn kappa(&self) -> Option<f64> {
        let hits = self.sides().map(|(hits, ..)| hits).sum();
        kappa(
            hits,
            self.sides()
                .map(|(_, truths, predicted)| (truths, predicted)),
            self.count(),
        )
    }

    /// [`MulticlassGrades::accuracy`] over the window.
    pub fn rolling_accuracy(&self) -> Option<f64> {
        let hits = self.recent.iter().filter(|recent| recent.hit).count();
        ratio(hits as u64, self.recent.len() as u64)
    }

    /// [`MulticlassGrades::log_loss`] over the window.
    pub fn rolling_log_loss(&self) -> Option<f64> {
        let loss = self.recent.iter().map(|recent| recent.loss).sum();
        mean_loss(loss, self.recent.len() as u64)
    }

    /// For every class: hits, how often it was true, how often it was predicted.
    fn sides(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let classes = self.classes;
        let at = move |truth: usize, predicted: usize| {
            self.confusion
                .get(classes * truth + predicted)
                .copied()
                .unwrap_or(0)
        };
        (0..classes).map(move |class| {
            let truths = (0..classes).map(|predicted| at(class, predicted)).sum();
            let predicted = (0..classes).map(|truth| at(truth, class)).sum();
            (at(class, class), truths, predicted)
        })
    }
}

impl Grade<Vec<f64>, u32> for MulticlassGrades {
    fn grade(&mut self, output: &Vec<f64>, truth: &u32) {
        self.update(output, *truth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let mut grades = MulticlassGrades::with_window(3, 2);
        grades.update(&[0.7, 0.2, 0.1], 0);
        grades.update(&[0.1, 0.6, 0.3], 2);
        grades.update(&[0.2, 0.2, 0.6], 2);
        grades.update(&[0.2, 0.2, 0.6], 9);
        assert_eq!(grades.count(), 3);
        assert_eq!(grades.accuracy(), Some(2.0 / 3.0));
        assert_eq!(grades.rolling_accuracy(), Some(0.5));
        // Classes 0, 1 and 2 have an F1 of 1, 0 and 2/3; chance agrees in one of three.
        assert!((grades.macro_f1().unwrap() - 5.0 / 9.0).abs() < 1e-12);
        assert!((grades.kappa().unwrap() - 0.5).abs() < 1e-12);
        let loss = -(0.7f64.ln() + 0.3f64.ln() + 0.6f64.ln()) / 3.0;
        assert!((grades.log_loss().unwrap() - loss).abs() < 1e-6);
        let rolling = -(0.3f64.ln() + 0.6f64.ln()) / 2.0;
        assert!((grades.rolling_log_loss().unwrap() - rolling).abs() < 1e-6);

        let mut broken = MulticlassGrades::new(3);
        broken.update(&[f64::NAN; 3], 0);
        broken.update(&[f64::NAN; 3], 2);
        assert_eq!((broken.count(), broken.accuracy()), (2, Some(0.0)));
        assert!((broken.log_loss().unwrap() - 34.54).abs() < 0.01);

        let mut twice = grades.clone();
        twice.merge(&grades);
        assert_eq!((twice.count(), twice.accuracy()), (6, grades.accuracy()));
    }
}
