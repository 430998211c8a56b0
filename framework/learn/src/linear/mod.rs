//! Linear learners on sparse, hashed features: the ones that learn a text stream.
//!
//! Invariant: a feature's numbers lie beside each other in one row of a [`Table`], so that
//! predicting brings into the cache what learning needs next. Sums run in the order of the vector.

mod bias;
mod logistic;
mod softmax;

pub use logistic::LogisticRegression;
pub use softmax::{CLASSES_MAX, SoftmaxRegression};

use crate::{
    optim::{Optimizer, Slot},
    weights::Table,
};

/// A weight's two numbers inside a row.
#[inline]
fn slot(row: &[f32], class: usize) -> Slot {
    [f64::from(row[2 * class]), f64::from(row[2 * class + 1])]
}

/// One step of one weight: computed in `f64`, kept in `f32`. A step beyond what an `f32` can hold
/// is not made, as in [`optim::step`](crate::optim::step), because none could lead back.
#[inline]
fn step<O: Optimizer>(optimizer: &O, row: &mut [f32], class: usize, gradient: f64) {
    let [first, second] = optimizer.step(slot(row, class), gradient);
    #[expect(clippy::cast_possible_truncation, reason = "weights are kept in f32")]
    let (first, second) = (first as f32, second as f32);
    if first.is_finite() && second.is_finite() {
        row[2 * class] = first;
        row[2 * class + 1] = second;
    }
}

/// Makes new all slots of which a number is not finite; how many there were.
fn heal(table: &mut Table) -> u64 {
    let mut ruined = 0;
    for row in 0..u32::try_from(table.rows()).unwrap_or(u32::MAX) {
        // Nothing is written, and so tracked, of rows that are sound.
        if table.row(row).iter().all(|number| number.is_finite()) {
            continue;
        }
        for slot in table.row_mut(row).chunks_mut(2) {
            if !slot.iter().all(|number| number.is_finite()) {
                slot.fill(0.0);
                ruined += 1;
            }
        }
    }
    ruined
}

/// The row of a feature. Hashed indexes fit the table by construction; one that does not, from a
/// vector made for a larger table, shares a row with another feature instead of ending the program.
#[inline]
fn place(table: &Table, index: u32) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "tables have at most 2^26 rows"
    )]
    let mask = table.rows() as u32 - 1;
    index & mask
}
