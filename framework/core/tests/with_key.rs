//! Operators that see the key and leave it as it is.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::{dsl::Joined, prelude::*};
use std::time::Duration;

static WORDS: Topic<String, String> = Topic::new("words", utf8(), utf8());
static ROWS: Topic<String, String> = Topic::new("rows", utf8(), utf8());
static OUT: Topic<String, String> = Topic::new("out", utf8(), utf8());

fn out(declare: impl FnOnce(&StreamsBuilder)) -> (Vec<(String, String)>, usize) {
    let builder = StreamsBuilder::new();
    declare(&builder);
    let topology = builder.build().unwrap();
    let moved = topology.layout("app", |_| Some(1)).unwrap().internal.len();
    let mut driver = TopologyTestDriver::new(topology).unwrap();
    let text = str::to_owned;
    driver.pipe(&ROWS, text("a"), text("row"), 0).unwrap();
    driver.pipe(&WORDS, text("a"), text("x y"), 1).unwrap();
    driver.pipe(&WORDS, text("b"), text("z"), 2).unwrap();
    let told = driver.read_key_values(&OUT).unwrap().into_iter();
    let told = told.map(|(key, value)| (key, value.unwrap_or_default()));
    (told.collect(), moved)
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

#[test]
fn values_are_made_of_key_and_value_and_nothing_is_moved() {
    let (told, moved) = out(|builder| {
        let words = builder
            .stream(&WORDS)
            .map_values_with_key(|key, words| format!("{key}:{words}"));
        let split = words.flat_map_values_with_key(|key, words| {
            let each = words.split(' ').map(|word| format!("{key}={word}"));
            each.collect::<Vec<_>>()
        });
        split.group_by_key().reduce("last", |_, word| word).to(&OUT);
        builder.table(&ROWS, "rows");
    });
    assert_eq!(told, pairs([("a", "a=a:x"), ("a", "a=y"), ("b", "b=b:z")]));
    // The changelogs of two stores, and no repartition topic.
    assert_eq!(moved, 2);
}

#[test]
fn joiners_see_the_key() {
    let (told, _) = out(|builder| {
        let (words, rows) = (builder.stream(&WORDS), builder.table(&ROWS, "rows"));
        let met = words.join_with_key(rows, |key, word, row| format!("{key}:{word}/{row}"));
        met.to(&OUT);
        let all = words.left_join_with_key(rows, |key, word, row| {
            format!("{key}:{word}/{}", row.map_or("-", String::as_str))
        });
        all.to(&OUT);
    });
    let expected = [("a", "a:x y/row"), ("a", "a:x y/row"), ("b", "b:z/-")];
    assert_eq!(told, pairs(expected));
}

#[test]
fn joiners_with_a_name_see_the_key_that_was_made_before() {
    let (told, moved) = out(|builder| {
        let (words, rows) = (builder.stream(&WORDS), builder.table(&ROWS, "rows"));
        // The first record's new key has the row, and the second one's has none.
        let words = words.map(|key, word| (word.replace("x y", "a"), key));
        let met = |key: &String, was, row: &String| format!("{key}<{was}:{row}");
        words.join_with_and_key(rows, "met", met).to(&OUT);
        let all = words.left_join_with_and_key(rows, "all", |key, was, row| {
            format!("{key}<{was}:{}", row.map_or("-", String::as_str))
        });
        all.to(&OUT);
    });
    let expected = [("a", "a<a:row"), ("a", "a<a:row"), ("z", "z<b:-")];
    assert_eq!(told, pairs(expected));
    // The table's changelog and two repartition topics.
    assert_eq!(moved, 3);
}

#[test]
fn joiners_see_the_key_of_a_record_that_has_waited() {
    let (told, _) = out(|builder| {
        let hour = Duration::from_secs(3_600);
        let rows = Materialized::from("rows").versioned(hour);
        let (words, rows) = (builder.stream(&WORDS), builder.table(&ROWS, rows));
        let late = |name| Joined::from(name).with_grace_period(Duration::from_millis(1));
        let met = |key: &String, word, row: &String| format!("{key}:{word}/{row}");
        words.join_with_and_key(rows, late("met"), met).to(&OUT);
        let all = words.left_join_with_and_key(rows, late("all"), |key, word, row| {
            format!("{key}:{word}/{}", row.map_or("-", String::as_str))
        });
        all.to(&OUT);
    });
    // The second record, of time 2, still waits.
    assert_eq!(told, pairs([("a", "a:x y/row"), ("a", "a:x y/row")]));
}

#[test]
fn joiners_with_a_global_table_see_the_key_of_the_record() {
    let (told, _) = out(|builder| {
        let (words, rows) = (builder.stream(&WORDS), builder.global_table(&ROWS, "rows"));
        // The word "z" of "b" has the row of "a", and the other one has no key.
        let select = |_: &String, word: &String| (word == "z").then(|| "a".to_owned());
        let met = |key: &String, word, row: &String| format!("{key}:{word}/{row}");
        words.join_global_with_key(rows, select, met).to(&OUT);
        let all = words.left_join_global_with_key(rows, select, |key, word, row| {
            format!("{key}:{word}/{}", row.map_or("-", String::as_str))
        });
        all.to(&OUT);
    });
    let expected = [("a", "a:x y/-"), ("b", "b:z/row"), ("b", "b:z/row")];
    assert_eq!(told, pairs(expected));
}
