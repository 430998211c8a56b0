//! The names that are made for operators: whom those behind a shared store are named after, and
//! what a name may look like, whatever it is made of.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/pass.rs"]
mod pass;

use millstream_core::{prelude::*, topology::Format};
use pass::Pass;
use std::collections::BTreeSet;

static TEXT: Topic<String, String> = Topic::new("text", utf8(), utf8());
static ROWS: Topic<String, i64> = Topic::new("rows", utf8(), i64_be());

/// The names of all operators.
fn names(declare: impl Fn(&StreamsBuilder)) -> Vec<String> {
    let builder = StreamsBuilder::new();
    declare(&builder);
    let topology = builder.build().unwrap();
    topology.nodes().iter().map(|n| n.name.clone()).collect()
}

#[test]
fn processors_that_share_a_store_do_not_name_one_another() {
    let program = |more: bool| {
        move |builder: &StreamsBuilder| {
            let seen = builder.store(Materialized::with("seen", utf8(), utf8()));
            let rows = builder.read_only_store(&ROWS, "rows");
            let text = builder.stream(&TEXT);
            if more {
                let _ = text.process_values(seen, |_| Pass);
            }
            let kept = text.process((rows, seen), |_| Pass).filter(|_, _| true);
            let _ = kept.process(seen, |_| Pass).peek(|_, _| ());
            let _ = text.process(rows, |_| Pass);
        }
    };
    let (before, after) = (names(program(false)), names(program(true)));
    let expected = [
        "source-rows",
        "read-only-store-rows",
        "source-text",
        "process-seen",
        "filter-after-process-seen",
        "process-seen-2",
        "peek-after-process-seen-2",
        "process-rows-after-source-text",
    ];
    assert_eq!(before, expected);
    let came: Vec<_> = after.iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(came, ["process-values-seen"]);
}

/// A program that reads a pattern and a topic of the longest name, each through two filters.
fn hostile(pattern: &'static str) -> Topology {
    let builder = StreamsBuilder::new();
    let read: Topic<String, String> = Topic::new(pattern, utf8(), utf8());
    let _ = builder.stream_matching(&read).filter(|_, _| true);
    let long: Topic<String, String> = Topic::new("o".repeat(249).leak(), utf8(), utf8());
    let long = builder.stream(&long).filter(|_, _| true);
    let _ = long.filter(|_, _| true);
    builder.build().unwrap()
}

/// Patterns that the languages of descriptions would take for their own.
const NASTY: [&str; 8] = [
    r#"a"b"#,
    "a<b>&amp;",
    "a|b",
    r"a]|[)\]]",
    r"a\d\\",
    "a\nb\r\u{2028}c",
    "ä.*\u{1f600}",
    "#quot;`x`",
];

#[test]
fn made_names_are_legal_whatever_a_pattern_says() {
    for pattern in NASTY {
        let topology = hostile(pattern);
        let mut seen = BTreeSet::new();
        for node in topology.nodes() {
            let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            let name = &node.name;
            assert!(name.len() <= 249 && name.chars().all(legal), "{name}");
            assert!(seen.insert(name), "{name} is there twice");
        }
    }
    let name = |topology: &Topology, number: usize| topology.nodes()[number].name.clone();
    let topology = hostile(r"sales-\d+");
    assert_eq!(name(&topology, 0), "source-sales--d-");
    assert_eq!(name(&topology, 1), "filter-after-source-sales--d-");
}

#[test]
fn long_names_are_cut_to_what_tells_them_apart() {
    let names = |last: &'static str| {
        let builder = StreamsBuilder::new();
        for last in [last, "x"] {
            let name = format!("{}{last}", "o".repeat(248)).leak();
            let long: Topic<String, String> = Topic::new(name, utf8(), utf8());
            let _ = builder.stream(&long).filter(|_, _| true);
        }
        let topology = builder.build().unwrap();
        let names = topology.nodes().iter().map(|node| node.name.clone());
        names.collect::<Vec<_>>()
    };
    let (one, other) = (names("a"), names("b"));
    // Digests, since numbers would be in the order of the program.
    assert!(one.iter().all(|name| name.len() == 240), "{one:?}");
    assert_eq!(one.iter().collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(one[2..], other[2..], "nobody's name depends on others");
    assert!(one[0] != other[0] && one[1] != other[1]);
}

#[test]
fn patterns_stay_within_their_quotes_and_lines() {
    for pattern in NASTY {
        let (nasty, tame) = (hostile(pattern), hostile("tame"));
        let lines = |topology: &Topology, format| topology.describe(format).lines().count();
        for format in [Format::Text, Format::Dot, Format::Mermaid] {
            let text = nasty.describe(format);
            assert_eq!(lines(&nasty, format), lines(&tame, format), "{text}");
        }
        for line in nasty.describe(Format::Dot).lines() {
            let bare = line.replace(r"\\", "").replace("\\\"", "");
            assert!(bare.matches('"').count().is_multiple_of(2), "{line}");
        }
        let mermaid = nasty.describe(Format::Mermaid);
        let topic = mermaid
            .lines()
            .find(|line| line.starts_with("  t1>"))
            .unwrap();
        let label = topic.strip_prefix("  t1>\"").unwrap();
        let label = label.strip_suffix("\"]").unwrap();
        assert!(!label.contains(['"', '<', '>', '&', '\\', '`']), "{topic}");
        let json: serde_json::Value = serde_json::from_str(&nasty.describe(Format::Json)).unwrap();
        assert_eq!(json["subtopologies"][0]["nodes"][0]["topic"], pattern);
    }
    let quoted = hostile("a\"\\d\n");
    let dot = quoted.describe(Format::Dot);
    let label = r#"[shape=cds,label="a\"\\d\\n"];"#;
    assert!(dot.contains(label), "{dot}");
    let mermaid = quoted.describe(Format::Mermaid);
    assert!(mermaid.contains(r##"t1>"a#34;#92;d#92;n"]"##), "{mermaid}");
}

static OUT: Topic<String, String> = Topic::new("out", utf8(), utf8());

#[test]
fn a_sink_with_a_name_leaves_the_topics_to_others() {
    let names = names(|builder| {
        let text = builder.stream(&TEXT);
        text.to(Produced::of(&OUT).named("first"));
        text.to(&OUT);
        let rows = builder.table(&TEXT, "rows");
        rows.to(Produced::of(&OUT)
            .named("of-rows")
            .on_error(ErrorPolicy::Skip));
    });
    let sinks = ["first", "sink-out", "of-rows"];
    assert!(
        sinks
            .iter()
            .all(|sink| names.iter().any(|name| name == sink)),
        "{names:?}"
    );
}

#[test]
fn a_sinks_name_is_legal_and_its_own_and_told_where_it_is_not() {
    let builder = StreamsBuilder::new();
    let text = builder.stream(&TEXT).named("text");
    let out = Produced::of(&OUT).named("out");
    text.to(out.clone());
    text.to(out);
    let long = "o".repeat(250);
    for name in ["text", "", ".", "..", "a b", &*long] {
        text.to(Produced::of(&OUT).named(name));
    }
    let told = builder.build().err().unwrap().to_string();
    for part in [
        "the operator name \"out\" is used already at ",
        "the operator name \"text\" is used already at ",
        "the operator name \"\" is empty",
        "the operator name \".\" would be a directory",
        "the operator name \"..\" would be a directory",
        "the operator name \"a b\" may only hold",
        "o\" is longer than 249 characters",
    ] {
        assert!(told.contains(part), "{told} does not say {part:?}");
    }
    assert_eq!(told.lines().count(), 7, "{told}");
    let lines = told
        .lines()
        .all(|line| line.starts_with("framework/core/tests/node_names.rs:"));
    assert!(lines, "{told}");
}
