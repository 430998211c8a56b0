//! Numbers and strings as bytes, and back.
//!
//! Invariant: a [`Reader`] never panics and never reads past its end, whatever the bytes are.

/// Appends an unsigned number in groups of seven bits, lowest first (LEB128).
pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
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
pub(super) fn put_zigzag(out: &mut Vec<u8>, number: i64) {
    put_varint(
        out,
        (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned(),
    );
}

/// Appends an optional number: 0 says that there is none.
pub(super) fn put_option(out: &mut Vec<u8>, number: Option<i64>) {
    out.push(u8::from(number.is_some()));
    if let Some(number) = number {
        put_zigzag(out, number);
    }
}

/// Takes values off the front of a slice; `None` says that the bytes do not hold one.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_be_bytes)
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Option<u64> {
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

    pub(super) fn zigzag(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A length or a count, which on this machine fits the address space or is wrong.
    pub(super) fn length(&mut self) -> Option<usize> {
        self.varint()?.try_into().ok()
    }

    pub(super) fn option(&mut self) -> Option<Option<i64>> {
        match self.u8()? {
            0 => Some(None),
            1 => self.zigzag().map(Some),
            _ => None,
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
