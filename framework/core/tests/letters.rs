//! Dead letters that are too large with their records.

use millstream_core::{prelude::*, record::Headers, task::TaskConfig};

static TEXTS: Topic<String, String> = Topic::new("texts", utf8(), utf8());
static NUMBERS: Topic<String, i64> = Topic::new("numbers", utf8(), i64_be());

#[expect(clippy::needless_pass_by_value, reason = "it is what operators take")]
fn parse(text: String) -> Result<i64, std::num::ParseIntError> {
    text.parse()
}

#[test]
fn what_does_not_fit_into_a_letter_is_left_out_of_it() {
    let letter = |own: usize, key: usize, value: usize| {
        let builder = StreamsBuilder::new();
        builder.stream(&TEXTS).try_map_values(parse).to(&NUMBERS);
        let config = TaskConfig {
            policies: ErrorPolicy::DeadLetter.into(),
            dead_letter_topic: Some("dead".to_owned()),
            record_bytes_max: Some(700),
            ..TaskConfig::new("app")
        };
        let mut driver =
            TopologyTestDriver::with_config(builder.build().unwrap(), &config).unwrap();
        let mut headers = Headers::NONE;
        headers.push("own", Some(vec![1; own]));
        let record = Record {
            key: "k".repeat(key),
            value: "v".repeat(value),
            timestamp: 5,
            headers,
        };
        driver.pipe_record(&TEXTS, &record).unwrap();
        assert_eq!(driver.dropped().dead_lettered, 1);
        let letters = driver.read_raw("dead");
        let [(key, value, time, headers)] = &letters[..] else {
            panic!("{letters:?}");
        };
        let said = |name: &str| headers.last(&format!("__streams.errors.{name}")).cloned();
        assert_eq!(said("offset").unwrap().value.as_deref(), Some(&b"0"[..]));
        assert_eq!(*time, 5);
        let omitted = said("omitted").map(|header| String::from_utf8(header.value.unwrap()));
        let kept = [
            value.is_some(),
            headers.last("own").is_some(),
            key.is_some(),
        ];
        (omitted.map(Result::unwrap).unwrap_or_default(), kept)
    };
    assert_eq!(letter(1, 1, 9), (String::new(), [true; 3]));
    assert_eq!(letter(1, 1, 600), ("value".into(), [false, true, true]));
    assert_eq!(
        letter(600, 1, 9),
        ("value,headers".into(), [false, false, true])
    );
    assert_eq!(
        letter(600, 600, 9),
        ("value,headers,key".into(), [false; 3])
    );
}
