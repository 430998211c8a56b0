//! MurmurHash3 in its form for 64-bit machines with 128 bits of result: which left row a foreign
//! row was looked up for.
//!
//! Invariant: the bits are those of the published algorithm, seeded as Kafka Streams does, since
//! they lie in stores and topics.

const SEED: u64 = 104_729;
const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// The hash of some bytes, its first half above its second.
pub(super) fn hash128(data: &[u8]) -> u128 {
    seeded(data, SEED)
}

fn seeded(data: &[u8], seed: u64) -> u128 {
    let (blocks, tail) = data.as_chunks::<16>();
    let (mut h1, mut h2) = (seed, seed);
    for block in blocks {
        let (k1, k2) = halves(block);
        h1 = (h1 ^ mix1(k1)).rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mix2(k2)).rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    // A missing half is zero, and so is its mixture.
    let mut last = [0; 16];
    last[..tail.len()].copy_from_slice(tail);
    let (k1, k2) = halves(&last);
    let length = data.len() as u64;
    h1 ^= mix1(k1) ^ length;
    h2 ^= mix2(k2) ^ length;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finish(h1);
    h2 = finish(h2);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (u128::from(h1) << 64) | u128::from(h2)
}

/// Two little-endian numbers.
fn halves(block: &[u8; 16]) -> (u64, u64) {
    let half = |from: usize| u64::from_le_bytes(std::array::from_fn(|n| block[from + n]));
    (half(0), half(8))
}

fn mix1(k: u64) -> u64 {
    k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix2(k: u64) -> u64 {
    k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finish(mut h: u64) -> u64 {
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_hashes_come_out() {
        let hashes = [
            ("", 0),
            ("hello", 0xcbd8_a7b3_41bd_9b02_5b1e_906a_48ae_1d19),
            ("hello, world", 0x342f_ac62_3a5e_bc8e_4cdc_bc07_9642_414d),
            (
                "19 Jan 2038 at 3:14:07 AM",
                0xb89e_5988_b737_affc_664f_c295_0231_b2cb,
            ),
            (
                "The quick brown fox jumps over the lazy dog.",
                0xcd99_481f_9ee9_02c9_695d_a1a3_8987_b6e7,
            ),
        ];
        for (text, hash) in hashes {
            assert_eq!(seeded(text.as_bytes(), 0), hash, "{text:?}");
        }
    }

    /// The check that the author's test suite makes of every hash: keys of 0 to 255 bytes, each
    /// with a seed of its own, and then a hash of their hashes.
    #[test]
    fn the_authors_verification_value_comes_out() {
        let key: Vec<u8> = (0..=255).collect();
        let little = |hash: u128| {
            let [high, low] = [hash >> 64, hash & u128::from(u64::MAX)];
            ((low << 64) | high).to_le_bytes()
        };
        let hashes: Vec<u8> = (0..256usize)
            .flat_map(|length| little(seeded(&key[..length], 256 - length as u64)))
            .collect();
        let verification = little(seeded(&hashes, 0));
        assert_eq!(verification[..4], 0x6384_ba69_u32.to_le_bytes());
    }
}
