//! Topics, partitions and places as rows of a backend.
//!
//! Invariant: keys sort as the things they name do (big-endian numbers), so that the blocks of a
//! partition lie side by side in offset order; a row that cannot be read is an error, not a guess.

use crate::api::{Cleanup, Committed, TopicInfo, TopicSpec};
use millstream_core::{
    record::{Offset, Partition},
    wire::Reader,
};

/// The version of the rows; a log written with another is refused.
pub(super) const FORMAT: u32 = 1;
/// The one row of the topics' column that is no topic: names are never empty.
pub(super) const META_KEY: &[u8] = b"";
const ID_BYTES: usize = size_of::<u128>() + size_of::<Partition>();

/// A partition's identity on disk: its topic's id, not its name, so that a topic made anew under
/// the old name starts empty.
pub(super) type PartitionId = (u128, Partition);

/// What is known of a partition without its blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionRow {
    /// The first offset that may be read.
    pub(super) start: Offset,
    /// The offset after the last record.
    pub(super) end: Offset,
    /// The sizes of all its blocks.
    pub(super) bytes: u64,
    /// Below here each key is there once: as far as compaction came.
    pub(super) clean_until: Offset,
    /// The sizes of the blocks that no compaction has seen.
    pub(super) dirty_bytes: u64,
}

impl PartitionRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(40);
        out.extend_from_slice(&self.start.to_be_bytes());
        out.extend_from_slice(&self.end.to_be_bytes());
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out.extend_from_slice(&self.clean_until.to_be_bytes());
        out.extend_from_slice(&self.dirty_bytes.to_be_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        Some(Self {
            start: reader.i64()?,
            end: reader.i64()?,
            bytes: reader.u64()?,
            clean_until: reader.i64()?,
            dirty_bytes: reader.u64()?,
        })
    }
}

pub(super) fn partition_key((topic, partition): PartitionId) -> [u8; ID_BYTES] {
    let mut key = [0; ID_BYTES];
    key[..16].copy_from_slice(&topic.to_be_bytes());
    key[16..].copy_from_slice(&partition.to_be_bytes());
    key
}

pub(super) fn decode_partition_key(key: &[u8]) -> Option<PartitionId> {
    let mut reader = Reader(key);
    Some((reader.u128()?, reader.u32()?))
}

/// Offsets are never negative, so that their big-endian bytes sort as they do.
pub(super) fn block_key(id: PartitionId, base: Offset) -> [u8; ID_BYTES + 8] {
    let mut key = [0; ID_BYTES + 8];
    key[..ID_BYTES].copy_from_slice(&partition_key(id));
    key[ID_BYTES..].copy_from_slice(&base.max(0).to_be_bytes());
    key
}

pub(super) fn decode_block_base(key: &[u8]) -> Option<Offset> {
    Reader(key.get(ID_BYTES..)?).i64()
}

pub(super) fn place_key(group: &str, id: PartitionId) -> Vec<u8> {
    [group.as_bytes(), &partition_key(id)].concat()
}

pub(super) fn decode_place_key(key: &[u8]) -> Option<(String, PartitionId)> {
    let (group, id) = key.split_at_checked(key.len().checked_sub(ID_BYTES)?)?;
    Some((
        String::from_utf8(group.to_vec()).ok()?,
        decode_partition_key(id)?,
    ))
}

pub(super) fn decode_place(bytes: &[u8]) -> Option<Committed> {
    let mut reader = Reader(bytes);
    Some(Committed {
        offset: reader.i64()?,
        metadata: reader.0.to_vec(),
    })
}

pub(super) fn encode_meta(next_topic: u64) -> Vec<u8> {
    [&FORMAT.to_be_bytes()[..], &next_topic.to_be_bytes()].concat()
}

/// The format and the number of the next topic.
pub(super) fn decode_meta(bytes: &[u8]) -> Option<(u32, u64)> {
    let mut reader = Reader(bytes);
    Some((reader.u32()?, reader.u64()?))
}

pub(super) fn encode_topic(info: &TopicInfo) -> Vec<u8> {
    let (kind, milliseconds, more) = match info.spec.cleanup {
        Cleanup::Delete { retention_ms: None } => (0, 0, None),
        Cleanup::Delete {
            retention_ms: Some(ms),
        } => (1, ms, None),
        Cleanup::Compact {
            delete_retention_ms,
        } => (2, delete_retention_ms, None),
        Cleanup::CompactDelete {
            delete_retention_ms,
            retention_ms: None,
        } => (3, delete_retention_ms, None),
        Cleanup::CompactDelete {
            delete_retention_ms,
            retention_ms: Some(ms),
        } => (4, delete_retention_ms, Some(ms)),
    };
    let mut out = Vec::with_capacity(29);
    out.extend_from_slice(&info.id.to_be_bytes());
    out.extend_from_slice(&info.spec.partitions.to_be_bytes());
    out.push(kind);
    out.extend_from_slice(&milliseconds.to_be_bytes());
    out.extend(more.into_iter().flat_map(i64::to_be_bytes));
    out
}

pub(super) fn decode_topic(name: &[u8], bytes: &[u8]) -> Option<TopicInfo> {
    let mut reader = Reader(bytes);
    let (id, partitions) = (reader.u128()?, reader.u32()?);
    let (kind, milliseconds) = (reader.u8()?, reader.i64()?);
    let cleanup = match kind {
        0 => Cleanup::Delete { retention_ms: None },
        1 => Cleanup::Delete {
            retention_ms: Some(milliseconds),
        },
        2 => Cleanup::Compact {
            delete_retention_ms: milliseconds,
        },
        3 => Cleanup::CompactDelete {
            delete_retention_ms: milliseconds,
            retention_ms: None,
        },
        4 => Cleanup::CompactDelete {
            delete_retention_ms: milliseconds,
            retention_ms: Some(reader.i64()?),
        },
        _ => return None,
    };
    let name = String::from_utf8(name.to_vec()).ok()?;
    Some(TopicInfo {
        id,
        spec: TopicSpec {
            name,
            partitions,
            cleanup,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back() {
        let cleanups = [
            Cleanup::Delete { retention_ms: None },
            Cleanup::Delete {
                retention_ms: Some(5),
            },
            Cleanup::Compact {
                delete_retention_ms: -1,
            },
            Cleanup::CompactDelete {
                delete_retention_ms: 6,
                retention_ms: None,
            },
            Cleanup::CompactDelete {
                delete_retention_ms: 6,
                retention_ms: Some(7),
            },
        ];
        for cleanup in cleanups {
            let spec = TopicSpec {
                name: "t".into(),
                partitions: 3,
                cleanup,
            };
            let info = TopicInfo {
                id: u128::MAX - 1,
                spec,
            };
            assert_eq!(decode_topic(b"t", &encode_topic(&info)), Some(info));
        }
        let row = PartitionRow {
            start: 1,
            end: 2,
            bytes: 3,
            clean_until: 4,
            dirty_bytes: 5,
        };
        assert_eq!(PartitionRow::decode(&row.encode()), Some(row));
        assert_eq!(decode_meta(&encode_meta(9)), Some((FORMAT, 9)));
        let key = place_key("a group", (7, 8));
        assert_eq!(decode_place_key(&key), Some(("a group".into(), (7, 8))));
        assert_eq!(decode_block_base(&block_key((7, 8), 42)), Some(42));
    }

    #[test]
    fn rows_cut_off_are_none() {
        assert_eq!(PartitionRow::decode(&[0; 39]), None);
        assert_eq!(decode_topic(b"t", &[0; 28]), None);
        assert_eq!(decode_place_key(&[0; 19]), None);
        assert_eq!(decode_place(&[0; 7]), None);
        assert_eq!(decode_meta(&[0; 11]), None);
    }

    #[test]
    fn blocks_sort_by_partition_and_offset() {
        assert!(block_key((1, 0), 255) < block_key((1, 0), 256));
        assert!(block_key((1, 0), Offset::MAX) < block_key((1, 1), 0));
        assert!(block_key((1, 9), 0) < block_key((2, 0), 0));
    }
}
