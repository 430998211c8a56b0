//! Partitions that could not be maintained, which the others do not wait for.
//!
//! Invariant: each is looked at again after a while and not before, since a pass that ends at a
//! block that cannot be read has read all in front of it in vain; and each error is told once.

use super::{disk::Spot, rows::PartitionId};
use crate::api::{Error, Result};
use std::collections::BTreeMap;

/// For so long a partition is left alone.
const REST_MS: i64 = 60_000;
/// So many errors of one call are told in full.
const TOLD_MAX: usize = 8;

/// When each of them failed last, by the wall clock.
#[derive(Default)]
pub(super) struct Failed(BTreeMap<PartitionId, i64>);

impl Failed {
    /// Forgets the partitions whose time has come, or whose clock was put back, and those that are
    /// no more.
    pub(super) fn wake(&mut self, now: i64, is_there: impl Fn(PartitionId) -> bool) {
        let rests = |at: i64| (0..REST_MS).contains(&now.saturating_sub(at));
        self.0.retain(|id, at| rests(*at) && is_there(*id));
    }

    /// Whether a partition is left alone for now.
    pub(super) fn rests(&self, spot: &Spot) -> bool {
        self.0.contains_key(&spot.id)
    }

    pub(super) fn add(&mut self, spot: &Spot, now: i64) {
        self.0.insert(spot.id, now);
    }
}

/// The errors of one call as one.
pub(super) fn as_one(mut errors: Vec<Error>) -> Result<()> {
    if errors.len() < 2 {
        return errors.pop().map_or(Ok(()), Err);
    }
    let more = errors.len().saturating_sub(TOLD_MAX);
    let told: Vec<_> = (errors.iter().take(TOLD_MAX))
        .map(ToString::to_string)
        .collect();
    let mut text = told.join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    Err(Error::Fatal(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_together_but_not_without_end() {
        let errors = |count: usize| {
            let all = (0..count).map(|number| Error::Fatal(format!("error {number}")));
            as_one(all.collect()).map_err(|error| error.to_string())
        };
        assert_eq!(errors(0), Ok(()));
        assert_eq!(errors(1), Err("error 0".to_owned()));
        assert_eq!(errors(2), Err("error 0; error 1".to_owned()));
        let many = errors(100).unwrap_err();
        assert!(many.ends_with("error 7; and 92 more"), "{many}");
    }
}
