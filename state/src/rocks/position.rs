//! How a position lies on disk.
//!
//! Invariant: the first byte names the layout, so that a later version can add a field and still
//! read what this one wrote.
//!
//! ```text
//! layout u8 = 2 | offset i64 | topic_id u128 | applied_at i64 | transaction u64 | reach i64
//! ```
//!
//! All numbers are big-endian. Layout 1 has no reach, which is the offset then.

use crate::{Error, Position, Result};

const LAYOUT: u8 = 2;
const LAYOUT_WITHOUT_REACH: u8 = 1;
const LENGTH: usize = 1 + 8 + 16 + 8 + 8 + 8;

pub(super) fn encode(position: &Position) -> [u8; LENGTH] {
    let mut out = [LAYOUT; LENGTH];
    out[1..9].copy_from_slice(&position.offset.to_be_bytes());
    out[9..25].copy_from_slice(&position.topic_id.to_be_bytes());
    out[25..33].copy_from_slice(&position.applied_at.to_be_bytes());
    out[33..41].copy_from_slice(&position.transaction.to_be_bytes());
    out[41..].copy_from_slice(&position.reach.to_be_bytes());
    out
}

pub(super) fn decode(bytes: &[u8]) -> Result<Position> {
    let corrupt = || Error::Corrupt(format!("a position of {} bytes", bytes.len()));
    let Some((&layout, rest)) = bytes.split_first() else {
        return Err(corrupt());
    };
    let (offset, rest) = rest.split_first_chunk().ok_or_else(corrupt)?;
    let (topic_id, rest) = rest.split_first_chunk().ok_or_else(corrupt)?;
    let (applied_at, rest) = rest.split_first_chunk().ok_or_else(corrupt)?;
    let (transaction, rest) = rest.split_first_chunk().ok_or_else(corrupt)?;
    let reach = match (layout, rest) {
        (LAYOUT, reach) => reach.try_into().map_err(|_| corrupt())?,
        (LAYOUT_WITHOUT_REACH, []) => *offset,
        _ => return Err(corrupt()),
    };
    Ok(Position {
        offset: i64::from_be_bytes(*offset),
        reach: i64::from_be_bytes(reach),
        topic_id: u128::from_be_bytes(*topic_id),
        applied_at: i64::from_be_bytes(*applied_at),
        transaction: u64::from_be_bytes(*transaction),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_back_and_nothing_else_is() {
        let position = Position {
            offset: -1,
            reach: 77,
            topic_id: u128::MAX / 3,
            applied_at: 7,
            transaction: u64::MAX,
        };
        let bytes = encode(&position);
        assert_eq!(decode(&bytes).unwrap(), position);
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "cut to {length}");
        }
        assert!(
            decode(&[&bytes[..], &[0]].concat()).is_err(),
            "a byte too many"
        );
        assert!(
            decode(&[&[3], &bytes[1..]].concat()).is_err(),
            "a layout of the future"
        );
        let old = [&[1], &bytes[1..41]].concat();
        let reach = position.offset;
        assert_eq!(decode(&old).unwrap(), Position { reach, ..position });
        assert!(decode(&[&old[..], &[0]].concat()).is_err());
    }
}
