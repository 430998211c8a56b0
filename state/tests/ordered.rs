//! The ordered encodings against the order of the values themselves, over generated values.

use millstream_state::ordered::{
    Reader, is_of_bytes, prefix_end, put_bytes, put_i32, put_i64, put_str, put_u8, put_u16,
    put_u32, put_u64,
};
use proptest::prelude::*;

/// One key of every type, in the order of its fields.
type Row = (Vec<u8>, String, i64, i32, u64, (u32, u16, u8));

fn encode(row: &Row) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, &row.0);
    put_str(&mut out, &row.1);
    put_i64(&mut out, row.2);
    put_i32(&mut out, row.3);
    put_u64(&mut out, row.4);
    put_u32(&mut out, row.5.0);
    put_u16(&mut out, row.5.1);
    put_u8(&mut out, row.5.2);
    out
}

fn decode(bytes: &[u8]) -> millstream_state::Result<Row> {
    let mut reader = Reader::new(bytes);
    let (mut first, mut second) = (Vec::new(), String::new());
    reader.bytes(&mut first)?;
    reader.str(&mut second)?;
    let numbers = (reader.i64()?, reader.i32()?, reader.u64()?);
    let small = (reader.u32()?, reader.u16()?, reader.u8()?);
    reader.finish()?;
    Ok((first, second, numbers.0, numbers.1, numbers.2, small))
}

/// Bytes from so small an alphabet that equal beginnings, zeros and escapes are the rule.
fn tricky_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0u8, 1, 0x61, 0xFE, 0xFF]), 0..5)
}

fn row() -> impl Strategy<Value = Row> {
    let i64s = prop_oneof![Just(i64::MIN), Just(i64::MAX), -2..2i64, any::<i64>()];
    let i32s = prop_oneof![Just(i32::MIN), Just(i32::MAX), -2..2i32, any::<i32>()];
    (
        tricky_bytes(),
        "[\0a\u{80}\u{10ffff}]{0,3}",
        i64s,
        i32s,
        0..3u64,
        (0..2u32, 0..2u16, 0..2u8),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn bytes_order_as_the_tuples_do(a in row(), b in row()) {
        prop_assert_eq!(encode(&a).cmp(&encode(&b)), a.cmp(&b));
    }

    #[test]
    fn bytes_are_recognised_in_their_encoding(a in tricky_bytes(), b in tricky_bytes()) {
        let mut encoded = Vec::new();
        put_bytes(&mut encoded, &a);
        prop_assert!(is_of_bytes(&encoded, &a));
        prop_assert_eq!(is_of_bytes(&encoded, &b), a == b);
    }

    #[test]
    fn a_shared_beginning_leaves_the_order_to_the_next_field(a in row(), b in row()) {
        let b = (a.0.clone(), b.1, b.2, b.3, b.4, b.5);
        prop_assert_eq!(encode(&a).cmp(&encode(&b)), a.cmp(&b));
    }

    #[test]
    fn numbers_order_over_their_whole_range(a in any::<(i64, u64)>(), b in any::<(i64, u64)>()) {
        let encoded = |(signed, unsigned): (i64, u64)| {
            let mut out = Vec::new();
            put_i64(&mut out, signed);
            put_u64(&mut out, unsigned);
            out
        };
        prop_assert_eq!(encoded(a).cmp(&encoded(b)), a.cmp(&b));
    }

    #[test]
    fn decoding_gives_back_what_was_encoded(a in row()) {
        prop_assert_eq!(decode(&encode(&a)).unwrap(), a);
    }

    /// Whatever the bytes, there is an answer; and bytes that decode are the encoding of the
    /// answer.
    #[test]
    fn decoding_never_panics_and_accepts_one_encoding_per_value(
        noise in prop::collection::vec(prop::sample::select(vec![0u8, 0x61, 0xFF]), 0..60),
    ) {
        if let Ok(row) = decode(&noise) {
            prop_assert_eq!(encode(&row), noise);
        }
    }

    #[test]
    fn a_cut_key_is_refused(a in row(), cut in any::<prop::sample::Index>()) {
        let bytes = encode(&a);
        prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn the_end_of_a_prefix_parts_its_keys_from_all_larger_ones(
        prefix in tricky_bytes(), key in tricky_bytes(),
    ) {
        let mut end = prefix.clone();
        let bounded = prefix_end(&mut end);
        prop_assert_eq!(bounded, prefix.iter().any(|byte| *byte != 0xFF));
        let inside = key >= prefix && (!bounded || key < end);
        prop_assert_eq!(inside, key.starts_with(&prefix));
    }
}

#[test]
fn the_encoding_is_pinned() {
    let row = (vec![0x61, 0], "b".to_owned(), -1, 1, 2, (3, 4, 5));
    let expected = [
        &[0x61, 0, 0xFF, 0, 0][..],
        &[0x62, 0, 0],
        &[0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0x80, 0, 0, 1],
        &[0, 0, 0, 0, 0, 0, 0, 2],
        &[0, 0, 0, 3],
        &[0, 4],
        &[5],
    ];
    assert_eq!(encode(&row), expected.concat());
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let mut bytes = Vec::new();
    put_bytes(&mut bytes, &[0xC3]);
    let mut text = "old".to_owned();
    assert!(Reader::new(&bytes).str(&mut text).is_err());
    assert_eq!(text, "");
}

#[test]
fn bytes_left_over_are_refused() {
    assert!(Reader::new(&[1]).finish().is_err());
    assert_eq!(Reader::new(&[1]).rest(), [1]);
}
