//! Named children of processors: outputs with types of their own.

use millstream_core::{prelude::*, topology::Format};

static IN: Topic<String, i64> = Topic::new("in", utf8(), i64_be());
static OUT: Topic<String, i64> = Topic::new("out", utf8(), i64_be());
static TEXTS: Topic<i64, String> = Topic::new("texts", i64_be(), utf8());
static COUNTS: Topic<(), u64> = Topic::new("counts", unit(), u64_be());

/// Even numbers go to the main output, odd ones as texts to one child, and of all of them a one to
/// the other. A number of 13 it refuses, when it has sent all that.
struct Sorting {
    odd: ChildRef<i64, String>,
    all: ChildRef<(), u64>,
}

impl Processor<String, i64> for Sorting {
    type Key = String;
    type Value = i64;

    fn process(
        &mut self,
        record: Record<String, i64>,
        ctx: &mut ProcessorContext<'_, String, i64>,
    ) -> ProcessResult {
        let (number, timestamp) = (record.value, record.timestamp);
        ctx.forward_to(&self.all, Record::new((), 1, timestamp))?;
        if number % 2 == 0 {
            ctx.forward(record)?;
        } else {
            let odd = Record::new(number, record.key, timestamp + 1);
            ctx.forward_to(&self.odd, odd)?;
        }
        ctx.forward_to(&self.all, Record::new((), 2, timestamp))?;
        if number == 13 {
            return Err("13".into());
        }
        Ok(())
    }
}

type Children = (Child<i64, String>, Child<(), u64>);

fn children(odd: &str, all: &str) -> Children {
    (Child::new(odd), Child::new(all))
}

fn sorting(builder: &StreamsBuilder) -> (KStream<'_, i64, String>, KStream<'_, (), u64>) {
    let stream = builder.stream(&IN);
    let new = |(), (odd, all)| Sorting { odd, all };
    let (even, children) = stream.process_to((), children("odd", "all"), new);
    even.on_error(ErrorPolicy::Skip).to(&OUT);
    children
}

#[test]
fn each_output_gets_what_is_sent_to_it_and_nothing_else() {
    let builder = StreamsBuilder::new();
    let (odd, all) = sorting(&builder);
    odd.to(&TEXTS);
    odd.filter(|number, _| *number > 3).to(&TEXTS);
    all.to(&COUNTS);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    for (number, time) in [(2, 10), (3, 5), (3, 5), (13, 20), (4, 21)] {
        driver
            .pipe(&IN, format!("k{number}"), number, time)
            .unwrap();
    }
    let even: Vec<_> = driver.read_key_values(&OUT).unwrap();
    assert_eq!(
        even,
        [("k2".to_owned(), Some(2)), ("k4".to_owned(), Some(4))]
    );
    let odd = driver.read(&TEXTS).unwrap();
    let odd: Vec<_> = odd
        .iter()
        .map(|r| (r.key, &*r.value, r.timestamp))
        .collect();
    let thirteen = (13, "k13", 21);
    assert_eq!(odd, [(3, "k3", 6), (3, "k3", 6), thirteen, thirteen]);
    let all = driver.read(&COUNTS).unwrap();
    let all: Vec<_> = all.iter().map(|r| r.value).collect();
    assert_eq!(all, [1, 2, 1, 2, 1, 2, 1, 2, 1, 2]);
    assert_eq!(driver.dropped().processing, 1);
}

#[test]
fn an_output_that_nobody_reads_takes_all_the_same() {
    let builder = StreamsBuilder::new();
    sorting(&builder).1.to(&COUNTS);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    driver.pipe(&IN, "k".into(), 3, 0).unwrap();
    assert_eq!(driver.read(&COUNTS).unwrap().len(), 2);
}

#[test]
fn a_grouped_child_is_repartitioned_since_nobody_knows_its_key() {
    let builder = StreamsBuilder::new();
    let (odd, _) = sorting(&builder);
    odd.group_by_key().count("odd-counts");
    let topology = builder.build().unwrap();
    assert_eq!(topology.subtopologies().len(), 2);
    let text = topology.describe(Format::Text);
    assert!(text.contains("odd-counts-repartition"), "{text}");
}

#[test]
fn children_are_seen_by_their_names_in_every_description() {
    let builder = StreamsBuilder::new();
    let (odd, all) = sorting(&builder);
    odd.to(&TEXTS);
    all.to(&COUNTS);
    let topology = builder.build().unwrap();
    let text = topology.describe(Format::Text);
    let lines = [
        "      --> odd, all, sink-out\n",
        "    Processor: odd (stores: [])\n      --> sink-texts\n      \
         <-- process-after-source-in\n",
        "    Processor: all (stores: [])\n      --> sink-counts\n",
    ];
    for line in lines {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let json = topology.describe(Format::Json);
    assert!(json.contains("\"name\": \"odd\""), "{json}");
    let dot = topology.describe(Format::Dot);
    assert!(
        dot.contains("n2 [shape=box,label=\"odd\"]") && dot.contains("n1 -> n2"),
        "{dot}"
    );
    let mermaid = topology.describe(Format::Mermaid);
    assert!(
        mermaid.contains("n3[\"all\"]") && mermaid.contains("n1 --> n3"),
        "{mermaid}"
    );
}

#[test]
fn a_name_that_is_empty_or_used_is_a_mistake_where_the_child_is_declared() {
    let wrong = [
        ("", "b", "\"\" is empty"),
        ("a", "a", "\"a\" is used already"),
    ];
    for (odd, all, why) in wrong {
        let builder = StreamsBuilder::new();
        let new = |(), (odd, all)| Sorting { odd, all };
        let line = line!() + 1;
        let _ = builder.stream(&IN).process_to((), children(odd, all), new);
        let error = builder.build().err().unwrap().to_string();
        let expected = format!("children.rs:{line}:");
        assert!(error.contains(&expected), "{error}");
        assert!(error.contains(why), "{error}");
    }
    let builder = StreamsBuilder::new();
    sorting(&builder);
    sorting(&builder);
    let error = builder.build().err().unwrap().to_string();
    assert!(
        error.contains("\"odd\"") && error.contains("\"all\""),
        "{error}"
    );
}

#[test]
fn a_child_refuses_nothing_so_it_has_no_error_policy() {
    let builder = StreamsBuilder::new();
    sorting(&builder).0.on_error(ErrorPolicy::Skip).to(&TEXTS);
    let error = builder.build().err().unwrap().to_string();
    assert!(error.contains("child(..) refuses no record"), "{error}");
}

/// Sends a number on, and a text of it to its child.
struct Telling(ChildRef<String, String>);

impl FixedKeyProcessor<String, i64> for Telling {
    type Value = i64;

    fn process(
        &mut self,
        key: &String,
        number: i64,
        ctx: &mut FixedKeyContext<'_, String, i64>,
    ) -> ProcessResult {
        ctx.forward_to(&self.0, format!("{key}={number}"))?;
        ctx.forward(number + 1)?;
        Ok(())
    }
}

static TOLD: Topic<String, String> = Topic::new("told", utf8(), utf8());

#[test]
fn a_child_of_a_fixed_key_processor_gets_the_key_time_and_headers_of_the_record() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream(&IN);
    let (numbers, texts) = stream.process_values_to((), Child::new("texts"), |(), c| Telling(c));
    numbers.to(&OUT);
    texts.to(&TOLD);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    let mut record = Record::new("a".to_owned(), 5, 17);
    record.headers.push("trace", Some(b"t1".to_vec()));
    driver.pipe_record(&IN, &record).unwrap();
    let told = driver.read(&TOLD).unwrap();
    assert_eq!(told.len(), 1);
    let told = &told[0];
    assert_eq!((&*told.key, &*told.value, told.timestamp), ("a", "a=5", 17));
    assert_eq!(told.headers, record.headers);
    assert_eq!(driver.read(&OUT).unwrap()[0].value, 6);
}

#[test]
fn what_is_grouped_behind_such_a_child_is_repartitioned_only_if_it_was_to_be_before() {
    for (rekeyed, subtopologies) in [(false, 1), (true, 2)] {
        let builder = StreamsBuilder::new();
        let mut stream = builder.stream(&IN);
        if rekeyed {
            stream = stream.select_key(|key, _| key.clone());
        }
        let children = Child::new("texts");
        let (_, texts) = stream.process_values_to((), children, |(), c| Telling(c));
        texts.group_by_key().count("told-counts");
        let topology = builder.build().unwrap();
        assert_eq!(topology.subtopologies().len(), subtopologies);
    }
}
