//! Whether what a store or a table holds may be gone on from, and why not.
//!
//! Invariant: what is not replayed anew is what the changelog has up to its position: the topic is
//! the same, it has that position, and has forgotten no deletion behind it.

use crate::{error::Result, program::ChangelogColumn};
use millstream_core::record::{Offset, Timestamp};
use millstream_log::{Error as LogError, Log};
use millstream_state::Position;

/// About how many bytes are read to see whether there is a record at all.
const LOOK_BYTES: usize = 1;

/// Who reads on after less than this has been at work, however soon a topic forgets deletions.
const SLEPT_MIN_MS: i64 = 60_000;

/// By how much a clock may be put back without anything being made of it.
const CLOCK_ERROR_MS: i64 = 60_000;

/// Why a store is restored from the first changelog record on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullRestore {
    /// There was no position: a new store here.
    Empty,
    /// The changelog topic is another one than the store was written from.
    TopicReplaced,
    /// The store is ahead of its changelog: the log lost its end.
    BeyondEnd,
    /// The position is older than tombstones are kept, or of a time that the clock has not reached,
    /// which says nothing of its age; and the changelog has moved on from it.
    TooOld,
    /// The changelog no longer has the position.
    OutOfRange,
}

impl FullRestore {
    /// The reason in a word, as metrics have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TopicReplaced => "topic_replaced",
            Self::BeyondEnd => "beyond_end",
            Self::TooOld => "too_old",
            Self::OutOfRange => "out_of_range",
        }
    }
}

/// Whether a stored position can be trusted.
pub(crate) fn judge(
    position: Position,
    store: &ChangelogColumn,
    (log, end): (&mut dyn Log, Offset),
    now: Timestamp,
) -> Result<Option<FullRestore>> {
    // One from the future says nothing of its age: since then the clock was put back.
    let age = now.saturating_sub(position.applied_at);
    let old = age > store.tombstones_ms || age < -CLOCK_ERROR_MS;
    let reach = position.reach.max(position.offset);
    let why = if position.topic_id != store.topic_id {
        Some(FullRestore::TopicReplaced)
    // Our own last commit may be ahead of what the log shows as committed, for as long as the log
    // takes to mark it; what the log has lost is beyond what it has written.
    } else if reach > end && reach > log.end_uncommitted(&store.changelog)? {
        // The log has lost what the column holds, or what it needs to be right.
        Some(FullRestore::BeyondEnd)
    } else if old && missed(position.offset, store, log, end)? {
        Some(FullRestore::TooOld)
    } else {
        None
    };
    Ok(why)
}

/// Whether a changelog was read so long ago that it may have forgotten deletions since, and has
/// records behind a position.
pub(crate) fn has_slept(
    (seen_at, now): (Timestamp, Timestamp),
    position: Offset,
    store: &ChangelogColumn,
    log: &mut dyn Log,
) -> Result<bool> {
    if now.saturating_sub(seen_at) <= store.tombstones_ms.max(SLEPT_MIN_MS) {
        return Ok(false);
    }
    let end = log.end(&store.changelog)?;
    missed(position, store, log, end)
}

/// Whether a record lies between a position and the end. That the end is further on does not say
/// so: a log may keep marks of its own there, as Kafka does behind each transaction.
fn missed(from: Offset, store: &ChangelogColumn, log: &mut dyn Log, end: Offset) -> Result<bool> {
    let mut next = from;
    while next < end {
        let page = match log.read(&store.changelog, next, LOOK_BYTES) {
            Ok(page) => page,
            // Records there were, and they are gone.
            Err(LogError::OffsetOutOfRange { .. }) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        if !page.records.is_empty() {
            return Ok(true);
        }
        if page.next <= next {
            // They are on their way: whoever opens the replica asks again.
            let why = format!("{} has nothing to show yet at {next}", store.changelog);
            return Err(LogError::Retry(why).into());
        }
        next = page.next;
    }
    Ok(false)
}
