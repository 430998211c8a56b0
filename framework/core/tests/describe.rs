//! What a topology looks like to people and tools, to the byte: the text is Kafka Streams' own.

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
    Source: KSTREAM-SOURCE-0000000000 (topics: [text])
      --> KSTREAM-JOIN-0000000003, KSTREAM-KEYSELECT-0000000005, KSTREAM-SINK-0000000010
    Source: KSTREAM-SOURCE-0000000001 (topics: [rows])
      --> KSTREAM-TABLE-0000000002
    Processor: KSTREAM-TABLE-0000000002 (stores: [rows])
      --> none
      <-- KSTREAM-SOURCE-0000000001
    Processor: KSTREAM-JOIN-0000000003 (stores: [rows])
      --> KSTREAM-SINK-0000000004
      <-- KSTREAM-SOURCE-0000000000
    Sink: KSTREAM-SINK-0000000004 (topic: out)
      <-- KSTREAM-JOIN-0000000003
    Processor: KSTREAM-KEYSELECT-0000000005 (stores: [])
      --> KSTREAM-SINK-0000000006
      <-- KSTREAM-SOURCE-0000000000
    Sink: KSTREAM-SINK-0000000006 (topic: words-repartition)
      <-- KSTREAM-KEYSELECT-0000000005
    Sink: KSTREAM-SINK-0000000010 (extractor class: chosen per record)
      <-- KSTREAM-SOURCE-0000000000

  Sub-topology: 1
    Source: KSTREAM-SOURCE-0000000007 (topics: [words-repartition])
      --> KSTREAM-AGGREGATE-0000000008
    Processor: KSTREAM-AGGREGATE-0000000008 (stores: [words])
      --> KSTREAM-SINK-0000000009
      <-- KSTREAM-SOURCE-0000000007
    Sink: KSTREAM-SINK-0000000009 (topic: counts)
      <-- KSTREAM-AGGREGATE-0000000008

";

const DOT: &str = "\
digraph topology {
  rankdir=LR;
  node [fontname=sans];
  subgraph cluster_0 {
    label=\"Sub-topology 0\";
    n0 [shape=box,label=\"KSTREAM-SOURCE-0000000000\"];
    n1 [shape=box,label=\"KSTREAM-FILTER-0000000001\"];
    n2 [shape=box,label=\"KSTREAM-AGGREGATE-0000000002\"];
    n3 [shape=box,label=\"KSTREAM-SINK-0000000003\"];
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
    n0[\"KSTREAM-SOURCE-0000000000\"]
    n1[\"KSTREAM-FILTER-0000000001\"]
    n2[\"KSTREAM-AGGREGATE-0000000002\"]
    n3[\"KSTREAM-SINK-0000000003\"]
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
fn the_text_is_kafkas() {
    assert_eq!(topology().describe(Format::Text), TEXT_FORMAT);
}

const JOINED_TABLES: &str = "\
Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000000 (topics: [rows])
      --> KSTREAM-TABLE-0000000001
    Processor: KSTREAM-TABLE-0000000001 (stores: [rows])
      --> KSTREAM-TABLEJOIN-0000000004
      <-- KSTREAM-SOURCE-0000000000
    Source: KSTREAM-SOURCE-0000000002 (topics: [more])
      --> KSTREAM-TABLE-0000000003
    Processor: KSTREAM-TABLE-0000000003 (stores: [more])
      --> KSTREAM-TABLEJOIN-0000000004
      <-- KSTREAM-SOURCE-0000000002
    Processor: KSTREAM-TABLEJOIN-0000000004 (stores: [rows, more])
      --> KSTREAM-MATERIALIZE-0000000005
      <-- KSTREAM-TABLE-0000000001, KSTREAM-TABLE-0000000003
    Processor: KSTREAM-MATERIALIZE-0000000005 (stores: [joined])
      --> KSTREAM-SINK-0000000006
      <-- KSTREAM-TABLEJOIN-0000000004
    Sink: KSTREAM-SINK-0000000006 (topic: sums)
      <-- KSTREAM-MATERIALIZE-0000000005

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
    assert_eq!(aggregate["successors"][0], "KSTREAM-SINK-0000000009");
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
