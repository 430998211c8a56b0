//! Blocks as bytes on disk.
//!
//! Layout, version 1: the version byte; xxh3-64 of all that follows, big-endian; then
//! variable-length numbers: the covered span, the horizon, the newest timestamp, the block's bytes
//! and its count of records; then each record as the gap to the offset before, the difference to
//! the timestamp before, the lengths of key and value (one more than it is, 0 for null), the
//! headers, the bytes. Offsets are relative to the block's base, which is its key, so that a block
//! can be encoded before its place in the partition is known.
//!
//! Invariant: decoding never panics, and bytes that were changed are refused, not misread.

use super::block::{Block, Head};
use millstream_core::{
    batch::{RecordBatch, Records},
    record::Offset,
    wire::{PARTS_BYTES_MIN, Reader, put_option, put_parts, put_varint, put_zigzag},
};
use std::{ops::Range, sync::Arc};
use xxhash_rust::xxh3::xxh3_64;

const VERSION: u8 = 1;
/// The version byte and the checksum.
const PREFIX: usize = 1 + size_of::<u64>();

/// What a record takes at least: two numbers before its parts.
const RECORD_BYTES_MIN: usize = 2 + PARTS_BYTES_MIN;

/// Why bytes are not a block.
pub(super) type Corrupt = &'static str;

/// Appends a block.
pub(super) fn encode(head: &Head, batch: &RecordBatch, range: Range<usize>, out: &mut Vec<u8>) {
    let start = out.len();
    // What a record takes here is hardly ever more than what it counts as, so nothing grows.
    out.reserve(PREFIX + usize::try_from(head.bytes).unwrap_or(0));
    out.resize(start + PREFIX, VERSION);
    put_varint(out, (head.end - head.base).cast_unsigned());
    put_option(out, head.horizon);
    put_zigzag(out, head.newest);
    put_varint(out, head.bytes);
    put_varint(out, range.len() as u64);
    let (mut next, mut timestamp) = (head.base, 0_i64);
    for index in range {
        let (offset, record) = (batch.offset(index), batch.get(index));
        put_varint(out, (offset - next).cast_unsigned());
        put_zigzag(out, record.timestamp.wrapping_sub(timestamp));
        (next, timestamp) = (offset + 1, record.timestamp);
        put_parts(out, record);
    }
    let block = &mut out[start..];
    let checksum = xxh3_64(&block[PREFIX..]);
    block[1..PREFIX].copy_from_slice(&checksum.to_be_bytes());
}

/// Reads what is in front of the records. The checksum is verified first: retention deletes records
/// for what heads say of them, and the storage has read the whole block anyway.
pub(super) fn decode_head(bytes: &[u8], base: Offset) -> Result<Head, Corrupt> {
    let mut reader = verified(bytes)?;
    read_head(&mut reader, base).map(|(head, _)| head)
}

/// What follows version and checksum, if they are right.
fn verified(bytes: &[u8]) -> Result<Reader<'_>, Corrupt> {
    let mut reader = Reader(bytes);
    let version = reader.u8().ok_or("it is empty")?;
    if version != VERSION {
        return Err("its version is unknown to this program");
    }
    let checksum = reader.u64().ok_or("it is too short")?;
    if checksum != xxh3_64(reader.0) {
        return Err("its checksum does not match");
    }
    Ok(reader)
}

/// Appends to `batch` the records of a block at and after `from`.
pub(super) fn decode(
    bytes: &[u8],
    base: Offset,
    from: Offset,
    batch: &mut RecordBatch,
) -> Result<Head, Corrupt> {
    let mut reader = verified(bytes)?;
    let (head, count) = read_head(&mut reader, base)?;
    // A count that cannot be is found out below.
    let records = count.min(reader.0.len() / RECORD_BYTES_MIN);
    batch.reserve(records, reader.0.len());
    let (mut next, mut timestamp) = (base, 0_i64);
    for _ in 0..count {
        let gap = reader.varint().and_then(|gap| i64::try_from(gap).ok());
        let offset = gap
            .and_then(|gap| next.checked_add(gap))
            .filter(|offset| *offset < head.end)
            .ok_or("an offset is outside it")?;
        let delta = reader.zigzag().ok_or("a timestamp is cut off")?;
        (next, timestamp) = (offset + 1, timestamp.wrapping_add(delta));
        let parts = reader.parts().ok_or("a record is cut off")?;
        if offset >= from && !batch.push(offset, parts.at(timestamp)) {
            return Err("it holds more than memory should");
        }
    }
    if reader.0.is_empty() {
        Ok(head)
    } else {
        Err("bytes follow its last record")
    }
}

/// Reads a whole block into memory of its own.
pub(super) fn decode_block(bytes: &[u8], base: Offset) -> Result<Block, Corrupt> {
    let mut batch = RecordBatch::new();
    let head = decode(bytes, base, Offset::MIN, &mut batch)?;
    Ok(Block {
        head,
        records: Records::all(Arc::new(batch)),
    })
}

fn read_head(reader: &mut Reader<'_>, base: Offset) -> Result<(Head, usize), Corrupt> {
    let mut read = || {
        let span = i64::try_from(reader.varint()?).ok()?;
        let head = Head {
            base,
            end: base.checked_add(span)?,
            horizon: reader.option()?,
            newest: reader.zigzag()?,
            bytes: reader.varint()?,
        };
        Some((head, reader.length()?))
    };
    read().ok_or("its head is cut off")
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::record::RawRecord;
    use proptest::prelude::*;

    type Row = (
        i64,
        i64,
        Option<Vec<u8>>,
        Option<Vec<u8>>,
        Vec<(String, Option<Vec<u8>>)>,
    );

    fn block(base: Offset, rows: &[Row], horizon: Option<i64>) -> Block {
        let mut batch = RecordBatch::new();
        let mut next = base;
        for (gap, timestamp, key, value, headers) in rows {
            let headers = headers
                .iter()
                .map(|(name, value)| millstream_core::record::Header {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect();
            let record = RawRecord {
                key: key.as_deref(),
                value: value.as_deref(),
                timestamp: *timestamp,
                headers: &headers,
            };
            next += gap;
            assert!(batch.push(next, record));
            next += 1;
        }
        Block::all(batch, base..next + 3, horizon)
    }

    fn row() -> impl Strategy<Value = Row> {
        let headers = prop::collection::vec(any::<(String, Option<Vec<u8>>)>(), 0..3);
        (
            0..5_i64,
            any::<i64>(),
            any::<Option<Vec<u8>>>(),
            any::<Option<Vec<u8>>>(),
            headers,
        )
    }

    proptest! {
        #[test]
        fn a_block_comes_back(
            rows in prop::collection::vec(row(), 0..20), base in 0..1_000_i64, horizon: Option<i64>,
        ) {
            let block = block(base, &rows, horizon);
            let mut bytes = Vec::new();
            encode(&block.head, &block.records.batch, block.records.range.clone(), &mut bytes);
            let read = decode_block(&bytes, base).unwrap();
            prop_assert_eq!(read.head, block.head);
            prop_assert_eq!(decode_head(&bytes, base).unwrap(), block.head);
            prop_assert!(read.records.iter().eq(block.records.iter()));
        }

        #[test]
        fn one_changed_byte_is_refused(
            rows in prop::collection::vec(row(), 1..5),
            place: prop::sample::Index,
            flip in 1..=255_u8,
        ) {
            let block = block(7, &rows, None);
            let mut bytes = Vec::new();
            encode(&block.head, &block.records.batch, block.records.range.clone(), &mut bytes);
            let place = place.index(bytes.len());
            bytes[place] ^= flip;
            prop_assert!(decode_block(&bytes, 7).is_err());
            prop_assert!(decode_head(&bytes, 7).is_err());
        }

        /// The checksum is made right, so that the parser itself meets the rubbish.
        #[test]
        fn rubbish_is_refused_without_panic(mut bytes: Vec<u8>, base: i64) {
            let checksum = xxh3_64(&bytes);
            bytes.splice(0..0, checksum.to_be_bytes());
            bytes.insert(0, VERSION);
            let _ = decode_block(&bytes, base);
            let _ = decode_head(&bytes, base);
        }
    }

    #[test]
    fn what_is_cut_off_or_new_is_refused_by_name() {
        let block = block(0, &[(0, 1, None, Some(vec![1]), Vec::new())], None);
        let mut bytes = Vec::new();
        encode(
            &block.head,
            &block.records.batch,
            block.records.range.clone(),
            &mut bytes,
        );
        for length in 0..bytes.len() {
            assert!(decode_block(&bytes[..length], 0).is_err(), "{length}");
        }
        bytes[0] = 9;
        assert_eq!(
            decode_block(&bytes, 0).unwrap_err(),
            "its version is unknown to this program"
        );
    }
}
