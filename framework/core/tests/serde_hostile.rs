//! Bytes from anywhere: every round trip holds, and no input makes a decoder panic, run away or
//! reserve memory that the input does not pay for.
//!
//! A decoder that trusted the lengths below would loop for years or ask for exabytes, which
//! aborts; that these tests end is therefore the bound they check.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::serde::{
    Bincode, Encoded, Json, Serde, bincode, bool_, bytes, f32_be, f64_be, i16_be, i32_be, i64_be,
    json, option, ordered_i64, u32_be, u64_be, unit, utf8,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt::Debug};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Deep {
    name: String,
    raw: Vec<u8>,
    tags: BTreeMap<String, Option<i32>>,
    shape: Shape,
    nested: Vec<Vec<u16>>,
    ratio: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    One(u64),
    Pair(bool, char),
    Named { inner: Option<Box<Self>> },
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Empty),
        any::<u64>().prop_map(Shape::One),
        any::<(bool, char)>().prop_map(|(yes, letter)| Shape::Pair(yes, letter)),
    ];
    leaf.prop_recursive(6, 12, 1, |inner| {
        proptest::option::of(inner).prop_map(|inner| Shape::Named {
            inner: inner.map(Box::new),
        })
    })
}

fn deep() -> impl Strategy<Value = Deep> {
    let tags = proptest::collection::btree_map(".{0,4}", any::<Option<i32>>(), 0..5);
    let nested = proptest::collection::vec(proptest::collection::vec(any::<u16>(), 0..4), 0..4);
    (
        ".{0,8}",
        any::<Vec<u8>>(),
        tags,
        shape(),
        nested,
        proptest::num::f64::NORMAL,
    )
        .prop_map(|(name, raw, tags, shape, nested, ratio)| Deep {
            name,
            raw,
            tags,
            shape,
            nested,
            ratio,
        })
}

/// The value comes back from its bytes, and its bytes from its JSON.
#[track_caller]
fn round_trip<T: Debug + PartialEq>(serde: Serde<T>, value: &T) {
    let mut out = Vec::new();
    let encoded = serde.encode(value, &mut out).unwrap();
    let written = (encoded == Encoded::Bytes).then_some(&out[..]);
    assert_eq!(&serde.decode(written).unwrap(), value);
    let shown = serde.codec().to_json(written).unwrap();
    let mut again = Vec::new();
    assert_eq!(
        serde.codec().from_json(&shown, &mut again).unwrap(),
        encoded
    );
    assert_eq!(again, out, "by way of {shown}");
}

/// What reads as a value is written back to something that reads as the same value.
fn reads_or_refuses<T>(serde: Serde<T>, bytes: &[u8]) {
    let _ = serde.codec().to_json(Some(bytes));
    if let Ok(value) = serde.decode(Some(bytes)) {
        let mut out = Vec::new();
        if serde.encode(&value, &mut out).unwrap() == Encoded::Bytes {
            assert!(serde.decode(Some(&out)).is_ok());
        }
    }
}

fn all_read_or_refuse(bytes_in: &[u8]) {
    reads_or_refuses(utf8(), bytes_in);
    reads_or_refuses(bytes(), bytes_in);
    reads_or_refuses(unit(), bytes_in);
    reads_or_refuses(bool_(), bytes_in);
    reads_or_refuses(i16_be(), bytes_in);
    reads_or_refuses(f64_be(), bytes_in);
    reads_or_refuses(ordered_i64(), bytes_in);
    reads_or_refuses(json::<Deep>(), bytes_in);
    reads_or_refuses(option::<Json<Shape>>(), bytes_in);
    reads_or_refuses(bincode::<Deep>(), bytes_in);
    reads_or_refuses(option::<Bincode<Shape>>(), bytes_in);
    reads_or_refuses(bincode::<Vec<Option<()>>>(), bytes_in);
}

proptest! {
    #[test]
    fn round_trips(
        text in any::<String>(), raw in any::<Vec<u8>>(), long in any::<i64>(),
        unsigned in any::<u64>(), float in proptest::num::f64::ANY, yes in any::<bool>(),
    ) {
        round_trip(utf8(), &text);
        round_trip(bytes(), &raw);
        round_trip(i64_be(), &long);
        round_trip(ordered_i64(), &long);
        round_trip(u64_be(), &unsigned);
        round_trip(bool_(), &yes);
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        {
            round_trip(i16_be(), &(long as i16));
            round_trip(i32_be(), &(long as i32));
            round_trip(u32_be(), &(unsigned as u32));
            if !float.is_nan() {
                round_trip(f32_be(), &(float as f32));
                round_trip(f64_be(), &float);
            }
        }
        let mut out = Vec::new();
        f64_be().encode(&float, &mut out).unwrap();
        prop_assert_eq!(f64_be().decode(Some(&out)).unwrap().to_bits(), float.to_bits());
    }

    #[test]
    fn structures_round_trip(value in deep()) {
        round_trip(json(), &value);
        round_trip(bincode(), &value);
        round_trip(option::<Json<Deep>>(), &Some(value.clone()));
        round_trip(option::<Bincode<Deep>>(), &Some(value));
    }

    #[test]
    fn ordered_keys_sort_as_their_numbers(a in any::<i64>(), b in any::<i64>()) {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        ordered_i64().encode(&a, &mut left).unwrap();
        ordered_i64().encode(&b, &mut right).unwrap();
        prop_assert_eq!(left.cmp(&right), a.cmp(&b));
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut input in any::<Vec<u8>>()) {
        all_read_or_refuse(&input);
        // With the right format byte in front bincode gets further.
        input.insert(0, 1);
        all_read_or_refuse(&input);
    }

    #[test]
    fn flipped_bytes_never_panic(
        value in deep(),
        flips in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        for serde in [json(), bincode()] {
            let mut out = Vec::new();
            serde.encode(&value, &mut out).unwrap();
            for (at, mask) in &flips {
                let at = at.index(out.len());
                out[at] ^= mask;
            }
            all_read_or_refuse(&out);
            all_read_or_refuse(&out[..cut.index(out.len())]);
        }
    }

    #[test]
    fn every_cut_of_a_bincode_value_is_refused(value in deep()) {
        let mut out = Vec::new();
        bincode().encode(&value, &mut out).unwrap();
        for cut in 0..out.len() {
            prop_assert!(bincode::<Deep>().decode(Some(&out[..cut])).is_err(), "cut at {}", cut);
        }
    }
}

/// A format byte, then a length, then what follows.
fn claim(length: u64, rest: &[u8]) -> Vec<u8> {
    [&[1][..], &length.to_le_bytes(), rest].concat()
}

#[track_caller]
fn refuses<T: Serialize + DeserializeOwned + 'static>(input: &[u8], expect: &str) {
    let error = bincode::<T>().decode(Some(input)).err();
    let error = error.map_or("accepted".into(), |error| error.to_string());
    assert!(error.contains(expect), "{error}");
}

/// It occupies no bytes on the wire and a kibibyte in memory.
#[derive(Default, Serialize, Deserialize)]
struct Skipped {
    #[serde(skip)]
    _weights: [[u64; 16]; 8],
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct List {
    next: Option<Box<Self>>,
}

const LENGTHS: [u64; 5] = [1025 + 8, 1 << 31, 1 << 40, 1 << 63, u64::MAX];

#[test]
fn lengths_that_no_bytes_pay_for_are_refused() {
    for length in LENGTHS {
        let input = claim(length, b"");
        let unpaid = "more elements than the input has bytes for";
        refuses::<Vec<()>>(&input, unpaid);
        refuses::<Vec<Skipped>>(&input, unpaid);
        refuses::<Vec<[(); 3]>>(&input, unpaid);
        refuses::<BTreeMap<(), ()>>(&input, unpaid);
        refuses::<String>(&input, "bincode: ");
        refuses::<Vec<u8>>(&input, "bincode: ");
        refuses::<Vec<[u64; 32]>>(&input, "bincode: ");
        refuses::<BTreeMap<String, u8>>(&input, "bincode: ");
        refuses::<Deep>(&input, "bincode: ");
        refuses::<Vec<Vec<Vec<u64>>>>(&claim(3, &length.to_le_bytes()), "bincode: ");
    }
}

#[test]
fn elements_without_bytes_are_allowed_in_number() {
    for (count, fits) in [(0, true), (5, true), (1024 + 8, true), (1024 + 9, false)] {
        let input = claim(count, b"");
        assert_eq!(
            bincode::<Vec<()>>().decode(Some(&input)).is_ok(),
            fits,
            "{count}"
        );
    }
    let many = vec![Some(7u8); 100_000];
    round_trip(bincode(), &many);
}

#[test]
fn nesting_ends_before_the_stack_does() {
    let mut list = List { next: None };
    for _ in 0..100 {
        list = List {
            next: Some(Box::new(list)),
        };
    }
    round_trip(bincode(), &list);
    refuses::<List>(&[1; 1 << 20], "nested deeper than 256 levels");
    let text = "[".repeat(1 << 20);
    let error = json::<serde_json::Value>()
        .decode(Some(text.as_bytes()))
        .unwrap_err();
    assert!(error.to_string().contains("recursion limit"), "{error}");
}

#[test]
fn a_value_above_the_size_limit_is_refused_unread() {
    let mut input = claim((64 << 20) - 9, b"");
    input.resize(64 << 20, b'a');
    assert!(bincode::<String>().decode(Some(&input)).is_ok());
    input.push(b'a');
    refuses::<String>(&input, "longer than 67108864 bytes");
}
