//! What a product will sell on its next day: exponential smoothing, kept as state.
//!
//! The forecast is a level that each day moves towards what was sold on it; days without a sale
//! count as zero. It is graded before it learns, beside the forecast that the next day is as this
//! one. What is kept hears of days without a sale when the product sells again; whoever reads it
//! lets them pass first ([`Trend::pass`]), or products that sell no more would not be graded.
//! Invariant: a day is learned from once, and days come in order; no gap takes longer than its
//! first four thousand days.

use crate::model::DAY;
use millstream::prelude::Timestamp;
use serde::{Deserialize, Serialize};

/// How far a day moves the level. Measured on UCI's invoices: a mean absolute error of 5.48 units,
/// for 5.51 at half this rate and 6.20 of the forecast that a day is as the one before.
const RATE: f64 = 0.2;

/// A product's level and how good its forecasts were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trend {
    /// The day that the forecast is for: its start in milliseconds.
    pub(crate) day: Timestamp,
    /// Units expected on it.
    pub(crate) units: f64,
    /// Units of the day before it.
    pub(crate) last: i64,
    /// Days that were forecast.
    pub(crate) days: u64,
    /// Sum of the absolute errors.
    pub(crate) error: f64,
    /// The same for the forecast that a day is as the one before.
    pub(crate) naive_error: f64,
}

impl Trend {
    /// Takes in what was sold on a day.
    pub(crate) fn learn(&mut self, day: Timestamp, units: i64) {
        if self.day == 0 {
            (self.units, self.last, self.day) = (number(units), units, day.saturating_add(DAY));
            return;
        }
        self.pass(day);
        if self.day == day {
            self.step(units);
        }
    }

    /// Days before `day` have closed without a sale.
    ///
    /// The level comes as near to zero as it can within four thousand days of zero; then the days
    /// differ in nothing any more and are passed at once. A record may lie at any time, and the gap
    /// before it may be of any length.
    pub(crate) fn pass(&mut self, day: Timestamp) {
        while self.day < day {
            let (level, last) = (self.units.to_bits(), self.last);
            self.step(0);
            if last == 0 && self.units.to_bits() == level {
                return self.skip(day);
            }
        }
    }

    /// What [`Trend::pass`] comes to where each day is as the one before it.
    fn skip(&mut self, day: Timestamp) {
        if self.day < day {
            let left = day.abs_diff(self.day).div_ceil(DAY.unsigned_abs());
            self.days = self.days.saturating_add(left);
            let left = i64::try_from(left).unwrap_or(i64::MAX);
            self.error += self.units.abs() * number(left);
            self.day = self.day.saturating_add(left.saturating_mul(DAY));
        }
    }

    /// A day that was forecast has ended.
    fn step(&mut self, units: i64) {
        let actual = number(units);
        self.days = self.days.saturating_add(1);
        self.error += (self.units - actual).abs();
        self.naive_error += (number(self.last) - actual).abs();
        self.units += RATE * (actual - self.units);
        (self.last, self.day) = (units, self.day.saturating_add(DAY));
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a day's units are far below 2^53"
)]
fn number(units: i64) -> f64 {
    units as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_follows_what_was_sold_and_gaps_are_days_of_zero() {
        let mut trend = Trend::default();
        trend.learn(DAY, 100);
        assert_eq!((trend.day, trend.days), (2 * DAY, 0));
        trend.learn(2 * DAY, 50);
        // Two days without a sale lie between.
        trend.learn(5 * DAY, 10);
        // Expected 100, 90, 72, 57.6; naively 100, 50, 0, 0.
        let error = (100.0 - 50.0) + 90.0 + 72.0 + (57.6 - 10.0);
        assert!((trend.error - error).abs() < 1e-9, "{trend:?}");
        assert!((trend.naive_error - (50.0 + 50.0 + 0.0 + 10.0)).abs() < 1e-9);
        assert!((trend.units - (57.6 + RATE * (10.0 - 57.6))).abs() < 1e-9);
        assert_eq!((trend.day, trend.days), (6 * DAY, 4));
    }

    #[test]
    fn a_product_that_sells_no_more_is_graded_all_the_same() {
        let mut trend = Trend::default();
        trend.learn(DAY, 10);
        trend.pass(5 * DAY);
        assert!((trend.error - (10.0 + 8.0 + 6.4)).abs() < 1e-9, "{trend:?}");
        assert!((trend.naive_error - 10.0).abs() < 1e-9);
        assert_eq!((trend.day, trend.days), (5 * DAY, 3));
        let before = trend.clone();
        trend.pass(3 * DAY);
        assert_eq!(trend, before);
    }

    #[test]
    fn a_day_is_learned_from_once() {
        let mut trend = Trend::default();
        trend.learn(DAY, 7);
        trend.learn(2 * DAY, 9);
        let before = trend.clone();
        trend.learn(2 * DAY, 9);
        assert_eq!(trend, before);
    }

    #[test]
    fn a_gap_of_any_length_is_passed_as_day_by_day() {
        for units in [0, 1, -3, 100, i64::MAX] {
            let (mut stepped, mut learned) = (Trend::default(), Trend::default());
            for trend in [&mut stepped, &mut learned] {
                trend.learn(DAY, units);
                trend.learn(2 * DAY, units / 2);
            }
            for days in 0..6_000 {
                let mut passed = learned.clone();
                passed.pass((3 + days) * DAY);
                // `Debug` shows numbers by their bits, so that 0 and -0 differ.
                assert_eq!(format!("{passed:?}"), format!("{stepped:?}"), "{units}");
                stepped.step(0);
            }
        }
    }

    #[test]
    fn no_time_is_too_far_away() {
        let mut trend = Trend::default();
        trend.learn(DAY, 1_000);
        let mut far = trend.clone();
        trend.pass(10_000 * DAY);
        for end in [4_000_000_000_000_000_000, i64::MAX - 5, i64::MAX] {
            far.pass(end);
            assert!(far.day >= end, "{far:?}");
            let days = u64::try_from(end).unwrap().div_ceil(86_400_000) - 2;
            assert_eq!((far.days, far.error), (days, trend.error));
        }
        let last = i64::MAX / DAY * DAY;
        let mut trend = Trend::default();
        trend.learn(last, 7);
        trend.learn(last, 7);
        assert_eq!((trend.day, trend.days), (i64::MAX, 0));
    }
}
