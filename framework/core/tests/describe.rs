//! What a topology looks like to people and tools, to the byte: the text is Kafka Streams'
//! own but for the operators' names, which are made of what is stable about them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::{prelude::*, topology::Format};
use serde_json::Value;

static TEXT: Topic<String, String> = Topic::new("text", utf8(), utf8());
static ROWS: Topic<String, i64> = Topic::new("rows", utf8(), i64_be());
static OUT: Topic<String, String> = Topic::new("out", utf8(), utf8());
static COUNTS: Topic<String, u64> = Topic::new("counts", utf8(), u64_be());

fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    let text = builder.stream(&TEXT);
    let rows = builder.table(&ROWS, "rows");
    text.join(rows, |text, _| text).to(&OUT);
    text.group_by(|_, text| text.clone())
        .count("words")
        .to(&COUNTS);
    text.to_chosen(|_, text| text.clone(), utf8(), utf8());
    builder.build().unwrap()
}

const TEXT_FORMAT: &str = "\
Topologies:
   Sub-topology: 0
    Source: source-text (topics: [text])
      --> join-rows-after-source-text, key-select-after-source-text, sink-after-source-text
    Source: source-rows (topics: [rows])
      --> table-rows
    Processor: table-rows (stores: [rows])
      --> none
      <-- source-rows
    Processor: join-rows-after-source-text (stores: [rows])
      --> sink-out
      <-- source-text
    Sink: sink-out (topic: out)
      <-- join-rows-after-source-text
    Processor: key-select-after-source-text (stores: [])
      --> sink-words-repartition
      <-- source-text
    Sink: sink-words-repartition (topic: words-repartition)
      <-- key-select-after-source-text
    Sink: sink-after-source-text (extractor class: chosen per record)
      <-- source-text

  Sub-topology: 1
    Source: source-words-repartition (topics: [words-repartition])
      --> aggregate-words
    Processor: aggregate-words (stores: [words])
      --> sink-counts
      <-- source-words-repartition
    Sink: sink-counts (topic: counts)
      <-- aggregate-words

";

const DOT: &str = "\
digraph topology {
  rankdir=LR;
  node [fontname=sans];
  subgraph cluster_0 {
    label=\"Sub-topology 0\";
    n0 [shape=box,label=\"source-text\"];
    n1 [shape=box,label=\"filter-after-source-text\"];
    n2 [shape=box,label=\"aggregate-counts\"];
    n3 [shape=box,label=\"sink-counts\"];
    s0 [shape=cylinder,label=\"counts\"];
  }
  \"counts\" [shape=cds];
  \"text\" [shape=cds];
  \"text\" -> n0;
  n0 -> n1;
  n1 -> n2;
  n2 -> s0;
  n3 -> \"counts\";
  n2 -> n3;
}
";

const MERMAID: &str = "\
flowchart LR
  subgraph sub0[\"Sub-topology 0\"]
    n0[\"source-text\"]
    n1[\"filter-after-source-text\"]
    n2[\"aggregate-counts\"]
    n3[\"sink-counts\"]
    s0[(\"counts\")]
  end
  t0>\"counts\"]
  t1>\"text\"]
  t1 --> n0
  n0 --> n1
  n1 --> n2
  n2 --> s0
  n3 --> t0
  n2 --> n3
";

fn small() -> Topology {
    let builder = StreamsBuilder::new();
    let kept = builder.stream(&TEXT).filter(|_, _| true);
    kept.group_by_key().count("counts").to(&COUNTS);
    builder.build().unwrap()
}

#[test]
fn the_text_is_kafkas_but_for_the_names() {
    assert_eq!(topology().describe(Format::Text), TEXT_FORMAT);
}

const JOINED_TABLES: &str = "\
Topologies:
   Sub-topology: 0
    Source: source-rows (topics: [rows])
      --> table-rows
    Processor: table-rows (stores: [rows])
      --> table-join-more-after-table-rows
      <-- source-rows
    Source: source-more (topics: [more])
      --> table-more
    Processor: table-more (stores: [more])
      --> table-join-more-after-table-rows
      <-- source-more
    Processor: table-join-more-after-table-rows (stores: [rows, more])
      --> materialize-joined
      <-- table-rows, table-more
    Processor: materialize-joined (stores: [joined])
      --> sink-sums
      <-- table-join-more-after-table-rows
    Sink: sink-sums (topic: sums)
      <-- materialize-joined

";

#[test]
fn a_join_of_tables_is_one_operator_below_both() {
    let builder = StreamsBuilder::new();
    let rows = builder.table(&ROWS, "rows");
    let more = builder.table(&Topic::new("more", utf8(), i64_be()), "more");
    let joined = rows.join(more, |a, b| a + b).materialize("joined");
    joined.to(&Topic::new("sums", utf8(), i64_be()));
    let topology = builder.build().unwrap();
    assert_eq!(topology.describe(Format::Text), JOINED_TABLES);
}

#[test]
fn dot_and_mermaid_show_nodes_stores_and_topics() {
    assert_eq!(small().describe(Format::Dot), DOT);
    assert_eq!(small().describe(Format::Mermaid), MERMAID);
}

#[test]
fn json_has_all_of_it() {
    let json: Value = serde_json::from_str(&topology().describe(Format::Json)).unwrap();
    let subs = json["subtopologies"].as_array().unwrap();
    assert_eq!(subs.len(), 2);
    let aggregate = &subs[1]["nodes"][1];
    assert_eq!(aggregate["label"], "aggregate");
    assert_eq!(aggregate["kind"], "operator");
    assert_eq!(aggregate["stores"][0], "words");
    assert_eq!(aggregate["successors"][0], "sink-counts");
    assert!(aggregate["at"].as_str().unwrap().contains("describe.rs:"));
    assert_eq!(subs[1]["nodes"][0]["topic"], "words-repartition");
    assert_eq!(subs[0]["stores"][0]["changelog"], "rows-changelog");
    let format = subs[1]["stores"][0]["format"].as_str().unwrap();
    assert_eq!(format, "key-value/utf8/u64_be");
}

#[test]
fn names_of_formats_are_read_and_others_refused() {
    assert_eq!("mermaid".parse(), Ok(Format::Mermaid));
    assert!(
        "svg"
            .parse::<Format>()
            .unwrap_err()
            .contains("text, json, dot or mermaid")
    );
}

/// The names of all operators.
fn names(declare: impl Fn(&StreamsBuilder)) -> Vec<String> {
    let builder = StreamsBuilder::new();
    declare(&builder);
    let topology = builder.build().unwrap();
    topology.nodes().iter().map(|n| n.name.clone()).collect()
}

#[test]
fn an_operator_that_comes_elsewhere_changes_no_other_name() {
    let program = |more: bool| {
        move |builder: &StreamsBuilder| {
            let mut text = builder.stream(&TEXT);
            if more {
                text = text.peek(|_, _| ());
                text.group_by_key().count("early").to(&COUNTS);
            }
            let rows = builder.table(&ROWS, "rows");
            let kept = text.filter(|_, _| true).filter(|_, _| true);
            kept.join(rows, |text, _| text).to(&OUT);
            let words = kept.group_by(|_, text| text.clone());
            words.count("words").to_stream().for_each(|_, _| ());
            let _ = rows.join(rows, |a, b| a + b).materialize("doubled");
        }
    };
    let (before, after) = (names(program(false)), names(program(true)));
    assert_eq!(
        before,
        [
            "source-text",
            "source-rows",
            "table-rows",
            "filter-after-source-text",
            "filter-after-source-text-2",
            "join-rows-after-source-text",
            "sink-out",
            "key-select-after-source-text",
            "sink-words-repartition",
            "source-words-repartition",
            "aggregate-words",
            "to-stream-after-aggregate-words",
            "foreach-after-aggregate-words",
            "table-join-after-table-rows",
            "materialize-doubled",
        ]
    );
    let came: Vec<_> = after.iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(
        came,
        ["peek-after-source-text", "aggregate-early", "sink-counts"]
    );
    assert_eq!(after.len(), before.len() + came.len());
}

#[test]
fn what_is_below_an_operator_with_a_name_is_named_after_that() {
    let named = names(|builder| {
        let lines = builder.stream(&TEXT).named("lines");
        let clean = lines.filter(|_, _| true).named("clean");
        let _ = clean.map_values(|text| text).filter(|_, _| true);
        let counts = clean.group_by_key().count("counts").named("counting");
        counts.filter(|_, _| true).to(&COUNTS);
        let _ = builder.global_table(&ROWS, "everywhere");
    });
    let expected = [
        "lines",
        "clean",
        "map-values-after-clean",
        "filter-after-clean",
        "counting",
    ];
    assert_eq!(named[..5], expected);
    assert!(
        named[5..]
            .iter()
            .all(|name| name.ends_with("-after-counting") || name == "sink-counts")
    );
    // What the program chose is not taken by what is made.
    let taken = names(|builder| {
        let all = builder.stream(&TEXT).filter(|_, _| true);
        let _ = all.peek(|_, _| ()).named("filter-after-source-text");
    });
    let expected = [
        "source-text",
        "filter-after-source-text-2",
        "filter-after-source-text",
    ];
    assert_eq!(taken, expected);
}

#[test]
fn names_are_legal_unique_and_given_once() {
    let builder = StreamsBuilder::new();
    let text = builder.stream(&TEXT).named("text");
    let _ = text.filter(|_, _| true).named("text");
    let _ = text.named("again");
    let _ = text.peek(|_, _| ()).named("");
    let _ = text.peek(|_, _| ()).named("a b");
    let told = builder.build().err().unwrap().to_string();
    for part in [
        "the operator has the name \"text\" already, from ",
        "the operator name \"text\" is used already at ",
        "the operator name \"\" is empty",
        "the operator name \"a b\" may only hold",
    ] {
        assert!(told.contains(part), "{told} does not say {part:?}");
    }
    assert_eq!(told.matches("describe.rs:").count(), 6, "{told}");
}
