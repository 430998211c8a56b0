//! Committed places as Kafka keeps them: an offset, and text with it.
//!
//! A broker keeps the text as characters, so bytes are written as hexadecimal digits behind a mark.
//! What other programs have stored has no mark and is no metadata to us: such a place has no
//! transaction number.

use crate::errors::{fatal, refused};
use crate::ffi::{Entry, PartitionList};
use millstream_core::record::TopicPartition;
use millstream_log::{Committed, Error, Result};
use std::fmt::Write;

/// In front of the digits: who wrote them, and in which form.
const MARK: &str = "ms1:";

/// Metadata as text.
pub(crate) fn written(metadata: &[u8]) -> String {
    let mut text = String::with_capacity(MARK.len() + 2 * metadata.len());
    text.push_str(MARK);
    for byte in metadata {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The metadata in a text; none if it is not ours.
pub(crate) fn read(text: &[u8]) -> Vec<u8> {
    let Some(digits) = text.strip_prefix(MARK.as_bytes()) else {
        return Vec::new();
    };
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let bytes = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    bytes.collect::<Option<_>>().unwrap_or_default()
}

/// Places as a list to commit.
pub(crate) fn list(places: &[(TopicPartition, Committed)]) -> Result<PartitionList> {
    let mut list = PartitionList::new(places.len()).map_err(fatal)?;
    for (at, place) in places {
        let text = written(&place.metadata);
        list.push_place(at, place.offset, &text).map_err(fatal)?;
    }
    Ok(list)
}

/// Found places, in the order asked; an error of one partition is that of the whole.
pub(crate) fn found(
    partitions: &[TopicPartition],
    entries: &[Entry],
) -> Result<Vec<Option<Committed>>> {
    let mut places = Vec::with_capacity(partitions.len());
    for at in partitions {
        let entry = entries.iter().find(|entry| entry.at == *at);
        let place = match entry {
            None => None,
            Some(entry) => {
                if let Err(error) = &entry.outcome {
                    return Err(refused("asking for committed places", error));
                }
                entry.offset.map(|offset| Committed {
                    offset,
                    metadata: read(&entry.metadata),
                })
            }
        };
        places.push(place);
    }
    Ok(places)
}

/// What found places say of a commit that had these: whether it happened.
///
/// Two members that took over the same places number their next commits alike, so a commit is known
/// by its whole places, and what is neither it nor older is another member's.
///
/// # Errors
/// `Fenced` where somebody else has committed since, or where there are no places to go by.
pub(crate) fn happened(
    transaction: u64,
    places: &[(TopicPartition, Committed)],
    found: &[Option<Committed>],
) -> Result<bool> {
    let ours = places.iter().map(|(_, place)| Some(place));
    if !places.is_empty() && ours.eq(found.iter().map(Option::as_ref)) {
        return Ok(true);
    }
    let mut numbers = found.iter().flatten().filter_map(Committed::transaction);
    if places.is_empty() || numbers.any(|number| number >= transaction) {
        let why = format!("what became of transaction {transaction} is for others to say");
        return Err(Error::Fenced(why));
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_comes_back() {
        for metadata in [&[][..], &[0], &[255, 16, 1], b"stream time"] {
            let text = written(metadata);
            assert!(text.is_ascii());
            assert_eq!(read(text.as_bytes()), metadata);
        }
    }

    #[test]
    fn what_others_wrote_is_no_metadata() {
        for text in [
            &b""[..],
            b"AgAAAZ",
            b"ms1:0",
            b"ms1:zz",
            "ms1:ä0".as_bytes(),
        ] {
            assert_eq!(read(text), [0u8; 0], "{text:?}");
        }
    }

    #[test]
    fn a_commit_is_known_by_its_whole_places() {
        let at = |partition| TopicPartition::new("t", partition);
        let place = |offset, number| Committed::new(offset, number, b"time");
        let ours = [(at(0), place(5, 7)), (at(1), place(9, 7))];
        let told = |found: [Option<Committed>; 2]| happened(7, &ours, &found);
        let others = |found| matches!(told(found), Err(Error::Fenced(_)));
        assert_eq!(told([Some(place(5, 7)), Some(place(9, 7))]), Ok(true));
        assert_eq!(told([Some(place(4, 6)), None]), Ok(false));
        assert_eq!(told([None, None]), Ok(false));
        // Whoever took over the places before ours has the same number, and went less far.
        assert!(others([Some(place(4, 7)), Some(place(9, 7))]));
        assert!(others([Some(Committed::new(5, 7, b"")), Some(place(9, 7))]));
        assert!(others([Some(place(5, 7)), Some(place(8, 6))]), "a half");
        assert!(others([Some(place(5, 8)), Some(place(9, 7))]));
        assert!(matches!(happened(7, &[], &[]), Err(Error::Fenced(_))));
    }
}
