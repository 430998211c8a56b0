//! Learners on a handful of numbers per record, in `f64`, with River's semantics.
//!
//! Invariant: what is no number, or beyond [`VALUE_MAX`](crate::features::VALUE_MAX), is a missing
//! value: it neither counts nor teaches, and it cannot reach a weight. Every operation is River's,
//! in River's order, so that the results are River's to the last digits (`tests/golden/learn`).

mod logistic;
mod passive_aggressive;
mod scaler;

pub use logistic::DenseLogisticRegression;
pub use passive_aggressive::PassiveAggressive;
pub use scaler::{Scaled, StandardScaler};

use crate::features::is_value;

/// Features beyond this many are not looked at; so a model's state stays below one log record.
pub const NUMBERS_MAX: usize = 1 << 14;

/// The features that are there, with their places.
fn present(input: &[f64]) -> impl Iterator<Item = (usize, f64)> + '_ {
    let numbers = input.iter().copied().take(NUMBERS_MAX).enumerate();
    numbers.filter(|(_, value)| is_value(*value))
}

/// Makes new what is not finite of one number; whether it was not.
fn heal(number: &mut f64) -> u64 {
    let ruined = !number.is_finite();
    if ruined {
        *number = 0.0;
    }
    ruined.into()
}

/// Moves a number, unless it would not be finite then: nothing that is learned leads back from
/// there.
fn shift(number: &mut f64, by: f64) {
    let moved = *number + by;
    if moved.is_finite() {
        *number = moved;
    }
}

/// Makes room for as many features as a record has: a model learns how wide its records are.
fn widen<T: Clone + Default>(state: &mut Vec<T>, input: &[f64]) {
    if state.len() < input.len() {
        state.resize(input.len().min(NUMBERS_MAX), T::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Learner, optim::AdaGrad, weights::Replicated};

    /// The bytes of a model's state with numbers in it that older versions made.
    fn ruined<M: Replicated>(model: &M, sound: f64, ruined: f64) -> M::Rest {
        let standard = bincode::config::standard().with_fixed_int_encoding();
        let mut bytes = bincode::serde::encode_to_vec(model.rest(), standard).unwrap();
        let (sound, ruined) = (sound.to_le_bytes(), ruined.to_le_bytes());
        let found = bytes.windows(8).position(|window| window == sound).unwrap();
        bytes[found..found + 8].copy_from_slice(&ruined);
        bincode::serde::decode_from_slice(&bytes, standard)
            .unwrap()
            .0
    }

    /// As wide as a step without bound can be: what squares to next to nothing.
    #[test]
    fn no_step_makes_a_number_that_is_none() {
        let mut model = PassiveAggressive::new(f64::INFINITY);
        for value in [1e-160, -1e-160, 1e-300, 1.0] {
            for label in [true, false] {
                model.learn(&[value], &label);
                assert!(model.predict(&[value]).is_finite(), "{value} {label}");
            }
        }
        assert_eq!(model.heal(), 0);
    }

    #[test]
    fn numbers_that_are_none_are_made_new_and_others_stay() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut model = PassiveAggressive::new(1.0);
            model.learn(&[3.0, 5.0], &true);
            let kept = model.predict(&[0.0, 1.0]);
            // The first weight: a step of 1/34 times the number.
            model.set_rest(ruined(&model, 1.0 / 34.0 * 3.0, bad));
            assert!(!model.predict(&[1.0, 0.0]).is_finite() || bad.is_infinite());
            assert_eq!((model.heal(), model.heal()), (1, 0), "{bad}");
            assert_eq!(model.predict(&[0.0, 1.0]).to_bits(), kept.to_bits());
            model.learn(&[1.0, 0.0], &false);
            assert!(model.predict(&[1.0, 0.0]) < 0.5);
        }
    }

    #[test]
    fn a_scaler_forgets_a_feature_that_it_cannot_know() {
        let mut model = Scaled::new(DenseLogisticRegression::new(AdaGrad::default()));
        for _ in 0..3 {
            model.learn(&[2.5, 1.0], &true);
            model.learn(&[4.5, 2.0], &false);
        }
        let intact = model.predict(&[f64::NAN, 2.0]);
        // The mean of the first feature.
        model.set_rest(ruined(&model, 3.5, f64::INFINITY));
        let teaches = |model: &mut Scaled<_>| {
            for _ in 0..3 {
                model.learn(&[2.5], &true);
                model.learn(&[4.5], &false);
            }
            let said = [2.5, 4.5].map(|number| model.predict(&[number]));
            said[0] > said[1]
        };
        let mut ill = Scaled::new(DenseLogisticRegression::new(AdaGrad::default()));
        ill.set_rest(model.rest());
        assert!(!teaches(&mut ill), "the feature is missing for ever");
        assert_eq!((model.heal(), model.heal()), (1, 0));
        assert_eq!(model.predict(&[f64::NAN, 2.0]).to_bits(), intact.to_bits());
        assert!(teaches(&mut model));
    }
}
