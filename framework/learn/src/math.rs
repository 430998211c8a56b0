//! `exp`, `ln` and what is made of them, the same bits on every machine.
//!
//! Invariant: only IEEE 754 basic operations, in a fixed order, are used. The platform's own
//! functions differ in the last bit between libraries and processors, and a model that is replayed
//! elsewhere would slowly become another model.

/// The natural logarithm of two, its upper 32 bits: products with small integers are exact.
const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
/// What is missing from [`LN_2_HIGH`].
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// Beyond this the result of [`exp`] is not a finite number.
const EXP_MAX: f64 = 709.0;
/// Below this the result of [`exp`] is not a normal number; it is taken as zero.
const EXP_MIN: f64 = -708.0;
/// The Taylor series of `exp`, highest power first; on half of ln 2 the rest is below one ulp.
const EXP_SERIES: [f64; 14] = [
    1.0 / 6_227_020_800.0,
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];
/// Terms of the series of `ln`; with arguments below 0.1716 the rest is below one ulp.
const LN_TERMS: u32 = 11;

/// e to the power of `x`, to about one unit in the last place.
///
/// Infinite above 709, zero below -708, where the exact result would be a subnormal number.
pub fn exp(x: f64) -> f64 {
    if x > EXP_MAX {
        return f64::INFINITY;
    }
    if x < EXP_MIN {
        return 0.0;
    }
    if x.is_nan() {
        return x;
    }
    let power = (x * std::f64::consts::LOG2_E).round_ties_even();
    let rest = (x - power * LN_2_HIGH) - power * LN_2_LOW;
    let series = EXP_SERIES.iter().fold(0.0, |sum, term| sum * rest + term);
    series * power_of_two(power)
}

/// Two to a whole power between -1021 and 1023.
fn power_of_two(power: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number between -1021 and 1023, made positive by the exponent's bias"
    )]
    let exponent = (power + 1023.0) as u64;
    f64::from_bits(exponent << 52)
}

/// The natural logarithm of `x`, to about one unit in the last place.
///
/// Minus infinity at zero and for subnormal numbers, not a number below zero.
pub fn ln(x: f64) -> f64 {
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x < f64::MIN_POSITIVE {
        return f64::NEG_INFINITY;
    }
    if x.is_infinite() {
        return x;
    }
    let bits = x.to_bits();
    // A mantissa between 1/sqrt(2) and sqrt(2) keeps the result exact around one.
    let mut mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    let mut power = f64::from(u32::try_from(bits >> 52).unwrap_or(0)) - 1023.0;
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        power += 1.0;
    }
    // ln m = 2 artanh((m - 1) / (m + 1)).
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let square = ratio * ratio;
    let series = (0..LN_TERMS).rev().fold(0.0, |sum, term| {
        sum * square + 1.0 / f64::from(2 * term + 1)
    });
    power * LN_2_HIGH + (2.0 * ratio * series + power * LN_2_LOW)
}

/// The logistic function, `1 / (1 + exp(-x))`, without overflow and without loss at either end.
#[inline]
pub fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + exp(-x))
    } else {
        let power = exp(x);
        power / (1.0 + power)
    }
}

/// Turns scores into probabilities that sum to one, in place.
pub fn softmax(scores: &mut [f64]) {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for score in &mut *scores {
        *score = exp(*score - largest);
        sum += *score;
    }
    for score in scores {
        *score /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(ours: f64, theirs: f64) -> bool {
        (ours - theirs).abs() <= 4.0 * f64::EPSILON * theirs.abs()
    }

    proptest! {
        #[test]
        fn agrees_with_the_platform(
            x in -700.0..700.0f64,
            y in 1e-300..1e300f64,
            z in 1e-9..3.0f64,
        ) {
            prop_assert!(close(exp(x), x.exp()), "exp({x})");
            prop_assert!(close(ln(y), y.ln()), "ln({y})");
            prop_assert!((ln(z) - z.ln()).abs() <= 2.0 * f64::EPSILON * z.ln().abs().max(0.1));
            prop_assert!((sigmoid(x) + sigmoid(-x) - 1.0).abs() <= 2.0 * f64::EPSILON);
        }
    }

    #[test]
    fn the_ends_are_sound() {
        assert_eq!(exp(0.0).to_bits(), 1f64.to_bits());
        assert_eq!(ln(1.0).to_bits(), 0f64.to_bits());
        assert_eq!((exp(1e9), exp(-1e9)), (f64::INFINITY, 0.0));
        assert_eq!(
            (ln(0.0), ln(f64::INFINITY)),
            (f64::NEG_INFINITY, f64::INFINITY)
        );
        assert!(ln(-1.0).is_nan() && exp(f64::NAN).is_nan() && ln(f64::NAN).is_nan());
        assert_eq!((sigmoid(1e9), sigmoid(-1e9), sigmoid(0.0)), (1.0, 0.0, 0.5));
        let mut scores = [1e9, 1e9, -1e9];
        softmax(&mut scores);
        assert_eq!(scores.map(f64::to_bits), [0.5, 0.5, 0.0].map(f64::to_bits));
    }

    /// The bits themselves: another compiler or processor must give the same.
    #[test]
    fn the_bits_are_pinned() {
        let sum = (0..1000).fold(0u64, |sum, step| {
            let x = f64::from(step) * 0.037 - 18.0;
            sum.rotate_left(7) ^ exp(x).to_bits() ^ ln(x * x + 0.1).to_bits().rotate_left(31)
        });
        assert_eq!(sum, 6_865_649_957_796_375_238);
    }
}
