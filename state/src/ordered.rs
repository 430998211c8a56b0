//! Key encodings whose byte order is the order of the values, for stores that are scanned.
//!
//! Invariant: every encoding is prefix-free (none is the beginning of another of the same type), so
//! encodings written one after the other order like the tuple of their values, first field first.
//! Unsigned numbers are big-endian; signed ones have their sign bit flipped, which puts negative
//! numbers first. Text and bytes of any length end in a terminator, and the zero byte, from which
//! the terminator is made, is escaped:
//!
//! ```text
//! 0x00 inside  ->  0x00 0xFF          end  ->  0x00 0x00
//! ```
//!
//! A string that ends where another goes on therefore sorts first, even if the other goes on with a
//! zero. Each value has exactly one encoding; the reader refuses all others.

use crate::{Error, Result};

const ZERO: u8 = 0x00;
/// What follows a zero that is part of the text. It is above [`END`], so the longer text is larger.
const ESCAPED: u8 = 0xFF;
/// What follows the zero that ends the text.
const END: u8 = 0x00;

/// Appends a number of one byte.
pub fn put_u8(out: &mut Vec<u8>, value: u8) {
    out.push(value);
}

/// Appends a number of two bytes.
pub fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a number of four bytes.
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a number of eight bytes.
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a signed number of four bytes.
pub fn put_i32(out: &mut Vec<u8>, value: i32) {
    put_u32(out, value.cast_unsigned() ^ (1 << 31));
}

/// Appends a signed number of eight bytes, such as a timestamp.
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&i64_bytes(value));
}

/// The bytes that [`put_i64`] appends.
pub const fn i64_bytes(value: i64) -> [u8; 8] {
    (value.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// Appends bytes of any length: themselves, two for each zero among them, and two for the end.
///
/// ```
/// use millstream_state::ordered::{Reader, put_bytes, put_i64};
///
/// // The key of a window: all windows of one key lie together, in the order of time.
/// let window = |key: &[u8], start: i64| {
///     let mut out = Vec::new();
///     put_bytes(&mut out, key);
///     put_i64(&mut out, start);
///     out
/// };
/// assert!(window(b"a", 7) < window(b"a", 8));
/// assert!(window(b"a", i64::MAX) < window(b"a\0", i64::MIN));
///
/// let (encoded, mut key) = (window(b"a\0b", -5), Vec::new());
/// let mut reader = Reader::new(&encoded);
/// reader.bytes(&mut key)?;
/// assert_eq!((key.as_slice(), reader.i64()?), (&b"a\0b"[..], -5));
/// reader.finish()?;
/// # Ok::<(), millstream_state::Error>(())
/// ```
pub fn put_bytes(out: &mut Vec<u8>, value: &[u8]) {
    let mut pieces = value.split(|byte| *byte == ZERO);
    // Splitting yields at least one piece, and each one after it stands behind a zero.
    out.extend_from_slice(pieces.next().unwrap_or_default());
    for piece in pieces {
        out.extend_from_slice(&[ZERO, ESCAPED]);
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(&[ZERO, END]);
}

/// Whether this is what [`put_bytes`] appends for a value.
///
/// ```
/// use millstream_state::ordered::{is_of_bytes, put_bytes};
///
/// let mut encoded = Vec::new();
/// put_bytes(&mut encoded, b"a\0b");
/// assert!(is_of_bytes(&encoded, b"a\0b"));
/// assert!(!is_of_bytes(&encoded, b"a\0\xffb"));
/// ```
#[inline]
pub fn is_of_bytes(encoded: &[u8], value: &[u8]) -> bool {
    match encoded.split_at_checked(value.len()) {
        // Without a zero the value stands there as it is.
        Some((same, [ZERO, END])) if same == value => !value.contains(&ZERO),
        _ => is_of_pieces(encoded, value),
    }
}

/// The same of a value that may have zeros: between two of them it stands there as it is.
fn is_of_pieces(encoded: &[u8], value: &[u8]) -> bool {
    let mut pieces = value.split(|byte| *byte == ZERO);
    let first = encoded.strip_prefix(pieces.next().unwrap_or_default());
    let end = pieces.try_fold(first, |rest, piece| {
        let rest = rest?.strip_prefix(&[ZERO, ESCAPED])?;
        Some(rest.strip_prefix(piece))
    });
    end.flatten() == Some(&[ZERO, END])
}

/// Appends text; it sorts by its UTF-8 bytes, which is the order of `str` in Rust.
pub fn put_str(out: &mut Vec<u8>, value: &str) {
    put_bytes(out, value.as_bytes());
}

/// Turns a prefix into the first key behind all keys that start with it: the excluded end of a
/// scan.
///
/// Returns `false`, and leaves the prefix empty, where there is no such key because it consists of
/// `0xFF` only; the scan then has no upper bound.
pub fn prefix_end(prefix: &mut Vec<u8>) -> bool {
    while let Some(last) = prefix.pop() {
        if let Some(next) = last.checked_add(1) {
            prefix.push(next);
            return true;
        }
    }
    false
}

/// Takes the fields off an encoded key in the order in which they were put.
///
/// Every method fails with [`Error::Corrupt`] where the bytes are not what the encoder writes, and
/// never panics.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the first field.
    pub fn new(encoded: &'a [u8]) -> Self {
        Self { rest: encoded }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes a number of one byte.
    ///
    /// # Errors
    /// The key ends too early.
    pub fn u8(&mut self) -> Result<u8> {
        self.take().map(u8::from_be_bytes)
    }

    /// Takes a number of two bytes.
    ///
    /// # Errors
    /// The key ends too early.
    pub fn u16(&mut self) -> Result<u16> {
        self.take().map(u16::from_be_bytes)
    }

    /// Takes a number of four bytes.
    ///
    /// # Errors
    /// The key ends too early.
    pub fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_be_bytes)
    }

    /// Takes a number of eight bytes.
    ///
    /// # Errors
    /// The key ends too early.
    pub fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_be_bytes)
    }

    /// Takes a signed number of four bytes.
    ///
    /// # Errors
    /// The key ends too early.
    pub fn i32(&mut self) -> Result<i32> {
        Ok((self.u32()? ^ (1 << 31)).cast_signed())
    }

    /// Takes a signed number of eight bytes.
    ///
    /// # Errors
    /// The key ends too early.
    pub fn i64(&mut self) -> Result<i64> {
        Ok((self.u64()? ^ (1 << 63)).cast_signed())
    }

    /// Takes bytes into `out`, which is cleared first.
    ///
    /// # Errors
    /// The terminator is missing, or a zero is followed by neither of its two companions.
    pub fn bytes(&mut self, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        loop {
            let Some(zero) = self.rest.iter().position(|byte| *byte == ZERO) else {
                return Err(Error::Corrupt("ordered key: text has no end".to_owned()));
            };
            out.extend_from_slice(&self.rest[..zero]);
            let mark = self.rest.get(zero + 1).copied();
            self.rest = self.rest.get(zero + 2..).unwrap_or_default();
            match mark {
                Some(ESCAPED) => out.push(ZERO),
                Some(END) => return Ok(()),
                _ => {
                    return Err(Error::Corrupt(
                        "ordered key: broken escape in text".to_owned(),
                    ));
                }
            }
        }
    }

    /// Takes text into `out`, which is cleared first.
    ///
    /// # Errors
    /// As [`Reader::bytes`], or the bytes are not UTF-8; `out` is empty then.
    pub fn str(&mut self, out: &mut String) -> Result<()> {
        let mut bytes = std::mem::take(out).into_bytes();
        self.bytes(&mut bytes)?;
        *out = String::from_utf8(bytes)
            .map_err(|_| Error::Corrupt("ordered key: text is not UTF-8".to_owned()))?;
        Ok(())
    }

    /// Makes sure that nothing is left.
    ///
    /// # Errors
    /// There are bytes behind the last field.
    pub fn finish(self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Error::Corrupt(format!(
            "ordered key: {} bytes too many",
            self.rest.len()
        )))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| Error::Corrupt("ordered key: too short".to_owned()))?;
        self.rest = rest;
        Ok(*head)
    }
}
