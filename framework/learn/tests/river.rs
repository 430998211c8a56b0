//! The dense learners against River 0.26.1: same accuracy, same log-loss, same probabilities.
//!
//! Invariant: the golden files under `tests/golden/learn` were written by River itself.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

use millstream_learn::{
    Learner,
    dense::{DenseLogisticRegression, PassiveAggressive, Scaled},
    grades::BinaryGrades,
    optim::{AdaGrad, Sgd},
};
use std::{fs, path::Path};

const TOLERANCE: f64 = 1e-6;

fn golden(name: &str) -> String {
    let folder = Path::new("../../tests/golden/learn");
    fs::read_to_string(folder.join(name)).expect("a golden file")
}

/// Progressive validation over one data set against what River found.
fn compare(
    set: &str,
    model: &str,
    learner: impl Learner<Input = [f64], Label = bool, Output = f64>,
) {
    let mut learner = Scaled::new(learner);
    let expected: serde_json::Value =
        serde_json::from_str(&golden(&format!("{set}.json"))).unwrap();
    let expected = &expected[model];
    let mut grades = BinaryGrades::new(100);
    let mut probabilities = Vec::new();
    for line in golden(&format!("{set}.csv")).lines() {
        let mut row: Vec<f64> = line.split(',').map(|cell| cell.parse().unwrap()).collect();
        let label = row.pop() == Some(1.0);
        let probability = learner.predict_then_learn(&row, &label);
        grades.update(probability, label);
        probabilities.push(probability);
    }
    let near = |ours: f64, theirs: &serde_json::Value, what: &str| {
        let theirs = theirs.as_f64().unwrap();
        assert!(
            (ours - theirs).abs() < TOLERANCE,
            "{set} {model} {what}: {ours}, River {theirs}"
        );
    };
    near(
        grades.accuracy().unwrap(),
        &expected["accuracy"],
        "accuracy",
    );
    near(
        grades.log_loss().unwrap(),
        &expected["log_loss"],
        "log-loss",
    );
    for pair in expected["probabilities"].as_array().unwrap() {
        let row = usize::try_from(pair[0].as_u64().unwrap()).unwrap();
        near(
            probabilities[row],
            &pair[1],
            &format!("probability of row {row}"),
        );
    }
}

fn compare_all(set: &str) {
    compare(
        set,
        "LR-SGD(0.05)",
        DenseLogisticRegression::new(Sgd { rate: 0.05 }),
    );
    compare(
        set,
        "LR-AdaGrad(0.1)",
        DenseLogisticRegression::new(AdaGrad { rate: 0.1 }),
    );
    compare(set, "PA-I(C=0.01)", PassiveAggressive::new(0.01));
    compare(set, "PA-I(C=1)", PassiveAggressive::new(1.0));
}

#[test]
fn phishing() {
    compare_all("phishing");
}

#[test]
fn bananas() {
    compare_all("bananas");
}

#[test]
fn shuttle() {
    compare_all("shuttle");
}
