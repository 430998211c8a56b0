//! The records of an input topic, from a seed.
//!
//! A key is `key-` and at least six digits. Values are random bytes, which do not compress, but for
//! the record's number at the front. Invariant: a partition is what Kafka's own producer would
//! have chosen for the key, so that topics filled here may be joined.

use crate::common::Options;
use anyhow::{Result, bail};
use std::fmt::Write as _;

/// The time of the first record: long ago, and the same in every run.
const FIRST_MS: i64 = 1_700_000_000_000;
/// How many records share a millisecond.
const RECORDS_PER_MS: u64 = 100;

/// Which keys come how often.
enum Shape {
    /// Each as often as any, in no order.
    Uniform,
    /// The n-th most frequent one in proportion to 1/n: the shares, added up.
    Zipf(Vec<f64>),
    /// One after the other, each once.
    Each,
}

/// A record to be sent.
pub(crate) struct Record<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) partition: i32,
    pub(crate) timestamp: i64,
}

/// The records, one after the other.
pub(crate) struct Input {
    shape: Shape,
    keys: u64,
    partitions: u32,
    random: u64,
    number: u64,
    first_ms: i64,
    key: String,
    value: Vec<u8>,
}

impl Input {
    /// The input that the options describe.
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let keys: u64 = options.number("keys")?;
        if keys == 0 {
            bail!("there must be a key");
        }
        let shape = match options.text("shape")? {
            "uniform" => Shape::Uniform,
            "zipf" => Shape::Zipf(shares(keys)),
            "each" => Shape::Each,
            other => bail!("no shape {other:?}"),
        };
        let seed: u64 = options.number("seed")?;
        let value: usize = options.number("value.bytes")?;
        if value < 16 {
            bail!("a value has at least 16 bytes");
        }
        // A later seed is a later time: a table, filled with the first one, is older than what
        // joins it.
        let later = i64::try_from(seed)? * 1_000_000;
        Ok(Self {
            shape,
            keys,
            partitions: options.number("partitions")?,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            number: 0,
            first_ms: FIRST_MS + later,
            key: String::new(),
            value: vec![0; value],
        })
    }

    /// The next record.
    pub(crate) fn next(&mut self) -> Record<'_> {
        let key = match &self.shape {
            Shape::Each => self.number % self.keys,
            Shape::Uniform => xorshift(&mut self.random) % self.keys,
            Shape::Zipf(shares) => {
                // 53 bits are what a float holds exactly.
                #[expect(clippy::cast_precision_loss, reason = "no more than 53 bits are left")]
                let at = (xorshift(&mut self.random) >> 11) as f64 / (1_u64 << 53) as f64;
                let rank = shares.partition_point(|share| *share <= at) as u64;
                // Frequent keys lie far from each other in the order of bytes.
                rank.min(self.keys - 1).wrapping_mul(0x9E37_79B1) % self.keys
            }
        };
        self.key.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.key, "key-{key:06}");
        for bytes in self.value.chunks_mut(8) {
            let random = xorshift(&mut self.random).to_be_bytes();
            bytes.copy_from_slice(&random[..bytes.len()]);
        }
        self.value[8..16].copy_from_slice(&self.number.to_be_bytes());
        let passed = i64::try_from(self.number / RECORDS_PER_MS).unwrap_or(i64::MAX);
        self.number += 1;
        let partition = millstream_log::murmur2::partition(self.key.as_bytes(), self.partitions);
        Record {
            key: self.key.as_bytes(),
            value: &self.value,
            partition: i32::try_from(partition).unwrap_or(i32::MAX),
            timestamp: self.first_ms + passed,
        }
    }
}

/// The shares of so many keys, each the sum of its own and all more frequent ones'.
fn shares(keys: u64) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "there are few keys")]
    let share = |rank: u64| 1.0 / (rank + 1) as f64;
    let whole: f64 = (0..keys).map(share).sum();
    let mut sum = 0.0;
    let mut shares = Vec::new();
    for rank in 0..keys {
        sum += share(rank) / whole;
        shares.push(sum);
    }
    shares
}

fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
