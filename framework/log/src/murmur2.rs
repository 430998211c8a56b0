//! Kafka's partitioner: which partition a key belongs to.
//!
//! Invariant: bit for bit what Kafka's Java producer computes, so that a topic may be written by
//! this program and any other and still have each key in one partition.

use millstream_core::record::Partition;

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;
const R: u32 = 24;

/// Austin Appleby's `MurmurHash2` with Kafka's seed, as a signed number like Java's.
///
/// ```
/// assert_eq!(millstream_log::murmur2::hash(b"foobar"), -790_332_482);
/// ```
pub fn hash(bytes: &[u8]) -> i32 {
    // Kafka's keys are shorter than 4 GiB; only the low 32 bits of the length enter the hash.
    let length = u32::try_from(bytes.len() & 0xffff_ffff).unwrap_or_default();
    let mut h = SEED ^ length;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> R)).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    if !tail.is_empty() {
        let rest = tail
            .iter()
            .rev()
            .fold(0, |rest, &byte| (rest << 8) | u32::from(byte));
        h = (h ^ rest).wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    (h ^ (h >> 15)).cast_signed()
}

/// The partition of a key in a topic of that many partitions; 0 where there are none.
pub fn partition(key: &[u8], partitions: u32) -> Partition {
    if partitions <= 1 {
        return 0;
    }
    let positive = hash(key).cast_unsigned() & 0x7fff_ffff;
    positive % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own test of its hash, and one more taken from a Java producer.
    #[test]
    fn kafka_computes_the_same() {
        let golden: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ];
        for (key, expected) in golden {
            assert_eq!(hash(key.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn partitions_are_in_range_whatever_the_sign() {
        assert_eq!(partition(b"abc", 3), 479_470_107 % 3);
        assert_eq!(
            partition(b"21", 5),
            (-973_932_308_i32 & 0x7fff_ffff).cast_unsigned() % 5
        );
        assert_eq!(partition(b"", 1), 0);
        assert_eq!(partition(b"x", 0), 0);
    }
}
