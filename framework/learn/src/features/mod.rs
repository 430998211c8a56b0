//! From what a record says to numbers that a learner can weigh.
//!
//! Invariant: extraction keeps nothing between records, so that the same input gives the same
//! features wherever and whenever it is read.

mod seen;
mod sparse;
pub mod text;
mod tokens;

pub use sparse::SparseVector;
pub use text::{TextFeatures, TextOptions};

/// The largest magnitude of a feature that is looked at; what lies beyond is a missing value, as
/// infinities and what is no number are.
///
/// Every `i64` lies within, and so does a time in nanoseconds. The square of a value beyond may be
/// infinite in the `f32` in which a sparse model keeps it: from then on its weight would never
/// move, or be no number, after one bad record.
pub const VALUE_MAX: f64 = 1e19;

/// Whether a number is a feature's value, and not a missing one.
#[inline]
pub(crate) fn is_value(number: f64) -> bool {
    number.abs() <= VALUE_MAX
}

/// How the features of a record are found.
pub trait Features {
    /// What a record brings.
    type Raw: ?Sized;
    /// What a learner takes.
    type Vector: ?Sized;

    /// The features of one record, in memory that is reused for the next.
    fn features<'a>(&'a mut self, raw: &'a Self::Raw) -> &'a Self::Vector;

    /// All that decides which features a record gets, in words: two extractors that say the same
    /// are interchangeable, and weights learned behind one are good behind the other.
    fn describe(&self) -> String;
}

/// Records that are features already: numbers in a fixed order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers;

impl Features for Numbers {
    type Raw = [f64];
    type Vector = [f64];

    fn features<'a>(&'a mut self, raw: &'a [f64]) -> &'a [f64] {
        raw
    }

    fn describe(&self) -> String {
        "numbers".into()
    }
}
