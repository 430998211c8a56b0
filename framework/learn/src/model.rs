//! Predict, grade, learn: what one record does to a model that runs on a stream.
//!
//! Invariant: a record is graded with the prediction made before it taught, and that prediction
//! carries how many examples the model had learned then, wherever the commits fell.

use crate::{
    features::{Features, TextFeatures, TextOptions},
    grades::{BinaryGrades, Grade},
    learner::Learner,
    linear::LogisticRegression,
    optim::AdaGrad,
    weights::{Replicated, Schema, Table},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a record brings: features still raw, and the truth if it is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example<X, Y> {
    /// What is to be judged.
    pub input: X,
    /// What is true of it; without it the record is only predicted.
    pub label: Option<Y>,
}

impl<X, Y> Example<X, Y> {
    /// Something to learn from.
    pub fn labelled(input: X, label: Y) -> Self {
        Self {
            input,
            label: Some(label),
        }
    }

    /// Something to be judged.
    pub fn unlabelled(input: X) -> Self {
        Self { input, label: None }
    }
}

/// What a model said of a record before it learned from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction<P, Y> {
    /// Which model.
    pub model: Arc<str>,
    /// How many examples it had learned: the same model at the same version says the same.
    pub version: u64,
    /// The probability of `true`, those of all classes, or the number expected.
    pub output: P,
    /// What the output comes down to.
    pub predicted: Y,
    /// What was true, where the record said so.
    pub truth: Option<Y>,
    /// Whether the two are the same, where the truth is known.
    pub correct: Option<bool>,
}

/// A learner on a stream, with its features in front and its grades behind.
///
/// ```
/// use millstream_learn::{Example, TextClassifier};
///
/// let mut model = TextClassifier::new("sentiment", Default::default(), Default::default());
/// for (text, label) in [("so good", true), ("so bad", false), ("good fun", true)] {
///     model.process(&Example::labelled(text, label));
/// }
/// let said = model.process(&Example::unlabelled("good"));
/// assert_eq!((said.version, said.predicted, said.truth), (3, true, None));
/// assert_eq!(model.grades().count(), 3);
/// ```
pub struct Prequential<F, L, G> {
    id: Arc<str>,
    features: F,
    learner: L,
    grades: G,
}

/// The default for texts: tweet-aware words and pairs, hashed, under logistic regression.
pub type TextClassifier<O = AdaGrad> =
    Prequential<TextFeatures, LogisticRegression<O>, BinaryGrades>;

impl TextClassifier {
    /// A classifier of texts with AdaGrad at its default rate and as many weights as the options
    /// have places.
    pub fn new(id: impl Into<Arc<str>>, options: TextOptions, grades: BinaryGrades) -> Self {
        let features = TextFeatures::new(options);
        let bits = features.options().bits;
        let learner = LogisticRegression::new(bits, AdaGrad::default());
        Self::from_parts(id, features, learner, grades)
    }
}

impl<F, L, G> Prequential<F, L, G>
where
    F: Features,
    L: Learner<Input = F::Vector>,
    G: Grade<L::Output, L::Label>,
{
    /// Puts a model together; the id names it in its predictions.
    pub fn from_parts(id: impl Into<Arc<str>>, features: F, learner: L, grades: G) -> Self {
        Self {
            id: id.into(),
            features,
            learner,
            grades,
        }
    }

    /// Predicts, and, if the truth is known, grades the prediction and then learns.
    pub fn process<X>(&mut self, example: &Example<X, L::Label>) -> Prediction<L::Output, L::Label>
    where
        X: AsRef<F::Raw>,
    {
        let version = self.learner.learned();
        let input = self.features.features(example.input.as_ref());
        let output = match &example.label {
            None => self.learner.predict(input),
            Some(truth) => {
                let output = self.learner.predict_then_learn(input, truth);
                self.grades.grade(&output, truth);
                output
            }
        };
        let predicted = self.learner.decide(&output);
        Prediction {
            model: Arc::clone(&self.id),
            version,
            correct: example.label.as_ref().map(|truth| *truth == predicted),
            output,
            predicted,
            truth: example.label.clone(),
        }
    }

    /// Predicts and teaches nothing, whatever the record says.
    pub fn predict(&mut self, input: &F::Raw) -> L::Output {
        self.learner.predict(self.features.features(input))
    }

    /// Takes in a truth that came late: grades what was said then, learns from what was seen then.
    pub fn learn_late(&mut self, input: &F::Vector, said: &L::Output, truth: &L::Label) {
        self.grades.grade(said, truth);
        self.learner.learn(input, truth);
    }

    /// The features of a record, to be kept until its truth is known.
    pub fn features<'a>(&'a mut self, input: &'a F::Raw) -> &'a F::Vector {
        self.features.features(input)
    }

    /// The model's name.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// How many examples the model has learned.
    pub fn version(&self) -> u64 {
        self.learner.learned()
    }

    /// How good it has been.
    pub fn grades(&self) -> &G {
        &self.grades
    }

    /// The learner itself.
    pub fn learner(&self) -> &L {
        &self.learner
    }
}

/// The grades are part of the state, so that a restored model knows how good it is; their window
/// is the one they were saved with.
impl<F, L, G> Replicated for Prequential<F, L, G>
where
    F: Features,
    L: Learner<Input = F::Vector> + Replicated,
    G: Grade<L::Output, L::Label>,
{
    type Rest = (L::Rest, G);

    fn schema(&self) -> Schema {
        let mut schema = vec![("features", self.features.describe())];
        schema.extend(self.learner.schema());
        schema
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
        (self.learner.rest(), self.grades.clone())
    }

    fn set_rest(&mut self, (rest, grades): Self::Rest) {
        self.learner.set_rest(rest);
        self.grades = grades;
    }

    /// The learner's. Grades are what they are: they say how good it has been.
    fn heal(&mut self) -> u64 {
        self.learner.heal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dense::{PassiveAggressive, Scaled},
        features::Numbers,
    };

    fn small() -> TextClassifier {
        let options = TextOptions {
            bits: 12,
            ..TextOptions::default()
        };
        TextClassifier::new("m", options, BinaryGrades::new(10))
    }

    #[test]
    fn a_record_is_judged_before_it_teaches() {
        let mut model = small();
        let first = model.process(&Example::labelled("good".to_owned(), true));
        assert_eq!(
            (first.version, first.output, first.correct),
            (0, 0.5, Some(false))
        );
        let second = model.process(&Example::labelled("good", true));
        assert_eq!((second.version, second.correct), (1, Some(true)));
        assert!(second.output > 0.5);
        assert_eq!(model.grades().accuracy(), Some(0.5));
        let json = serde_json::to_value(&second).unwrap();
        assert_eq!((&json["model"], &json["version"]), (&"m".into(), &1.into()));
    }

    #[test]
    fn a_late_truth_grades_what_was_said_then() {
        let mut model = small();
        let kept = model.features("good").clone();
        let said = model.predict("good");
        model.process(&Example::labelled("good", true));
        model.learn_late(&kept, &said, &true);
        assert_eq!(model.grades().accuracy(), Some(0.0));
        assert_eq!(model.version(), 2);
    }

    #[test]
    fn numbers_go_the_same_way() {
        let learner = Scaled::new(PassiveAggressive::new(1.0));
        let mut model = Prequential::from_parts("pa", Numbers, learner, BinaryGrades::default());
        for step in 0..40 {
            let x = f64::from(step % 8);
            model.process(&Example::labelled([x, f64::NAN], x > 3.0));
        }
        assert!(model.predict(&[7.0, 0.0]) > 0.5 && model.predict(&[0.0]) < 0.5);
    }
}
