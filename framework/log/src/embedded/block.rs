//! A block: a run of records of one partition that is stored, cached and dropped as one.
//!
//! Invariant: the blocks of a partition do not overlap; a block covers the offsets `base..end`, and
//! every record of the partition in that stretch is in it.

use millstream_core::{
    batch::{RecordBatch, Records},
    record::{Header, Offset, RawRecord, Timestamp},
};
use std::{ops::Range, sync::Arc};

/// What a record costs in memory beside key, value and headers: its entry in a [`RecordBatch`].
pub(super) const RECORD_OVERHEAD: usize = 48;

/// What is known of a block without reading its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The first offset it covers: its key on disk.
    pub(super) base: Offset,
    /// The offset after the last one it covers, compacted ones included.
    pub(super) end: Offset,
    /// When its tombstones may go (wall-clock milliseconds), once a compaction has seen them.
    pub(super) horizon: Option<i64>,
    /// The largest timestamp of its records: what retention by time goes by, as in Kafka.
    pub(super) newest: Timestamp,
    /// Keys, values, headers and [`RECORD_OVERHEAD`] of each record. Blocks that an earlier version
    /// wrote do not count headers.
    pub(super) bytes: u64,
}

/// A block with its records.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) head: Head,
    pub(super) records: Records,
}

impl Head {
    /// What stands for the head of a block that cannot be read, of which only this is known: one
    /// offset that it covers, and the bytes that it takes on the disk.
    pub(super) fn unread(base: Offset, bytes: usize) -> Self {
        Self {
            base,
            end: base.saturating_add(1),
            horizon: None,
            newest: Timestamp::MAX,
            bytes: bytes as u64,
        }
    }

    /// The head of a block made of that stretch of a batch.
    pub(super) fn of(
        batch: &RecordBatch,
        range: Range<usize>,
        covers: Range<Offset>,
        horizon: Option<i64>,
    ) -> Self {
        let bytes = if range.len() == batch.len() {
            batch_bytes(batch)
        } else {
            range
                .clone()
                .map(|index| record_bytes(batch.get(index)))
                .sum()
        };
        let newest = range.map(|index| batch.timestamp(index)).max();
        Self {
            base: covers.start,
            end: covers.end,
            horizon,
            newest: newest.unwrap_or(Timestamp::MIN),
            bytes: bytes as u64,
        }
    }
}

impl Block {
    /// A block of a whole batch, whose offsets are final.
    pub(super) fn all(batch: RecordBatch, covers: Range<Offset>, horizon: Option<i64>) -> Self {
        let head = Head::of(&batch, 0..batch.len(), covers, horizon);
        Self {
            head,
            records: Records::all(Arc::new(batch)),
        }
    }

    /// The place in the batch of the first record at or after an offset; the end of the block's
    /// stretch where there is none.
    pub(super) fn position_of(&self, offset: Offset) -> usize {
        let Range { start, end } = self.records.range;
        self.records.batch.position_of(offset).clamp(start, end)
    }
}

/// What one record counts for in every bound on bytes of memory.
#[inline]
pub(super) fn record_bytes(record: RawRecord<'_>) -> usize {
    key_and_value(record) + record.headers.bytes() + RECORD_OVERHEAD
}

/// What a batch counts for in every bound on bytes of memory.
pub(super) fn batch_bytes(batch: &RecordBatch) -> usize {
    batch.held_bytes() + batch.len() * RECORD_OVERHEAD
}

/// What a record counts for in the bounds on records and transactions: what its sender wrote. It is
/// less than what the sender reckons with (`wire_size`), who is told of a record that is too large,
/// where a log that refused it would end the program.
#[inline]
pub(super) fn sent_bytes(record: RawRecord<'_>) -> usize {
    let header = |header: &Header| header.name.len() + header.value.as_ref().map_or(0, Vec::len);
    key_and_value(record) + record.headers.iter().map(header).sum::<usize>()
}

#[inline]
fn key_and_value(record: RawRecord<'_>) -> usize {
    record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)
}

/// Cuts a batch into stretches of about the same size, of at most about that many bytes and of one
/// record at least.
pub(super) fn cut(batch: &RecordBatch, bytes_max: usize) -> Vec<Range<usize>> {
    let all = batch_bytes(batch);
    let mut left = all.div_ceil(bytes_max.max(1));
    let (mut cuts, mut start) = (Vec::with_capacity(left.min(batch.len())), 0);
    let (mut bytes, mut rest) = (0, all);
    for index in 0..batch.len() {
        if left <= 1 {
            break;
        }
        bytes += record_bytes(batch.get(index));
        if bytes * left >= rest && index + 1 < batch.len() {
            cuts.push(start..index + 1);
            (start, rest) = (index + 1, rest - bytes);
            (left, bytes) = (rest.div_ceil(bytes_max.max(1)), 0);
        }
    }
    cuts.push(start..batch.len());
    cuts
}

/// How much of a stretch a reader takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Limit {
    /// The longest front of a stretch within the limit, but one record at least, so that a reader
    /// with a small limit gets on.
    pub(super) fn apply(self, batch: &RecordBatch, range: Range<usize>) -> Range<usize> {
        let last = range
            .end
            .min(range.start.saturating_add(self.records.max(1)));
        if batch_bytes(batch) <= self.bytes {
            return range.start..last;
        }
        let mut bytes = 0_usize;
        let fits = (range.start..last).position(|index| {
            bytes = bytes.saturating_add(record_bytes(batch.get(index)));
            bytes > self.bytes && index > range.start
        });
        range.start..fits.map_or(last, |count| range.start + count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::record::{Headers, wire_size};

    fn batch(sizes: &[usize]) -> RecordBatch {
        let mut batch = RecordBatch::new();
        for (&size, offset) in sizes.iter().zip(0..) {
            let value = vec![0; size];
            let record = RawRecord {
                key: None,
                value: Some(&value),
                timestamp: offset,
                headers: &Headers::NONE,
            };
            assert!(batch.push(offset, record));
        }
        batch
    }

    #[test]
    fn cuts_are_small_but_never_empty() {
        let batch = batch(&[0, 0, 1_000, 0]);
        assert_eq!(
            cut(&batch, 1 << 20).as_slice(),
            std::slice::from_ref(&(0..4))
        );
        assert_eq!(cut(&batch, 2 * RECORD_OVERHEAD), [0..2, 2..3, 3..4]);
        assert_eq!(cut(&batch, 0), [0..1, 1..2, 2..3, 3..4]);
    }

    #[test]
    fn cuts_are_of_equal_size() {
        let batch = batch(&[0; 100]);
        let (one, all) = (RECORD_OVERHEAD, 100 * RECORD_OVERHEAD);
        for (bytes_max, lengths) in [
            (all, &[100][..]),
            (all - 1, &[50, 50]),
            (60 * one, &[50, 50]),
            (40 * one, &[34, 33, 33]),
            (33 * one, &[25, 25, 25, 25]),
        ] {
            let cuts = cut(&batch, bytes_max);
            let found: Vec<_> = cuts.iter().map(ExactSizeIterator::len).collect();
            assert_eq!(found, lengths, "{bytes_max}");
            assert_eq!(cuts.iter().map(|cut| cut.start).min(), Some(0));
        }
    }

    #[test]
    fn a_limit_gives_one_record_at_least() {
        let batch = batch(&[10, 10, 10]);
        let limit = |records, bytes| Limit { records, bytes }.apply(&batch, 1..3);
        assert_eq!(limit(0, 0), 1..2);
        assert_eq!(limit(9, 2 * (10 + RECORD_OVERHEAD)), 1..3);
        assert_eq!(limit(1, usize::MAX), 1..2);
        assert_eq!(limit(usize::MAX, 10 + RECORD_OVERHEAD), 1..2);
    }

    #[test]
    fn headers_count() {
        let mut headers = Headers::NONE;
        headers.push("name", Some(vec![0; 1_000]));
        headers.push("null", None);
        let record = RawRecord {
            key: Some(b"key"),
            value: None,
            timestamp: 0,
            headers: &headers,
        };
        assert_eq!(sent_bytes(record), 1_011);
        assert!(sent_bytes(record) < wire_size(record));
        let mut batch = RecordBatch::new();
        assert!((0..3).all(|offset| batch.push(offset, record)));
        let size = record_bytes(record);
        assert!(size >= 1_011 + RECORD_OVERHEAD);
        assert_eq!(batch_bytes(&batch), 3 * size);
        assert_eq!(cut(&batch, 2 * size), [0..2, 2..3]);
        let limit = |bytes| Limit { records: 9, bytes }.apply(&batch, 0..3);
        assert_eq!(
            [limit(size), limit(3 * size - 1), limit(3 * size)],
            [0..1, 0..2, 0..3]
        );
        let head = |range: Range<usize>| Head::of(&batch, range, 0..3, None).bytes;
        assert_eq!((head(0..3), head(1..3)), (3 * size as u64, 2 * size as u64));
        batch.clear();
        assert_eq!(batch_bytes(&batch), 0);
    }

    #[test]
    fn a_block_knows_its_size_and_newest_time() {
        let batch = batch(&[1, 2, 3]);
        let head = Head::of(&batch, 1..3, 1..3, None);
        assert_eq!(head.bytes, 5 + 2 * RECORD_OVERHEAD as u64);
        assert_eq!(head.newest, 2);
        let records = Records {
            batch: Arc::new(batch),
            range: 1..3,
        };
        let block = Block { head, records };
        assert_eq!(block.position_of(0), 1);
        assert_eq!(block.position_of(9), 3);
    }
}
