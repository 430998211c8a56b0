//! Rows of a table as bytes: the values of deltas and snapshot chunks.
//!
//! Invariant: decoding any bytes at all gives rows in ascending order inside the table or an error
//! that says what is wrong; it never panics and allocates nothing that grows with the input.
//!
//! ```text
//! format    sequence  part    parts     per row: gap     values          at the end: checksum
//! one byte  varint    varint  varint             varint  width * f32 LE              4 bytes
//! ```
//!
//! A gap counts the rows left out since the row before. The checksum is the lower half of the XXH3
//! of all before it.

use millstream_state::{Error, Result};
use xxhash_rust::xxh3::xxh3_64;

const FORMAT: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
/// A varint of 64 bits takes at most so many bytes.
const VARINT_BYTES_MAX: usize = 10;
/// Format, sequence, part, parts, the first row's gap and the checksum at their longest.
pub(super) const FRAME_BYTES_MAX: usize = 1 + 4 * VARINT_BYTES_MAX + CHECKSUM_BYTES;

/// What stands in front of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The commit that wrote it.
    pub(super) seq: u64,
    /// Which part of the commit's delta this is, from zero.
    pub(super) part: u32,
    /// How many parts the delta has.
    pub(super) parts: u32,
}

pub(super) fn corrupt(what: impl std::fmt::Display) -> Error {
    Error::Corrupt(format!("weights: {what}"))
}

pub(super) fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the lowest seven bits are taken"
        )]
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 128")]
    out.push(number as u8);
}

/// Appends the checksum of everything after `start`.
pub(super) fn seal(start: usize, out: &mut Vec<u8>) {
    let hash = xxh3_64(&out[start..]).to_le_bytes();
    out.extend_from_slice(&hash[..CHECKSUM_BYTES]);
}

/// What was sealed, if it still is.
pub(super) fn unseal(bytes: &[u8]) -> Result<&[u8]> {
    let length = bytes
        .len()
        .checked_sub(CHECKSUM_BYTES)
        .ok_or_else(|| corrupt("record cut short"))?;
    let (body, checksum) = bytes.split_at(length);
    if xxh3_64(body).to_le_bytes()[..CHECKSUM_BYTES] != *checksum {
        return Err(corrupt("checksum does not match"));
    }
    Ok(body)
}

/// Writes rows one after the other, lowest first.
pub(super) struct RowWriter {
    next: u32,
}

impl RowWriter {
    /// Begins before the first row of a table.
    pub(super) fn new() -> Self {
        Self { next: 0 }
    }

    pub(super) fn row(&mut self, row: u32, values: &[f32], out: &mut Vec<u8>) {
        put_varint(u64::from(row - self.next), out);
        // Makes room once for all values instead of once for each.
        let start = out.len();
        out.resize(start + 4 * values.len(), 0);
        for (bytes, value) in out[start..].chunks_exact_mut(4).zip(values) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        self.next = row + 1;
    }
}

pub(super) fn put_header(header: Header, out: &mut Vec<u8>) {
    out.push(FORMAT);
    put_varint(header.seq, out);
    put_varint(header.part.into(), out);
    put_varint(header.parts.into(), out);
}

/// Reads rows that [`RowWriter`] wrote.
#[derive(Debug)]
pub(super) struct RowReader<'a> {
    pub(super) header: Header,
    bytes: &'a [u8],
    next: u64,
    rows: u64,
}

impl<'a> RowReader<'a> {
    /// Checks the frame; the rows lie in a table of so many.
    pub(super) fn new(bytes: &'a [u8], rows: usize) -> Result<Self> {
        let body = unseal(bytes)?;
        let (&format, mut bytes) = body.split_first().ok_or_else(|| corrupt("empty record"))?;
        if format != FORMAT {
            let message = format!("rows in format {format}, this version reads {FORMAT}");
            return Err(corrupt(message));
        }
        let seq = take_varint(&mut bytes)?;
        let small =
            |number: u64| u32::try_from(number).map_err(|_| corrupt("part number too large"));
        let part = small(take_varint(&mut bytes)?)?;
        let parts = small(take_varint(&mut bytes)?)?;
        let header = Header { seq, part, parts };
        Ok(Self {
            header,
            bytes,
            next: 0,
            rows: rows as u64,
        })
    }

    /// The next row into `values`, whose length is the table's width; `None` after the last.
    pub(super) fn next(&mut self, values: &mut [f32]) -> Result<Option<u32>> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let gap = take_varint(&mut self.bytes)?;
        let row = self.next.checked_add(gap).filter(|row| *row < self.rows);
        let row = row.ok_or_else(|| corrupt(format!("row outside the table of {}", self.rows)))?;
        self.next = row + 1;
        for value in values {
            let (bytes, rest) = self
                .bytes
                .split_first_chunk()
                .ok_or_else(|| corrupt("row cut short"))?;
            *value = f32::from_le_bytes(*bytes);
            self.bytes = rest;
        }
        u32::try_from(row)
            .map(Some)
            .map_err(|_| corrupt("row number too large"))
    }
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut number = 0;
    for (place, &byte) in bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            *bytes = &bytes[place + 1..];
            return Ok(number);
        }
    }
    Err(corrupt("number cut short"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(header: Header, rows: &[(u32, [f32; 2])]) -> Vec<u8> {
        let mut out = Vec::new();
        put_header(header, &mut out);
        let mut writer = RowWriter::new();
        for (row, values) in rows {
            writer.row(*row, values, &mut out);
        }
        seal(0, &mut out);
        out
    }

    fn read(bytes: &[u8], rows: usize) -> Result<Vec<(u32, [f32; 2])>> {
        let mut reader = RowReader::new(bytes, rows)?;
        let mut values = [0.0; 2];
        let mut all = Vec::new();
        while let Some(row) = reader.next(&mut values)? {
            all.push((row, values));
        }
        Ok(all)
    }

    proptest! {
        #[test]
        fn rows_come_back(
            rows in prop::collection::btree_map(0..1u32 << 20, any::<(i16, i16)>(), 0..50),
            seq: u64,
            part: u32,
        ) {
            let header = Header { seq, part, parts: part };
            let pair = |(a, b): (i16, i16)| [f32::from(a), f32::from(b)];
            let rows: Vec<_> = rows.into_iter().map(|(row, both)| (row, pair(both))).collect();
            let bytes = encoded(header, &rows);
            prop_assert_eq!(RowReader::new(&bytes, 1 << 20).unwrap().header, header);
            prop_assert_eq!(read(&bytes, 1 << 20).unwrap(), rows);
        }

        /// Random bytes under a right checksum reach every branch of the reader.
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = read(&bytes, 1 << 20);
            bytes.insert(0, FORMAT);
            seal(0, &mut bytes);
            if let Ok(rows) = read(&bytes, 1 << 20) {
                prop_assert!(rows.is_sorted_by_key(|(row, _)| *row));
                prop_assert!(rows.iter().all(|(row, _)| *row < 1 << 20));
            }
        }

        #[test]
        fn a_flipped_bit_is_noticed(place: prop::sample::Index, bit in 0..8u8) {
            let header = Header { seq: 3, part: 0, parts: 1 };
            let mut bytes = encoded(header, &[(5, [1.0, 2.0]), (9, [3.0, 4.0])]);
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            prop_assert!(read(&bytes, 100).is_err());
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let header = Header {
            seq: 1,
            part: 0,
            parts: 1,
        };
        let bytes = encoded(header, &[(99, [1.0, 2.0])]);
        let message = |result: Result<Vec<_>>| result.unwrap_err().to_string();
        assert!(message(read(&bytes, 99)).contains("row outside the table of 99"));
        assert!(message(read(&bytes[..3], 99)).contains("cut short"));
        let mut other = vec![2];
        seal(0, &mut other);
        assert!(message(read(&other, 99)).contains("format 2, this version reads 1"));
    }
}
