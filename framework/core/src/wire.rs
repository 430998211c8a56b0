//! Numbers and records as bytes, and back: what blocks on disk and packs are written with.
//!
//! Invariant: a [`Reader`] never panics and never reads past its end, whatever the bytes are.

use crate::record::{Headers, RawRecord, Timestamp};

/// Appends an unsigned number in groups of seven bits, lowest first (LEB128).
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(low_byte(number) | 0x80);
        number >>= 7;
    }
    out.push(low_byte(number));
}

const fn low_byte(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

/// Appends a signed number so that small ones of either sign are short (zigzag).
pub fn put_zigzag(out: &mut Vec<u8>, number: i64) {
    put_varint(
        out,
        (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned(),
    );
}

/// Appends an optional number: 0 says that there is none.
pub fn put_option(out: &mut Vec<u8>, number: Option<i64>) {
    out.push(u8::from(number.is_some()));
    if let Some(number) = number {
        put_zigzag(out, number);
    }
}

/// Appends key, value and headers of a record: the two lengths (one more than it is, 0 for null),
/// the headers, the bytes.
pub fn put_parts(out: &mut Vec<u8>, record: RawRecord<'_>) {
    put_length(out, record.key);
    put_length(out, record.value);
    put_headers(out, record.headers);
    out.extend_from_slice(record.key.unwrap_or_default());
    out.extend_from_slice(record.value.unwrap_or_default());
}

/// Appends headers: how many, then of each the name and the value, both behind their lengths.
pub fn put_headers(out: &mut Vec<u8>, headers: &Headers) {
    put_varint(out, headers.iter().len() as u64);
    for header in headers {
        put_varint(out, header.name.len() as u64);
        out.extend_from_slice(header.name.as_bytes());
        put_length(out, header.value.as_deref());
        out.extend_from_slice(header.value.as_deref().unwrap_or_default());
    }
}

fn put_length(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(out, bytes.map_or(0, |bytes| bytes.len() as u64 + 1));
}

/// What a record takes at least: the lengths of key and value, and the number of headers.
pub const PARTS_BYTES_MIN: usize = 3;

/// Key, value and headers of a record.
pub struct Parts<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Headers,
}

impl Parts<'_> {
    /// The record of that time which they are of.
    pub fn at(&self, timestamp: Timestamp) -> RawRecord<'_> {
        RawRecord {
            key: self.key,
            value: self.value,
            timestamp,
            headers: &self.headers,
        }
    }
}

/// Takes values off the front of a slice; `None` says that the bytes do not hold one.
pub struct Reader<'a>(
    /// What is left.
    pub &'a [u8],
);

impl<'a> Reader<'a> {
    /// So many bytes.
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// As many bytes as the array has.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// A byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    /// A number of four bytes, big-endian.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A number of eight bytes, big-endian.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A signed number of eight bytes, big-endian.
    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A number of sixteen bytes, big-endian.
    pub fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_be_bytes)
    }

    /// What [`put_varint`] has written.
    #[inline]
    pub fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for (index, &byte) in self.0.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << (7 * index);
            // The tenth byte has room for one bit only.
            if shifted >> (7 * index) != bits {
                return None;
            }
            number |= shifted;
            if byte < 0x80 {
                self.0 = &self.0[index + 1..];
                return Some(number);
            }
        }
        None
    }

    /// What [`put_zigzag`] has written.
    pub fn zigzag(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A length or a count, which on this machine fits the address space or is wrong.
    pub fn length(&mut self) -> Option<usize> {
        self.varint()?.try_into().ok()
    }

    /// What [`put_option`] has written.
    pub fn option(&mut self) -> Option<Option<i64>> {
        match self.u8()? {
            0 => Some(None),
            1 => self.zigzag().map(Some),
            _ => None,
        }
    }

    /// What [`put_parts`] has written.
    pub fn parts(&mut self) -> Option<Parts<'a>> {
        let (key, value) = (self.length()?, self.length()?);
        let headers = self.headers()?;
        Some(Parts {
            key: self.bytes(key)?,
            value: self.bytes(value)?,
            headers,
        })
    }

    /// What [`put_headers`] has written.
    pub fn headers(&mut self) -> Option<Headers> {
        let mut headers = Headers::NONE;
        for _ in 0..self.length()? {
            let length = self.length()?;
            let name = std::str::from_utf8(self.take(length)?).ok()?;
            let length = self.length()?;
            headers.push(name, self.bytes(length)?.map(<[u8]>::to_vec));
        }
        Some(headers)
    }

    /// Bytes whose length was written as one more than it is; the outer `None` is a wrong length.
    fn bytes(&mut self, length: usize) -> Option<Option<&'a [u8]>> {
        match length {
            0 => Some(None),
            length => self.take(length - 1).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(unsigned: u64, signed: i64, option: Option<i64>) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, unsigned);
            put_zigzag(&mut bytes, signed);
            put_option(&mut bytes, option);
            let mut reader = Reader(&bytes);
            prop_assert_eq!(reader.varint(), Some(unsigned));
            prop_assert_eq!(reader.zigzag(), Some(signed));
            prop_assert_eq!(reader.option(), Some(option));
            prop_assert!(reader.0.is_empty());
        }

        #[test]
        fn rubbish_is_refused_not_trusted(bytes: Vec<u8>) {
            let mut reader = Reader(&bytes);
            while reader.varint().is_some() {}
            prop_assert!(reader.0.len() <= bytes.len());
        }
    }

    #[test]
    fn numbers_too_long_are_none() {
        assert_eq!(Reader(&[0xff; 11]).varint(), None);
        assert_eq!(Reader(&[0xff; 3]).varint(), None);
        assert_eq!(Reader(&[2, 0]).option(), None);
    }
}
