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
