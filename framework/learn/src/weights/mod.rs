//! A model as replicated state: a changelog from which its weights come back bit for bit.
//!
//! A hashed model touches weights scattered over its whole table, so logging blocks of weights
//! costs tens of times what changed, and one log record per weight several times. Instead a commit
//! writes
//!
//! - `D/<slot>/<part>`: the *delta*, all rows touched since the last commit with their new values,
//!   in a ring of slots, in parts that fit a log record;
//! - `S/<chunk>`: a few chunks of a *rolling snapshot*, the next stretch of rows that are not zero;
//! - `M`: the *manifest*: what the model is, how many commits and examples old, its fingerprint,
//!   and everything outside the table.
//!
//! Values are written, never differences, so that replay may repeat what it has done.
//!
//! Invariant: after every commit each row's newest value is in its chunk or in a delta younger than
//! its chunk. There are as many slots as chunks and every commit writes at least one chunk, in
//! turn, so a slot is used again only after every chunk was written later than the delta in it.
//! Deltas that no chunk needs any more are deleted; with snapshots of at least a quarter of the
//! deltas' bytes, the changelog holds at most about five times the model after compaction.

mod codec;
mod manifest;
mod restore;
mod ring;
mod store;
mod table;

pub use manifest::Manifest;
pub use store::WeightStore;
pub use table::Table;

use serde::{Serialize, de::DeserializeOwned};

/// What a model is, by name: its features, learner, settings. Weights fit only an equal schema.
pub type Schema = Vec<(&'static str, String)>;

/// What a model must show of itself to be kept by a [`WeightStore`]: a table of numbers of which a
/// few change per record, and the rest, which is small and written whole.
pub trait Replicated {
    /// All of the model's state outside the table: bias, counts, scalers, grades.
    type Rest: Serialize + DeserializeOwned;

    /// All that must be equal for the state of one model to fit another.
    fn schema(&self) -> Schema;

    /// How many examples the model has learned.
    fn learned(&self) -> u64;

    /// The table, if the model has one.
    fn table(&self) -> Option<&Table> {
        None
    }

    /// The table, to be loaded and tracked.
    fn table_mut(&mut self) -> Option<&mut Table> {
        None
    }

    /// A copy of the rest.
    fn rest(&self) -> Self::Rest;

    /// Replaces the rest.
    fn set_rest(&mut self, rest: Self::Rest);

    /// Makes new, as if no example had touched them, all weights that are infinite or no number:
    /// nothing that is learned leads back from there, and one of them makes every prediction that
    /// meets it no number. Returns how many there were. Called when a model has been restored;
    /// learners write no such weights any more, but older versions did.
    ///
    /// What comes of it must depend on the state alone. A table of which only the learner knows
    /// what its numbers are is left as it is.
    fn heal(&mut self) -> u64 {
        0
    }
}
