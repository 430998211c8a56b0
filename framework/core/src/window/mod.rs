//! Stretches of time, keys within them, and the ways in which programs cut time into them.

mod kinds;

pub(crate) use kinds::{Grid, Span};
pub use kinds::{SessionWindows, SlidingWindows, TimeWindows, UnlimitedWindows, Windows};

use crate::record::Timestamp;
use serde::{Deserialize, Serialize};

/// A stretch of event time in milliseconds. Whether `end` belongs to it is a matter of its kind, as
/// in Kafka Streams: of tumbling and hopping windows it does not, of sessions and sliding windows
/// it is the time of their last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// The first millisecond.
    pub start: Timestamp,
    /// Where it ends.
    pub end: Timestamp,
}

impl Window {
    /// From one time to the other.
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }
}

/// A key in a window: what windowed aggregates are keyed by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Windowed<K> {
    /// The key that the records had.
    pub key: K,
    /// The stretch of time.
    pub window: Window,
}

impl<K> Windowed<K> {
    /// Puts the two together.
    pub const fn new(key: K, window: Window) -> Self {
        Self { key, window }
    }
}
