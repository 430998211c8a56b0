//! What a changed program means for existing state: every kind of change, and its verdict.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "evolution/meaning.rs"]
mod meaning;

use millstream_core::{
    dsl::Suppression,
    prelude::*,
    store::Storable,
    topology::{Evolution, Format, Verdict},
};
use millstream_state::condensed;
use std::time::Duration;

static WORDS: Topic<String, String> = Topic::new("words", utf8(), utf8());
static OTHER: Topic<String, String> = Topic::new("other", utf8(), utf8());

fn described(declare: impl Fn(&StreamsBuilder)) -> String {
    let builder = StreamsBuilder::new();
    declare(&builder);
    builder.build().unwrap().describe(Format::Json)
}

/// What is said of everything that does not stay as it is.
fn changes(old: impl Fn(&StreamsBuilder), new: impl Fn(&StreamsBuilder)) -> Vec<String> {
    let evolution = Evolution::between(&described(old), &described(new)).unwrap();
    let unchanged = ["is unchanged", "has the number it had"];
    let told = evolution.findings.iter();
    let told = told.filter(|finding| !unchanged.contains(&&*finding.why));
    told.map(|f| format!("{} {} {}", f.verdict.word(), f.kind, f.name))
        .collect()
}

fn counts(builder: &StreamsBuilder) {
    let _ = builder.stream(&WORDS).group_by_key().count("counts");
}

fn by_word(builder: &StreamsBuilder) {
    let words = builder.stream(&WORDS).group_by(|_, word| word.clone());
    let _ = words.count("by-word");
}

fn others(builder: &StreamsBuilder) {
    let _ = builder.table(&OTHER, "others");
}

fn latest(materialized: Materialized<String, String>) -> impl Fn(&StreamsBuilder) {
    let materialized = std::cell::Cell::new(Some(materialized));
    move |builder| {
        let _ = builder.table(&WORDS, materialized.take().unwrap());
    }
}

fn rows() -> Materialized<String, String> {
    Materialized::with("rows", utf8(), utf8())
}

#[test]
fn equal_programs_are_compatible() {
    let both = |builder: &StreamsBuilder| {
        counts(builder);
        by_word(builder);
    };
    assert_eq!(changes(both, both), [""; 0]);
    let evolution = Evolution::between(&described(both), &described(both)).unwrap();
    assert_eq!(evolution.verdict(), Verdict::Compatible);
    assert_eq!(
        evolution.to_string(),
        "compatible  store counts: is unchanged\n\
         compatible  store by-word: is unchanged\n\
         compatible  topic by-word-repartition: is unchanged\n\
         compatible  subtopology 0: has the number it had\n\
         compatible  subtopology 1: has the number it had\n\
         the new program goes on with the state of the old one\n"
    );
    assert_eq!(evolution.to_json()["verdict"], "compatible");
    assert_eq!(evolution.to_json()["findings"][0]["name"], "counts");
}

#[test]
fn stores_come_go_and_are_renamed() {
    let with_rows = |builder: &StreamsBuilder| {
        counts(builder);
        latest(rows())(builder);
    };
    // Made from records that are processed already.
    assert_eq!(changes(counts, with_rows), ["reset store rows"]);
    assert_eq!(changes(with_rows, counts), ["compatible store rows"]);
    let with_others = |builder: &StreamsBuilder| {
        counts(builder);
        others(builder);
    };
    assert_eq!(changes(counts, with_others), ["compatible store others"]);
    let renamed = latest(Materialized::with("renamed", utf8(), utf8()));
    assert_eq!(changes(latest(rows()), renamed), ["reset store rows"]);
}

#[test]
fn formats_and_logging_cannot_change_under_a_name() {
    let bytes = |builder: &StreamsBuilder| {
        let _ =
            builder
                .stream(&WORDS)
                .group_by_key()
                .aggregate("counts", String::new, |_, _, _| ());
    };
    assert_eq!(changes(counts, bytes), ["reset store counts"]);
    let unlogged = || latest(rows().with_logging_disabled());
    assert_eq!(changes(latest(rows()), unlogged()), ["reset store rows"]);
    assert_eq!(changes(unlogged(), latest(rows())), ["reset store rows"]);
    assert_eq!(changes(unlogged(), unlogged()), [""; 0]);
}

#[test]
fn a_renumbered_subtopology_looks_elsewhere_for_its_state() {
    let before = |builder: &StreamsBuilder| {
        others(builder);
        counts(builder);
    };
    assert_eq!(
        changes(before, counts),
        [
            "compatible store others",
            "restore store counts",
            "compatible subtopology 0",
            "restore subtopology 1",
        ]
    );
    let unlogged_last = |builder: &StreamsBuilder| {
        others(builder);
        latest(rows().with_logging_disabled())(builder);
    };
    let told = changes(unlogged_last, latest(rows().with_logging_disabled()));
    assert!(told.contains(&"reset store rows".to_owned()), "{told:?}");
}

#[test]
fn repartition_topics_keep_their_partitions() {
    let width = |partitions: Option<u32>| {
        move |builder: &StreamsBuilder| {
            let to = Repartitioned::with("wide", utf8(), utf8());
            let to = match partitions {
                Some(number) => to.partitions(number),
                None => to,
            };
            let _ = builder.stream(&WORDS).repartition(to);
        }
    };
    let changed = ["reset topic wide-repartition"];
    assert_eq!(changes(width(Some(2)), width(Some(3))), changed);
    assert_eq!(changes(width(None), width(Some(3))), changed);
    assert_eq!(changes(width(Some(2)), width(Some(2))), [""; 0]);
    let none = |builder: &StreamsBuilder| {
        let _ = builder.stream(&WORDS);
    };
    let told = changes(width(None), none);
    assert!(told.contains(&changed[0].to_owned()), "{told:?}");
    assert_eq!(
        changes(none, width(None)),
        ["compatible topic wide-repartition"]
    );
}

#[test]
fn a_store_that_is_fed_through_another_topic_has_its_rows_elsewhere() {
    let moved = |builder: &StreamsBuilder| {
        let words = builder.stream(&WORDS).group_by(|_, word| word.clone());
        let _ = words.count("counts");
    };
    let told = changes(counts, moved);
    assert_eq!(told[0], "reset store counts");
}

#[test]
fn what_is_no_description_is_refused_with_its_side() {
    let good = described(counts);
    let refused = |old: &str, new: &str| Evolution::between(old, new).err().unwrap().to_string();
    assert!(refused("{", &good).contains("the old program"));
    let error = refused(&good, "{}");
    assert!(error.contains("the new program") && error.contains("subtopologies"));
    let odd = r#"{"subtopologies": [{"id": "zero"}], "repartitions": [], "globals": []}"#;
    assert!(refused(odd, &good).contains("no number"));
}

#[test]
fn global_tables_are_read_again_where_they_changed() {
    let with = |name: &'static str| {
        move |builder: &StreamsBuilder| {
            counts(builder);
            builder.global_table(&OTHER, name);
        }
    };
    let other_value = |builder: &StreamsBuilder| {
        counts(builder);
        builder.global_table(&OTHER, Materialized::with("rows", utf8(), json()));
    };
    assert_eq!(changes(with("rows"), with("rows")), [""; 0]);
    assert_eq!(changes(counts, with("rows")), ["restore global rows"]);
    assert_eq!(changes(with("rows"), counts), ["compatible global rows"]);
    assert_eq!(changes(with("rows"), other_value), ["restore global rows"]);
}

/// The findings that are about stores and topics, with their reasons.
fn reasons(old: &str, new: &str) -> String {
    let evolution = Evolution::between(old, new).unwrap();
    let told = (evolution.findings.iter()).filter(|finding| finding.kind != "subtopology");
    told.map(|f| format!("{} {} {}", f.verdict.word(), f.name, f.why))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Rows of a type in bincode.
fn kept<T: Storable>(builder: &StreamsBuilder) {
    let rows = Materialized::with("rows", utf8(), bincode::<T>());
    let words = builder.stream(&WORDS).group_by_key();
    let _ = words.aggregate(rows, || unreachable!(), |_, _, _: &mut T| ());
}

#[test]
fn a_value_of_another_type_needs_a_reset_and_a_variant_more_does_not() {
    let between = |old: fn(&StreamsBuilder), new: fn(&StreamsBuilder)| {
        reasons(&described(old), &described(new))
    };
    let told = between(kept::<(u64, String)>, kept::<(u64, String, Option<bool>)>);
    assert_eq!(
        told,
        "reset rows holds key-value/utf8/bincode(u64,str,?bool) and not \
         key-value/utf8/bincode(u64,str) any more: the program would not start with the old rows. \
         Give the new store another name, or reset"
    );
    // A `Bound` has the variants of this `Result`, and one more behind them.
    type Two = Result<(), u64>;
    type Three = std::ops::Bound<u64>;
    let told = between(kept::<Vec<Two>>, kept::<Vec<Three>>);
    assert!(
        told.starts_with("compatible rows has enums with further variants"),
        "{told}"
    );
    assert!(told.contains("bincode([<()|u64*2>]), was") && told.contains("bincode([<()|u64>])"));
    assert!(between(kept::<Vec<Three>>, kept::<Vec<Two>>).starts_with("reset rows"));
    // Fields have no names in bincode, and a part of a part is a part.
    assert_eq!(
        between(kept::<(u64, String)>, kept::<((u64,), String)>),
        "compatible rows is unchanged"
    );
}

#[test]
fn a_type_with_a_long_shape_is_known_as_well_as_a_short_one() {
    type Part = [(u8, Option<u16>, Vec<u32>); 16];
    type Long<T> = (Part, Part, Part, Part, Part, T);
    let format = |text: &str| {
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        let store = &json["subtopologies"][0]["stores"][0];
        store["format"].as_str().unwrap().to_owned()
    };
    let two = described(kept::<Long<Result<(), u64>>>);
    let three = described(kept::<Long<std::ops::Bound<u64>>>);
    assert!(format(&two).len() > 1000, "{two}");
    let told = reasons(&two, &three);
    let grown = told.starts_with("compatible rows has enums with further variants");
    assert!(grown && told.len() < 800, "{told}");
    assert!(reasons(&three, &two).starts_with("reset rows holds ..."));
    // Before, such a shape was told by its hash, and of longer formats nothing else is shown.
    let hashed = |text: &str| text.replace(&format(text), &condensed(&format(text)));
    assert!(format(&hashed(&two)).contains("/bincode#"));
    assert_eq!(reasons(&hashed(&two), &two), "compatible rows is unchanged");
    assert!(reasons(&hashed(&two), &three).starts_with("reset rows"));
    let undescribed = two.replace(&format(&two), "key-value/utf8/bincode");
    let told = reasons(&undescribed, &two);
    assert!(
        told.starts_with("compatible rows is key-value") && told.len() < 500,
        "{told}"
    );
    // A global table that was noted by the hash is not read again for that.
    let global = described(|builder| {
        static LONG: Topic<String, Long<u8>> = Topic::new("long", utf8(), bincode());
        counts(builder);
        builder.global_table(&LONG, "rows");
    });
    let json: serde_json::Value = serde_json::from_str(&global).unwrap();
    let whole = json["globals"][0]["format"].as_str().unwrap();
    let before = global.replace(whole, &condensed(whole));
    assert_ne!(before, global);
    assert!(reasons(&before, &global).contains("compatible rows is unchanged"));
}

#[test]
fn a_description_without_shapes_says_nothing_against_a_type() {
    let new = described(kept::<(u64, String)>);
    let old = new.replace("bincode(u64,str)", "bincode");
    let told = reasons(&old, &new);
    assert!(
        told.starts_with("compatible rows is key-value/utf8/bincode(u64,str) now"),
        "{told}"
    );
    assert!(reasons(&new, &old).starts_with("reset rows"));
}

#[test]
fn a_store_of_another_type_is_not_taken_for_a_renamed_one() {
    let other = |builder: &StreamsBuilder| {
        let rows = Materialized::with("other", utf8(), bincode::<(u8, u8)>());
        let words = builder.stream(&WORDS).group_by_key();
        let _ = words.aggregate(rows, || (0, 0), |_, _, _| ());
    };
    let told = reasons(&described(kept::<(u64, String)>), &described(other));
    assert!(told.starts_with("compatible rows is removed"), "{told}");
}

#[test]
fn a_name_that_the_program_gives_a_format_stands_for_it() {
    let named = |name: &'static str| {
        move |builder: &StreamsBuilder| {
            let value = json::<String>().named(name);
            let _ = builder.table(&WORDS, Materialized::with("rows", utf8(), value));
        }
    };
    assert_eq!(changes(named("price-1"), named("price-1")), [""; 0]);
    assert_eq!(
        changes(named("price-1"), named("price-2")),
        ["reset store rows"]
    );
}

#[test]
fn repartition_topics_are_compared_by_what_they_carry() {
    let through = |value: Serde<String>| {
        move |builder: &StreamsBuilder| {
            let words = builder.stream(&WORDS);
            let _ = words.repartition(Repartitioned::with("by", utf8(), value));
        }
    };
    let (text, packed) = (described(through(utf8())), described(through(bincode())));
    assert_eq!(
        reasons(&text, &packed),
        "reset by-repartition carries utf8/bincode(str) and not utf8/utf8 any more: records that \
         wait there would be misread. Let the old program run until its input is used up, give \
         the topic another name, or reset"
    );
    assert_eq!(
        reasons(&text, &text),
        "compatible by-repartition is unchanged"
    );
    // Descriptions from before do not tell what topics carry.
    let before = text.replace("\"format\": \"utf8/utf8\"", "\"was\": 0");
    assert_ne!(before, text);
    assert_eq!(
        reasons(&before, &packed),
        "compatible by-repartition is unchanged"
    );
}

#[test]
fn what_joins_and_groups_of_tables_send_is_told_too() {
    static LEFT: Topic<u64, (String, u8)> = Topic::new("left", u64_be(), bincode());
    static RIGHT: Topic<String, String> = Topic::new("right", utf8(), utf8());
    let text = described(|builder| {
        let (left, right) = (builder.table(&LEFT, "left"), builder.table(&RIGHT, "right"));
        let foreign_key = |_: &u64, row: &(String, u8)| Some(row.0.clone());
        let _ = left.foreign_key_join(right, foreign_key, |_, _| 0_u8, "pairs");
        let by_key = |_: &u64, row: &(String, u8)| (row.0.clone(), row.1);
        let _ = left.group_by(by_key).count("grouped");
    });
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let topics = json["repartitions"].as_array().unwrap().iter();
    let formats: Vec<_> = topics
        .map(|topic| topic["format"].as_str().unwrap())
        .collect();
    assert_eq!(
        formats,
        [
            "utf8/subscription<u64_be>",
            "u64_be/answer<utf8>",
            "utf8/change<bincode(u8)>",
        ]
    );
}

/// Counts in such windows, in the store `counts`.
macro_rules! in_windows {
    ($windows:expr) => {
        |builder: &StreamsBuilder| {
            let grouped = builder.stream(&WORDS).group_by_key();
            let _ = grouped.windowed_by($windows).count("counts");
        }
    };
}

#[test]
fn windows_of_one_kind_are_none_of_another() {
    const TEN: Duration = Duration::from_millis(10);
    const TUMBLING: TimeWindows = TimeWindows::of_size_with_no_grace(TEN);
    let kinds: [fn(&StreamsBuilder); 8] = [
        in_windows!(TUMBLING),
        in_windows!(TUMBLING.advance_by(TEN / 2)),
        in_windows!(TUMBLING.advance_by(TEN / 5)),
        in_windows!(TimeWindows::of_size_with_no_grace(2 * TEN)),
        in_windows!(SlidingWindows::of_time_difference_with_no_grace(TEN)),
        in_windows!(SessionWindows::of_inactivity_gap_with_no_grace(TEN)),
        in_windows!(UnlimitedWindows::of()),
        in_windows!(UnlimitedWindows::of().start_on(7)),
    ];
    for (number, old) in kinds.iter().enumerate() {
        for (other, new) in kinds.iter().enumerate() {
            let told = changes(old, new);
            match number == other {
                true => assert_eq!(told, [""; 0]),
                false => assert_eq!(told, ["reset store counts"], "{number} {other}"),
            }
        }
    }
    // How long they wait for late records, and are kept, is no part of what they are.
    let graceful = in_windows!(TimeWindows::of_size_and_grace(TEN, TEN));
    let told = changes(in_windows!(TUMBLING), graceful);
    assert_eq!(told, ["compatible store counts"]);
}

#[test]
fn changes_that_wait_for_windows_are_none_that_wait_for_a_time() {
    fn waiting(suppressed: impl Suppression<Windowed<String>>) -> impl Fn(&StreamsBuilder) {
        move |builder| {
            let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
            let grouped = builder.stream(&WORDS).group_by_key();
            let counts = grouped.windowed_by(windows).count("counts");
            let _ = counts.suppress("waiting", suppressed);
        }
    }
    let closed = || waiting(Suppressed::until_window_closes(BufferConfig::unbounded()));
    let limit = |millis| {
        let time = Duration::from_millis(millis);
        waiting(Suppressed::until_time_limit(
            time,
            BufferConfig::max_records(9),
        ))
    };
    assert_eq!(changes(closed(), closed()), [""; 0]);
    assert_eq!(changes(limit(5), limit(6)), [""; 0]);
    assert_eq!(changes(closed(), limit(5)), ["reset store waiting"]);
    assert_eq!(changes(limit(5), closed()), ["reset store waiting"]);
}
