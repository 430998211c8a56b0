//! The wire formats, byte by byte: what these tests fix is on disks and topics and cannot change.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "tables read better without borrows"
)]

use millstream_core::{
    ErrorKind,
    serde::{
        Bincode, Bytes, Encoded, I64Be, Json, Serde, Utf8, bincode, bool_, bytes, f32_be, f64_be,
        i16_be, i32_be, i64_be, json, option, ordered_i64, ordered_u64, u32_be, u64_be, unit, utf8,
    },
    topic::Topic,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json as value};
use std::{collections::BTreeMap, fmt::Debug};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Review {
    stars: u8,
    text: Option<String>,
    mark: Mark,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Mark {
    None,
    Votes(Vec<u16>),
    At { x: f32, y: bool },
}

// That these compile is the test: topics are constants, whatever the codec.
static TEXTS: Topic<String, Vec<u8>> = Topic::new("texts", utf8(), bytes());
static REVIEWS: Topic<String, Option<Review>> =
    Topic::new("reviews", utf8(), option::<Json<Review>>());
static COUNTS: Topic<(), i64> = Topic::new("counts", unit(), i64_be());
static STATE: Topic<u64, Option<Review>> =
    Topic::new("state", ordered_u64(), option::<Bincode<Review>>());
static PLAIN: Topic<Option<String>, Review> = Topic::new("plain", option::<Utf8>(), json());

fn review() -> Review {
    Review {
        stars: 4,
        text: Some("ok".into()),
        mark: Mark::Votes(vec![1, 258]),
    }
}

#[test]
fn topics_in_statics_encode_and_decode() {
    let mut out = Vec::new();
    assert_eq!(
        REVIEWS.value.encode(&None, &mut out).unwrap(),
        Encoded::Null
    );
    assert!(out.is_empty());
    REVIEWS.value.encode(&Some(review()), &mut out).unwrap();
    assert_eq!(PLAIN.value.decode(Some(&out)).unwrap(), review());
    out.clear();
    STATE.value.encode(&Some(review()), &mut out).unwrap();
    assert_eq!(STATE.value.decode(Some(&out)).unwrap(), Some(review()));
    assert_eq!(COUNTS.key.encode(&(), &mut out).unwrap(), Encoded::Null);
    assert_eq!(PLAIN.key.decode(None).unwrap(), None);
    assert_eq!(TEXTS.value.decode(Some(b"")).unwrap(), b"");
}

/// A value, its bytes (`None` is null) and its JSON, in all four directions.
#[track_caller]
fn check<T: Debug + PartialEq>(serde: Serde<T>, value: T, expect: Option<&[u8]>, shown: Value) {
    const BEFORE: &[u8] = b"kept";
    let mut out = BEFORE.to_vec();
    let encoded = serde.encode(&value, &mut out).unwrap();
    let written = (encoded == Encoded::Bytes).then(|| &out[BEFORE.len()..]);
    assert_eq!(written, expect, "encode {value:?}");
    assert_eq!(&out[..BEFORE.len()], BEFORE, "the caller's bytes stay");
    assert_eq!(serde.decode(expect).unwrap(), value, "decode");
    assert_eq!(serde.codec().to_json(expect).unwrap(), shown, "to_json");
    let mut by_hand = BEFORE.to_vec();
    let encoded = serde.codec().from_json(&shown, &mut by_hand).unwrap();
    let written = (encoded == Encoded::Bytes).then(|| &by_hand[BEFORE.len()..]);
    assert_eq!(written, expect, "from_json {shown}");
}

#[test]
fn text_and_bytes() {
    check(utf8(), "aß".into(), Some(b"a\xc3\x9f"), value!("aß"));
    check(utf8(), String::new(), Some(b""), value!(""));
    check(
        bytes(),
        vec![0, 0xff, 0x1a],
        Some(b"\x00\xff\x1a"),
        value!("0x00ff1a"),
    );
    check(bytes(), vec![], Some(b""), value!("0x"));
    check(unit(), (), None, Value::Null);
}

#[test]
fn numbers_are_those_of_kafkas_serdes() {
    check(i16_be(), -2, Some(b"\xff\xfe"), value!(-2));
    check(i32_be(), 258, Some(b"\0\0\x01\x02"), value!(258));
    check(
        i64_be(),
        i64::MIN,
        Some(b"\x80\0\0\0\0\0\0\0"),
        value!(i64::MIN),
    );
    check(
        u32_be(),
        u32::MAX,
        Some(b"\xff\xff\xff\xff"),
        value!(u32::MAX),
    );
    check(u64_be(), u64::MAX, Some(&[0xff; 8]), value!(u64::MAX));
    check(f32_be(), 1.5, Some(b"\x3f\xc0\0\0"), value!(1.5));
    check(
        f64_be(),
        -0.1,
        Some(b"\xbf\xb9\x99\x99\x99\x99\x99\x9a"),
        value!(-0.1),
    );
    check(
        f64_be(),
        f64::NEG_INFINITY,
        Some(b"\xff\xf0\0\0\0\0\0\0"),
        value!("-Infinity"),
    );
    check(bool_(), true, Some(b"\x01"), value!(true));
    check(bool_(), false, Some(b"\x00"), value!(false));
}

#[test]
fn ordered_keys() {
    check(ordered_i64(), i64::MIN, Some(&[0; 8]), value!(i64::MIN));
    check(
        ordered_i64(),
        -1,
        Some(b"\x7f\xff\xff\xff\xff\xff\xff\xff"),
        value!(-1),
    );
    check(ordered_i64(), 0, Some(b"\x80\0\0\0\0\0\0\0"), value!(0));
    check(
        ordered_u64(),
        258,
        Some(b"\0\0\0\0\0\0\x01\x02"),
        value!(258),
    );
}

#[test]
fn options() {
    check(option::<Utf8>(), None, None, Value::Null);
    check(
        option::<Utf8>(),
        Some("null".into()),
        Some(b"null"),
        value!("null"),
    );
    check(option::<Bytes>(), Some(vec![]), Some(b""), value!("0x"));
    check(
        option::<I64Be>(),
        Some(1),
        Some(b"\0\0\0\0\0\0\0\x01"),
        value!(1),
    );
}

#[test]
fn json_is_compact() {
    let text = br#"{"stars":4,"text":"ok","mark":{"Votes":[1,258]}}"#;
    let shown = value!({"stars": 4, "text": "ok", "mark": {"Votes": [1, 258]}});
    check(json(), review(), Some(text), shown);
    // Null inside the bytes is not null on the log.
    check(json::<Option<u8>>(), None, Some(b"null"), Value::Null);
}

#[test]
fn floats_in_json_come_back_exactly() {
    // A faster parser reads this one off by a bit; serde_json's feature float_roundtrip is for it.
    let float = 1.6110018377734125e-214;
    check(
        json::<f64>(),
        float,
        Some(b"1.6110018377734125e-214"),
        value!(float),
    );
}

#[test]
fn bincode_is_version_one_behind_a_format_byte() {
    let shown = value!({"stars": 4, "text": "ok", "mark": {"Votes": [1, 258]}});
    let expect = b"\x01\x04\x01\x02\0\0\0\0\0\0\0ok\x01\0\0\0\x02\0\0\0\0\0\0\0\x01\0\x02\x01";
    check(bincode(), review(), Some(expect), shown);
    let none = Review {
        stars: 0,
        text: None,
        mark: Mark::None,
    };
    let shown = value!({"stars": 0, "text": null, "mark": "None"});
    check(bincode(), none, Some(b"\x01\0\0\0\0\0\0"), shown);
    let at = Mark::At { x: 1.5, y: true };
    let shown = value!({"At": {"x": 1.5, "y": true}});
    check(
        bincode(),
        at,
        Some(b"\x01\x02\0\0\0\0\0\xc0\x3f\x01"),
        shown,
    );
    let map = BTreeMap::from([("k".to_string(), -1i16)]);
    let expect = b"\x01\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0k\xff\xff";
    check(bincode(), map, Some(expect), value!({"k": -1}));
    check(bincode(), (), Some(b"\x01"), Value::Null);
}

#[track_caller]
fn refused<T: Debug>(serde: Serde<T>, bytes: Option<&[u8]>, expect: &str) {
    let error = serde.decode(bytes).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Deserialization(_)),
        "{error:?}"
    );
    assert_eq!(error.to_string(), expect);
}

#[test]
fn errors_name_the_format_and_what_was_found() {
    let null = |name| format!("null where {name} must have bytes; use option::<..>() to allow it");
    refused(utf8(), None, &null("utf8"));
    refused(json::<u8>(), None, &null("json"));
    refused(bincode::<u8>(), None, &null("bincode"));
    refused(f64_be(), None, &null("f64_be"));
    let long = [b'a'; 20];
    refused(
        i64_be(),
        Some(b"1"),
        "i64_be: expected 8 bytes, found 1 byte 0x31",
    );
    refused(
        i32_be(),
        Some(b""),
        "i32_be: expected 4 bytes, found no bytes",
    );
    refused(
        bool_(),
        Some(&[2]),
        "bool: expected one byte 0x00 or 0x01, found 1 byte 0x02",
    );
    refused(
        bool_(),
        Some(&[0, 0]),
        "bool: expected one byte 0x00 or 0x01, found 2 bytes 0x0000",
    );
    refused(unit(), Some(b""), "unit: expected null, found no bytes");
    refused(
        u32_be(),
        Some(&long),
        "u32_be: expected 4 bytes, found 20 bytes 0x61616161616161616161616161616161..",
    );
    refused(
        utf8(),
        Some(b"a\xff"),
        "utf8: invalid utf-8 sequence of 1 bytes from index 1; found 2 bytes 0x61ff",
    );
    refused(
        json::<u8>(),
        Some(b"1 2"),
        "json: trailing characters at line 1 column 3; found 3 bytes 0x312032",
    );
    refused(
        bincode::<u8>(),
        Some(b""),
        "bincode: no format byte; found no bytes",
    );
    refused(
        bincode::<u8>(),
        Some(&[2, 7]),
        "bincode: format byte 2, expected 1; found 2 bytes 0x0207",
    );
    refused(
        bincode::<u8>(),
        Some(&[1, 7, 7]),
        "bincode: 1 bytes left after the value; found 3 bytes 0x010707",
    );
}

#[track_caller]
fn refused_json<T>(serde: Serde<T>, json: Value, expect: &str) {
    let mut out = b"kept".to_vec();
    let error = serde.codec().from_json(&json, &mut out).unwrap_err();
    assert_eq!(error.to_string(), expect);
    assert_eq!(out, b"kept", "a refusal leaves nothing behind");
}

#[test]
fn json_by_hand_is_checked() {
    refused_json(
        utf8(),
        value!(1),
        "utf8 from JSON: expected a string, found 1",
    );
    let digits = "bytes from JSON: expected a string of hex digits like \"0x00ff\", found";
    for bad in ["00", "0x0", "0x00zz", "0x+1", "0x1ß"] {
        refused_json(bytes(), value!(bad), &format!("{digits} \"{bad}\""));
    }
    refused_json(
        i16_be(),
        value!(32768),
        "i16_be from JSON: expected a whole number in -32768..=32767, found 32768",
    );
    refused_json(
        i32_be(),
        value!(1.0),
        "i32_be from JSON: expected a whole number in -2147483648..=2147483647, found 1.0",
    );
    refused_json(
        f32_be(),
        value!(1e39),
        "f32_be from JSON: expected a number within the range of f32, found 1e+39",
    );
    refused_json(
        bool_(),
        value!("true"),
        "bool from JSON: expected true or false, found \"true\"",
    );
    refused_json(
        json::<u8>(),
        value!(256),
        "json from JSON: invalid value: integer `256`, expected u8, found 256",
    );
    let long = value!("ß".repeat(100));
    let shown = format!(
        "unit from JSON: expected null, found \"{}..",
        "ß".repeat(59)
    );
    refused_json(unit(), long, &shown);
}

#[test]
fn a_value_that_cannot_be_written_leaves_nothing_behind() {
    let mut out = b"kept".to_vec();
    // JSON's keys are texts, so this map has no JSON.
    let map = BTreeMap::from([(vec![1u8], 1u8)]);
    let error = json().encode(&map, &mut out).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Serialization(_)),
        "{error:?}"
    );
    assert_eq!(out, b"kept");
    let error = bincode()
        .encode(&"x".repeat(64 << 20), &mut out)
        .unwrap_err();
    assert_eq!(error.to_string(), "bincode: longer than 67108864 bytes");
    assert_eq!(out, b"kept");
}

#[test]
fn names_tell_formats_apart() {
    assert_eq!(REVIEWS.value.codec().name(), "option<json>");
    assert_eq!(
        STATE.value.codec().name(),
        "option<bincode(u8,?str,<()|[u16]|(f32,bool)>)>"
    );
    assert_ne!(ordered_i64().codec().name(), i64_be().codec().name());
    assert_eq!(format!("{:?}", utf8()), "Serde(utf8)");
}
