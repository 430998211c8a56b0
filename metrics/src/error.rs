//! What can be wrong with a request for a series. All of it is found when a handle is made, before
//! any loop runs; counting itself cannot fail.

use crate::{Kind, Metric};

/// The result of a call on a registry.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a registry refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A handle of another kind than the metric's was asked for.
    #[error("{metric} is a {is}, not a {asked}")]
    WrongKind {
        /// The metric.
        metric: Metric,
        /// What it is.
        is: Kind,
        /// What was asked for.
        asked: Kind,
    },
    /// The label names given are not exactly those of the metric.
    #[error("{metric} has the labels {expected:?}, not {given:?}")]
    WrongLabels {
        /// The metric.
        metric: Metric,
        /// Its label names.
        expected: &'static [&'static str],
        /// The names that were given.
        given: Vec<String>,
    },
    /// The exposition library refused; the list of metrics is wrong.
    #[error("prometheus: {0}")]
    Exposition(String),
}

impl From<prometheus::Error> for Error {
    fn from(error: prometheus::Error) -> Self {
        Self::Exposition(error.to_string())
    }
}
