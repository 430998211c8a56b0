//! Random records.

use millstream_core::{
    batch::RecordBatch,
    record::{Header, Headers, RawRecord},
};
use millstream_log::Rng;

/// Every third record has headers, of which two are never alike.
fn headers(number: usize) -> Headers {
    let named = |name: &str, value| Header {
        name: name.to_owned(),
        value,
    };
    match number % 3 {
        0 => {
            let number = number.to_string().into_bytes();
            [named("number", Some(number)), named("", None)]
                .into_iter()
                .collect()
        }
        _ => Headers::NONE,
    }
}

/// So many records over so many keys: times mostly forwards, some values that are no number, and
/// tombstones in so many of twenty where the topic is a table.
///
/// No time is before the earliest, and no two numbers are alike where they must not be.
///
/// With a pace a step of time is so long; now and then there is a long pause, and a record is later
/// than anything waits for.
pub(super) fn records_of(
    rng: &mut Rng,
    (records, keys, tombstones): (u64, u64, u64),
    pace: Option<u64>,
    (earliest, unlike): (i64, bool),
) -> RecordBatch {
    let mut batch = RecordBatch::new();
    let mut time = 0i64;
    for _ in 0..records {
        let timestamp = match pace {
            None => {
                time += rng.below(10) as i64;
                time - rng.below(25) as i64
            }
            Some(unit) => {
                let pause = if rng.below(12) == 0 { 60 } else { 10 };
                time += (unit * rng.below(pause) + rng.below(unit)) as i64;
                let late = if rng.below(8) == 0 { 120 } else { 25 };
                time - (unit * rng.below(late)) as i64
            }
        };
        let timestamp = timestamp.max(earliest);
        let key = format!("k{}", rng.below(keys));
        let mut number = rng.below(100) as i64;
        if unlike {
            number += 1_000 * batch.len() as i64;
        }
        let number = number.to_be_bytes();
        let bad: &[u8] = b"no number";
        let value = match rng.below(20) {
            n if n < tombstones => None,
            19 if tombstones == 0 => Some(bad),
            _ => Some(&number[..]),
        };
        let record = RawRecord {
            key: Some(key.as_bytes()),
            value,
            timestamp,
            headers: &headers(batch.len()),
        };
        let taken = batch.push(batch.len() as i64, record);
        assert!(taken, "a simulation's input is small");
    }
    batch
}
