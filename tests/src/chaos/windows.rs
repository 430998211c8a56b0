//! What the windows of the storm come to: each change of a count, and each count that is final.
//!
//! Invariant: it is a plain calculation over the committed input of a partition, in its order.

use super::{
    check::{Seen, Timed},
    program::{Counted, GRACE, WINDOW},
};
use millstream_core::record::Timestamp;
use std::collections::BTreeMap;

/// What the topic of changes and that of final results must hold, by the time of the last record
/// that was counted.
pub(super) fn counts(input: &[Seen<i64>]) -> (Timed<Counted>, Timed<Counted>) {
    let (mut changes, mut finals) = (Vec::new(), Vec::new());
    // They close by their ends, which is by their starts, and then by the bytes of their keys.
    let mut open: BTreeMap<(Timestamp, &str), (u64, Timestamp)> = BTreeMap::new();
    let mut observed = Timestamp::MIN;
    for Seen { time, key, .. } in input {
        observed = observed.max(*time);
        let start = time - time.rem_euclid(WINDOW);
        if closed(start, observed) {
            continue;
        }
        let (count, last) = open.entry((start, key)).or_default();
        (*count, *last) = (*count + 1, *time.max(last));
        changes.push((*last, (key.clone(), (start, *count))));
        while let Some(first) = open.first_entry()
            && closed(first.key().0, observed)
        {
            let ((start, key), (count, last)) = first.remove_entry();
            finals.push((last, (key.to_owned(), (start, count))));
        }
    }
    (changes, finals)
}

fn closed(start: Timestamp, observed: Timestamp) -> bool {
    start + WINDOW + GRACE <= observed
}

/// Whether a row of the store of windows has not expired: who restored the store and who has had it
/// all along agree on no others.
pub(super) fn is_kept(row: &[u8], observed: Timestamp) -> bool {
    // A row's key ends in the start of its window. What is shorter is the store's own clock.
    let (_, start) = match row.split_last_chunk() {
        Some((key, start)) if !key.is_empty() => (key, *start),
        _ => return false,
    };
    // In the order of bytes negative numbers come first.
    let start = Timestamp::from_be_bytes(start) ^ Timestamp::MIN;
    !closed(start, observed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_counted_and_close_once() {
        let input = [
            (0, "b"),
            (100, "a"),
            (499, "a"),
            (500, "a"),
            (699, "a"),
            // The first window ends at 500, and waits until 700.
            (700, "b"),
            // This one is late.
            (400, "b"),
            // And this one is not, though it is older than the others of its window.
            (550, "a"),
            (5_000, "b"),
        ];
        let seen = |(time, key): (Timestamp, &str)| Seen {
            time,
            offset: 0,
            key: key.to_owned(),
            value: 1,
        };
        let input: Vec<_> = input.into_iter().map(seen).collect();
        let (changes, finals) = counts(&input);
        let told = |(time, (key, (start, count))): (Timestamp, (String, Counted))| {
            format!("{key}{start} {count} @{time}")
        };
        let changes: Vec<_> = changes.into_iter().map(told).collect();
        let expected = [
            "b0 1 @0",
            "a0 1 @100",
            "a0 2 @499",
            "a500 1 @500",
            "a500 2 @699",
            "b500 1 @700",
            "a500 3 @699",
            "b5000 1 @5000",
        ];
        assert_eq!(changes, expected);
        let finals: Vec<_> = finals.into_iter().map(told).collect();
        assert_eq!(
            finals,
            ["a0 2 @499", "b0 1 @0", "a500 3 @699", "b500 1 @700"]
        );
    }

    #[test]
    fn rows_are_kept_until_their_windows_close() {
        let row = |start: Timestamp| [b"key", &(start ^ Timestamp::MIN).to_be_bytes()[..]].concat();
        assert!(is_kept(&row(500), 1_199));
        assert!(!is_kept(&row(500), 1_200));
        // The store's clock is no row.
        assert!(!is_kept(&[0], 0));
    }
}
