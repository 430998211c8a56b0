//! How far a task came in one input, in the form that is committed with the log.

use crate::record::{Offset, Timestamp};

const VERSION: u8 = 1;

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
}

impl Place {
    /// The place before a partition's first record.
    pub const fn start(offset: Offset) -> Self {
        Self {
            offset,
            partition_time: Timestamp::MIN,
        }
    }

    /// The metadata to commit: the transaction's number first, by which an unknown outcome is
    /// resolved, then a version byte and the partition time.
    pub fn metadata(&self, transaction: u64) -> Vec<u8> {
        let mut bytes = transaction.to_be_bytes().to_vec();
        bytes.push(VERSION);
        bytes.extend(self.partition_time.to_be_bytes());
        bytes
    }

    /// Reads a committed place back: with the number of the transaction that wrote it. Metadata of
    /// another program's making gives the offset alone.
    pub fn from_metadata(offset: Offset, metadata: &[u8]) -> (Self, Option<u64>) {
        let number = metadata
            .first_chunk::<8>()
            .map(|bytes| u64::from_be_bytes(*bytes));
        let time = match metadata.get(8..) {
            Some([VERSION, rest @ ..]) => rest.first_chunk::<8>().map(|b| i64::from_be_bytes(*b)),
            _ => None,
        };
        (
            Self {
                offset,
                partition_time: time.unwrap_or(Timestamp::MIN),
            },
            number,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_the_log() {
        let place = Place {
            offset: 7,
            partition_time: -3,
        };
        assert_eq!(
            Place::from_metadata(7, &place.metadata(12)),
            (place, Some(12))
        );
    }

    #[test]
    fn foreign_metadata_gives_the_offset_alone() {
        assert_eq!(Place::from_metadata(7, b"x"), (Place::start(7), None));
        assert_eq!(Place::from_metadata(7, b""), (Place::start(7), None));
        assert_eq!(Place::from_metadata(7, &[0; 9]), (Place::start(7), Some(0)));
    }
}
