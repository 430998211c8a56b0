//! A made-up shop, some of whose lines are cancelled again.
//!
//! Invariant: the n-th line is the same for whoever asks, however many they want.

use crate::model::{DAY, Line, MILLIONTHS};
use millstream::prelude::Timestamp;

const PRODUCTS: u64 = 40;
/// 2024-01-01.
const START: Timestamp = 19_723 * DAY;
/// Between two lines: 360 a day.
const STEP: Timestamp = 240_000;
/// One line in so many cancels the one before it.
const CANCELLED: u64 = 25;

/// The lines of the shop, one after another.
pub(crate) struct Generator {
    next: u64,
    end: u64,
}

impl Generator {
    pub(crate) fn new(lines: u64) -> Self {
        Self {
            next: 0,
            end: lines,
        }
    }
}

impl Iterator for Generator {
    type Item = (String, Line, Timestamp);

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.next;
        (number < self.end).then(|| {
            self.next += 1;
            let cancels = number % CANCELLED == CANCELLED - 1;
            let (product, mut line) = sold(if cancels { number - 1 } else { number });
            if cancels {
                line.invoice.insert(0, 'C');
                (line.quantity, line.amount) = (-line.quantity, -line.amount);
            }
            let step = Timestamp::try_from(number).unwrap_or(Timestamp::MAX);
            let time = step.saturating_mul(STEP).saturating_add(START);
            (product, line, time)
        })
    }
}

/// The sale with that number: the first products sell best.
fn sold(number: u64) -> (String, Line) {
    let mut bits = mixed(number);
    let mut take = |below: u64| {
        let taken = bits % below;
        bits /= below;
        i64::try_from(taken).unwrap_or(0)
    };
    let (one, other) = (take(PRODUCTS), take(PRODUCTS));
    let (product, quantity) = (one.min(other), 1 + take(12));
    let price = (100 + 35 * product) * (MILLIONTHS / 100);
    let line = Line {
        invoice: format!("{}", 100_000 + number / 5),
        description: format!("PRODUCT NUMBER {product}"),
        quantity,
        amount: quantity * price,
        customer: format!("{}", 10_000 + take(500)),
        country: "Utopia".to_owned(),
    };
    (format!("P{product:03}"), line)
}

/// Steele's SplitMix64, from the number alone.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
