//! The sparse learners against the formulas, written out once more in `f64` over a map.
//!
//! Invariant: hashing aside, a table of `f32` rows says what the textbook says, to four digits.

use millstream_learn::{
    Example, Learner, Prequential, TextClassifier,
    features::{SparseVector, TextFeatures, TextOptions},
    grades::{BinaryGrades, MulticlassGrades},
    linear::{LogisticRegression, SoftmaxRegression},
    optim::{AdaGrad, FtrlProximal, Sgd},
};
use std::collections::BTreeMap;

const ROWS: u32 = 1 << 10;

/// Pseudo-random numbers that are the same in every run.
struct Stream(u64);

impl Stream {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % below
    }

    /// A vector of a few features and the class that most of them speak for.
    fn example(&mut self, classes: u64) -> (SparseVector, u32) {
        let class = self.next(classes);
        let mut features = BTreeMap::new();
        for _ in 0..6 {
            let spoken_for = if self.next(4) == 0 {
                self.next(classes)
            } else {
                class
            };
            let index = spoken_for * 40 + self.next(40);
            features.insert(u32::try_from(index).unwrap_or(0), 0.4);
        }
        let mut vector = SparseVector::new();
        features
            .into_iter()
            .for_each(|(index, value)| vector.push(index, value));
        (vector, u32::try_from(class).unwrap_or(0))
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Logistic regression with AdaGrad at rate 1, as in the papers.
#[derive(Default)]
struct Textbook {
    weights: BTreeMap<u32, (f64, f64)>,
    bias: f64,
    squares: f64,
}

impl Textbook {
    fn predict(&self, x: &SparseVector) -> f64 {
        let weight = |index| self.weights.get(&index).map_or(0.0, |(weight, _)| *weight);
        sigmoid(self.bias + x.iter().map(|(i, v)| weight(i) * f64::from(v)).sum::<f64>())
    }

    fn learn(&mut self, x: &SparseVector, label: bool) {
        let error = self.predict(x) - f64::from(u8::from(label));
        for (index, value) in x.iter() {
            let (weight, squares) = self.weights.entry(index).or_default();
            let gradient = error * f64::from(value);
            *squares += gradient * gradient;
            *weight -= gradient / (*squares + 1e-8).sqrt();
        }
        self.squares += error * error;
        self.bias -= 0.5 * error / (1.0 + self.squares).sqrt();
    }
}

#[test]
fn logistic_regression_is_the_textbooks() {
    let mut stream = Stream(1);
    let mut ours = LogisticRegression::new(10, AdaGrad::default());
    let mut textbook = Textbook::default();
    for _ in 0..2_000 {
        let (x, class) = stream.example(2);
        let (ours, theirs) = (
            ours.predict_then_learn(&x, &(class == 1)),
            textbook.predict(&x),
        );
        assert!((ours - theirs).abs() < 1e-4, "{ours} {theirs}");
        textbook.learn(&x, class == 1);
    }
}

/// To predict and then learn is the same whether it is asked for in one step or in two.
#[test]
fn one_step_is_two() {
    let mut stream = Stream(2);
    let (mut one, mut two) = (
        SoftmaxRegression::new(10, 3, Sgd { rate: 0.3 }),
        SoftmaxRegression::new(10, 3, Sgd { rate: 0.3 }),
    );
    for _ in 0..200 {
        let (x, class) = stream.example(3);
        let said = two.predict(&x);
        two.learn(&x, &class);
        assert_eq!(one.predict_then_learn(&x, &class), said);
        assert!((said.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
    assert_eq!((one.learned(), two.learned()), (200, 200));
}

/// All optimisers tell two classes apart on which the features agree three times in four.
#[test]
fn every_optimizer_learns() {
    fn accuracy(
        mut learner: impl Learner<Input = SparseVector, Label = bool, Output = f64>,
    ) -> f64 {
        let (mut stream, mut grades) = (Stream(3), BinaryGrades::new(500));
        for _ in 0..3_000 {
            let (x, class) = stream.example(2);
            grades.update(learner.predict_then_learn(&x, &(class == 1)), class == 1);
        }
        grades.rolling_accuracy().unwrap_or(0.0)
    }
    let results = [
        accuracy(LogisticRegression::new(10, AdaGrad::default())),
        accuracy(LogisticRegression::new(10, FtrlProximal::default())),
        accuracy(LogisticRegression::new(10, Sgd { rate: 1.0 })),
    ];
    assert!(
        results.iter().all(|accuracy| *accuracy > 0.93),
        "{results:?}"
    );
}

#[test]
fn softmax_tells_several_classes_apart() {
    let (mut stream, mut grades) = (Stream(4), MulticlassGrades::with_window(5, 500));
    let mut model = SoftmaxRegression::new(10, 5, AdaGrad { rate: 0.5 });
    for _ in 0..4_000 {
        let (x, class) = stream.example(5);
        grades.update(&model.predict_then_learn(&x, &class), class);
    }
    assert!(
        grades.rolling_accuracy() > Some(0.9),
        "{:?}",
        grades.rolling_accuracy()
    );
    assert!(grades.macro_f1() > Some(0.85) && grades.kappa() > Some(0.8));
    // A class that the model does not have, and a feature that its table does not.
    let mut x = SparseVector::new();
    x.push(ROWS + 3, 1.0);
    let before = model.learned();
    model.learn(&x, &5);
    assert_eq!((model.learned(), model.predict(&x).len()), (before, 5));
}

/// What a model says depends on its examples alone: the bits of one run, pinned.
#[test]
fn a_stream_of_texts_gives_pinned_bits() {
    const WORDS: [&str; 8] = ["good", "bad", "not", "film", "plot", "dull", "joy", "!"];
    let options = TextOptions {
        bits: 14,
        ..TextOptions::default()
    };
    let run = || {
        let mut model = TextClassifier::new("m", options, BinaryGrades::new(50));
        let mut stream = Stream(5);
        (0..500).fold(0u64, |bits, _| {
            let words: Vec<_> = (0..7)
                .map(|_| WORDS[usize::try_from(stream.next(8)).unwrap_or(0)])
                .collect();
            let label = words.contains(&"good") && !words.contains(&"not");
            let said = model.process(&Example::labelled(words.join(" "), label));
            bits.rotate_left(5) ^ said.output.to_bits()
        })
    };
    assert_eq!(run(), run());
    assert_eq!(run(), 5_384_398_063_667_104_237);
}

/// Other learners and grades go behind the same features.
#[test]
fn texts_in_three_classes() {
    let features = TextFeatures::default();
    let learner = SoftmaxRegression::with_classes(3);
    let mut model = Prequential::from_parts("three", features, learner, MulticlassGrades::new(3));
    for step in 0..60 {
        let (text, class) = [("so good", 2), ("so so", 1), ("so bad", 0)][step % 3];
        model.process(&Example::labelled(text, class));
    }
    let said = model.process(&Example::unlabelled("good"));
    assert_eq!(
        (said.predicted, said.version, said.output.len()),
        (2, 60, 3)
    );
    assert!(model.grades().rolling_accuracy() > Some(0.8));
}
