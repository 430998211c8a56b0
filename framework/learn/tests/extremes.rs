//! Numbers at the ends of what a float can hold, and a model that goes on learning after them.
//!
//! Invariant: no record, whatever it says, makes a model that never learns again or that says what
//! is no number.

use millstream_learn::{
    Learner,
    dense::{DenseLogisticRegression, PassiveAggressive, Scaled},
    features::{SparseVector, VALUE_MAX},
    linear::{LogisticRegression, SoftmaxRegression},
    optim::{AdaGrad, FtrlProximal, Optimizer, Sgd},
};

/// Values that have to be left out, and those at the ends of what is looked at.
const EXTREMES: [f64; 12] = [
    1e200,
    -1e200,
    f64::MAX,
    2e19,
    f64::INFINITY,
    f64::NAN,
    VALUE_MAX,
    -VALUE_MAX,
    1e-162,
    f64::MIN_POSITIVE,
    -1e-30,
    0.0,
];

/// Learns from one bad record and ten good ones, whose label is the sign of their only feature.
fn learns_after(bad: &[f64], mut learner: impl Learner<Input = [f64], Label = bool, Output = f64>) {
    let name = learner.describe();
    learner.learn(bad, &true);
    for _ in 0..5 {
        learner.learn(&[1.0], &true);
        learner.learn(&[-1.0], &false);
    }
    let (yes, no) = (learner.predict(&[1.0]), learner.predict(&[-1.0]));
    assert!(yes > 0.5 && no < 0.5, "{name} after {bad:?}: {yes}, {no}");
}

/// The same of a sparse vector with one feature.
fn sparse(value: f64) -> SparseVector {
    let mut vector = SparseVector::new();
    #[expect(clippy::cast_possible_truncation, reason = "the vector's precision")]
    vector.push(7, value as f32);
    vector
}

fn sparse_learns_after(bad: f64, optimizer: impl Optimizer) {
    let name = optimizer.describe();
    let mut learner = LogisticRegression::new(4, optimizer.clone());
    let mut several = SoftmaxRegression::new(4, 2, optimizer);
    learner.learn(&sparse(bad), &true);
    several.learn(&sparse(bad), &1);
    for (value, label) in [(1.0, true), (-1.0, false)].into_iter().cycle().take(10) {
        learner.learn(&sparse(value), &label);
        several.learn(&sparse(value), &u32::from(label));
    }
    let (yes, no) = (
        learner.predict(&sparse(1.0)),
        learner.predict(&sparse(-1.0)),
    );
    assert!(yes > 0.5 && no < 0.5, "{name} after {bad}: {yes}, {no}");
    let said = [1.0, -1.0].map(|value| several.predict(&sparse(value))[1]);
    assert!(
        said[0] > 0.5 && said[1] < 0.5,
        "{name} after {bad}: {said:?}"
    );
}

#[test]
fn one_large_number_ruins_no_learner() {
    for bad in [1e200, -1e200, f64::MAX, 1e25, f64::INFINITY, f64::NAN] {
        let bad = &[bad];
        learns_after(bad, DenseLogisticRegression::new(FtrlProximal::default()));
        learns_after(bad, DenseLogisticRegression::new(AdaGrad::default()));
        learns_after(bad, DenseLogisticRegression::new(Sgd { rate: 0.05 }));
        learns_after(bad, PassiveAggressive::new(1.0));
        let scaled = Scaled::new(DenseLogisticRegression::new(AdaGrad::default()));
        learns_after(bad, scaled);
        learns_after(bad, Scaled::new(PassiveAggressive::new(1.0)));
        sparse_learns_after(bad[0], AdaGrad::default());
        sparse_learns_after(bad[0], FtrlProximal::default());
        sparse_learns_after(bad[0], Sgd { rate: 0.05 });
    }
}

/// Whatever comes in whatever order, a probability is said.
fn stays_finite(mut learner: impl Learner<Input = [f64], Label = bool, Output = f64>) {
    for step in 0..2_000_usize {
        let value = EXTREMES[step * 7 % EXTREMES.len()];
        let label = step % 5 < 2;
        let said = learner.predict_then_learn(&[value, 1.0], &label);
        let sound = (0.0..=1.0).contains(&said);
        assert!(sound, "{} at {step}: {said}", learner.describe());
    }
}

#[test]
fn no_values_and_no_settings_make_a_prediction_that_is_no_number() {
    let bare = FtrlProximal {
        beta: 0.0,
        ..FtrlProximal::default()
    };
    stays_finite(DenseLogisticRegression::new(bare));
    stays_finite(DenseLogisticRegression::new(FtrlProximal::default()));
    stays_finite(DenseLogisticRegression::new(AdaGrad::default()));
    stays_finite(DenseLogisticRegression::new(Sgd { rate: 1e300 }));
    stays_finite(PassiveAggressive::new(f64::INFINITY));
    stays_finite(Scaled::new(DenseLogisticRegression::new(bare)));
    stays_finite(Scaled::new(PassiveAggressive::new(1.0)));

    let mut two = LogisticRegression::new(4, bare);
    let mut three = SoftmaxRegression::new(4, 3, Sgd { rate: 1e30 });
    for (step, value) in (0..2_000).zip(EXTREMES.into_iter().cycle()) {
        let said = two.predict_then_learn(&sparse(value), &(step % 5 < 2));
        assert!((0.0..=1.0).contains(&said), "{value}: {said}");
        let said = three.predict_then_learn(&sparse(value), &(step % 3));
        assert!((said.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{said:?}");
    }
}
