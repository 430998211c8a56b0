//! How far a task came in one input, in the form that is committed with the log.

use crate::record::{Offset, Timestamp};
use std::fmt;

const VERSION: u8 = 1;
/// Stands where the version does, in a place that a reset has set back and not let go of yet.
const RESETTING: u8 = u8::MAX;

/// The next record to process of a partition, and the greatest timestamp before it.
///
/// The timestamp travels with the offset so that stream time survives a restart (Kafka Streams
/// keeps it in the offset's metadata too).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The next record to process.
    pub offset: Offset,
    /// The greatest timestamp of the records before it; `Timestamp::MIN` when there was none.
    pub partition_time: Timestamp,
    /// How many of the records that came as one of the log at that offset have been processed: a
    /// place may be amid a pack ([`pack`](crate::pack)).
    pub taken: u32,
}

impl Place {
    /// The place before a partition's first record.
    pub const fn start(offset: Offset) -> Self {
        Self {
            offset,
            partition_time: Timestamp::MIN,
            taken: 0,
        }
    }

    /// The metadata to commit: the transaction's number first, by which an unknown outcome is
    /// resolved, then a version byte, the partition time, and amid a pack how much of it is done.
    pub fn metadata(&self, transaction: u64) -> Vec<u8> {
        let mut bytes = transaction.to_be_bytes().to_vec();
        bytes.push(VERSION);
        bytes.extend(self.partition_time.to_be_bytes());
        if self.taken > 0 {
            bytes.extend(self.taken.to_be_bytes());
        }
        bytes
    }

    /// The metadata of a place that a reset has set back, for as long as it is not finished: state
    /// and internal topics may be those of before, and whoever went on from there would process
    /// records twice.
    ///
    /// ```
    /// use millstream_core::task::Place;
    ///
    /// assert!(Place::is_in_reset(&Place::reset_metadata(1)));
    /// assert!(!Place::is_in_reset(&Place::start(0).metadata(2)));
    /// ```
    pub fn reset_metadata(transaction: u64) -> Vec<u8> {
        let mut bytes = transaction.to_be_bytes().to_vec();
        bytes.push(RESETTING);
        bytes
    }

    /// Whether a committed place is that of a reset which is not finished
    /// ([`Place::reset_metadata`]): a program must not start from it.
    pub fn is_in_reset(metadata: &[u8]) -> bool {
        metadata.get(8) == Some(&RESETTING)
    }

    /// Reads a committed place back: with the number of the transaction that wrote it. Metadata of
    /// another program's making gives the offset alone.
    pub fn from_metadata(offset: Offset, metadata: &[u8]) -> (Self, Option<u64>) {
        let number = metadata
            .first_chunk::<8>()
            .map(|bytes| u64::from_be_bytes(*bytes));
        let known = metadata
            .get(8..)
            .and_then(|rest| rest.strip_prefix(&[VERSION]));
        let split = known.and_then(|rest| rest.split_first_chunk::<8>());
        let time = split.map(|(time, _)| Timestamp::from_be_bytes(*time));
        let taken = split.and_then(|(_, rest)| rest.first_chunk::<4>());
        let place = Self {
            offset,
            partition_time: time.unwrap_or(Timestamp::MIN),
            taken: taken.map_or(0, |taken| u32::from_be_bytes(*taken)),
        };
        (place, number)
    }
}

/// Where a record lies in its partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) offset: Offset,
    /// Which of the records with that offset it is: another than 0 in a pack only.
    pub(crate) index: u32,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {}", self.offset)?;
        match self.index {
            0 => Ok(()),
            index => write!(f, " index {index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_the_log() {
        for taken in [0, 1, 1 << 20] {
            let place = Place {
                offset: 7,
                partition_time: -3,
                taken,
            };
            let metadata = place.metadata(12);
            assert_eq!(Place::from_metadata(7, &metadata), (place, Some(12)));
            assert_eq!(metadata.len() > 17, taken > 0, "as it was before packs");
        }
    }

    #[test]
    fn a_place_that_is_being_reset_is_known_and_no_other_is() {
        let time = Place {
            offset: 7,
            partition_time: -1,
            taken: 0,
        };
        assert!(Place::is_in_reset(&Place::reset_metadata(3)));
        for other in [&time.metadata(u64::MAX)[..], b"", &[u8::MAX; 8]] {
            assert!(!Place::is_in_reset(other), "{other:?}");
        }
        let (place, number) = Place::from_metadata(7, &Place::reset_metadata(3));
        assert_eq!((place, number), (Place::start(7), Some(3)));
    }

    #[test]
    fn foreign_metadata_gives_the_offset_alone() {
        assert_eq!(Place::from_metadata(7, b"x"), (Place::start(7), None));
        assert_eq!(Place::from_metadata(7, b""), (Place::start(7), None));
        assert_eq!(Place::from_metadata(7, &[0; 9]), (Place::start(7), Some(0)));
    }
}
