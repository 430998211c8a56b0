//! Cogroups: several grouped streams change the rows of one store.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::prelude::*;
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeMap;

static NUMBERS: Topic<String, i64> = Topic::new("numbers", utf8(), i64_be());
static TEXTS: Topic<String, String> = Topic::new("texts", utf8(), utf8());
static OUT: Topic<String, String> = Topic::new("out", utf8(), utf8());

fn driver(declare: impl FnOnce(&StreamsBuilder)) -> TopologyTestDriver {
    let builder = StreamsBuilder::new();
    declare(&builder);
    TopologyTestDriver::new(builder.build().unwrap()).unwrap()
}

fn log(builder: &StreamsBuilder) -> KTable<'_, String, String> {
    let numbers = builder.stream(&NUMBERS).group_by_key();
    let texts = builder.stream(&TEXTS).group_by_key();
    numbers
        .cogroup(|key, n, log: &mut String| *log += &format!("{key}{n}"))
        .cogroup(texts, |_, text, log| *log += &text)
        .aggregate("log", || ">".to_owned())
}

#[test]
fn inputs_of_different_types_change_one_row_in_the_order_they_come() {
    let mut d = driver(|builder| log(builder).to(&OUT));
    d.pipe(&NUMBERS, "a".to_owned(), 1, 5).unwrap();
    d.pipe(&TEXTS, "a".to_owned(), "x".to_owned(), 3).unwrap();
    d.pipe(&TEXTS, "b".to_owned(), "y".to_owned(), 4).unwrap();
    let mut last = Record::new("a".to_owned(), 2, 9);
    last.headers.push("h", None);
    d.pipe_record(&NUMBERS, &last).unwrap();
    let told = d.read(&OUT).unwrap();
    let shown: Vec<_> = (told.iter())
        .map(|record| format!("{} {}@{}", record.key, record.value, record.timestamp))
        .collect();
    // The time is the latest of all that went in.
    assert_eq!(shown, ["a >a1@5", "a >a1x@5", "b >y@4", "a >a1xa2@9"]);
    assert_eq!(told[3].headers, last.headers);
    assert!(told[0].headers.is_empty());
}

#[test]
fn a_record_without_a_key_is_dropped_and_counted() {
    static MAYBE: Topic<Option<String>, i64> = Topic::new("maybe", option::<Utf8>(), i64_be());
    let mut d = driver(|builder| {
        let serdes = Grouped::with(option::<Utf8>(), i64_be());
        let grouped = builder.stream(&MAYBE).group_by_key_with(serdes);
        let store = Materialized::with("sums", option::<Utf8>(), i64_be());
        let sums = grouped
            .cogroup(|_, n, sum| *sum += n)
            .aggregate(store, || 0);
        sums.to(&Topic::new("out", option::<Utf8>(), i64_be()));
    });
    d.pipe(&MAYBE, None, 1, 0).unwrap();
    assert_eq!(d.dropped().null_key, 1);
    assert!(d.read_raw("out").is_empty());
}

#[test]
fn changes_carry_the_row_before() {
    let mut d = driver(|builder| {
        let by_length = log(builder).group_by(|_, log| (log.len().to_string(), log.clone()));
        let counts = by_length.count("counts").map_values(|_, n| n.to_string());
        counts.to(&OUT);
    });
    let mut counts = |topic: &Topic<String, String>, text: &str| {
        d.pipe(topic, "a".to_owned(), text.to_owned(), 0).unwrap();
        let told = d.read_key_values(&OUT).unwrap();
        told.into_iter()
            .map(|(key, n)| key + "x" + &n.unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(counts(&TEXTS, "12"), ["3x1"]);
    assert_eq!(counts(&TEXTS, "345"), ["3x0", "6x1"]);
}

#[test]
fn a_stream_may_be_an_input_twice_and_comes_in_the_order_declared() {
    let mut d = driver(|builder| {
        let numbers = builder.stream(&NUMBERS);
        let add = |sign: &'static str| {
            move |_: &String, n: i64, log: &mut String| *log += &format!("{sign}{n}")
        };
        let log = (numbers.group_by_key())
            .cogroup(add("+"))
            .cogroup(numbers.group_by_key(), add("-"))
            .aggregate("log", String::new);
        log.to(&OUT);
    });
    d.pipe(&NUMBERS, "a".to_owned(), 1, 0).unwrap();
    let rows: Vec<_> = d.read(&OUT).unwrap().into_iter().map(|r| r.value).collect();
    assert_eq!(rows, ["+1", "+1-1"]);
}

fn regrouped(builder: &StreamsBuilder, named: Option<&'static str>) {
    let serdes = Grouped::with(utf8(), utf8());
    let serdes = named.map_or(serdes, |name| serdes.named(name));
    let texts = builder.stream(&TEXTS);
    let texts = texts.group_by_with(|_, text| text[..1].to_owned(), serdes);
    let numbers = builder.stream(&NUMBERS).group_by(|_, n| n.to_string());
    (numbers.cogroup(|_, _, log: &mut String| *log += "n"))
        .cogroup(texts, |_, text, log| *log += &text)
        .aggregate("log", String::new)
        .to(&OUT);
}

#[test]
fn changed_keys_go_through_topics_of_equal_size() {
    let mut d = driver(|builder| regrouped(builder, Some("texts-by-initial")));
    d.pipe(&NUMBERS, "a".to_owned(), 7, 1).unwrap();
    d.pipe(&TEXTS, "b".to_owned(), "7up".to_owned(), 2).unwrap();
    let expected = [
        ("7".to_owned(), Some("n".to_owned())),
        ("7".to_owned(), Some("n7up".to_owned())),
    ];
    assert_eq!(d.read_key_values(&OUT).unwrap(), expected);
    let counts = |topic: &str| Some(if topic == "texts" { 5 } else { 2 });
    let layout = d.topology().layout("app", counts).unwrap();
    let internal: Vec<_> = layout
        .internal
        .iter()
        .map(|t| (t.name.as_str(), t.partitions))
        .collect();
    let expected = [
        ("app-log-repartition", 5),
        ("app-texts-by-initial-repartition", 5),
        ("app-log-changelog", 5),
    ];
    assert_eq!(internal, expected);
}

#[test]
fn two_repartition_topics_need_two_names() {
    let builder = StreamsBuilder::new();
    regrouped(&builder, None);
    let error = builder.build().err().unwrap().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("repartitioned through \"log\""), "{error}");
    assert!(error.contains("cogroup.rs:"), "{error}");
}

#[test]
fn inputs_must_be_partitioned_alike() {
    let builder = StreamsBuilder::new();
    log(&builder).to(&OUT);
    let topology = builder.build().unwrap();
    let counts = |topic: &str| Some(if topic == "texts" { 5 } else { 2 });
    let error = topology.layout("app", counts).err().unwrap().to_string();
    assert!(error.contains("numbers has 2, texts has 5"), "{error}");
    assert!(error.contains("cogroup.rs:"), "{error}");
    let layout = topology.layout("app", |_| Some(3)).unwrap();
    assert_eq!(layout.tasks.len(), 3);
}

#[test]
fn inputs_must_be_of_one_program() {
    let (builder, other) = (StreamsBuilder::new(), StreamsBuilder::new());
    let numbers = builder.stream(&NUMBERS).group_by_key();
    let foreign = other.stream(&TEXTS).group_by_key();
    (numbers.cogroup(|_, _, n: &mut u64| *n += 1))
        .cogroup(foreign, |_, _, n| *n += 1)
        .aggregate("n", || 0)
        .to_stream()
        .for_each(|_, _| ());
    let error = builder.build().err().unwrap().to_string();
    assert!(error.contains("different StreamsBuilders"), "{error}");
}

proptest! {
    #[test]
    fn it_is_a_fold_over_all_inputs(
        script in vec((any::<bool>(), 0u8..3, 0i64..100, 0i64..20), 0..60),
    ) {
        let mut d = driver(|builder| log(builder).to(&OUT));
        let mut rows: BTreeMap<String, (String, Timestamp)> = BTreeMap::new();
        for (text, key, n, time) in script {
            let key = format!("k{key}");
            let row = rows.entry(key.clone()).or_insert((">".to_owned(), time));
            row.1 = row.1.max(time);
            if text {
                row.0 += &n.to_string();
                d.pipe(&TEXTS, key.clone(), n.to_string(), time).unwrap();
            } else {
                row.0 += &format!("{key}{n}");
                d.pipe(&NUMBERS, key.clone(), n, time).unwrap();
            }
            let told = d.read(&OUT).unwrap();
            prop_assert_eq!(told.len(), 1);
            prop_assert_eq!(&told[0].key, &key);
            prop_assert_eq!((&told[0].value, told[0].timestamp), (&row.0, row.1));
        }
    }
}
