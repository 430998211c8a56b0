//! Cases as data: a script of records, and what must come of it, to the byte and in order.
//!
//! A case names a topology of [`topologies`], says in TOML what is written to which topic, and
//! what every output topic, store and drop counter must hold in the end. It says nothing of how it
//! is run: an [`Engine`] is anything that can take records and show what they became. Invariant:
//! what a case does not list must be empty, so that nothing happens unseen.
//!
//! ```toml
//! [[case]]
//! name = "a case"
//! topology = "count"   # see `topologies`
//! order = "per-key"    # "total" by default; "per-key" is all that several partitions promise
//! policy = "skip"      # "fail" by default, or "dead-letter", which goes to the topic "dead"
//! script = [
//!   { to = "text", key = "a", value = "x", time = 5 },     # no value is a tombstone
//!   { to = "text", raw_key = "0x61", raw_value = "0xff", time = 6 },
//!   { clock = 1000 },                                      # the wall clock is now there
//!   { to = "text", key = "a", time = 7, fails = "utf8" },  # stops the program; only as the last
//! ]
//! outputs.counts = [{ key = "a", value = 1, time = 5, headers = [["name", "value"]] }]
//! stores.counts = [{ key = "a", value = 1, time = 5 }]
//! dropped.deserialization = 1
//! ```

mod driver;
mod format;
mod on_log;
mod prefixed;
mod run;
pub mod topologies;

pub use driver::TestDriver;
pub use format::{Case, Expected, Order, Step, load};
pub use on_log::OnLog;
pub use prefixed::Prefixed;
pub use run::run;

use anyhow::Result;
use millstream_core::{
    record::{Headers, Timestamp},
    task::{Dropped, Policies},
    topology::Topology,
};

/// The topic for dead letters in all cases.
pub const DEAD_LETTERS: &str = "dead";

/// A record as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The key, `None` being null.
    pub key: Option<Vec<u8>>,
    /// The value, `None` being null.
    pub value: Option<Vec<u8>>,
    /// When it happened.
    pub timestamp: Timestamp,
    /// What travels along.
    pub headers: Headers,
}

/// What a case asks of its engine besides running a topology.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What becomes of bad records; dead letters go to [`DEAD_LETTERS`].
    pub policies: Policies,
}

/// Something that runs topologies.
pub trait Engine {
    /// Writes a record to an input topic and waits until all that comes of it has happened.
    ///
    /// # Errors
    /// What stopped the program.
    fn pipe(&mut self, topic: &str, record: &Raw) -> Result<()>;

    /// Moves the wall clock, which begins at 0.
    ///
    /// # Errors
    /// What stopped the program.
    fn advance_wall_clock(&mut self, now: Timestamp) -> Result<()>;

    /// Takes what was written to a topic since the last look.
    ///
    /// # Errors
    /// Where the topic cannot be read.
    fn read(&mut self, topic: &str) -> Result<Vec<Raw>>;

    /// All records of a store's changelog so far, over all partitions.
    ///
    /// # Errors
    /// Where the topic cannot be read.
    fn changelog(&mut self, store: &str) -> Result<Vec<Raw>>;

    /// What was dropped so far.
    fn dropped(&self) -> Dropped;

    /// Where the log under the engine cannot keep to the letter of a case.
    fn limits(&self) -> Limits {
        Limits::default()
    }
}

/// What a log cannot do that others can. Everything else must be equal.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The earliest time it can store: earlier ones come back as this.
    pub earliest: Timestamp,
    /// Whether a partition's records have consecutive offsets.
    pub dense: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            earliest: Timestamp::MIN,
            dense: true,
        }
    }
}

/// How an engine is made for a case.
pub type Open<'a> = dyn Fn(Topology, &Settings) -> Result<Box<dyn Engine>> + 'a;
